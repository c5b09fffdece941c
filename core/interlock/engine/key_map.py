"""An index in memory: a sorted map from key to id, with ranges read at once.

The keys lie in a `SortedList`. Its `irange` makes an iterator out of several others, which costs more than the few rows that a
query mostly takes from it (measured: 3.6 µs for one row, 0.9 µs here). So a range is taken from the lists that it is made of.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sortedcontainers import SortedList

_FEW: Final = 4
"""So few keys are compared one by one, which is less than to look for the end."""


class KeyMap:
    """Keys are bytes, ids strings."""

    __slots__ = ("_keys", "ids")

    def __init__(self, entries: Mapping[bytes, str] | Iterable[tuple[bytes, str]] = ()) -> None:
        self.ids: dict[bytes, str] = dict(entries)
        self._keys: Any = SortedList(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, key: object) -> bool:
        return key in self.ids

    def __getitem__(self, key: bytes) -> str:
        return self.ids[key]

    def put(self, key: bytes, id: str) -> None:
        """Have a key mean this id."""
        if key not in self.ids:
            self._keys.add(key)
        self.ids[key] = id

    def discard(self, key: bytes) -> None:
        """Forget a key, if it is there."""
        if self.ids.pop(key, None) is not None:
            self._keys.remove(key)

    def update(self, entries: Mapping[bytes, str]) -> None:
        """Many at once."""
        self._keys.update([key for key in entries if key not in self.ids])
        self.ids.update(entries)

    def iterate(self, start: bytes, end: bytes | None, descending: bool) -> Iterator[bytes]:
        """The keys from `start` up to, not including, `end`, one by one."""
        found: Iterator[bytes] = self._keys.irange(start, end, (True, False), descending)
        return found

    def count(self, start: bytes, end: bytes | None) -> int:
        """How many keys there are from `start` up to, not including, `end`."""
        upper: int = len(self.ids) if end is None else self._keys.bisect_left(end)
        lower: int = self._keys.bisect_left(start)
        return max(0, upper - lower)

    def range(self, start: bytes, end: bytes | None, descending: bool, limit: int | None) -> list[tuple[bytes, str]]:
        """Up to `limit` (key, id) from `start` up to, not including, `end`; from the upper end when `descending`."""
        ids = self.ids
        return [(key, ids[key]) for key in self.keys_between(start, end, descending, limit)]

    def keys_between(self, start: bytes, end: bytes | None, descending: bool, limit: int | None) -> list[bytes]:
        """The keys alone."""
        lists: list[list[bytes]] = self._keys._lists
        maxes: list[bytes] = self._keys._maxes
        low: int = bisect_left(maxes, start)
        if low == len(maxes):
            return []
        at: int = bisect_left(lists[low], start)
        if limit is not None and limit <= _FEW and not descending and end is not None and at + limit < len(lists[low]):
            few = lists[low][at : at + limit]
            while few and few[-1] >= end:
                few.pop()
            return few
        high = len(lists) - 1
        until = len(lists[high])
        if end is not None:
            place: int = bisect_left(maxes, end)
            if place <= high:
                high = place
                until = bisect_left(lists[high], end)
        if low == high:
            if limit is not None and until - at > limit:
                if descending:
                    at = until - limit
                else:
                    until = at + limit
            keys: list[bytes] = lists[low][at:until]
            if descending:
                keys.reverse()
            return keys
        if low > high:
            return []
        if descending:
            return self._down(lists, low, at, high, until, limit)
        keys = lists[low][at:] if limit is None else lists[low][at : at + limit]
        for middle in range(low + 1, high):
            if limit is not None and len(keys) >= limit:
                break
            keys += lists[middle]
        else:
            keys += lists[high][:until]
        return keys if limit is None else keys[:limit]

    @staticmethod
    def _down(lists: list[list[bytes]], low: int, at: int, high: int, until: int, limit: int | None) -> list[bytes]:
        keys = lists[high][:until][::-1]
        for middle in range(high - 1, low, -1):
            if limit is not None and len(keys) >= limit:
                break
            keys += lists[middle][::-1]
        else:
            keys += lists[low][at:][::-1]
        return keys if limit is None else keys[:limit]
