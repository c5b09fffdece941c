"""Index keys: byte strings whose plain order is the order of the values.

Each value is a tag and a payload that says itself where it ends, so the key of several values is their concatenation.
`encode_keys` stands in every read and write of an index: its common cases are written out in one loop.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import copysign
from struct import Struct
from typing import Any, Final

from interlock.errors import ValueRefused
from interlock.values.refusal import show
from interlock.values.types import DEPTH, LARGEST_INT, UNSET, CommitTimestamp, Int64, find_bad_key, plain

_NUMBER: Final = 0x0D
_TEXT: Final = b"\x10"
_BYTES: Final = b"\x11"
_ARRAY: Final = b"\x12"
_OBJECT: Final = b"\x15"
_END: Final = b"\x00"

_INVERT = bytes(255 - byte for byte in range(256))
_tagged_double: Final = Struct(">Bd").pack
_double = Struct(">d")
_ZERO: Final = b"\x0d\x80" + bytes(7)
_MINUS_ZERO: Final = b"\x0d\x7f" + b"\xff" * 7
_LATEST: Final = b"\x0c\x7f" + b"\xff" * 7  # a placeholder sorts as the largest Int64
_INT64_SIZES = {0x04: -8, 0x05: -4, 0x06: -2, 0x07: -1, 0x09: 1, 0x0A: 2, 0x0B: 4, 0x0C: 8}
_INT64_TAGS = {size: bytes([tag]) for tag, size in _INT64_SIZES.items()}


def encode_keys(values: Iterable[Any]) -> bytes:
    """The key of several values in order."""
    key = b""
    for value in values:
        kind = type(value)
        if kind is str and "\0" not in value:
            try:
                key += f"\x10{value}\0".encode()
            except UnicodeEncodeError:
                raise _not_text(value) from None
        elif kind is float:
            key += _tagged_double(_NUMBER, -value) if value > 0.0 else _encode_number(value)
        elif kind is int:
            key += _tagged_double(_NUMBER, -value) if 0 < value <= LARGEST_INT else _encode_number(value)
        else:
            key += _encode(value, DEPTH)
    return key


def encode_key(value: Any) -> bytes:
    """The key of one value. UNSET stands for a field that is not there, and comes before everything."""
    kind = type(value)
    if kind is str and "\0" not in value:
        try:
            return f"\x10{value}\0".encode()
        except UnicodeEncodeError:
            raise _not_text(value) from None
    if kind is float:
        # Negating sets the sign bit, and big-endian bits with the sign bit set are the key of a positive double.
        return _tagged_double(_NUMBER, -value) if value > 0.0 else _encode_number(value)
    if kind is int:
        return _tagged_double(_NUMBER, -value) if 0 < value <= LARGEST_INT else _encode_number(value)
    return _encode(value, DEPTH)


def _encode(value: Any, room: int) -> bytes:
    """Every case. Values of other types than ours, or nested deeper than any value may be, are refused."""
    kind = type(value)
    if kind is str:
        return _encode_text(value)
    if kind is int or kind is float:
        return _encode_number(value)
    if value is None:
        return b"\x03"
    if kind is bool:
        return b"\x0f" if value else b"\x0e"
    if value is UNSET:
        return b"\x01"
    if kind is Int64:
        return _encode_int64(value)
    if kind is bytes:
        return b"".join((_BYTES, value.replace(b"\0", b"\0\xff"), _END))
    if kind is CommitTimestamp:
        return _LATEST
    if kind is list or kind is tuple or kind is dict:
        if not room:
            raise ValueRefused("", f"nested deeper than {DEPTH} levels")
        if kind is dict:
            return _encode_object(value, room - 1)
        if UNSET in value:
            raise ValueRefused("", "UNSET cannot be an element of a list")
        return _ARRAY + b"".join([_encode(item, room - 1) for item in value]) + _END
    exact = plain(value)
    if exact is UNSET:
        raise ValueRefused("", f"{show(value)} is no value of Interlock ({kind.__name__})")
    return _encode(exact, room)


def _encode_text(value: str) -> bytes:
    try:
        raw = value.encode()
    except UnicodeEncodeError:
        raise _not_text(value) from None
    return b"".join((_TEXT, raw.replace(b"\0", b"\0\xff"), _END))


def _encode_number(value: Any) -> bytes:
    if type(value) is int and not -LARGEST_INT <= value <= LARGEST_INT:
        raise ValueRefused("", f"{show(value)} is beyond 2**53; wrap it in Int64(…)")
    if not value:
        return _ZERO if type(value) is int or copysign(1.0, value) > 0.0 else _MINUS_ZERO
    if value < 0.0:
        return b"\x0d" + _double.pack(value).translate(_INVERT)
    if value > 0.0:
        return _tagged_double(_NUMBER, -value)
    bits = _double.pack(value)
    return b"\x0d" + (bits.translate(_INVERT) if bits[0] & 0x80 else bytes([bits[0] | 0x80]) + bits[1:])


def _encode_int64(value: int) -> bytes:
    if not value:
        return b"\x08"
    for size in (1, 2, 4):
        if -(1 << (8 * size - 1)) <= value < 1 << (8 * size - 1):
            break
    else:
        size = 8
    return _INT64_TAGS[size if value > 0 else -size] + value.to_bytes(size, "big", signed=True)


def _encode_object(value: dict[Any, Any], room: int) -> bytes:
    bad = find_bad_key(value)
    if bad is not None:
        raise ValueRefused("", f"{show(*bad)} cannot be a key of an object")
    parts = [_OBJECT]
    for name in sorted(value):
        item = value[name]
        if item is not UNSET:
            parts += (name.encode() + _END if name else b"\0\xff", _encode(item, room))
    parts.append(_END)
    return b"".join(parts)


def _not_text(value: str) -> ValueRefused:
    return ValueRefused("", f"{show(value)} holds a lone surrogate, which is no text")


def decode_key(key: bytes, at: int = 0) -> tuple[Any, int]:
    """The value whose key starts at `at`, and where the next one starts. Numbers come back as floats. Raises ValueError."""
    try:
        tag = key[at]
        at += 1
        if tag == 0x10:
            raw, at = _decode_bytes(key, at)
            return raw.decode(), at
        if tag == _NUMBER:
            bits = key[at : at + 8]
            if len(bits) != 8:
                raise ValueError("a number is cut short")
            if bits[0] & 0x80:
                return _double.unpack(bytes([bits[0] & 0x7F]) + bits[1:])[0], at + 8
            return _double.unpack(bits.translate(_INVERT))[0], at + 8
        if tag in _CONSTANTS:
            return _CONSTANTS[tag], at
        if tag in _INT64_SIZES:
            size = abs(_INT64_SIZES[tag])
            number = Int64(int.from_bytes(key[at : at + size], "big", signed=True))
            if _encode_int64(number) != key[at - 1 : at + size]:
                raise ValueError("an Int64 is cut short or not in its shortest form")
            return number, at + size
        if tag == 0x11:
            return _decode_bytes(key, at)
        if tag == 0x12:
            items = []
            while key[at]:
                item, at = decode_key(key, at)
                items.append(item)
            return items, at + 1
        if tag == 0x15:
            return _decode_object(key, at)
    except IndexError:
        raise ValueError("a key is cut short") from None
    raise ValueError(f"no value begins with the tag {tag:02x}")


_CONSTANTS = {0x01: UNSET, 0x03: None, 0x08: Int64(0), 0x0E: False, 0x0F: True}


def _decode_bytes(key: bytes, at: int) -> tuple[bytes, int]:
    end = at
    while True:
        end = key.find(0, end)
        if end < 0:
            raise IndexError
        if key[end + 1 : end + 2] != b"\xff":
            return key[at:end].replace(b"\0\xff", b"\0"), end + 1
        end += 2


def _decode_object(key: bytes, at: int) -> tuple[dict[str, Any], int]:
    fields: dict[str, Any] = {}
    while True:
        if key[at]:
            end = key.index(0, at)
            name, at = key[at:end].decode(), end + 1
        elif key[at + 1 : at + 2] == b"\xff":
            name, at = "", at + 2
        else:
            return fields, at + 1
        fields[name], at = decode_key(key, at)


def after_values(key: bytes) -> bytes | None:
    """The end of the interval of all keys that begin with the whole values of `key`, whatever values follow; None is unbounded.

    A value that follows begins with its tag. A text or bytes that go on with NUL instead of ending have FF there, and are outside.
    """
    return key + b"\xff" if key else None
