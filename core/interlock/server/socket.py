"""Binds a sync session to a WebSocket of an ASGI server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from interlock.server.client_version import UNKNOWN_CLIENT, ClientVersion, from_header, from_url_segment
from interlock.server.shared import Shared
from interlock.server.sync_session import SyncSession
from interlock.server.wire import AsgiWire, Wire

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

WIRE_EXTENSION = "interlock.wire"
"""Where this project's own server leaves a `Wire` in the scope's extensions."""

_SYNC_PATH = re.compile(r"/api/(?:([^/]{1,64})/)?sync")


class SyncSockets:
    """The open sockets of a server."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._sessions: set[SyncSession] = set()
        self._is_closing = False

    async def __call__(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        client = _client_of(path, scope)
        if client is None:
            return await _reject(scope, send)
        await send({"type": "websocket.accept"})
        reader = asyncio.current_task()
        assert reader is not None
        own: AsgiWire | None = None
        wire: Wire | None = scope.get("extensions", {}).get(WIRE_EXTENSION)
        if wire is None:
            wire = own = AsgiWire(send, reader)
        session = SyncSession(self._shared, wire, client)
        self._sessions.add(session)
        if self._is_closing:
            session.close_now()
        try:
            while (message := await receive())["type"] == "websocket.receive":
                text = message.get("text")
                await session.receive(message.get("bytes") or b"" if text is None else text)
        except asyncio.CancelledError:
            if own is None or not own.is_aborted:
                raise
        finally:
            self._sessions.discard(session)
            session.disconnected()
            if own is not None:
                own.lost()
        return None

    def __len__(self) -> int:
        return len(self._sessions)

    async def finish(self, grace_s: float) -> None:
        """Answer what was asked on every socket, then close them all; what takes longer than `grace_s` is not waited for."""
        self._is_closing = True
        sessions = list(self._sessions)
        if sessions:
            try:
                async with asyncio.timeout(grace_s):
                    await asyncio.gather(*(session.finish() for session in sessions))
            except TimeoutError:
                pass
        for session in sessions:
            session.close_now()


def _client_of(path: str, scope: Scope) -> ClientVersion | None:
    """Which client it is; None where there is no socket at that path, or the version is none."""
    match = _SYNC_PATH.fullmatch(path)
    if match is None:
        return None
    if match[1] is not None:
        return from_url_segment(match[1])
    for name, value in scope["headers"]:
        if name == b"convex-client":
            return from_header(value.decode("latin-1"))
    return UNKNOWN_CLIENT


async def _reject(scope: Scope, send: Send) -> None:
    """Answer the handshake with a status, where the server can; else it becomes a plain 403."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        return await send({"type": "websocket.close"})
    is_version = scope["path"].endswith("/sync")
    status, code = (400, "InvalidClientVersion") if is_version else (404, "NotFound")
    body = orjson.dumps(
        {"code": code, "message": "The sync socket is at /api/<version>/sync, with the version of a client, or at /api/sync."}
    )
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
    return None
