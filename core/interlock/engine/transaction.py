"""One run of a query or a mutation: what it sees, what it has read, what it would write.

The three are a view, a read set and a write set; here they are held together, and what is used is counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from interlock.engine.budget import Budget, Counts
from interlock.engine.catalog import Index, Table, mount_of
from interlock.engine.cursor import TransactionCursor
from interlock.engine.document import Document, inserted, measured, patched, replaced
from interlock.engine.read_set import ReadSet
from interlock.engine.view import NOT_AT_HAND, Row, View, consumed
from interlock.engine.write_set import WriteSet, index_moves
from interlock.errors import DocumentNotFound, LimitExceeded
from interlock.limits import LIMITS, Limits
from interlock.storage.protocol import Interval, TableRecord
from interlock.values import encode_id, new_internal, pack, unpack_all

if TYPE_CHECKING:
    from interlock.engine.engine import Engine
    from interlock.engine.joint import Rest


class LayerMark:
    """Where a layer began, and what had been written and scheduled by then."""

    __slots__ = ("bytes_written", "documents_written", "functions_scheduled", "journal", "new_tables", "on_commit", "scheduled_bytes")

    def __init__(self, journal: int, on_commit: int, new_tables: int, used: Counts) -> None:
        self.journal, self.on_commit, self.new_tables = journal, on_commit, new_tables
        self.documents_written, self.bytes_written = used.documents_written, used.bytes_written
        self.functions_scheduled, self.scheduled_bytes = used.functions_scheduled, used.scheduled_bytes

    def give_back(self, used: Counts) -> None:
        """What was written and scheduled since then does not count."""
        used.documents_written, used.bytes_written = self.documents_written, self.bytes_written
        used.functions_scheduled, used.scheduled_bytes = self.functions_scheduled, self.scheduled_bytes


class Transaction:
    """Made by the engine for each run; the functions room drives it. `snapshot` is a place in the order of commits."""

    def __init__(self, engine: Engine, snapshot: int, writable: bool, limits: Limits | None = None) -> None:
        self._engine = engine
        self._log = engine.log
        self._unpacked = engine.unpacked
        self.writable = writable
        self.write_set = WriteSet()
        self.view = View(engine, snapshot, engine.epoch, self.write_set)
        self.read_set = ReadSet()
        self.budget = Budget(limits)
        self.on_commit: list[Callable[[int], None]] = []
        self.facts: dict[str, Any] = {}  # what the functions room keeps with a run
        self.new_tables: list[Table] = []
        self.rest: Rest | None = None  # what is left to do before it commits
        self.records = True  # whether what is read is depended on
        self.unseen = 0  # rows that cursors have fetched, of this snapshot, and nobody has looked at; one for each fetch under way
        self._creation_time = 0.0
        self._guess_ids: list[str] | None = None
        self._guess_intervals: list[tuple[int, Interval]] = []
        self._uncounted: set[str] | None = None  # ids that are depended on and were not read yet
        self._begin = snapshot

    @property
    def snapshot(self) -> int:
        return self.view.place

    @property
    def is_gone(self) -> bool:
        """Whether its snapshot is, and it has to run again."""
        return self.view.is_gone

    def catch_up(self) -> bool:
        """Move the snapshot to the newest commit, if nothing that was read has changed since: the run is then one of a later begin.

        Whether it is there now. Not while a cursor holds rows of the old snapshot that nobody has looked at yet.
        """
        log, view = self._log, self.view
        if view.is_gone or view.epoch != self._engine.epoch:
            return False
        if log.validated == view.place:
            return True
        if not self.writable or self.unseen or view.place < log.floor:
            return False
        if log.find_conflict(self.read_set, view.place) is not None:
            return False
        view.move(log.validated)
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
            self.read_set.drop(index, interval)

    # tables

    def table(self, component: str, name: str) -> Table | None:
        """The table, or None, on which the transaction then depends. An own new one comes before one that another made since."""
        for table in self.new_tables:
            if (table.component, table.name) == (component, name):
                return table
        found = self._engine.catalog.by_name.get((component, name))
        # One that is not on disk yet goes again if the commit that made it is taken back.
        if (found is None or found.made_at > self._log.durable) and self.records:
            self.read_set.names.add((component, name))
        return found

    def table_of(self, number: int) -> Table | None:
        """The table that ids with this number belong to."""
        table = self._engine.catalog.by_number.get(number)
        if table is None and self.new_tables:
            return next((table for table in self.new_tables if table.number == number), None)
        return table

    def make_table(self, component: str, name: str) -> Table:
        """A table that no schema declares, made by the first insert into it."""
        catalog, mount = self._engine.catalog, mount_of(component)
        count = len(catalog.by_number) + len(self.new_tables)
        if count >= LIMITS["tables"].value:
            raise LimitExceeded("tables", count + 1, LIMITS["tables"].value)
        if mount:
            count = catalog.of_mount.get(mount, 0) + sum([mount_of(own.component) == mount for own in self.new_tables])
            if count >= LIMITS["tables_of_mount"].value:
                raise LimitExceeded("tables_of_mount", count + 1, LIMITS["tables_of_mount"].value)
        self.read_set.names.add((component, name))
        table = self._engine.make_table(TableRecord(self._engine.catalog.take_number(), component, name))
        self.new_tables.append(table)
        return table

    # reading

    async def get(self, table: Table, id: str) -> Document | None:
        """A fresh copy of a document, or None. Depends on this one id."""
        packed = await self.get_packed(table, id)
        return None if packed is None else self._fresh(packed)

    def get_at_hand(self, table: Table, id: str) -> Any:
        """`get` where nothing has to be waited for; else NOT_AT_HAND, and nothing is recorded."""
        packed = self.get_packed_at_hand(table, id)
        return packed if packed is NOT_AT_HAND or packed is None else self._fresh(packed)

    def _fresh(self, packed: bytes) -> Document:
        return self._unpacked.fresh(packed, self.writable)

    def get_packed_at_hand(self, table: Table, id: str) -> Any:
        """The same as the bytes that are stored."""
        packed = self._packed_at_hand(table, id)
        if packed is not NOT_AT_HAND and packed is not None:
            self.budget.read(len(packed))
        return packed

    async def get_packed(self, table: Table, id: str) -> bytes | None:
        """The same as the bytes that are stored."""
        packed = await self._packed(table, id)
        if packed is not None:
            self.budget.read(len(packed))
        return packed

    def _packed_at_hand(self, table: Table, id: str) -> Any:
        """`_packed` where nothing has to be waited for; else NOT_AT_HAND, and nothing is recorded."""
        packed = self.view.packed_at_hand(table, id)
        if packed is not NOT_AT_HAND and self.records:
            if id not in self.read_set.ids:
                self.read_set.ids.add(id)
                if self._guess_ids is not None:
                    self._guess_ids.append(id)
                self.budget.read_interval()
            elif self._uncounted is not None and id in self._uncounted:
                self._uncounted.discard(id)
                self.budget.read_interval()
        return packed

    async def _packed(self, table: Table, id: str) -> bytes | None:
        at_hand = self._packed_at_hand(table, id)
        if at_hand is not NOT_AT_HAND:
            packed: bytes | None = at_hand
            return packed
        # No part of a guess: while this waits, somebody else may read it for good.
        if self.records and id not in self.read_set.ids:
            self.read_set.ids.add(id)
            self.budget.read_interval()
        return await self.view.packed(table, id)

    async def is_free(self, table: Table, id: str) -> bool:
        """Whether no document has this id. Depended on, but nothing that counts as read as yet: the function did not ask for it."""
        packed = self.view.packed_at_hand(table, id)
        if self.records and id not in self.read_set.ids:
            self.read_set.ids.add(id)
            if self._uncounted is None:
                self._uncounted = set()
            self._uncounted.add(id)
            if packed is not NOT_AT_HAND and self._guess_ids is not None:
                self._guess_ids.append(id)
        return (await self.view.packed(table, id) if packed is NOT_AT_HAND else packed) is None

    def look(self) -> View:
        """What is there by now, own writes included, for guesses: nothing depends on it. `end_look` when it is over."""
        log = self._log
        newest = View(self._engine, log.validated, self._engine.epoch, self.write_set)
        log.pin(newest.place)
        return newest

    def end_look(self, newest: View) -> None:
        self._log.unpin(newest.place)

    async def scan(self, index: Index, interval: Interval, descending: bool, limit: int | None) -> list[Document]:
        """Up to `limit` documents of the interval in key order. Depends on what it returns, or on the whole interval when it ran dry.

        One that is more than may be read is depended on too: who catches the LimitExceeded has learned that it is there.
        """
        return unpack_all(await self.scan_packed(index, interval, descending, limit))

    async def scan_packed(self, index: Index, interval: Interval, descending: bool, limit: int | None) -> list[bytes]:
        """The same, each document as the bytes that are stored."""
        found = self.view.rows_at_hand(index, interval, descending, limit)
        if found is None:
            found = await self.view.rows(index, interval, descending, limit, self.budget.bytes_left)
        return self._read(index, interval, descending, found[0], found[1])

    def scan_at_hand(self, index: Index, interval: Interval, descending: bool, limit: int | None) -> list[Document] | None:
        """`scan` where nothing has to be waited for; else None, and nothing is recorded."""
        packed = self.scan_packed_at_hand(index, interval, descending, limit)
        if packed is None:
            return None
        return [self._fresh(packed[0])] if len(packed) == 1 else unpack_all(packed)

    def scan_packed_at_hand(self, index: Index, interval: Interval, descending: bool, limit: int | None) -> list[bytes] | None:
        """The same, each document as the bytes that are stored."""
        found = self.view.rows_at_hand(index, interval, descending, limit)
        return None if found is None else self._read(index, interval, descending, found[0], found[1])

    def _read(self, index: Index, interval: Interval, descending: bool, rows: list[Row], exhausted: bool) -> list[bytes]:
        """The documents of rows that a scan has found, which from now on are read."""
        size = len(rows[0][1]) if len(rows) == 1 else sum([len(packed) for _, packed in rows])
        if size > self.budget.bytes_left:
            rows, size = _up_to(rows, self.budget.bytes_left)
            exhausted = False
        if exhausted:
            self.record(index, interval)
        elif rows:
            self.record(index, consumed(interval, rows[-1][0], descending))
        if rows:
            self.budget.read_many(len(rows), size)
        return [packed for _, packed in rows]

    def cursor(self, index: Index, interval: Interval, descending: bool) -> TransactionCursor:
        """The same read bit by bit."""
        return TransactionCursor(self, index, interval, descending)

    async def count(self, index: Index, interval: Interval) -> int:
        """How many documents lie in the interval. Depends on all of it and reads none of them."""
        self.record(index, interval)
        return await self.view.count(index, interval)

    def record(self, index: Index, interval: Interval) -> None:
        """Depend on a part of an index."""
        # Not one more each time: a range that is read again is still one interval.
        if self.records and self.read_set.add(index.number, interval):
            if self._guess_ids is not None:
                self._guess_intervals.append((index.number, interval))
            start, end = interval
            self.budget.read_interval(len(start) + (len(end) if end is not None else 0))

    # writing

    def new_id(self, table: Table) -> str:
        """An id that no document of the table has."""
        engine = self._engine
        return encode_id(table.number, new_internal(engine.random, int(engine.clock.now_ms())))

    def insert(self, table: Table, document: Mapping[str, Any], *, id: str | None = None) -> tuple[str, Document]:
        """Add a document; gives its id and what is stored. `id` may be chosen by who has read that it is free."""
        if id is None:
            id = self.new_id(table)
        stored = inserted(table, document)
        stored["_id"] = id
        stored["_creationTime"] = self._next_creation_time()
        self._write(table, id, None, None, stored, None)
        return id, stored

    async def patch(self, table: Table, id: str, fields: Mapping[str, Any]) -> tuple[Document, Document | None]:
        """Merge fields into a document, UNSET removes one; gives old and new, new None when nothing changed."""
        packed = self._packed_at_hand(table, id)
        if packed is NOT_AT_HAND:
            packed = await self._packed(table, id)
        old = self._existing("patch", id, packed).copy()
        return old, self._patch(table, id, packed, old, fields)

    def patch_at_hand(self, table: Table, id: str, fields: Mapping[str, Any]) -> bool:
        """`patch` where nothing has to be waited for. False otherwise, and nothing is done."""
        packed = self._packed_at_hand(table, id)
        if packed is NOT_AT_HAND:
            return False
        self._patch(table, id, packed, self._existing("patch", id, packed), fields)
        return True

    def _patch(self, table: Table, id: str, packed: bytes | None, old: Document, fields: Mapping[str, Any]) -> Document | None:
        return self._update(table, id, packed, old, patched(table, old, fields), fields.keys())

    async def replace(self, table: Table, id: str, document: Mapping[str, Any]) -> tuple[Document, Document | None]:
        """Replace all but the system fields; gives old and new, new None when nothing changed."""
        packed = await self._packed(table, id)
        old = self._existing("replace", id, packed).copy()
        return old, self._update(table, id, packed, old, replaced(table, old, document), None)

    async def delete(self, table: Table, id: str) -> Document:
        """Remove a document; gives what it was."""
        packed = await self._packed(table, id)
        old = self._existing("delete", id, packed).copy()
        self._write(table, id, packed, old, None, None)
        return old

    def _existing(self, operation: str, id: str, packed: bytes | None) -> Document:
        """The document that is to be changed, itself not to be."""
        if packed is None:
            raise DocumentNotFound(operation, id)
        self.budget.read(len(packed))
        return self._unpacked.to_look_at(packed)

    def _update(
        self, table: Table, id: str, packed: bytes | None, old: Document, new: Document, changed: Collection[str] | None
    ) -> Document | None:
        new["_id"], new["_creationTime"] = id, old["_creationTime"]
        return new if self._write(table, id, packed, old, new, changed) else None

    def _write(
        self, table: Table, id: str, packed: bytes | None, old: Document | None, new: Document | None, changed: Collection[str] | None
    ) -> bool:
        """Put one version into the write set. `changed` are the top-level fields that may differ; None is all."""
        new_packed = None if new is None else pack(new)
        if new_packed == packed:
            return False
        if new is None or new_packed is None:
            self.budget.wrote(len(packed or b""))
        else:
            self.budget.wrote(measured(new, new_packed))
        self.write_set.put(table, id, packed, new_packed, index_moves(table, id, old, new, changed))
        if packed is not None and new is not None and new_packed is not None:
            self._unpacked.changed(packed, new_packed, new)  # last: `old` may be what is kept
        return True

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
        return LayerMark(self.write_set.begin_layer(), len(self.on_commit), len(self.new_tables), self.budget.used)

    def fold_layer(self, mark: LayerMark) -> None:
        """The layer's writes become the writes of the layer below."""
        self.write_set.fold_layer()

    def undo(self, step: Callable[[], object]) -> None:
        """What else is to be undone when the open layer is dropped. At once with its writes, in reverse order."""
        self.write_set.undo(step)

    def drop_layer(self, mark: LayerMark) -> None:
        """Undo the layer's writes, and give back what they cost. Its reads stay."""
        self.write_set.drop_layer(mark.journal)
        del self.on_commit[mark.on_commit :]
        del self.new_tables[mark.new_tables :]
        mark.give_back(self.budget.used)

    def stale_view(self) -> Transaction:
        """The snapshot of the begin, without own writes and without depending on it. What it reads is its own budget's, not this one's."""
        stale = Transaction(self._engine, self._begin, writable=False)
        stale.view.epoch = self.view.epoch
        stale.records = False
        return stale

    @property
    def has_writes(self) -> bool:
        return bool(self.write_set.documents) or bool(self.new_tables)


def _up_to(rows: list[Row], room: int) -> tuple[list[Row], int]:
    """The rows up to and including the one that does not fit into `room` bytes, and their size."""
    size = 0
    for at, (_, packed) in enumerate(rows, 1):
        size += len(packed)
        if size > room:
            return rows[:at], size
    return rows, size
