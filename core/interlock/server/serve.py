"""Running the server: a port, the web server on it, and an orderly end.

uvicorn does the work, with httptools, uvloop and its sans-I/O WebSockets. Kept in hand here: the port is taken before any data
is opened, so a second start fails with one clear sentence; and at the end nothing that was taken on stays without its answer.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import uvicorn

from interlock.errors import MountError
from interlock.limits import LIMITS
from interlock.server.asgi import GRACE_S, ServerApp
from interlock.server.http_front import HttpFront
from interlock.server.socket_front import SocketFront

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PING_EVERY_S = 30.0
_OPEN_FILES = 65_536
_SILENT_S = 120.0
"""A client that answers no ping for so long is gone."""


async def serve(
    app: ServerApp,
    *,
    host: str = "127.0.0.1",
    port: int = 3210,
    ready: Callable[[str], None] | None = None,
    stop: asyncio.Event | None = None,
    grace_s: float = GRACE_S,
) -> None:
    """Serve until SIGINT, SIGTERM or `stop`. `ready` is given the URL once requests are taken; port 0 takes a free one.

    Raises MountError when the address cannot be had, and whatever stands in the way of opening the backend.
    """
    listener = bind(host, port)
    try:
        await app.startup()
        try:
            await _Server(app, _config(app, grace_s), ready, stop, grace_s).serve(sockets=[listener])
        finally:
            await app.shutdown()
    finally:
        listener.close()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the fastest loop there is, with collector and file limit set for a server.

    The collector is set back afterwards: who calls a command from a program of its own, a test say, goes on as before.
    """
    _allow_sockets()
    with _rare_collections():
        if sys.platform == "win32":
            return asyncio.run(work)
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """What is loaded by now stays; and documents are bytes, in which the collector has nothing to find.

    With its own thresholds it took 15 to 20 % of the CPU under load (bench: naive counter, 64 callers).
    """
    before, is_frozen = gc.get_threshold(), gc.get_freeze_count() > 0
    gc.freeze()
    gc.set_threshold(50_000, 50, 1_000)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        if not is_frozen:
            gc.unfreeze()


def _allow_sockets() -> None:
    """A socket is an open file, and many systems allow 1,024 of them to who does not ask for more."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def bind(host: str, port: int) -> socket.socket:
    """Take the address. Raises MountError."""
    where = f"{host}:{port}"
    listener: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, protocol)
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.setblocking(False)
    except OSError as error:
        if listener is not None:
            listener.close()
        if error.errno == errno.EADDRINUSE:
            raise MountError(where, "another program listens on this port.", f"Stop it, or take another port: --port {port + 1}") from None
        if error.errno in (errno.EACCES, errno.EPERM):
            raise MountError(where, "this user may not listen on this port.", "Take one above 1024: --port 3210") from None
        raise MountError(where, f"cannot listen here: {error.strerror or error}.", "Check --host and --port.") from None
    return listener


def _config(app: ServerApp, grace_s: float) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        interface="asgi3",
        lifespan="off",  # `serve` opens and closes the backend itself
        http=HttpFront,
        ws=SocketFront,
        ws_max_size=int(LIMITS["socket_message"].value),
        ws_ping_interval=_PING_EVERY_S,
        ws_ping_timeout=_SILENT_S - _PING_EVERY_S,
        ws_per_message_deflate=False,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        log_level="warning",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, round(grace_s)),
    )


class _Server(uvicorn.Server):
    """uvicorn with an end in order: first no new connections, then every answer, then the close."""

    def __init__(
        self, app: ServerApp, config: uvicorn.Config, ready: Callable[[str], None] | None, stop: asyncio.Event | None, grace_s: float
    ) -> None:
        super().__init__(config)
        self._app, self._ready, self._stop, self._grace_s = app, ready, stop, grace_s
        self._is_forced = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._ready is not None and sockets:
            host, port = sockets[0].getsockname()[:2]
            self._ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or (self._stop is not None and self._stop.is_set())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        finishing = asyncio.ensure_future(self._app.finish(self._grace_s))
        forced = asyncio.ensure_future(self._is_forced.wait())
        await asyncio.wait([finishing, forced], return_when=asyncio.FIRST_COMPLETED)
        for task in (finishing, forced):
            task.cancel()
        await asyncio.gather(finishing, forced, return_exceptions=True)
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's own raises the signal again at the end, which would kill the process before its data is closed."""
        if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
            yield
            return
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
                signal.signal(number, before[number])

    def _on_signal(self) -> None:
        if self.should_exit:
            self.force_exit = True
            self._is_forced.set()
        self.should_exit = True
