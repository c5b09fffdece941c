"""One life of the server: a backend with its ASGI application, from a start to an end that is seldom graceful."""

from __future__ import annotations

import asyncio
import contextvars
import os
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from interlock.backend import Backend
from interlock.engine import EngineSettings
from interlock.functions.meter import CpuMeter
from interlock.sdk.app import App
from interlock.sdk.component import Component
from interlock.server import ServerApp
from interlock.testing.simulation.disk import Disk
from interlock.testing.simulation.loop import SimulatedClock, SimulatedLoop, process
from interlock.testing.simulation.network import Connection

Source = Component | App | str | os.PathLike[str]
_ROUNDS_MAX = 10_000


class Server:
    """A process. Everything that runs in it is known, so it can be ended between any two steps of the loop."""

    def __init__(self, loop: SimulatedLoop, clock: SimulatedClock, disk: Disk, chance: random.Random, *, is_cold: bool) -> None:
        """`is_cold`: no table lives in memory."""
        self._loop, self._clock, self._disk, self._chance, self._is_cold = loop, clock, disk, chance, is_cold
        self._tasks: list[asyncio.Task[Any]] = []
        self._connections: list[Connection] = []
        self._context = contextvars.copy_context()
        self._context.run(process.set, self)
        self.backend: Backend | None = None
        self._asgi: ServerApp | None = None
        self.is_up = self.is_dead = False

    def run(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something in this process."""
        return self._loop.create_task(work, context=self._context)

    async def start(self, source: Source, env: Mapping[str, str], on_fatal: Callable[[BaseException], None]) -> None:
        """Open the backend. Raises what stands in its way."""
        self.backend = Backend(
            source,
            storage=self._disk.mount(),
            clock=self._clock,
            seed=self._chance.getrandbits(64),
            env=env,
            isolation="inline",
            settings=EngineSettings(memory_bytes=-1) if self._is_cold else None,
            # No CPU time passes here, and no thread watches it.
            meter=CpuMeter(seconds=self._loop.time, cpu_seconds=lambda: 0.0, tick_seconds=None),
        )
        self.backend.on_fatal = on_fatal
        await self.backend.open()
        if self._is_cold:
            for table in self.backend.engine.catalog.by_number.values():
                table.memory = None
        self._asgi = self.backend.asgi()
        await self._asgi.startup()
        self.is_up = True

    def connect(self, connection: Connection) -> None:
        """A client has come."""
        assert self._asgi is not None
        self._connections.append(connection)
        self.run(self._asgi(connection.scope, connection.receive, connection.accept))

    async def stop(self) -> None:
        """End as a server does that is told to."""
        self.is_up = False
        assert self._asgi is not None and self.backend is not None
        await self._asgi.shutdown()
        await self.backend.close()

    def die(self, outside: contextvars.Context) -> None:
        """Now, in the middle of whatever it does: nothing more of it reaches the disk or the network."""
        self.is_up, self.is_dead = False, True
        for connection in self._connections:
            connection.cut()
        for task in self._tasks:
            task.cancel()
        self._loop.create_task(self._bury(), context=outside)

    async def _bury(self) -> None:
        """Whatever its tasks do while they end, waiting again perhaps, nobody sees it."""
        for _ in range(_ROUNDS_MAX):
            self._tasks = [task for task in self._tasks if not task.done()]
            if not self._tasks:
                break
            await asyncio.sleep(0)
            for task in self._tasks:
                task.cancel()
        else:
            raise AssertionError(f"{len(self._tasks)} tasks of a server refuse to end, of them {self._tasks[0]}")

    def adopt(self, task: asyncio.Task[Any]) -> None:
        # Not for longer than they run: an error that nobody asks for is told when its task is let go of.
        if len(self._tasks) > 16:
            self._tasks = [known for known in self._tasks if not known.done()]
        self._tasks.append(task)
