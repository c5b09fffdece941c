"""Finds names of tables that were meant to be others. A table that no schema names is made by its first document, so nothing else tells."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Collection, Iterator
from pathlib import Path

_NAMING = {"insert", "query", "normalize_id"}


def misspelt_tables(file: Path, declared: Collection[str]) -> Iterator[str]:
    """A line for each `ctx.db.insert("…")` and the like with a name that is no table of the schema, but close to one."""
    for node in ast.walk(ast.parse(file.read_bytes(), filename=str(file))):
        match node:
            case ast.Call(func=ast.Attribute(attr=operation, value=ast.Attribute(attr="db")), args=[ast.Constant(value=str(name)), *_]) if (
                operation in _NAMING and name not in declared and name[:1] != "_"
            ):
                if close := difflib.get_close_matches(name, declared, 1, cutoff=0.75):
                    yield f'{file}:{node.lineno}: the schema has no table "{name}". Did you mean "{close[0]}"?'
