"""A call in a worker, as the worker may speak of it: what it asks for is answered by the same hosts as inline.

A worker is trusted in nothing. What it names is looked up in the record of its own call. Start at `Served.answer`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import orjson

from interlock.engine.live import USES_TIME
from interlock.engine.view import NOT_AT_HAND
from interlock.engine.waited import Waited
from interlock.errors import CallRefused, LimitExceeded
from interlock.functions.action_host import ActionHost
from interlock.functions.call import current
from interlock.functions.call_host import CallHost
from interlock.functions.fetch.fetched import HostFetched
from interlock.functions.replay import Stale, replay, replay_early
from interlock.functions.told import a_name, a_scan, a_target, an_object, how_many, job_as_told, some, some_ids
from interlock.functions.transaction_host import TransactionHost
from interlock.limits import LIMITS
from interlock.sandbox.failures import cleaned
from interlock.sandbox.frames import FrameError
from interlock.sandbox.opened import Opened
from interlock.sandbox.operations import STANDING
from interlock.sandbox.process import Process
from interlock.sandbox.share import Share
from interlock.sandbox.versions import Versions
from interlock.sdk.host import Cursor, Host

_CURSORS_MAX = 10_000
_LEVELS = frozenset({"DEBUG", "INFO", "WARN", "ERROR"})
_MARK_MAX = 100_000
_MARKS_MAX = 4 * 1024 * 1024
"""Characters of all ends of pages that one call may tell."""
_LOG_CHARS_MAX = int(LIMITS["log_line_bytes"].value) + 1
"""Of a log line: one more than fits, so that it is cut as any other."""
_SHOWN_A_TURN = 256
"""How many documents are looked for until the loop does something else."""
_SAID_MAX = 1_000
"""How much of what a call says before its turn is kept."""
_fragment = orjson.Fragment

Remembers = bool | list[Any] | None
"""How a call is to go by what its worker remembers: True, it reads it and keeps what it is told; None, the same, but its snapshot may
be old, so what it is told takes the place of nothing; three things, it was mistaken: whether it asks for everything now, and keeps it, the
number of the run in which it was, and in what; False."""


class Served(Opened):
    """One call, as its worker may speak of it."""

    def __init__(self, label: str, process: Process, cpu_max: float | None, remembers: Remembers) -> None:
        super().__init__(label, cpu_max, Waited(loop=process.loop))
        self._process = process
        self.remembers = remembers
        self._shown = self._shown_bytes = 0
        self.refused: Exception | None = None
        self.was_ahead = False  # it ran already when somebody made it
        self._bound: CallHost | None = None
        self._turn: asyncio.Future[None] | None = None
        self._said: list[list[Any]] | None = None
        self._taking_over: asyncio.Future[None] | None = None
        self._is_guessing = False  # what early steps have read may count for nothing
        # What few calls have is made when they do.
        self._begun: set[int] | None = None  # operations whose steps are done
        self._dropped: set[int] | None = None
        self._cursors: list[Cursor] | None = None
        self._marks = 0
        self._fetched: dict[int, HostFetched] | None = None
        self._responses = 0

    def bind(self, call: CallHost) -> None:
        """Its turn has come: what it asks for is answered from now on, and what it has said is noted."""
        self._bound = call
        if self._turn is not None:
            self._turn.set_result(None)
        said, self._said = self._said, None
        for frame in said or ():
            self.note(frame)

    @property
    def call(self) -> CallHost:
        assert self._bound is not None, "its turn has come"
        return self._bound

    @property
    def versions(self) -> Versions:
        """What its worker means by the numbers of versions."""
        return self._process.versions

    @property
    def _host(self) -> Host:
        return cast("Host", self._bound)

    @property
    def has_spun(self) -> bool:
        """Whether it has used up its CPU time, as far as the clocks of both sides agree."""
        return self.cpu_max is not None and self.cpu > self.cpu_max / 2

    @property
    def share(self) -> Share | None:
        """An action's is its mount's, whoever has called it: each thing that it asks for is a transaction of its own. That pays with it."""
        call = self._bound
        return None if call is None else call.share if isinstance(call, ActionHost) else call.execution.caller.share

    @property
    def waits_its_turn(self) -> bool:
        """Who has begun a transaction goes on: others may come to wait for it."""
        return isinstance(self._bound, ActionHost)

    def note(self, frame: list[Any]) -> None:
        """Said and not asked: log lines, rows looked at, ends of pages, a look at the time."""
        call = self._bound
        if call is None:
            if self._said is None:
                self._said = []
            if len(self._said) < _SAID_MAX:
                self._said.append(frame)
            return
        match frame:
            case ["log", str(level), str(text)]:
                call.log(level if level in _LEVELS else "INFO", cleaned(text, _LOG_CHARS_MAX))
            case ["use", int(cursor), int(count)] if 0 <= cursor < len(self._cursors or ()) and count >= 0:
                try:
                    self._cursor(cursor).consume(count)
                except Exception as error:
                    self.refused = self.refused or error
            case ["page", int(ordinal), str(mark)] if len(mark) <= _MARK_MAX and isinstance(call, TransactionHost):
                self._marks += len(mark) + 100
                if self._marks > _MARKS_MAX:
                    raise FrameError("more ends of pages than a call has")
                call.set_page_end(ordinal, mark)
            case ["looked"]:
                call.execution.facts[USES_TIME] = True
            case _:
                raise FrameError(f"a note {frame[0]!r} that is none")

    def note_at_end(self, frame: list[Any]) -> None:
        """An action logs how it ends: for the server's log alone, since its caller has been answered. Of a transaction nothing stands."""
        call = self._bound
        if frame[0] == "log" and isinstance(call, ActionHost):
            self.note(frame)
            call.execution.finish_log()

    def take_over(self, steps: list[Any]) -> Awaitable[None] | None:
        """Do what the function did by itself; gives what is to be waited for, if anything. Raises Stale where it was mistaken."""
        goes_on, self._is_guessing = self._is_guessing, False
        return replay(self._by_memory(), steps, self.versions, goes_on=goes_on)

    def end_guess(self, *, is_right: bool) -> None:
        """What early steps have read is depended on, or this run counts for nothing."""
        if self._is_guessing and isinstance(self._bound, TransactionHost):
            self._is_guessing = False
            self._bound.tx.end_guess(is_right=is_right)

    def _by_memory(self) -> TransactionHost:
        """The call, if it may go by what its worker remembers."""
        remembers, call = self.remembers, self.call
        asks = remembers[0] if isinstance(remembers, list) else remembers is False
        if asks or not isinstance(call, TransactionHost):
            raise FrameError("steps of a function that was to ask for everything")
        return call

    def do_early(self) -> None:
        """While the function goes on, and nothing else of the call is open."""
        call, early = self._bound, self.early
        if early is None or call is None or call.is_stopped or self.tasks or self.refused is not None:
            return
        goes_on, self._is_guessing = self._is_guessing, False
        try:
            del early[: replay_early(self._by_memory(), early, self.versions, goes_on=goes_on)]
        except FrameError:
            raise
        except Exception as error:  # Stale, mostly: this run is over
            self._process.expire(self, error)
        else:
            self._is_guessing = True

    def drop(self, operation: int, task: asyncio.Task[None]) -> None:
        """Nobody waits for it any more: as inline it is cancelled where it waits for something, and no sooner than its steps are done."""
        if self._begun is not None and operation in self._begun:
            task.cancel()
        elif self._dropped is None:
            self._dropped = {operation}
        else:
            self._dropped.add(operation)

    async def answer(self, number: int, method: str, args: list[Any], running: Opened | None, steps: list[Any]) -> Any:
        """One operation."""
        if self._bound is None:
            if method in STANDING:  # the worker may have to run first what comes before its turn
                raise self._run_again(Stale([]))
            if self._turn is None:
                self._turn = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._turn)
        if self.was_ahead:  # as where it had asked before that: when it was made is not to make a difference
            raise self._run_again(Stale([]))
        if self._taking_over is not None:
            await self._taking_over
        if steps:
            self._taking_over = asyncio.get_running_loop().create_future()
            try:
                taking = self.take_over(steps)
                if taking is not None:
                    await taking
            except Stale as stale:
                raise self._run_again(stale) from None
            finally:
                self._taking_over.set_result(None)
                self._taking_over = None
        elif self._is_guessing:
            self.end_guess(is_right=True)
        elif self.remembers is not False and isinstance(self._bound, TransactionHost):
            self._bound.tx.catch_up()  # it has not begun to depend on anything that is older
        operation = _OPERATIONS.get(method)
        if operation is None:
            raise FrameError("an operation that there is not")
        if self.refused is not None:
            raise self.refused
        current.set(running._bound or self.call if isinstance(running, Served) else self.call)
        if self._dropped is not None and number in self._dropped and (task := asyncio.current_task()) is not None:
            asyncio.get_running_loop().call_soon(task.cancel)  # as inline: what does not wait is done
        if self._begun is None:
            self._begun = set()
        self._begun.add(number)
        try:
            return await operation(self, args)
        finally:
            self._begun.discard(number)

    def _run_again(self, stale: Stale) -> CallRefused:
        """End this run; gives what its operations are told."""
        self._process.expire(self, stale)
        return CallRefused(self.label, "it runs again.")

    # operations, by name on the channel

    async def _get(self, args: list[Any]) -> Any:
        [id] = some(args, 1)
        return await self._host.get(id)

    async def _get_many(self, args: list[Any]) -> Any:
        return await self._host.get_many(some_ids(args))

    async def _get_named(self, args: list[Any]) -> Any:
        """Documents that the worker will remember, each with the name of its table, which an id does not tell."""
        ids, call = some_ids(args), self.call
        found = await self._host.get_many(ids)
        named: list[Any] = []
        for id, document in zip(ids, found, strict=True):
            table = call.table_of(id) if document is not None and isinstance(call, TransactionHost) else None
            named.append(None if table is None else [table.name, document])
        return named

    async def _show(self, args: list[Any]) -> Any:
        """Documents as they are by now, for a function to go on with as if the worker had remembered them: what it depends on is read
        later.
        """
        ids, version = some(args, 2)
        call = self.call
        if type(ids) is not list or type(version) is not int:
            raise FrameError("a look at no documents")
        if not isinstance(call, TransactionHost) or not call.tx.writable:
            raise FrameError("a look at what is newest, outside a mutation")
        call.refuse_misuse()
        most = call.tx.budget.maximum
        self._shown += len(ids)  # also those that are not there: to look for them takes as long
        if self._shown > most.documents_read:
            raise LimitExceeded("documents_read", self._shown, most.documents_read)
        shown: list[Any] = []
        versions = self.versions
        newest = call.tx.look()
        try:
            for place, id in enumerate(ids, 1):
                if place % _SHOWN_A_TURN == 0:
                    await asyncio.sleep(0)
                    call.refuse_misuse()
                table = call.table_of(id)
                packed: Any = None if table is None else newest.packed_at_hand(table, id)
                if table is not None and packed is NOT_AT_HAND:
                    packed = await newest.packed(table, id)
                if table is None or packed is None:
                    shown.append(None)
                else:
                    self._shown_bytes += len(packed)
                    if self._shown_bytes > most.bytes_read:
                        raise LimitExceeded("bytes_read", self._shown_bytes, most.bytes_read)
                    shown.append([table.name, _fragment(packed), versions.show(id, version, packed)])
        finally:
            call.tx.end_look(newest)
        return shown

    async def _normalize_id(self, args: list[Any]) -> Any:
        table, text = some(args, 2)
        return await self._host.normalize_id(a_name(table), text)

    async def _insert(self, args: list[Any]) -> Any:
        table, document = some(args, 2)
        return await self._host.insert(a_name(table), document)

    async def _patch(self, args: list[Any]) -> Any:
        id, fields = some(args, 2)
        await self._host.patch(id, fields)

    async def _replace(self, args: list[Any]) -> Any:
        id, document = some(args, 2)
        await self._host.replace(id, document)

    async def _delete(self, args: list[Any]) -> Any:
        [id] = some(args, 1)
        await self._host.delete(id)

    async def _scan(self, args: list[Any]) -> Any:
        scan, count = some(args, 2)
        return await self._host.scan(a_scan(scan), how_many(count))

    async def _count(self, args: list[Any]) -> Any:
        [scan] = some(args, 1)
        return await self._host.count(a_scan(scan))

    async def _open(self, args: list[Any]) -> Any:
        scan, after, until = some(args, 3)
        cursors = self._cursors
        if cursors is None:
            cursors = self._cursors = []
        if len(cursors) >= _CURSORS_MAX:
            raise FrameError(f"more than {_CURSORS_MAX:,} open scans")
        cursor = await self._host.open(a_scan(scan), after, until)
        cursors.append(cursor)
        return [len(cursors) - 1, cursor.exhausted, cursor.open_ended]

    async def _fetch_rows(self, args: list[Any]) -> Any:
        number, count = some(args, 2)
        cursor = self._cursor(number)
        if type(count) is not int or count < 0:
            raise FrameError("a count that is no number")
        rows = await cursor.fetch(count)
        return [rows, cursor.exhausted, cursor.stopped]

    async def _mark(self, args: list[Any]) -> Any:
        number, back = some(args, 2)
        cursor = self._cursor(number)
        if type(back) is not int or back < 0:
            raise FrameError("a place that is no number")
        return cursor.mark(back)

    def _cursor(self, number: Any) -> Cursor:
        cursors = self._cursors
        if cursors is None or type(number) is not int or not 0 <= number < len(cursors):
            raise FrameError("a scan that is not open")
        return cursors[number]

    async def _metrics(self, args: list[Any]) -> Any:
        metrics = self._host.metrics()
        return [dict(metrics.used), dict(metrics.remaining)]

    async def _run(self, args: list[Any]) -> Any:
        kind, target, given = some(args, 3)
        if kind not in ("query", "mutation", "action"):
            raise FrameError("a kind of function that there is not")
        return await self._host.run(kind, a_target(target), an_object(given))

    async def _schedule(self, args: list[Any]) -> Any:
        when_ms, after_s, target, given = some(args, 4)
        if (when_ms is None) == (after_s is None) or not isinstance(when_ms if after_s is None else after_s, int | float):
            raise FrameError("a job without a time")
        return await self._host.schedule(when_ms, after_s, a_target(target), an_object(given))

    async def _cancel(self, args: list[Any]) -> Any:
        [job_id] = some(args, 1)
        await self._host.cancel(job_id)

    async def _job(self, args: list[Any]) -> Any:
        [job_id] = some(args, 1)
        job = await self._host.job(job_id)
        return None if job is None else job_as_told(job)

    async def _jobs(self, args: list[Any]) -> Any:
        [state] = some(args, 1)
        return [job_as_told(job) for job in await self._host.jobs(state)]

    async def _identity(self, args: list[Any]) -> Any:
        identity = await self._host.identity()
        return None if identity is None else dict(identity)

    async def _function_handle(self, args: list[Any]) -> Any:
        [target] = some(args, 1)
        return await self._host.function_handle(a_target(target))

    async def _revoke_handle(self, args: list[Any]) -> Any:
        [handle] = some(args, 1)
        await self._host.revoke_handle(a_name(handle))

    async def _fetch(self, args: list[Any]) -> Any:
        """The head of a response, and of one that is wanted whole the first part of its body: mostly there is no more."""
        url, method, headers, body, timeout, whole = some(args, 6)
        host = self.call
        if not isinstance(host, ActionHost):
            raise FrameError("a fetch in a transaction")
        fetched = await host.fetch(url, method=method, headers=headers, body=body, timeout=timeout, whole=bool(whole))
        first = await fetched.some() if whole else b""
        self._responses += 1
        if not fetched.is_closed:
            if self._fetched is None:
                self._fetched = {}
            self._fetched[self._responses] = fetched
        return [self._responses, fetched.status, dict(fetched.headers), first, fetched.is_closed]

    async def _fetch_piece(self, args: list[Any]) -> Any:
        [number] = some(args, 1)
        fetched = self._response(number)
        if fetched is None:
            return [b"", True]
        piece = await fetched.piece()
        if fetched.is_closed:
            self._let_go(number)
        return [piece, fetched.is_closed]

    async def _fetch_close(self, args: list[Any]) -> Any:
        [number] = some(args, 1)
        fetched = self._response(number)
        if fetched is not None:
            self._let_go(number)
            await fetched.close()

    def _response(self, number: Any) -> HostFetched | None:
        """An open response of this call; None for one that is over."""
        if type(number) is not int or not 0 < number <= self._responses:
            raise FrameError("a response that there is not")
        return None if self._fetched is None else self._fetched.get(number)

    def _let_go(self, number: int) -> None:
        if self._fetched is not None:
            self._fetched.pop(number, None)


_OPERATIONS: dict[str, Callable[[Served, list[Any]], Awaitable[Any]]] = {
    "get": Served._get,
    "get_many": Served._get_many,
    "get_named": Served._get_named,
    "show": Served._show,
    "normalize_id": Served._normalize_id,
    "insert": Served._insert,
    "patch": Served._patch,
    "replace": Served._replace,
    "delete": Served._delete,
    "scan": Served._scan,
    "count": Served._count,
    "open": Served._open,
    "fetch_rows": Served._fetch_rows,
    "mark": Served._mark,
    "metrics": Served._metrics,
    "run": Served._run,
    "schedule": Served._schedule,
    "cancel": Served._cancel,
    "job": Served._job,
    "jobs": Served._jobs,
    "identity": Served._identity,
    "function_handle": Served._function_handle,
    "revoke_handle": Served._revoke_handle,
    "fetch": Served._fetch,
    "fetch_piece": Served._fetch_piece,
    "fetch_close": Served._fetch_close,
}
