"""SQLite: one file in a data directory, written by a thread of its own, read in the loop's thread.

A batch is sealed and, unless it is large, encoded in the loop, and put into the database there as a few statements; the thread ends that
transaction, which is when it is written and synced. A batch of one commit is written in the loop itself while the disk is quick: for a
single caller the hop costs more than the waiting. A large batch is the thread's, from encoding it to the end. Reads share one snapshot of
the database, which is left whenever an append begins or ends: so they see the newest batch, and the write-ahead log can start over once
it has been copied.

Start at `SqliteStorage.append`. Knows SQLite; which of its errors mean what is in sqlite_failures.py.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Literal

import structlog

from interlock.storage import by_id, log_body, sqlite_file, sqlite_schema
from interlock.storage.batch import Batch, put_entries
from interlock.storage.data_lock import DataLock
from interlock.storage.protocol import Boot, CatalogChange, Commit, IndexRecord, Interval, NothingWritten, Order, OutcomeUnknown, Read, Row
from interlock.storage.sqlite_failures import not_writable, primary_code, read_failure, write_failure
from interlock.storage.sqlite_reader import Readers
from interlock.storage.sqlite_schema import Statement
from interlock.storage.wal_size import WalSize
from interlock.storage.writer_thread import WriterThread

logger = structlog.get_logger("interlock.storage")

_WRITER_CACHE_KIB = 16 * 1024
_READER_CACHE_KIB = 4 * 1024
_DIRECT_SYNC_S = 0.001
_DIRECT_PAGES = 64
_PUT_PAGES = 512
_PUT_S, _PUTS_ELSEWHERE = 0.005, 64
"""After a batch that took so long to put into the database, so many are put there by the writer's thread."""
_ENCODED_HERE = 1_000
"""More writes than these are encoded by the writer's thread, which lets the loop in between."""
_PAGES_BETWEEN_LOOKS = 64
"""A sixteenth of what the write-ahead log may grow by: looking at a file is dear beside a lone commit."""
_WAIT_FOR_LOCK_S = 1.0
_RETRY_LOCK_S = 0.01

_ROWS_A_STEP = 1000
_FORGET_BYTES_A_STEP = 4 * 1024 * 1024
_FORGET_ROWS_A_STEP = 256
_VACUUM_PAGES_A_STEP = 128
_FREE_PAGES_KEPT = 256
_FREE_PART_KEPT = 8

_ONE = "SELECT doc FROM documents WHERE table_number = ? AND id = ?"
_BY_KEY = (
    "SELECT key, entries.id, doc FROM entries CROSS JOIN documents ON table_number = ? AND documents.id = entries.id"
    " WHERE index_number = ? AND key >= ?{end} ORDER BY key {order} LIMIT ?"
)
_ENTRIES = "SELECT key, id FROM entries WHERE index_number = ? AND key > ? ORDER BY key LIMIT ?"
_BY_ID = "SELECT id, doc FROM documents WHERE table_number = ? AND id {start} ?{end} ORDER BY id {order} LIMIT ?"


class SqliteStorage:
    """One database file. `path` is a data directory, made if it is missing, or the file itself."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock_ns: Callable[[], int] = time.time_ns,
        synchronous: Literal["FULL", "NORMAL", "OFF"] = "FULL",
    ) -> None:
        self.file = sqlite_file.database_file(path)
        self._clock_ns = clock_ns
        self._synchronous = synchronous
        self._lock = DataLock(self.file.with_suffix(".lock"))
        self._writer = WriterThread("interlock-storage")
        self._connection: sqlite3.Connection | None = None
        self._readers = Readers(self.file, partial(sqlite_file.connect, self.file, synchronous, _READER_CACHE_KIB))
        self._indexes: dict[int, IndexRecord] = {}
        self._newest = 0
        self._unknown: OutcomeUnknown | None = None
        # So long nine of ten syncs take at the most, as far as the last ones tell. Before the first one the disk is not taken for quick.
        self._sync_s = _DIRECT_SYNC_S
        self._puts_elsewhere = 0
        self._wal = WalSize(self.file)
        self._pages_unseen = 0  # so many pages, by a guess, were written since the log was last looked at
        self._copying: asyncio.Future[bool] | None = None

    # Opening and closing.

    async def load(self) -> Boot:
        """Open the file, or look again at what is open. Raises StorageUnavailable, and then holds nothing."""
        try:
            boot: Boot = await self._writer.submit(self._open)
        except BaseException:
            self._writer.stop()
            self._close()
            raise
        self._readers.open()
        self._newest = max(self._newest, boot.newest)
        self._indexes = {index.number: index for index in boot.indexes}
        return boot

    async def close(self) -> None:
        self._readers.close()
        await self._writer.submit(self._close)
        self._writer.stop()

    def _open(self) -> Boot:
        if self._connection is not None:
            return self._boot(self._connection)
        sqlite_file.make_directory(self.file.parent)
        try:
            self._lock.acquire()
        except OSError as error:
            raise not_writable(self.file.parent, error) from None
        self._connection = sqlite_file.open_for_writing(self.file, self._synchronous, _WRITER_CACHE_KIB)
        self._unknown = None
        return self._boot(self._connection)

    def _boot(self, connection: sqlite3.Connection) -> Boot:
        try:
            return sqlite_file.read_boot(connection)
        except sqlite3.Error as error:
            raise read_failure(self.file, error) from None

    def _close(self) -> None:
        if self._connection is not None:
            # The last connection that closes copies the write-ahead log into the database and deletes it.
            self._connection.close()
            self._connection = None
        self._lock.release()

    # Reading.

    async def get(self, table: int, ids: Sequence[str]) -> Read:
        rows = []
        with self._readers.read() as reading:
            for id in dict.fromkeys(ids):
                found = reading.one(_ONE, (table, id))
                if found is not None:
                    rows.append(Row(b"", id, found[0]))
                    await reading.pause(1, len(found[0]))
            return Read(rows, reading.at)

    async def scan(self, index: int, interval: Interval, order: Order, limit: int) -> Read:
        record = self._indexes.get(index)
        with self._readers.read() as reading:
            if record is None:
                return Read([], reading.at)
            if record.fields == by_id.FIELDS:
                found = await reading.all(*_select_by_id(record.table, interval, order, limit))
                return Read([Row(by_id.id_key(id), id, doc) for id, doc in found], reading.at)
            found = await reading.all(*_select_by_key(record, interval, order, limit))
            return Read(list(map(Row._make, found)), reading.at)

    async def entries(self, index: int, after: bytes, limit: int) -> list[tuple[bytes, str]]:
        with self._readers.read() as reading:
            return await reading.all(_ENTRIES, (index, after, limit))

    async def tail(self, after: int) -> list[Commit]:
        with self._readers.read() as reading:
            commits: list[Commit] = []
            last = after
            while (found := reading.one("SELECT last, body FROM log WHERE last > ? ORDER BY last LIMIT 1", (last,))) is not None:
                last, body = found
                commits += [commit for commit in log_body.decode(body) if commit.ts > after]
                await reading.pause(32, len(body))
            return commits

    # Writing.

    async def append(self, commits: Sequence[Commit]) -> None:
        if self._copying is not None:
            # It would be waited for in the thread. Here the readings that began meanwhile can still be ended before the write,
            # else they would keep the log from starting over.
            await asyncio.wait([self._copying])
        if self._wal.is_pressing:
            await self._make_wal_start_over()
        newest, now = self._newest, self._clock_ns()
        for commit in commits:
            newest = commit.ts = max(now, newest + 1)
            if commit.seal is not None:
                commit.seal(newest)
        self._newest = newest
        indexes = [index for commit in commits for index in commit.indexes]
        self._readers.refresh()
        if sum([len(commit.writes) for commit in commits]) > _ENCODED_HERE:
            await self._writer.submit(partial(self._encode_and_write, commits), lambda batch: self._appended(batch, indexes, True))
            self._copy_wal_if_due()  # the log grows by too much at a time to be copied one batch later
            return
        batch = Batch(commits)
        may_be_direct = len(commits) <= 1 and batch.pages <= _DIRECT_PAGES and self._sync_s < _DIRECT_SYNC_S and self._writer.is_idle
        if may_be_direct and self._write(batch.statements, is_patient=False):
            self._appended(batch, indexes, True)
            self._copy_wal_if_due()
        else:
            appended = partial(self._appended, batch, indexes)
            if batch.pages <= _PUT_PAGES and self._writer.is_idle and self._put_in_loop(batch.statements):
                written = self._writer.submit(self._commit, appended, at_once=True)
            else:
                written = self._writer.submit(partial(self._write, batch.statements), appended)
            if self._wal.is_due and self._copying is None:
                # Behind it the thread has the interpreter, which the loop has left to it; later it would wait until the loop does so again.
                self._copying = self._writer.submit(self._copy_wal, self._copied_behind)
            await written

    def _encode_and_write(self, commits: Sequence[Commit]) -> Batch:
        batch = Batch(commits)
        self._write(batch.statements)
        return batch

    def _appended(self, batch: Batch, indexes: list[IndexRecord], _: bool) -> None:
        self._readers.refresh()
        for index in indexes:
            self._indexes[index.number] = index
        self._pages_unseen += batch.pages
        if self._pages_unseen >= _PAGES_BETWEEN_LOOKS:
            self._pages_unseen = 0
            self._wal.look()

    async def redefine(self, change: CatalogChange) -> None:
        # The iterables of a change belong to the loop's thread, the transaction to the writer's: statements go over in steps.
        loop, wanted = asyncio.get_running_loop(), asyncio.Event()
        steps: queue.SimpleQueue[list[Statement] | None] = queue.SimpleQueue()
        end: list[Statement] = []

        def received() -> Iterator[Statement]:
            while True:
                loop.call_soon_threadsafe(wanted.set)
                step = steps.get()
                if step is None:
                    raise _Abandoned
                if step is end:
                    return
                yield from step

        self._readers.refresh()
        written = self._writer.submit(partial(self._write, received()), partial(self._redefined, change))
        written.add_done_callback(lambda _: wanted.set())
        try:
            for step in _steps(change):
                await wanted.wait()
                wanted.clear()
                if written.done():
                    break
                steps.put(step)
        except BaseException:
            steps.put(None)
            await asyncio.wait([written])
            written.exception()
            raise
        steps.put(end)
        await written

    def _redefined(self, change: CatalogChange, _: bool) -> None:
        self._readers.refresh()
        for number, index in list(self._indexes.items()):
            if number in change.dropped_indexes or index.table in change.dropped_tables:
                del self._indexes[number]
        for index in change.indexes:
            self._indexes[index.number] = index
        self._copy_wal_if_grown()

    def _write(self, statements: Iterable[Statement], is_patient: bool = True) -> bool:
        """One transaction. False: another program has the lock, and there was no patience to wait for it."""
        return self._put(statements, is_patient) and self._commit(is_in_loop=not is_patient)

    def _put_in_loop(self, statements: Sequence[Statement]) -> bool:
        """The first part of a transaction, unless the last ones took long, as they do where pages have to be fetched from the disk."""
        if self._puts_elsewhere:
            self._puts_elsewhere -= 1
            return False
        started = time.perf_counter()
        is_put = self._put(statements, is_patient=False)
        if time.perf_counter() - started > _PUT_S:
            self._puts_elsewhere = _PUTS_ELSEWHERE
        return is_put

    def _put(self, statements: Iterable[Statement], is_patient: bool) -> bool:
        """All of a transaction but its end. False: as `_write`."""
        if self._unknown is not None:
            # What that batch left in the log is not known, so nothing may be built on it.
            raise self._unknown
        connection = self._connected()
        try:
            if not _begin(connection, is_patient):
                return False
            for text, parameters in statements:
                connection.execute(text, parameters)
            return True
        except BaseException as error:
            if isinstance(error, _Abandoned) and _undo(connection):
                raise
            raise self._failed(connection, error, is_committing=False) from error

    def _commit(self, is_in_loop: bool = False) -> bool:
        """The end of a transaction: its pages are written to the log, and that is synced."""
        connection = self._connected()
        try:
            started = time.perf_counter()
            connection.execute("COMMIT")
            took = time.perf_counter() - started
        except BaseException as error:
            raise self._failed(connection, error, is_committing=True) from error
        # Nine steps down weigh as much as one up, so it comes to rest where one in ten takes longer. A single slow sync says little:
        # where other programs sync too, they are slow now and then, and a thread is dear all the time.
        # What took long in the thread may have waited for the interpreter, and says nothing.
        if took <= self._sync_s:
            self._sync_s *= 0.98
        elif is_in_loop:
            self._sync_s = max(self._sync_s * 1.2, took / 20)
        return True

    def _failed(self, connection: sqlite3.Connection, error: BaseException, is_committing: bool) -> NothingWritten | OutcomeUnknown:
        failure = write_failure(self.file, error, is_committing=is_committing, is_undone=_undo(connection))
        if isinstance(failure, OutcomeUnknown):
            self._unknown = failure
        return failure

    # Keeping the files small.

    async def forget(self, before: int) -> None:
        has_vacuumed = False
        while await self._writer.submit(partial(self._forget_step, before)):
            self._readers.refresh()
            self._copy_wal_if_grown()
        while await self._writer.submit(self._vacuum_step):
            has_vacuumed = True
            self._readers.refresh()
            self._copy_wal_if_grown()
        if has_vacuumed:
            # The file becomes shorter when the log is copied into it.
            await self._writer.submit(self._copy_wal, self._copied_wal)

    def _forget_step(self, before: int) -> bool:
        """Delete some of the oldest log rows. False: there are none left to delete."""
        found = self._look(
            "SELECT last, length(body) FROM log WHERE last < ? AND last < (SELECT max(last) FROM log) ORDER BY last LIMIT ?",
            (before, _FORGET_ROWS_A_STEP),
        )
        last = total = 0
        for row, size in found:
            last, total = row, total + size
            if total >= _FORGET_BYTES_A_STEP:
                break
        return bool(found) and self._write([("DELETE FROM log WHERE last <= ?", (last,))])

    def _vacuum_step(self) -> bool:
        """Give some free pages back to the file system. False: what is left is kept for the log to grow into."""
        [(free,)] = self._look("PRAGMA freelist_count")
        [(pages,)] = self._look("PRAGMA page_count")
        surplus = free - max(_FREE_PAGES_KEPT, pages // _FREE_PART_KEPT)
        if surplus <= 0:
            return False
        connection = self._connected()
        try:
            # As a script, because that runs to its end without taking the interpreter's lock for each page.
            connection.executescript(f"PRAGMA incremental_vacuum({min(surplus, _VACUUM_PAGES_A_STEP)})")
        except sqlite3.Error as error:
            raise self._failed(connection, error, is_committing=True) from error
        return True

    def _look(self, text: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        """Rows that only the writer's thread wants to see."""
        connection = self._connected()
        try:
            return connection.execute(text, parameters).fetchall()
        except sqlite3.Error as error:
            raise self._failed(connection, error, is_committing=False) from error

    def _copy_wal_if_grown(self) -> None:
        self._wal.look()
        self._copy_wal_if_due()

    def _copy_wal_if_due(self) -> None:
        if self._wal.is_due and self._copying is None:
            self._readers.refresh()
            self._copying = self._writer.submit(self._copy_wal, self._copied_wal)

    def _copy_wal(self) -> bool:
        """Copy the write-ahead log into the database, as far as no reading needs it. True: all of it; the next write may start it over."""
        if self._unknown is not None:
            return False
        try:
            [(_, frames, copied)] = self._connected().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except (sqlite3.Error, NothingWritten) as error:
            # Nothing is lost by it: the log stays as it is, and the next copy begins where the last good one ended.
            logger.warning("write_ahead_log_not_copied", file=str(self.file), error=str(error))
            return False
        return bool(copied == frames)

    def _copied_wal(self, _: bool) -> None:
        self._copying = None
        self._wal.copied()

    def _copied_behind(self, is_whole: bool) -> None:
        """The copy behind a batch is over. It is not whole where a reading began while that was written, which sees less."""
        self._copied_wal(is_whole)
        if not is_whole:
            self._readers.refresh()
            self._copying = self._writer.submit(self._copy_wal, self._copied_wal)

    async def _make_wal_start_over(self) -> None:
        """Long readings overlapped for so long that the log never could. Between two batches, let them end.

        The first time those that are behind and keep the copy from being whole, the second time those that began while it was made.
        """
        self._wal.pressed()
        await self._readers.drain()
        self._readers.refresh()
        await self._writer.submit(self._copy_wal, self._copied_wal)
        await self._readers.drain()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            raise NothingWritten(f"{self.file} is closed.", "Open it again.")
        return self._connection


class _Abandoned(Exception):
    """The loop's side of a transaction gave up: roll back."""


def _begin(connection: sqlite3.Connection, is_patient: bool) -> bool:
    deadline = time.monotonic() + _WAIT_FOR_LOCK_S
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if primary_code(error) != sqlite3.SQLITE_BUSY or (is_patient and time.monotonic() > deadline):
                raise
            if not is_patient:
                return False
            time.sleep(_RETRY_LOCK_S)
        else:
            return True


def _undo(connection: sqlite3.Connection) -> bool:
    """Roll back. Some errors have done so already."""
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        return False
    return not connection.in_transaction


def _steps(change: CatalogChange) -> Iterator[list[Statement]]:
    """The statements of a deploy, bit by bit."""
    catalog: list[Statement] = []
    for number in change.dropped_indexes:
        catalog += sqlite_schema.drop_index(number)
    for number in change.dropped_tables:
        catalog += sqlite_schema.drop_table(number)
    for table in change.tables:
        catalog += sqlite_schema.put_table(table)
    for index in change.indexes:
        catalog += sqlite_schema.put_index(index)
    catalog += [sqlite_schema.put_fact(name, value) for name, value in change.facts.items()]
    yield catalog
    entries = iter(change.entries)
    while rows := list(islice(entries, _ROWS_A_STEP)):
        yield put_entries(rows)
    documents = iter(change.documents)
    tables: set[int] = set()
    while changed := list(islice(documents, _ROWS_A_STEP)):
        tables.update(table for table, _, _ in changed)
        yield [("UPDATE documents SET doc = ? WHERE table_number = ? AND id = ?", (doc, table, id)) for table, id, doc in changed]
    yield [sqlite_schema.count_again(table) for table in sorted(tables)]


def _select_by_key(record: IndexRecord, interval: Interval, order: Order, limit: int) -> tuple[str, tuple[Any, ...]]:
    if interval.end is None:
        return _BY_KEY.format(end="", order=order), (record.table, record.number, interval.start, limit)
    return _BY_KEY.format(end=" AND key < ?", order=order), (record.table, record.number, interval.start, interval.end, limit)


def _select_by_id(table: int, interval: Interval, order: Order, limit: int) -> tuple[str, tuple[Any, ...]]:
    start, start_included, end, end_included = by_id.id_bounds(interval)
    first = ">=" if start_included else ">"
    if end is None:
        return _BY_ID.format(start=first, end="", order=order), (table, start, limit)
    upto = " AND id <= ?" if end_included else " AND id < ?"
    return _BY_ID.format(start=first, end=upto, order=order), (table, start, end, limit)
