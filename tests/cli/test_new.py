"""What `interlock new` writes: it runs, its tests pass, and type checkers have nothing to say about it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from interlock.cli.main import app as command_line


def new(*arguments: str, expected: int = 0) -> str:
    answer = CliRunner().invoke(command_line, ["new", *arguments])
    assert answer.exit_code == expected, answer.output
    return answer.output


def python(folder: Path, *arguments: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "INTERLOCK"))}
    answer = subprocess.run([sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture(params=["app", "component"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A new app, and a new component."""
    directory = tmp_path / ("newapp" if request.param == "app" else "interlock-tally")
    new(str(directory), *(["--component"] if request.param == "component" else []))
    return directory


def test_its_tests_pass(project: Path) -> None:
    assert "passed" in python(project, "-m", "pytest", "-q", "-p", "no:cacheprovider")


def test_mypy_in_its_strictest_has_nothing_to_say(project: Path, mypy_cache: Path) -> None:
    python(project, "-m", "mypy", f"--cache-dir={mypy_cache}", ".")


def test_pyright_has_nothing_to_say(project: Path) -> None:
    # Its own configuration finds the package from inside its directory.
    assert "0 errors" in python(project, "-m", "pyright", "--pythonpath", sys.executable, ".")


def test_its_code_has_the_format_that_ruff_gives_it(project: Path) -> None:
    python(project, "-m", "ruff", "format", "--isolated", "--line-length", "140", "--check", ".")
    python(project, "-m", "ruff", "check", "--isolated", "--line-length", "140", "--select", "E,F,I,UP,B", ".")


def test_check_finds_nothing(project: Path) -> None:
    answer = CliRunner().invoke(command_line, ["check", str(project)])
    assert answer.exit_code == 0, answer.output


def test_names_follow_the_directory(tmp_path: Path) -> None:
    for directory in ("interlock-word-count", "interlock_word_count", "word-count"):
        project = tmp_path / directory
        new(str(project), "--component")
        pyproject = tomllib.loads((project / "pyproject.toml").read_text())["project"]
        assert pyproject["name"] == "interlock-word-count"
        assert pyproject["entry-points"]["interlock.components"] == {"word_count": "interlock_word_count.component:component"}
        assert "class WordCount:" in (project / "interlock_word_count/client.py").read_text()
        assert (project / "interlock_word_count/py.typed").is_file()


def test_a_component_has_what_every_plugin_has(tmp_path: Path) -> None:
    new(str(tmp_path / "tally"), "--component")
    headings = [line for line in (tmp_path / "tally/README.md").read_text().splitlines() if line.startswith("## ")]
    assert headings == ["## Install", "## Mount", "## Use", "## Limits and permissions", "## How it works"]
    assert (tmp_path / "tally/CHANGELOG.md").is_file()


@pytest.mark.parametrize("name", ["my-app", "1st", "class", "interlock", "json"])
def test_a_name_that_python_cannot_import_is_refused_with_one_that_it_can(tmp_path: Path, name: str) -> None:
    output = new(str(tmp_path / name), expected=2)
    assert name in output
    assert "Name it, for example:" in output
    assert not (tmp_path / name).exists()


def test_a_directory_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/mine.txt").write_text("mine")
    output = new(str(tmp_path / "notes"), expected=2)
    assert "not empty" in output
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["mine.txt"]


def test_a_directory_that_cannot_be_made_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in new(str(tmp_path / "file" / "notes"), expected=2)


def test_pip_builds_it(project: Path, tmp_path: Path) -> None:
    python(project, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path / "dist"), ".")
    (wheel,) = (tmp_path / "dist").iterdir()
    modules = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")]
    expected = {"client", "component", "__init__"} if project.name == "interlock-tally" else set()
    assert set(modules) == {f"interlock_tally/{name}.py" for name in expected}
