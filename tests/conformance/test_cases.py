"""The cases of the list are all here, each is really asserted, and those that are left out say what is missing, while it is."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from interlock import ActionCtx, ContextError, Table
from interlock.cli.main import app

pytestmark = pytest.mark.one_isolation("inline", "no component runs: whether every case has its test")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _is_refused(owner: type, name: str) -> bool:
    """Whether what stands under a name of a context does nothing but refuse."""
    found: Any = getattr(owner, name)
    host = SimpleNamespace(_host=SimpleNamespace(function=SimpleNamespace(name="any")))
    try:
        found.fget(host)
    except ContextError as error:
        return "is not there" in str(error)
    return False


MISSING: dict[str, Callable[[], bool]] = {
    "file storage": lambda: _is_refused(ActionCtx, "storage"),
    "text search": lambda: not any("search" in name for name in dir(Table)),
    "vector search": lambda: not any("vector" in name for name in dir(Table)),
    "export and import": lambda: not {"export", "import"} & {str(command.name) for command in app.registered_commands},
}
"""What a case may wait for, and whether it is still not there."""


@functools.cache
def cases() -> dict[int, list[Function]]:
    found: dict[int, list[Function]] = {}
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, Function) and node.name[:5] == "test_" and node.name[5:8].isdigit():
                found.setdefault(int(node.name[5:8]), []).append(node)
    return found


def marks(case: Function) -> list[str]:
    """Besides those that say where it runs."""
    marks = [ast.unparse(mark) for mark in case.decorator_list if "pytest.mark" in ast.unparse(mark)]
    return [mark for mark in marks if not mark.startswith(("pytest.mark.one_isolation", "pytest.mark.usefixtures"))]


def reason(case: Function) -> str | None:
    """What a skipped case says that it needs."""
    for mark in case.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.skip":
            return str(ast.literal_eval(mark.keywords[0].value)).removeprefix("needs ")
    return None


def asserts(case: Function) -> bool:
    nodes = list(ast.walk(case))
    raises = any(isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.raises" for node in nodes)
    return raises or any(isinstance(node, ast.Assert) for node in nodes)


def test_each_of_the_hundred_cases_is_one_test() -> None:
    assert {number: len(tests) for number, tests in cases().items()} == dict.fromkeys(range(1, 101), 1)


@pytest.mark.parametrize("number", range(1, 101))
def test_a_case_asserts_something_or_says_what_is_missing(number: int) -> None:
    (case,) = cases()[number]
    needs = reason(case)
    if needs is None:
        assert marks(case) == [], "it is either run, or skipped with what is missing"
        assert asserts(case)
    else:
        assert needs in MISSING
        assert ast.get_docstring(case), "it says what it will assert"
        assert MISSING[needs](), f"{needs}: there by now, so the case can be written"
