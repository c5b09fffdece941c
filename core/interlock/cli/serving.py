"""Serves one backend until it is told to stop, found by other commands meanwhile. `dev` and `serve` both end here."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interlock.cli.control import PREFIX, Control
from interlock.cli.running import RunningServer
from interlock.errors import StorageUnavailable
from interlock.server.serve import serve

if TYPE_CHECKING:
    from interlock.backend import Backend


async def serve_backend(
    backend: Backend,
    *,
    host: str,
    port: int,
    data_directory: Path | None,
    started: Callable[[str], None],
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Open the backend and answer until a signal comes. `started` is given the URL; from then on `beside` runs along, and ends with it."""
    stop = asyncio.Event()
    fatal: list[BaseException] = []

    def end(error: BaseException) -> None:
        fatal.append(error)
        stop.set()

    backend.on_fatal = end
    with ExitStack() as stack:
        along: list[asyncio.Task[None]] = []

        def ready(url: str) -> None:
            stack.enter_context(RunningServer(url, backend.admin_key, os.getpid()).announced(data_directory))
            started(url)
            if beside is not None:
                along.append(asyncio.get_running_loop().create_task(beside()))

        try:
            await serve(backend.asgi(mounts={PREFIX: Control(backend)}), host=host, port=port, ready=ready, stop=stop)
        finally:
            for task in along:
                task.cancel()
            await asyncio.gather(*along, return_exceptions=True)
    if fatal:
        raise StorageUnavailable(
            f"It is not known whether the last writes are on disk: {fatal[0]}.", "Start again: what is there is read anew."
        )
