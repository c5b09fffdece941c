"""Read sets: what a transaction has looked at, as ids and intervals of index keys.

A point read is its id, also when nothing was there. A range read is the interval that was consumed. A table that was
looked for and not found is its name. Nothing is taken out of a read set when a sub-transaction is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from interlock.storage.protocol import Interval


class Changes(Protocol):
    """What a log entry changed, as a read set asks it."""

    @property
    def ids(self) -> Iterable[str]: ...

    @property
    def names(self) -> Iterable[tuple[str, str]]: ...

    def keys(self, index: int) -> Iterable[bytes]: ...

    def spans(self, index: int) -> Iterable[Interval]: ...


class ReadSet:
    """Ids, intervals by index number, and names of tables that were not there."""

    __slots__ = ("ids", "intervals", "names")

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.intervals: dict[int, dict[Interval, None]] = {}
        self.names: set[tuple[str, str]] = set()

    def add(self, index: int, interval: Interval) -> bool:
        """False: it is there already."""
        known = self.intervals.get(index)
        if known is None:
            self.intervals[index] = {interval: None}
        elif interval in known:
            return False
        else:
            known[interval] = None
        return True

    def grow(self, index: int, interval: Interval, grown: Interval) -> None:
        """Put a larger interval in the place of one that it contains."""
        known = self.intervals[index]
        known.pop(interval, None)
        known[grown] = None

    def drop(self, index: int, interval: Interval) -> None:
        """What was added for a run that does not count, and for no other."""
        known = self.intervals.get(index)
        if known is not None:
            known.pop(interval, None)
            if not known:
                del self.intervals[index]

    def update(self, other: ReadSet) -> None:
        self.ids |= other.ids
        self.names |= other.names
        for index, intervals in other.intervals.items():
            self.intervals.setdefault(index, {}).update(intervals)

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all was looked at."""
        return not (self.ids or self.intervals or self.names)

    def __len__(self) -> int:
        return len(self.ids) + sum(map(len, self.intervals.values())) + len(self.names)

    def __iter__(self) -> Iterator[tuple[int, Interval]]:
        for index, intervals in self.intervals.items():
            for interval in intervals:
                yield index, interval

    def is_touched_by(self, changes: Changes) -> bool:
        """Whether the changes could alter anything that was read."""
        if self.ids and not self.ids.isdisjoint(changes.ids):
            return True
        if self.names and not self.names.isdisjoint(changes.names):
            return True
        for index, intervals in self.intervals.items():
            for key in changes.keys(index):
                for start, end in intervals:
                    if start <= key and (end is None or key < end):
                        return True
            for low, high in changes.spans(index):
                for start, end in intervals:
                    if (end is None or low < end) and (high is None or start < high):
                        return True
        return False

    def meets(self, other: ReadSet) -> bool:
        """Whether the two looked at something in common."""
        if not self.ids.isdisjoint(other.ids) or not self.names.isdisjoint(other.names):
            return True
        for index, intervals in self.intervals.items():
            for low, high in other.intervals.get(index, ()):
                for start, end in intervals:
                    if (end is None or low < end) and (high is None or start < high):
                        return True
        return False
