"""Positions: texts whose plain order is the order of (key, id).

A key is written so that it says itself where it ends, and the id follows. So all items of one key, and all tuple keys that
begin alike, lie in one stretch of texts, and every bound is a text to bisect with. The order of keys is that of Interlock's
indexes: None, Int64, numbers, False, True, strings, bytes, lists, dicts; numbers by value, strings by code point.

Start at `position` and `stretch`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from struct import Struct
from typing import Any, NamedTuple

from interlock import AppError, Int64

# Tags, in order. `END` ends a list or dict, so that the shorter one comes first; `COMMA` stands between key and id.
COMMA, AFTER_COMMA, END = ",", "-", "."
NONE, INT64, NUMBER, FALSE, TRUE, TEXT, BYTES, LIST, DICT, AFTER_TAGS = "0123456789"
TEXT_END = "\0"

_double = Struct(">d")
_word = Struct(">Q")
_SIGN = 1 << 63
_ALL = (1 << 64) - 1
_ZERO = NUMBER + "8000000000000000"

# A text ends in \0, and nodes keep their positions as lines: neither may come up within one. Both are written as two
# characters that keep their place in the order.
_SPECIAL = re.compile("[\0\1\t\n]")
_ESCAPES = {"\0": "\1\1", "\1": "\1\2", "\t": "\t\1", "\n": "\t\2"}
_ESCAPED = re.compile("\1[\1\2]|\t[\1\2]")
_UNESCAPES = {escape: plain for plain, escape in _ESCAPES.items()}


class Stretch(NamedTuple):
    """The positions from `start` on (included) up to `stop` (not included; None: no end)."""

    start: str
    stop: str | None


ALL = Stretch("", None)


def position(key: Any, id: str) -> str:
    """Where the item lies."""
    return f"{key_text(key)},{_escape(id)}"


def key_text(key: Any) -> str:
    """A key as text. No key's text is the beginning of another's."""
    kind = type(key)
    if kind is float or kind is int:
        return _number_text(key)
    if kind is str:
        return f"{TEXT}{_escape(key)}\0"
    if key is None:
        return NONE
    if kind is bool:
        return TRUE if key else FALSE
    if isinstance(key, list | tuple):
        return LIST + "".join([key_text(part) for part in key]) + END
    if isinstance(key, Int64):
        return INT64 + _word.pack(int(key) + _SIGN).hex()
    if isinstance(key, bytes):
        return f"{BYTES}{key.hex()}\0"
    if isinstance(key, Mapping):
        return DICT + "".join([key_text(name) + key_text(key[name]) for name in sorted(key)]) + END
    raise AppError({"code": "INVALID_KEY", "message": f"a key is a value of Interlock, not {key!r}"})


def stretch(bounds: Mapping[str, Any] | None) -> Stretch:
    """The positions within bounds: `{"lower": end, "upper": end}`, `{"eq": key}` or `{"prefix": [part, …]}`."""
    if bounds is None:
        return ALL
    if "eq" in bounds:
        key = key_text(bounds["eq"])
        return Stretch(key, key + AFTER_COMMA)
    if "prefix" in bounds:
        begin = LIST + "".join([key_text(part) for part in bounds["prefix"]])
        return Stretch(begin, begin + AFTER_TAGS)
    lower, upper = bounds.get("lower"), bounds.get("upper")
    start = "" if lower is None else _cut(lower, before=lower.get("inclusive", True))
    stop = None if upper is None else _cut(upper, before=not upper.get("inclusive", True))
    return Stretch(start, stop)


def before(key: Any, id: str | None) -> str:
    """The first position that a run of equal keys, or the item, could have."""
    return key_text(key) if id is None else position(key, id)


def after(key: Any, id: str | None) -> str:
    """The first position past a run of equal keys, or past the item."""
    return key_text(key) + AFTER_COMMA if id is None else position(key, id) + "\0"


def _cut(end: Mapping[str, Any], *, before: bool) -> str:
    cut = _before if before else after
    return cut(end["key"], end.get("id"))


_before = before


def item_at(position: str) -> tuple[Any, str]:
    """Key and id of a position."""
    key, at = _parse(position, 0)
    return key, _unescape(position[at + 1 :])


def is_position(text: str) -> bool:
    """Whether it is the position of an item that could be."""
    try:
        return position(*item_at(text)) == text
    except (ValueError, IndexError, TypeError):
        return False


def _number_text(number: float) -> str:
    if number == 0:
        return _ZERO if str(number) != "-0.0" else NUMBER + "7fffffffffffffff"
    if number > 0:
        return NUMBER + _double.pack(-number).hex()  # negating sets the sign bit: what a positive number needs to come after
    (bits,) = _word.unpack(_double.pack(number))
    return NUMBER + _word.pack(bits ^ _ALL if bits & _SIGN else bits | _SIGN).hex()


def _parse(text: str, at: int) -> tuple[Any, int]:
    tag = text[at]
    at += 1
    if tag == NUMBER:
        (bits,) = _word.unpack(bytes.fromhex(text[at : at + 16]))
        (number,) = _double.unpack(_word.pack(bits ^ (_SIGN if bits & _SIGN else _ALL)))
        whole = number.is_integer() and abs(number) <= 2**53 and bits != _SIGN - 1
        return int(number) if whole else number, at + 16
    if tag == TEXT:
        end = text.index(TEXT_END, at)
        return _unescape(text[at:end]), end + 1
    if tag == NONE:
        return None, at
    if tag in (FALSE, TRUE):
        return tag == TRUE, at
    if tag == INT64:
        return Int64(int(text[at : at + 16], 16) - _SIGN), at + 16
    if tag == BYTES:
        end = text.index(TEXT_END, at)
        return bytes.fromhex(text[at:end]), end + 1
    parts = []
    while text[at] != END:
        part, at = _parse(text, at)
        parts.append(part)
    return parts if tag == LIST else dict(zip(parts[::2], parts[1::2], strict=True)), at + 1


def _escape(text: str) -> str:
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], text) if _SPECIAL.search(text) else text


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda found: _UNESCAPES[found[0]], text) if "\1" in text or "\t" in text else text
