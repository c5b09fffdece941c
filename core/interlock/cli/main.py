"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from interlock.cli.check import check
from interlock.cli.components import components
from interlock.cli.data import data
from interlock.cli.dev import dev
from interlock.cli.env import env
from interlock.cli.exits import Exit
from interlock.cli.limits import limits
from interlock.cli.migrate import migrate
from interlock.cli.new import new
from interlock.cli.run import run
from interlock.cli.serve import serve

EXIT_CODES = "Exit codes: " + "; ".join(f"{exit.value} {exit.says}" for exit in Exit) + "."

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"interlock {version('interlock')}")
        raise typer.Exit


@app.callback(epilog=EXIT_CODES)
def interlock(
    asked: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)] = False,
) -> None:
    """A reactive, transactional backend for Python, assembled from components.

    \b
    Examples:
      interlock new myapp
      interlock dev myapp
      interlock run messages:send '{"author": "ada", "body": "hello"}'
    """


for command in (new, dev, serve, run, migrate, components, check, data, env, limits):
    app.command()(command)
