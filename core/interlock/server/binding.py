"""The backend behind the server: a `Service` made of an engine and a dispatcher.

Here results become the wire JSON that clients get, errors the text that they may read, and the pins that keep a snapshot readable
are set and lifted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from interlock.clock import Timer
from interlock.engine import Engine
from interlock.errors import InterlockError
from interlock.functions.caller import Caller, QueryResult, Source, log_lines_of
from interlock.functions.dispatcher import Dispatcher
from interlock.functions.live_query import LiveQuery
from interlock.functions.redaction import describe, is_told, log_failure
from interlock.server.service import Answer, Credentials, Failure, Kind, ServerSettings, Snapshot, SnapshotGone
from interlock.server.service import QueryResult as LiveResult
from interlock.values import dumps

_OFFERED_MS = 35_000.0
"""How long a snapshot stays readable whose timestamp was given to a client."""

_LOGGED = "__interlock_logged__"


class DispatcherService:
    """One backend. With `dev` clients are told everything, log lines and tracebacks included."""

    def __init__(self, engine: Engine, dispatcher: Dispatcher, settings: ServerSettings, *, dev: bool) -> None:
        self.settings = settings
        self._engine = engine
        self._dispatcher = dispatcher
        self._dev = dev
        # Before its first commit a database has no timestamp; clients that knew its predecessor have seen one.
        self._opened_ts = int(engine.clock.now_ms() * 1e6)
        self._offered: dict[int, Timer] = {}

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
            snapshot = self.pin()
            try:
                return await self._query(snapshot, path, args, credentials, request_id, source, component_path)
            finally:
                self.unpin(snapshot)
        try:
            answer = await self._dispatcher.call(
                kind,
                path,
                args,
                caller=Caller(credentials.identity, credentials.admin, source, request_id),
                component_path=component_path,
                session=session,
            )
            return Answer(dumps(answer.value), answer.ts or self._opened_ts, self._lines(answer.log_lines))
        except Exception as error:
            return self.describe(error, request_id)

    async def query_at(
        self, ts: int, path: str, args: dict[str, Any], *, credentials: Credentials, request_id: str, component_path: str = ""
    ) -> Answer | Failure:
        log = self._engine.log
        place = log.place_at(ts) if ts <= self.newest_ts() else -1
        if place < 0:
            raise SnapshotGone
        snapshot = Snapshot(place, ts)
        log.pin(place)
        try:
            return await self._query(snapshot, path, args, credentials, request_id, "http", component_path)
        finally:
            log.unpin(place)

    async def _query(
        self,
        snapshot: Snapshot,
        path: str,
        args: dict[str, Any],
        credentials: Credentials,
        request_id: str,
        source: Source,
        component_path: str,
    ) -> Answer | Failure:
        """One look at a query, in the form that its subscribers share: to decode and encode it again would cost more than the rest."""
        try:
            live = self._dispatcher.live_query(
                path,
                args,
                caller=Caller(credentials.identity, credentials.admin, source, request_id),
                wake=_nobody,
                component_path=component_path,
            )
        except Exception as error:
            return self.describe(error, request_id)
        try:
            entry = await live.at(snapshot.place)
        finally:
            live.close()
        if entry.error is not None:
            self._log_once(entry.error, request_id, component_path, path)
            return self.describe(entry.error, request_id)
        result: QueryResult = entry.value
        return Answer(result.json, snapshot.ts, self._lines(result.log_lines))

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
    ) -> _Live:
        # The same id for the same query: a client is not told again of an error that is the same as before.
        request_id = hashlib.sha256(f"{component_path}|{path}|".encode() + dumps(args)).hexdigest()[:16]
        live = self._dispatcher.live_query(
            path,
            args,
            caller=Caller(credentials.identity, credentials.admin, "client", request_id),
            wake=wake,
            journal=journal,
            component_path=component_path,
        )
        return _Live(self, live, request_id, path, component_path)

    def pin(self) -> Snapshot:
        engine = self._engine
        engine.live.catch_up()  # wakes those whose results ended by now
        place = engine.durable
        engine.log.pin(place)
        return Snapshot(place, self.newest_ts())

    def unpin(self, snapshot: Snapshot) -> None:
        self._engine.log.unpin(snapshot.place)

    def newest_ts(self) -> int:
        return self._engine.durable_ts or self._opened_ts

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
        return self.newest_ts()

    # for clients to read

    def describe(self, error: Exception, request_id: str) -> Failure:
        message, has_data, data = describe(error, request_id, self._dev)
        code = error.code if isinstance(error, InterlockError) else ""
        return Failure(message, dumps(data) if has_data else None, self._lines(log_lines_of(error)), code)

    def _lines(self, lines: Sequence[str]) -> Sequence[str]:
        return lines if self._dev else ()

    def _log_once(self, error: Exception, request_id: str, component_path: str, path: str) -> None:
        """The failed run of a query is shared by all who look at it; it is one line in the log."""
        if not is_told(error) and not hasattr(error, _LOGGED):
            setattr(error, _LOGGED, True)
            log_failure(error, request_id, component_path, path)


class _Live:
    """A subscription, its results in the form of the wire."""

    def __init__(self, service: DispatcherService, live: LiveQuery, request_id: str, path: str, component_path: str) -> None:
        self._service, self._live = service, live
        self._request_id, self._path, self._component_path = request_id, path, component_path

    async def at(self, place: int) -> LiveResult:
        entry = await self._live.at(place)
        if entry.error is None:
            result: QueryResult = entry.value
            return LiveResult(Answer(result.json, entry.ts, self._service._lines(result.log_lines)), result.journal)
        self._service._log_once(entry.error, self._request_id, self._component_path, self._path)
        return LiveResult(self._service.describe(entry.error, self._request_id), self._live.journal)

    def close(self) -> None:
        self._live.close()


def _nobody() -> None:
    """Nobody waits for the result to change."""
