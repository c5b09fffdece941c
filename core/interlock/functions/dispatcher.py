"""The one way in: every call of a client, a route, a job, a command or a test comes through here.

It finds the function, for those who may call it; makes the call a transaction of its own (a query through the query
cache, a mutation until it stands, an action beside them); and gives the answer with its timestamp and log lines.

Start at `Dispatcher.call`; `live_query` is the same for subscriptions.
"""

from __future__ import annotations

import asyncio
import json
import random
import weakref
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from interlock.engine import Engine, TableSpec, Transaction
from interlock.engine.engine import Outcome as Committed
from interlock.engine.engine import Placed
from interlock.engine.live import SIZE
from interlock.engine.made import Made, arrived
from interlock.errors import (
    AppError,
    ArgumentError,
    FunctionHandleNotFound,
    InvalidCursor,
    ReturnError,
    StorageUnavailable,
    ValueRefused,
    WrongFunctionKind,
)
from interlock.functions.action_host import ActionHost
from interlock.functions.call import Call, Execution
from interlock.functions.caller import OUTSIDE_PYTHON, Answer, Caller, QueryResult, keep_log_lines, log_lines_of
from interlock.functions.calling import WALL, perform_within, plain, transact
from interlock.functions.deadlines import Deadlines
from interlock.functions.entropy import Entropy
from interlock.functions.fetch import Fetcher
from interlock.functions.handles import Handles, handles_table
from interlock.functions.large_writes import LargeWrites
from interlock.functions.live_query import LiveQuery, Prepared
from interlock.functions.log_volume import LogVolume
from interlock.functions.meter import CpuMeter
from interlock.functions.observed import Observed, depth_below
from interlock.functions.own_calls import OwnCalls
from interlock.functions.redaction import is_told, log_failure
from interlock.functions.requests import KEPT_MS, Bracket, KeptAnswer, RequestKey, forget_requests, requests_table
from interlock.functions.runners import Runners
from interlock.functions.running_mutation import RunningMutation, has_placeholder
from interlock.functions.scheduling import Scheduling
from interlock.functions.scope import Callee, Directory, Handler, RouteCallee, holds_commit_timestamp
from interlock.functions.sealing import Seal
from interlock.functions.services import Services
from interlock.functions.standing import Standing
from interlock.functions.transaction_host import TransactionHost
from interlock.limits import LIMITS, Limits
from interlock.mounting import Tree
from interlock.sdk.conversion import lower
from interlock.sdk.host import Kind
from interlock.sdk.route import ARGUMENT
from interlock.values import dumps, loads, normalize

_ACTION_WALL = LIMITS["action_wall"].value
_IN_PYTHON = frozenset({"test", "embedded"})
_FAILURE_CHARS = 4_000
"""What an error takes in the log with its traceback, about."""


def system_tables() -> list[TableSpec]:
    """The tables of the root that calls need: kept answers, revoked handles."""
    return [requests_table(), handles_table()]


class Dispatcher:
    """Calls of one backend. `secret` seals page cursors and handles: it has to be the same in every process on the same data."""

    def __init__(
        self,
        engine: Engine,
        tree: Tree,
        *,
        secret: bytes,
        env: Mapping[str, str] | None = None,
        scheduling: Scheduling | None = None,
        fetcher: Fetcher | None = None,
        entropy: random.Random | None = None,
        meter: CpuMeter | None = None,
    ) -> None:
        self._engine = engine
        env = env if env is not None else {}
        self.runners = Runners(env, secret)
        self.own_calls = OwnCalls()
        self._large_writes = LargeWrites(self.own_calls)
        self._generation = 0
        self._watched: weakref.WeakSet[LiveQuery] = weakref.WeakSet()
        self._requests: dict[RequestKey, asyncio.Future[None]] = {}  # those that run
        self._services = Services(
            engine=engine,
            clock=engine.clock,
            directory=self._directory(tree),
            pages=Seal(secret, "page cursor"),
            handles=Handles(secret),
            entropy=entropy if entropy is not None else Entropy(),
            meter=meter if meter is not None else CpuMeter(),
            deadlines=Deadlines(engine.clock),
            top_level=self,
            own_calls=self.own_calls,
            env=env,
            secrets=_secrets(tree, env),
            key=secret,
            fetcher=fetcher if fetcher is not None else Fetcher(env, secret),
            scheduling=scheduling,
            observers=tree.hooks if tree.hooks.observes_calls else None,
        )

    def attach(self, *, scheduling: Scheduling) -> None:
        """Say who schedules, where that is made after the dispatcher, which it calls."""
        self._services.scheduling = scheduling

    def adopt(self, tree: Tree) -> None:
        """Go on with other code. What runs keeps the code that it began with; every live query is run again."""
        self._generation += 1
        self._services = replace(
            self._services,
            directory=self._directory(tree),
            secrets=_secrets(tree, self._services.env),
            observers=tree.hooks if tree.hooks.observes_calls else None,
        )
        for live in list(self._watched):
            live.renew()
        self._engine.live.forget_all()
        for live in list(self._watched):
            live.wake()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that some component was given as a secret: masked wherever text leaves this process."""
        return self._services.secrets

    @property
    def log_volume(self) -> LogVolume:
        """How much mounts write to the server's log."""
        return self._services.log_volume

    @property
    def directory(self) -> Directory:
        """The functions of all instances, as they are now."""
        return self._services.directory

    def close(self) -> None:
        """Let go of workers and threads: of plain actions, and of the one that watches."""
        self.runners.close()
        self._services.meter.close()
        self._services.deadlines.close()
        self._services.fetcher.close()

    def _directory(self, tree: Tree) -> Directory:
        self.runners.keep(tree)
        return Directory(tree, self.runners.runner_of, self._engine.catalog.number_of)

    # calls from outside

    async def call(
        self,
        kind: Kind | None,
        name: str,
        args: Mapping[str, Any],
        *,
        caller: Caller,
        component_path: str = "",
        session: tuple[str, str | int] | None = None,
        bracket: Bracket | None = None,
        handle: str | None = None,
        at: int | None = None,
        limits: Limits | None = None,
    ) -> Answer:
        """Call a function. `kind` None takes any.

        `session` is (session id, request id) of a mutation that may be sent again. `bracket` surrounds a mutation in its
        transaction. `handle` names the function instead of path and name. `at` is the pinned place that a query is asked at.
        Raises what the function raised; `log_lines_of(error)` are its log lines.
        """
        camel_case = caller.source in OUTSIDE_PYTHON
        if handle is not None:
            callee = await self._held(handle)
        else:
            callee = self._services.directory.find(component_path, name, camel_case=camel_case, everything=caller.admin)
        if kind is not None and callee.kind != kind:
            raise WrongFunctionKind(callee.label, kind, callee.kind)
        if camel_case:
            args = callee.rename_args(args)
        own = self.own_calls if caller.job is None and callee.kind != "action" else None
        if own is not None:
            own.open += 1
        try:
            if callee.kind == "mutation":
                if session is not None:
                    return await self._request(RequestKey(session[0], str(session[1])), callee, args, caller, limits)
                return await self._mutation(callee, args, caller, bracket, limits, None)
            return await self._other(callee, args, caller, at, limits, None)
        except Exception as error:
            crossed = self.to_outside(error, callee, caller)
            if crossed is None:
                raise
            raise crossed from error
        finally:
            if own is not None:
                own.open -= 1
                own.ended += 1

    def begin_mutation(
        self, name: str, args: Mapping[str, Any], *, caller: Caller, component_path: str = ""
    ) -> Standing | Awaitable[Answer | Standing]:
        """`call` of a mutation by a client, as far as it goes without waiting; it may raise what `call` does.

        What is standing is to be told at once that it is waited for.
        """
        callee = self._services.directory.find(component_path, name, camel_case=True, everything=caller.admin)
        if callee.kind != "mutation":
            raise WrongFunctionKind(callee.label, "mutation", callee.kind)
        running = RunningMutation(self._services, callee, callee.rename_args(args), caller)
        own = self.own_calls
        own.open += 1
        try:
            begun = self._engine.begin(running.run, label=callee.label, deadline_ms=running.deadline_ms)
        except BaseException:
            own.open -= 1
            own.ended += 1
            raise
        if type(begun) is Placed:
            return Standing(self, running, begun)
        return self._end(running, begun)  # type: ignore[arg-type]

    async def _end(self, running: RunningMutation, begun: Awaitable[Committed[Any] | Placed[Any]]) -> Answer | Standing:
        """The same from where it first waits."""
        standing: Standing | None = None
        try:
            try:
                ended: Any = await begun
            except Exception as error:
                running.failed(error)
                raise
            if type(ended) is Placed:
                standing = Standing(self, running, ended)
                return standing
            return running.answer(ended)
        except Exception as error:
            crossed = self.to_outside(error, running.callee, running.caller)
            if crossed is None:
                raise
            raise crossed from error
        finally:
            if standing is None:
                self.own_calls.open -= 1
                self.own_calls.ended += 1

    async def end(self, running: RunningMutation, begun: Awaitable[Committed[Any]]) -> Answer:
        """`call` of a mutation from where it first waits."""
        try:
            return await running.end(begun)
        except Exception as error:
            crossed = self.to_outside(error, running.callee, running.caller)
            if crossed is None:
                raise
            raise crossed from error
        finally:
            self.own_calls.open -= 1
            self.own_calls.ended += 1

    async def answer_request(self, route: RouteCallee, request: Mapping[str, Any], *, caller: Caller) -> Answer:
        """Have the handler of a route answer a request, which is an action like others. Raises what the handler raised."""
        try:
            return await self._action(route, {ARGUMENT: request}, caller, None, None)
        except Exception as error:
            crossed = self.to_outside(error, route, caller)
            if crossed is None:
                raise
            raise crossed from error

    async def run(
        self,
        handler: Handler,
        *,
        kind: Kind = "mutation",
        component_path: str = "",
        caller: Caller,
        name: str = "(written on the spot)",
        bracket: Bracket | None = None,
    ) -> Answer:
        """Run a function that is in no module, `handler(ctx)`, as if it were one of the instance: tests, the dashboard's edits."""
        scope = self._services.directory.scope(component_path)
        callee = scope.improvise(handler, kind, name)
        try:
            if kind == "mutation":
                return await self._mutation(callee, {}, caller, bracket, None, None)
            if kind == "action":
                return await self._action(callee, {}, caller, None, None)
        except Exception as error:
            crossed = self.to_outside(error, callee, caller)
            if crossed is None:
                raise
            raise crossed from error
        # Not through the cache: a function that is made anew each time has no name to keep a result under.
        outcome = await self._engine.query(self._prepare(callee, {}, caller, None).run)
        result = outcome.value
        return Answer(loads(result.json), outcome.ts, result.log_lines)

    def live_query(
        self,
        name: str,
        args: Mapping[str, Any],
        *,
        caller: Caller,
        wake: Callable[[], None],
        journal: str | None = None,
        component_path: str = "",
    ) -> LiveQuery:
        """Subscribe to a query. Nothing is run before `LiveQuery.at`; a function that is not there is an error there."""

        def prepare(journal: str | None) -> Prepared:
            callee = self._find(component_path, name, caller)
            if callee.kind != "query":
                raise WrongFunctionKind(callee.label, "query", callee.kind)
            return self._prepare(callee, callee.rename_args(args) if caller.writes_camel_case else args, caller, journal)

        live = LiveQuery(self._engine, prepare, journal, caller.identity_key, wake)
        self._watched.add(live)
        return live

    async def forget_requests(self) -> int:
        """Drop answers that have been kept long enough."""
        return await forget_requests(self._engine, self._services.clock.now_ms() - KEPT_MS)

    def _find(self, component_path: str, name: str, caller: Caller) -> Callee:
        return self._services.directory.find(component_path, name, camel_case=caller.writes_camel_case, everything=caller.admin)

    async def _held(self, handle: str) -> Callee:
        services = self._services
        component_path, function = (await self._engine.query(lambda tx: services.handles.open(tx, handle))).value
        callee = services.directory.get(component_path, function)
        if callee is None:
            raise FunctionHandleNotFound(handle)
        return callee

    # top-level calls

    async def call_from_action(self, callee: Callee, args: Mapping[str, Any], action: ActionHost, limits: Limits | None) -> Any:
        """A call that an action makes: a transaction, or an action, of its own. The identity stays within the app."""
        caller = action.execution.caller
        identity = action.identity_fields if not callee.scope.path and not action.callee.scope.path else None
        share = action.share or caller.share
        if identity is not caller.identity or share is not caller.share:
            caller = caller.called(identity, share)
        log = action.execution.log
        try:
            if callee.kind == "mutation":
                answer = await self._mutation(callee, args, caller, None, limits, action)
            else:
                answer = await self._other(callee, args, caller, None, limits, action)
        except AppError as error:
            log.extend(log_lines_of(error))
            if callee.scope is not action.callee.scope:
                raise plain(error) from error
            raise
        except BaseException as error:
            log.extend(log_lines_of(error))
            raise
        log.extend(answer.log_lines)
        return answer.value

    async def _other(
        self, callee: Callee, args: Mapping[str, Any], caller: Caller, at: int | None, limits: Limits | None, parent: Call | None
    ) -> Answer:
        if callee.kind == "query":
            return await self._query(callee, args, caller, at, limits, parent)
        return await self._action(callee, args, caller, limits, parent)

    def to_outside(self, error: Exception, callee: Callee, caller: Caller) -> Exception | None:
        """Log an error that nobody else will see whole. Gives what leaves in its place where it crosses a component's boundary."""
        if not is_told(error) and caller.source not in _IN_PYTHON and self.log_volume.admits(callee.scope.path, _FAILURE_CHARS):
            log_failure(error, caller.request_id, callee.scope.path, callee.name, self._services.secrets)
        if callee.scope.path and isinstance(error, AppError):
            crossed = plain(error)
            keep_log_lines(crossed, log_lines_of(error))
            return crossed
        return None

    async def _request(self, key: RequestKey, callee: Callee, args: Mapping[str, Any], caller: Caller, limits: Limits | None) -> Answer:
        """A mutation that may be sent again. What an attempt is answered holds for the request, so attempts take turns.

        Else one could be told of a failure while an earlier one, of a connection that is gone, is about to stand.
        """
        kept = KeptAnswer(key)
        while (earlier := self._requests.get(key)) is not None:
            await asyncio.shield(earlier)
        ended = self._requests[key] = asyncio.get_running_loop().create_future()
        try:
            try:
                return await self._mutation(callee, args, caller, kept, limits, None)
            except StorageUnavailable as error:
                unavailable = error
            # It was refused before it could look whether an earlier attempt stands, perhaps one of another process.
            known = (await self._engine.query(kept.before)).value
            if known is None:
                raise unavailable
            return known
        finally:
            del self._requests[key]
            ended.set_result(None)

    async def _mutation(
        self, callee: Callee, args: Mapping[str, Any], caller: Caller, bracket: Bracket | None, limits: Limits | None, parent: Call | None
    ) -> Answer:
        mount = ""  # of the component that asks for it by itself
        if parent is not None:
            mount = parent.callee.scope.path.partition("/")[0]
        elif caller.job is not None:
            mount = callee.scope.path.partition("/")[0]
        began = await self._large_writes.take(mount) if mount else 0.0
        running = RunningMutation(self._services, callee, args, caller, bracket, limits, parent)
        try:
            return await running.end(self._engine.mutate(running.run, label=callee.label, deadline_ms=running.deadline_ms))
        finally:
            if mount:
                self._large_writes.ended(mount, began, running.documents_written)

    async def _query(
        self, callee: Callee, args: Mapping[str, Any], caller: Caller, at: int | None, limits: Limits | None, parent: Call | None
    ) -> Answer:
        prepared = self._prepare(callee, args, caller, None, limits, parent)
        live = self._engine.live
        ts = self._engine.durable_ts
        if at is not None:
            entry = await arrived(live.entry_at(prepared.key, caller.identity_key, prepared.run, at))
            if entry.error is not None:
                raise entry.error
            ts = self._engine.log.ts_at(at)
        elif limits is None:
            entry = await live.cached(prepared.key, prepared.run, caller.identity_key)
        else:
            outcome = await self._engine.query(prepared.run)
            return Answer(callee.check_result(loads(outcome.value.json)), outcome.ts, outcome.value.log_lines)
        result: QueryResult = entry.value
        return Answer(callee.check_result(loads(result.json)), ts, result.log_lines)

    def _prepare(
        self,
        callee: Callee,
        args: Mapping[str, Any],
        caller: Caller,
        journal: str | None,
        limits: Limits | None = None,
        parent: Call | None = None,
    ) -> Prepared:
        """How the result of a query is named in the cache, and made. The journal is part of the name: it decides where pages end."""
        try:
            values = normalize(lower(dict(args)))
        except ValueRefused as refused:
            raise ArgumentError(callee.label, refused.path, "a value that can be stored and sent", refused.reason) from None
        services = self._services
        key = (self._generation, callee.scope.path, callee.name, dumps(values), journal)

        def run(tx: Transaction) -> Made[QueryResult] | Awaitable[QueryResult]:
            now_ms = services.clock.now_ms()
            execution = Execution(services, caller, now_ms, tx.facts)
            watched = None if services.observers is None else Observed(services, callee, caller, parent)
            if watched is not None:
                watched.start()
            try:
                execution.journal = _read_journal(journal)
                call = TransactionHost(execution, callee, _check_args(callee, values, tx), parent, 0, caller.identity, tx)
                made = transact(call, now_ms + WALL * 1000.0, limits)
                if type(made) is Made:
                    return Made(_query_result(call, made.value, watched))
            except Exception as error:
                _failed(execution, error, watched)
                raise
            return _end_query(call, made, watched)  # type: ignore[arg-type]

        return Prepared(key, run)

    async def _action(self, callee: Callee, args: Mapping[str, Any], caller: Caller, limits: Limits | None, parent: Call | None) -> Answer:
        services = self._services
        now_ms = services.clock.now_ms()
        execution = Execution(services, caller, now_ms, {})
        call = ActionHost(execution, callee, callee.check_args(args), parent, depth_below(parent), caller.identity)
        call.deadline_ms, call.wall_max = now_ms + _ACTION_WALL * 1000.0, _ACTION_WALL
        call.cpu_max = _ACTION_WALL  # so that one that never waits ends too
        watched = None if services.observers is None else Observed(services, callee, caller, parent)
        if watched is not None:
            watched.start()
        raised: BaseException | None = None
        value: Any = None
        try:
            value = await perform_within(call, None, callee.scope.limits, limits)
            if holds_commit_timestamp(value):
                raise ReturnError(callee.label, "", "without a CommitTimestamp(), which only a commit fills in", "one")
        except BaseException as error:
            raised = error
        await call.close_fetched()
        if raised is not None:
            if isinstance(raised, Exception) and watched is not None:
                watched.finish(raised)
            keep_log_lines(raised, execution.finish_log())
            try:
                raise raised
            finally:
                raised = None  # its traceback holds this frame: together they would wait for the collector
        if watched is not None:
            watched.finish(None)
        return Answer(value, 0, execution.finish_log())


def _query_result(call: TransactionHost, value: Any, watched: Observed | None) -> QueryResult:
    execution = call.execution
    encoded = dumps(value)
    if has_placeholder(encoded):
        raise ReturnError(call.callee.label, "", "without a CommitTimestamp(), which only a commit fills in", "one")
    if watched is not None:
        watched.finish(None)
    lines = execution.finish_log()
    call.tx.facts[SIZE] = len(encoded) + sum(map(len, lines))
    return QueryResult(encoded, lines, _write_journal(execution.pages))


async def _end_query(call: TransactionHost, running: Awaitable[Any], watched: Observed | None) -> QueryResult:
    try:
        return _query_result(call, await running, watched)
    except Exception as error:
        _failed(call.execution, error, watched)
        raise


def _failed(execution: Execution, error: Exception, watched: Observed | None) -> None:
    if watched is not None:
        watched.finish(error)
    keep_log_lines(error, execution.finish_log())


def _secrets(tree: Tree, env: Mapping[str, str]) -> tuple[str, ...]:
    """The longest first: one may be part of another."""
    return tuple(sorted(tree.secrets(env), key=len, reverse=True))


def _check_args(callee: Callee, values: Mapping[str, Any], tx: Transaction) -> dict[str, Any]:
    try:
        return callee.check_args(values)
    except ArgumentError:
        # An id of a table that is not there fits nothing, until the table is there: then this result is no longer right.
        for table in callee.id_tables():
            tx.table(callee.scope.path, table)
        raise


def _read_journal(journal: str | None) -> dict[str, str] | None:
    if journal is None:
        return None
    try:
        read = json.loads(journal)
    except ValueError:
        read = None
    if not isinstance(read, dict) or not all(isinstance(mark, str) for mark in read.values()):
        raise InvalidCursor("", "the journal is not one of this backend. Start from the first page.")
    return read


def _write_journal(pages: dict[str, str] | None) -> str | None:
    return json.dumps(pages, sort_keys=True, separators=(",", ":")) if pages else None
