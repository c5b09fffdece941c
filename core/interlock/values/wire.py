"""Values as JSON for clients: the encoding of the official clients, and the other formats of the HTTP API.

Every number is a double there, so it is written with a point or an exponent; what JSON lacks is an object of one `$` key.
Keys are sorted, so equal values have equal bytes.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from math import copysign
from struct import Struct
from typing import Any, Final

import orjson

from interlock.errors import ValueRefused
from interlock.values.refusal import Refusal, Said, field, refused, show
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

Token = Callable[[Any], Any]

A_VALUE: Final = "a value (None, bool, int, float, Int64, str, bytes, list, dict)"
GOOD_KEYS: Final = 'an object with keys of at most 1,024 printable ASCII characters, none with "$" in front'

_double = Struct("<d")


def bad_key(name: object) -> Refusal:
    return Refusal(GOOD_KEYS, Said(f"the key {show(name)}"))


def base64(raw: bytes) -> str:
    """Standard alphabet, padded."""
    return b2a_base64(raw, newline=False).decode()


def integer_token(value: int) -> dict[str, str]:
    return {"$integer": base64(value.to_bytes(8, "little", signed=True))}


def float_token(value: float) -> dict[str, str]:
    return {"$float": base64(_double.pack(value))}


def bytes_token(value: bytes) -> dict[str, str]:
    return {"$bytes": base64(value)}


def to_wire(value: Any) -> Any:
    """The JSON-able form of a value: fresh, keys sorted, every number a float. A placeholder becomes its token. Raises ValueRefused."""
    try:
        return _render(value, DEPTH, integer_token, bytes_token, float_token, float_token)
    except Refusal as refusal:
        raise refused(refusal) from None


def dumps(value: Any) -> bytes:
    """`to_wire` as bytes: canonical, so fit for comparing and hashing."""
    return orjson.dumps(to_wire(value))


def _name_of_special(value: float) -> str:
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _itself(value: Any) -> Any:
    return value


_FORMATS: dict[str, tuple[Token, Token, Token, Token]] = {
    "convex_encoded_json": (integer_token, bytes_token, float_token, float_token),
    "json": (str, base64, _name_of_special, _itself),
    "export_json": (int, bytes_token, float_token, _itself),
}
_FORMATS["convex_json"] = _FORMATS["convex_encoded_json"]
_FORMATS["convex_clean_json"] = _FORMATS["json"]


def to_json(value: Any, format: str) -> Any:
    """The JSON-able form of a value in a format of the HTTP API. Raises ValueRefused for a format that there is not."""
    tokens = _FORMATS.get(format)
    if tokens is None:
        raise ValueRefused("format", f"must be one of {', '.join(sorted(_FORMATS))}, got {show(format)}")
    try:
        return _render(value, DEPTH, *tokens)
    except Refusal as refusal:
        raise refused(refusal) from None


def _render(value: Any, room: int, integer: Token, binary: Token, special: Token, minus_zero: Token) -> Any:
    """`room` is how many levels may still follow; the tokens say what becomes of Int64, bytes, NaN and infinities, and -0.0."""
    kind = type(value)
    if kind is float:
        if value - value != 0.0:
            return special(value)
        return value if value or copysign(1.0, value) > 0.0 else minus_zero(value)
    if kind is str:
        if not is_text(value):
            raise Refusal("text without lone surrogates", value)
        return value
    if value is None or kind is bool:
        return value
    if kind is int:
        if not -LARGEST_INT <= value <= LARGEST_INT:
            raise Refusal("at most 2**53, or an Int64", value)
        return float(value)
    if kind is dict:
        if not room:
            raise Refusal(f"nested at most {DEPTH} levels deep", Said("more"))
        bad = find_bad_key(value)
        if bad is not None:
            raise bad_key(*bad)
        out = {}
        name = ""
        try:
            for name in sorted(value):
                item = value[name]
                kind = type(item)
                if type(name) is not str:
                    name = str.__str__(name)
                if (kind is float and item and item - item == 0.0) or item is None or kind is bool or (kind is str and item.isascii()):
                    out[name] = item
                elif item is not UNSET:
                    out[name] = _render(item, room - 1, integer, binary, special, minus_zero)
        except Refusal as refusal:
            refusal.steps.append(field(name))
            raise
        return out
    if kind is list or kind is tuple:
        if not room:
            raise Refusal(f"nested at most {DEPTH} levels deep", Said("more"))
        items: list[Any] = []
        try:
            for item in value:
                items.append(_render(item, room - 1, integer, binary, special, minus_zero))
        except Refusal as refusal:
            refusal.steps.append(f"[{len(items)}]")
            raise
        return items
    if kind is Int64:
        return integer(value)
    if kind is bytes:
        return binary(value)
    if kind is CommitTimestamp:
        return {"$commitTs": None}
    exact = plain(value)
    if exact is UNSET:
        raise Refusal(A_VALUE, value)
    return _render(exact, room, integer, binary, special, minus_zero)


def loads(data: bytes | str) -> Any:
    """A value from JSON text. Raises ValueRefused."""
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ValueRefused("", f"is no JSON: {error}") from None
    return from_wire(parsed)


def from_wire(obj: Any, path: str = "") -> Any:
    """A value from parsed JSON of a client: fresh, whole numbers as ints.

    Raises ValueRefused, with `path` in front of the place.
    """
    try:
        return _read(obj, DEPTH)
    except Refusal as refusal:
        raise refused(refusal, path) from None


def _read(value: Any, room: int) -> Any:
    kind = type(value)
    if kind is str:
        if not value.isascii() and not is_text(value):
            raise Refusal("text without lone surrogates", value)
        return value
    if kind is float:
        if value.is_integer():
            # -0.0 and what is beyond 2**53 stay floats.
            return int(value) if -LARGEST_INT <= value <= LARGEST_INT and (value or copysign(1.0, value) > 0.0) else value
        if value - value != 0.0:
            raise Refusal('a JSON number, or {"$float": …} for NaN and infinities', value)
        return value
    if kind is int:
        return value if -LARGEST_INT <= value <= LARGEST_INT else _double_of(value)
    if value is None or kind is bool:
        return value
    if kind is dict:
        if len(value) == 1:
            [(name, item)] = value.items()
            if type(name) is str and name[:1] == "$":
                return _read_token(name, item)
        return _read_object(value, room)
    if kind is list:
        if not room:
            raise Refusal(f"nested at most {DEPTH} levels deep", Said("more"))
        if len(value) > ARRAY_ELEMENTS:
            raise Refusal(f"a list of at most {ARRAY_ELEMENTS:,} elements", Said(f"{len(value):,}"))
        items: list[Any] = []
        try:
            for item in value:
                items.append(_read(item, room - 1))
        except Refusal as refusal:
            refusal.steps.append(f"[{len(items)}]")
            raise
        return items
    raise Refusal("JSON", value)


def _read_object(value: dict[str, Any], room: int) -> dict[str, Any]:
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
            if item is None or kind is bool or (kind is str and item.isascii()):
                out[name] = item
            else:
                out[name] = _read(item, room - 1)
    except Refusal as refusal:
        refusal.steps.append(field(name))
        raise
    return out


def _double_of(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise Refusal("a number that fits into a double", value) from None


def _read_token(name: str, item: Any) -> Any:
    value = read_token(name, item)
    if value is not None:
        return value
    raise Refusal(f"{name} with {_TOKENS[name]}", item) if name in _TOKENS else bad_key(name)


_TOKENS = {
    "$integer": "8 bytes in base64",
    "$float": "the 8 bytes, in base64, of NaN, an infinity or -0.0",
    "$bytes": "base64 (standard alphabet, padded)",
}


def read_token(name: str, item: Any) -> Any:
    """What an object of one `$` key stands for; None if it is none that may cross the wire, or is not written as an encoder writes it."""
    if name not in _TOKENS or type(item) is not str:
        return None
    try:
        raw = a2b_base64(item)
    except ValueError:
        return None
    if base64(raw) != item:
        return None
    if name == "$bytes":
        return raw
    if len(raw) != 8:
        return None
    if name == "$integer":
        return Int64(int.from_bytes(raw, "little", signed=True))
    value: float = _double.unpack(raw)[0]
    is_special = value - value != 0.0 or (value == 0.0 and copysign(1.0, value) < 0.0)
    return value if is_special else None
