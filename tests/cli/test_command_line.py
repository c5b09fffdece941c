"""The command line as a whole: help, versions, usage errors, limits, commands of plugins."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from interlock.cli.console import print_error
from interlock.cli.exits import Exit
from interlock.cli.main import app as command_line
from interlock.errors import AppError
from interlock.hooks import Hooks, hookimpl
from interlock.limits import LIMITS

COMMANDS = ["new", "dev", "serve", "run", "components", "check", "data", "env", "limits"]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(command_line, list(arguments))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_examples(command: str) -> None:
    answer = invoke(command, "--help")
    assert answer.exit_code == 0
    assert f"interlock {command}" in answer.stdout.partition("Examples:")[2]


def test_help_says_what_the_exit_codes_mean() -> None:
    answer = invoke("--help")
    text = " ".join(answer.stdout.split())
    for exit in Exit:
        assert f"{exit.value} {exit.says}" in text
    for command in COMMANDS:
        assert f"  {command} " in answer.stdout


def test_the_page_about_the_command_line_knows_every_command_and_exit_code() -> None:
    page = (Path(__file__).parent.parent.parent / "docs/command-line.md").read_text()
    for exit in Exit:
        assert f"| {exit.value} | {exit.says} |" in page
    for command in COMMANDS:
        assert f"| `interlock {command}" in page


def test_what_an_error_says_does_nothing_to_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A component may have said it."""
    print_error(AppError("\x1b]0;owned\x07 \u202e\nnext"))
    assert capsys.readouterr().err == "error: \\x1b]0;owned\\x07 \\u202e\nnext\n"


def test_help_imports_nothing_that_serves() -> None:
    heavy = "uvicorn starlette httpx pydantic pydantic_core sqlite3 pluggy rich watchfiles asyncio"
    program = (
        "import sys; from interlock.cli import main; sys.argv = ['interlock', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print('loaded:', *(set('{heavy}'.split()) & sys.modules.keys()))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "loaded:"


def test_the_version_is_that_of_the_distribution() -> None:
    assert invoke("--version").stdout == f"interlock {version('interlock')}\n"


@pytest.mark.parametrize("arguments", [["frob"], ["run"], ["serve", "--port", "many"], ["data", "--limit", "0"]])
def test_a_command_line_that_makes_no_sense_ends_with_2(arguments: list[str]) -> None:
    answer = invoke(*arguments)
    assert answer.exit_code == Exit.USAGE
    assert answer.stdout == ""


def test_limits_prints_every_limit() -> None:
    answer = invoke("limits")
    assert [line.split()[0] for line in answer.stdout.splitlines()[1:]] == list(LIMITS)
    assert {row["name"]: row["value"] for row in json.loads(invoke("limits", "--json").stdout)} == {
        row.name: row.value for row in LIMITS.values()
    }


@pytest.mark.parametrize(("arguments", "told"), [("{bad", "no JSON"), ("[1]", "by name")])
def test_arguments_that_are_no_json_object_are_a_usage_error(arguments: str, told: str) -> None:
    answer = invoke("run", "messages:send", arguments)
    assert answer.exit_code == Exit.USAGE
    assert told in answer.stderr


def test_a_server_that_is_not_there_ends_with_5() -> None:
    answer = invoke("run", "messages:send", "--url", "http://127.0.0.1:9")
    assert answer.exit_code == Exit.UNREACHABLE
    assert "No server answers at http://127.0.0.1:9" in answer.stderr


def test_a_plugin_can_add_a_command() -> None:
    class Plugin:
        @hookimpl
        def commands(self, cli: typer.Typer) -> None:
            @cli.command()
            def greet() -> None:
                typer.echo("hello from a plugin")

    cli = typer.Typer()
    cli.command()(lambda: None)
    Hooks({}, {"greeter": Plugin()}).commands(cli)
    assert CliRunner().invoke(cli, ["greet"]).stdout == "hello from a plugin\n"
