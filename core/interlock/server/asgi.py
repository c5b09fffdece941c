"""The server as an ASGI application: alone under `serve`, or mounted in somebody else's.

It opens its backend at lifespan start-up, or at the first request where nobody sends lifespan events.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interlock.clock import Clock, SystemClock
from interlock.functions.request_ids import request_ids
from interlock.server.auth import Authenticator
from interlock.server.http_api import HttpApi
from interlock.server.routes import Routes
from interlock.server.routes import answers as is_route
from interlock.server.service import ServerSettings, Service
from interlock.server.shared import Shared
from interlock.server.socket import SyncSockets
from interlock.server.turns import Turns

if TYPE_CHECKING:
    import httpx

log = logging.getLogger("interlock.server")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

GRACE_S = 10.0
"""How long a server that stops waits for what it has taken on."""


@dataclass(slots=True)
class _Running:
    """What there is between start and stop."""

    shared: Shared
    api: HttpApi
    routes: Routes
    sockets: SyncSockets
    static: AsgiApp | None
    tasks: set[asyncio.Task[None]]


class ServerApp:
    """The whole server. `mounts` are more ASGI apps by path prefix ("/_tools"), asked before the static folder."""

    def __init__(
        self,
        open_service: Callable[[], Awaitable[Service]],
        close_service: Callable[[], Awaitable[None]],
        *,
        clock: Clock | None = None,
        mounts: Mapping[str, AsgiApp] | None = None,
        key_transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
        new_request_id: Callable[[], str] | None = None,
    ) -> None:
        """`open_service`, `close_service` are called at start and stop; `key_transport` is the network to the keys of auth providers."""
        self._open_service = open_service
        self._close_service = close_service
        self._clock = clock or SystemClock()
        self._mounts = dict(mounts or {})
        self._key_transport = key_transport
        self._new_request_id = new_request_id or request_ids()
        self._running: _Running | None = None
        self._starting = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            return await self._lifespan(receive, send)
        running = self._running or await self._start()
        path: str = scope["path"]
        root_path: str = scope.get("root_path", "")
        if root_path and path.startswith(root_path):
            path = path[len(root_path) :] or "/"
        if path.startswith("//"):  # a deployment URL with a slash at its end: clients append theirs
            path = "/" + path.lstrip("/")
        if kind == "http" and running.api.answers(path):
            return await running.api(path, scope, receive, send)
        for prefix, app in self._mounts.items():
            if path == prefix or path.startswith(prefix + "/"):
                return await app(scope, receive, send)
        if kind == "http" and is_route(path):
            return await running.routes(path, scope, receive, send)
        if kind == "websocket":
            return await running.sockets(path, scope, receive, send)
        if running.static is not None:
            return await running.static({**scope, "path": path, "root_path": ""}, receive, send)
        return await running.api(path, scope, receive, send)

    @property
    def api(self) -> HttpApi | None:
        """The HTTP API, once it runs. A web server that has the whole body may ask it without the ASGI conversation."""
        return None if self._running is None else self._running.api

    async def startup(self) -> None:
        """Open the backend. Raises what stands in its way."""
        if self._running is None:
            await self._start()

    def reconfigure(self, settings: ServerSettings) -> None:
        """Take over what changed code says about users and static files, while sockets stay open."""
        running = self._running
        if running is not None:
            running.shared.authenticator.use(settings.auth)
            running.static = None if settings.static is None else _static(settings.static)
            running.api = HttpApi(running.shared, has_static=running.static is not None, spare=running.api.spare)

    async def finish(self, grace_s: float = GRACE_S) -> None:
        """Answer what the sockets have asked for, and close them. HTTP requests are the web server's to wait for."""
        if self._running is not None:
            await self._running.sockets.finish(grace_s)

    async def shutdown(self) -> None:
        """Close the sockets and the backend."""
        running = self._running
        if running is None:
            return
        await self.finish()
        self._running = None
        running.api.spare.close()
        for task in running.tasks:
            task.cancel()
        await asyncio.gather(*running.tasks, return_exceptions=True)
        await self._close_service()

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """For an application that mounts this one: most do not pass lifespan events on."""
        await self.startup()
        try:
            yield
        finally:
            await self.shutdown()

    async def _start(self) -> _Running:
        async with self._starting:
            if self._running is None:
                self._running = self._run(await self._open_service())
            return self._running

    def _run(self, service: Service) -> _Running:
        tasks: set[asyncio.Task[None]] = set()

        def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
            task = asyncio.get_running_loop().create_task(work)
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            return task

        settings = service.settings
        authenticator = Authenticator(
            settings.auth,
            instance_name=settings.instance_name,
            secret=settings.secret,
            clock=self._clock,
            transport=self._key_transport,
            authenticators=settings.authenticators,
        )
        shared = Shared(service, authenticator, self._clock, Turns(), spawn, self._new_request_id)
        static = None if settings.static is None else _static(settings.static)
        return _Running(shared, HttpApi(shared, has_static=static is not None), Routes(shared), SyncSockets(shared), static, tasks)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.startup()
        except Exception as error:
            log.debug("start failed", exc_info=True)
            return await send({"type": "lifespan.startup.failed", "message": str(error)})
        await send({"type": "lifespan.startup.complete"})
        await receive()
        try:
            await self.shutdown()
        except Exception as error:
            log.exception("the backend could not be closed")
            return await send({"type": "lifespan.shutdown.failed", "message": str(error)})
        return await send({"type": "lifespan.shutdown.complete"})


def _static(folder: str) -> AsgiApp:
    from starlette.applications import Starlette  # only here: an app without a folder needs none of it
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    class Files(StaticFiles):
        def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
            """Hidden files are nobody's business: what an editor, git or a deployment has left there."""
            if any(part.startswith(".") and part != ".well-known" for part in Path(path).parts):
                return "", None
            return super().lookup_path(path)

    return Starlette(routes=[Mount("/", app=Files(directory=folder, html=True))])
