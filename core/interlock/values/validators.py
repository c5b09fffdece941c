"""The one validator language: JSON that says which values fit.

Annotations are turned into it (`annotations`), a manifest carries it, a deploy compares it, and `checker` compiles it. Besides
the forms of the clients' language it has `{"type": "number", "integer": true}` for `int` and `{"type": "commitTs"}`.

Start at `parse_validator`: it names every form.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any, Final

from interlock.values.refusal import show
from interlock.values.types import DEPTH, LARGEST_INT, OBJECT_FIELDS, Int64, is_identifier, is_key, is_text
from interlock.values.wire import integer_token, read_token

Json = dict[str, Any]

ANY: Final[Json] = {"type": "any"}
INTEGER: Final[Json] = {"type": "number", "integer": True}
NUMBER: Final[Json] = {"type": "number"}

_MEMBERS_MAX: Final = 256
"""Of a union that somebody else wrote: the members that are tried one after the other."""

_SIMPLE: Final = {
    "null": "None",
    "bigint": "Int64",
    "boolean": "bool",
    "string": "str",
    "bytes": "bytes",
    "any": "Any",
    "commitTs": "CommitTimestamp()",
    "number": "float",
}


# Building


def union_of(members: Iterable[Json]) -> Json:
    """Any of `members`, which may be unions themselves. One member is itself, and Any takes all others in."""
    flat: list[Json] = []
    texts: set[str] = set()  # of which there may be thousands
    others: list[Json] = []
    for member in members:
        for inner in members_of(member):
            if inner == ANY:
                return dict(ANY)
            if is_text_literal(inner):
                if inner["value"] not in texts:
                    texts.add(inner["value"])
                    flat.append(inner)
            elif not any(_is_same(inner, other) for other in others):
                others.append(inner)
                flat.append(inner)
    return flat[0] if len(flat) == 1 else {"type": "union", "value": flat}


def is_text_literal(validator: Json) -> bool:
    """Whether it takes one text, and nothing else."""
    return validator["type"] == "literal" and type(validator["value"]) is str


def _is_same(one: Json, other: Json) -> bool:
    if one["type"] == other["type"] == "literal":
        return is_same_literal(literal_value(one), literal_value(other))
    return one == other


def is_same_literal(one: Any, other: Any) -> bool:
    """Whether one value is both: 1 and 1.0 are, True and 1 are not, nor 0.0 and -0.0."""
    kind = class_of_literal(one)
    return kind == class_of_literal(other) and bool(one == other) and (kind != "number" or str(float(one)) == str(float(other)))


def object_of(fields: Mapping[str, tuple[Json, bool]]) -> Json:
    """An object of `name: (validator, optional)`."""
    return {"type": "object", "value": {name: {"fieldType": inner, "optional": optional} for name, (inner, optional) in fields.items()}}


def record_of(keys: Json, values: Json, where: str) -> Json:
    """An object of any names that fit `keys`. Raises TypeError for keys that are not strings or ids."""
    if any(key["type"] not in ("string", "id") for key in members_of(keys)):
        raise TypeError(
            f"{where}: the keys of a dict are str or ids, not {describe(keys)}; "
            'for known keys write a nested dict {"name": str} or a TypedDict'
        )
    return {"type": "record", "keys": keys, "values": {"fieldType": values, "optional": False}}


def id_of(table: Any, where: str) -> Json:
    """The id of a document of `table`. Raises TypeError for what is no table name."""
    if not isinstance(table, str) or not is_identifier(table):
        raise TypeError(f"{where}: Id({show(table)}) names no table; a table is an identifier of at most 64 characters")
    return {"type": "id", "tableName": table}


def literal_of(value: Any, where: str) -> Json:
    """Exactly that value. Raises TypeError for what cannot be a literal."""
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None:
        return {"type": "null"}
    if isinstance(value, bool):
        return {"type": "literal", "value": value}
    if isinstance(value, Int64):
        return {"type": "literal", "value": integer_token(value)}
    if isinstance(value, str) and is_text(value):
        return {"type": "literal", "value": str.__str__(value)}
    if isinstance(value, int) and -LARGEST_INT <= value <= LARGEST_INT:
        return {"type": "literal", "value": int(value)}
    if isinstance(value, float) and value - value == 0.0:
        return {"type": "literal", "value": float(value)}
    raise TypeError(f"{where}: {show(value)} cannot be a literal; a literal is a str, a bool or a finite number")


def members_of(validator: Json) -> list[Json]:
    """The members of a union, nested unions opened; anything else is its own member."""
    if validator["type"] != "union":
        return [validator]
    return [inner for member in validator["value"] for inner in members_of(member)]


def literal_value(validator: Json) -> Any:
    """The value of a literal."""
    value = validator["value"]
    return read_token(*next(iter(value.items()))) if isinstance(value, dict) else value


def copied(validator: Json) -> Json:
    """A validator that shares nothing with the given one."""
    return {name: _copied(item) for name, item in validator.items()}


def _copied(part: Any) -> Any:
    if isinstance(part, dict):
        return copied(part)
    return [_copied(item) for item in part] if isinstance(part, list) else part


# Parsing


def parse_validator(data: Any, *, where: str, depth: int = DEPTH) -> Json:
    """A validator out of JSON that somebody else wrote, as a fresh copy. Raises TypeError for what is none."""
    if not isinstance(data, dict):
        raise TypeError(f"{where}: a validator is a JSON object, not {show(data)}")
    if not depth:
        raise TypeError(f"{where}: nested deeper than {DEPTH} levels")
    kind = data.get("type")
    if kind == "number" and data.get("integer") is True:
        return dict(INTEGER)
    if kind == "id":
        return id_of(data.get("tableName"), where)
    if kind == "literal":
        return _parse_literal(data.get("value"), where)
    if kind == "array":
        return {"type": "array", "value": parse_validator(data.get("value"), where=f"{where}[…]", depth=depth - 1)}
    if kind == "union" and isinstance(data.get("value"), list):
        members = [parse_validator(member, where=where, depth=depth - 1) for member in data["value"]]
        count = sum(not is_text_literal(inner) for member in members for inner in members_of(member))
        if count > _MEMBERS_MAX:
            raise TypeError(f"{where}: a union of {count:,} types; at most {_MEMBERS_MAX} are allowed, besides literals of text")
        return union_of(members)
    if kind == "record":
        keys = parse_validator(data.get("keys"), where=where, depth=depth - 1)
        values = _parse_field(data.get("values"), f"{where}[…]", depth)
        if values["optional"]:
            raise TypeError(f"{where}: the values of a record cannot be optional")
        return record_of(keys, values["fieldType"], where)
    if kind == "object" and isinstance(data.get("value"), dict):
        fields = data["value"]
        if len(fields) > OBJECT_FIELDS:
            raise TypeError(f"{where}: {len(fields):,} fields; an object has at most {OBJECT_FIELDS:,}")
        for name in fields:
            if not is_key(name):
                raise TypeError(f"{where}: {show(name)} cannot be a field")
        return {"type": "object", "value": {name: _parse_field(item, f"{where}.{name}", depth) for name, item in fields.items()}}
    if isinstance(kind, str) and kind in _SIMPLE:
        return {"type": kind}
    raise TypeError(f"{where}: {show(data)} is no validator")


def _parse_field(data: Any, where: str, depth: int) -> Json:
    if not isinstance(data, dict) or type(data.get("optional", False)) is not bool:
        raise TypeError(f"{where}: a field is an object of fieldType and optional, not {show(data)}")
    return {
        "fieldType": parse_validator(data.get("fieldType"), where=where, depth=depth - 1),
        "optional": data.get("optional", False),
    }


def _parse_literal(data: Any, where: str) -> Json:
    if isinstance(data, dict):
        value = read_token(*next(iter(data.items()))) if len(data) == 1 else None
        if not isinstance(value, Int64 | float):
            raise TypeError(f"{where}: {show(data)} cannot be a literal")
        return literal_of(value, where)
    if data is None:
        raise TypeError(f"{where}: null cannot be a literal")
    return literal_of(data, where)


# Text


def describe(validator: Json) -> str:
    """A validator as its author would write it in Python."""
    kind = validator["type"]
    if kind == "number" and validator.get("integer"):
        return "int"
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if kind == "id":
        return f'Id("{validator["tableName"]}")'
    if kind == "literal":
        return f"Literal[{_literal_text(validator)}]"
    if kind == "array":
        return f"list[{describe(validator['value'])}]"
    if kind == "record":
        return f"dict[{describe(validator['keys'])}, {describe(validator['values']['fieldType'])}]"
    if kind == "object":
        return "{" + ", ".join(f'"{name}": {_field_text(item)}' for name, item in validator["value"].items()) + "}"
    members = members_of(validator)
    literals = ", ".join(_literal_text(member) for member in members if member["type"] == "literal")
    texts = [describe(member) for member in members if member["type"] != "literal"]
    return " | ".join([f"Literal[{literals}]", *texts] if literals else texts) or "Never"


def _literal_text(validator: Json) -> str:
    value = literal_value(validator)
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if isinstance(value, str) else repr(value)


def _field_text(field: Json) -> str:
    text = describe(field["fieldType"])
    return f"NotRequired[{text}]" if field["optional"] else text


def class_of_literal(value: Any) -> str:
    kind = type(value)
    return "number" if kind is int or kind is float else {bool: "boolean", str: "string", Int64: "bigint"}[kind]


def may_have_path(validator: Json, dotted_path: str) -> bool:
    """Whether a value that fits could have something at `dotted_path`, so that an index on it makes sense."""
    return _may_have(validator, dotted_path.split("."))


def _may_have(validator: Json, names: list[str]) -> bool:
    kind = validator["type"]
    if not names or kind == "any":
        return True
    if kind == "union":
        return any(_may_have(member, names) for member in validator["value"])
    if kind != "object" or names[0] not in validator["value"]:
        return False
    return _may_have(validator["value"][names[0]]["fieldType"], names[1:])
