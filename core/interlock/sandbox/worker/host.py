"""The contexts' host in a worker: whatever a function asks for becomes a frame, and the answer comes as one.

What can be told here is told here: the time, randomness, the environment, documents that the worker remembers. The rest waits for the
host, which has its own record of the call and believes nothing that is said about it.

Start at `WorkerHost.get`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from interlock.sandbox.frames import CALL, ENV, NOTHING, SEED, TIME
from interlock.sandbox.worker.cache import as_sent, key_of
from interlock.sandbox.worker.conversation import Conversation
from interlock.sandbox.worker.cursor import WorkerCursor
from interlock.sandbox.worker.fetched import WorkerFetched
from interlock.sandbox.worker.operation import Operation
from interlock.sandbox.worker.row import Row
from interlock.sandbox.worker.view import View
from interlock.sdk.host import Cursor, Document, FunctionInfo, Job, Kind, Metrics, Scan, Target
from interlock.sdk.randomness import Drawn, name_of
from interlock.values import table_of

if TYPE_CHECKING:
    from interlock.sandbox.worker.running import Worker

_monotonic = time.monotonic
_future: Any = asyncio.Future
# So that what is too much is refused where it is, and no frame keeps the host from others for long. The second: characters written.
_STEPS_HELD, _LENGTH_HELD = 4_000, 1 << 20
_STEPS_EARLY = 48
"""So many that the host can do them in the time that the next ones take here."""
_IDS_TOGETHER = 1_000
_RUNS_MAX = 8
"""So often a call runs before the host is told that it was outdated."""
_AGAIN = ["again", None, None]
_IDS = 0x1D5_1D5_1D5
"""What makes of a call's seed the one of the ids that it makes."""


class _Over:
    def __await__(self) -> Any:
        return iter(_once)


OVER: Any = _Over()
"""What a call waits for, for ever, when it has ended: to end in its last breath would cost an exception, a twentieth of a small call."""
_once = (OVER,)


class WorkerHost(Conversation):
    """One call, as its context sees it."""

    __slots__ = (
        "_generator",
        "_ids",
        "_is_late",
        "_keeps",
        "_moment",
        "_pages",
        "_runs",
        "_transaction",
        "goes_on",
        "is_ahead",
        "latest",
        "looked_at",
        "now_ms",
        "over_at",
        "remembers",
        "seed",
        "still",
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
        # Whether it may read what the worker has read before. A list: it did, and was mistaken. NOTHING: its snapshot may be old.
        self._is_late = type(remembers) is int
        self.remembers = remembers is True or self._is_late
        self._keeps = remembers is not False
        if type(remembers) is list:
            asks, mistaken, mistakes = remembers
            self.remembers = not asks
            if mistakes:
                worker.cache.correct(mistakes, mistaken, number)
        super().__init__(worker, number, function, View(worker.cache), since)
        self.now_ms, self.seed, self._pages = now_ms, seed, pages
        self._transaction = transaction
        self._moment = moment  # when `now_ms` was right, for a call whose time goes on
        self.cpu_max = None if cpu_max < 0 else cpu_max
        self.over_at = over_at
        self._runs = 1
        self.latest: WorkerHost | None = None  # that of the run which came after this one
        self.looked_at = 0  # TIME, SEED, ENV, CALL
        self.is_ahead = False  # nobody has made it yet
        self._ids: random.Random | None = None
        self._generator: random.Random | None = None
        self.goes_on = function.kind == "action"
        self.still: Any = None

    # told here

    @property
    def env(self) -> Mapping[str, Any]:
        self.looked_at |= ENV
        return self._worker.env

    @property
    def transaction(self) -> str:
        self.looked_at |= CALL
        return name_of(self._transaction)

    @property
    def random(self) -> random.Random:
        self.looked_at |= SEED
        if self._generator is None:
            self._generator = Drawn(self.seed)
        return self._generator

    def look_at_time(self) -> None:
        """Its result is not right for ever."""
        self.looked_at |= TIME

    def look_at_seed(self) -> None:
        """Another call would have another result."""
        self.looked_at |= SEED

    def now(self) -> float:
        if self.function.kind != "action":
            self.looked_at |= TIME
            return self.now_ms
        return self.now_ms if self._moment is None else self.now_ms + (_monotonic() - self._moment) * 1000.0

    def uuid4(self) -> UUID:
        return UUID(int=self.random.getrandbits(128), version=4)

    def page_end(self, ordinal: int) -> str | None:
        return self._pages.get(str(ordinal))

    def _done(self, value: Any) -> Awaitable[Any]:
        """An operation that is over when it begins. A future of C's: what is awaited costs no exception where it is there."""
        future: asyncio.Future[Any] = _future(loop=self._worker.loop)
        future.set_result(value)
        return future

    @property
    def _is_by_itself(self) -> bool:
        """Nothing of it waits at the host, where operations are served in the order started, and the host is told now and then."""
        return (
            self.remembers
            and not self._waiting
            and len(self.view.steps) + self.view.told < _STEPS_HELD
            and self.view.length < _LENGTH_HELD
            and not self.is_ended
            and self._worker.running() is self
        )

    def remember_writes(self) -> None:
        """It ends well, or hands on to another call: what it has patched is remembered from here on. Before, while it waits for
        an answer, others would run on that who commit earlier.
        """
        if self.is_ahead:
            return  # it may be that nobody will
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
        again.looked_at = self.looked_at
        again._runs = self._runs + 1
        self.latest = again
        return again

    def _tell_early(self) -> None:
        """The host is to do meanwhile what a call that writes much has done so far.

        Not what one has only read: from then on it would lose against whoever writes there.
        """
        if self.function.kind != "mutation" or self.is_ahead or not self.view.early_room or self.is_outdated:
            return
        view, channel, spent = self.view, self._worker.channel, self.take_spent()
        try:
            length = channel.send_if_short(["did", self.number, view.steps, spent], view.early_room)
        except MemoryError:
            length = 0
        if length:
            view.take_early(length)
            self._has_asked = True
            channel.flush()
        else:  # it is told with the rest
            view.early_room = 0
            self._told -= spent

    def metrics(self) -> Metrics:
        used, remaining = self.ask_now("metrics")
        return Metrics(used=used, remaining=remaining)

    # What only reads, and is known here, is done at once, as long as nothing is still to begin that changes something.

    def get(self, id: Any) -> Awaitable[Document | None]:
        row = None if self.unbegun else self._remembered_row(id)
        return Operation(partial(self._begin_get, id)) if row is None else self._done(row.fresh())

    def _begin_get(self, id: Any) -> Awaitable[Document | None]:
        if not self._keeps:
            return self.ask("get", id)
        row = self._remembered_row(id)
        if row is not None:
            return self._done(row.fresh())
        return self._get_unknown(id)

    def get_many(self, ids: Sequence[Any]) -> Awaitable[list[Document | None]]:
        return Operation(partial(self._begin_get_many, ids))

    def _begin_get_many(self, ids: Sequence[Any]) -> Awaitable[list[Document | None]]:
        if not self._keeps:
            return self.ask("get_many", ids)
        rows = self.view.rows_of(ids) if len(ids) < _IDS_TOGETHER and self._is_by_itself else [self._remembered_row(id) for id in ids]
        return self._get_rest(ids, rows) if None in rows else self._done([row.fresh() for row in rows if row is not None])

    async def _get_rest(self, ids: Sequence[Any], rows: list[Row | None]) -> list[Document | None]:
        found = iter(await self._get_unknown_many([id for id, row in zip(ids, rows, strict=True) if row is None]))
        return [next(found) if row is None else row.fresh() for row in rows]

    async def _get_unknown(self, id: Any) -> Document | None:
        [found] = await self._get_unknown_many([id])
        return found

    async def _get_unknown_many(self, ids: Sequence[Any]) -> list[Document | None]:
        view, is_guessing = self.view, self.function.kind == "mutation" and self._is_by_itself
        if is_guessing and all([type(id) is str and not view.has_written(id) for id in ids]):
            return await self._get_shown(ids)
        return await self._get_to_remember(ids)

    def _remembered_row(self, id: Any) -> Row | None:
        """What the view knows of a document; None where the host is to be asked."""
        return self.view.row(id) if type(id) is str and self._is_by_itself else None

    async def _get_shown(self, ids: Sequence[Any]) -> list[Document | None]:
        """Documents that the worker does not remember yet.

        What the function has done so far stays a guess: were it taken over now, the call would lose against all who commit until it ends.
        """
        view, since, version = self.view, self._worker.cache.changes, self._worker.cache.next_version()
        steps, view.steps = view.steps, []
        asked = self.ask("show", ids, version)
        view.steps = steps
        told = await asked
        if any([view.has_changed(id) for id in ids]):
            # The function has begun to write it meanwhile: so that it is read before that, it runs again on what it was told.
            for id, named in zip(ids, told, strict=True):
                if named is not None:
                    self._worker.cache.keep_document(named[0], id, named[1], since)
            view.steps.append(_AGAIN)
            return [None if named is None else named[1] for named in told]
        if None in told or not self._is_by_itself:
            return await self._get_to_remember(ids)
        return [view.show(table, id, document, since, number) for id, (table, document, number) in zip(ids, told, strict=True)]

    async def _get_to_remember(self, ids: Sequence[Any]) -> list[Document | None]:
        since = self._since()

        def keep(told: list[list[Any] | None]) -> None:
            for id, named in zip(ids, told, strict=True):
                if named is not None:
                    self.view.keep(named[0], id, named[1], since)

        told = await self.ask("get_named", ids, keep=keep)
        return [None if named is None else named[1] for named in told]

    def _since(self) -> int:
        """How many changes the cache had seen when what is asked now was so."""
        return -1 if self._is_late else self._worker.cache.changes

    def normalize_id(self, table: str, text: Any) -> Awaitable[str | None]:
        number = None if self.is_ended or type(table) is not str or type(text) is not str else self._worker.cache.number_of(table)
        if number is None:
            return Operation(partial(self.ask, "normalize_id", table, text))
        return self._done(text if table_of(text) == number else None)

    def insert(self, table: str, document: Mapping[str, Any]) -> Awaitable[str]:
        self.note_effect("ctx.db.insert")
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
                    self.looked_at |= CALL  # ids begin with the time
                id = self.view.insert(table, document, self._ids, int(self.now_ms))
                if id is not None:
                    return self._done(id)
            return self.ask("insert", table, document, keep=partial(cache.learn, table))
        return self.ask("insert", table, document)

    def patch(self, id: Any, fields: Mapping[str, Any]) -> Awaitable[None]:
        self.note_effect("ctx.db.patch")
        return Operation(partial(self._begin_patch, id, fields))

    def _begin_patch(self, id: Any, fields: Mapping[str, Any]) -> Awaitable[None]:
        self.unbegun -= 1
        if self._keeps and type(id) is str:
            said = self.view.patch(id, fields)
            if said is not None:
                if self._is_by_itself:
                    self.view.note_patch(id, said)
                    if len(self.view.steps) >= _STEPS_EARLY:
                        self._tell_early()
                    return self._worker.nothing
                return self.ask("patch", id, said)
        return self.ask("patch", id, _plain(fields))

    def replace(self, id: Any, document: Mapping[str, Any]) -> Awaitable[None]:
        self.note_effect("ctx.db.replace")
        return Operation(partial(self._begin_replace, id, document))

    def _begin_replace(self, id: Any, document: Mapping[str, Any]) -> Awaitable[None]:
        self.unbegun -= 1
        self._forget(id)
        return self.ask("replace", id, _plain(document))

    def delete(self, id: Any) -> Awaitable[None]:
        self.note_effect("ctx.db.delete")
        return Operation(partial(self._begin_delete, id))

    def _begin_delete(self, id: Any) -> Awaitable[None]:
        self.unbegun -= 1
        is_by_itself = self._is_by_itself and self.function.kind == "mutation"
        if is_by_itself and type(id) is str and self.view.delete(id):
            return self._worker.nothing
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
        self.note_effect(f"ctx.run_{kind}")
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
