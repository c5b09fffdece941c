"""How a value is turned down inside this room: cheap to raise, described only when somebody will read it.

A union tries its members by letting them refuse, so a `Refusal` keeps facts. `Mismatch` and `ValueRefused` are what leaves the room.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import Any

from interlock.errors import ValueRefused

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 80
_short.maxlist = _short.maxtuple = _short.maxdict = 4
_short.maxlevel = 3


class Mismatch(Exception):
    """A value that a validator does not take. `path` is like `.items[3].price`, empty for the value itself."""

    def __init__(self, path: str, expected: str, got: str) -> None:
        super().__init__(path, expected, got)
        self.path, self.expected, self.got = path, expected, got

    def __str__(self) -> str:
        return f"{self.path or 'value'} must be {self.expected}, got {self.got}"


class Said(str):
    """Text for `Refusal.got` that is to be printed as it is, unlike a value, which is printed as its `repr`."""

    __slots__ = ()


class Refusal(Exception):
    """`expected` is text, what makes the text, or a validator; `got` the value or `Said`; `steps` the way from the value up to the root."""

    def __init__(self, expected: str | Callable[[], str] | dict[str, Any], got: Any, *steps: str) -> None:
        super().__init__(expected, got)
        self.expected, self.got = expected, got
        self.steps = list(steps)

    @property
    def path(self) -> str:
        return "".join(reversed(self.steps))


def field(name: object) -> str:
    """One step of a path."""
    return f".{name}" if isinstance(name, str) and name.isidentifier() else f"[{show(name)}]"


def show(value: Any) -> str:
    """A value in few characters, for people."""
    if isinstance(value, Said):
        return str(value)
    if isinstance(value, bytes | bytearray) and len(value) > 40:
        return f"{bytes(value[:32])!r}… ({len(value):,} bytes)"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 200:
        return f"an int of {value.bit_length():,} bits"
    return _short.repr(value)


def refused(refusal: Refusal, path: str = "") -> ValueRefused:
    """What is told about a value that is none of ours, by a walk whose refusals carry text alone."""
    return ValueRefused(path + refusal.path, f"must be {refusal.expected}, got {show(refusal.got)}")
