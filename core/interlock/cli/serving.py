"""Serves one open backend on a port until it is told to stop. `dev` and `serve` both end here.

The port is taken before anything is opened, so that a second server says so at once; the first signal ends open requests in
peace, the second does not wait for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from interlock.cli.console import CommandError
from interlock.cli.control import Control
from interlock.cli.exits import Exit
from interlock.cli.running import RunningServer
from interlock.limits import LIMITS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from interlock.backend import Backend


class Listener:
    """The ports of a server, taken."""

    def __init__(self, host: str, port: int, site_port: int | None = None) -> None:
        self._host = host
        self._api = _listen(host, port)
        self._site = _listen(host, site_port) if site_port is not None else None

    @property
    def url(self) -> str:
        return self._url(self._api)

    @property
    def site_url(self) -> str | None:
        return self._url(self._site) if self._site is not None else None

    async def serve(self, backend: Backend, data_directory: Path | None, beside: Coroutine[Any, Any, None] | None = None) -> None:
        """Answer until a signal comes. `beside` runs along, and ends with it."""
        app = Control(backend.asgi(), backend)
        servers = [(_Server(_config(app)), [self._api])]
        if self._site is not None:
            servers.append((_Server(_config(_Site(app))), [self._site]))
        announced = RunningServer(self.url, backend.admin_key, os.getpid()).announced(data_directory)
        with ExitStack() as stack:
            stack.enter_context(_stopped_by_signals([server for server, _ in servers]))
            stack.enter_context(announced)
            async with asyncio.TaskGroup() as group:
                along = group.create_task(beside) if beside is not None else None
                async with asyncio.TaskGroup() as serving:
                    for server, sockets in servers:
                        serving.create_task(server.serve(sockets))
                if along is not None:
                    along.cancel()

    def close(self) -> None:
        self._api.close()
        if self._site is not None:
            self._site.close()

    def _url(self, listening: socket.socket) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self._host, f"[{self._host}]" if ":" in self._host else self._host)
        return f"http://{host}:{listening.getsockname()[1]}"


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """asyncio.run on the quickest loop there is."""
    if sys.platform == "win32":
        asyncio.run(main)
    else:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)


class _Site:
    """HTTP routes alone: the path that the outside asks for, under `/http`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            scope = {**scope, "path": f"/http{path}", "raw_path": b"/http" + scope.get("raw_path", path.encode())}
        await self._app(scope, receive, send)


class _Server(uvicorn.Server):
    """Two servers share the signals, so neither takes them for itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        ws_max_size=int(LIMITS["socket_message"].value),
        timeout_graceful_shutdown=5,
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise CommandError(
                Exit.REFUSED, f"{host}:{port} is taken by another program.", f"Take another port: --port {port + 1}"
            ) from None
        raise CommandError(Exit.REFUSED, f"Cannot listen on {host}:{port}: {error.strerror or error}.", "Give --host and --port.") from None
    return listening


@contextlib.contextmanager
def _stopped_by_signals(servers: Sequence[_Server]) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for server in servers:
            server.stop()

    taken = [signal.SIGINT, signal.SIGTERM]
    for number in taken:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
