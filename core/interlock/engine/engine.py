"""The engine's one object: opens a storage, runs transactions on it, deploys tables to it."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, Self, TypeVar, cast

import structlog

from interlock.clock import Clock, SystemClock
from interlock.engine.catalog import BY_CREATION_TIME, BY_ID, Catalog, Table, TableSpec
from interlock.engine.committer import Committer, Lost, before_deadline
from interlock.engine.deploy import Deploy
from interlock.engine.joint import Joint
from interlock.engine.live import SNAPSHOT_NOT_KEPT, LiveQueries
from interlock.engine.made import Made
from interlock.engine.memory_table import MemoryTable
from interlock.engine.read_set import ReadSet
from interlock.engine.staging import Staging
from interlock.engine.transaction import Transaction
from interlock.engine.turns import Turn
from interlock.engine.unpacked import Unpacked
from interlock.engine.view import SnapshotGone
from interlock.engine.write_log import LogEntry, WriteLog
from interlock.errors import MountError, StorageUnavailable, WriteConflict
from interlock.limits import LIMITS, Limits
from interlock.storage.protocol import IndexRecord, Interval, NothingWritten, OutcomeUnknown, Storage, TableRecord
from interlock.values import compile_validator, is_identifier, unpack

logger = structlog.get_logger("interlock.engine")
T = TypeVar("T")
_LOSSES_BEFORE_TURN = 2
_LOSSES_BEFORE_ALL = 5
_ALL_MS = 100.0
_FIRST_TABLE_NUMBER = 10_001
_LOAD_CHUNK = 2_000
_COMMITS_BETWEEN_LOOKS = 256
_CACHE_BYTES_MIN = 8 * 1024 * 1024


@dataclass(frozen=True)
class EngineSettings:
    """`memory_bytes`: packed documents of tables kept in memory, smallest tables first; results of queries may take a quarter of it beside.

    `history_seconds`: how much of the log is kept.
    """

    memory_bytes: int = 256 * 1024 * 1024
    history_seconds: float = 24 * 3600.0

    @property
    def cache_bytes(self) -> int:
        """What the results that queries gave may take: a quarter of `memory_bytes`, within what is too little and the limit."""
        return min(int(LIMITS["query_cache"].value), max(_CACHE_BYTES_MIN, self.memory_bytes // 4))

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> Self:
        """What `INTERLOCK_MEMORY_BYTES` and `INTERLOCK_HISTORY_SECONDS` say. Raises MountError for what is no number, 0 or more."""
        given = {}
        for field in fields(cls):
            name = f"INTERLOCK_{field.name.upper()}"
            text = environment.get(name, "")
            if not text:
                continue
            try:
                number = float(text)
            except ValueError:
                number = math.nan
            if not 0 <= number < math.inf:
                raise MountError("the environment", f"{name} is {text!r}.", "Write a number, 0 or more, or leave it out.")
            given[field.name] = number
        return cls(**given)  # type: ignore[arg-type]  # a budget of bytes is compared, and may be any number


class Outcome(Generic[T]):
    """What a transaction gave: its value, the timestamp it is true at (of its commit if it wrote), that commit's place or its snapshot."""

    __slots__ = ("place", "read_set", "runs", "ts", "value")

    def __init__(self, value: T, ts: int, place: int, read_set: ReadSet, runs: int = 1) -> None:
        self.value, self.ts, self.place, self.read_set, self.runs = value, ts, place, read_set, runs


class _Attempt(Generic[T]):
    """One run of a mutation, as far as it goes without waiting: what it has made, or what it has raised. Its snapshot is pinned."""

    __slots__ = ("failure", "made", "snapshot", "transaction")

    def __init__(self, engine: Engine, run: Callable[[Transaction], Awaitable[T] | Made[T]], limits: Limits | None) -> None:
        self.failure: BaseException | None = None
        self.made: Made[T] | Awaitable[T] | None = None
        log = engine.log
        self.snapshot = snapshot = log.validated
        self.transaction = transaction = Transaction(engine, snapshot, True, limits)
        log.pin(snapshot)
        try:
            self.made = run(transaction)
        except Exception as error:
            self.failure = error
        except BaseException:
            log.unpin(snapshot)
            raise


class Placed(Generic[T]):
    """A mutation that has its place in the order of commits, and is answered when that is on disk."""

    __slots__ = ("_transaction", "entry", "runs", "value")

    def __init__(self, entry: LogEntry, value: T, transaction: Transaction, runs: int = 1) -> None:
        self.entry, self.value, self._transaction, self.runs = entry, value, transaction, runs

    def outcome(self) -> Outcome[T]:
        """It stands: tells those who have asked for that in its transaction. To be called once."""
        entry, transaction = self.entry, self._transaction
        assert entry.commit is not None, "what stands was not taken back"
        ts = entry.commit.ts
        for callback in transaction.on_commit:
            callback(ts)
        return Outcome(self.value, ts, entry.place, transaction.read_set, self.runs)


class Engine:
    """Transactions over one storage. Everything here runs on one event loop."""

    def __init__(
        self,
        storage: Storage,
        *,
        clock: Clock | None = None,
        settings: EngineSettings | None = None,
        seed: int | None = None,
    ) -> None:
        self.storage = storage
        self.clock: Clock = clock or SystemClock()
        self.settings = settings or EngineSettings()
        self.random = random.Random(seed)
        self.catalog = Catalog()
        self.facts: dict[str, str] = {}
        self.epoch = 0  # counts deploys: a transaction that began before one runs again
        self.log: WriteLog = WriteLog(self.catalog, 0)
        self.unpacked = Unpacked()
        self.committer: Committer = Committer(storage, self.log, self.catalog, self.clock)
        self.live: LiveQueries = LiveQueries(self)
        self.staging = Staging(self)
        self.joint = Joint(self)
        self._unwatched = 0
        self.creation_time = 0.0  # the last `_creationTime` given out, ms

    # opening

    async def open(self) -> None:
        """Load the catalog and the tables that live in memory."""
        boot = await self.storage.load()
        self.facts = dict(boot.facts)
        self.staging.load(self.facts)
        self.catalog.next_number = max(boot.next_number, _FIRST_TABLE_NUMBER)
        self.log = WriteLog(self.catalog, boot.newest)
        self.creation_time = boot.newest / 1e6
        self.committer = Committer(self.storage, self.log, self.catalog, self.clock)
        self.live = LiveQueries(self)
        self.committer.on_durable.append(self.live.notice)
        self.committer.on_durable.append(self._watch_memory)
        tables = {record.number: self.make_table(record, listed=boot.indexes) for record in boot.tables}
        for table in tables.values():
            self.catalog.add(table)
        self._keep_within_memory()
        for table in tables.values():
            self.creation_time = max(self.creation_time, await self._last_creation_time(table))
            if table.memory is not None:
                await self._load(table)
        self.staging.start()

    def _watch_memory(self, entries: Sequence[LogEntry]) -> None:
        self._unwatched += len(entries)
        if self._unwatched >= _COMMITS_BETWEEN_LOOKS:
            self._unwatched = 0
            self._keep_within_memory()

    def _keep_within_memory(self) -> None:
        """Let the largest tables be read from storage when all together are over the budget. Nobody can tell where a table is."""
        budget = self.settings.memory_bytes
        for table in sorted(self.catalog.by_number.values(), key=lambda table: table.size):
            budget -= table.size
            if budget < 0 and table.memory is not None:
                table.memory = None
                logger.info("table_is_read_from_storage", table=table.name, component=table.component, bytes=table.size)

    def make_table(self, record: TableRecord, listed: Sequence[IndexRecord] | None = None) -> Table:
        """A table object with its indexes; without `listed` a new one with the two that every table has."""
        table = Table(record)
        self.set_validator(table, record.validator)
        if listed is None:
            listed = [
                IndexRecord(self.catalog.take_number(), table.number, BY_CREATION_TIME, ()),
                IndexRecord(self.catalog.take_number(), table.number, BY_ID, ("_id",)),
            ]
        for index in listed:
            if index.table == table.number:
                table.add_index(index, index.number in self.staging.filled)
        table.memory = MemoryTable([index.number for index in table.maintained])
        return table

    def set_validator(self, table: Table, validator: str) -> None:
        table.validator = validator
        declared = json.loads(validator) if validator else None
        table.declares_fields = False
        if declared is None or not declared["strict"] or declared["validator"] is None:
            table.check = None
        else:
            table.declares_fields = _declares_fields(declared["validator"])
            component = table.component
            table.check = compile_validator(declared["validator"], lambda name: self.catalog.number_of(component, name))

    async def _last_creation_time(self, table: Table) -> float:
        """Commit timestamps do not tell it: while the clock is behind them, creation times go up by more."""
        newest = await self.storage.scan(table.indexes[BY_CREATION_TIME].number, Interval(b"", None), "desc", 1)
        return float(unpack(newest.rows[0].doc)["_creationTime"]) if newest.rows else 0.0

    async def _load(self, table: Table) -> None:
        """Fill a table in memory from its storage."""
        memory = table.memory
        assert memory is not None
        by_id = table.indexes[BY_ID]
        interval = Interval(b"", None)
        while True:
            read = await self.storage.scan(by_id.number, interval, "asc", _LOAD_CHUNK)
            for row in read.rows:
                memory.documents[row.id] = row.doc
            if len(read.rows) < _LOAD_CHUNK:
                break
            interval = Interval(read.rows[-1].key + b"\x00", None)
        for index in table.maintained:
            entries: dict[bytes, str] = {}
            after = b""
            while True:
                found = await self.storage.entries(index.number, after, _LOAD_CHUNK)
                entries.update(found)
                if len(found) < _LOAD_CHUNK:
                    break
                after = found[-1][0]
            memory.entries[index.number].update(entries)

    async def close(self) -> None:
        """Wait for what was validated to be on disk, then let the storage go."""
        await self.staging.close()
        self.joint.close()
        await self.committer.close()
        await self.storage.close()

    @property
    def durable(self) -> int:
        return self.log.durable

    @property
    def durable_ts(self) -> int:
        return self.log.durable_ts

    # running

    async def mutate(
        self,
        run: Callable[[Transaction], Awaitable[T] | Made[T]],
        *,
        label: str,
        deadline_ms: float | None = None,
        limits: Limits | None = None,
    ) -> Outcome[T]:
        """Run a mutation until it stands, and answer when the answer is safe: everything it rests on is on disk.

        `run` may be called several times, each on a newer snapshot; it must have no effect but on its transaction.
        `deadline_ms` is a point in time. Raises what `run` raises, under the same rule; WriteConflict when the deadline
        passes before its turn came; StorageUnavailable.
        """
        begun = self.begin(run, label=label, deadline_ms=deadline_ms, limits=limits)
        placed: Any = begun if type(begun) is Placed else await begun  # type: ignore[misc]
        if type(placed) is not Placed:
            outcome: Outcome[T] = placed
            return outcome
        is_lost = False
        try:
            await self.committer.wait_durable(placed.entry.place, None)
        except Lost:
            is_lost = True
        return await self.again(run, label, deadline_ms, limits, placed.runs) if is_lost else placed.outcome()

    async def again(
        self,
        run: Callable[[Transaction], Awaitable[T] | Made[T]],
        label: str,
        deadline_ms: float | None,
        limits: Limits | None = None,
        losses: int = 1,
    ) -> Outcome[T]:
        """`mutate` for what had its place, and was taken back before it was written."""
        outcome: Any = await self._mutate(run, label, self._deadline(deadline_ms), limits, None, losses=losses)
        return cast("Outcome[T]", outcome)

    def _deadline(self, deadline_ms: float | None) -> float:
        return self.clock.now_ms() + LIMITS["transaction_wall"].value * 1000.0 if deadline_ms is None else deadline_ms

    def begin(
        self,
        run: Callable[[Transaction], Awaitable[T] | Made[T]],
        *,
        label: str,
        deadline_ms: float | None = None,
        limits: Limits | None = None,
    ) -> Placed[T] | Awaitable[Outcome[T] | Placed[T]]:
        """`mutate` until it has its place, if it does so without trouble, and as far as it goes without waiting.

        What has its place, the newest, stands once `Committer.when_durable` says so, which is to be asked at once.
        """
        committer, log = self.committer, self.log
        if deadline_ms is None:
            deadline_ms = self._deadline(None)
        if committer.fatal is not None or committer.unavailable is not None:
            return self._mutate(run, label, deadline_ms, limits, None, to_place=True)
        attempt: _Attempt[T] = _Attempt(self, run, limits)
        transaction = attempt.transaction
        if type(attempt.made) is Made and transaction.has_writes and transaction.rest is None and not transaction.is_gone:
            try:
                entry = committer.commit_at_once(transaction, label)
                if entry is not None:
                    log.unpin(attempt.snapshot)
                    placed: Placed[T] = Placed(entry, attempt.made.value, transaction)
                    return placed
            except (Lost, SnapshotGone):
                pass  # it is so when it is looked at again, too
            except BaseException:
                log.unpin(attempt.snapshot)
                raise
        return self._mutate(run, label, deadline_ms, limits, attempt, to_place=True)

    async def _mutate(
        self,
        run: Callable[[Transaction], Awaitable[T] | Made[T]],
        label: str,
        deadline_ms: float,
        limits: Limits | None,
        attempt: _Attempt[T] | None,
        *,
        losses: int = 0,
        to_place: bool = False,
    ) -> Outcome[T] | Placed[T]:
        """`mutate` from where its first attempt waits, or has to wait, or has failed. `to_place`: as `begin`."""
        committer, log = self.committer, self.log
        turn: Turn | None = None
        try:
            while True:
                if attempt is None:
                    if committer.fatal is not None or committer.unavailable is not None:
                        committer.check_open()
                    attempt = _Attempt(self, run, limits)
                transaction, snapshot = attempt.transaction, attempt.snapshot
                failure, made = attempt.failure, attempt.made
                attempt.failure = None  # else it would hold the frame that holds it
                attempt = None
                winner: LogEntry | None = None
                value: Any = None
                entry: LogEntry | None = None
                try:
                    if failure is None:
                        try:
                            value = made.value if type(made) is Made else await made  # type: ignore[misc]
                            if transaction.rest is not None:
                                entry = await self.joint.end(transaction, label, has_turn=turn is not None)
                        except (SnapshotGone, Lost):
                            raise
                        except Exception as error:
                            failure = error
                    if entry is None and (transaction.is_gone or type(failure) is SnapshotGone):
                        raise SnapshotGone
                    if failure is None and transaction.has_writes:
                        is_newest = entry is None
                        if entry is None:
                            entry = committer.commit_at_once(transaction, label)
                        if entry is not None and is_newest and to_place and turn is None:
                            return Placed(entry, value, transaction, losses + 1)
                        if entry is None:
                            entry = await committer.commit(transaction, turn, label, deadline_ms)
                        if turn is not None:
                            committer.turns.end(turn)
                            turn = None
                        await committer.wait_durable(entry.place, None)
                        return Placed(entry, value, transaction, losses + 1).outcome()
                    if transaction.view.epoch != self.epoch:
                        raise SnapshotGone
                    seen = transaction.snapshot  # it may have caught up with commits since its begin
                    if log.durable < seen or committer.has_taken_back:
                        await committer.wait_durable(seen, transaction.read_set)
                    if failure is not None:
                        raise failure
                    return Outcome(value, log.ts_at(seen), seen, transaction.read_set, losses + 1)
                except Lost as lost:
                    winner = lost.entry
                except SnapshotGone:
                    pass
                finally:
                    failure = None  # its traceback holds this frame: together they would wait for the collector
                    log.unpin(snapshot)
                losses += 1
                turn = await self._lost(winner, transaction, turn, losses, label, deadline_ms)
        finally:
            if turn is not None:
                committer.turns.end(turn)

    async def _lost(
        self, entry: LogEntry | None, transaction: Transaction, turn: Turn | None, losses: int, label: str, deadline_ms: float
    ) -> Turn | None:
        """What a loser does before it runs again: nothing at first, then it takes its turn and waits for earlier ones.

        `entry` is what won, None where the snapshot was gone.
        """
        if self.clock.now_ms() >= deadline_ms:
            raise self._conflict(entry, transaction, label)
        turns = self.committer.turns
        if losses < _LOSSES_BEFORE_TURN:
            return turn
        if turn is None:
            turn = turns.take(label)
        turn.reserved.update(transaction.read_set)
        if losses >= _LOSSES_BEFORE_ALL:
            turn.reserves_all = True
        try:
            while (ahead := turns.ahead_of(turn)) is not None:
                if not await before_deadline(self.clock, ahead.done, deadline_ms):
                    raise self._conflict(entry, transaction, label)
        except BaseException:  # also where its caller has given it up: others would wait for it for ever
            turns.end(turn)
            raise
        if turn.reserves_all:
            holder = turn
            self.clock.call_at(self.clock.now_ms() + _ALL_MS, lambda: setattr(holder, "reserves_all", False))
        return turn

    def _conflict(self, entry: LogEntry | None, transaction: Transaction, label: str) -> WriteConflict:
        if entry is None:
            return WriteConflict(label, "", (), "a mutation whose turn came first")
        ids = tuple(id for id in entry.ids if id in transaction.read_set.ids) or tuple(entry.ids)
        tables = {self.catalog.by_number[w.table].name for w in entry.writes if w.table in self.catalog.by_number}
        return WriteConflict(label, ", ".join(sorted(tables)), ids[:5], entry.source)

    async def query(
        self,
        run: Callable[[Transaction], Awaitable[T] | Made[T]],
        *,
        at: int | None = None,
        limits: Limits | None = None,
    ) -> Outcome[T]:
        """Run a query on what is on disk: the newest durable snapshot, or the place `at`, which the caller keeps pinned.

        A deploy that comes between makes it run again, at the same place. Raises what `run` raises; StorageUnavailable.
        """
        log = self.log
        while True:
            snapshot = log.durable if at is None else at
            transaction = Transaction(self, snapshot, False, limits)
            log.pin(snapshot)
            try:
                try:
                    made = run(transaction)
                    value: Any = made.value if type(made) is Made else await made  # type: ignore[misc]
                except Exception:
                    if transaction.is_gone:
                        raise SnapshotGone from None
                    raise
                if transaction.is_gone:
                    raise SnapshotGone
                return Outcome(value, log.ts_at(snapshot), snapshot, transaction.read_set)
            except SnapshotGone:
                if at is not None and transaction.view.epoch == self.epoch:
                    raise StorageUnavailable(*SNAPSHOT_NOT_KEPT) from None
            finally:
                log.unpin(snapshot)

    async def wait_sealed(self, entry: LogEntry) -> None:
        await self.committer.wait_sealed(entry)

    # deploying and keeping house

    async def deploy(self, specs: Sequence[TableSpec], *, facts: dict[str, str] | None = None, moves: dict[str, str] | None = None) -> None:
        """Make the tables what the specs say, whole or not at all.

        Checks stored documents that the new validators may not fit, fills new indexes, drops those no longer declared.
        Staged indexes are filled afterwards, in the background; what is left of that is done first where one is no longer staged.
        Tables of components that no spec names are left as they are. `moves` gives a component path's tables to another.
        Raises SchemaError naming table, document, field and reason; then nothing was changed.
        """
        while unfilled := await self.committer.hold(lambda: Deploy(self, specs, facts or {}, moves or {}).run()):
            await self.staging.finish(unfilled)
        self.staging.start()

    async def set_facts(self, facts: dict[str, str]) -> None:
        """Keep small texts with the data."""
        await self.deploy([], facts=facts)

    async def drop_tables(self, tables: Iterable[Table]) -> None:
        """Remove tables and all that is in them."""
        numbers = [table.number for table in tables]
        await self.committer.hold(lambda: Deploy(self, [], {}, {}).drop(numbers))

    async def forget_history(self) -> None:
        """Let go of the log beyond the history window, and give its space back. Raises StorageUnavailable."""
        before_ns = int((self.clock.now_ms() / 1000.0 - self.settings.history_seconds) * 1e9)
        try:
            await self.storage.forget(min(before_ns, self.log.durable_ts))
        except NothingWritten as refusal:
            raise StorageUnavailable(refusal.reason, refusal.remedy) from None
        except OutcomeUnknown as error:
            self.committer.fail(error)
            raise self.committer.fatal or error from error


def _declares_fields(validator: dict[str, Any]) -> bool:
    """Whether documents that it takes have no top-level fields but those that it names, which are good names."""
    if validator["type"] == "union":
        return all(map(_declares_fields, validator["value"]))
    return validator["type"] == "object" and all(map(is_identifier, validator["value"]))
