"""Random values and validators, and what the specification says about them, written as plainly as it can be said."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import strategies as st

from interlock.values import UNSET, CommitTimestamp, Int64, encode_id, table_of, to_wire, union_of
from interlock.values.validators import literal_value

TWO_53 = 2**53

keys = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=6).filter(lambda key: not key.startswith("$"))
ints = st.integers(-TWO_53, TWO_53) | st.integers(-300, 300)
floats = st.floats() | st.integers(-300, 300).map(float)
int64s = st.integers(-(2**63), 2**63 - 1).map(Int64) | st.integers(-300, 300).map(Int64)
texts = st.text(max_size=6) | st.sampled_from(["", "\0", "a\0b", "\uffff", "😀", "{", '{"$', "null"])
numbers = ints | floats
scalars = st.none() | st.booleans() | numbers | int64s | texts | st.binary(max_size=6)


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=8)


values = nested(scalars)
documents = st.dictionaries(keys, values, max_size=5)
values_and_placeholders = nested(scalars | st.just(CommitTimestamp()))


def exact(value: Any) -> Any:
    """Something that is equal for two values only if they are the same to the last bit, number form included."""
    if isinstance(value, dict):
        return "dict", sorted((name, exact(item)) for name, item in value.items())
    if isinstance(value, list):
        return "list", [exact(item) for item in value]
    if isinstance(value, float):
        return "float", struct.pack(">d", value).hex()
    return type(value).__name__, repr(value)


def is_minus_zero(value: Any) -> bool:
    return str(value) == "-0.0"


def with_whole_ints(value: Any, limit: int = TWO_53 - 1) -> Any:
    """Every whole float up to `limit` as an int, but for -0.0."""
    if isinstance(value, dict):
        return {name: with_whole_ints(item, limit) for name, item in value.items()}
    if isinstance(value, list):
        return [with_whole_ints(item, limit) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= limit and not is_minus_zero(value):
        return int(value)
    return value


def place(value: Any) -> Any:
    """Sorts as values do: by type, then as each type does."""
    if value is UNSET:
        return (0,)
    if value is None:
        return (1,)
    if isinstance(value, Int64 | CommitTimestamp):
        return 2, 2**63 - 1 if isinstance(value, CommitTimestamp) else int(value)
    if isinstance(value, bool):
        return 4, value
    if isinstance(value, int | float):
        return 3, _total_order(float(value))
    if isinstance(value, str):
        return 5, [ord(character) for character in value]
    if isinstance(value, bytes):
        return 6, list(value)
    if isinstance(value, list):
        return 7, [place(item) for item in value]
    return 8, sorted((name, place(item)) for name, item in value.items())


def _total_order(value: float) -> Any:
    """-NaN, all numbers with -0.0 below 0.0, NaN; NaNs among themselves by their bits."""
    bits = int.from_bytes(struct.pack(">d", value), "big")
    negative, payload = bool(bits >> 63), bits & (2**63 - 1)
    if value != value:
        return (0, -payload) if negative else (2, payload)
    return 1, (value, not negative)


# Validators

field_names = st.sampled_from(["a", "b", "kind", "a b", ""])
TABLES = {"games": 10_001, "guesses": 10_002}
literals = (
    st.sampled_from(["a", "b", True, False, 0, 1, 2.5, -0.0, 5.0]) | int64s.map(lambda value: to_wire(value)) | st.integers(-300, 300)
)
leaf_validators = st.sampled_from(
    [{"type": kind} for kind in ("null", "number", "bigint", "boolean", "string", "bytes", "any", "commitTs")]
    + [{"type": "number", "integer": True}, {"type": "id", "tableName": "games"}, {"type": "id", "tableName": "nowhere"}]
) | literals.map(lambda value: {"type": "literal", "value": value})


def _bigger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    fields = st.fixed_dictionaries({"fieldType": inner, "optional": st.booleans()})
    return (
        inner.map(lambda item: {"type": "array", "value": item})
        | st.lists(inner, max_size=3).map(union_of)
        | st.dictionaries(field_names, fields, max_size=3).map(lambda declared: {"type": "object", "value": declared})
        | inner.map(lambda item: {"type": "record", "keys": {"type": "string"}, "values": {"fieldType": item, "optional": False}})
    )


validators = st.recursive(leaf_validators, _bigger, max_leaves=6)


@st.composite
def values_for(draw: st.DrawFn, validator: Any) -> Any:
    """Mostly values that fit, now and then a part that does not."""
    if draw(st.integers(0, 12)) == 0:
        return draw(values)
    match validator["type"]:
        case "any":
            return draw(values)
        case "null":
            return None
        case "number":
            return draw(numbers if not validator.get("integer") else ints | ints.map(float))
        case "bigint" | "commitTs":
            return draw(int64s)
        case "boolean":
            return draw(st.booleans())
        case "string":
            return draw(texts)
        case "bytes":
            return draw(st.binary(max_size=4))
        case "id":
            return encode_id(draw(st.sampled_from([10_001, 10_001, 10_002])), bytes(16))
        case "literal":
            value = literal_value(validator)
            return draw(st.sampled_from([value, float(value)])) if type(value) is int else value
        case "array":
            return draw(st.lists(values_for(validator["value"]), max_size=3))
        case "record":
            return draw(st.dictionaries(keys, values_for(validator["values"]["fieldType"]), max_size=3))
        case "union":
            return draw(values_for(draw(st.sampled_from(validator["value"])))) if validator["value"] else draw(values)
        case _:
            value = {}
            for name, declared in validator["value"].items():
                if not declared["optional"] or draw(st.booleans()):
                    value[name] = draw(values_for(declared["fieldType"]))
            if draw(st.integers(0, 8)) == 0:
                value[draw(field_names)] = draw(values | st.just(UNSET))
            return value


class NoFit(Exception):
    """What `interpret` raises."""


def interpret(validator: Any, value: Any) -> Any:
    """What a validator gives back for a value, read straight from the rules."""
    kind = validator["type"]
    is_number = isinstance(value, int | float) and not isinstance(value, bool | Int64)
    if kind == "any":
        if value is UNSET:
            raise NoFit
        return with_whole_ints(_without_unset(value))
    if kind == "union":
        numeric = [member for member in validator["value"] if member["type"] == "number"]
        for member in validator["value"]:
            try:
                if member["type"] == "number" and len(numeric) == 2 and is_number:
                    return with_whole_ints(value)
                return interpret(member, value)
            except NoFit:
                continue
        raise NoFit
    if kind == "array" and isinstance(value, list):
        return [interpret(validator["value"], item) for item in value]
    if kind == "record" and isinstance(value, dict):
        return {name: interpret(validator["values"]["fieldType"], item) for name, item in value.items() if item is not UNSET}
    if kind == "object" and isinstance(value, dict):
        value = {name: item for name, item in value.items() if item is not UNSET}
        for name, declared in validator["value"].items():
            if name not in value and not declared["optional"]:
                raise NoFit
        if any(name not in validator["value"] for name in value):
            raise NoFit
        return {name: interpret(validator["value"][name]["fieldType"], item) for name, item in value.items()}
    if kind == "literal":
        literal = literal_value(validator)
        if is_number and type(literal) in (int, float):
            fits = value == literal and is_minus_zero(value) == is_minus_zero(literal)
        else:
            fits = type(value) is type(literal) and value == literal
        if fits:
            return literal
    if kind == "number" and is_number:
        if not validator.get("integer"):
            return float(value)
        if float(value).is_integer() and abs(value) <= TWO_53:
            return int(value)
    if kind == "id" and isinstance(value, str) and table_of(value) is not None and table_of(value) == TABLES.get(validator["tableName"]):
        return value
    python_type = {"null": type(None), "bigint": Int64, "commitTs": Int64, "boolean": bool, "string": str, "bytes": bytes}.get(kind)
    if python_type is type(value):
        return value
    raise NoFit


def _without_unset(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_unset(item) for name, item in value.items() if item is not UNSET}
    return [_without_unset(item) for item in value] if isinstance(value, list) else value
