"""The rooms below this one, put together in memory: an app or component that can be called."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from interlock import App, Component, QueryCtx
from interlock.engine import Engine
from interlock.functions.caller import Answer, Caller
from interlock.functions.dispatcher import Dispatcher, system_tables
from interlock.functions.meter import CpuMeter
from interlock.mounting import build_tree
from interlock.scheduler import Scheduler
from interlock.scheduler import system_tables as scheduler_tables
from interlock.storage import Storage
from interlock.storage.memory import MemoryStorage
from interlock.testing.isolation import default
from interlock.testing.virtual_clock import VirtualClock

START_MS = 1_760_000_000_000.0
SECRET = b"a secret of the tests"


class FakeClock:
    """CPU time that a function says it has used, and the meter that believes it."""

    def __init__(self) -> None:
        self.used = 0.0
        self.meter = CpuMeter(seconds=lambda: self.used, cpu_seconds=lambda: self.used, tick_seconds=None)


class Rooms:
    """One backend. `query`, `mutation` and `action` call as an admin in Python would; `client` as anybody from outside."""

    def __init__(self, engine: Engine, dispatcher: Dispatcher, clock: VirtualClock, meter: FakeClock, scheduler: Scheduler) -> None:
        self.engine, self.dispatcher, self.clock, self.meter, self.scheduler = engine, dispatcher, clock, meter, scheduler

    async def query(self, name: str, /, component_path: str = "", **args: Any) -> Any:
        return (await self.ask("query", name, args, component_path)).value

    async def mutation(self, name: str, /, component_path: str = "", **args: Any) -> Any:
        return (await self.ask("mutation", name, args, component_path)).value

    async def action(self, name: str, /, component_path: str = "", **args: Any) -> Any:
        return (await self.ask("action", name, args, component_path)).value

    async def ask(self, kind: Any, name: str, args: Mapping[str, Any], component_path: str = "", **more: Any) -> Answer:
        caller = more.pop("caller", None) or Caller(admin=True, source="test", request_id="a-request")
        return await self.dispatcher.call(kind, name, args, caller=caller, component_path=component_path, **more)

    async def client(self, kind: Any, name: str, args: Mapping[str, Any] | None = None, **more: Any) -> Answer:
        identity = more.pop("identity", None)
        caller = Caller(identity, source="client", request_id="a-request")
        return await self.dispatcher.call(kind, name, args or {}, caller=caller, **more)

    async def on_the_spot(self, handler: Callable[..., Any], component_path: str = "") -> Any:
        return (await self.dispatcher.run(handler, component_path=component_path, caller=Caller(source="test"))).value

    async def rows(self, table: str, component_path: str = "") -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = await self.on_the_spot(lambda ctx: ctx.db.query(table).collect(), component_path)
        return rows

    async def values(self, table: str, field: str = "n", component_path: str = "") -> list[Any]:
        return [row[field] for row in await self.rows(table, component_path)]


@asynccontextmanager
async def running(
    source: App | Component, *, env: Mapping[str, str] | None = None, storage: Storage | None = None, meter: CpuMeter | None = None
) -> AsyncIterator[Rooms]:
    """A backend on a storage in memory with a clock that stands still. Nothing runs jobs: what is scheduled stays pending."""
    clock = VirtualClock(START_MS)
    engine = Engine(storage or MemoryStorage(clock_ns=lambda: int(clock.now_ms() * 1e6)), clock=clock, seed=1)
    await engine.open()
    tree = build_tree(source, env=env or {}, isolation=default.isolation)
    jobs = [spec for path in tree.by_path for spec in scheduler_tables(path)]
    await engine.deploy([*tree.table_specs(), *system_tables(), *jobs], moves=dict(tree.moves))
    fake = FakeClock()
    scheduler = Scheduler(engine)
    dispatcher = Dispatcher(
        engine, tree, secret=SECRET, env=env, entropy=random.Random(7), meter=meter or fake.meter, scheduling=scheduler.jobs
    )
    try:
        yield Rooms(engine, dispatcher, clock, fake, scheduler)
    finally:
        dispatcher.close()
        await engine.close()


class Gate:
    """A query of the app around a component. The component is given its handle, and waits there until the test opens it."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.said: list[Any] = []
        self.handle = ""
        self._arrivals = asyncio.Semaphore(0)

    async def arrived(self, times: int = 1) -> None:
        """Until somebody has come to it, or has come so many times."""
        for _ in range(times):
            await asyncio.wait_for(self._arrivals.acquire(), 60)

    async def wait(self, said: Any) -> None:
        self.said.append(said)
        self._arrivals.release()
        await self.opened.wait()


@asynccontextmanager
async def gated(component: Component) -> AsyncIterator[tuple[Rooms, Gate]]:
    """`running`, with the component mounted as `app` in an app that has a gate."""
    around, gate = Component("around"), Gate()
    around.use(component, name="app", isolation="inline")

    @around.query
    async def wait(ctx: QueryCtx, said: Any = None) -> None:
        await gate.wait(said)

    @around.query
    async def handle(ctx: QueryCtx) -> str:
        return await ctx.function_handle(wait)

    async with running(around) as rooms:
        gate.handle = await rooms.query("handle")
        yield rooms, gate
