"""Values as bytes for storage and for our own processes, and the sizes that limits count.

Packed is JSON as orjson writes it, keys sorted: `5` and `5.0` stay apart, and what JSON lacks is a token as on the wire. No
string can hold the bytes `{"$` (a quote in a string is escaped), so their absence says that plain JSON is the value.
"""

from __future__ import annotations

from binascii import a2b_base64
from struct import Struct
from typing import Any, Final

import orjson

from interlock.errors import ValueRefused
from interlock.values.normal import A_VALUE
from interlock.values.types import UNSET, CommitTimestamp, Int64, plain
from interlock.values.wire import bytes_token, float_token, integer_token

COMMIT_TS_TOKEN: Final = b'{"$commitTs":null}'

_OPTIONS: Final = (
    orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
)
_TOGETHER: Final = 64
_double = Struct("<d")
_dumps: Final = orjson.dumps
_loads: Final = orjson.loads
_join: Final = b"".join


def pack(value: Any) -> bytes:
    """The bytes of a legal value (from `normalize`, a checker or `from_wire`); equal values in equal number form have equal bytes."""
    return _join((pack_for_now(value), b""))  # a copy: what orjson gives keeps a buffer of 8 KiB behind it


def pack_for_now(value: Any) -> bytes:
    """The same, for bytes that nobody keeps."""
    packed = _dumps(value, _token, _OPTIONS)
    # orjson writes NaN and infinities as null. A flat document is sooner looked through than its bytes; of others only those where there
    # is one.
    if type(value) is dict:
        for item in value.values():
            kind = type(item)
            if kind is float:
                if item - item != 0.0:
                    break
            elif kind is dict or kind is list or kind is tuple:
                break
        else:
            return packed
    if packed.find(b"null") >= 0 and _has_special(value):
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
    exact = plain(value)
    if exact is UNSET:
        raise TypeError(f"{kind.__name__} is no value of Interlock")
    return exact


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
    # Most bytes hold no "$" at all, which is sooner seen.
    # `find`: with bytes on its left, `in` first tries them as a number, and that costs an exception.
    return with_tokens(value) if 36 in packed and packed.find(b'{"$') >= 0 else value


def unpack_all(packed: list[bytes]) -> list[Any]:
    """The values that were packed, fresh: many are read as one text, which costs less than each for itself."""
    if len(packed) < 2:
        return [unpack(each) for each in packed]
    values: list[Any] = []
    for at in range(0, len(packed), _TOGETHER):
        text = b"[" + b",".join(packed[at : at + _TOGETHER]) + b"]"
        some = _loads(text)
        values += with_tokens(some) if 36 in text and text.find(b'{"$') >= 0 else some
    return values


def with_tokens(value: Any) -> Any:
    """Replaces tokens by what they stand for, in place where it can."""
    kind = type(value)
    if kind is dict:
        if len(value) == 1:
            [(name, item)] = value.items()
            if name[:1] == "$":
                return _from_token(name, item)
        for name, item in value.items():
            kind = type(item)
            if kind is dict or kind is list:
                value[name] = with_tokens(item)
    elif kind is list:
        for place, item in enumerate(value):
            kind = type(item)
            if kind is dict or kind is list:
                value[place] = with_tokens(item)
    return value


def _from_token(name: str, item: Any) -> Any:
    """Unlike the wire's reader it trusts what it reads: `pack` wrote it."""
    if name == "$integer":
        return int.__new__(Int64, int.from_bytes(a2b_base64(item), "little", signed=True))
    if name == "$bytes":
        return a2b_base64(item)
    if name == "$float":
        return _double.unpack(a2b_base64(item))[0]
    return CommitTimestamp() if name == "$commitTs" else UNSET


def fill_commit_ts(packed: bytes, ts: int) -> bytes:
    """Packed or wire bytes with every placeholder replaced by the Int64 `ts`."""
    return packed.replace(COMMIT_TS_TOKEN, _dumps(integer_token(ts)))


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
        size = 2 + len(value) + sum(map(len, value))
        for item in value.values():
            kind = type(item)
            if kind is str and item.isascii():
                size += 2 + len(item)
            elif kind is float or kind is int:
                size += 9
            else:
                size += size_of(item)
        return size
    if kind is list or kind is tuple:
        return 2 + sum(map(size_of, value))
    if kind is bytes:
        return 2 + len(value)
    raise ValueRefused("", f"must be {A_VALUE}, got {kind.__name__}")
