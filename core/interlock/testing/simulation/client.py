"""A client of the sync protocol, as the official ones are: it reconnects, subscribes again, and sends again what was not answered.

It believes nothing: what a server may never do (time that runs backwards, one request with two answers) ends the simulation.

Start at `SimulatedClient.mutation`; `_take` is where the server's messages arrive.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from interlock.errors import AppError
from interlock.functions.requests import RequestKey
from interlock.sdk.references import Reference, as_target
from interlock.server.messages import decode_ts, encode_ts
from interlock.testing.simulation.loop import SimulatedClock
from interlock.testing.simulation.network import Connection
from interlock.values import dumps, loads

_START = {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="}
_CODE = re.compile(r"\nUncaught (\w+): ")
_PASSING = frozenset({"StorageUnavailable", "WriteConflict", "DeadlineExceeded", "ConnectionLost"})


class CallFailed(Exception):
    """A call that the server refused, or that got lost. `code` is the error's class name, or ConnectionLost: of an action in flight.

    Errors that an author raises on purpose arrive as `AppError`.
    """

    def __init__(self, function: str, code: str, message: str) -> None:
        super().__init__(function, code, message)
        self.function, self.code, self.message = function, code, message

    def __str__(self) -> str:
        return f"{self.function}: {self.code}: {self.message}"

    @property
    def is_passing(self) -> bool:
        """Whether it comes from the faults of the simulation: an honest backend has such errors, and did nothing. (An action may have.)"""
        return self.code in _PASSING


class Broken(AssertionError):
    """A rule of the protocol or of the engine was broken."""


class Surroundings(Protocol):
    """What a client has round it."""

    clock: SimulatedClock

    def dial(self, client: SimulatedClient) -> Connection | None:
        """A new connection; None if nobody answers."""

    def note(self, text: str) -> None: ...
    def fail(self, error: BaseException) -> None: ...
    def admin_key(self) -> str: ...
    def saw(self, ts: int, function: str, component: str, args: bytes, outcome: Any) -> None:
        """A client has seen the result of a query at a timestamp."""


@dataclass
class _Request:
    """A mutation or an action that has no answer yet, or none that the client has seen the results of."""

    message: dict[str, Any]
    done: asyncio.Future[Any]
    answer: dict[str, Any] | None = None
    ts: int = 0


@dataclass
class Query:
    """A subscription."""

    function: str
    component: str
    args: bytes
    id: int
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    result: dict[str, Any] | None = None

    def add(self) -> dict[str, Any]:
        known = {} if self.result is None else {"journal": self.result.get("journal")}
        path = {"componentPath": self.component} if self.component else {}
        return {"type": "Add", "queryId": self.id, "udfPath": self.function, "args": [json.loads(self.args)], **known, **path}

    def outcome(self) -> Any:
        """The value that the server has sent, or its error."""
        assert self.result is not None
        return json.dumps(self.result["value"]) if self.result["type"] == "QueryUpdated" else self.error()

    def error(self) -> AppError | CallFailed:
        assert self.result is not None
        return _error(self.function, self.result["errorMessage"], self.result)


class SimulatedClient:
    """One user's connection. `random` is the user's own chance, `name` tells clients apart."""

    def __init__(self, around: Surroundings, name: str, chance: random.Random) -> None:
        self.name = name
        self.random = chance
        self._around = around
        self._session = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        self._connection: Connection | None = None
        self._connections = 0
        self._requests: dict[int, _Request] = {}
        self._answers: dict[int, tuple[Any, ...]] = {}
        self._answered_here: set[int] = set()
        self._queries: dict[int, Query] = {}
        self._next_request = self._next_query = 0
        self._version: dict[str, Any] = _START
        self._query_set = self._identity = 0
        self._seen_ts = 0
        self._user: dict[str, Any] | None = None
        self._is_closed = False
        self.failed: list[RequestKey] = []
        self._dialing: asyncio.TimerHandle | asyncio.Handle | None = None
        self._retries = 0

    # calls

    async def mutation(self, function: Reference | str, /, **args: Any) -> Any:
        """Run a mutation, exactly once however often it has to be sent. Raises AppError and CallFailed."""
        return await self._call("Mutation", function, args)

    async def action(self, function: Reference | str, /, **args: Any) -> Any:
        """Run an action. One that is in flight when the connection breaks has perhaps run, and raises CallFailed."""
        return await self._call("Action", function, args)

    async def query(self, function: Reference | str, /, **args: Any) -> Any:
        """The result of a query now."""
        query = self._subscribe(function, args)
        try:
            return await self._result(query)
        finally:
            self._unsubscribe(query)

    async def subscribe(self, function: Reference | str, /, **args: Any) -> AsyncIterator[Any]:
        """The result of a query now, and again each time it has changed. Between two, changes may be skipped."""
        query = self._subscribe(function, args)
        try:
            while True:
                yield await self._result(query)
                query.changed.clear()
                await query.changed.wait()
        finally:
            self._unsubscribe(query)

    async def log_in(self, *, subject: str, issuer: str = "https://issuer.test", **claims: Any) -> None:
        """Go on as this user."""
        self._user = {"subject": subject, "issuer": issuer, **claims}
        self._authenticate()

    async def log_out(self) -> None:
        """Go on as nobody."""
        self._user = None
        self._authenticate()

    async def sleep(self, seconds: float) -> None:
        """Let time pass, in the simulation's time."""
        await asyncio.sleep(seconds)

    def now(self) -> float:
        """Milliseconds since the epoch."""
        return self._around.clock.now_ms()

    async def _call(self, kind: str, function: Reference | str, args: Mapping[str, Any]) -> Any:
        name, component = _target(function)
        id, self._next_request = self._next_request, self._next_request + 1
        path = {"componentPath": component} if component else {}
        message = {"type": kind, "requestId": id, "udfPath": name, "args": [json.loads(dumps(args))], **path}
        request = self._requests[id] = _Request(message, asyncio.get_running_loop().create_future())
        self._say(message)
        answer = await request.done
        if answer["success"]:
            return loads(json.dumps(answer["result"]).encode())
        raise _error(name, answer["result"], answer)

    def _subscribe(self, function: Reference | str, args: Mapping[str, Any]) -> Query:
        name, component = _target(function)
        query = Query(name, component, dumps(args), self._next_query)
        self._next_query += 1
        self._queries[query.id] = query
        self._modify(query.add())
        return query

    def _unsubscribe(self, query: Query) -> None:
        if self._queries.pop(query.id, None) is not None:
            self._modify({"type": "Remove", "queryId": query.id})

    async def _result(self, query: Query) -> Any:
        while query.result is None:
            query.changed.clear()
            await query.changed.wait()
        if query.result["type"] == "QueryFailed":
            raise query.error()
        return loads(json.dumps(query.result["value"]).encode())

    # the connection

    def open(self) -> None:
        """Connect, and stay connected."""
        self._dialing = asyncio.get_running_loop().call_soon(self._dial)

    def close(self) -> None:
        """Go away for good."""
        self._is_closed = True
        if self._dialing is not None:
            self._dialing.cancel()
        if self._connection is not None:
            self._connection.hang_up()
            self._connection = None

    def live(self) -> list[Query]:
        """What it looks at."""
        return list(self._queries.values())

    @property
    def is_somebody(self) -> bool:
        """Whether it has logged in, so that others may see other results."""
        return self._user is not None

    async def ask_again(self, query: Query) -> str:
        """The result of somebody else's query, as wire JSON."""
        asked = Query(query.function, query.component, query.args, self._next_query)
        self._next_query += 1
        self._queries[asked.id] = asked
        self._modify(asked.add())
        try:
            await self._result(asked)
            return str(asked.outcome())
        finally:
            self._unsubscribe(asked)

    def _dial(self) -> None:
        self._connection = self._around.dial(self)
        if self._connection is None:
            return self._dial_later()
        self._retries = 0
        self._around.note(f"{self.name} connects")
        self._version, self._query_set, self._identity = _START, 0, 0
        self._answered_here.clear()
        observed = {"maxObservedTimestamp": encode_ts(self._seen_ts).decode()} if self._seen_ts else {}
        self._say(
            {
                "type": "Connect",
                "sessionId": self._session,
                "connectionCount": self._connections,
                "lastCloseReason": "InitialConnect" if not self._connections else "Closed",
                "clientTs": int(self.now()),
                **observed,
            }
        )
        self._connections += 1
        self._authenticate()
        if self._queries:
            self._modify(*(query.add() for query in self._queries.values()))
        for id, request in list(self._requests.items()):
            if request.message["type"] == "Mutation":  # one that was answered too: its results are still to be seen
                self._say(request.message)
            else:
                del self._requests[id]
                lost = CallFailed(request.message["udfPath"], "ConnectionLost", "the connection broke while the action was in flight")
                request.done.set_exception(lost)
        return None

    def _dial_later(self) -> None:
        self._retries += 1
        delay = min(0.1 * 2**self._retries, 3.0) * self.random.uniform(0.5, 1.5)
        self._dialing = asyncio.get_running_loop().call_later(delay, self._dial)

    def lost(self, code: int | None) -> None:
        """The connection has ended."""
        if self._is_closed:
            return
        self._around.note(f"{self.name} is cut off" if code is None else f"{self.name} is told to go: {code}")
        self._connection = None
        self._dial_later()

    def _say(self, message: dict[str, Any]) -> None:
        if self._connection is not None:
            text = json.dumps(message, sort_keys=True)
            self._around.note(f"{self.name} → {text}")
            self._connection.say(text)

    def _modify(self, *modifications: dict[str, Any]) -> None:
        if self._connection is not None:
            base, self._query_set = self._query_set, self._query_set + 1
            self._say({"type": "ModifyQuerySet", "baseVersion": base, "newVersion": self._query_set, "modifications": modifications})

    def _authenticate(self) -> None:
        """As an admin, so that internal functions can be called as well, perhaps on behalf of a user."""
        if self._connection is not None:
            base, self._identity = self._identity, self._identity + 1
            user = {} if self._user is None else {"impersonating": self._user}
            self._say({"type": "Authenticate", "baseVersion": base, "tokenType": "Admin", "value": self._around.admin_key(), **user})

    # what comes

    def take(self, raw: bytes) -> None:
        """One message of the server."""
        self._around.note(f"{self.name} ← {raw.decode()}")
        try:
            self._take(json.loads(raw))
        except Exception as error:
            self._around.fail(error)

    def _take(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "Transition":
                self._take_transition(message)
            case "MutationResponse" | "ActionResponse":
                self._take_response(message)
            case "Ping":
                pass
            case _:
                raise Broken(f"{self.name} was sent {message}")

    def _take_response(self, message: dict[str, Any]) -> None:
        id = message["requestId"]
        if id in self._answered_here or id >= self._next_request:
            raise Broken(f"{self.name} was answered twice on one connection, or was never asked: {message}")
        self._answered_here.add(id)
        said = message["success"], json.dumps(message["result"], sort_keys=True), message.get("ts")
        known = self._answers.setdefault(id, said)
        if message["success"] and known != said:
            raise Broken(f"one request of {self.name} has two answers: {known} and {said}")
        request = self._requests.get(id)
        if request is None:  # it was answered on the connection before, and sent again for what it did had not been seen
            return
        request.answer = message
        if message["type"] == "MutationResponse" and not message["success"]:
            self.failed.append(RequestKey(self._session, str(id)))
        if message["type"] == "MutationResponse" and message["success"]:
            request.ts = decode_ts(message["ts"])
            if request.ts > decode_ts(self._version["ts"]):
                return  # until the client has seen what the mutation did
        self._finish(id)

    def _finish(self, id: int) -> None:
        request = self._requests.pop(id)
        if not request.done.done():
            request.done.set_result(request.answer)

    def _take_transition(self, message: dict[str, Any]) -> None:
        start, end = message["startVersion"], message["endVersion"]
        ts = decode_ts(end["ts"])
        if start != self._version:
            raise Broken(f"{self.name} is at {self._version} and was sent a Transition from {start}")
        if ts < self._seen_ts:
            raise Broken(f"time ran backwards for {self.name}: from {self._seen_ts} to {ts}")
        self._version, self._seen_ts = end, ts
        for modification in message["modifications"]:
            query = self._queries.get(modification["queryId"])
            if query is not None and modification["type"] != "QueryRemoved":
                query.result = modification
                query.changed.set()
        if end["querySet"] == self._query_set and end["identity"] == self._identity and self._user is None:
            for query in self._queries.values():
                if query.result is None:
                    raise Broken(f"{self.name} was never told the result of {query.function}")
                self._around.saw(ts, query.function, query.component, query.args, query.outcome())
        for id, request in list(self._requests.items()):
            if request.answer is not None and request.ts <= ts:
                self._finish(id)


def _target(function: Reference | str) -> tuple[str, str]:
    target = as_target(function)
    return target.name, target.mount


def _error(function: str, message: str, said: Mapping[str, Any]) -> AppError | CallFailed:
    if "errorData" in said:
        return AppError(loads(json.dumps(said["errorData"]).encode()))
    code = _CODE.search(message)
    return CallFailed(function, code[1] if code else "Server Error", message)
