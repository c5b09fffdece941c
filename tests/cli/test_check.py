"""`interlock check`: what a start would refuse and what does not belong in a transaction, with the file, the line and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from interlock.cli.main import app as command_line


def check(*arguments: str) -> Result:
    return CliRunner().invoke(command_line, ["check", *arguments])


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An app as `interlock new` writes it."""
    directory = tmp_path / "checkedapp"
    assert CliRunner().invoke(command_line, ["new", str(directory)]).exit_code == 0
    return directory


def test_an_app_that_would_start_is_fine(app: Path) -> None:
    answer = check(str(app))
    assert (answer.exit_code, answer.stdout) == (0, "")
    assert "is fine" in answer.stderr


def test_without_a_directory_it_is_the_nearest_one_with_an_app(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(app / "tests")
    assert check().exit_code == 0


def test_code_is_read_as_python_reads_it(app: Path) -> None:
    source = (app / "messages.py").read_bytes()
    (app / "messages.py").write_bytes(b"# -*- coding: latin-1 -*-\nNAME = '\xe9'\n" + source)
    assert check(str(app)).exit_code == 0


def test_a_directory_with_something_in_it_is_not_told_to_be_made_anew(tmp_path: Path) -> None:
    (tmp_path / "schema.py").write_text("")
    answer = check(str(tmp_path))
    assert answer.exit_code == 3 and "Write app.py there" in answer.stderr


def test_a_clock_in_a_mutation_is_found_with_its_line(app: Path) -> None:
    source = (app / "messages.py").read_text()
    (app / "messages.py").write_text("import time\n" + source.replace('"body": body}', '"body": body, "at": time.time()}'))
    answer = check(str(app))
    assert answer.exit_code == 1
    assert f"{app / 'messages.py'}:14: send uses time.time: use ctx.now()" in answer.stdout


@pytest.mark.parametrize(
    ("file", "source", "told"),
    [
        ("messages.py", "x = (\n", "messages.py:1: SyntaxError"),
        ("messages.py", "import nowhere_to_be_found\n", "messages.py:1: ModuleNotFoundError"),
        ("messages.py", "raise ValueError('no')\n", "messages.py:1: ValueError: no"),
        ("app.py", "app = 1\n", "app.py"),
        ("app.py", "from interlock import App\napp = App()\napp.use('sharded_conter')\n", "app.py:3"),
        ("schema.py", "from interlock import Schema, Table\nschema = Schema(t=Table({'x': object}))\n", "schema.py"),
    ],
)
def test_what_a_start_would_refuse_is_told_with_its_place_and_no_traceback(app: Path, file: str, source: str, told: str) -> None:
    (app / file).write_text(source)
    answer = check(str(app))
    assert answer.exit_code == 3
    assert told in answer.stderr
    assert "Traceback" not in answer.output


@pytest.mark.parametrize(
    ("made", "told"),
    [("", "no such directory"), ("empty/", "no app.py"), ("file", "this is a file")],
)
def test_a_directory_that_is_no_app_is_told_with_what_to_type(tmp_path: Path, made: str, told: str) -> None:
    if made.endswith("/"):
        (tmp_path / made).mkdir()
    elif made:
        (tmp_path / made).touch()
    answer = check(str(tmp_path / (made or "missing")))
    assert answer.exit_code == 3
    assert told in answer.stderr


def test_the_app_below_is_offered_where_it_is_meant(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(app.parent)
    answer = check()
    assert answer.exit_code == 3
    assert "Did you mean checkedapp?" in answer.stderr


def test_a_table_that_looks_misspelt_is_a_warning(app: Path) -> None:
    (app / "schema.py").write_text("from interlock import Schema, Table\nschema = Schema(messages=Table({'n': int}))\n")
    (app / "messages.py").write_text(
        "from interlock import mutation\n@mutation\nasync def add(ctx):\n"
        "    await ctx.db.insert('mesages', {})\n    await ctx.db.insert('messages', {})\n    await ctx.db.insert('visitors', {})\n"
    )
    answer = check(str(app))
    assert answer.exit_code == 0
    assert 'messages.py:4: the schema has no table "mesages". Did you mean "messages"?' in answer.stderr
    assert "visitors" not in answer.output


def test_a_table_of_a_component_that_looks_misspelt_is_a_warning(tmp_path: Path) -> None:
    package = tmp_path / "interlock-beans"
    assert CliRunner().invoke(command_line, ["new", str(package), "--component"]).exit_code == 0
    component = package / "interlock_beans/component.py"
    component.write_text(component.read_text().replace('insert("counts"', 'insert("count"'))
    answer = check(str(package))
    assert answer.exit_code == 0
    [warning] = [line for line in answer.stderr.splitlines() if line.startswith("warning")]
    assert warning.endswith('the schema has no table "count". Did you mean "counts"?')


def test_as_json_there_are_facts_on_stdout_and_errors_on_stderr(app: Path) -> None:
    (app / "messages.py").write_text("from interlock import query\n@query\ndef pick(ctx):\n    return hash('x')\n")
    answer = check(str(app), "--json")
    assert answer.exit_code == 1
    [finding] = json.loads(answer.stdout)["nondeterminism"]
    assert (finding["line"], finding["function"], finding["uses"]) == (4, "pick", "hash")

    refused = check(str(app / "nowhere"), "--json")
    assert refused.stdout == ""
    assert json.loads(refused.stderr)["error"]["code"] == "MountError"


def test_a_component_whose_halves_are_mixed_is_refused(tmp_path: Path) -> None:
    package = tmp_path / "interlock-mixed"
    assert CliRunner().invoke(command_line, ["new", str(package), "--component"]).exit_code == 0
    assert check(str(package)).exit_code == 0
    with (package / "interlock_mixed/component.py").open("a") as file:
        file.write("\n\nfrom interlock_mixed import Mixed\n")
    answer = check(str(package))
    assert answer.exit_code == 1
    assert "the component half imports its own face" in answer.stdout
