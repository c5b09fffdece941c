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
from interlock.values.normal import A_VALUE, bad_key, check_array, check_object, normalize
from interlock.values.refusal import Refusal, field, refused, show
from interlock.values.types import DEPTH, LARGEST_INT, UNSET, CommitTimestamp, Int64, is_text, plain

Token = Callable[[Any], Any]

_double = Struct("<d")
_join = b"".join  # a copy: what orjson gives keeps a buffer of 8 KiB behind it
_OPTIONS: Final = (
    orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
)
_PASSED: Final = (bytes, Int64, CommitTimestamp)
"""What orjson does not know and asks a token for."""


def base64(raw: bytes) -> str:
    """Standard alphabet, padded."""
    return b2a_base64(raw, newline=False).decode()


def integer_token(value: int) -> dict[str, str]:
    return {"$integer": base64(value.to_bytes(8, "little", signed=True))}


def float_token(value: float) -> dict[str, str]:
    return {"$float": base64(_double.pack(value))}


def bytes_token(value: bytes) -> dict[str, str]:
    return {"$bytes": base64(value)}


def dumps(value: Any) -> bytes:
    """The JSON text of a value: keys sorted, every number with a point or exponent, a placeholder as its token. Raises ValueRefused."""
    kind = type(value)
    if kind is int and -LARGEST_INT <= value <= LARGEST_INT:  # what small functions mostly give
        return b"%d.0" % value
    if value is None:
        return b"null"
    return _dump(value, float_token, _wire_token)


def to_wire(value: Any) -> Any:
    """`dumps`, parsed: fresh, keys sorted, every number a float."""
    return orjson.loads(dumps(value))


def to_json(value: Any, format: str) -> Any:
    """The JSON-able form of a value in a format of the HTTP API. Raises ValueRefused for a format that there is not."""
    name = _ALIASES.get(format, format)
    if name not in _TOKENS:
        raise ValueRefused("format", f"must be one of {', '.join(sorted([*_TOKENS, *_ALIASES]))}, got {show(format)}")
    return orjson.loads(_dump(value, _SPECIALS[name], _TOKENS[name]))


def _wire_token(value: Any) -> Any:
    kind = type(value)
    if kind is Int64:
        return integer_token(value)
    return bytes_token(value) if kind is bytes else {"$commitTs": None}


def _clean_token(value: Any) -> Any:
    kind = type(value)
    if kind is Int64:
        return str(value)
    return base64(value) if kind is bytes else {"$commitTs": None}


def _export_token(value: Any) -> Any:
    return int(value) if type(value) is Int64 else _wire_token(value)


def _clean_special(value: float) -> Any:
    if value == 0.0:
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _export_special(value: float) -> Any:
    return value if value == 0.0 else float_token(value)


_TOKENS: Final[dict[str, Token]] = {"convex_encoded_json": _wire_token, "json": _clean_token, "export_json": _export_token}
_SPECIALS: Final[dict[str, Token]] = {"convex_encoded_json": float_token, "json": _clean_special, "export_json": _export_special}
_ALIASES: Final = {"convex_json": "convex_encoded_json", "convex_clean_json": "json"}


def _dump(value: Any, special: Token, token: Token) -> bytes:
    try:
        return _join((orjson.dumps(_doubled(value, DEPTH, special), token, _OPTIONS), b""))
    except Refusal as refusal:
        raise refused(refusal) from None
    except orjson.JSONEncodeError:
        # A lone surrogate, which `normalize` refuses with its place, or a key of a subclass of str, which it makes plain.
        return _join((orjson.dumps(_doubled(normalize(value), DEPTH, special), token, _OPTIONS), b""))


def _doubled(value: Any, room: int, special: Token) -> Any:
    """The value with every int as a float, and what `special` makes of NaN, infinities and -0.0. Copies only what changes."""
    kind = type(value)
    if kind is str or value is None or kind is bool or kind in _PASSED:
        return value
    if kind is float:
        return value if (value and value - value == 0.0) or (value == 0.0 and copysign(1.0, value) > 0.0) else special(value)
    if kind is int:
        if not -LARGEST_INT <= value <= LARGEST_INT:
            raise Refusal("a number of at most 2**53, or an Int64", value)
        return float(value)
    if kind is dict:
        return _doubled_object(value, room, special)
    if kind is list:
        return _doubled_array(value, room, special)
    exact = plain(value)
    if exact is UNSET:
        raise Refusal(A_VALUE, value)
    return _doubled(exact, room, special)


def _doubled_object(value: dict[Any, Any], room: int, special: Token) -> dict[Any, Any]:
    check_object(value, room)
    out = value
    name = ""
    try:
        for name, item in value.items():
            kind = type(item)
            if kind is str or item is None or kind is bool or (kind is float and item and item - item == 0.0):
                continue
            new = item if item is UNSET else _doubled(item, room - 1, special)
            if new is item is not UNSET:
                continue
            if out is value:
                out = value.copy()
            if new is UNSET:
                del out[name]
            else:
                out[name] = new
    except Refusal as refusal:
        refusal.steps.append(field(name))
        raise
    return out


def _doubled_array(value: list[Any], room: int, special: Token) -> list[Any]:
    check_array(value, room)
    out = value
    place = 0
    try:
        for place, item in enumerate(value):
            kind = type(item)
            if kind is str or (kind is float and item and item - item == 0.0):
                continue
            new = _doubled(item, room - 1, special)
            if new is not item:
                if out is value:
                    out = value.copy()
                out[place] = new
    except Refusal as refusal:
        refusal.steps.append(f"[{place}]")
        raise
    return out


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
        return _read_array(value, room)
    raise Refusal("JSON", value)


def _read_array(value: list[Any], room: int) -> list[Any]:
    check_array(value, room)
    items: list[Any] = []
    try:
        for item in value:
            items.append(_read(item, room - 1))
    except Refusal as refusal:
        refusal.steps.append(f"[{len(items)}]")
        raise
    return items


def _read_object(value: dict[str, Any], room: int) -> dict[str, Any]:
    check_object(value, room)
    out = {}
    name = ""
    try:
        for name, item in value.items():
            kind = type(item)
            if item is None or kind is bool or (kind is str and item.isascii()) or (kind is int and -LARGEST_INT <= item <= LARGEST_INT):
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
    raise Refusal(f"{name} with {_PAYLOADS[name]}", item) if name in _PAYLOADS else bad_key(name)


_PAYLOADS: Final = {
    "$integer": "8 bytes in base64",
    "$float": "the 8 bytes, in base64, of NaN, an infinity or -0.0",
    "$bytes": "base64 (standard alphabet, padded)",
}


def read_token(name: str, item: Any) -> Any:
    """What an object of one `$` key stands for; None if it is none that may cross the wire, or is not written as an encoder writes it."""
    if name not in _PAYLOADS or type(item) is not str:
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
