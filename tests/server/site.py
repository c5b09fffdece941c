"""A running server for tests, on a real port: under this project's own fronts, or under uvicorn as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from websockets.asyncio.client import ClientConnection, connect

from interlock.server import ServerApp, serve
from interlock.server.serve import bind
from interlock.server.service import Service
from interlock.testing.virtual_clock import VirtualClock

from .tiny import TinyService

FRONTS = ("own", "uvicorn")


class Site:
    """A running server and what is in it."""

    def __init__(self, service: TinyService, clock: VirtualClock, url: str, stop: asyncio.Event) -> None:
        self.service, self.clock, self.url, self.stop = service, clock, url, stop

    @asynccontextmanager
    async def socket(self, path: str = "/api/1.48.0/sync", **options: Any) -> AsyncIterator[ClientConnection]:
        async with connect(self.url.replace("http", "ws") + path, **{"max_size": None, **options}) as connection:
            yield connection


def app_of(service: TinyService, clock: VirtualClock) -> ServerApp:
    async def open_service() -> Service:
        return service

    async def close_service() -> None:
        pass

    return ServerApp(open_service, close_service, clock=clock)


@asynccontextmanager
async def site(front: str = "own", prefix: str = "") -> AsyncIterator[Site]:
    """`prefix` mounts the app below another one."""
    service, clock, stop = TinyService(), VirtualClock(1_800_000_000_000.0), asyncio.Event()
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    if front == "own":
        work = serve(app_of(service, clock), port=0, ready=ready.set_result, stop=stop, grace_s=5)
    else:
        listener = bind("127.0.0.1", 0)
        app = app_of(service, clock)
        outer = Starlette(routes=[Mount(prefix, app=app)], lifespan=app.lifespan) if prefix else app
        server = uvicorn.Server(uvicorn.Config(outer, log_level="warning"))
        work = server.serve(sockets=[listener])
        ready.set_result(f"http://127.0.0.1:{listener.getsockname()[1]}")
    running = asyncio.ensure_future(work)
    url = await ready
    if front != "own":
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(retries=5)) as client:
            await client.get(url)
    try:
        yield Site(service, clock, url + prefix, stop)
    finally:
        stop.set()
        if front != "own":
            server.should_exit = True
        await running
