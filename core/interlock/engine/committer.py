"""Commits: which finished transactions stand, in which order, and when they may be answered.

A finished mutation is checked against the log and, with no await in between, given the next place in it; so on tables in
memory a mutation that never waits never conflicts. One task hands the places to storage in batches: while one batch
syncs, the next gathers. A batch that storage surely did not write is taken back; one of unknown outcome ends the engine.

Start at `Committer.commit`. Nothing else appends to storage while transactions run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

import structlog

from interlock.clock import Clock
from interlock.engine.catalog import Catalog, Table
from interlock.engine.read_set import ReadSet
from interlock.engine.resumed import Resumed
from interlock.engine.transaction import Transaction
from interlock.engine.turns import Turn, Turns
from interlock.engine.waited import Waited
from interlock.engine.write_log import LogEntry, WriteLog
from interlock.errors import InterlockError, StorageUnavailable
from interlock.storage.protocol import Commit, Entry, IndexRecord, Interval, NothingWritten, Storage, TableRecord, Write
from interlock.values import COMMIT_TS_TOKEN, CommitTimestamp, Int64, encode_key, fill_commit_ts

logger = structlog.get_logger("interlock.engine")
_PLACEHOLDER_KEY = encode_key(CommitTimestamp())
_PROBE_MS = 1_000.0
T = TypeVar("T")


class Lost(Exception):
    """The transaction has to run again: `entry` changed what it had read, or its commit was taken back."""

    def __init__(self, entry: LogEntry) -> None:
        super().__init__(entry)
        self.entry = entry


class Listener(Protocol):
    """Who is told how a commit ended."""

    def stands(self, error: BaseException | None) -> None:
        """It is on disk; or it is not, or nobody knows, and `error` says why. Must not raise, nor run a transaction."""


async def before_deadline(clock: Clock, done: asyncio.Future[None], deadline_ms: float) -> bool:
    """Wait for `done`, at most until the deadline; whether it was done in time."""
    either = asyncio.get_running_loop().create_future()

    def settle(*_: object) -> None:
        if not either.done():
            either.set_result(None)

    timer = clock.call_at(deadline_ms, settle)
    done.add_done_callback(settle)
    try:
        await either
    finally:
        timer.cancel()
        done.remove_done_callback(settle)
    return done.done()


class Committer:
    """Owns the order of commits and the way to storage."""

    def __init__(self, storage: Storage, log: WriteLog, catalog: Catalog, clock: Clock) -> None:
        self._storage, self._log, self._catalog, self._clock = storage, log, catalog, clock
        self.turns = Turns()
        self.on_flush: list[Callable[[Sequence[LogEntry]], None]] = []  # told of a batch before it goes to storage
        self.on_durable: list[Callable[[Sequence[LogEntry]], None]] = []  # told once it is on disk, and of what was taken back
        self.on_fatal: Callable[[InterlockError], None] | None = None
        self.unavailable: StorageUnavailable | None = None
        self.fatal: InterlockError | None = None
        self._gathering: list[LogEntry] = []
        self._flushing: asyncio.Task[None] | None = None
        self._is_scheduled = False
        self._at_end_of_batch: list[Callable[[], None]] = []
        self._waiters: list[tuple[int, Waited[None]]] = []
        self._listeners: list[tuple[int, Listener]] = []  # in the order of their places
        self._taken_back: list[tuple[int, LogEntry, BaseException]] = []  # (undone at, what, why), while a snapshot may have seen it
        self._seal_waiters: dict[int, asyncio.Future[None]] = {}
        self._probe: asyncio.Task[None] | None = None
        self.is_held = False  # a deploy is at work: nothing commits until it is done
        self._released: asyncio.Future[None] | None = None

    @property
    def has_taken_back(self) -> bool:
        return bool(self._taken_back)

    @property
    def is_busy(self) -> bool:
        """Whether commits are on their way to disk."""
        return bool(self._gathering) or self._flushing is not None

    def when_flushed(self, callback: Callable[[], None]) -> bool:
        """Have it called when the batch that is being written has ended, after its callers were woken. False: none is."""
        if self._flushing is None:
            return False
        self._at_end_of_batch.append(callback)
        return True

    # committing

    def check_open(self) -> None:
        """Raise what keeps new mutations out."""
        if self.fatal is not None:
            raise self.fatal
        if self.unavailable is not None:
            raise self.unavailable

    def commit_at_once(self, transaction: Transaction, source: str) -> LogEntry | None:
        """`commit` where neither a deploy nor somebody's turn is in the way; else None, and `commit` waits for them."""
        if self.is_held or self.turns.active:
            return None
        self._check(transaction)
        return self._place(transaction, source)

    async def commit(self, transaction: Transaction, turn: Turn | None, source: str, deadline_ms: float) -> LogEntry:
        """Give the transaction's writes a place, or raise Lost. Waits only for earlier turns and for a deploy."""
        while True:
            while self.is_held:
                await self._wait_released()
            # No await from here to the append: another commit could come in between, unseen by the check.
            self._check(transaction)
            if self.turns.active:
                planned = LogEntry(0, transaction.write_set.writes(), source, None, transaction.new_tables, self._catalog.by_index.get)
                ahead = self.turns.holding_up(planned, turn)
                if ahead is not None:
                    if not await before_deadline(self._clock, ahead.done, deadline_ms):
                        planned.source = ahead.label  # the error names what it would have written, and who kept it from that
                        raise Lost(planned)
                    continue
            return self._place(transaction, source)

    def _check(self, transaction: Transaction) -> None:
        """Raise what keeps it out, or Lost to whoever has written what it read."""
        if self.fatal is not None or self.unavailable is not None:
            self.check_open()
        transaction.view.check()
        log = self._log
        if transaction.snapshot != log.validated:
            conflict = log.find_conflict(transaction.read_set, transaction.snapshot)
            if conflict is not None:
                raise Lost(conflict)

    def _place(self, transaction: Transaction, source: str) -> LogEntry:
        new_tables = transaction.new_tables
        for table in new_tables:
            self._catalog.add(table)
        writes = transaction.write_set.writes()
        commit = Commit(writes, source=source)
        if new_tables:
            commit.tables = [TableRecord(table.number, table.component, table.name) for table in new_tables]
            commit.indexes = [
                IndexRecord(index.number, table.number, index.name, index.fields)
                for table in new_tables
                for index in table.indexes.values()
            ]
        entry = self._log.append(writes, source, commit, new_tables)
        for table in new_tables:
            table.made_at = entry.place
        stamped = transaction.write_set.tables_with_commit_ts()
        if stamped:
            self._mark_unsealed(entry, stamped)
        self._gathering.append(entry)
        self._schedule()
        return entry

    def _mark_unsealed(self, entry: LogEntry, tables: list[Table]) -> None:
        commit = entry.commit
        assert commit is not None
        for table in tables:
            table.unsealed[entry.place] = entry
        for write in entry.writes:
            for index, _, key in write.entries:
                if key is not None and (at := key.find(_PLACEHOLDER_KEY)) >= 0:
                    entry.span_indexes.setdefault(index, []).append(Interval(key[:at] + b"\x09", key[:at] + b"\x0d"))
        # Storage seals copies, in a thread of its own: what the log holds changes only here in the loop.
        commit.writes = [Write(w.table, w.id, w.old, w.new, w.entries) for w in entry.writes]
        commit.seal = lambda ts: _seal(commit.writes, ts)

    def _schedule(self) -> None:
        if self._flushing is None and not self._is_scheduled:
            self._is_scheduled = True
            # Not at once: whoever else is ready in this turn of the loop shares the batch.
            asyncio.get_running_loop().call_soon(self._start_flush)

    def _start_flush(self) -> None:
        self._is_scheduled = False
        if self._flushing is not None or not self._gathering or self.fatal is not None:
            return
        batch, self._gathering = self._gathering, []
        # Without a task as far as it goes: a storage that writes in this thread never waits.
        appending: Any = self._append(batch)
        pending: Any = None
        error: BaseException | None = None
        is_done = False
        try:
            pending = appending.send(None)
        except StopIteration:
            is_done = True
        except BaseException as raised:
            error = raised
        if not is_done and error is None:
            self._flushing = asyncio.get_running_loop().create_task(self._flush(batch, Resumed(appending, pending)))
            self._flushing.add_done_callback(self._flush_ended)
            self._tell_on_the_way(batch)
            return
        try:
            self._appended(batch, error)
        except Exception as failure:
            self.fail(failure)
        error = None  # its traceback holds this frame
        if self._gathering and self.fatal is None:
            self._schedule()

    def _flush_ended(self, task: asyncio.Task[None]) -> None:
        self._flushing = None
        self._tell_end_of_batch()  # of those who have asked since the last one ended
        if not task.cancelled() and task.exception() is not None:
            self.fail(task.exception())
        elif self._gathering and self.fatal is None:
            self._schedule()

    async def _flush(self, batch: list[LogEntry], appending: Awaitable[None]) -> None:
        """Hand batches to storage until none is left; the first one is under way."""
        while True:
            error: BaseException | None = None
            try:
                await appending
            except BaseException as raised:
                error = raised
            self._appended(batch, error)
            error = None  # its traceback holds this frame
            if not self._gathering or self.fatal is not None:
                return
            batch, self._gathering = self._gathering, []
            appending = self._append(batch)
            self._tell_on_the_way(batch)

    def _tell_on_the_way(self, batch: list[LogEntry]) -> None:
        for listener in self.on_flush:
            listener(batch)

    def _append(self, batch: list[LogEntry]) -> Awaitable[None]:
        return self._storage.append([entry.commit for entry in batch if entry.commit is not None])

    def _appended(self, batch: list[LogEntry], error: BaseException | None) -> None:
        try:
            if error is None:
                self._made_durable(batch)
            elif isinstance(error, NothingWritten):
                self._take_back(batch, StorageUnavailable(error.reason, error.remedy))
            else:
                self.fail(error)
                if not isinstance(error, Exception):
                    raise error
        finally:
            self._tell_end_of_batch()

    def _tell_end_of_batch(self) -> None:
        callbacks, self._at_end_of_batch = self._at_end_of_batch, []
        for callback in callbacks:
            callback()

    def _made_durable(self, batch: list[LogEntry]) -> None:
        log = self._log
        last = batch[-1]
        assert last.commit is not None
        for entry in batch:
            if entry.commit is not None and entry.commit.seal is not None:
                self._sealed(entry)
        log.durable, log.durable_ts = last.place, last.commit.ts
        # Answers first: the waiting callers are woken before anybody is told of the change.
        self._wake()
        for listener in self.on_durable:
            listener(batch)
        log.trim()

    def _sealed(self, entry: LogEntry) -> None:
        """The commit timestamp is known: put the sealed versions where the placeholders stand."""
        assert entry.commit is not None
        for write, sealed in zip(entry.writes, entry.commit.writes, strict=True):
            table = self._catalog.by_number[write.table]
            table.unsealed.pop(entry.place, None)
            if write.new == sealed.new:
                continue
            memory = table.memory
            if memory is not None and sealed.new is not None:
                memory.documents[write.id] = sealed.new
                for (index, _, before), (_, _, after) in zip(write.entries, sealed.entries, strict=True):
                    if before != after:
                        if before is not None:
                            memory.entries[index].discard(before)
                        if after is not None:
                            memory.entries[index].put(after, write.id)
            write.new, write.entries = sealed.new, sealed.entries
        entry.forget_keys()
        entry.commit.seal = None
        waiter = self._seal_waiters.pop(entry.place, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def wait_sealed(self, entry: LogEntry) -> None:
        """Until the entry's commit timestamp is known, or the entry was taken back."""
        if self.fatal is not None:
            raise self.fatal
        waiter = self._seal_waiters.get(entry.place)
        if waiter is None:
            waiter = self._seal_waiters[entry.place] = asyncio.get_running_loop().create_future()
        await asyncio.shield(waiter)

    # answering

    async def wait_durable(self, place: int, read_set: ReadSet | None) -> None:
        """Until everything up to `place` is on disk. `read_set` None means that `place` is an own commit.

        Raises Lost when what was read there has been taken back; for an own commit whatever took it back.
        """
        if self._log.durable < place:
            if self.fatal is not None:
                raise self.fatal
            future: Waited[None] = Waited(loop=asyncio.get_running_loop())
            self._waiters.append((place, future))
            try:
                await future
            finally:
                if future.cancelled():
                    self._waiters = [waiter for waiter in self._waiters if waiter[1] is not future]
        if self._taken_back:
            for resolved_at, entry, error in self._taken_back:
                if read_set is None:
                    if entry.place == place:
                        raise error
                elif entry.place <= place < resolved_at and read_set.is_touched_by(entry):
                    raise Lost(entry)

    def when_durable(self, place: int, listener: Listener) -> None:
        """Have it told when its commit, the newest one, is on disk, or was taken back. What `wait_durable` is without waiting."""
        self._listeners.append((place, listener))

    def _wake(self) -> None:
        durable = self._log.durable
        listeners = self._listeners
        if listeners and listeners[0][0] <= durable:
            at = len(listeners)
            while listeners[at - 1][0] > durable:
                at -= 1
            self._listeners = listeners[at:]
            for place, listener in listeners[:at]:
                listener.stands(self._why_taken_back(place) if self._taken_back else None)
        waiters = self._waiters
        if not waiters:
            return
        self._waiters = [waiter for waiter in waiters if waiter[0] > durable]
        parked: list[Callable[[], None]] = []
        for place, future in waiters:
            if place <= durable and not future.done():
                future.set_result(None)
                if future.parked is not None:
                    parked.append(future.parked)
        if parked:
            # Who is answered goes on here. Where something was taken back, who has lost runs again: not in the middle of that.
            is_at_once = not self._taken_back and asyncio.current_task() is None
            for go_on in parked:
                if is_at_once:
                    go_on()
                else:
                    asyncio.get_running_loop().call_soon(go_on)

    def _why_taken_back(self, place: int) -> BaseException | None:
        return next((error for _, entry, error in self._taken_back if entry.place == place), None)

    # trouble

    def _take_back(self, refused: list[LogEntry], reason: StorageUnavailable) -> None:
        """Storage surely wrote nothing. Every commit that is not on disk leaves the log's sight again, as a change like any other.

        Callers of the refused batch get the reason; those whose commits had only been gathered run again.
        """
        gathered, self._gathering = self._gathering, []
        undone = [*refused, *gathered]
        logger.error("storage_refused_a_batch", reason=str(reason), commits=len(refused), run_again=len(gathered))
        for entry in undone:
            for number in {write.table for write in entry.writes}:
                self._catalog.by_number[number].unsealed.pop(entry.place, None)
        inverse = self._log.append(_inverse(undone), "taken back", None)
        names = frozenset(name for entry in undone for name in entry.names)
        inverse.names = names
        for entry in undone:
            for table in entry.new_tables:
                self._catalog.remove(table)
            entry.commit = None
            inverse.span_indexes.update(entry.span_indexes)
        refused_places = {entry.place for entry in refused}
        self._taken_back = [item for item in self._taken_back if item[0] > self._log.floor]
        for entry in undone:
            self._taken_back.append((inverse.place, entry, reason if entry.place in refused_places else Lost(inverse)))
        self.unavailable = reason
        # Nothing between the last batch on disk and here exists any more, so the durable mark steps over all of it at once.
        self._log.durable = inverse.place
        for entry in undone:
            waiter = self._seal_waiters.pop(entry.place, None)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        self._wake()
        for listener in self.on_durable:
            listener([inverse])
        if self._probe is None or self._probe.done():
            self._probe = asyncio.get_running_loop().create_task(self._probe_storage())

    async def _probe_storage(self) -> None:
        while self.fatal is None:
            await self._clock.wait_until(self._clock.now_ms() + _PROBE_MS)
            try:
                await self._storage.append([])
            except NothingWritten as refusal:
                self.unavailable = StorageUnavailable(refusal.reason, refusal.remedy)
            except Exception as error:
                self.fail(error)
            else:
                self.unavailable = None
                logger.info("storage_is_back")
                return

    def fail(self, error: BaseException | None) -> None:
        """The outcome of a batch is not known: nothing can be promised any more. Every waiting and every later call raises."""
        if self.fatal is not None:
            return
        self.fatal = (
            error
            if isinstance(error, StorageUnavailable)
            else StorageUnavailable(
                f"The data's state on disk is not known after an error while writing ({error}).",
                "Start again: it recovers from what is on disk; nothing that was answered is lost.",
            )
        )
        logger.critical("storage_outcome_unknown", error=repr(error))
        for _, future in self._waiters:
            if not future.done():
                future.set_exception(self.fatal)
        self._waiters = []
        listeners, self._listeners = self._listeners, []
        for _, listener in listeners:
            listener.stands(self.fatal)
        for waiter in self._seal_waiters.values():
            if not waiter.done():
                waiter.set_exception(self.fatal)
        self._seal_waiters.clear()
        if self.on_fatal is not None:
            self.on_fatal(self.fatal)

    # deploys and the end

    async def hold(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` while nothing commits and everything is on disk."""
        while self.is_held:
            await self._wait_released()
        self.is_held = True
        try:
            self.check_open()
            await self.drain()
            self.check_open()
            return await work()
        finally:
            self.is_held = False
            if self._released is not None:
                self._released.set_result(None)
                self._released = None

    async def _wait_released(self) -> None:
        if self._released is None:
            self._released = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._released)

    async def drain(self) -> None:
        """Until every place given out so far is on disk or taken back."""
        if self.fatal is None and self._log.durable < self._log.validated:
            future: Waited[None] = Waited(loop=asyncio.get_running_loop())
            self._waiters.append((self._log.validated, future))
            await future

    async def close(self) -> None:
        if self.fatal is None:
            await self.drain()
        if self._probe is not None:
            self._probe.cancel()
        if self._flushing is not None:
            await asyncio.wait([self._flushing])
        if self.fatal is None:
            self.fatal = StorageUnavailable("This backend is closed.", "Open a new one.")


def _seal(writes: list[Write], ts: int) -> None:
    """Fill the commit timestamp into documents and keys."""
    key = encode_key(Int64(ts))
    for write in writes:
        if write.new is not None and COMMIT_TS_TOKEN in write.new:
            write.new = fill_commit_ts(write.new, ts)
            write.entries = [
                Entry(index, old, new.replace(_PLACEHOLDER_KEY, key) if new is not None else None) for index, old, new in write.entries
            ]


def _inverse(entries: Sequence[LogEntry]) -> list[Write]:
    """The writes that undo the entries, one a document."""
    undo: dict[str, Write] = {}
    for entry in reversed(entries):
        for write in entry.writes:
            back = [Entry(index, new_key, old_key) for index, old_key, new_key in write.entries]
            later = undo.get(write.id)
            if later is not None:
                keys = {index: (old, new) for index, old, new in later.entries}
                for index, old, new in back:
                    keys[index] = (keys[index][0] if index in keys else old, new)
                back = [Entry(index, old, new) for index, (old, new) in keys.items() if old != new]
            undo[write.id] = Write(write.table, write.id, later.old if later is not None else write.new, write.old, back)
    return list(undo.values())
