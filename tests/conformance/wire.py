"""The server as a client sees it: the HTTP API and the sync socket, spoken to the ASGI application without a network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from interlock import Backend
from interlock.server import ServerApp
from interlock.testing import TestBackend

_served: list[Backend] = []
SESSION = "2c5d1168-4a21-466f-a876-5edc31c009e1"


@asynccontextmanager
async def served(backend: TestBackend | Backend) -> AsyncIterator[Server]:
    """A backend that is open, served."""
    opened = await backend.opened() if isinstance(backend, TestBackend) else backend
    app = opened.asgi()
    async with app.lifespan(), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        _served.append(opened)
        try:
            yield Server(app, http)
        finally:
            _served.remove(opened)


class Server:
    """Calls are those of a client that nobody knows. Values are wire JSON."""

    def __init__(self, app: ServerApp, http: httpx.AsyncClient) -> None:
        self._app, self.http = app, http

    async def call(self, kind: str, path: str, args: dict[str, Any] | None = None) -> dict[str, Any]:
        """POST to /api/query, /api/mutation or /api/action: the whole answer."""
        body = {"path": path, "args": args or {}, "format": "convex_encoded_json"}
        answer = await self.http.post(f"/api/{kind}", json=body)
        assert answer.status_code == 200, answer.text
        decoded: dict[str, Any] = answer.json()
        return decoded

    async def value(self, kind: str, path: str, args: dict[str, Any] | None = None) -> Any:
        """The value of a call that succeeds."""
        answer = await self.call(kind, path, args)
        assert answer["status"] == "success", answer
        return answer["value"]

    @asynccontextmanager
    async def socket(self, session: str = SESSION) -> AsyncIterator[Socket]:
        """A connected sync socket."""
        socket = Socket()
        scope = {"type": "websocket", "path": "/api/1.48.0/sync", "headers": [], "query_string": b"", "extensions": {}}
        running = asyncio.ensure_future(self._app(scope, socket.incoming.get, socket.take))
        socket.incoming.put_nowait({"type": "websocket.connect"})
        socket.send(type="Connect", sessionId=session, connectionCount=0, lastCloseReason="InitialConnect")
        try:
            yield socket
        finally:
            socket.incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
            await running


class Socket:
    """One connection of a client. `values` is what it shows: each of its queries with its newest value, or the error instead of it."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.values: dict[int, Any] = {}
        self.responses: dict[int, dict[str, Any]] = {}
        self.transitions: list[dict[str, Any]] = []
        self._query_set = 0

    def send(self, **message: Any) -> None:
        self.incoming.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

    async def take(self, event: Any) -> None:
        """What the server sends. It is noted whole: a Transition is applied at once, as a client must."""
        if event["type"] != "websocket.send":
            return
        message = json.loads(event.get("text") or event["bytes"])
        match message["type"]:
            case "Transition":
                self.transitions.append(message)
                for change in message["modifications"]:
                    self.values[change["queryId"]] = change.get("value", change.get("errorMessage"))
            case "MutationResponse" | "ActionResponse":
                assert message["requestId"] not in self.responses, "answered twice"
                self.responses[message["requestId"]] = message

    async def subscribe(self, *queries: tuple[int, str, dict[str, Any]]) -> None:
        """Add queries (id, path, args), all in one change of the query set, and wait for what the server makes of it."""
        base, self._query_set = self._query_set, self._query_set + 1
        added = [{"type": "Add", "queryId": id, "udfPath": path, "args": [args]} for id, path, args in queries]
        self.send(type="ModifyQuerySet", baseVersion=base, newVersion=self._query_set, modifications=added)
        await settle()

    async def call(self, kind: str, request_id: int, path: str, args: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a Mutation or an Action and wait for its response."""
        self.send(type=kind, requestId=request_id, udfPath=path, args=[args or {}])
        await settle()
        return self.responses[request_id]


async def settle(turns: int = 60) -> None:
    """Let everything that can run, run. Nothing here waits for a disk, a network or the clock; workers are waited for."""
    quiet = 0
    while quiet < turns:
        await asyncio.sleep(0)
        quiet = 0 if any(map(_has_calls_in_workers, _served)) else quiet + 1


def _has_calls_in_workers(backend: Backend) -> bool:
    pools = (backend.dispatcher.runners.pool(path) for path in backend.tree.by_path)
    return any(pool is not None and pool.calls_open for pool in pools)
