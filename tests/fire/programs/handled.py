"""Serves an app like `interlock serve`, with a handle: what its input says is done to it, a line each, and answered with a line.

    reload              take over the app's code
    house               let go of history, kept answers and ended jobs older than a few seconds
    clock SECONDS       the time of day is so far from the true one
    readonly, writable  the database, to SQLite
    limit BYTES         no file may become longer: to the system, so a write fails in the middle
    alive               how many functions, classes and modules there are, and objects of connections: this is the answer

Arguments: the app, and --data DIRECTORY; --clock SECONDS, from the start on; --kept SECONDS, for ended jobs.
"""

import argparse
import asyncio
import gc
import resource
import sys
from collections import Counter
from pathlib import Path
from types import FunctionType, ModuleType

import typer

from interlock.backend import Backend
from interlock.cli.console import errors_reported
from interlock.cli.serving import serve_backend
from interlock.clock import SystemClock
from interlock.functions.requests import forget_requests
from interlock.scheduler import scheduler
from interlock.server.http_front import HttpFront
from interlock.server.serve import run
from interlock.server.socket_front import SocketFront
from interlock.server.sync_session import SyncSession
from interlock.storage.sqlite import SqliteStorage

KEPT_S = 5.0


class ShiftedClock(SystemClock):
    """Waiting goes on as ever when the time of day is set: as on a machine."""

    shift_ms = 0.0

    def now_ms(self) -> float:
        return super().now_ms() + self.shift_ms


def alive() -> str:
    gc.collect()
    kinds = Counter(map(type, gc.get_objects()))
    code = kinds[FunctionType] + kinds[ModuleType] + sum(count for kind, count in kinds.items() if issubclass(kind, type))
    return f"{code} {kinds[HttpFront] + kinds[SocketFront] + kinds[SyncSession]}"


async def obey(backend: Backend, clock: ShiftedClock, command: str, *given: str) -> str:
    storage = backend.engine.storage
    assert isinstance(storage, SqliteStorage)
    match command:
        case "reload":
            await backend.reload()
        case "house":
            await backend.engine.forget_history()
            await forget_requests(backend.engine, clock.now_ms() - KEPT_S * 1000)
        case "alive":
            return alive()
        case "clock":
            clock.shift_ms = float(given[0]) * 1000
        case "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(given[0]), resource.RLIM_INFINITY))
        case "readonly" | "writable":
            text = f"PRAGMA query_only = {'ON' if command == 'readonly' else 'OFF'}"
            await storage._writer.submit(lambda: storage._connected().execute(text))
        case _:
            raise ValueError(f"nobody knows how to {command}")
    return "done"


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("app", type=Path)
    parser.add_argument("--data")
    parser.add_argument("--clock", type=float, default=0.0)
    parser.add_argument("--kept", type=float, default=KEPT_S)
    given = parser.parse_args()
    clock = ShiftedClock()
    clock.shift_ms = given.clock * 1000
    scheduler._KEPT_MS, scheduler._CLEANING_PAUSE_MS = given.kept * 1000, 1000.0
    backend = Backend(given.app, data=given.data, clock=clock)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def take_commands() -> None:
        async for line in reader:
            try:
                print(">", await obey(backend, clock, *line.decode().split()), flush=True)
            except Exception as error:
                print(f"> failed: {error!r}", flush=True)

    def started(url: str) -> None:
        print(f"Serving {given.app.name} at {url}", flush=True)

    await serve_backend(backend, host="127.0.0.1", port=0, data_directory=Path(given.data), started=started, beside=take_commands)


try:
    with errors_reported():
        run(main())
except typer.Exit as end:
    sys.exit(end.exit_code)
