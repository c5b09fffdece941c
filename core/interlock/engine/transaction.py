"""One run of a query or a mutation: a snapshot, what it has read, what it would write.

Reads see the snapshot corrected by the transaction's own writes. Writes are kept in one place with a journal beside it: a
layer is a mark in the journal, folding it forgets the mark, dropping it plays the journal back. So a read never has to
look through layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from interlock.engine.budget import GIVEN_BACK, Budget
from interlock.engine.catalog import Index, Table, id_key
from interlock.engine.key_map import KeyMap
from interlock.engine.read_set import ReadSet
from interlock.engine.write_log import Correction, LogEntry
from interlock.errors import DocumentNotFound, LimitExceeded, SchemaError, ValueRefused
from interlock.limits import LIMITS, Limits
from interlock.storage.protocol import Entry, Interval, TableRecord, Write
from interlock.values import (
    COMMIT_TS_TOKEN,
    UNSET,
    Mismatch,
    after_prefix,
    encode_id,
    encode_key,
    new_internal,
    normalize,
    pack,
    size_of,
    unpack,
    unpack_all,
)

if TYPE_CHECKING:
    from interlock.engine.engine import Engine

Document = dict[str, Any]
_MISSING: Any = object()
NOT_AT_HAND: Any = object()
"""What is given in place of something that has to be waited for."""
_new: Any = tuple.__new__
_DOCUMENT_BYTES = int(LIMITS["document_bytes"].value)
_DOCUMENT_DEPTH = int(LIMITS["document_depth"].value)
_CHUNK = 256


class SnapshotGone(Exception):
    """The log no longer reaches back to this transaction's snapshot, or a deploy changed the tables: it has to run again."""


class LayerMark(NamedTuple):
    """Where a layer began."""

    journal: int
    on_commit: int
    new_tables: int
    given_back: tuple[int, ...]


class _Pending:
    """What this transaction would do to one document: first old version, last new one, and the index keys that change."""

    __slots__ = ("id", "keys", "new", "old", "table")

    def __init__(
        self, table: Table, id: str, old: bytes | None, new: bytes | None, keys: dict[int, tuple[bytes | None, bytes | None]]
    ) -> None:
        self.table, self.id, self.old, self.new, self.keys = table, id, old, new, keys


class Transaction:
    """Made by the engine for each run; the functions room drives it. `snapshot` is a place in the order of commits."""

    def __init__(self, engine: Engine, snapshot: int, writable: bool, limits: Limits | None = None) -> None:
        self._engine = engine
        self._log = engine.log
        self.epoch = engine.epoch
        self.snapshot = snapshot
        self.writable = writable
        self.read_set = ReadSet()
        self.budget = Budget(limits)
        self.on_commit: list[Callable[[int], None]] = []
        self.facts: dict[str, Any] = {}  # what the functions room keeps with a run
        self._pending: dict[str, _Pending] = {}
        self._overlay: dict[int, dict[bytes, str | None]] = {}
        self._journal: list[Callable[[], object]] = []
        self._layers = 0
        self._new_tables: list[Table] = []
        self._corrections: dict[int, tuple[tuple[int, int], Correction | None]] = {}
        self._creation_time = 0.0
        self._records = True
        self._unseen = 0  # rows that cursors have fetched, of this snapshot, and nobody has looked at; one for each fetch under way
        self._guess_ids: list[str] | None = None
        self._guess_intervals: list[tuple[int, Interval]] = []
        self._begin = snapshot
        self.is_gone = False

    def catch_up(self) -> bool:
        """Move the snapshot to the newest commit, if nothing that was read has changed since: the run is then one of a later begin.

        Whether it is there now. Not while a cursor holds rows of the old snapshot that nobody has looked at yet.
        """
        log = self._log
        if log.validated == self.snapshot:
            return True
        if not self.writable or self._unseen or self.is_gone or self.epoch != self._engine.epoch or self.snapshot < log.floor:
            return False
        if log.find_conflict(self.read_set, self.snapshot) is not None:
            return False
        self.snapshot = log.validated
        self._corrections.clear()
        return True

    def begin_guess(self) -> None:
        """What is read from here on may turn out to be read for nobody."""
        self._guess_ids, self._guess_intervals = [], []

    def end_guess(self, *, is_right: bool) -> None:
        """It was for somebody, or it is not depended on. Nothing that was read before is touched."""
        ids, self._guess_ids = self._guess_ids, None
        if is_right:
            return
        self.read_set.ids.difference_update(ids or ())
        for index, interval in self._guess_intervals:
            self.read_set.intervals[index].pop(interval, None)

    # tables

    def table(self, component: str, name: str) -> Table | None:
        """The table, or None, on which the transaction then depends. An own new one comes before one that another made since."""
        for table in self._new_tables:
            if (table.component, table.name) == (component, name):
                return table
        found = self._engine.catalog.by_name.get((component, name))
        # One that is not on disk yet goes again if the commit that made it is taken back.
        if (found is None or found.made_at > self._log.durable) and self._records:
            self.read_set.names.add((component, name))
        return found

    def table_of(self, number: int) -> Table | None:
        """The table that ids with this number belong to."""
        table = self._engine.catalog.by_number.get(number)
        if table is None and self._new_tables:
            return next((table for table in self._new_tables if table.number == number), None)
        return table

    def make_table(self, component: str, name: str) -> Table:
        """A table that no schema declares, made by the first insert into it."""
        catalog = self._engine.catalog
        if len(catalog.by_number) >= LIMITS["tables"].value:
            raise LimitExceeded("tables", len(catalog.by_number) + 1, LIMITS["tables"].value)
        self.read_set.names.add((component, name))
        table = self._engine.make_table(TableRecord(self._engine.catalog.take_number(), component, name))
        self._new_tables.append(table)
        return table

    # reading

    async def get(self, table: Table, id: str) -> Document | None:
        """A fresh copy of a document, or None. Depends on this one id."""
        packed = await self.get_packed(table, id)
        if packed is None:
            return None
        document: Document = unpack(packed)
        return document

    def get_at_hand(self, table: Table, id: str) -> Any:
        """`get` where nothing has to be waited for; else NOT_AT_HAND, and nothing is recorded."""
        packed = self._packed_at_hand(table, id)
        if packed is NOT_AT_HAND or packed is None:
            return packed
        self.budget.read(len(packed))
        return unpack(packed)

    async def get_packed(self, table: Table, id: str) -> bytes | None:
        """The same as the bytes that are stored."""
        packed = await self._packed(table, id)
        if packed is not None:
            self.budget.read(len(packed))
        return packed

    def _packed_at_hand(self, table: Table, id: str) -> Any:
        """`_packed` in the common case: written here, or in memory and not newer than the snapshot. NOT_AT_HAND otherwise."""
        pending = self._pending.get(id)
        memory = table.memory
        if pending is None and (memory is None or table.last_place > self.snapshot or table.unsealed):
            return NOT_AT_HAND
        if self._records and id not in self.read_set.ids:
            self.read_set.ids.add(id)
            if self._guess_ids is not None:
                self._guess_ids.append(id)
            self.budget.read_interval()
        if pending is not None:
            return pending.new if pending.table is table else None
        assert memory is not None
        return memory.documents.get(id)

    async def _packed(self, table: Table, id: str) -> bytes | None:
        at_hand = self._packed_at_hand(table, id)
        if at_hand is not NOT_AT_HAND:
            packed: bytes | None = at_hand
            return packed
        if self._records and id not in self.read_set.ids:
            self.read_set.ids.add(id)
            self.budget.read_interval()
        await self._sealed(table, id)
        # Looked up anew: while this waited, the table may have become one that is read from storage.
        memory = table.memory
        if memory is not None:
            self._check_snapshot()
            return self._log.document_at(table, id, self.snapshot, memory.documents.get(id))
        read = await self._engine.storage.get(table.number, (id,))
        correction = self._stored_correction(table, read.at)
        if correction is not None and id in correction.documents:
            return correction.documents[id]
        return read.rows[0].doc if read.rows else None

    async def newest_packed(self, table: Table, id: str) -> bytes | None:
        """The document as it is by now, own writes included, for a guess: nothing depends on it, and it is no part of the snapshot."""
        pending = self._pending.get(id)
        if pending is not None:
            return pending.new if pending.table is table else None
        log = self._log
        view = Transaction(self._engine, log.validated, writable=False)
        view._records = False
        log.pin(view.snapshot)
        try:
            return await view._packed(table, id)
        finally:
            log.unpin(view.snapshot)

    async def scan(self, index: Index, interval: Interval, descending: bool, limit: int | None) -> list[Document]:
        """Up to `limit` documents of the interval in key order. Depends on what it returns, or on the whole interval when it ran dry.

        One that is more than may be read is depended on too: who catches the LimitExceeded has learned that it is there.
        """
        return unpack_all(await self.scan_packed(index, interval, descending, limit))

    async def scan_packed(self, index: Index, interval: Interval, descending: bool, limit: int | None) -> list[bytes]:
        """The same, each document as the bytes that are stored."""
        found = self._rows_at_hand(index, interval, descending, limit)
        if found is None:
            found = await self._rows(index, interval, descending, limit)
        return self._read(index, interval, descending, found[0], found[1])

    def scan_at_hand(self, index: Index, interval: Interval, descending: bool, limit: int | None) -> list[Document] | None:
        """`scan` where nothing has to be waited for; else None, and nothing is recorded."""
        found = self._rows_at_hand(index, interval, descending, limit)
        if found is None:
            return None
        return unpack_all(self._read(index, interval, descending, found[0], found[1]))

    def _read(self, index: Index, interval: Interval, descending: bool, rows: list[tuple[bytes, bytes]], exhausted: bool) -> list[bytes]:
        """The documents of rows that a scan has found, which from now on are read."""
        size = len(rows[0][1]) if len(rows) == 1 else sum([len(packed) for _, packed in rows])
        if size > self.budget.bytes_left:
            rows, size = _up_to(rows, self.budget.bytes_left)
            exhausted = False
        if self._records:
            if exhausted:
                self._record(index, interval)
            elif rows:
                self._record(index, _consumed(interval, rows[-1][0], descending))
        if rows:
            self.budget.read_many(len(rows), size)
        return [packed for _, packed in rows]

    def cursor(self, index: Index, interval: Interval, descending: bool) -> TransactionCursor:
        """The same read bit by bit."""
        return TransactionCursor(self, index, interval, descending)

    async def count(self, index: Index, interval: Interval) -> int:
        """How many documents lie in the interval. Depends on all of it and reads none of them."""
        table = index.table
        if self._records:
            self._record(index, interval)
        await self._sealed(table)
        memory = table.memory
        if memory is not None and not index.is_by_id:
            self._check_snapshot()
            changed = self._changes(index, self._memory_correction(table))
            entries = memory.entries[index.number]
            total = memory.count(index.number, interval)
            for key, id in changed.items():
                if interval.start <= key and (interval.end is None or key < interval.end):
                    total += (id is not None) - (key in entries)
            return total
        total = 0
        while True:
            rows, exhausted = await self._rows(index, interval, False, 1_000)
            total += len(rows)
            if exhausted:
                return total
            interval = Interval(rows[-1][0] + b"\x00", interval.end)

    def _record(self, index: Index, interval: Interval) -> None:
        # Not one more each time: a range that is read again is still one interval.
        if self.read_set.add(index.number, interval):
            if self._guess_ids is not None:
                self._guess_intervals.append((index.number, interval))
            self.budget.read_interval()

    def _rows_at_hand(
        self, index: Index, interval: Interval, descending: bool, limit: int | None
    ) -> tuple[list[tuple[bytes, bytes]], bool] | None:
        """`_rows` in the common case: nothing newer than the snapshot, rows in memory. None otherwise."""
        table = index.table
        memory = table.memory
        if memory is None or index.is_by_id or table.last_place > self.snapshot or table.unsealed or (limit is not None and limit <= 0):
            return None
        start, end = interval
        if end is not None and start >= end:
            return [], True
        entries = memory.entries[index.number]
        documents = memory.documents
        own = self._overlay.get(index.number)
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
        pendings = self._pending
        if not pendings:
            return [(key, documents[id]) for key, id in found], exhausted
        return [(key, self._own(id, documents) if id in pendings else documents[id]) for key, id in found], exhausted

    async def _rows(self, index: Index, interval: Interval, descending: bool, limit: int | None) -> tuple[list[tuple[bytes, bytes]], bool]:
        """(key, packed document) pairs at the snapshot with own writes, and whether the interval ended."""
        found = self._rows_at_hand(index, interval, descending, limit)
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
            return await self._stored_rows(index, interval, descending, limit)
        self._check_snapshot()
        base: Iterator[tuple[bytes, str]]
        if index.is_by_id:
            base = _by_id(memory.ids_in_order(interval, descending))
        else:
            entries = memory.entries[index.number]
            base = _by_key(memory.keys(index.number, interval, descending), entries)
        return self._merged(index, base, memory.documents, self._memory_correction(table), interval, descending, limit)

    def _own(self, id: str, documents: dict[str, bytes]) -> bytes:
        pending = self._pending.get(id)
        packed = documents[id] if pending is None else pending.new
        assert packed is not None, "a deleted document's keys are in the overlay"
        return packed

    async def _stored_rows(
        self, index: Index, interval: Interval, descending: bool, limit: int | None
    ) -> tuple[list[tuple[bytes, bytes]], bool]:
        """Rows of a table on disk, chunk by chunk, each corrected by the place that its own rows were read at.

        Ends early once they are more bytes than may be read: a large table is not held in memory only to be refused.
        """
        table = index.table
        rows: list[tuple[bytes, bytes]] = []
        rest: Interval = interval
        bytes_left = self.budget.bytes_left
        while True:
            await self._sealed(table)
            wanted = _CHUNK if limit is None else min(_CHUNK, limit - len(rows) + 8)
            read = await self._engine.storage.scan(index.number, rest, "desc" if descending else "asc", wanted)
            ended = len(read.rows) < wanted
            within = rest if ended else _consumed(rest, read.rows[-1].key, descending)
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
    ) -> tuple[list[tuple[bytes, bytes]], bool]:
        changed = self._changes(index, correction)
        start, end = interval
        moved = sorted((key for key in changed if start <= key and (end is None or key < end)), reverse=descending)
        older = correction.documents if correction is not None else {}
        rows: list[tuple[bytes, bytes]] = []
        for key, id in _merge(base, moved, changed, descending):
            pending = self._pending.get(id)
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
            for id, pending in self._pending.items():
                if pending.table is index.table:
                    changed[id_key(id)] = None if pending.new is None else id
            return changed
        older = correction.entries.get(index.number) if correction is not None else None
        own = self._overlay.get(index.number)
        if older is None:
            return own or {}
        return {**older, **own} if own else older

    def _memory_correction(self, table: Table) -> Correction | None:
        """What turns the rows in memory, the newest ones, into rows of the snapshot."""
        log = self._log
        if log.validated == self.snapshot:
            return None
        # Made anew when there are newer rows, and when a batch has become durable: its commit timestamps are in their keys then.
        made_at = log.validated, log.durable
        known = self._corrections.get(table.number)
        if known is None or known[0] != made_at:
            known = self._corrections[table.number] = made_at, log.correction(table, log.validated, self.snapshot, is_stored=False)
        return known[1]

    def _stored_correction(self, table: Table, ts: int) -> Correction | None:
        """What turns rows that storage read at a timestamp into rows of the snapshot."""
        place = self._log.place_at(ts)
        self._check_snapshot()
        if place < 0:
            self.is_gone = True
            raise SnapshotGone
        return self._log.correction(table, place, self.snapshot, is_stored=True)

    def _check_snapshot(self) -> None:
        if self.snapshot < self._log.floor or self.epoch != self._engine.epoch:
            self.is_gone = True  # kept, in case the function catches what is raised here
            raise SnapshotGone

    async def _sealed(self, table: Table, id: str | None = None) -> None:
        """Wait until rows that carry their own commit timestamp, and that this snapshot sees, know it."""
        while table.unsealed:
            waiting: LogEntry | None = next(
                (entry for place, entry in table.unsealed.items() if place <= self.snapshot and (id is None or id in entry.ids)), None
            )
            if waiting is None:
                return
            await self._engine.wait_sealed(waiting)

    # writing

    def new_id(self, table: Table) -> str:
        """An id that no document of the table has."""
        engine = self._engine
        return encode_id(table.number, new_internal(engine.random, int(engine.clock.now_ms())))

    def insert(self, table: Table, document: Mapping[str, Any], *, id: str | None = None) -> tuple[str, Document]:
        """Add a document; gives its id and what is stored. `id` may be chosen by who has read that it is free."""
        if id is None:
            id = self.new_id(table)
        fields = {name: value for name, value in document.items() if value is not UNSET}
        for name in fields:
            if type(name) is not str or name[:1] == "_":
                _refuse_field(table, "", name, "fields that begin with _ are the engine's; insert sets _id and _creationTime itself")
        stored = self._checked(table, "", fields)
        stored["_id"] = id
        stored["_creationTime"] = self._next_creation_time()
        self._write(table, id, None, None, stored, None)
        return id, stored

    async def patch(self, table: Table, id: str, fields: Mapping[str, Any]) -> tuple[Document, Document | None]:
        """Merge fields into a document, UNSET removes one; gives old and new, new None when nothing changed."""
        packed = self._packed_at_hand(table, id)
        if packed is NOT_AT_HAND:
            packed = await self._packed(table, id)
        return self._patch(table, id, packed, fields)

    def patch_at_hand(self, table: Table, id: str, fields: Mapping[str, Any]) -> bool:
        """`patch` where nothing has to be waited for. False otherwise, and nothing is done."""
        packed = self._packed_at_hand(table, id)
        if packed is NOT_AT_HAND:
            return False
        self._patch(table, id, packed, fields)
        return True

    def _patch(self, table: Table, id: str, packed: bytes | None, fields: Mapping[str, Any]) -> tuple[Document, Document | None]:
        old = self._existing("patch", id, packed)
        assert packed is not None
        merged = old.copy()
        del merged["_id"], merged["_creationTime"]
        for name, value in fields.items():
            if (type(name) is not str or name[:1] == "_") and self._is_system_field(table, old, name, value):
                continue
            if value is UNSET:
                merged.pop(name, None)
            else:
                merged[name] = value
        return old, self._update(table, id, packed, old, merged, fields.keys())

    async def replace(self, table: Table, id: str, document: Mapping[str, Any]) -> tuple[Document, Document | None]:
        """Replace all but the system fields; gives old and new, new None when nothing changed."""
        packed = await self._packed(table, id)
        old = self._existing("replace", id, packed)
        assert packed is not None
        fields = {}
        for name, value in document.items():
            if (type(name) is not str or name[:1] == "_") and self._is_system_field(table, old, name, value):
                continue
            if value is not UNSET:
                fields[name] = value
        return old, self._update(table, id, packed, old, fields, None)

    async def delete(self, table: Table, id: str) -> Document:
        """Remove a document; gives what it was."""
        packed = await self._packed(table, id)
        old = self._existing("delete", id, packed)
        self._write(table, id, packed, old, None, None)
        return old

    def _existing(self, operation: str, id: str, packed: bytes | None) -> Document:
        """The document that is to be changed."""
        if packed is None:
            raise DocumentNotFound(operation, id)
        self.budget.read(len(packed))
        old: Document = unpack(packed)
        return old

    @staticmethod
    def _is_system_field(table: Table, old: Document, name: Any, value: Any) -> bool:
        """Whether it is one, given as it is stored: documents are mostly read, changed and written back. What may not be written raises."""
        if name not in ("_id", "_creationTime"):
            _refuse_field(table, old["_id"], name, "fields that begin with _ are the engine's")
            return False
        if value != old[name]:
            raise SchemaError(table.name, old["_id"], name, "is set by the engine and never changes; leave it out or pass the stored value")
        return True

    def _update(
        self, table: Table, id: str, packed: bytes, old: Document, fields: dict[str, Any], changed: Collection[str] | None
    ) -> Document | None:
        new = self._checked(table, id, fields)
        new["_id"], new["_creationTime"] = id, old["_creationTime"]
        return new if self._write(table, id, packed, old, new, changed) else None

    def _checked(self, table: Table, id: str, fields: dict[str, Any]) -> dict[str, Any]:
        try:
            checked: dict[str, Any] = table.check(fields) if table.check is not None else normalize(fields)
        except Mismatch as mismatch:
            field = mismatch.path.lstrip(".")
            raise SchemaError(table.name, id, field, f"must be {mismatch.expected}, got {mismatch.got}") from None
        except ValueRefused as refused:
            raise SchemaError(table.name, id, refused.path.lstrip("."), refused.reason) from None
        if table.declares_fields:
            return checked  # their names were looked at when they were declared
        for name in checked:
            if not name.isidentifier() or len(name) > 64 or not name.isascii():
                raise SchemaError(table.name, id, name, "a top-level field name must be an ASCII identifier of at most 64 characters")
        return checked

    def _write(
        self, table: Table, id: str, packed: bytes | None, old: Document | None, new: Document | None, changed: Collection[str] | None
    ) -> bool:
        """Put one version into the pending writes. `changed` are the top-level fields that may differ; None is all."""
        new_packed = None if new is None else pack(new)
        if new_packed == packed:
            return False
        size = len(new_packed) if new_packed is not None else len(packed or b"")
        # A packed document is never five times smaller than its size by the limit's measure.
        if new is not None and size * 5 > _DOCUMENT_BYTES and (size := size_of(new)) > _DOCUMENT_BYTES:
            raise LimitExceeded("document_bytes", size, _DOCUMENT_BYTES)
        if new is not None and new_packed is not None and _holds_any(new):
            # Deep ones have many brackets, which are sooner counted.
            is_flat = new_packed.count(b"[") + new_packed.count(b"{") <= _DOCUMENT_DEPTH
            if not is_flat and (depth := _depth(new)) > _DOCUMENT_DEPTH:
                raise LimitExceeded("document_depth", depth, _DOCUMENT_DEPTH)
        self.budget.wrote(size)
        moves: list[tuple[int, bytes | None, bytes | None]] = []
        old_tail = new_tail = b""
        for index in table.maintained:
            if changed is not None and (not index.roots or index.roots.isdisjoint(changed)):
                continue
            if not old_tail and old is not None:
                old_tail = encode_key(old["_creationTime"]) + id_key(id)
            if not new_tail and new is not None:
                new_tail = encode_key(new["_creationTime"]) + id_key(id)
            old_key = None if old is None else index.prefix_of(old) + old_tail
            new_key = None if new is None else index.prefix_of(new) + new_tail
            if old_key != new_key:
                moves.append((index.number, old_key, new_key))
        self._put(table, id, packed, new_packed, moves)
        return True

    def _put(
        self, table: Table, id: str, packed: bytes | None, new: bytes | None, moves: list[tuple[int, bytes | None, bytes | None]]
    ) -> None:
        journal = self._journal if self._layers else None
        pending = self._pending.get(id)
        if pending is None:
            pending = self._pending[id] = _Pending(table, id, packed, new, {})
            if journal is not None:
                journal.append(lambda: self._forget(id))
        else:
            if journal is not None:
                journal.append(_restorer(pending, pending.new, dict(pending.keys)))
            pending.new = new
        for number, old_key, new_key in moves:
            overlay = self._overlay.get(number)
            if overlay is None:
                overlay = self._overlay[number] = {}
            if journal is not None:
                journal.append(_overlay_restorer(overlay, old_key, new_key))
            if old_key is not None:
                overlay[old_key] = None
            if new_key is not None:
                overlay[new_key] = id
            first = pending.keys.get(number)
            pending.keys[number] = (old_key if first is None else first[0], new_key)

    def _forget(self, id: str) -> None:
        del self._pending[id]

    def _next_creation_time(self) -> float:
        engine = self._engine
        base = self._creation_time or engine.clock.now_ms()
        # The engine's last one too: documents of mutations that follow one another within a clock tick keep their order.
        base = math.nextafter(max(base, engine.creation_time), math.inf)
        self._creation_time = engine.creation_time = base
        return base

    # layers

    def begin_layer(self) -> LayerMark:
        """Open a layer: what is written from here on can be dropped together."""
        self._layers += 1
        used = self.budget.used
        return LayerMark(
            len(self._journal),
            len(self.on_commit),
            len(self._new_tables),
            (used.documents_written, used.bytes_written, used.functions_scheduled, used.scheduled_bytes),
        )

    def fold_layer(self, mark: LayerMark) -> None:
        """The layer's writes become the writes of the layer below."""
        self._layers -= 1
        if not self._layers:
            self._journal.clear()

    def undo(self, step: Callable[[], object]) -> None:
        """What else is to be undone when the open layer is dropped. At once with its writes, in reverse order."""
        if self._layers:
            self._journal.append(step)

    def drop_layer(self, mark: LayerMark) -> None:
        """Undo the layer's writes, and give back what they cost. Its reads stay."""
        self._layers -= 1
        journal = self._journal
        while len(journal) > mark.journal:
            journal.pop()()
        del self.on_commit[mark.on_commit :]
        del self._new_tables[mark.new_tables :]
        for name, value in zip(GIVEN_BACK, mark.given_back, strict=True):
            setattr(self.budget.used, name, value)

    def stale_view(self) -> Transaction:
        """The snapshot of the begin, without own writes and without depending on it. What it reads is its own budget's, not this one's."""
        view = Transaction(self._engine, self._begin, writable=False)
        view.epoch = self.epoch
        view._records = False
        return view

    # for the committer

    @property
    def has_writes(self) -> bool:
        return bool(self._pending) or bool(self._new_tables)

    def writes(self) -> list[Write]:
        """The write set, as storage and log take it."""
        writes = []
        for pending in self._pending.values():
            if pending.old != pending.new:
                keys = pending.keys
                entries = [Entry(number, old, new) for number, (old, new) in keys.items() if old != new] if keys else ()
                writes.append(Write(pending.table.number, pending.id, pending.old, pending.new, entries))
        return writes

    @property
    def new_tables(self) -> list[Table]:
        return self._new_tables

    def tables_with_commit_ts(self) -> list[Table]:
        """Tables of pending documents that carry the placeholder of the commit timestamp."""
        tables = []
        for pending in self._pending.values():
            # `find`: with bytes on its left, `in` first tries them as a number, and that costs an exception.
            if pending.new is not None and pending.new.find(COMMIT_TS_TOKEN) >= 0 and pending.table not in tables:
                tables.append(pending.table)
        return tables


class TransactionCursor:
    """A scan that is read bit by bit: what was fetched and not consumed is not depended on, and costs nothing."""

    def __init__(self, transaction: Transaction, index: Index, interval: Interval, descending: bool) -> None:
        self._transaction, self._index, self._interval, self._descending = transaction, index, interval, descending
        self._rest = interval
        self._fetched: list[tuple[bytes, int]] = []
        self._at = 0
        self._recorded: Interval | None = None
        self.exhausted = False

    async def fetch(self, count: int) -> list[tuple[bytes, Document]]:
        """The next `count` rows as (key, fresh document)."""
        if self.exhausted:
            return []
        transaction = self._transaction
        transaction._unseen += 1
        try:
            rows, self.exhausted = await transaction._rows(self._index, self._rest, self._descending, count)
        finally:
            transaction._unseen -= 1
        transaction._unseen += len(rows)
        if rows:
            last = rows[-1][0]
            self._rest = Interval(self._interval.start, last) if self._descending else Interval(last + b"\x00", self._interval.end)
        self._fetched.extend((key, len(packed)) for key, packed in rows)
        if self.exhausted and self._at == len(self._fetched) and transaction._records:
            transaction._record(self._index, self._interval)
        return [(key, unpack(packed)) for key, packed in rows]

    def consume(self, count: int) -> None:
        """The caller has looked at `count` more of the fetched rows."""
        taken = self._fetched[self._at : self._at + count]
        self._at += len(taken)
        if not taken:
            return
        self._transaction._unseen -= len(taken)
        is_all = self.exhausted and self._at == len(self._fetched)
        self._depend_on(self._interval if is_all else _consumed(self._interval, taken[-1][0], self._descending))
        self._transaction.budget.read_many(len(taken), sum(size for _, size in taken))

    def depend_on_next(self) -> None:
        """The caller is told that a row follows, though not which: it depends on it without having read it."""
        if self._at < len(self._fetched):
            self._depend_on(_consumed(self._interval, self._fetched[self._at][0], self._descending))

    def _depend_on(self, grown: Interval) -> None:
        transaction = self._transaction
        if not transaction._records:
            return
        if self._recorded is None:
            transaction._record(self._index, grown)
        else:
            # It contains what this cursor recorded before, which can go: a long iteration stays one interval.
            transaction.read_set.grow(self._index.number, self._recorded, grown)
        self._recorded = grown

    @property
    def last_key(self) -> bytes | None:
        """The key of the last consumed row."""
        return self._fetched[self._at - 1][0] if self._at else None

    def key_back(self, back: int) -> bytes | None:
        """The key of the row consumed `back` rows before the last one."""
        at = self._at - 1 - back
        return self._fetched[at][0] if at >= 0 else None

    @property
    def is_drained(self) -> bool:
        """Nothing follows what was consumed."""
        return self.exhausted and self._at == len(self._fetched)


def _consumed(interval: Interval, last: bytes, descending: bool) -> Interval:
    """The part of an interval that was read when `last` is the last row returned."""
    # As `Interval(…)` does, without the function that it is in Python.
    consumed: Interval = _new(Interval, (last, interval[1]) if descending else (interval[0], last + b"\x00"))
    return consumed


def _refuse_field(table: Table, id: str, name: object, reason: str) -> None:
    """Raise for a field that an author may not write. A name of a subclass of str is none, as long as it has no _ in front."""
    if not isinstance(name, str):
        raise SchemaError(table.name, id, repr(name), f"a field's name is a string, not {type(name).__name__}")
    if name.startswith("_"):
        raise SchemaError(table.name, id, name, reason)


def _up_to(rows: list[tuple[bytes, bytes]], room: int) -> tuple[list[tuple[bytes, bytes]], int]:
    """The rows up to and including the one that does not fit into `room` bytes, and their size."""
    size = 0
    for at, (_, packed) in enumerate(rows, 1):
        size += len(packed)
        if size > room:
            return rows[:at], size
    return rows, size


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


def _restorer(pending: _Pending, new: bytes | None, keys: dict[int, tuple[bytes | None, bytes | None]]) -> Callable[[], None]:
    def restore() -> None:
        pending.new, pending.keys = new, keys

    return restore


def _overlay_restorer(overlay: dict[bytes, str | None], *keys: bytes | None) -> Callable[[], None]:
    before = [(key, overlay.get(key, _MISSING)) for key in keys if key is not None]

    def restore() -> None:
        for key, id in before:
            if id is _MISSING:
                overlay.pop(key, None)
            else:
                overlay[key] = id

    return restore


def _holds_any(document: Document) -> bool:
    """Whether some field is a list or an object."""
    for value in document.values():
        kind = type(value)
        if kind is dict or kind is list:
            return True
    return False


def _depth(value: Any) -> int:
    children: Iterable[Any] = value.values() if type(value) is dict else value if type(value) is list else ()
    return (1 + max(map(_depth, children), default=0)) if type(value) in (dict, list) else 0


__all__ = ["LayerMark", "SnapshotGone", "Transaction", "TransactionCursor", "after_prefix"]
