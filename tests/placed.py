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

    `make` stands at the top of its module; the arguments are written into the new one as `repr` shows them.
    """
    given = ", ".join([*map(repr, args), *(f"{name}={value!r}" for name, value in options.items())])
    module = sys.modules[make.__module__]
    tree = ast.parse(inspect.getsource(module))
    constants = [f"{name} = {value!r}" for name, value in vars(module).items() if name.isupper() and isinstance(value, int | float | str)]
    return _import(
        "\n".join([*map(ast.unparse, _needed(tree, make.__name__)), *constants, f"component = {make.__name__}({given})", ""]), "component"
    )


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


def _needed(tree: ast.Module, wanted: str) -> Iterator[ast.stmt]:
    """The imports, and the statements at the top of the module that define a name which is needed, directly or by another."""
    defining = {name: statement for statement in tree.body for name in _defined(statement)}
    found: set[str] = set()
    waiting = [wanted]
    while waiting:
        name = waiting.pop()
        if name in defining and name not in found:
            found.add(name)
            waiting += [node.id for node in ast.walk(defining[name]) if isinstance(node, ast.Name)]
    needed = {id(defining[name]) for name in found}
    for statement in tree.body:
        match statement:
            case ast.Import(names=names):
                is_wanted = all(alias.name in _KNOWN for alias in names)
            case ast.ImportFrom(module=module, level=level):
                is_wanted = not level and module in _KNOWN
            case _:
                is_wanted = id(statement) in needed
        if is_wanted:
            yield statement


def _defined(statement: ast.stmt) -> list[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []
