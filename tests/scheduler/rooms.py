"""The rooms up to the scheduler, put together on a storage that outlives them: what a process is, and that it may crash."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from interlock import App, Component, Job
from interlock.engine import Engine
from interlock.functions.caller import Caller
from interlock.functions.dispatcher import Dispatcher
from interlock.functions.dispatcher import system_tables as calling_tables
from interlock.functions.meter import CpuMeter
from interlock.mounting import build_tree
from interlock.scheduler import Ran, Scheduler, check_crons, system_tables
from interlock.storage.memory import MemoryStorage
from interlock.testing.isolation import default
from interlock.testing.virtual_clock import VirtualClock

START_MS = 1_760_000_000_000.0


class Machine:
    """What survives a process: the disk and the time."""

    def __init__(self) -> None:
        self.clock = VirtualClock(START_MS)
        self.storage = MemoryStorage(clock_ns=lambda: int(self.clock.now_ms() * 1e6))
        self.processes = 0

    @asynccontextmanager
    async def process(self, source: App | Component, *, env: Mapping[str, str] | None = None) -> AsyncIterator[Process]:
        """A process that ends in good order."""
        process = await self.start(source)
        try:
            yield process
        finally:
            await process.stop()

    async def start(self, source: App | Component) -> Process:
        self.processes += 1
        process = Process(self, seed=self.processes)
        await process.open(source)
        return process


class Process:
    """One life of a backend."""

    def __init__(self, machine: Machine, seed: int) -> None:
        self.clock = machine.clock
        self.engine = Engine(machine.storage, clock=machine.clock, seed=seed)  # one seed twice would make the same ids twice
        self.scheduler = Scheduler(self.engine)
        self.caller = Caller(admin=True, source="test")
        self.ran: list[Ran] = []
        self.scheduler.watchers.append(self.ran.append)

    async def open(self, source: App | Component) -> None:
        await self.engine.open()
        tree = build_tree(source, env={}, isolation=default.isolation)
        await self._deploy(tree)
        self.dispatcher = Dispatcher(
            self.engine, tree, secret=b"secret", scheduling=self.scheduler.jobs, entropy=random.Random(1), meter=CpuMeter(tick_seconds=None)
        )
        await self.scheduler.start(self.dispatcher, tree)

    async def deploy(self, source: App | Component) -> None:
        """Other code in the same process."""
        tree = build_tree(source, env={}, isolation=default.isolation)
        await self._deploy(tree)
        self.dispatcher.adopt(tree)
        await self.scheduler.reload(tree)

    async def _deploy(self, tree: Any) -> None:
        for path, instance in tree.by_path.items():
            check_crons(path, instance.crons)
        specs = [*tree.table_specs(), *calling_tables(), *(spec for path in tree.by_path for spec in system_tables(path))]
        await self.engine.deploy(specs, moves=dict(tree.moves))

    async def stop(self) -> None:
        await self.scheduler.stop()
        self.dispatcher.close()
        await self.engine.close()

    def crash(self) -> None:
        """The process is gone from one moment to the next: nothing of it runs on, nothing is tidied up."""
        scheduler = self.scheduler
        scheduler._is_open = False
        self.engine.committer.on_flush.clear()
        self.engine.committer.on_durable.clear()
        self.engine.committer.fail(RuntimeError("the process ended"))
        for task in scheduler._tasks:
            task.cancel()

    async def call(self, name: str, component_path: str = "", **args: Any) -> Any:
        answer = await self.dispatcher.call(None, name, args, caller=self.caller, component_path=component_path)
        return answer.value

    async def job(self, job_id: str, component_path: str = "") -> Job | None:
        return (await self.engine.query(lambda tx: self.scheduler.jobs.get(tx, component_path, job_id))).value

    async def jobs(self, state: str | None = None, component_path: str = "") -> list[Job]:
        return (await self.engine.query(lambda tx: self.scheduler.jobs.list(tx, component_path, state))).value

    async def advance(self, seconds: float) -> None:
        """Let time pass from one timer to the next, and everything that is due run."""
        until_ms = self.clock.now_ms() + seconds * 1000.0
        await self.scheduler.wait_idle()
        while (next_ms := self.clock.next_timer_ms()) is not None and next_ms <= until_ms:
            self.clock.move_to(next_ms)
            await self.scheduler.wait_idle()
        self.clock.move_to(until_ms)
