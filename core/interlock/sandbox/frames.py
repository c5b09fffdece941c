"""Frames: what crosses the socket between the host and a worker, in both directions.

A frame is four bytes of length and one JSON list, whose first item says what it is. Values are written as `values.pack` does, so
`5` and `5.0` stay apart; what is no value of Interlock crosses as a description of itself, and is refused by the host in the
words that it has for it inline.

Start at `encode` and `Frames`. What the host reads was written by a component: `decode` raises FrameError for anything odd.
"""

from __future__ import annotations

import gc
import re
import reprlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from struct import Struct
from types import CoroutineType
from typing import Any

import orjson

from interlock.errors import InterlockError
from interlock.values import pack, unpack

FRAME_MAX = 48 * 1024 * 1024
"""Above what any limit lets through: a value of 16 MiB whose bytes are written in base64, and its neighbours."""
OPERATIONS_MAX = 1_000
"""How many operations of one call may wait for their answers. An honest worker keeps the others to itself until then."""
_NODES_FREE = 40_000
_NODES_MAX = 4_000_000
_DEPTH_MAX = 200

_header = Struct(">I")
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


class FrameError(Exception):
    """The other side broke the protocol."""


def encode(frame: list[Any]) -> bytes:
    """A frame as it is sent. Any object may lie in it."""
    try:
        body = pack(frame)
        if b'"$' in body and _has_odd_key(frame):
            body = pack(_described(frame, 0))
    except (TypeError, ValueError, InterlockError, RecursionError):
        body = pack(_described(frame, 0))
    return _header.pack(len(body)) + body


def decode(body: bytes | bytearray) -> list[Any]:
    """The frame in these bytes, looked at before anything is built of it. Raises FrameError."""
    nodes = parts(body)
    if nodes > _NODES_MAX:
        bare = _STRINGS.sub(b"", body)
        nodes = parts(bare)
        if nodes > _NODES_MAX:
            raise FrameError(f"a frame of {nodes:,} parts")
    # The collector would look at everything again and again while it is built, which takes longer than building it.
    collects = nodes > _NODES_FREE and gc.isenabled()
    if collects:
        gc.disable()
    try:
        frame = _undescribed(orjson.loads(body), 0) if b'{"$strange"' in body else unpack(bytes(body))
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, MemoryError, OverflowError) as error:
        raise FrameError(f"a frame that cannot be read: {type(error).__name__}: {str(error)[:200]}") from None
    finally:
        if collects:
            gc.enable()
    if type(frame) is not list or not frame or type(frame[0]) is not str:
        raise FrameError("a frame that is no list with a name")
    return frame


def parts(body: bytes | bytearray) -> int:
    """How many objects would be built of it, at most: commas in texts count too."""
    return body.count(b",") + body.count(b"[") + body.count(b"{")


class Frames:
    """Cuts a stream of bytes into frames, and never holds more than one of the largest."""

    __slots__ = ("_buffer", "_maximum")

    def __init__(self, maximum: int = FRAME_MAX) -> None:
        self._buffer = bytearray()
        self._maximum = maximum

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> bytes | None:
        """The body of the next whole frame, or None. Raises FrameError for one that is too long."""
        buffer = self._buffer
        if len(buffer) < 4:
            return None
        (length,) = _header.unpack_from(buffer)
        if length > self._maximum:
            raise FrameError(f"a frame of {length:,} bytes; at most {self._maximum:,} are allowed")
        if len(buffer) < 4 + length:
            return None
        body = bytes(memoryview(buffer)[4 : 4 + length])
        del buffer[: 4 + length]
        return body


# What is no value. It crosses as {"$strange": [kind, …]}, so that whoever validates it can say what it was.


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


def _described(value: Any, depth: int) -> Any:
    kind = type(value)
    if depth > _DEPTH_MAX:
        return {"$strange": ["deep"]}
    if kind is dict:
        if all([type(name) is str and name[:1] != "$" for name in value]):
            return {_text_key(name): _described(item, depth + 1) for name, item in value.items()}
        return {"$strange": ["dict", [[_described(name, depth + 1), _described(item, depth + 1)] for name, item in value.items()]]}
    if kind is list:
        return [_described(item, depth + 1) for item in value]
    if kind is tuple:
        return [_described(item, depth + 1) for item in value]
    if kind is set or kind is frozenset:
        return {"$strange": ["set", [_described(item, depth + 1) for item in value]]}
    if kind is str and not _is_text(value):
        return {"$strange": ["text", b64encode(value.encode("utf-8", "surrogatepass")).decode()]}
    if kind is int and not -(2**63) <= value < 2**63:
        return {"$strange": ["int", hex(value)[:4_096]]}
    try:
        pack(value)
    except (TypeError, ValueError, InterlockError, RecursionError):
        name, shown = _safe(lambda: kind.__name__)[:200], _safe(lambda: repr(value))[:500]
        return {"$strange": ["awaitable" if _is_awaitable(value) else "object", name, shown]}
    return value


def _is_awaitable(value: Any) -> bool:
    """Something that somebody has not awaited; a query that was not read is meant too."""
    if isinstance(value, CoroutineType):
        value.close()
        return True
    return hasattr(value, "__await__") or type(value).__module__ == "interlock.sdk.query"


def _has_odd_key(value: Any) -> bool:
    """Whether a key that no value has would be read as the token of something else."""
    if type(value) is dict:
        return any([name[:1] == "$" for name in value]) or any([_has_odd_key(item) for item in value.values()])
    return type(value) in (list, tuple) and any([_has_odd_key(item) for item in value])


def _undescribed(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is list:
        return [_undescribed(item, depth + 1) for item in value]
    if kind is not dict:
        return value
    if len(value) == 1:
        [(name, item)] = value.items()
        if name[:1] == "$":
            return _strange(item, depth) if name == "$strange" else unpack(orjson.dumps(value))
    return {name: _undescribed(item, depth + 1) for name, item in value.items()}


def _strange(told: list[Any], depth: int) -> Any:
    match told:
        case ["deep"]:
            nested: list[Any] = []
            for _ in range(_DEPTH_MAX):
                nested = [nested]
            return nested
        case ["dict", list(pairs)]:
            return {_hashable(_undescribed(name, depth + 1)): _undescribed(item, depth + 1) for name, item in pairs}
        case ["set", list(items)]:
            return {_hashable(_undescribed(item, depth + 1)) for item in items}
        case ["text", str(text)]:
            return b64decode(text).decode("utf-8", "surrogatepass")
        case ["int", str(digits)]:
            return int(digits, 16)
        case ["object" | "awaitable" as kind, str(name), str(shown)]:
            below: type[Strange] = Unawaited if kind == "awaitable" else Strange
            # `reprlib` goes by the name of the class, and would look into some.
            name = "object" if not name or hasattr(reprlib.Repr, f"repr_{name}") else name[:200]
            return type(name, (below,), {})(shown[:500])
    raise ValueError("a description of nothing")


def _hashable(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value


def _text_key(name: str) -> str:
    return name if _is_text(name) else name.encode("utf-8", "backslashreplace").decode()


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _safe(show: Any) -> str:
    try:
        return str(show()).encode("utf-8", "replace").decode()
    except Exception:
        return "?"
