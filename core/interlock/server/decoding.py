"""JSON and arguments as clients send them. Whatever comes in, the worst that leaves here is one error of this file."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from interlock.errors import ValueRefused
from interlock.limits import LIMITS
from interlock.values import from_wire

_VALUES_MAX = int(LIMITS["message_values"].value)
_MARKS = (b",", b":", b"[", b"{")
_STRING = re.compile(rb'"[^"]*+"')


class BadJson(ValueError):
    """A text that is not JSON, or nested beyond reason."""


def read_json(text: str | bytes) -> Any:
    """Raises BadJson."""
    if len(text) > _VALUES_MAX:
        _check_values(text.encode("utf-8", "replace") if isinstance(text, str) else text)
    try:
        return orjson.loads(text)
    except ValueError as error:
        # JavaScript strings may hold half a surrogate pair, which orjson calls no JSON at all. Once read, such a value is refused by name.
        if "surrogate" not in str(error):
            raise BadJson(str(error)) from None
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadJson(str(error)) from None


def _check_values(text: bytes) -> None:
    """Refuse what is short as text and long once it is read: `[[],[],…` takes thirty times its length of memory, and seconds."""
    if sum(map(text.count, _MARKS)) <= _VALUES_MAX:
        return
    # They may stand in long strings, a table as CSV say.
    bare = text.replace(rb"\\", b"").replace(rb"\"", b"")
    if bare.count(b'"') // 2 <= _VALUES_MAX:
        bare = _STRING.sub(b"", bare)
        if sum(map(bare.count, _MARKS)) <= _VALUES_MAX:
            return
    raise BadJson(f"it holds more than {_VALUES_MAX:,} values")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def read_arguments(raw: object) -> dict[str, Any]:
    """The named arguments of a call, sent as an object or as a list of one. Raises ValueRefused."""
    if isinstance(raw, list):
        if len(raw) > 1:
            raise ValueRefused("args", "a function takes one object of named arguments, not several")
        raw = raw[0] if raw else {}
    if not isinstance(raw, dict):
        raise ValueRefused("args", "must be an object of named arguments")
    try:
        args = from_wire(raw)
    except RecursionError:
        raise ValueRefused("args", "is nested too deeply") from None
    if not isinstance(args, dict):  # {"$bytes": …} is a JSON object, and no object of arguments
        raise ValueRefused("args", "must be an object of named arguments")
    return args
