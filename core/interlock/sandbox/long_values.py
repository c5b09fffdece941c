"""Long values: how long they are, and how they are written and read where there is little memory.

orjson asks for up to sixteen times as much memory as a value has bytes, and where there is not so much it ends the process, without
an error. So what is long is written in parts; and read by Python's own parser, which takes longer, where there is too little for orjson.
"""

from __future__ import annotations

import json
import mmap
from typing import Any

import orjson

from interlock.sandbox.strange import KNOWN
from interlock.values import UNSET, pack_for_now
from interlock.values.types import plain
from interlock.values.wire import bytes_token

LONG = 1 << 16
"""Characters and items, or bytes, of what is long."""
_ITEMS = 1 << 10
_READING = 32
"""How many times the bytes of a text orjson may ask for, to read it."""


def length_of(value: Any, room: int) -> int:
    """How many characters and bytes the texts in it have, and how many items its lists and objects; -1 where an object lies in it, `room`
    deep at most, that is no value of Interlock. Some of those orjson would write all the same: a UUID, a member of an Enum.
    """
    kind = type(value)
    if kind is dict:
        value = value.values()
    elif kind is not list and kind is not tuple:
        if kind is str or kind is bytes:
            return len(value)
        if kind in KNOWN:
            return 0
        exact = plain(value)
        return -1 if exact is UNSET else length_of(exact, room)
    if room == 0:
        return -1
    length = len(value)
    for item in value:
        kind = type(item)
        if kind is str:
            length += len(item)
        elif kind is not float and kind is not int and item is not None:
            below = length_of(item, room - 1)
            if below < 0:
                return -1
            length += below
    return length


def pack_long(value: Any, room: int) -> bytearray:
    """As `pack_for_now`, for a value that is `room` deep at most. Raises what that raises, and MemoryError."""
    written = bytearray()
    _write(written, value, length_of(value, room), room)
    return written


def _write(written: bytearray, value: Any, length: int, room: int) -> None:
    kind = type(value)
    if 0 <= length <= LONG:
        written += pack_for_now(value)
    elif kind is str:
        written += b'"'
        for at in range(0, length, LONG):
            written += pack_for_now(value[at : at + LONG])[1:-1]
        written += b'"'
    elif kind is list or kind is tuple:
        _write_list(written, value, room - 1)
    elif kind is dict:
        _write_object(written, value, room - 1)
    else:
        exact = bytes_token(value) if kind is bytes else plain(value)
        if exact is UNSET:  # written already, by a worker
            written += pack_for_now(value)
        else:
            _write(written, exact, length_of(exact, room), room)


def _write_list(written: bytearray, items: list[Any] | tuple[Any, ...], room: int) -> None:
    """As many items at once as are not long together."""
    start = len(written)
    run: list[Any] = []
    held = 0
    for item in items:
        length = length_of(item, room)
        if run and (length < 0 or held + length > LONG or len(run) == _ITEMS):
            _write_run(written, run)
            run, held = [], 0
        if 0 <= length <= LONG:
            run.append(item)
            held += length
        else:
            written += b","
            _write(written, item, length, room)
    if run:
        _write_run(written, run)
    written[start : start + 1] = b"["
    written += b"]"


def _write_run(written: bytearray, run: list[Any]) -> None:
    written += b","
    written += pack_for_now(run)[1:-1]


def _write_object(written: bytearray, fields: dict[str, Any], room: int) -> None:
    start = len(written)
    for name in sorted(fields):
        written += b","
        written += pack_for_now({name: None})[1:-5]
        _write(written, fields[name], length_of(fields[name], room), room)
    written[start : start + 1] = b"{"
    written += b"}"


def load_long(body: bytes) -> Any:
    """As orjson reads JSON. Raises MemoryError."""
    try:
        mmap.mmap(-1, _READING * len(body), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        return json.loads(body)
    return orjson.loads(body)
