"""What mypyc gets wrong without a word, kept out of the modules that are compiled (docs/decisions/0021)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CORE = Path(__file__).parent.parent / "core"


def compiled() -> Iterator[Path]:
    for node in ast.parse((CORE / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COMPILED":
            for room, names in ast.literal_eval(node.value).items():
                yield from (CORE / "interlock" / room / f"{name}.py" for name in names.split())


def suspects(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            for part in [*node.handlers, *node.finalbody]:
                if any(isinstance(inner, ast.Await | ast.Yield | ast.YieldFrom) for inner in ast.walk(part)):
                    yield part.lineno, "waits while it handles an exception: that one is freed once too often. Wait behind the try"
        elif isinstance(node, ast.Return | ast.Assign) and isinstance(node.value, ast.GeneratorExp):
            yield node.lineno, "a generator expression is read to its end at once: write a generator function"
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.args.posonlyargs and node.args.kwarg:
            if any(ast.unparse(decorator) == "overload" for decorator in node.decorator_list):
                continue  # it is never called
            yield node.lineno, "a keyword that is called like a positional-only parameter is taken for it"
        elif isinstance(node, ast.MatchAs) and isinstance(node.pattern, ast.MatchOr):
            yield node.lineno, "a pattern of alternatives leaves its name unset: look by hand"
        elif isinstance(node, ast.ClassDef) and any("slots=True" in ast.unparse(decorator) for decorator in node.decorator_list):
            yield node.lineno, "a dataclass with slots is made twice, and its objects have the layout of the other"


@pytest.mark.parametrize("path", list(compiled()), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_is_compiled_holds_nothing_that_comes_out_wrong(path: Path) -> None:
    assert list(suspects(ast.parse(path.read_text()))) == []


def test_what_comes_out_wrong_is_found() -> None:
    bad = """
async def f():
    try:
        pass
    except ValueError:
        await g()
    finally:
        await h()
    return (x for x in y)
@dataclass(slots=True)
class A: pass
def k(a, /, **b): pass
match x:
    case None | str() as y: pass
"""
    assert sorted(line for line, _ in suspects(ast.parse(bad))) == [5, 8, 9, 11, 12, 14]
