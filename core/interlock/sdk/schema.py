"""Schema: the tables of an app or a component, their fields and indexes.

What can be refused without looking at data is refused here, on the line that declares it.
"""

from __future__ import annotations

from typing import Any, Self

from interlock.errors import SchemaError
from interlock.limits import LIMITS
from interlock.sdk.declarations import TableDeclaration
from interlock.values import Json, fields_from, may_have_path
from interlock.values.types import is_identifier, is_key

_BUILT_IN = ("by_creation_time", "by_id")
_INDEXES_MAX = int(LIMITS["indexes_per_table"].value)
_FIELDS_MAX = int(LIMITS["index_fields"].value)
_TABLES_MAX = int(LIMITS["tables"].value)


def is_table_name(name: str) -> bool:
    """An identifier that does not begin with an underscore: those are the system's."""
    return is_identifier(name) and not name.startswith("_")


class Table:
    """A table: the fields of its documents, as a dict of annotations, a TypedDict or a pydantic model class, and its indexes."""

    def __init__(self, fields: Any, /) -> None:
        try:
            self._validator: Json = fields_from(fields)
        except TypeError as error:
            raise SchemaError("", "", "", str(error)) from None
        self._indexes: dict[str, tuple[str, ...]] = {}
        self._staged: tuple[str, ...] = ()

    def index(self, name: str, /, *fields: str, staged: bool = False) -> Self:
        """Declare an index: documents in the order of `fields` (dotted paths for nested ones), then of creation. Gives the table itself.

        A `staged` index is filled in the background, without holding up the start, and cannot be read until a later start declares
        it without the flag. One that is there already is kept, and no longer read.
        """
        reason = self._refusal(name, fields)
        if reason:
            raise SchemaError("", "", "", f"index {name!r}: {reason}")
        if not isinstance(staged, bool):
            raise SchemaError("", "", "", f"index {name!r}: staged is True or False, not {staged!r}.")
        self._indexes[name] = fields
        if staged:
            self._staged = (*self._staged, name)
        return self

    def declaration(self) -> TableDeclaration:
        return TableDeclaration(self._validator, dict(self._indexes), self._staged)

    def _refusal(self, name: str, fields: tuple[str, ...]) -> str:
        if not isinstance(name, str) or not is_identifier(name):
            return "its name must be ASCII letters, digits and underscores, no digit first, at most 64."
        if name in _BUILT_IN:
            return "every table has it already; do not declare it."
        if name.startswith("_"):
            return "names that begin with an underscore are the system's; choose another."
        if name in self._indexes:
            return f"it is declared twice, over {_listed(self._indexes[name])} and {_listed(fields)}; give one of them another name."
        if not fields:
            return f'it has no fields. Name at least one: .index("{name}", "field").'
        if len(fields) > _FIELDS_MAX:
            return f"it has {len(fields)} fields; at most {_FIELDS_MAX} are allowed."
        for field in fields:
            refusal = _field_refusal(field)
            if refusal:
                return refusal
            if fields.count(field) > 1:
                return f"it has the field {field!r} twice."
            if not may_have_path(self._validator, field):
                return f"no document of this table can have the field {field!r}. Declare the field, or correct its name."
        twin = next((other for other, listed in self._indexes.items() if listed == fields), None)
        if twin is not None:
            return f"it has the same fields as {twin!r}; one of them is enough."
        if len(self._indexes) >= _INDEXES_MAX:
            return f"it is one too many; a table has at most {_INDEXES_MAX}."
        return ""


class Schema:
    """The tables of an app or a component. With `strict` a deploy is refused when stored documents do not fit."""

    def __init__(self, *, strict: bool = True, **tables: Table) -> None:
        if not isinstance(strict, bool):
            raise SchemaError("strict", "", "", "that is the schema's setting, so no table can have this name.")
        for name, table in tables.items():
            if not is_table_name(name):
                raise SchemaError(name, "", "", "a table's name is ASCII letters, digits and underscores, a letter first, at most 64.")
            if not isinstance(table, Table):
                raise SchemaError(name, "", "", f"that is no Table but {type(table).__name__}; write {name}=Table({{…}}).")
        if len(tables) > _TABLES_MAX:
            raise SchemaError("", "", "", f"{len(tables):,} tables; at most {_TABLES_MAX:,} are allowed.")
        self.strict = strict
        self.tables = tables

    def declarations(self) -> dict[str, TableDeclaration]:
        return {name: table.declaration() for name, table in self.tables.items()}


def _field_refusal(path: str) -> str:
    if not isinstance(path, str):
        return f"its fields are names, not {path!r}."
    first, *inner = path.split(".")
    if path == "_id":
        return "it must not name _id: every index ends in it, unseen."
    if path == "_creationTime":
        return "it must not name _creationTime: every index ends in it, unseen."
    if first.startswith("_"):
        return f"the field {path!r} begins with an underscore, and those are the system's."
    if not is_identifier(first) or not all(part and is_key(part) for part in inner):
        return f"{path!r} is no path of field names; write them with dots between, like state.kind."
    return ""


def _listed(fields: tuple[str, ...]) -> str:
    return "(" + ", ".join(fields) + ")"
