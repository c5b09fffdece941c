"""Attacks on the start of the zygote: files and variables that have code run in an interpreter before anybody asks for it.

Each plants a payload that leaves a mark. A plain interpreter, started with the same directory or variable, runs it: the canary.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.sandbox.spawning import ask, receive

from interlock.sandbox.confinement import available
from interlock.sandbox.plan import Plan
from interlock.sandbox.zygote import Zygote

pytestmark = pytest.mark.skipif(bool(available().missing), reason=f"not here: {available().missing}")
ROOT = Path(__file__).parents[3]


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "mark"


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    directory = tmp_path / "planted"
    directory.mkdir()
    return directory


def payload(mark: Path) -> str:
    return f"open({str(mark)!r}, 'a').write('ran')"


def start_zygote(directory: Path) -> None:
    """Start one that may look into the directory, as it has to where packages lie there, and have a worker answer."""
    zygote = Zygote.launch(worker="tests.sandbox.echo_worker", path=[str(directory), str(ROOT)])
    try:
        worker = zygote.spawn(Plan())
        assert receive(worker)[0] == "hello"
        assert ask(worker, "(__import__('pydantic').create_model('M', a=(int, ...))(a='1').a)") == 1
        worker.close()
    finally:
        zygote.close()


def start_plainly(*arguments: str, cwd: Path | None = None, **environment: str) -> None:
    """The canary: an interpreter as anybody starts one."""
    subprocess.run([sys.executable, *arguments], cwd=cwd, env={**os.environ, **environment}, check=False, capture_output=True)


def test_a_pth_file_does_not_run(planted: Path, mark: Path) -> None:
    (planted / "hostile.pth").write_text(f"import os; {payload(mark)}\n")
    start_zygote(planted)
    assert not mark.exists()
    start_plainly("-c", f"import site; site.addsitedir({str(planted)!r})")
    assert mark.exists()


@pytest.mark.parametrize("name", ["sitecustomize", "usercustomize"])
def test_a_module_that_site_imports_does_not_run(planted: Path, mark: Path, name: str) -> None:
    (planted / f"{name}.py").write_text(payload(mark))
    start_zygote(planted)
    assert not mark.exists()
    start_plainly("-c", f"import {name}", PYTHONPATH=str(planted))
    assert mark.exists()


def test_what_was_installed_beside_the_interpreter_does_not_run(planted: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pip puts it: an interpreter runs it at each of its starts."""
    venv.create(planted, symlinks=True)
    [site] = planted.glob("lib/python*/site-packages")
    (site / "hostile.pth").write_text(f"import os; {payload(mark)}\n")
    monkeypatch.setattr(sys, "executable", str(planted / "bin" / "python"))
    start_zygote(planted)
    assert not mark.exists()
    start_plainly("-c", "pass")
    assert mark.exists()


@pytest.mark.parametrize("name", ["random", "json", "asyncio", "ctypes"])
def test_a_module_with_the_name_of_one_of_the_standard_library_hides_nothing(planted: Path, mark: Path, name: str) -> None:
    (planted / f"{name}.py").write_text(payload(mark))
    start_zygote(planted)
    assert not mark.exists()
    start_plainly("-c", f"import {name}", PYTHONPATH=str(planted))
    assert mark.exists()


def test_a_plugin_of_pydantic_does_not_run(planted: Path, mark: Path) -> None:
    (planted / "hostile_plugin.py").write_text(f"{payload(mark)}\nplugin = None")
    info = planted / "hostile-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[pydantic]\nhostile = hostile_plugin:plugin\n")
    start_zygote(planted)
    assert not mark.exists()
    start_plainly("-c", "import pydantic; pydantic.create_model('M', a=(int, ...))", PYTHONPATH=str(planted))
    assert mark.exists()


@pytest.fixture
def variables() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_a_variable_of_the_host_changes_no_path_of_the_zygote(planted: Path, mark: Path, variables: None) -> None:
    (planted / "sitecustomize.py").write_text(payload(mark))
    (planted / "orjson.py").write_text(payload(mark))
    os.environ["PYTHONPATH"] = str(planted)
    start_zygote(planted.parent)
    assert not mark.exists()
    start_plainly("-c", "import orjson")
    assert mark.exists()


def test_the_directory_that_the_host_stands_in_is_not_searched(planted: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (planted / "graphlib.py").write_text(payload(mark))
    monkeypatch.chdir(planted)
    start_zygote(planted.parent)
    assert not mark.exists()
    start_plainly("-c", "import graphlib", cwd=planted)
    assert mark.exists()


def test_secrets_of_the_host_are_not_in_the_zygote(variables: None) -> None:
    os.environ["INTERLOCK_TEST_SECRET"] = "the secret"
    zygote = Zygote.launch(worker="tests.sandbox.echo_worker", path=[str(ROOT)])
    try:
        worker = zygote.spawn(Plan(isolation="process"))
        receive(worker)
        assert ask(worker, "('INTERLOCK_TEST_SECRET' in os.environ)") is False
        read = f"(b'the secret' in open('/proc/{zygote.pid}/environ', 'rb').read())"
        assert ask(worker, read) is False
        worker.close()
    finally:
        zygote.close()
    plain = subprocess.run([sys.executable, "-c", "import os; print(os.environ['INTERLOCK_TEST_SECRET'])"], capture_output=True, text=True)
    assert plain.stdout == "the secret\n"  # the canary
