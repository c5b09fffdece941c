"""Values as bytes for storage and for our own processes, and the copies and sizes that a write needs.

Packed is JSON as orjson writes it, keys sorted: `5` and `5.0` stay apart, and what JSON lacks is a token as on the wire. No
string can hold the bytes `{"$` (a quote in a string is escaped), so their absence says that plain JSON is the value.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from interlock.errors import ValueRefused
from interlock.values.refusal import Refusal, Said, field, refused
from interlock.values.types import (
    ARRAY_ELEMENTS,
    DEPTH,
    LARGEST_INT,
    OBJECT_FIELDS,
    UNSET,
    CommitTimestamp,
    Int64,
    find_bad_key,
    is_text,
    plain,
)
from interlock.values.wire import A_VALUE, bad_key, bytes_token, float_token, integer_token, read_token

COMMIT_TS_TOKEN: Final = b'{"$commitTs":null}'

_OPTIONS: Final = (
    orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
)
_dumps = orjson.dumps
_loads = orjson.loads


def pack(value: Any) -> bytes:
    """The bytes of a legal value (from `normalize`, a checker or `from_wire`); equal values in equal number form have equal bytes."""
    packed = _dumps(value, _token, _OPTIONS)
    # orjson writes NaN and infinities as null: only where there is one, somebody has to look.
    if b"null" in packed and _has_special(value):
        return _dumps(_without_special(value), _token, _OPTIONS)
    return packed


def _token(value: Any) -> Any:
    kind = type(value)
    if kind is Int64:
        return integer_token(value)
    if kind is bytes:
        return bytes_token(value)
    if kind is CommitTimestamp:
        return {"$commitTs": None}
    if value is UNSET:
        return {"$undefined": None}
    raise TypeError(f"{kind.__name__} is no value of Interlock")


def _has_special(value: Any) -> bool:
    kind = type(value)
    if kind is float:
        return bool(value - value != 0.0)
    if kind is dict:
        value = value.values()
    elif kind is not list and kind is not tuple:
        return False
    for item in value:
        kind = type(item)
        if kind is float:
            if item - item != 0.0:
                return True
        elif (kind is dict or kind is list or kind is tuple) and _has_special(item):
            return True
    return False


def _without_special(value: Any) -> Any:
    kind = type(value)
    if kind is float and value - value != 0.0:
        return float_token(value)
    if kind is dict:
        return {name: _without_special(item) for name, item in value.items()}
    if kind is list or kind is tuple:
        return [_without_special(item) for item in value]
    return value


def unpack(packed: bytes) -> Any:
    """The value that was packed, fresh."""
    value = _loads(packed)
    return _with_tokens(value) if b'{"$' in packed else value


def _with_tokens(value: Any) -> Any:
    """Replaces tokens by what they stand for, in place where it can."""
    kind = type(value)
    if kind is dict:
        if len(value) == 1:
            [(name, item)] = value.items()
            if name[:1] == "$":
                if item is not None:
                    return read_token(name, item)
                return CommitTimestamp() if name == "$commitTs" else UNSET
        for name, item in value.items():
            kind = type(item)
            if kind is dict or kind is list:
                value[name] = _with_tokens(item)
    elif kind is list:
        for place, item in enumerate(value):
            kind = type(item)
            if kind is dict or kind is list:
                value[place] = _with_tokens(item)
    return value


def fill_commit_ts(packed: bytes, ts: int) -> bytes:
    """Packed or wire bytes with every placeholder replaced by the Int64 `ts`."""
    return packed.replace(COMMIT_TS_TOKEN, _dumps(integer_token(ts)))


def normalize(value: Any, path: str = "") -> Any:
    """A fresh deep copy that is a legal value: tuples become lists, fields that are UNSET go.

    Raises ValueRefused, with `path` in front of the place.
    """
    try:
        return copy_value(value, DEPTH, False)
    except Refusal as refusal:
        raise refused(refusal, path) from None


def copy_value(value: Any, room: int, whole: bool) -> Any:
    """The walk of `normalize`: `room` levels may still follow; with `whole`, whole floats below 2**53 become ints. Raises Refusal."""
    kind = type(value)
    if kind is str:
        if not value.isascii() and not is_text(value):
            raise Refusal("text without lone surrogates", value)
        return value
    if kind is int:
        if -LARGEST_INT <= value <= LARGEST_INT:
            return value
        raise Refusal("a number of at most 2**53, or an Int64", value)
    if kind is float:
        if whole and value and value.is_integer() and -LARGEST_INT < value < LARGEST_INT:
            return int(value)
        # Of the zeros only 0.0 is whole; -0.0 has a key of its own.
        return 0 if whole and value == 0.0 and str(value) == "0.0" else value
    if value is None or kind is bool or kind is Int64 or kind is bytes or kind is CommitTimestamp:
        return value
    if kind is dict:
        return _copy_object(value, room, whole)
    if kind is list or kind is tuple:
        if not room:
            raise Refusal(f"nested at most {DEPTH} levels deep", Said("more"))
        if len(value) > ARRAY_ELEMENTS:
            raise Refusal(f"a list of at most {ARRAY_ELEMENTS:,} elements", Said(f"{len(value):,}"))
        items: list[Any] = []
        try:
            for item in value:
                items.append(copy_value(item, room - 1, whole))
        except Refusal as refusal:
            refusal.steps.append(f"[{len(items)}]")
            raise
        return items
    exact = plain(value)
    if exact is UNSET:
        raise Refusal(A_VALUE, value)
    return copy_value(exact, room, whole)


def _copy_object(value: dict[Any, Any], room: int, whole: bool) -> dict[str, Any]:
    if not room:
        raise Refusal(f"nested at most {DEPTH} levels deep", Said("more"))
    if len(value) > OBJECT_FIELDS:
        raise Refusal(f"an object of at most {OBJECT_FIELDS:,} fields", Said(f"{len(value):,}"))
    bad = find_bad_key(value)
    if bad is not None:
        raise bad_key(*bad)
    out = {}
    name = ""
    try:
        for name, item in value.items():
            kind = type(item)
            if type(name) is not str:
                name = str.__str__(name)
            if (kind is str and item.isascii()) or item is None or kind is bool:
                out[name] = item
            elif item is not UNSET:
                out[name] = copy_value(item, room - 1, whole)
    except Refusal as refusal:
        refusal.steps.append(field(name))
        raise
    return out


def size_of(value: Any) -> int:
    """The size that limits count, in bytes."""
    kind = type(value)
    if kind is str:
        return 2 + (len(value) if value.isascii() else len(value.encode()))
    if value is None or kind is bool:
        return 1
    if kind is float or kind is int or kind is Int64 or kind is CommitTimestamp:
        return 9
    if kind is dict:
        size = 2 + len(value)
        for name, item in value.items():
            kind = type(item)
            size += len(name) + (9 if kind is float or kind is int else size_of(item))
        return size
    if kind is list or kind is tuple:
        return 2 + sum(map(size_of, value))
    if kind is bytes:
        return 2 + len(value)
    raise ValueRefused("", f"must be {A_VALUE}, got {kind.__name__}")
