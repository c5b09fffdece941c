"""A component that a test makes in a function, in a module of its own: so a worker finds it too, and the test can run both ways.

Start at `placed`; the fixture `both_isolations` of `tests/conftest.py` says how the mounts run.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from interlock import Component

_folder = tempfile.TemporaryDirectory(prefix="interlock-placed-")
_numbers = itertools.count()
_KNOWN = frozenset({"__future__", "asyncio", "typing", "interlock"})
"""Packages that every worker has. Of what a test imports besides, a component makes no use."""


def placed(make: Callable[..., Component], /, *args: Any, **options: Any) -> Component:
    """What `make(*args, **options)` makes, under a name in a module that holds the function and what it needs of its own module.

    `make` may stand within a test, as `@placed` above it says. The arguments, and what it takes of the test around it, are written
    into the new module as `repr` shows them.
    """
    given = ", ".join([*map(repr, args), *(f"{name}={value!r}" for name, value in options.items())])
    module = sys.modules[make.__module__]
    constants = {name: value for name, value in vars(module).items() if name.isupper() and isinstance(value, int | float | str)}
    constants |= inspect.getclosurevars(make).nonlocals
    made = ast.parse(textwrap.dedent(inspect.getsource(make))).body[0]
    assert isinstance(made, ast.FunctionDef)
    made.decorator_list = []
    tree = ast.parse(inspect.getsource(module))
    lines = [*map(ast.unparse, _needed(tree, made)), *(f"{name} = {value!r}" for name, value in constants.items()), ast.unparse(made)]
    return _import("\n".join([*lines, f"component = {made.name}({given})", ""]), "component")


def replaced(component: Component) -> Component:
    """The same for one that stands at the top of a module of the tests: all of that module, outside of their package."""
    module = sys.modules[component.module]
    name = next(name for name, value in vars(module).items() if value is component)
    return _import(inspect.getsource(module), name)


def _import(text: str, name: str) -> Component:
    module = f"placed_{next(_numbers)}"
    Path(_folder.name, f"{module}.py").write_text(text)
    if _folder.name not in sys.path:
        sys.path.append(_folder.name)
    importlib.invalidate_caches()
    made: Component = getattr(importlib.import_module(module), name)
    return made


def _needed(tree: ast.Module, made: ast.FunctionDef) -> Iterator[ast.stmt]:
    """What `made` needs, directly or by another: of the imports, and of the statements at the top of the module that define a name."""
    defining = {name: statement for statement in tree.body for name in _defined(statement)}
    found: set[str] = set()
    waiting = _names(made)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            if name in defining and name != made.name:
                waiting += _names(defining[name])
    needed = {id(defining[name]) for name in found if name in defining and name != made.name}
    for statement in tree.body:
        match statement:
            case ast.ImportFrom(module="__future__"):
                yield statement
            case ast.Import(names=names):
                if used := [alias for alias in names if alias.name in _KNOWN and alias.name in found]:
                    yield ast.Import(names=used)
            case ast.ImportFrom(module=module, names=names, level=0):
                if module in _KNOWN and (used := [alias for alias in names if (alias.asname or alias.name) in found]):
                    yield ast.ImportFrom(module=module, names=used, level=0)
            case _:
                if id(statement) in needed:
                    yield statement


def _names(statement: ast.stmt) -> list[str]:
    return [node.id for node in ast.walk(statement) if isinstance(node, ast.Name)]


def _defined(statement: ast.stmt) -> list[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []
