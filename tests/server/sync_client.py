"""A client of the sync protocol that believes nothing: it checks every message that it gets against the rules of the protocol."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from interlock.clock import Clock
from interlock.server.client_version import ClientVersion
from interlock.server.messages import decode_ts
from interlock.server.shared import Shared
from interlock.server.sync_session import SyncSession

NPM = ClientVersion("npm", (1, 48, 0))
PYTHON = ClientVersion("python", (0, 8, 1))
SESSION = "2c5d1168-4a21-466f-a876-5edc31c009e1"


class HeldWire:
    """A wire in memory. While `is_held`, the client takes nothing of what is sent."""

    def __init__(self, can_fragment: bool = True) -> None:
        self.can_fragment = can_fragment
        self.sent: list[bytes] = []
        self.waiting: list[bytes] = []
        self.closed: tuple[int, str] | None = None
        self.is_aborted = False
        self.is_held = False
        self._waiters: list[asyncio.Future[None]] = []

    def send(self, *messages: bytes) -> None:
        assert self.closed is None, "sent behind the close"
        (self.waiting if self.is_held else self.sent).extend(messages)

    def buffered(self) -> int:
        return sum(map(len, self.waiting))

    @property
    def is_full(self) -> bool:
        return self.buffered() > 0 and not self.is_aborted

    async def wait_drained(self) -> None:
        while self.is_full:
            future = asyncio.get_running_loop().create_future()
            self._waiters.append(future)
            await future

    def release(self) -> None:
        self.is_held = False
        self.sent += self.waiting
        self.waiting = []
        self._wake()

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def abort(self) -> None:
        self.is_aborted = True
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.set_result(None)


async def settle(rounds: int = 30) -> None:
    """Let everything that can run, run."""
    for _ in range(rounds):
        await asyncio.sleep(0)


class SyncClient:
    """One connection. What it holds is what an official client would hold."""

    def __init__(self, shared: Shared, client: ClientVersion = NPM, wire: HeldWire | None = None) -> None:
        self.wire = wire or HeldWire()
        self.session = SyncSession(shared, self.wire, client)
        self.query_set = 0
        self.identity = 0
        self.next_request = 0
        self.version = {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="}
        self.held: dict[int, dict[str, Any]] = {}
        self.added: dict[int, int] = {}  # query id → the query set version that brought it
        self.removed: dict[int, int] = {}
        self.responses: dict[int, dict[str, Any]] = {}
        self.unconfirmed: dict[int, int] = {}  # request id → ts that a later Transition has to reach
        self.messages: list[dict[str, Any]] = []
        self._chunks: list[str] = []
        self._read = 0

    async def send(self, message: dict[str, Any] | str) -> None:
        await self.session.receive(message if isinstance(message, str) else json.dumps(message))

    async def connect(self, **fields: Any) -> None:
        await self.send({"type": "Connect", "sessionId": SESSION, "connectionCount": 0, "lastCloseReason": "InitialConnect", **fields})

    async def modify(self, *modifications: dict[str, Any]) -> None:
        base, self.query_set = self.query_set, self.query_set + 1
        for modification in modifications:
            known = self.added if modification["type"] == "Add" else self.removed
            known[modification["queryId"]] = self.query_set
        await self.send({"type": "ModifyQuerySet", "baseVersion": base, "newVersion": self.query_set, "modifications": list(modifications)})

    async def add(self, query_id: int, path: str, args: dict[str, Any] | None = None, **fields: Any) -> None:
        await self.modify({"type": "Add", "queryId": query_id, "udfPath": path, "args": [args or {}], **fields})

    async def remove(self, query_id: int) -> None:
        await self.modify({"type": "Remove", "queryId": query_id})

    async def call(self, kind: str, path: str, args: dict[str, Any] | None = None, **fields: Any) -> int:
        request_id = self.next_request
        self.next_request += 1
        await self.send({"type": kind, "requestId": request_id, "udfPath": path, "args": [args or {}], **fields})
        return request_id

    async def mutate(self, path: str, args: dict[str, Any] | None = None) -> int:
        return await self.call("Mutation", path, args)

    async def authenticate(self, **fields: Any) -> None:
        base, self.identity = self.identity, self.identity + 1
        await self.send({"type": "Authenticate", "baseVersion": base, **fields})

    def read(self) -> list[dict[str, Any]]:
        """Take in what was sent since the last time; what came."""
        new = []
        for raw in self.wire.sent[self._read :]:
            message = json.loads(raw)
            if message["type"] == "TransitionChunk":
                assert len(raw) < 6_000_000
                assert message["partNumber"] == len(self._chunks)
                self._chunks.append(message["chunk"])
                if len(self._chunks) < message["totalParts"]:
                    continue
                text = "".join(self._chunks)
                assert message["transitionId"] == str(len(text.encode()))
                self._chunks = []
                message = json.loads(text)
            assert not self._chunks, "something came between the parts of a Transition"
            self._take(message)
            new.append(message)
        self._read = len(self.wire.sent)
        self.messages += new
        return new

    def _take(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "Transition":
                self._take_transition(message)
            case "MutationResponse" | "ActionResponse":
                request_id = message["requestId"]
                assert request_id not in self.responses, "answered twice"
                assert isinstance(message["logLines"], list)
                self.responses[request_id] = message
                if message["type"] == "MutationResponse":
                    # Python's client also waits for a Transition after a failure, of any timestamp.
                    self.unconfirmed[request_id] = decode_ts(message["ts"]) if message["success"] else 0

    def _take_transition(self, message: dict[str, Any]) -> None:
        start, end = message["startVersion"], message["endVersion"]
        assert start == self.version, "a Transition begins where the last one ended"
        assert start["querySet"] <= end["querySet"] <= self.query_set
        assert start["identity"] <= end["identity"] <= self.identity
        ts = decode_ts(end["ts"])
        assert decode_ts(start["ts"]) <= ts, "time ran backwards"
        self.version = end
        told = set()
        for modification in message["modifications"]:
            query_id = modification["queryId"]
            assert query_id not in told, "one query was told twice"
            told.add(query_id)
            if modification["type"] == "QueryRemoved":
                assert start["querySet"] < self.removed[query_id] <= end["querySet"]
                self.held.pop(query_id, None)
            else:
                assert isinstance(modification["logLines"], list)
                assert "value" in modification or modification["type"] == "QueryFailed"
                assert modification != self.held.get(query_id), "an unchanged result was sent"
                self.held[query_id] = modification
        for query_id, version in self.added.items():
            if version <= end["querySet"] < self.removed.get(query_id, 2**32):
                assert query_id in self.held, "a query was added and not answered"
        for query_id, version in self.removed.items():
            if version <= end["querySet"]:
                assert query_id not in self.held
        self.unconfirmed = {request: wanted for request, wanted in self.unconfirmed.items() if wanted > ts}

    def value(self, query_id: int) -> Any:
        return self.held[query_id]["value"]


async def connected(shared: Shared, clock: Clock | None = None, client: ClientVersion = NPM) -> SyncClient:
    """A client that has said who it is."""
    one = SyncClient(shared, client)
    await one.connect()
    return one
