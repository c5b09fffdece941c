"""The index by `_id`, which every table has and no storage writes: its rows are the documents themselves.

Its keys are made from the id alone, and an interval of such keys is turned into an interval of ids here, so that a
storage which keeps its documents in id order can scan them. Ids are ASCII letters and digits, as `values.ids` makes them.
"""

from __future__ import annotations

from typing import NamedTuple

from interlock.storage.protocol import Interval
from interlock.values.keys import encode_key

FIELDS = ("_id",)
_HEAD, _TAIL = encode_key("0").split(b"0")
# Sorts after every character of an id, and before every byte that no text may hold alone.
_AFTER_ID_CHARACTERS = "\x7f"


class IdBounds(NamedTuple):
    """Ids from `start`, and up to `end`; None is unbounded. A bound is part of it if its flag says so."""

    start: str
    start_included: bool
    end: str | None
    end_included: bool


def id_key(id: str) -> bytes:
    """The key of a document in the index by `_id`."""
    return _HEAD + id.encode() + _TAIL


def id_bounds(interval: Interval) -> IdBounds:
    """The ids whose keys lie in an interval of keys."""
    start, start_included = _first_at_or_after(interval.start)
    if start is None:
        return IdBounds("", False, "", False)
    if interval.end is None:
        return IdBounds(start, start_included, None, False)
    end, first_is_outside = _first_at_or_after(interval.end)
    return IdBounds(start, start_included, end, end is not None and not first_is_outside)


def _first_at_or_after(key: bytes) -> tuple[str | None, bool]:
    """The ids with keys from `key` on: those from this text on, itself included or not. None: there are no such ids."""
    if not key.startswith(_HEAD):
        return ("", True) if key < _HEAD else (None, False)
    rest = key[len(_HEAD) :]
    for at, byte in enumerate(rest):
        if byte >= 0x7F:
            return rest[:at].decode("ascii") + _AFTER_ID_CHARACTERS, True
        if byte <= _TAIL[0]:
            # Longer ids that begin like this one have a character where this key ends, which is more than its tail.
            return rest[:at].decode("ascii"), rest[at:] <= _TAIL
    return rest.decode("ascii"), True
