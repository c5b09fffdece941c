"""A table that lives wholly in memory: packed documents by id, and each index as a sorted map from key to id.

It holds the newest version of everything, kept current by the write log. Packed bytes are invisible to the garbage
collector, and unpacking them gives every reader a fresh copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sortedcontainers import SortedList

from interlock.engine.key_map import KeyMap
from interlock.storage.protocol import Interval, Write


class MemoryTable:
    """The newest packed document by id; for each index number a sorted map key → id."""

    __slots__ = ("by_id", "documents", "entries")

    def __init__(self, indexes: list[int]) -> None:
        self.documents: dict[str, bytes] = {}
        self.entries: dict[int, KeyMap] = {number: KeyMap() for number in indexes}
        self.by_id: Any = None  # sorted ids, made when somebody first reads by_id in order

    def apply(self, write: Write) -> None:
        id = write.id
        if write.new is None:
            self.documents.pop(id, None)
        else:
            self.documents[id] = write.new
        for index, old_key, new_key in write.entries:
            entries = self.entries[index]
            if old_key is not None:
                entries.discard(old_key)
            if new_key is not None:
                entries.put(new_key, id)
        if self.by_id is not None:
            if write.new is None:
                self.by_id.discard(id)
            elif write.old is None:
                self.by_id.add(id)

    def keys(self, index: int, interval: Interval, descending: bool) -> Iterator[bytes]:
        """The keys of an interval, one by one."""
        start, end = interval
        return self.entries[index].iterate(start, end, descending)

    def ids_in_order(self, interval: Interval, descending: bool) -> Iterator[str]:
        """Ids in the key interval of `by_id`. Keys of ids keep the order of their text."""
        if self.by_id is None:
            self.by_id = SortedList(self.documents)
        start, end = [_id_bound(bound) for bound in interval]
        return self.by_id.irange(start, end, (True, False), descending)  # type: ignore[no-any-return]

    def count(self, index: int, interval: Interval) -> int:
        start, end = interval
        return self.entries[index].count(start, end)


def _id_bound(key: bytes | None) -> str | None:
    """The smallest text that is not below a bound of `by_id` keys."""
    if key is None or key[:1] > b"\x10":
        return None
    if key[:1] < b"\x10":
        return ""
    text = key[1:]
    if text.endswith(b"\x00"):
        return text[:-1].decode("utf-8", "replace")
    # A bound has more bytes behind the key: the text itself is excluded.
    head, separator, _ = text.partition(b"\x00")
    return head.decode("utf-8", "replace") + ("\x00" if separator else "")
