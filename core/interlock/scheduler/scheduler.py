"""Runs what is due: reads it ahead from each instance's jobs, gives the instances turns, runs it as often as promised.

A mutation's job runs and is marked in one transaction, so exactly once. An action's job is marked as running first, and
that is on disk before the action begins; so at most once, and what was running when a process ended is found and marked
as failed. When something is due is learned from commits, never by looking through what is planned; and as soon as they
are on their way to disk, so that a chain of jobs does not wait for each sync.

Start at `Scheduler._pump`: every event ends there.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import structlog

from interlock.clock import Timer
from interlock.engine import Engine, Transaction
from interlock.engine.write_log import LogEntry
from interlock.errors import StorageUnavailable, WriteConflict
from interlock.functions.dispatcher import Dispatcher
from interlock.hooks import Hooks, Outcome
from interlock.limits import LIMITS
from interlock.mounting import Tree
from interlock.scheduler.crons import check_crons, put_successor, sync_crons
from interlock.scheduler.jobs import Jobs
from interlock.scheduler.lane import Lane, Rounds
from interlock.scheduler.rows import (
    BY_STATE,
    ENDED,
    JOBS,
    LIVE,
    PENDING,
    RUNNING,
    Row,
    args_of,
    as_job,
    delete_job,
    due_of,
    has_ended,
    in_state,
    table_in,
)
from interlock.scheduler.running import LABEL, RunningJob, unpaid
from interlock.sdk.host import Job
from interlock.storage.protocol import Write
from interlock.values import unpack

logger = structlog.get_logger("interlock.scheduler")
T = TypeVar("T")

_READ_AHEAD, _READ_AHEAD_CHARACTERS = 256, 4_000_000
_CHUNK = 32
_LOW = 64  # fewer ready jobs than this, and more are read
_LOOK_SECONDS = 0.005  # so often it is looked whether the app is still busy
_AT_ONCE = 100  # rows in one transaction of the house-keeping
_CLEANING_PAUSE_MS = 60_000.0
_BACKOFF_MS_MIN, _BACKOFF_MS_MAX = 500.0, 30_000.0
_KEPT_MS = LIMITS["job_kept"].value * 1000.0
_FINISHED_MAX = int(LIMITS["jobs_finished"].value)


@dataclass(frozen=True, slots=True)
class Ran:
    """One job that has ended. `job` says how, by its whole path; `error` is what it raised."""

    job: Job
    error: BaseException | None
    duration_ms: float


@dataclass(frozen=True, slots=True)
class LiveJob:
    """One job that has not ended. `due_ms` is when it is due, or when it began."""

    job: Job
    due_ms: float
    is_cron: bool


class Scheduler:
    """The jobs and crons of one backend. Instances that are not mounted keep theirs until they are again.

    Whoever is in `watchers` is told of each job that has ended, once that is on disk.
    """

    def __init__(self, engine: Engine, *, dev: bool = False) -> None:
        self.jobs = Jobs(engine.clock)
        self.watchers: list[Callable[[Ran], None]] = []
        self._engine, self._clock, self._dev = engine, engine.clock, dev
        self._dispatcher: Dispatcher | None = None
        self._hooks: Hooks | None = None
        self._lanes: dict[str, Lane] = {}
        self._lane_of_table: dict[int, Lane] = {}
        self._rounds = Rounds(int(LIMITS["jobs_running"].value))
        self._running: set[str] = set()  # the jobs that run in this process
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: Timer | None = None
        self._timer_ms = math.inf
        self._paused_until_ms = -math.inf
        self._backoff_ms = _BACKOFF_MS_MIN
        self._is_open = self._pumps_soon = False
        self._rest: asyncio.TimerHandle | None = None
        self._idle: list[asyncio.Future[None]] = []
        self._on_the_way: deque[tuple[int, Lane, Write]] = deque()  # writes to jobs that are not on disk yet, with their places
        self._foreseen = 0  # the newest place that was looked at on its way

    # opening and closing

    async def start(self, dispatcher: Dispatcher, tree: Tree) -> None:
        """Take up the jobs of every mounted instance. Its tables are deployed, nothing is served yet."""
        self._dispatcher = dispatcher
        committer = self._engine.committer
        committer.on_flush.append(self._foresee)
        committer.on_durable.append(self._notice)
        await self.reload(tree)
        self._is_open = True
        self._pump()

    async def reload(self, tree: Tree) -> None:
        """Go on with other mounts and crons, after the dispatcher has adopted them. Jobs that run keep what they run with."""
        for path, instance in tree.by_path.items():
            check_crons(path, instance.crons)
        self._hooks = tree.hooks if tree.hooks.observes_jobs else None
        now = self._clock.now_ms()
        self._lanes = {path: self._lanes.get(path) or Lane(path, now) for path in tree.by_path}
        self._rounds.set_lanes(self._lanes)
        catalog = self._engine.catalog
        numbers = {path: catalog.number_of(path, JOBS) for path in self._lanes}
        self._lane_of_table = {number: self._lanes[path] for path, number in numbers.items() if number is not None}
        for path, instance in tree.by_path.items():
            while await self._mutate(partial(self._recover, path=path)):
                pass
            await self._mutate(partial(sync_crons, holder=path, declared=instance.crons, now_ms=self._clock.now_ms()))
            if path not in self.jobs.pending:
                self._spawn(self._count(path))
        self._pump()

    async def stop(self, grace_seconds: float = 0.0) -> None:
        """Begin nothing more, and end what still runs after a while: a mutation's job stays pending, an action's is marked as failed."""
        self._is_open = False
        committer = self._engine.committer
        if self._notice in committer.on_durable:
            committer.on_flush.remove(self._foresee)
            committer.on_durable.remove(self._notice)
        for timer in (self._timer, self._rest):
            if timer is not None:
                timer.cancel()
        if self._tasks and grace_seconds > 0:
            over = asyncio.ensure_future(self._clock.wait_until(self._clock.now_ms() + grace_seconds * 1000.0))
            while self._tasks and not over.done():
                await asyncio.wait([over, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            over.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _recover(self, tx: Transaction, path: str) -> int:
        """Mark what was running when its process ended, some at a time."""
        table = table_in(tx, path, JOBS)
        now = self._clock.now_ms()
        rows = await tx.scan(table.indexes[BY_STATE], in_state(RUNNING), False, _AT_ONCE + len(self._running))
        lost = [row for row in rows if row["_id"] not in self._running]
        for row in lost:
            await tx.patch(table, row["_id"], {"state": "failed", "at": now, "error": "The process ended while it ran."})
            if "cron" in row:
                await put_successor(tx, path, row, began_ms=row["began"], now_ms=now)
        return len(lost)

    # for those who look on

    @property
    def next_due_ms(self) -> float:
        """When the next job is due, as far as is known; infinity if none is planned."""
        return min((lane.next_due_ms for lane in self._lanes.values()), default=math.inf)

    @property
    def is_idle(self) -> bool:
        """Nothing runs, and nothing that is due waits (or storage is unavailable, and all waits)."""
        now = self._clock.now_ms()
        if self._tasks:
            return False
        return self._paused_until_ms > now or not any(lane.ready or lane.next_due_ms <= now for lane in self._lanes.values())

    async def wait_idle(self) -> None:
        """Until everything that is due has ended."""
        while self._is_open and not self.is_idle:
            idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(idle)
            await idle

    async def live_jobs(self) -> list[LiveJob]:
        """All jobs of mounted instances that are pending or running."""

        async def read(tx: Transaction) -> list[LiveJob]:
            found = []
            for path in self._lanes:
                index = table_in(tx, path, JOBS).indexes[BY_STATE]
                for row in [row for state in LIVE for row in await tx.scan(index, in_state(state), False, None)]:
                    found.append(LiveJob(as_job(path, row, await args_of(tx, path, row), asker=None), row["at"], "cron" in row))
            return found

        return (await self._engine.query(unpaid(read))).value

    # what is due

    def _foresee(self, entries: Sequence[LogEntry]) -> None:
        """Learn from commits on their way to disk when something is due. It begins meanwhile: a mutation's job stands only after them,
        and an action's is begun by one. Asked at every commit, so a write that is no job's costs one look-up.
        """
        lane_of_table = self._lane_of_table
        self._foreseen = entries[-1].place
        is_news = False
        for entry in entries:
            for write in entry.writes:
                lane = lane_of_table.get(write.table)
                if lane is not None:
                    self._on_the_way.append((entry.place, lane, write))
                    is_news = _learn_due(lane, write) or is_news
        if is_news:
            self._pump()

    def _notice(self, entries: Sequence[LogEntry]) -> None:
        """Count, and tell, what is on disk; what was taken back is due again."""
        last = entries[-1]
        is_news = False
        if last.commit is None:
            self._on_the_way.clear()
            for write in last.writes:
                lane = self._lane_of_table.get(write.table)
                if lane is not None:
                    is_news = _learn_due(lane, write) or self._learn_ended(lane, write) or is_news
        elif last.place > self._foreseen:  # it was not on its way for long
            self._foresee(entries)
        on_the_way = self._on_the_way
        while on_the_way and on_the_way[0][0] <= last.place:
            _, lane, write = on_the_way.popleft()
            for _, before, key in write.entries:
                self.jobs.count(lane.path, before, key)
            is_news = self._learn_ended(lane, write) or is_news
            if self._hooks is not None or self.watchers:
                self._observe(lane.path, write.old, write.new)
        if is_news:
            self._pump()

    def _learn_ended(self, lane: Lane, write: Write) -> bool:
        if not any([key is not None and has_ended(key) for _, _, key in write.entries]):
            return False
        is_too_much = self.jobs.ended[lane.path] > _FINISHED_MAX + _CHUNK
        lane.next_cleaning_ms = min(lane.next_cleaning_ms, self._clock.now_ms() + (0 if is_too_much else _KEPT_MS))
        return True

    async def _count(self, path: str) -> None:
        """Count what there is at the start; from then on commits tell."""

        async def count(tx: Transaction) -> None:
            table = table_in(tx, path, JOBS)
            self.jobs.pending[path] = self.jobs.ended[path] = 0  # at this snapshot: what is noticed from here on comes after it
            later = [write for entry in self._engine.log.after(tx.snapshot) for write in entry.writes if write.table == table.number]
            all_jobs, live = table.count - sum((write.old is None) - (write.new is None) for write in later), 0
            for state in LIVE:
                found = 0
                cursor = tx.cursor(table.indexes[BY_STATE], in_state(state), False)
                while not cursor.exhausted:
                    found += len(await cursor.fetch(_READ_AHEAD))
                    await asyncio.sleep(0)
                live += found
                if state == PENDING:
                    self.jobs.pending[path] += found
            self.jobs.ended[path] += all_jobs - live

        await self._engine.query(unpaid(count))

    def _observe(self, path: str, old: bytes | None, new: bytes | None) -> None:
        if new is None:
            return
        row = unpack(new)
        if old is None and self._hooks is not None:
            self._spawn(self._tell_scheduled(path, row["_id"]))
        elif old is not None and row["state"] == "canceled" and unpack(old)["state"] == PENDING:
            self._spawn(self._tell_ended(path, row["_id"], None, 0.0))

    def _pump(self) -> None:
        """Begin whatever can begin now, and see to it that this is called again when more can."""
        self._pumps_soon = False
        if not self._is_open:
            return
        now = self._clock.now_ms()
        if self._paused_until_ms > now + _BACKOFF_MS_MAX:
            self._paused_until_ms = -math.inf  # the clock was set back, and the pause is not to take so long
        if self._paused_until_ms <= now:
            loop_s = asyncio.get_running_loop().time()
            is_busy = self._dispatcher is not None and self._dispatcher.own_calls.is_busy(loop_s)
            while (turn := self._rounds.take(is_busy, loop_s)) is not None:
                self._spawn(self._run(*turn))
            if is_busy and self._rest is None and any(lane.floods and lane.ready for lane in self._lanes.values()):
                self._rest = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._rested)
            for lane in self._lanes.values():
                if lane.next_due_ms <= now and len(lane.ready) < _LOW and not lane.is_reading:
                    lane.is_reading = True
                    self._spawn(self._read_ahead(lane))
                if lane.next_cleaning_ms <= now and not lane.is_cleaning:
                    lane.is_cleaning = True
                    self._spawn(self._clean(lane))
        self._set_timer(now)
        if self._idle and self.is_idle:
            waiting, self._idle = self._idle, []
            for idle in waiting:
                if not idle.done():
                    idle.set_result(None)

    def _rested(self) -> None:
        self._rest = None
        self._pump()

    def _pump_soon(self) -> None:
        if not self._pumps_soon:
            self._pumps_soon = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _set_timer(self, now: float) -> None:
        times = [self._paused_until_ms, *(t for lane in self._lanes.values() for t in (lane.next_due_ms, lane.next_cleaning_ms))]
        next_ms = min((t for t in times if t > now), default=math.inf)
        if next_ms == self._timer_ms:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ms = next_ms
        self._timer = None if next_ms == math.inf else self._clock.call_at(next_ms, self._ring)

    def _ring(self) -> None:
        self._timer, self._timer_ms = None, math.inf
        self._pump()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the scheduler failed", exc_info=error)
        self._pump()

    async def _read_ahead(self, lane: Lane) -> None:
        """Take the next due jobs of an instance, and learn when the ones after them are due."""
        since = lane.next_due_ms
        lane.next_due_ms = math.inf  # what is planned meanwhile is learned again
        try:
            due, following_ms = (await self._engine.query(partial(self._due, lane=lane, since=since), at=self._engine.log.validated)).value
        except Exception as reason:
            lane.learn(since)
            self._pause(reason)
        else:
            lane.add(due)
            lane.learn(following_ms)
            lane.floods = following_ms <= self._clock.now_ms()
        finally:
            lane.is_reading = False

    async def _due(self, tx: Transaction, lane: Lane, since: float) -> tuple[list[Row], float]:
        """Due jobs that are not taken yet, in order, up to a number and a size; and a time before which no other one is due."""
        now = self._clock.now_ms()
        index = table_in(tx, lane.path, JOBS).indexes[BY_STATE]
        # The rows are fetched and not consumed: nobody depends on what this query read.
        cursor = tx.cursor(index, in_state(PENDING, since=None if since == -math.inf else since), False)
        due: list[Row] = []
        size = 0
        while not cursor.exhausted:
            for _, row in await cursor.fetch(_CHUNK):
                if row["at"] > now or len(due) == _READ_AHEAD or size > _READ_AHEAD_CHARACTERS:
                    return due, row["at"]
                if row["_id"] not in lane.taken:
                    due.append(row)
                    size += len(row["args"])
        return due, math.inf

    # running

    async def _run(self, lane: Lane, row: Row) -> None:
        """One job in its slot. What keeps it from running at all is tried again; what it raises itself is not."""
        assert self._dispatcher is not None
        loop = asyncio.get_running_loop()
        started = loop.time()
        is_beginning = True

        def begun() -> None:
            nonlocal is_beginning
            if is_beginning:
                is_beginning = False
                self._rounds.has_begun(lane)
                self._pump_soon()

        job = RunningJob(
            self._engine,
            self._dispatcher,
            lane.path,
            row,
            since_ms=lane.since_ms,
            dev=self._dev,
            wait_for_storage=self._wait_for_storage,
            on_begun=begun,
        )
        id = row["_id"]
        self._running.add(id)
        try:
            has_run = await job.run()
        except StorageUnavailable as reason:
            lane.taken.discard(id)
            lane.learn(row["at"])
            self._pause(reason)
        except WriteConflict:
            self._try_later(lane, row)
        else:
            lane.taken.discard(id)
            self._backoff_ms = _BACKOFF_MS_MIN
            if not has_run:
                lane.learn(row["at"])  # it was changed meanwhile: what became of it has to be read
            elif self._hooks is not None or self.watchers:
                await self._tell_ended(lane.path, id, job.error, job.duration_ms)
        finally:
            begun()
            self._running.discard(id)
            now = loop.time()
            self._rounds.give_back(lane, now, now - started)

    def _pause(self, reason: Exception) -> None:
        """Begin nothing for a while, each time twice as long."""
        now = self._clock.now_ms()
        if self._paused_until_ms <= now:
            exc_info = None if isinstance(reason, StorageUnavailable) else reason
            logger.warning("jobs wait", reason=str(reason), seconds=self._backoff_ms / 1000, exc_info=exc_info)
            self._paused_until_ms = now + self._backoff_ms
            self._backoff_ms = min(self._backoff_ms * 2, _BACKOFF_MS_MAX)

    def _try_later(self, lane: Lane, row: Row) -> None:
        def again() -> None:
            lane.ready.append(row)
            self._pump()

        self._clock.call_at(self._clock.now_ms() + _BACKOFF_MS_MIN, again)

    async def _wait_for_storage(self) -> None:
        await self._clock.wait_until(self._clock.now_ms() + _BACKOFF_MS_MIN)

    async def _mutate(self, run: Callable[[Transaction], Awaitable[T]]) -> T:
        return (await self._engine.mutate(unpaid(run), label=LABEL)).value

    # telling

    async def _tell_scheduled(self, path: str, job_id: str) -> None:
        job = await self._look(path, job_id)
        if job is not None and self._hooks is not None:
            self._hooks.job_scheduled(job)

    async def _tell_ended(self, path: str, job_id: str, error: BaseException | None, duration_ms: float) -> None:
        job = await self._look(path, job_id)
        if job is None:
            return
        if self._hooks is not None:
            self._hooks.job_finished(job, Outcome(duration_ms, error))
        for watcher in self.watchers:
            watcher(Ran(job, error, duration_ms))

    async def _look(self, path: str, job_id: str) -> Job | None:
        async def look(tx: Transaction) -> Job | None:
            row = await tx.get(table_in(tx, path, JOBS), job_id)
            return None if row is None else as_job(path, row, await args_of(tx, path, row), asker=None)

        return (await self._engine.query(unpaid(look))).value

    # keeping house

    async def _clean(self, lane: Lane) -> None:
        """Remove jobs that ended long ago, and those that ended first of more than are kept; some at a time."""
        lane.next_cleaning_ms = math.inf  # what ends meanwhile is learned again
        try:
            while await self._mutate(partial(self._remove, path=lane.path, until=self._clock.now_ms() - _KEPT_MS)):
                pass
            while self._is_open and (surplus := self.jobs.ended[lane.path] - _FINISHED_MAX) > 0:
                if not await self._mutate(partial(self._remove, path=lane.path, at_most=surplus)):
                    break
            oldest_ms = (await self._engine.query(unpaid(partial(self._oldest_ended, path=lane.path)))).value
        except Exception as reason:
            lane.next_cleaning_ms = self._clock.now_ms()
            self._pause(reason)
        else:
            next_ms = min(lane.next_cleaning_ms, oldest_ms + _KEPT_MS)
            lane.next_cleaning_ms = max(next_ms, self._clock.now_ms() + _CLEANING_PAUSE_MS)
        finally:
            lane.is_cleaning = False

    @staticmethod
    async def _remove(tx: Transaction, path: str, until: float | None = None, at_most: int = _CHUNK) -> int:
        """Remove those that ended first, and by `until`; gives how many."""
        index = table_in(tx, path, JOBS).indexes[BY_STATE]
        # As when jobs are read ahead nobody depends on what is found: it does not change any more.
        found = [row for state in ENDED for _, row in await tx.cursor(index, in_state(state, until=until), False).fetch(_CHUNK)]
        removed = size = 0
        for row in sorted(found, key=lambda row: float(row["at"]))[:at_most]:
            if size > _READ_AHEAD_CHARACTERS:
                break
            size += len(row["args"]) * (1 + row.get("parts", 0))
            await delete_job(tx, path, row)
            removed += 1
        return removed

    @staticmethod
    async def _oldest_ended(tx: Transaction, path: str) -> float:
        index = table_in(tx, path, JOBS).indexes[BY_STATE]
        firsts = [await tx.scan(index, in_state(state), False, 1) for state in ENDED]
        return min((rows[0]["at"] for rows in firsts if rows), default=math.inf)


def _learn_due(lane: Lane, write: Write) -> bool:
    """Whether a write to a job says when one is due."""
    is_news = False
    for _, _, key in write.entries:
        if key is not None and (due_ms := due_of(key)) is not None:
            lane.learn(due_ms)
            is_news = True
    return is_news
