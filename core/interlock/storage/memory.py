"""A storage in memory: the testing kit's, and `data=":memory:"`.

It survives its engine, not its process: a second engine that loads the same object finds what the first had appended,
as on the disk of a machine that crashed. Every method ends without giving the loop a turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from sortedcontainers import SortedDict

from interlock.storage import by_id
from interlock.storage.protocol import Boot, CatalogChange, Commit, IndexRecord, Interval, Order, Read, Row, TableRecord, Write


class MemoryStorage:
    """Documents and index entries in sorted dictionaries, the log in a list."""

    def __init__(self, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._clock_ns = clock_ns
        self._newest = 0
        self._next_number = 1
        self._tables: dict[int, TableRecord] = {}
        self._indexes: dict[int, IndexRecord] = {}
        self._facts: dict[str, str] = {}
        self._documents: dict[int, SortedDict[str, bytes]] = {}
        self._entries: dict[int, SortedDict[bytes, str]] = {}
        self._log: list[Commit] = []

    async def load(self) -> Boot:
        return Boot(
            newest=self._newest,
            tables=[replace(table) for table in self._tables.values()],
            indexes=[replace(index) for index in self._indexes.values()],
            next_number=self._next_number,
            facts=dict(self._facts),
        )

    async def get(self, table: int, ids: Sequence[str]) -> Read:
        documents = self._documents.get(table)
        if documents is None:
            return Read([], self._newest)
        return Read([Row(b"", id, documents[id]) for id in dict.fromkeys(ids) if id in documents], self._newest)

    async def scan(self, index: int, interval: Interval, order: Order, limit: int) -> Read:
        record = self._indexes.get(index)
        documents = self._documents.get(record.table) if record else None
        if record is None or documents is None:
            return Read([], self._newest)
        descending = order == "desc"
        if record.fields == by_id.FIELDS:
            start, start_included, end, end_included = by_id.id_bounds(interval)
            ids: Iterator[str] = documents.irange(start, end, (start_included, end_included), descending)
            return Read([Row(by_id.id_key(id), id, documents[id]) for id in islice(ids, limit)], self._newest)
        entries = self._entries[index]
        keys: Iterator[bytes] = entries.irange(interval.start, interval.end, (True, False), descending)
        return Read([Row(key, entries[key], documents[entries[key]]) for key in islice(keys, limit)], self._newest)

    async def entries(self, index: int, after: bytes, limit: int) -> list[tuple[bytes, str]]:
        entries = self._entries.get(index)
        if entries is None:
            return []
        return [(key, entries[key]) for key in islice(entries.irange(after, None, (False, False)), limit)]

    async def append(self, commits: Sequence[Commit]) -> None:
        for commit in commits:
            commit.ts = max(self._clock_ns(), self._newest + 1)
            self._newest = commit.ts
            if commit.seal is not None:
                commit.seal(commit.ts)
        for commit in commits:
            for table in commit.tables:
                self._add_table(table)
            for index in commit.indexes:
                self._add_index(index)
            for write in commit.writes:
                self._apply(write)
            self._log.append(_frozen(commit))

    async def tail(self, after: int) -> list[Commit]:
        return [_frozen(commit) for commit in self._log if commit.ts > after]

    async def redefine(self, change: CatalogChange) -> None:
        # Read whole before anything changes: an iterable that raises must leave everything as it was.
        entries, documents = list(change.entries), list(change.documents)
        for number in change.dropped_indexes:
            self._drop_index(number)
        for number in change.dropped_tables:
            for index in [index.number for index in self._indexes.values() if index.table == number]:
                self._drop_index(index)
            self._tables.pop(number, None)
            self._documents.pop(number, None)
        for table in change.tables:
            self._add_table(table)
        for index_record in change.indexes:
            self._add_index(index_record)
        for number, key, id in entries:
            self._entries[number][key] = id
        for number, id, packed in documents:
            known = self._documents[number]
            if id in known:
                self._tables[number].size += len(packed) - len(known[id])
                known[id] = packed
        self._facts.update(change.facts)

    async def forget(self, before: int) -> None:
        self._log = [commit for commit in self._log if commit.ts >= before]

    async def close(self) -> None:
        """Nothing to let go of: the next engine may load what is here."""

    def _add_table(self, record: TableRecord) -> None:
        known = self._tables.get(record.number)
        count, size = (known.count, known.size) if known else (0, 0)
        self._tables[record.number] = replace(record, count=count, size=size)
        self._documents.setdefault(record.number, SortedDict())
        self._next_number = max(self._next_number, record.number + 1)

    def _add_index(self, record: IndexRecord) -> None:
        self._indexes[record.number] = replace(record)
        self._entries.setdefault(record.number, SortedDict())
        self._next_number = max(self._next_number, record.number + 1)

    def _drop_index(self, number: int) -> None:
        self._indexes.pop(number, None)
        self._entries.pop(number, None)

    def _apply(self, write: Write) -> None:
        documents, record = self._documents[write.table], self._tables[write.table]
        if write.new is not None:
            documents[write.id] = write.new
            record.size += len(write.new)
            record.count += 1
        else:
            documents.pop(write.id, None)
        if write.old is not None:
            record.size -= len(write.old)
            record.count -= 1
        for index, old_key, new_key in write.entries:
            entries = self._entries[index]
            if old_key is not None:
                entries.pop(old_key, None)
            if new_key is not None:
                entries[new_key] = write.id


def _frozen(commit: Commit) -> Commit:
    """A copy that later changes to the engine's objects do not reach."""
    writes = [Write(write.table, write.id, write.old, write.new, tuple(write.entries)) for write in commit.writes]
    return Commit(writes, list(commit.tables), list(commit.indexes), commit.source, commit.ts)
