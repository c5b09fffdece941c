"""The contexts' host in a worker: whatever a function asks for becomes a frame, and the answer comes as one.

What can be told here is told here: the time, randomness, the environment. The rest waits for the host, which has its own record
of the call and believes nothing that is said about it.

Start at `WorkerHost.ask`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from interlock.errors import CallRefused, LimitExceeded
from interlock.limits import LIMITS
from interlock.sandbox.frames import NOTHING, OPERATIONS_MAX, TooLong
from interlock.sandbox.worker.asked import Asked
from interlock.sandbox.worker.cache import as_sent, key_of
from interlock.sandbox.worker.operation import Operation
from interlock.sandbox.worker.row import Row
from interlock.sandbox.worker.view import View
from interlock.sdk.host import Cursor, Document, FunctionInfo, Job, Kind, Metrics, Scan, Target, not_awaited
from interlock.sdk.randomness import Drawn, name_of

if TYPE_CHECKING:
    from interlock.sandbox.worker.running import Worker

_WRITES = frozenset({"insert", "patch", "replace"})
_monotonic = time.monotonic
_future: Any = asyncio.Future
_LOGS_MAX = 400
_STEPS_HELD = 4_000  # so that what is too much is refused where it is, and no frame keeps the host from others for long
_RUNS_MAX = 8
"""So often a call runs before the host is told that it was outdated."""
_IDS = 0x1D5_1D5_1D5
"""What makes of a call's seed the one of the ids that it makes."""


class _Over:
    def __await__(self) -> Any:
        return iter(_once)


OVER: Any = _Over()
"""What a call waits for, for ever, when it has ended: to end in its last breath would cost an exception, a twentieth of a small call."""
_once = (OVER,)


class WorkerHost:
    """One call, as its context sees it. `number` is its name on the channel."""

    __slots__ = (
        "_consumed",
        "_generator",
        "_has_asked",
        "_ids",
        "_is_late",
        "_keeps",
        "_kept_back",
        "_logs",
        "_moment",
        "_pages",
        "_runs",
        "_spent",
        "_told",
        "_transaction",
        "_waiting",
        "_worker",
        "cpu",
        "cpu_max",
        "first_unbegun",
        "function",
        "goes_on",
        "has_rested",
        "is_ended",
        "latest",
        "looked_at_time",
        "now_ms",
        "number",
        "over_at",
        "remembers",
        "seed",
        "since",
        "still",
        "unbegun",
        "view",
    )

    def __init__(
        self,
        worker: Worker,
        number: int,
        function: FunctionInfo,
        now_ms: float,
        seed: int,
        transaction: int,
        pages: Mapping[str, str],
        moment: float | None,
        cpu_max: float,
        over_at: float | None,
        remembers: bool | list[Any] | int,
        since: float,
    ) -> None:
        self._worker, self.number, self.function = worker, number, function
        self.now_ms, self.seed, self._pages = now_ms, seed, pages
        self._transaction = transaction
        self._moment = moment  # when `now_ms` was right, for a call whose time goes on
        self.cpu, self.cpu_max = 0.0, None if cpu_max < 0 else cpu_max
        self.over_at = over_at
        self.since = since  # when its code began to run that runs now
        self.has_rested = self._has_asked = False
        self._runs = 1
        self.latest: WorkerHost | None = None  # that of the run which came after this one
        self._spent = self._told = 0.0
        self.looked_at_time = False
        self.is_ended = False
        # Whether it may read what the worker has read before. A list: it did, and was mistaken. NOTHING: its snapshot may be old.
        self._is_late = type(remembers) is int
        self.remembers = remembers is True or self._is_late
        self._keeps = remembers is not False
        if type(remembers) is list:
            asks, mistaken, mistakes = remembers
            self.remembers = not asks
            if mistakes:
                worker.cache.correct(mistakes, mistaken, number)
        self.view = View(worker.cache)
        self._ids: random.Random | None = None
        self._waiting = 0
        self._kept_back: deque[list[Any]] | None = None
        self._logs = 0
        self._generator: random.Random | None = None
        self._consumed: dict[int, int] | None = None
        self.goes_on = function.kind == "action"
        self.still: Any = None
        self.unbegun = 0  # operations with an effect that it has made and not awaited yet
        self.first_unbegun = ""

    # told here

    @property
    def env(self) -> Mapping[str, Any]:
        return self._worker.env

    @property
    def transaction(self) -> str:
        return name_of(self._transaction)

    @property
    def random(self) -> random.Random:
        if self._generator is None:
            self._generator = Drawn(self.seed)
        return self._generator

    def look_at_time(self) -> None:
        """Its result is not right for ever."""
        self.looked_at_time = True

    @property
    def label(self) -> str:
        """Its function, as errors name it."""
        function = self.function
        return f"{function.component_path}/{function.name}" if function.component_path else function.name

    def now(self) -> float:
        if self.function.kind != "action":
            self.looked_at_time = True
            return self.now_ms
        return self.now_ms if self._moment is None else self.now_ms + (_monotonic() - self._moment) * 1000.0

    def uuid4(self) -> UUID:
        return UUID(int=self.random.getrandbits(128), version=4)

    def page_end(self, ordinal: int) -> str | None:
        return self._pages.get(str(ordinal))

    # said, not asked

    def log(self, level: str, text: str) -> None:
        self._logs += 1
        self._has_asked = True
        if self._logs <= _LOGS_MAX:  # beyond what the host keeps
            self._worker.send(["log", self.number, level, text])

    def set_page_end(self, ordinal: int, mark: str) -> None:
        self._has_asked = True
        self._worker.send(["page", self.number, ordinal, mark])

    def consume(self, cursor: int, count: int) -> None:
        """Told before anything else is asked: a loop over rows is not to send a frame for each."""
        if self._consumed is None:
            self._consumed = {}
        self._consumed[cursor] = self._consumed.get(cursor, 0) + count

    def tell_consumed(self) -> None:
        consumed, self._consumed = self._consumed, None
        if consumed is not None:
            for cursor, count in consumed.items():
                self._worker.send(["use", self.number, cursor, count])

    # asked

    def ask(self, method: str, *args: Any, keep: Callable[[Any], None] | None = None) -> Awaitable[Any]:
        """An operation of this call; its result, when the host has answered. `keep` is told it first."""
        worker = self._worker
        if self.is_ended:
            refused: asyncio.Future[Any] = worker.loop.create_future()
            refused.set_exception(self._ended())
            refused.exception()  # whoever started it may not wait for it
            return refused
        if method != "show":
            self._has_asked = True
        if self._consumed is not None:
            self.tell_consumed()
        number = worker.take_number()
        future = Asked(loop=worker.loop)
        future.host, future.operation = self, number
        worker.asked[number] = (future, self, keep)
        running = worker.running()
        others = 0 if running is self or running is None else running.number
        self._waiting += 1
        if self._waiting > OPERATIONS_MAX:
            if self._kept_back is None:
                self._kept_back = deque()
            self._kept_back.append(["op", self.number, number, method, others, list(args), [], 0])
        else:
            steps = self.view.take_steps()
            try:
                worker.send(["op", self.number, number, method, others, list(args), steps, self.take_spent()], args)
            except TooLong as long:
                self.view.steps = steps
                self._waiting -= 1
                del worker.asked[number]
                limit = "document_bytes" if method in _WRITES else "argument_bytes"
                future.set_exception(LimitExceeded(limit, long.args[0], int(LIMITS[limit].value)))
        return future

    def drop(self, operation: int) -> None:
        """Nobody waits for it any more. What has not begun is not done, and what waits is let go of."""
        if self.is_ended:
            return
        for frame in self._kept_back or ():
            if frame[2] == operation:
                self._kept_back.remove(frame)  # type: ignore[union-attr]
                del self._worker.asked[operation]
                self._waiting -= 1
                return
        self._worker.send(["drop", self.number, operation])

    def _note_effect(self, name: str) -> None:
        """It has made an operation that changes something. Whoever begins it counts it off `unbegun`."""
        if not self.unbegun:
            self.first_unbegun = name
        self.unbegun += 1

    def _effect(self, name: str, method: str, *args: Any) -> Awaitable[Any]:
        """An operation that changes something, which the host does."""
        self._note_effect(name)
        return Operation(partial(self._begin_effect, method, *args))

    def _begin_effect(self, method: str, *args: Any) -> Awaitable[Any]:
        self.unbegun -= 1
        return self.ask(method, *args)

    def forgotten(self) -> CallRefused:
        """The refusal of a call that has ended with an operation that nobody has awaited."""
        return CallRefused(self.label, not_awaited(self.first_unbegun))

    def _done(self, value: Any) -> Awaitable[Any]:
        """An operation that is over when it begins. A future of C's: what is awaited costs no exception where it is there."""
        future: asyncio.Future[Any] = _future(loop=self._worker.loop)
        future.set_result(value)
        return future

    def answered(self) -> None:
        """One of its operations is done."""
        self._waiting -= 1
        if self._kept_back and not self.is_ended:
            frame = self._kept_back.popleft()
            self._worker.send(frame, frame[5])

    def take_spent(self) -> float:
        """For how many seconds its code has run since this was last asked, in the middle of that."""
        now = _monotonic()
        self._spent += now - self.since
        self.since = now
        # What runs in tasks that it has made is counted by the timer alone.
        spent = max(self._spent, self.cpu)
        told, self._told = self._told, spent
        return int((spent - told) * 1e6) / 1e6  # a short number, for less than `round` takes

    def rests(self) -> None:
        """It waits for something."""
        self.has_rested = True
        self._spent += _monotonic() - self.since

    @property
    def _is_by_itself(self) -> bool:
        """Nothing of it waits at the host, where operations are served in the order started, and the host is told now and then."""
        return (
            self.remembers
            and not self._waiting
            and len(self.view.steps) < _STEPS_HELD
            and not self.is_ended
            and self._worker.running() is self
        )

    def remember_writes(self) -> None:
        """It ends well, or hands on to another call: what it has patched is remembered from here on. Before, while it waits for
        an answer, others would run on that who commit earlier.
        """
        view = self.view
        patched = view.take_patched()
        if not patched or (self.has_rested and view.is_overtaken):
            return  # nothing, or another has patched what it has read: it will be run again
        self._worker.cache.put(self.number, patched)
        if not self.is_ended:
            view.hand_on(patched)

    @property
    def is_outdated(self) -> bool:
        """Whether it has waited, and what it was shown before is no longer what the worker believes: it would be run again anyway."""
        if not self.has_rested or not self.remembers or not self.view.steps or self.function.kind != "mutation":
            return False
        return self.view.is_outdated

    def start_over(self) -> WorkerHost | None:
        """Its next run, where this one is outdated and the host would not notice: it has only been asked for documents to go on with.

        What the run has left behind that goes on by itself finds a call that has ended.
        """
        if self._has_asked or self._waiting or self._runs >= _RUNS_MAX or not self.is_outdated:
            return None
        self.is_ended = True
        worker = self._worker
        cpu_max = NOTHING if self.cpu_max is None else self.cpu_max
        again = WorkerHost(
            worker,
            self.number,
            self.function,
            self.now_ms,
            self.seed,
            self._transaction,
            self._pages,
            None,
            cpu_max,
            self.over_at,
            True,
            self.since,
        )
        again.cpu, again._spent, again._told = self.cpu, self._spent, self._told
        again.looked_at_time = self.looked_at_time
        again._runs = self._runs + 1
        self.latest = again
        return again

    def ask_now(self, method: str, *args: Any) -> Any:
        """The same where there is no await: the worker stands still until the answer is there."""
        worker = self._worker
        if self.is_ended:
            raise self._ended()
        self._has_asked = True
        if self._consumed is not None:
            self.tell_consumed()
        number = worker.take_number()
        worker.send(["op", self.number, number, method, 0, list(args), self.view.take_steps(), self.take_spent()])
        frame = worker.channel.wait_for("res", number)
        if frame[0] == "err":
            raise worker.failure(frame[2])
        return frame[2]

    def _ended(self) -> CallRefused:
        return CallRefused(self.label, "its context was used after the call had ended. Await everything that it starts.")

    def metrics(self) -> Metrics:
        used, remaining = self.ask_now("metrics")
        return Metrics(used=used, remaining=remaining)

    # What only reads, and is known here, is done at once, as long as nothing is still to begin that changes something.

    def get(self, id: str) -> Awaitable[Document | None]:
        row = None if self.unbegun else self._remembered_row(id)
        return Operation(partial(self._begin_get, id)) if row is None else self._done(row.fresh())

    def _begin_get(self, id: str) -> Awaitable[Document | None]:
        if not self._keeps:
            return self.ask("get", id)
        row = self._remembered_row(id)
        if row is not None:
            return self._done(row.fresh())
        if type(id) is str and self.function.kind == "mutation" and self._is_by_itself and not self.view.has_written(id):
            return self._get_shown(id)
        return self._get_to_remember(id)

    def _remembered_row(self, id: Any) -> Row | None:
        """What the view knows of a document; None where the host is to be asked."""
        return self.view.row(id) if type(id) is str and self._is_by_itself else None

    async def _get_shown(self, id: str) -> Document | None:
        """A document that the worker does not remember yet.

        What the function has done so far stays a guess: were it taken over now, the call would lose against all who commit until it ends.
        """
        view, since = self.view, self._worker.cache.changes
        steps, view.steps = view.steps, []
        asked = self.ask("show", id)
        view.steps = steps
        told = await asked
        if told is None or view.has_changed(id) or not self._is_by_itself:
            return await self._get_to_remember(id)
        table, document = told
        return view.show(table, id, document, since).fresh()

    async def _get_to_remember(self, id: str) -> Document | None:
        since = self._since()

        def keep(told: list[Any] | None) -> None:
            if told is not None:
                table, document = told
                self.view.keep(table, id, document, since)

        told = await self.ask("get_named", id, keep=keep)
        return None if told is None else told[1]

    def _since(self) -> int:
        """How many changes the cache had seen when what is asked now was so."""
        return -1 if self._is_late else self._worker.cache.changes

    def normalize_id(self, table: str, text: str) -> Awaitable[str | None]:
        return Operation(partial(self.ask, "normalize_id", table, text))

    def insert(self, table: str, document: Mapping[str, Any]) -> Awaitable[str]:
        self._note_effect("ctx.db.insert")
        return Operation(partial(self._begin_insert, table, document))

    def _begin_insert(self, table: str, document: Mapping[str, Any]) -> Awaitable[str]:
        self.unbegun -= 1
        document = _plain(document)
        if type(table) is str and type(document) is dict:
            cache = self._worker.cache
            cache.forget_scans_of(table, document)
            if self._is_by_itself and self.function.kind == "mutation":
                if self._ids is None:
                    self._ids = Drawn(self.seed ^ _IDS)
                id = self.view.insert(table, document, self._ids, int(self.now_ms))
                if id is not None:
                    return self._done(id)
            return self.ask("insert", table, document, keep=partial(cache.learn, table))
        return self.ask("insert", table, document)

    def patch(self, id: str, fields: Mapping[str, Any]) -> Awaitable[None]:
        self._note_effect("ctx.db.patch")
        return Operation(partial(self._begin_patch, id, fields))

    def _begin_patch(self, id: str, fields: Mapping[str, Any]) -> Awaitable[None]:
        self.unbegun -= 1
        if self._keeps and type(id) is str:
            said = self.view.patch(id, fields)
            if said is not None:
                if self._is_by_itself:
                    self.view.steps.append(["patch", id, said])
                    return self._worker.nothing
                return self.ask("patch", id, said)
        return self.ask("patch", id, _plain(fields))

    def replace(self, id: str, document: Mapping[str, Any]) -> Awaitable[None]:
        self._note_effect("ctx.db.replace")
        return Operation(partial(self._begin_replace, id, document))

    def _begin_replace(self, id: str, document: Mapping[str, Any]) -> Awaitable[None]:
        self.unbegun -= 1
        self._forget(id)
        return self.ask("replace", id, _plain(document))

    def delete(self, id: str) -> Awaitable[None]:
        self._note_effect("ctx.db.delete")
        return Operation(partial(self._begin_delete, id))

    def _begin_delete(self, id: str) -> Awaitable[None]:
        self.unbegun -= 1
        self._forget(id)
        return self.ask("delete", id)

    def _forget(self, id: Any) -> None:
        if type(id) is str:
            self._worker.cache.forget(id)
            self.view.write(id)

    def scan(self, scan: Scan, count: int | None) -> Awaitable[list[Document]]:
        most = NOTHING if count is None else count
        rows = None if self.unbegun else self._remembered_rows(scan, self._key(scan, most))
        return Operation(partial(self._begin_scan, scan, most)) if rows is None else self._done([row.fresh() for row in rows])

    def _begin_scan(self, scan: Scan, most: int) -> Awaitable[list[Document]]:
        key = self._key(scan, most)
        if key is None:
            return self.ask("scan", as_sent(scan), most)
        rows = self._remembered_rows(scan, key)
        return self._asked(scan, key, most) if rows is None else self._done([row.fresh() for row in rows])

    def first(self, scan: Scan) -> Awaitable[Document | None]:
        rows = None if self.unbegun else self._remembered_rows(scan, self._key(scan, 1))
        return _first(self.scan(scan, 1)) if rows is None else self._done(rows[0].fresh() if rows else None)

    def _key(self, scan: Scan, most: int) -> Any:
        """Under which a scan is remembered; None where it is not."""
        if not self._keeps:
            return None
        try:
            return key_of(scan, most)
        except (TypeError, ValueError):
            return None

    def _remembered_rows(self, scan: Scan, key: Any) -> list[Row] | None:
        """What the view knows that a scan finds; None where the host is to be asked."""
        return self.view.rows(scan, key) if key is not None and self._is_by_itself else None

    def _asked(self, scan: Scan, key: Any, most: int) -> Awaitable[list[Document]]:
        since = self._since()

        def keep(found: list[Any]) -> None:
            self.view.keep_rows(key, scan, most, found, since)

        return self.ask("scan", as_sent(scan), most, keep=keep)

    def count(self, scan: Scan) -> Awaitable[int]:
        return Operation(partial(self._begin_count, scan))

    def _begin_count(self, scan: Scan) -> Awaitable[int]:
        return self.ask("count", as_sent(scan))

    async def open(self, scan: Scan, after: str | None, until: str | None) -> Cursor:
        number, exhausted, open_ended = await self.ask("open", as_sent(scan), after, until)
        return WorkerCursor(self, number, exhausted, open_ended)

    def run(self, kind: Kind, target: Target, args: Mapping[str, Any]) -> Awaitable[Any]:
        self._note_effect(f"ctx.run_{kind}")
        return Operation(partial(self._begin_run, kind, target, args))

    def _begin_run(self, kind: Kind, target: Target, args: Mapping[str, Any]) -> Awaitable[Any]:
        self.unbegun -= 1
        self.remember_writes()
        return self.ask("run", kind, _target(target), dict(args))

    def schedule(self, when_ms: float | None, after_s: float | None, target: Target, args: Mapping[str, Any]) -> Awaitable[str]:
        name = "ctx.scheduler.run_at" if after_s is None else "ctx.scheduler.run_after"
        return self._effect(name, "schedule", when_ms, after_s, _target(target), dict(args))

    def cancel(self, job_id: str) -> Awaitable[None]:
        return self._effect("ctx.scheduler.cancel", "cancel", job_id)

    async def job(self, job_id: str) -> Job | None:
        told = await self.ask("job", job_id)
        return None if told is None else Job(*told)

    async def jobs(self, state: str | None) -> list[Job]:
        return [Job(*told) for told in await self.ask("jobs", state)]

    def identity(self) -> Awaitable[Mapping[str, Any] | None]:
        return Operation(partial(self.ask, "identity"))

    def function_handle(self, target: Target) -> Awaitable[str]:
        return self._effect("ctx.function_handle", "function_handle", _target(target))

    def revoke_handle(self, handle: str) -> Awaitable[None]:
        return self._effect("ctx.revoke_handle", "revoke_handle", handle)

    async def fetch(
        self, url: str, *, method: str, headers: Mapping[str, str] | None, body: bytes | str | None, timeout: float | None, whole: bool
    ) -> WorkerFetched:
        told = await self.ask("fetch", url, method, _plain(headers), _sendable(body), timeout, whole)
        return WorkerFetched(self, *told)


class WorkerFetched:
    """A response of the host's, as `sdk.fetch.Fetched` says."""

    __slots__ = ("_first", "_host", "_is_over", "_number", "headers", "status")

    def __init__(self, host: WorkerHost, number: int, status: int, headers: Mapping[str, str], first: bytes, is_over: bool) -> None:
        self._host, self._number = host, number
        self.status, self.headers = status, headers
        self._first, self._is_over = first, is_over

    async def piece(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        if self._is_over:
            return b""
        piece: bytes
        piece, self._is_over = await self._host.ask("fetch_piece", self._number)
        return piece

    async def close(self) -> None:
        if not self._is_over and not self._host.is_ended:
            self._is_over = True
            await self._host.ask("fetch_close", self._number)


class WorkerCursor:
    """An open scan of the host's, as `sdk.host.Cursor` says."""

    __slots__ = ("_host", "_number", "exhausted", "open_ended", "stopped")

    def __init__(self, host: WorkerHost, number: int, exhausted: bool, open_ended: bool) -> None:
        self._host, self._number = host, number
        self.exhausted, self.open_ended = exhausted, open_ended
        self.stopped = False

    async def fetch(self, count: int) -> list[Document]:
        rows: list[Document]
        rows, self.exhausted, self.stopped = await self._host.ask("fetch_rows", self._number, count)
        return rows

    def consume(self, count: int) -> None:
        self._host.consume(self._number, count)

    def mark(self, back: int = 0) -> str:
        mark: str = self._host.ask_now("mark", self._number, back)
        return mark


def _plain(document: Any) -> Any:
    return dict(document) if isinstance(document, Mapping) else document


def _sendable(body: Any) -> Any:
    return bytes(body) if isinstance(body, bytearray | memoryview) else body


async def _first(asked: Awaitable[list[Document]]) -> Document | None:
    rows = await asked
    return rows[0] if rows else None


def _target(target: Target) -> list[Any]:
    limits = None if target.limits is None else {name: value for name, value in asdict(target.limits).items() if value is not None}
    return [target.name, target.mount, target.handle, target.stale, limits, target.label, target.at_once]
