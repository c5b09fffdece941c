"""The backend behind the server: a `Service` made of an engine and a dispatcher.

Here results become the wire JSON that clients get, errors the text that they may read, and the pins that keep a snapshot readable
are set and lifted.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Literal

from interlock.clock import Timer
from interlock.engine import Engine, Entry
from interlock.engine.committer import Lost
from interlock.engine.made import Made, arrived
from interlock.errors import InterlockError, StorageUnavailable, ValueRefused
from interlock.functions.caller import Answer as FunctionAnswer
from interlock.functions.caller import Caller, QueryResult, Source, log_lines_of
from interlock.functions.dispatcher import Dispatcher
from interlock.functions.live_query import LiveQuery
from interlock.functions.redaction import describe, is_told, log_failure
from interlock.functions.scope import RouteCallee
from interlock.functions.standing import Standing as StandingCall
from interlock.server.kept_results import KeptResult, KeptResults
from interlock.server.service import Answer, Credentials, Failure, Kind, OutcomeUnknown, ServerSettings, Snapshot, SnapshotGone, Standing
from interlock.server.service import QueryResult as LiveResult
from interlock.server.shared_query import Key, SharedQueries, SharedQuery, Subscription
from interlock.values import dumps

log = logging.getLogger("interlock.server")

_OFFERED_MS = 35_000.0
"""How long a snapshot stays readable whose timestamp was given to a client."""

_RETRY_MS = 2_000.0
"""How often a live query whose data cannot be read is tried again."""

_LOGGED = "__interlock_logged__"


class DispatcherService:
    """One backend. With `dev` clients are told everything, log lines and tracebacks included.

    `begun_ts` is when its database was made (ns; by default: now).
    """

    def __init__(self, engine: Engine, dispatcher: Dispatcher, settings: ServerSettings, *, dev: bool, begun_ts: int | None = None) -> None:
        self.settings = settings
        self.clock = engine.clock
        self._engine = engine
        self._dispatcher = dispatcher
        self._dev = dev
        # Before its first commit a database has no timestamp; clients that knew its predecessor have seen one.
        self._begun_ts = int(engine.clock.now_ms() * 1e6) if begun_ts is None else begun_ts
        self._newest = Snapshot(-1, 0)
        self._offered: dict[int, Timer] = {}
        self._kept = KeptResults(engine.clock.now_ms, engine.settings.cache_bytes // 2)  # they hold on to theirs in the query cache
        self._shared = SharedQueries(self._fetch, engine.clock.now_ms)
        self._tasks: set[asyncio.Task[None]] = set()

    # calls

    async def call(
        self,
        kind: Kind | None,
        path: str,
        args: dict[str, Any],
        *,
        credentials: Credentials,
        request_id: str,
        source: Source,
        component_path: str = "",
        session: tuple[str, int] | None = None,
    ) -> Answer | Failure:
        if kind == "query":
            return await self._newest_query(path, args, credentials, request_id, source, component_path)
        try:
            answer = await self._dispatcher.call(
                kind,
                path,
                args,
                caller=Caller(credentials.identity, credentials.admin, source, request_id),
                component_path=component_path,
                session=session,
            )
            return self._answer(answer)
        except Exception as error:
            if session is not None and self._engine.committer.fatal is not None:
                raise OutcomeUnknown from error
            return self.describe(error, request_id)

    def begin(
        self,
        kind: Literal["query", "mutation"],
        path: str,
        args: dict[str, Any],
        *,
        credentials: Credentials,
        request_id: str,
        source: Source,
    ) -> Answer | Failure | _Standing | Awaitable[Answer | Failure | Standing]:
        caller = Caller(credentials.identity, credentials.admin, source, request_id)
        try:
            if kind == "query":
                self._engine.live.catch_up()
                known = self._kept.get(Key(path, "", dumps(args), caller.identity_key, caller.admin, None))
                return self._newest_query(path, args, credentials, request_id, source, "") if known is None else known
            begun = self._dispatcher.begin_mutation(path, args, caller=caller)
            return _Standing(self, begun, request_id) if type(begun) is StandingCall else self._end(begun, request_id)  # type: ignore[arg-type]
        except Exception as error:
            return self.describe(error, request_id)

    async def _end(self, begun: Awaitable[FunctionAnswer | StandingCall], request_id: str) -> Answer | Failure | Standing:
        try:
            ended: Any = await begun
            return _Standing(self, ended, request_id) if type(ended) is StandingCall else self._answer(ended)
        except Exception as error:
            return self.describe(error, request_id)

    def _answer(self, answer: FunctionAnswer) -> Answer:
        encoded = answer.encoded
        return Answer(dumps(answer.value) if encoded is None else encoded, answer.ts or self._begun_ts, self._lines(answer.log_lines))

    async def _newest_query(
        self, path: str, args: dict[str, Any], credentials: Credentials, request_id: str, source: Source, component_path: str
    ) -> Answer | Failure:
        caller = Caller(credentials.identity, credentials.admin, source, request_id)
        self._engine.live.catch_up()
        try:
            kept = KeptResult(self._kept, Key(path, component_path, dumps(args), caller.identity_key, caller.admin, None))
        except ValueRefused as error:
            return self.describe(error, request_id)
        known = self._kept.get(kept.key)
        if known is not None:
            return known
        live = self._dispatcher.live_query(path, args, caller=caller, wake=kept.end, component_path=component_path)
        snapshot = self.pin()
        try:
            entry = await arrived(live.at(snapshot.place))
        except StorageUnavailable as error:
            live.close()
            return self._unavailable(error, path, request_id)
        except BaseException:
            live.close()
            raise
        finally:
            self.unpin(snapshot)
        outcome = self._outcome(entry, caller, path, component_path)
        if isinstance(outcome, Failure):
            live.close()
        else:
            self._kept.keep(kept, outcome, entry.expires_ms, live.close)
        return outcome

    async def query_at(
        self, ts: int, path: str, args: dict[str, Any], *, credentials: Credentials, request_id: str, component_path: str = ""
    ) -> Answer | Failure:
        history = self._engine.log
        place = history.place_at(ts) if ts <= self._newest_ts() else -1
        if place < 0:
            raise SnapshotGone
        caller = Caller(credentials.identity, credentials.admin, "http", request_id)
        try:
            live = self._dispatcher.live_query(path, args, caller=caller, wake=_nobody, component_path=component_path)
        except ValueRefused as error:
            return self.describe(error, request_id)
        history.pin(place)
        try:
            return self._outcome(await arrived(live.at(place)), caller, path, component_path)
        except StorageUnavailable as error:
            return self._unavailable(error, path, request_id)
        finally:
            history.unpin(place)
            live.close()

    def _outcome(self, entry: Entry, caller: Caller, path: str, component_path: str) -> Answer | Failure:
        """The result of a query in the form that those who look at it share: to decode and encode it again would be dear."""
        if entry.error is None:
            result: QueryResult = entry.value
            return Answer(result.json, entry.ts, self._lines(result.log_lines))
        self._log_once(entry.error, caller.request_id, component_path, path)
        return self.describe(entry.error, caller.request_id)

    # live queries

    def open_query(
        self,
        path: str,
        args: dict[str, Any],
        journal: str | None,
        *,
        credentials: Credentials,
        component_path: str,
        wake: Callable[[], None],
    ) -> Subscription:
        encoded = dumps(args)
        # The same id for the same query: a client is not told again of an error that is the same as before.
        request_id = hashlib.sha256(f"{component_path}|{path}|".encode() + encoded).hexdigest()[:16]
        caller = Caller(credentials.identity, credentials.admin, "client", request_id)

        def open_source(wake: Callable[[], None]) -> _Source:
            live = self._dispatcher.live_query(path, args, caller=caller, wake=wake, journal=journal, component_path=component_path)
            return _Source(self, live, caller, path, component_path, wake)

        return self._shared.subscribe(Key(path, component_path, encoded, caller.identity_key, caller.admin, journal), open_source, wake)

    def find_route(self, method: str, path: str) -> _Route | None:
        found = self._dispatcher.directory.root.route(method, path)
        return None if found is None else _Route(self, self._dispatcher, found)

    def _fetch(self, query: SharedQuery) -> Made[LiveResult] | Awaitable[LiveResult]:
        snapshot = self.newest()  # nothing can let go of it before something waits
        made = query.at(snapshot.place)
        if type(made) is Made:
            return made
        self._engine.log.pin(snapshot.place)
        return self._fetch_later(made, snapshot)  # type: ignore[arg-type]

    async def _fetch_later(self, running: Awaitable[LiveResult], snapshot: Snapshot) -> LiveResult:
        try:
            return await running
        finally:
            self.unpin(snapshot)

    def pin(self) -> Snapshot:
        snapshot = self.newest()
        self._engine.log.pin(snapshot.place)
        return snapshot

    def unpin(self, snapshot: Snapshot) -> None:
        self._engine.log.unpin(snapshot.place)

    def newest(self) -> Snapshot:
        engine = self._engine
        engine.live.catch_up()  # wakes those whose results ended by now
        place = engine.log.durable
        if self._newest.place != place:
            self._newest = Snapshot(place, self._newest_ts())
        return self._newest

    def _newest_ts(self) -> int:
        # Under a clock that was set back the first commits are older than the database.
        return max(self._engine.durable_ts, self._begun_ts)

    def offer_ts(self) -> int:
        engine = self._engine
        place = engine.durable
        timer = self._offered.pop(place, None)
        if timer is None:
            engine.log.pin(place)
        else:
            timer.cancel()

        def withdraw() -> None:
            del self._offered[place]
            engine.log.unpin(place)

        self._offered[place] = engine.clock.call_at(engine.clock.now_ms() + _OFFERED_MS, withdraw)
        return self._newest_ts()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Have it done beside."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # for clients to read

    def describe(self, error: Exception, request_id: str) -> Failure:
        message, has_data, data = describe(error, request_id, self._dev, self._dispatcher.secrets)
        code = error.code if isinstance(error, InterlockError) else ""
        return Failure(message, dumps(data) if has_data else None, self._lines(log_lines_of(error)), code)

    def _unavailable(self, error: StorageUnavailable, path: str, request_id: str) -> Failure:
        """Nothing that is true of the data, so it is kept by nobody."""
        log.warning("%s could not be read: %s", path, error)
        return self.describe(error, request_id)

    def _lines(self, lines: Sequence[str]) -> Sequence[str]:
        return lines if self._dev else ()

    def _log_once(self, error: Exception, request_id: str, component_path: str, path: str) -> None:
        """The failed run of a query is shared by all who look at it; it is one line in the log."""
        if not is_told(error) and not hasattr(error, _LOGGED):
            setattr(error, _LOGGED, True)
            log_failure(error, request_id, component_path, path, self._dispatcher.secrets)


class _Standing(Standing):
    """A mutation of the dispatcher that stands once its commit is on disk."""

    __slots__ = ("_begun", "_request_id", "_service", "_told")

    def __init__(self, service: DispatcherService, begun: StandingCall, request_id: str) -> None:
        self._service, self._begun, self._request_id = service, begun, request_id
        self._told: Callable[[Answer | Failure], None] | None = None

    def then(self, told: Callable[[Answer | Failure], None]) -> None:
        self._told = told
        self._service._engine.committer.when_durable(self._begun.place, self)

    def stands(self, error: BaseException | None) -> None:
        told, service = self._told, self._service
        assert told is not None, "only who has asked is told"
        if isinstance(error, Lost):
            service.spawn(self._again(told))
            return
        outcome: Answer | Failure
        try:
            outcome = service._answer(self._begun.answer(error))
        except Exception as raised:
            outcome = service.describe(raised, self._request_id)
        told(outcome)

    async def _again(self, told: Callable[[Answer | Failure], None]) -> None:
        outcome = await self._service._end(self._begun.again(), self._request_id)
        assert not isinstance(outcome, Standing), "run again, it stands when it ends"
        told(outcome)


class _Route:
    """The handler of an HTTP route. It is logged as any call is; nobody but its author is told of its log lines."""

    def __init__(self, service: DispatcherService, dispatcher: Dispatcher, callee: RouteCallee) -> None:
        self._service, self._dispatcher, self._callee = service, dispatcher, callee
        self.is_of_app, self.body_max = not callee.scope.path, callee.body_max

    async def answer(self, request: dict[str, Any], *, credentials: Credentials, request_id: str) -> dict[str, Any] | Failure:
        caller = Caller(credentials.identity, False, "http", request_id)
        try:
            answer = await self._dispatcher.answer_request(self._callee, request, caller=caller)
        except Exception as error:
            return self._service.describe(error, request_id)
        response: dict[str, Any] = answer.value
        return response


class _Source:
    """A live query of the dispatcher, its results in the form of the wire."""

    def __init__(
        self, service: DispatcherService, live: LiveQuery, caller: Caller, path: str, component_path: str, wake: Callable[[], None]
    ) -> None:
        self._service, self._live, self._caller = service, live, caller
        self._path, self._component_path, self._wake = path, component_path, wake
        self._retry: Timer | None = None

    def at(self, place: int) -> Made[LiveResult] | Awaitable[LiveResult]:
        try:
            made = self._live.at(place)
        except StorageUnavailable as error:
            return Made(self._unavailable(error))
        return Made(self._result(made.value)) if type(made) is Made else self._at_later(made)  # type: ignore[arg-type]

    async def _at_later(self, running: Awaitable[Entry]) -> LiveResult:
        try:
            entry = await running
        except StorageUnavailable as error:
            return self._unavailable(error)
        return self._result(entry)

    def _result(self, entry: Entry) -> LiveResult:
        outcome = self._service._outcome(entry, self._caller, self._path, self._component_path)
        return LiveResult(outcome, self._live.journal, entry.expires_ms)

    def _unavailable(self, error: StorageUnavailable) -> LiveResult:
        """What is told until it is tried again."""
        clock = self._service.clock
        due_ms = clock.now_ms() + _RETRY_MS
        self._stop_retrying()
        self._retry = clock.call_at(due_ms, self._wake)
        return LiveResult(self._service._unavailable(error, self._path, self._caller.request_id), self._live.journal, due_ms)

    def close(self) -> None:
        self._stop_retrying()
        self._live.close()

    def _stop_retrying(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None


def _nobody() -> None:
    """Nobody waits for the result to change."""
