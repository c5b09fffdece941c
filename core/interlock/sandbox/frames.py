"""Frames: what crosses the socket between the host and a worker, in both directions.

A frame is four bytes of length and one JSON list, whose first item says what it is. Values are written as `values.pack` does, so
`5` and `5.0` stay apart; what is no value of Interlock crosses as a description of itself (`strange`), and is refused by the host in
the words that it has for it inline.

Start at `encode` and `Frames`. What the host reads was written by a component: `decode` raises FrameError for anything odd.
"""

from __future__ import annotations

import gc
import re
from struct import Struct
from typing import Any

import orjson

from interlock.errors import InterlockError
from interlock.limits import MIB
from interlock.sandbox.long_values import LONG, length_of, load_long, pack_long
from interlock.sandbox.strange import described, has_odd_key, undescribed
from interlock.values import pack_for_now, unpack, with_tokens

FRAME_MAX = 48 * MIB
"""Above what any limit lets through: a value of 16 MiB whose bytes are written in base64, and its neighbours."""
OPERATIONS_MAX = 1_000
"""How many operations of one call may wait for their answers. An honest worker keeps the others to itself until then."""
STEPS_MAX = 50_000
"""Of one function: above what the limits of a transaction let it read and write."""
MADE_MAX = 16
"""Of how many documents that a call adds its worker is told when they were made."""
NOTHING = -1
"""What the frames of every call say for None: JSON's null asks `pack` to look for numbers that JSON has not."""
TIME, SEED, ENV, CALL = 1, 2, 4, 8
"""What a call has looked at that another call with the same arguments would find otherwise, CALL its name and when it was made: bits of
what its end says.
"""
TEXT_MAX = 16 * MIB
"""Characters of what a call may say at once: its result, or what it gives to another call."""
DEPTH_MAX = 200
CODE_MAX = 2 * MIB
"""Bytes of what the modules of one component compile to, as far as that is kept."""
_STEPS = {"op": 6, "ret": 4, "exc": 4, "did": 2}
"""Where in a frame of this name lies what a function did by itself."""
SCAN_KEY_MAX = 10_000
"""Characters of a scan as steps tell of it. A longer one is asked for."""
EARLY_LENGTH_MAX = 480 * 1024
"""Bytes of frames in which one run tells what it has done while it goes on: `EARLY_BYTES_MAX` of memory, were all of them commas."""
EARLY_BYTES_MAX = 16 * MIB
_PART_BYTES = 32
_NODES_FREE = 1 << 18
_NODES_MAX = 4_000_000

_header = Struct(">I")
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


class TooLong(Exception):
    """A frame with so many bytes of text: no limit lets it through."""


class FrameError(Exception):
    """The other side broke the protocol."""


def encode(frame: list[Any], given: Any = None) -> bytes:
    """A frame as it is sent. Any object may lie in it; `given` is the part of it that an author has made.

    Raises TooLong, and MemoryError where it is longer than there is memory for.
    """
    try:
        long = 0 if given is None else length_of(given, DEPTH_MAX)
        if long > TEXT_MAX:
            raise TooLong(long)
        if long < 0:
            body: bytes | bytearray = _pack_described(frame)
        else:
            body = pack_for_now(frame) if long <= LONG else pack_long(frame, DEPTH_MAX + 1)
            # `find`: with bytes on its left, `in` first tries them as a number, and that costs an exception.
            if 36 in body and body.find(b'"$') >= 0 and has_odd_key(frame):
                body = _pack_described(frame)
    except (TypeError, ValueError, InterlockError, RecursionError):
        body = _pack_described(frame)
    return _header.pack(len(body)) + body


def encode_around(frame: list[Any], place: int) -> tuple[bytes, bytes]:
    """What stands in such a frame before the item at this place, and after it. For one that is sent again and again with another item
    there, and another number in the second place: `again`.
    """
    return encode(frame[2:place])[5:-1], encode(frame[place + 1 :])[5:-1]


def again(name: bytes, number: int, around: tuple[bytes, bytes], item: int) -> bytes:
    """One more of these frames, as it is sent."""
    body = b'["%b",%d,%b,%d,%b]' % (name, number, around[0], item, around[1])
    return _header.pack(len(body)) + body


def _pack_described(frame: list[Any]) -> bytearray:
    return pack_long(_described(frame), 2 * DEPTH_MAX)


def _described(frame: list[Any]) -> list[Any]:
    """Its steps hold values alone, some of them written already."""
    steps = _STEPS.get(frame[0], -1)
    return [item if place == steps else described(item, 1) for place, item in enumerate(frame)]


def decode(body: bytes) -> list[Any]:
    """The frame in these bytes, looked at before anything is built of it. Raises FrameError."""
    # As many bytes as that can hold no more parts.
    collects = False
    if len(body) > _NODES_FREE:
        nodes = parts(body)
        if nodes > _NODES_MAX:
            nodes = parts(_STRINGS.sub(b"", body))
            if nodes > _NODES_MAX:
                raise FrameError(f"a frame of {nodes:,} parts")
        # The collector would look at everything again and again while it is built, which takes longer than building it.
        collects = nodes > _NODES_FREE and gc.isenabled()
    if collects:
        gc.disable()
    try:
        frame: Any = undescribed(orjson.loads(body)) if _is_strange(body) else unpack(body)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, MemoryError, OverflowError) as error:
        raise FrameError(f"a frame that cannot be read: {type(error).__name__}: {str(error)[:200]}") from None
    finally:
        if collects:
            gc.enable()
    if type(frame) is not list or not frame or type(frame[0]) is not str:
        raise FrameError("a frame that is no list with a name")
    return frame


def read(body: bytes) -> list[Any]:
    """The same of a body that an honest side wrote. Raises MemoryError."""
    if len(body) > LONG:
        return _read_long(body)
    frame: list[Any] = undescribed(orjson.loads(body)) if _is_strange(body) else unpack(body)
    return frame


def _read_long(body: bytes) -> list[Any]:
    frame: list[Any] = load_long(body)
    if _is_strange(body):
        return undescribed(frame)  # type: ignore[no-any-return]
    return with_tokens(frame) if body.find(b'{"$') >= 0 else frame


def _is_strange(body: bytes) -> bool:
    """Whether something lies in it that is no value. Most bytes hold no "$" at all, which is sooner seen."""
    return 36 in body and body.find(b'{"$strange"') >= 0


def parts(body: bytes) -> int:
    """How many objects would be built of it, at most: commas in texts count too."""
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def memory_of(body: bytes) -> int:
    """How many bytes of memory the frame takes, about."""
    return len(body) + _PART_BYTES * parts(body)


class Frames:
    """Cuts a stream of bytes into frames, and never holds more than one of the largest and what came with its end."""

    __slots__ = ("_at", "_data", "_maximum", "_rest")

    def __init__(self, maximum: int = FRAME_MAX) -> None:
        # What has come is cut where it lies; what is of a frame whose end has not come yet is gathered in `_rest`.
        self._data, self._at = b"", 0
        self._rest = bytearray()
        self._maximum = maximum

    def feed(self, data: bytes) -> None:
        left = len(self._data) - self._at
        if left or self._rest:
            if left:
                self._rest += self._data[self._at :]
            self._rest += data
            data = b""
        self._data, self._at = data, 0

    def next(self) -> bytes | None:
        """The body of the next whole frame, or None. Raises FrameError for one that is too long."""
        rest = self._rest
        if rest:
            length = self._length(rest, 0)
            if length < 0 or len(rest) < 4 + length:
                return None
            body = bytes(memoryview(rest)[4 : 4 + length])
            del rest[: 4 + length]
            return body
        data, at = self._data, self._at
        length = self._length(data, at)
        end = at + 4 + length
        if length < 0 or len(data) < end:
            return None
        self._at = end
        return data[at + 4 : end]

    def _length(self, data: bytes | bytearray, at: int) -> int:
        """What the header at this place says; -1 where it is not whole."""
        if len(data) - at < 4:
            return -1
        length: int = _header.unpack_from(data, at)[0]
        if length > self._maximum:
            raise FrameError(f"a frame of {length:,} bytes; at most {self._maximum:,} are allowed")
        return length
