"""What is no value of Interlock, as it crosses: described on one side, and stood for on the other.

It crosses as {"$strange": [kind, …]}, so that whoever validates it can say what it was.

Start at `described` and `undescribed`.
"""

from __future__ import annotations

import reprlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from types import CoroutineType
from typing import Any

import orjson

from interlock.values import UNSET, CommitTimestamp, Int64, unpack
from interlock.values.types import Unset, plain

_DEPTH_MAX = 200
_SHOWN_MAX = 500
_MADE_MAX, _HASHED_MAX = 100, 1_000
"""How many things of one frame are made as they are described, and how many lie in their sets and dicts. Each costs much more than the
bytes that describe it, and one is enough to refuse the frame's value.
"""
KNOWN = frozenset({str, int, float, bool, type(None), bytes, Int64, CommitTimestamp, Unset})
"""Types of values that hold no others."""


class Strange:
    """Stands on the host for an object that is no value of Interlock: it has the name of its class, and its representation."""

    def __init__(self, shown: str) -> None:
        self._shown = shown

    def __repr__(self) -> str:
        return self._shown


class Unawaited(Strange):
    """The same for a coroutine or the like."""

    def __await__(self) -> Iterator[Any]:
        raise TypeError(f"{self!r} was left on the other side")


def described(value: Any, depth: int) -> Any:
    kind = type(value)
    if depth > _DEPTH_MAX:
        return {"$strange": ["deep"]}
    if kind is dict:
        if all([type(name) is str and name[:1] != "$" and _is_text(name) for name in value]):
            return {name: described(item, depth + 1) for name, item in value.items()}
        return {"$strange": ["dict", [[described(name, depth + 1), described(item, depth + 1)] for name, item in value.items()]]}
    if kind is list:
        return [described(item, depth + 1) for item in value]
    if kind is tuple:
        return [described(item, depth + 1) for item in value]
    if kind is set or kind is frozenset:
        return {"$strange": [kind.__name__, [described(item, depth + 1) for item in value]]}
    if kind is str and not _is_text(value):
        return {"$strange": ["text", b64encode(value.encode("utf-8", "surrogatepass")).decode()]}
    if kind is int and not -(2**63) <= value < 2**63:
        return {"$strange": ["int", hex(value)[:4_096]]}
    if kind in KNOWN:
        return value
    try:
        exact = plain(value)
    except Exception:  # its class has ways of its own
        exact = UNSET
    if exact is not UNSET:
        return described(exact, depth)
    name, shown = _safe(lambda: kind.__name__)[:200], _safe(lambda: repr(value))[:500]
    return {"$strange": ["awaitable" if _is_awaitable(value) else "object", name, shown]}


def _is_awaitable(value: Any) -> bool:
    """Something that somebody has not awaited; a query that was not read is meant too."""
    if isinstance(value, CoroutineType):
        value.close()
        return True
    return hasattr(value, "__await__") or type(value).__module__ == "interlock.sdk.query"


def has_odd_key(value: Any) -> bool:
    """Whether a key that no value has would be read as the token of something else."""
    if type(value) is dict:
        return any([name[:1] == "$" for name in value]) or any([has_odd_key(item) for item in value.values()])
    return type(value) in (list, tuple) and any([has_odd_key(item) for item in value])


def undescribed(value: Any) -> Any:
    """Raises ValueError, TypeError, KeyError for what describes nothing.

    Whoever has written it may lie: what is made of it takes no more than its length lets expect.
    """
    return _Reading().value(value)


class _Reading:
    """One frame as it is read, and what of it may still be made as it is described. The first is what somebody will be told of."""

    __slots__ = ("_hashed", "_made")

    def __init__(self) -> None:
        self._made = self._hashed = 0

    def value(self, value: Any) -> Any:
        kind = type(value)
        if kind is list:
            return [self.value(item) for item in value]
        if kind is not dict:
            return value
        if len(value) == 1:
            [(name, item)] = value.items()
            if name[:1] == "$":
                return self._strange(item) if name == "$strange" else unpack(orjson.dumps(value))
        return {name: self.value(item) for name, item in value.items()}

    def _strange(self, told: list[Any]) -> Any:
        self._made += 1
        if self._made > _MADE_MAX:
            return _ONE_MORE
        match told:
            case ["deep"]:
                return _DEEP
            case ["dict", list(pairs)]:
                return {self._key(name): self.value(item) for name, item in self._some(pairs)}
            case ["set", list(items)]:
                return {self._key(item) for item in self._some(items)}
            case ["frozenset", list(items)]:
                return frozenset([self._key(item) for item in self._some(items)])
            case ["text", str(text)]:
                return b64decode(text).decode("utf-8", "surrogatepass")
            case ["int", str(digits)]:
                return int(digits, 16)
            case ["object" | "awaitable" as kind, str(name), str(shown)]:
                below: type[Strange] = Unawaited if kind == "awaitable" else Strange
                # `reprlib` goes by the name of the class, and would look into some.
                name = "object" if not name or hasattr(reprlib.Repr, f"repr_{name}") else name[:200]
                return type(name, (below,), {})(shown[:_SHOWN_MAX])
        raise ValueError("a description of nothing")

    def _some(self, items: list[Any]) -> list[Any]:
        some = items[: max(0, _HASHED_MAX - self._hashed)]
        self._hashed += len(some)
        return some

    def _key(self, told: Any) -> Any:
        """What is no value is none as a key either. Only of such as have no end could as many as one likes have one hash."""
        value = self.value(told)
        kind = type(value)
        if kind is list:  # it was a tuple: no list is a key
            value = tuple(value)
        elif kind not in (set, frozenset, dict) and (kind is not int or -(2**63) <= value < 2**63):
            return value
        return Strange(_shown(value))


def _deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(_DEPTH_MAX):
        nested = [nested]
    return nested


_DEEP = _deep()
_ONE_MORE = Strange("…")


def _shown(value: Any) -> str:
    """Cut, or each of those that lie in one another would be twice as long as the one in it."""
    return _safe(lambda: repr(value))[:_SHOWN_MAX]


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _safe(show: Any) -> str:
    try:
        return str(show()).encode("utf-8", "backslashreplace").decode()
    except Exception:
        return "?"
