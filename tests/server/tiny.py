"""A backend that is obviously right, for tests of the server.

Every state that ever was is kept whole. A query is a plain function of a state, a mutation a plain function from one to the
next, and a commit wakes everybody. `gates` hold calls back until a test lets them go.
"""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal

from interlock.clock import Clock
from interlock.errors import AppError, FunctionNotFound, InterlockError, WrongFunctionKind
from interlock.sdk.auth import AuthProvider
from interlock.server.auth import Authenticator
from interlock.server.service import (
    Answer,
    Credentials,
    Failure,
    Kind,
    QueryResult,
    ServerSettings,
    Snapshot,
    SnapshotGone,
    Source,
    Standing,
)
from interlock.server.shared import Shared
from interlock.server.turns import Turns
from interlock.values import dumps

State = dict[str, Any]
SECRET = b"s" * 32
FIRST_TS = 1_700_000_000_000_000_000


def ts_of(place: int) -> int:
    return FIRST_TS + place


def place_of(ts: int) -> int:
    return ts - FIRST_TS


def get(state: State, args: dict[str, Any], who: Credentials) -> Any:
    return state.get(args.get("key", "counter"))


def everything(state: State, args: dict[str, Any], who: Credentials) -> Any:
    return dict(state)


def whoami(state: State, args: dict[str, Any], who: Credentials) -> Any:
    return None if who.identity is None else dict(who.identity)


def fail(state: State, args: dict[str, Any], who: Credentials) -> Any:
    if "data" in args:
        raise AppError(args["data"])
    raise ValueError("boom")


def big(state: State, args: dict[str, Any], who: Credentials) -> Any:
    return args.get("letter", "x") * int(args["size"])


def put(state: State, args: dict[str, Any], who: Credentials) -> Any:
    state[args.get("key", "counter")] = args["value"]


def add(state: State, args: dict[str, Any], who: Credentials) -> Any:
    key = args.get("key", "counter")
    state[key] = state.get(key, 0) + args.get("n", 1)
    return state[key]


def echo(state: State, args: dict[str, Any], who: Credentials) -> Any:
    return args


FUNCTIONS: dict[str, tuple[Kind, Callable[[State, dict[str, Any], Credentials], Any]]] = {
    "t:get": ("query", get),
    "t:everything": ("query", everything),
    "t:whoami": ("query", whoami),
    "t:fail": ("query", fail),
    "t:big": ("query", big),
    "t:put": ("mutation", put),
    "t:add": ("mutation", add),
    "t:failMutation": ("mutation", fail),
    "t:act": ("action", echo),
    "t:failAction": ("action", fail),
    "t:bigAction": ("action", big),
}


class TinyLive:
    def __init__(self, service: TinyService, path: str, args: dict[str, Any], who: Credentials, wake: Callable[[], None]) -> None:
        self.service, self.path, self.args, self.who, self.wake = service, path, args, who, wake
        self.is_closed = False

    async def at(self, place: int) -> QueryResult:
        assert not self.is_closed
        assert place in self.service.pinned, "the snapshot of a live query must be pinned"
        await self.service.pass_gate(self.path)
        self.service.runs[self.path] += 1
        return QueryResult(self.service.run(place, "query", self.path, self.args, self.who))

    def peek(self, place: int) -> QueryResult | None:
        assert not self.is_closed
        return QueryResult(self.service.run(place, "query", self.path, self.args, self.who)) if self.path in self.service.known else None

    def when_ready(self, callback: Callable[[], None]) -> None:
        async def wait() -> None:
            await self.service.pass_gate(self.path)
            callback()

        self.service.fetches.append(asyncio.ensure_future(wait()))

    def close(self) -> None:
        self.is_closed = True
        self.service.live.discard(self)


class TinyService:
    def __init__(self, auth: tuple[AuthProvider, ...] = (), static: str | None = None) -> None:
        self.settings = ServerSettings("tiny", SECRET, auth, "1.2.3", static)
        self.states: list[State] = [{}]
        self.live: set[TinyLive] = set()
        self.pinned: Counter[int] = Counter()
        self.gates: dict[str, asyncio.Event] = {}
        self.done: dict[tuple[str, int], Answer] = {}
        self.known: set[str] = set()  # queries whose results can be peeked at
        self.fetches: list[asyncio.Future[None]] = []
        self.runs: Counter[str] = Counter()
        self.calls: list[tuple[str, Any]] = []
        self._called = asyncio.Event()

    def run(self, place: int, kind: Kind, path: str, args: dict[str, Any], who: Credentials) -> Answer | Failure:
        """A call that commits nothing, on the state at a place."""
        known = FUNCTIONS.get(path)
        try:
            if known is None:
                raise FunctionNotFound(path)
            if known[0] != kind:
                raise WrongFunctionKind(path, kind, known[0])
            return Answer(dumps(known[1](copy.deepcopy(self.states[place]), args, who)), ts_of(place), ["[LOG] ran"])
        except Exception as error:
            return self.describe(error, "0" * 16)

    async def called(self, times: int) -> None:
        """Wait until so many calls have come in."""
        while len(self.calls) < times:
            self._called.clear()
            await self._called.wait()

    async def pass_gate(self, path: str) -> None:
        gate = self.gates.get(path)
        if gate is not None:
            await gate.wait()

    def commit(self, change: Callable[[State], Any]) -> Any:
        state = copy.deepcopy(self.states[-1])
        result = change(state)
        if state != self.states[-1]:
            self.states.append(state)
            for live in list(self.live):
                live.wake()
        return result

    def begin(
        self,
        kind: Literal["query", "mutation"],
        path: str,
        args: dict[str, Any],
        *,
        credentials: Credentials,
        request_id: str,
        source: Source,
    ) -> Answer | Failure | Standing | Awaitable[Answer | Failure]:
        return self.call(kind, path, args, credentials=credentials, request_id=request_id, source=source)

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
        self.calls.append((path, args))
        self._called.set()
        await self.pass_gate(path)
        if path == "t:crash":
            raise RuntimeError("the backend is broken")
        known = FUNCTIONS.get(path)
        kind = kind or (known[0] if known else "query")
        if session in self.done:
            return self.done[session]
        if kind != "mutation" or known is None or known[0] != "mutation":
            return self.run(len(self.states) - 1, kind, path, args, credentials)
        try:
            value = self.commit(lambda state: known[1](state, args, credentials))
        except Exception as error:
            return self.describe(error, request_id)
        answer = Answer(dumps(value), ts_of(len(self.states) - 1), ["[LOG] wrote"])
        if session is not None:
            self.done[session] = answer
        return answer

    async def query_at(
        self, ts: int, path: str, args: dict[str, Any], *, credentials: Credentials, request_id: str, component_path: str = ""
    ) -> Answer | Failure:
        if not 0 <= place_of(ts) < len(self.states):
            raise SnapshotGone
        return self.run(place_of(ts), "query", path, args, credentials)

    def open_query(
        self,
        path: str,
        args: dict[str, Any],
        journal: str | None,
        *,
        credentials: Credentials,
        component_path: str,
        wake: Callable[[], None],
    ) -> TinyLive:
        live = TinyLive(self, path, args, credentials, wake)
        self.live.add(live)
        return live

    def find_route(self, method: str, path: str) -> None:
        """It has none."""

    def offer_ts(self) -> int:
        return self.newest().ts

    def newest(self) -> Snapshot:
        place = len(self.states) - 1
        return Snapshot(place, ts_of(place))

    def pin(self) -> Snapshot:
        place = len(self.states) - 1
        self.pinned[place] += 1
        return Snapshot(place, ts_of(place))

    def unpin(self, snapshot: Snapshot) -> None:
        self.pinned[snapshot.place] -= 1
        if not self.pinned[snapshot.place]:
            del self.pinned[snapshot.place]

    def describe(self, error: Exception, request_id: str) -> Failure:
        data = dumps(error.data) if isinstance(error, AppError) else None
        code = error.code if isinstance(error, InterlockError) else ""
        return Failure(f"[Request ID: {request_id}] Server Error\nUncaught {type(error).__name__}: {error}\n", data, ["[LOG] failed"], code)


def shared(service: TinyService, clock: Clock) -> Shared:
    """What the sessions of a server share, around a tiny backend."""
    tasks: set[asyncio.Task[None]] = set()

    def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    authenticator = Authenticator(service.settings.auth, instance_name="tiny", secret=SECRET, clock=clock)
    return Shared(service, authenticator, clock, Turns(), spawn, lambda: "f" * 16)
