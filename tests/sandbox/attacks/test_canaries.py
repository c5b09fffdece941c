"""No test passes because its attack is broken: each shows that the attack gets through where nobody stops it.

Its canary stands in the test itself, which says so by the word; or in a helper that it uses, or in another test of its module, which
`@pytest.mark.canary("test_…")` names.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

HERE = Path(__file__)
ATTACKS = [*(path for path in sorted(HERE.parent.glob("test_*.py")) if path != HERE), HERE.parents[2] / "fetch" / "test_attacks.py"]


def without_canary(source: str) -> list[str]:
    """The tests of a module of attacks that have none."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lines = source.splitlines()
    canaries = {node.name for node in functions if "canar" in "".join(lines[node.lineno - 1 : node.end_lineno])}
    return [
        node.name for node in functions if node.name.startswith("test_") and node.name not in canaries and canaries.isdisjoint(_used(node))
    ]


def _used(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """What it calls, its fixtures, and the test that its mark names."""
    used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)} | {argument.arg for argument in function.args.args}
    for mark in function.decorator_list:
        match mark:
            case ast.Call(func=ast.Attribute(attr="canary"), args=[ast.Constant(value=str(named))]):
                used.add(named)
    return used


@pytest.mark.parametrize("path", ATTACKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_attack_has_a_canary(path: Path) -> None:
    assert without_canary(path.read_text()) == []


def test_what_counts_as_one() -> None:
    source = '''
def free():
    """The canary."""
def test_in_itself():
    assert True  # the canary
def test_by_a_helper():
    free()
def test_by_a_fixture(free):
    pass
@pytest.mark.canary("test_in_itself")
def test_by_name():
    pass
@pytest.mark.canary("test_gone")
def test_by_a_name_that_is_gone():
    pass
def test_without():
    pass
'''
    assert without_canary(source) == ["test_by_a_name_that_is_gone", "test_without"]
