"""Functions that run in a worker: each call is a frame, and what it asks for is answered by the same hosts as inline.

A worker is trusted in nothing. What it names is looked up in the record of its own call; a frame that no honest SDK sends ends
it. When a worker ends, the call that ended it ends with its error; the layers of the others are dropped, and they run once more.

Start at `SandboxRunner.run`; `_Served` answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, cast

from interlock.clock import SystemClock
from interlock.engine import Transaction
from interlock.engine.live import USES_TIME
from interlock.engine.made import Made
from interlock.errors import CallRefused, ComponentCrashed, DeadlineExceeded, InterlockError, LimitExceeded
from interlock.functions.action_host import ActionHost
from interlock.functions.call import BUSY, Call, Execution, current
from interlock.functions.fetch.fetched import HostFetched
from interlock.functions.host import CallHost, TransactionHost
from interlock.functions.inline import InlineRunner
from interlock.functions.replay import Stale, replay
from interlock.functions.scope import Callee
from interlock.limits import LIMITS, Limits
from interlock.mounting import Instance
from interlock.sandbox.failures import cleaned
from interlock.sandbox.frames import FrameError
from interlock.sandbox.pool import Pool, Unhealthy
from interlock.sandbox.process import Lost, Process, Refused, Served
from interlock.sdk.host import Bounds, Cursor, Host, Job, Scan, Target
from interlock.sdk.references import LABEL_MAX
from interlock.values import unpack

_OPEN_MAX = int(LIMITS["calls_open"].value)
_LOSSES_MAX = 3
_ASKING_QUERIES = 32
"""So many queries ask for everything after one that was shown what is newer than its snapshot: there will be more of them."""
_LATER_SECONDS = 0.003
"""How much later than here a deadline passes in the worker: the caller is answered by the host."""
_MISTAKES_MAX = 8
"""So often a call may be mistaken in what its worker remembers, until it asks for everything."""
_CURSORS_MAX = 10_000
_LEVELS = frozenset({"DEBUG", "INFO", "WARN", "ERROR"})
_MARK_MAX = 100_000
_MARKS_MAX = 4 * 1024 * 1024
"""Characters of all ends of pages that one call may tell."""
_NAME_MAX = 1_000
_LOG_CHARS_MAX = int(LIMITS["log_line_bytes"].value) + 1
"""Of a log line: one more than fits, so that it is cut as any other."""
_SAID_MAX = 1_000
"""How much of what a call says before its turn is kept."""


_Remembers = bool | list[Any] | None
"""How a call is to go by what its worker remembers: True, it reads it and keeps what it is told; None, the same, but its snapshot may
be old, so what it is told takes the place of nothing; three things, it was mistaken: whether it asks for everything now, and keeps it, the
number of the run in which it was, and in what; False."""


class SandboxRunner:
    """Runs the functions of one instance in its workers. What a test or tool writes on the spot is in this process, and runs here."""

    def __init__(self, instance: Instance, pool: Pool, inline: InlineRunner, env: Callable[[], Mapping[str, Any]]) -> None:
        self._instance, self.pool, self._local, self._env = instance, pool, inline, env
        self._has_env = bool(instance.manifest.env)
        self._key = f"worker of {instance.path}"
        share = None if instance.limits is None else instance.limits.calls_open
        self._open_max = _OPEN_MAX if share is None else min(share, _OPEN_MAX)
        self._asking = 0

    def start(self, call: CallHost) -> Made[Any] | Awaitable[Any]:
        return self._local.start(call) if call.callee.handler is not None else self._cross(call)

    async def _cross(self, call: CallHost) -> Any:
        pool = self.pool
        if pool.calls_open >= self._open_max:
            raise LimitExceeded("calls_open", pool.calls_open + 1, self._open_max)
        pool.calls_open += 1
        try:
            return await self._run(call)
        finally:
            pool.calls_open -= 1

    async def _run(self, call: CallHost) -> Any:
        tx = call.tx if isinstance(call, TransactionHost) else None
        writes = tx is not None and tx.writable and call.callee.kind == "mutation"
        losses = mistakes = 0
        used = None if tx is None else tx.budget.reads()
        lines = call.execution.lines
        remembers: _Remembers = False if tx is None else self._remembers(tx)
        while True:
            mark = tx.begin_layer() if tx is not None and writes else None
            try:
                value = await self._attempt(call, alone=losses > 0, remembers=remembers)
                if call.state == BUSY:
                    await call.settle()
                    call.end_turn()  # the caller settles what has been started since
            except Stale as stale:
                if tx is not None and mark is not None:
                    tx.drop_layer(mark)
                call.children, call.untold = 0, None
                if call.execution.lines > lines:
                    call.execution.log.forget_since(lines)
                if tx is not None and used is not None:
                    tx.budget.give_back(used)
                if tx is not None and (tx.writable or tx.catch_up()):
                    mistakes += 1
                    asks = stale.asks or not tx.writable or mistakes >= _MISTAKES_MAX
                    remembers = [asks, stale.number, stale.mistakes]
                else:  # the worker may be right, and this snapshot old
                    remembers = False
                    self._asking = _ASKING_QUERIES
                continue
            except Lost as lost:
                if tx is not None and mark is not None:
                    tx.drop_layer(mark)
                losses += 1
                if lost.is_culprit or call.callee.kind == "action" or losses >= _LOSSES_MAX or self.pool.is_closed:
                    raise ComponentCrashed(self._instance.path, call.callee.name, lost.reason) from None
                call.children, call.untold = 0, None
                if tx is not None and used is not None:
                    tx.budget.give_back(used)
                continue
            except BaseException:
                if tx is not None and mark is not None:
                    tx.drop_layer(mark)
                raise
            if tx is not None and mark is not None:
                tx.fold_layer(mark)
            return value

    def _remembers(self, tx: Transaction) -> bool | None:
        if tx.writable:
            return True
        if self._asking:
            self._asking -= 1
            return False
        return None

    def begin(self, caller: TransactionHost, callee: Callee, args: Mapping[str, Any], limits: Limits | None) -> _Begun | None:
        execution, pool = caller.execution, self.pool
        if limits is not None and limits.deadline is not None:
            return None  # that begins when its turn comes
        env = self._env() if self._has_env else {}
        if callee.handler is not None or execution.journal or pool.calls_open >= self._open_max:
            return None
        kept = execution.facts.get(self._key)
        try:
            checked = callee.check_args(args)
            process = pool.process(env, kept)
            if process.is_stuck or (self._has_env and process.env != env):
                return None
            remembers = self._remembers(caller.tx)
            served = _Served(callee.label, process, _lowered(self._cpu_left(caller), limits), remembers)
            frame = self._frame(callee, checked, execution, served, None, _seconds_left(caller), remembers)
            number = process.begin(served, frame)
        except (InterlockError, OSError, Unhealthy, Lost):
            return None
        if pool.size > 1:
            execution.facts[self._key] = process
        pool.calls_open += 1
        return _Begun(pool, process, served, number)

    def _cpu_left(self, caller: TransactionHost) -> float | None:
        """What a call of `caller` will have: what is left to that, and of the mount's share."""
        limits, left = self._instance.limits, _cpu_left(caller)
        if limits is None or limits.cpu is None:
            return left
        share = (caller.execution.shares or {}).get(self._instance.path)
        rest = max(0.0, limits.cpu - (share.cpu if share is not None else 0.0))
        return rest if left is None else min(left, rest)

    @staticmethod
    def _frame(
        callee: Callee,
        args: dict[str, Any],
        execution: Execution,
        served: _Served,
        call: CallHost | None,
        seconds_left: float | None,
        remembers: _Remembers,
    ) -> list[Any]:
        """A call as it is sent; `call` where its turn has come."""
        services = execution.services
        is_action = call is not None and callee.kind == "action"
        return [
            callee.name,
            callee.kind,
            callee.ordinal if callee.is_trigger else None,
            args,
            call.now() if call is not None and is_action else execution.now_ms,
            is_action and isinstance(services.clock, SystemClock),
            services.entropy.getrandbits(63),
            execution.name,
            _pages_of(call) if call is not None and execution.journal else None,
            served.cpu_max,
            seconds_left,
            remembers,
        ]

    async def _attempt(self, call: CallHost, *, alone: bool, remembers: _Remembers) -> Any:
        callee, execution = call.callee, call.execution
        services = execution.services
        facts = execution.facts
        begun = None
        if isinstance(call, TransactionHost):
            begun, call.begun = call.begun, None
        if isinstance(begun, _Begun) and begun.serves(remembers):
            begun.take()
            process, served, number = begun.process, begun.served, begun.number
        else:
            env = self._env() if self._has_env else {}
            try:
                process = self.pool.alone(env) if alone else self.pool.process(env, facts.get(self._key))
                if process.is_stuck:
                    process = await self.pool.mended(process, env)
            except (OSError, Unhealthy) as error:
                raise ComponentCrashed(self._instance.path, callee.name, f"no worker can be made: {error}") from None
            if alone or self.pool.size > 1:
                facts[self._key] = process
            if self._has_env and process.env != env:
                process.set_env(env)
            served = _Served(callee.label, process, _cpu_left(call), remembers)
            number = process.begin(served, self._frame(callee, call.args, execution, served, call, _seconds_left(call), remembers))
        served.bind(call)
        timer = None
        if call.deadline_ms is not None:
            timer = services.clock.call_at(call.deadline_ms, partial(self._expire, process, served, call))
        value: Any = None
        failed: BaseException | None = None
        try:
            value = await process.end(number)
        except BaseException as raised:
            failed = raised
        if served.steps:  # before its result counts, or its error
            try:
                await served.take_over(served.steps)
            except BaseException as raised:
                failed = raised
        if isinstance(failed, Stale):
            failed.number = number
        if timer is not None:
            timer.cancel()
        if alone:
            process.retire()
        over = _charge(call, served.cpu)
        if failed is not None:
            try:
                raise self._seen(failed, process, served, callee)
            finally:
                failed = None  # its traceback holds this frame: together they would wait for the collector
        if served.failure is not None:
            raise served.failure
        if over is not None:
            raise over
        self.pool.succeeded()
        return value

    def _seen(self, failed: BaseException, process: Process, served: _Served, callee: Callee) -> BaseException:
        """What an error of a call is to its caller, and what it means for the worker."""
        if isinstance(failed, DeadlineExceeded):
            if served.has_spun:
                self.pool.let_go(process)  # it was interrupted, in whatever that was
        elif isinstance(failed, MemoryError):
            self.pool.let_go(process)  # it is too full to be of use
        elif isinstance(failed, Refused):
            return ComponentCrashed(self._instance.path, callee.name, str(failed))
        elif isinstance(failed, FrameError):
            process.kill(f"it broke the protocol: {failed}", served)
            return ComponentCrashed(self._instance.path, callee.name, f"it broke the protocol: {failed}")
        return failed

    @staticmethod
    def _expire(process: Process, served: _Served, call: CallHost) -> None:
        call.is_stopped = True
        process.expire(served, DeadlineExceeded(call.callee.label, "wall time", call.wall_max))


def _pages_of(call: CallHost) -> dict[str, str] | None:
    journal = call.execution.journal or {}
    before = f"{call.path}|"
    return {place.removeprefix(before): mark for place, mark in journal.items() if place.startswith(before)}


def _cpu_left(call: Call) -> float | None:
    """The CPU seconds that are left to a call: its own limit, or the nearest above it."""
    above: Call | None = call
    while above is not None and above.cpu_max is None:
        above = above.parent
    return None if above is None or above.cpu_max is None else max(0.0, above.cpu_max - above.cpu)


def _lowered(cpu_left: float | None, limits: Limits | None) -> float | None:
    """The same for a call that is given limits of its own."""
    if limits is None or limits.cpu is None:
        return cpu_left
    return limits.cpu if cpu_left is None else min(cpu_left, limits.cpu)


def _charge(call: Call, seconds: float) -> DeadlineExceeded | None:
    """Count CPU time for a call and for those that wait for it. Gives the error of the nearest that has used up its own."""
    over = None
    above: Call | None = call
    while above is not None:
        if above.cpu_max is not None:
            above.cpu += seconds
            if above.cpu > above.cpu_max and over is None:
                over = DeadlineExceeded(above.callee.label, "CPU time", above.cpu_max)
        above = above.parent
    return over


def _seconds_left(call: Call) -> float | None:
    """Until the nearest deadline of those that wait for it; None where time is not the machine's."""
    clock = call.execution.services.clock
    nearest = call.nearest_deadline() if isinstance(clock, SystemClock) else None
    return None if nearest is None else max(0.0, (nearest[0] - clock.now_ms()) / 1000.0) + _LATER_SECONDS


class _Begun:
    """A call that runs in its worker before its turn has come."""

    def __init__(self, pool: Pool, process: Process, served: _Served, number: int) -> None:
        self._pool, self.process, self.served, self.number = pool, process, served, number
        self._is_open = True

    def serves(self, remembers: _Remembers) -> bool:
        """Whether it goes on as a call is to that goes by its memory like this. One that asks for everything serves any."""
        return not self.process.is_over and (self.served.remembers is remembers or self.served.remembers is False)

    def take(self) -> None:
        """Its turn has come: somebody waits for its end."""
        self._is_open = False
        self._pool.calls_open -= 1

    def give_up(self) -> None:
        """Its turn never came. Nothing, where it did."""
        if self._is_open:
            self.take()
            self.process.give_up(self.number)


class _Served:
    """One call, as its worker may speak of it."""

    def __init__(self, label: str, process: Process, cpu_max: float | None, remembers: _Remembers) -> None:
        self.label, self._process = label, process
        self.cpu, self.cpu_max = 0.0, cpu_max
        self.remembers = remembers
        self._shown = self._shown_bytes = 0
        self.steps: list[Any] = []
        self.failure: Exception | None = None
        self._bound: CallHost | None = None
        self._turn: asyncio.Future[None] | None = None
        self._said: list[list[Any]] = []
        self._taking_over: asyncio.Future[None] | None = None
        self._begun: set[int] = set()  # operations whose steps are done
        self._dropped: set[int] = set()
        self._cursors: list[Cursor] = []
        self._marks = 0
        self._fetched: dict[int, HostFetched] = {}
        self._responses = 0

    def bind(self, call: CallHost) -> None:
        """Its turn has come: what it asks for is answered from now on, and what it has said is noted."""
        self._bound = call
        if self._turn is not None:
            self._turn.set_result(None)
        said, self._said = self._said, []
        for frame in said:
            self.note(frame)

    @property
    def call(self) -> CallHost:
        assert self._bound is not None, "its turn has come"
        return self._bound

    @property
    def _host(self) -> Host:
        return cast("Host", self._bound)

    @property
    def has_spun(self) -> bool:
        """Whether it has used up its CPU time, as far as the clocks of both sides agree."""
        return self.cpu_max is not None and self.cpu > self.cpu_max / 2

    def gives_way(self, now: float) -> bool:
        """What an action of a component asks for does, whoever has called it: each is a transaction of its own."""
        call = self._bound
        return isinstance(call, ActionHost) and call.execution.services.own_calls.is_busy(now)

    def note(self, frame: list[Any]) -> None:
        """Said and not asked: log lines, rows looked at, ends of pages, a look at the time."""
        call = self._bound
        if call is None:
            if len(self._said) < _SAID_MAX:
                self._said.append(frame)
            return
        match frame:
            case ["log", str(level), str(text)]:
                call.log(level if level in _LEVELS else "INFO", cleaned(text, _LOG_CHARS_MAX))
            case ["use", int(cursor), int(count)] if 0 <= cursor < len(self._cursors) and count >= 0:
                try:
                    self._cursors[cursor].consume(count)
                except Exception as error:
                    self.failure = self.failure or error
            case ["page", int(ordinal), str(mark)] if len(mark) <= _MARK_MAX and isinstance(call, TransactionHost):
                self._marks += len(mark) + 100
                if self._marks > _MARKS_MAX:
                    raise FrameError("more ends of pages than a call has")
                call.set_page_end(ordinal, mark)
            case ["looked"]:
                call.execution.facts[USES_TIME] = True
            case _:
                raise FrameError(f"a note {frame[0]!r} that is none")

    async def take_over(self, steps: list[Any]) -> None:
        """Do what the function did by itself. Raises Stale where it was mistaken."""
        remembers = self.remembers
        asks = remembers[0] if isinstance(remembers, list) else remembers is False
        if asks or not isinstance(self.call, TransactionHost):
            raise FrameError("steps of a function that was to ask for everything")
        await replay(self.call, steps, _scan)

    def drop(self, operation: int, task: asyncio.Task[None]) -> None:
        """Nobody waits for it any more: as inline it is cancelled where it waits for something, and no sooner than its steps are done."""
        if operation in self._begun:
            task.cancel()
        else:
            self._dropped.add(operation)

    async def answer(self, number: int, method: str, args: list[Any], running: Served | None, steps: list[Any]) -> Any:
        """One operation."""
        if self._bound is None:
            if self._turn is None:
                self._turn = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._turn)
        if self._taking_over is not None:
            await self._taking_over
        if steps:
            self._taking_over = asyncio.get_running_loop().create_future()
            try:
                await self.take_over(steps)
            except Stale as stale:
                self._process.expire(self, stale)
                raise CallRefused(self.label, "it runs again.") from None
            finally:
                self._taking_over.set_result(None)
                self._taking_over = None
        elif self.remembers is not False and isinstance(self._bound, TransactionHost):
            self._bound.tx.catch_up()  # it has not begun to depend on anything that is older
        operation = _OPERATIONS.get(method)
        if operation is None:
            raise FrameError("an operation that there is not")
        if self.failure is not None:
            raise self.failure
        current.set(running._bound or self.call if isinstance(running, _Served) else self.call)
        if number in self._dropped and (task := asyncio.current_task()) is not None:
            asyncio.get_running_loop().call_soon(task.cancel)  # as inline: what does not wait is done
        self._begun.add(number)
        try:
            return await operation(self, args)
        finally:
            self._begun.discard(number)

    # operations, by name on the channel

    async def _get(self, args: list[Any]) -> Any:
        [id] = _some(args, 1)
        return await self._host.get(id)

    async def _get_named(self, args: list[Any]) -> Any:
        """A document that the worker will remember, with the name of its table, which an id does not tell."""
        [id] = _some(args, 1)
        document = await self._host.get(id)
        if document is None or not isinstance(self.call, TransactionHost):
            return None
        table = self.call.table_of(id)
        return None if table is None else [table.name, document]

    async def _show(self, args: list[Any]) -> Any:
        """A document as it is by now, for a function to go on with as if the worker had remembered it: what it depends on is read later."""
        [id] = _some(args, 1)
        call = self.call
        if not isinstance(call, TransactionHost) or not call.tx.writable:
            raise FrameError("a look at what is newest, outside a mutation")
        call.refuse_misuse()
        table = call.table_of(id)
        packed = None if table is None else await call.tx.newest_packed(table, id)
        if table is None or packed is None:
            return None
        most = call.tx.budget.maximum
        self._shown += 1
        self._shown_bytes += len(packed)
        if self._shown > most.documents_read:
            raise LimitExceeded("documents_read", self._shown, most.documents_read)
        if self._shown_bytes > most.bytes_read:
            raise LimitExceeded("bytes_read", self._shown_bytes, most.bytes_read)
        return [table.name, unpack(packed)]

    async def _normalize_id(self, args: list[Any]) -> Any:
        table, text = _some(args, 2)
        return await self._host.normalize_id(_name(table), text)

    async def _insert(self, args: list[Any]) -> Any:
        table, document = _some(args, 2)
        return await self._host.insert(_name(table), document)

    async def _patch(self, args: list[Any]) -> Any:
        id, fields = _some(args, 2)
        await self._host.patch(id, fields)

    async def _replace(self, args: list[Any]) -> Any:
        id, document = _some(args, 2)
        await self._host.replace(id, document)

    async def _delete(self, args: list[Any]) -> Any:
        [id] = _some(args, 1)
        await self._host.delete(id)

    async def _scan(self, args: list[Any]) -> Any:
        scan, count = _some(args, 2)
        if count is not None and type(count) is not int:
            raise FrameError("a count that is no number")
        return await self._host.scan(_scan(scan), count)

    async def _count(self, args: list[Any]) -> Any:
        [scan] = _some(args, 1)
        return await self._host.count(_scan(scan))

    async def _open(self, args: list[Any]) -> Any:
        scan, after, until = _some(args, 3)
        if len(self._cursors) >= _CURSORS_MAX:
            raise FrameError(f"more than {_CURSORS_MAX:,} open scans")
        cursor = await self._host.open(_scan(scan), after, until)
        self._cursors.append(cursor)
        return [len(self._cursors) - 1, cursor.exhausted, cursor.open_ended]

    async def _fetch_rows(self, args: list[Any]) -> Any:
        number, count = _some(args, 2)
        cursor = self._cursor(number)
        if type(count) is not int or count < 0:
            raise FrameError("a count that is no number")
        rows = await cursor.fetch(count)
        return [rows, cursor.exhausted, cursor.stopped]

    async def _mark(self, args: list[Any]) -> Any:
        number, back = _some(args, 2)
        cursor = self._cursor(number)
        if type(back) is not int or back < 0:
            raise FrameError("a place that is no number")
        return cursor.mark(back)

    def _cursor(self, number: Any) -> Cursor:
        if type(number) is not int or not 0 <= number < len(self._cursors):
            raise FrameError("a scan that is not open")
        return self._cursors[number]

    async def _metrics(self, args: list[Any]) -> Any:
        metrics = self._host.metrics()
        return [dict(metrics.used), dict(metrics.remaining)]

    async def _run(self, args: list[Any]) -> Any:
        kind, target, given = _some(args, 3)
        if kind not in ("query", "mutation", "action"):
            raise FrameError("a kind of function that there is not")
        return await self._host.run(kind, _target(target), _object(given))

    async def _schedule(self, args: list[Any]) -> Any:
        when_ms, after_s, target, given = _some(args, 4)
        if (when_ms is None) == (after_s is None) or not isinstance(when_ms if after_s is None else after_s, int | float):
            raise FrameError("a job without a time")
        return await self._host.schedule(when_ms, after_s, _target(target), _object(given))

    async def _cancel(self, args: list[Any]) -> Any:
        [job_id] = _some(args, 1)
        await self._host.cancel(job_id)

    async def _job(self, args: list[Any]) -> Any:
        [job_id] = _some(args, 1)
        job = await self._host.job(job_id)
        return None if job is None else _told_job(job)

    async def _jobs(self, args: list[Any]) -> Any:
        [state] = _some(args, 1)
        return [_told_job(job) for job in await self._host.jobs(state)]

    async def _identity(self, args: list[Any]) -> Any:
        identity = await self._host.identity()
        return None if identity is None else dict(identity)

    async def _function_handle(self, args: list[Any]) -> Any:
        [target] = _some(args, 1)
        return await self._host.function_handle(_target(target))

    async def _revoke_handle(self, args: list[Any]) -> Any:
        [handle] = _some(args, 1)
        await self._host.revoke_handle(_name(handle))

    async def _fetch(self, args: list[Any]) -> Any:
        """The head of a response, and of one that is wanted whole the first part of its body: mostly there is no more."""
        url, method, headers, body, timeout, whole = _some(args, 6)
        host = self.call
        if not isinstance(host, ActionHost):
            raise FrameError("a fetch in a transaction")
        fetched = await host.fetch(url, method=method, headers=headers, body=body, timeout=timeout, whole=bool(whole))
        first = await fetched.some() if whole else b""
        self._responses += 1
        if not fetched.is_closed:
            self._fetched[self._responses] = fetched
        return [self._responses, fetched.status, dict(fetched.headers), first, fetched.is_closed]

    async def _fetch_piece(self, args: list[Any]) -> Any:
        [number] = _some(args, 1)
        fetched = self._response(number)
        if fetched is None:
            return [b"", True]
        piece = await fetched.piece()
        if fetched.is_closed:
            self._fetched.pop(number, None)
        return [piece, fetched.is_closed]

    async def _fetch_close(self, args: list[Any]) -> Any:
        [number] = _some(args, 1)
        fetched = self._response(number)
        if fetched is not None:
            del self._fetched[number]
            await fetched.close()

    def _response(self, number: Any) -> HostFetched | None:
        """An open response of this call; None for one that is over."""
        if type(number) is not int or not 0 < number <= self._responses:
            raise FrameError("a response that there is not")
        return self._fetched.get(number)


_OPERATIONS: dict[str, Callable[[_Served, list[Any]], Awaitable[Any]]] = {
    "get": _Served._get,
    "get_named": _Served._get_named,
    "show": _Served._show,
    "normalize_id": _Served._normalize_id,
    "insert": _Served._insert,
    "patch": _Served._patch,
    "replace": _Served._replace,
    "delete": _Served._delete,
    "scan": _Served._scan,
    "count": _Served._count,
    "open": _Served._open,
    "fetch_rows": _Served._fetch_rows,
    "mark": _Served._mark,
    "metrics": _Served._metrics,
    "run": _Served._run,
    "schedule": _Served._schedule,
    "cancel": _Served._cancel,
    "job": _Served._job,
    "jobs": _Served._jobs,
    "identity": _Served._identity,
    "function_handle": _Served._function_handle,
    "revoke_handle": _Served._revoke_handle,
    "fetch": _Served._fetch,
    "fetch_piece": _Served._fetch_piece,
    "fetch_close": _Served._fetch_close,
}


def _some(args: list[Any], count: int) -> list[Any]:
    if len(args) != count:
        raise FrameError("an operation with other arguments than it has")
    return args


def _name(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"a name is a string, not {type(value).__name__}")
    return value


def _object(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise FrameError("arguments that are no object")
    return value


def _scan(told: Any) -> Scan:
    if type(told) is not list or len(told) != 5:
        raise FrameError("a scan that is none")
    table, index, equal, bounds, descending = told
    if type(table) is not str or type(index) is not str or type(equal) is not list or type(descending) is not bool:
        raise FrameError("a scan that is none")
    pairs = []
    for pair in equal:
        if type(pair) is not list or len(pair) != 2 or type(pair[0]) is not str:
            raise FrameError("an equality that is none")
        pairs.append((pair[0], pair[1]))
    return Scan(table, index, tuple(pairs), None if bounds is None else _bounds(bounds), descending)


def _bounds(told: Any) -> Bounds:
    if type(told) is not list or len(told) != 5:
        raise FrameError("a range that is none")
    field, lower, lower_inclusive, upper, upper_inclusive = told
    if type(field) is not str or type(lower_inclusive) is not bool or type(upper_inclusive) is not bool:
        raise FrameError("a range that is none")
    return Bounds(field, _bound(lower), lower_inclusive, _bound(upper), upper_inclusive)


def _bound(told: Any) -> tuple[Any] | None:
    if told is None:
        return None
    if type(told) is not list or len(told) != 1:
        raise FrameError("a range that is none")
    return (told[0],)


def _target(told: Any) -> Target:
    if type(told) is not list or len(told) != 7:
        raise FrameError("a function's name that is none")
    name, mount, handle, stale, limits, label, at_once = told
    if type(name) is not str or type(mount) is not str or type(handle) is not str or type(stale) is not bool or len(name) > _NAME_MAX:
        raise FrameError("a function's name that is none")
    if label is not None and (type(label) is not str or len(label) > LABEL_MAX):
        raise FrameError("a label that is none")
    if type(at_once) is not bool:
        raise FrameError("a call that is neither made at once nor not")
    if limits is not None and type(limits) is not dict:
        raise FrameError("limits that are none")
    try:
        return Target(name, mount, handle, stale, None if limits is None else Limits(**limits), label, at_once)
    except (TypeError, ValueError) as error:
        raise FrameError(f"limits that are none: {error}") from None


def _told_job(job: Job) -> list[Any]:
    return [job.id, job.state, job.name, job.args, job.scheduled_time, job.error]
