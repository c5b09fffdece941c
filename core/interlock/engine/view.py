"""Views: a snapshot, corrected by the transaction's own writes.

Rows at hand are the newest ones, in memory or on disk; what the log knows of later commits turns them into rows of the snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from interlock.engine.catalog import Index, Table, id_key
from interlock.engine.key_map import KeyMap
from interlock.engine.write_log import Correction, LogEntry
from interlock.engine.write_set import WriteSet
from interlock.storage.protocol import Interval

if TYPE_CHECKING:
    from interlock.engine.engine import Engine

Row = tuple[bytes, bytes]
"""The key of a document in an index, and the document, packed."""
NOT_AT_HAND: Final[Any] = object()
"""What is given in place of something that has to be waited for."""
_new: Final[Any] = tuple.__new__
_CHUNK = 256
_ANY_SIZE = float("inf")


class SnapshotGone(Exception):
    """The log no longer reaches back to this transaction's snapshot, or a deploy changed the tables: it has to run again."""


class View:
    """What is there at `place` in the order of commits, and after `own` writes. Nothing that is read here is recorded."""

    __slots__ = ("_corrections", "_engine", "_log", "epoch", "is_gone", "own", "place")

    def __init__(self, engine: Engine, place: int, epoch: int, own: WriteSet) -> None:
        self._engine = engine
        self._log = engine.log
        self.place = place
        self.epoch = epoch
        self.own = own
        self.is_gone = False
        self._corrections: dict[int, tuple[tuple[int, int], Correction | None]] = {}

    def move(self, place: int) -> None:
        """See what has been committed since."""
        self.place = place
        self._corrections.clear()

    def packed_at_hand(self, table: Table, id: str) -> Any:
        """`packed` in the common case: written here, or in memory and not newer than the snapshot. NOT_AT_HAND otherwise."""
        pending = self.own.documents.get(id)
        if pending is not None:
            return pending.new if pending.table is table else None
        memory = table.memory
        if memory is None or table.last_place > self.place or table.unsealed:
            return NOT_AT_HAND
        return memory.documents.get(id)

    async def packed(self, table: Table, id: str) -> bytes | None:
        """A document as the bytes that are stored, or None."""
        at_hand = self.packed_at_hand(table, id)
        if at_hand is not NOT_AT_HAND:
            packed: bytes | None = at_hand
            return packed
        await self._sealed(table, id)
        # Looked up anew: while this waited, the table may have become one that is read from storage.
        memory = table.memory
        if memory is not None:
            self.check()
            return self._log.document_at(table, id, self.place, memory.documents.get(id))
        read = await self._engine.storage.get(table.number, (id,))
        correction = self._stored_correction(table, read.at)
        if correction is not None and id in correction.documents:
            return correction.documents[id]
        return read.rows[0].doc if read.rows else None

    async def count(self, index: Index, interval: Interval) -> int:
        """How many documents lie in the interval."""
        await self._sealed(index.table)
        memory = index.table.memory
        if memory is not None and not index.is_by_id:
            self.check()
            changed = self._changes(index, self._memory_correction(index.table))
            entries = memory.entries[index.number]
            total = memory.count(index.number, interval)
            for key, id in changed.items():
                if interval.start <= key and (interval.end is None or key < interval.end):
                    total += (id is not None) - (key in entries)
            return total
        total = 0
        while True:
            rows, exhausted = await self.rows(index, interval, False, 1_000, _ANY_SIZE)
            total += len(rows)
            if exhausted:
                return total
            interval = Interval(rows[-1][0] + b"\x00", interval.end)

    def rows_at_hand(self, index: Index, interval: Interval, descending: bool, limit: int | None) -> tuple[list[Row], bool] | None:
        """`rows` in the common case: rows in memory, none of which has come, gone or moved since the snapshot. None otherwise."""
        table = index.table
        memory = table.memory
        if memory is None or index.is_by_id or table.unsealed or (limit is not None and limit <= 0):
            return None
        start, end = interval
        if end is not None and start >= end:
            return [], True
        older: dict[str, bytes | None] | None = None
        if table.last_place > self.place:
            older = self._older_documents(index, start, end)
            if older is None:
                return None
        entries = memory.entries[index.number]
        documents = memory.documents
        own = self.own.keys.get(index.number)
        moved = [key for key in own if start <= key and (end is None or key < end)] if own else ()
        if own and moved:
            # So many rows that enough are left when all that have moved are taken out; those that came go to their places.
            keys = entries.keys_between(start, end, descending, None if limit is None else limit + len(moved))
            keys = [key for key in keys if key not in own]
            keys += [key for key in moved if own[key] is not None]
            keys.sort(reverse=descending)
            exhausted = limit is None or len(keys) < limit
            if not exhausted:
                del keys[limit:]
            ids = entries.ids
            found = [(key, own[key] or ids[key]) if key in own else (key, ids[key]) for key in keys]
        else:
            found = entries.range(start, end, descending, limit)
            exhausted = limit is None or len(found) < limit
        pendings = self.own.documents
        if older:
            return [(key, _packed(id, older, documents)) for key, id in found], exhausted
        if not pendings:
            return [(key, documents[id]) for key, id in found], exhausted
        return [(key, self._own(id, documents) if id in pendings else documents[id]) for key, id in found], exhausted

    async def rows(
        self, index: Index, interval: Interval, descending: bool, limit: int | None, bytes_left: float
    ) -> tuple[list[Row], bool]:
        """Up to `limit` rows in the order of their keys, and whether the interval ended. Fewer once they are more than `bytes_left`."""
        found = self.rows_at_hand(index, interval, descending, limit)
        if found is not None:
            return found
        table = index.table
        if limit is not None and limit <= 0:
            return [], False
        if interval.end is not None and interval.start >= interval.end:
            return [], True
        await self._sealed(table)
        # Looked up anew: while this waited, the table may have become one that is read from storage.
        memory = table.memory
        if memory is None:
            return await self._stored_rows(index, interval, descending, limit, bytes_left)
        self.check()
        base: Iterator[tuple[bytes, str]]
        if index.is_by_id:
            base = _by_id(memory.ids_in_order(interval, descending))
        else:
            entries = memory.entries[index.number]
            base = _by_key(memory.keys(index.number, interval, descending), entries)
        return self._merged(index, base, memory.documents, self._memory_correction(table), interval, descending, limit)

    def _older_documents(self, index: Index, start: bytes, end: bytes | None) -> dict[str, bytes | None] | None:
        """The documents that have changed since, as they were, if no key between has; None where there is more to it."""
        if self.own.documents or self.place < self._log.floor or self.epoch != self._engine.epoch:
            return None
        correction = self._memory_correction(index.table)
        if correction is None:
            return {}
        for key in correction.entries.get(index.number, ()):
            if start <= key and (end is None or key < end):
                return None
        return correction.documents

    def _own(self, id: str, documents: dict[str, bytes]) -> bytes:
        pending = self.own.documents.get(id)
        packed = documents[id] if pending is None else pending.new
        assert packed is not None, "a deleted document's keys are in the write set"
        return packed

    async def _stored_rows(
        self, index: Index, interval: Interval, descending: bool, limit: int | None, bytes_left: float
    ) -> tuple[list[Row], bool]:
        """Rows of a table on disk, chunk by chunk, each corrected by the place that its own rows were read at.

        Ends early once they are more bytes than may be read: a large table is not held in memory only to be refused.
        """
        table = index.table
        rows: list[Row] = []
        rest: Interval = interval
        while True:
            await self._sealed(table)
            wanted = _CHUNK if limit is None else min(_CHUNK, limit - len(rows) + 8)
            read = await self._engine.storage.scan(index.number, rest, "desc" if descending else "asc", wanted)
            ended = len(read.rows) < wanted
            within = rest if ended else consumed(rest, read.rows[-1].key, descending)
            documents = {row.id: row.doc for row in read.rows}
            chunk, _ = self._merged(
                index,
                iter([(row.key, row.id) for row in read.rows]),
                documents,
                self._stored_correction(table, read.at),
                within,
                descending,
                None if limit is None else limit - len(rows),
            )
            rows.extend(chunk)
            if limit is not None and len(rows) >= limit:
                return rows, False
            bytes_left -= sum([len(packed) for _, packed in chunk])
            if bytes_left < 0 and rows and not ended:
                return rows, False
            if ended:
                return rows, True
            rest = Interval(within.end or b"", rest.end) if not descending else Interval(rest.start, within.start)

    def _merged(
        self,
        index: Index,
        base: Iterator[tuple[bytes, str]],
        documents: Mapping[str, bytes],
        correction: Correction | None,
        interval: Interval,
        descending: bool,
        limit: int | None,
    ) -> tuple[list[Row], bool]:
        changed = self._changes(index, correction)
        start, end = interval
        moved = sorted((key for key in changed if start <= key and (end is None or key < end)), reverse=descending)
        older = correction.documents if correction is not None else {}
        rows: list[Row] = []
        for key, id in _merge(base, moved, changed, descending):
            pending = self.own.documents.get(id)
            packed = pending.new if pending is not None else older[id] if id in older else documents[id]
            assert packed is not None, "an index names a document that is not there"
            rows.append((key, packed))
            if limit is not None and len(rows) == limit:
                return rows, False
        return rows, True

    def _changes(self, index: Index, correction: Correction | None) -> dict[bytes, str | None]:
        """The keys of an index that differ from the rows at hand: by the log, then by own writes."""
        if index.is_by_id:
            changed: dict[bytes, str | None] = {}
            if correction is not None:
                changed.update({id_key(id): None if packed is None else id for id, packed in correction.documents.items()})
            for id, pending in self.own.documents.items():
                if pending.table is index.table:
                    changed[id_key(id)] = None if pending.new is None else id
            return changed
        older = correction.entries.get(index.number) if correction is not None else None
        own = self.own.keys.get(index.number)
        if older is None:
            return own or {}
        return {**older, **own} if own else older

    def _memory_correction(self, table: Table) -> Correction | None:
        """What turns the rows in memory, the newest ones, into rows of the snapshot."""
        log = self._log
        if log.validated == self.place:
            return None
        # Made anew when there are newer rows, and when a batch has become durable: its commit timestamps are in their keys then.
        made_at = log.validated, log.durable
        known = self._corrections.get(table.number)
        if known is None or known[0] != made_at:
            known = self._corrections[table.number] = made_at, log.memory_correction(table, self.place)
        return known[1]

    def _stored_correction(self, table: Table, ts: int) -> Correction | None:
        """What turns rows that storage read at a timestamp into rows of the snapshot."""
        place = self._log.place_at(ts)
        self.check()
        if place < 0:
            self.is_gone = True
            raise SnapshotGone
        return self._log.correction(table, place, self.place, is_stored=True)

    def check(self) -> None:
        """Raise SnapshotGone if the log does not reach back to it any more."""
        if self.place < self._log.floor or self.epoch != self._engine.epoch:
            self.is_gone = True  # kept, in case the function catches what is raised here
            raise SnapshotGone

    async def _sealed(self, table: Table, id: str | None = None) -> None:
        """Wait until rows that carry their own commit timestamp, and that this snapshot sees, know it."""
        while table.unsealed:
            waiting: LogEntry | None = next(
                (entry for place, entry in table.unsealed.items() if place <= self.place and (id is None or id in entry.ids)), None
            )
            if waiting is None:
                return
            await self._engine.wait_sealed(waiting)


def consumed(interval: Interval, last: bytes, descending: bool) -> Interval:
    """The part of an interval that was read when `last` is the last row returned."""
    # As `Interval(…)` does, without the function that it is in Python.
    part: Interval = _new(Interval, (last, interval[1]) if descending else (interval[0], last + b"\x00"))
    return part


def _by_id(ids: Iterator[str]) -> Iterator[tuple[bytes, str]]:
    for id in ids:
        yield id_key(id), id


def _by_key(keys: Iterator[bytes], ids: KeyMap) -> Iterator[tuple[bytes, str]]:
    for key in keys:
        yield key, ids[key]


def _merge(
    base: Iterator[tuple[bytes, str]], moved: list[bytes], changed: dict[bytes, str | None], descending: bool
) -> Iterator[tuple[bytes, str]]:
    """Rows at hand and changed keys, both in order, as one: a changed key overrides, None takes away."""
    at = 0
    for key, id in base:
        while at < len(moved) and (moved[at] > key if descending else moved[at] < key):
            changed_id = changed[moved[at]]
            if changed_id is not None:
                yield moved[at], changed_id
            at += 1
        if key in changed:
            continue  # yielded, or taken away, when its turn among the changed keys comes
        yield key, id
    for key in moved[at:]:
        changed_id = changed[key]
        if changed_id is not None:
            yield key, changed_id


def _packed(id: str, older: dict[str, bytes | None], documents: dict[str, bytes]) -> bytes:
    packed = older[id] if id in older else documents[id]
    assert packed is not None, "an index names a document that is not there"
    return packed
