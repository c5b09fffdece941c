"""Whatever the process was doing when it ended: each document is passed once, and an aggregate over the table stays right."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NotRequired

import pytest

from interlock import Component, MutationCtx, Schema, Table, components
from interlock.backend import Backend
from interlock.storage.memory import MemoryStorage
from interlock.testing import TestBackend
from interlock_aggregate import TableAggregate
from interlock_migrations import Migrations

ROWS = 14
board = TableAggregate(components.aggregate, "scores", sort_key=lambda d: d["points"], sum_value=lambda d: d["points"])


def shop() -> tuple[Component, Migrations, Any]:
    """A table that an aggregate follows, and a migration that must not be done twice."""
    shop = Component("shop", schema=Schema(scores=Table({"points": int, "passed": NotRequired[int]})))
    shop.use("aggregate")
    shop.use("migrations")
    shop.trigger("scores")(board.on_change)
    migrations = Migrations(components.migrations, decorate=shop.mutation)

    @migrations.define("scores", batch_size=3)
    async def double(ctx: MutationCtx, doc: dict[str, Any]) -> dict[str, Any]:
        return {"points": doc["points"] * 2, "passed": doc.get("passed", 0) + 1}

    return shop, migrations, double


class Machine(TestBackend):
    """A backend whose disk outlives it: `disk` may be that of another one which has crashed."""

    def __init__(self, component: Component, disk: MemoryStorage | None = None, start: float | None = None) -> None:
        super().__init__(component, **({} if start is None else {"start": start}))
        self.disk = disk if disk is not None else MemoryStorage()
        self.disk._clock_ns = lambda: int(self.now() * 1e6)
        # Another seed for each life: the same one would draw ids again that are on the disk already.
        own = random.Random(f"{self.seed} {self.disk._newest}").getrandbits(32)
        self._backend = Backend(component, storage=self.disk, dev=True, clock=self.clock, seed=own, isolation="inline")

    def crash(self) -> tuple[MemoryStorage, float]:
        """What is on the disk at this moment, and the time."""
        disk = MemoryStorage()
        for name, value in vars(self.disk).items():
            if name != "_clock_ns":
                setattr(disk, name, copy.deepcopy(value))
        return disk, self.now()


# In this process alone: where the functions run in workers, the turns of this loop are not their awaits.
@pytest.mark.parametrize("isolation", ["inline"], indirect=True)
async def test_after_a_crash_at_every_await_each_document_was_passed_once_and_the_aggregate_is_right() -> None:
    component, migrations, double = shop()
    crashes: dict[int, tuple[MemoryStorage, float]] = {}

    async def watch(machine: Machine) -> None:
        while True:
            if machine.disk._newest not in crashes:
                crashes[machine.disk._newest] = machine.crash()
            await asyncio.sleep(0)

    async def begin(ctx: MutationCtx) -> None:
        await migrations.run_one(ctx, double)

    async with Machine(component) as machine:
        await machine.run(_insert(range(ROWS)))
        watching = asyncio.get_running_loop().create_task(watch(machine))
        await machine.run(begin)
        await machine.finish_scheduled()
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    assert len(crashes) >= 5
    for disk, now in crashes.values():
        component, migrations, double = shop()
        async with Machine(component, disk, now) as again:
            await again.run(_insert([100]))  # others write while it goes on
            await again.finish_scheduled()
            await again.run(begin)  # of one that is in progress or done nothing: only the first crash came before the start
            await again.finish_scheduled()
            rows = await again.run(lambda ctx: ctx.db.query("scores").collect())
            by_points = {row["points"]: row.get("passed", 0) for row in rows}
            assert len(rows) == len(by_points) == ROWS + 1
            assert {points: passed for points, passed in by_points.items() if points not in (100, 200)} == {n * 2: 1 for n in range(ROWS)}
            assert await again.run(_listed) == sorted(by_points)
            assert await again.run(board.sum) == sum(by_points)


def _insert(points: Any) -> Any:
    async def run(ctx: MutationCtx) -> None:
        for number in points:
            await ctx.db.insert("scores", {"points": number})

    return run


async def _listed(ctx: MutationCtx) -> list[Any]:
    return [item.key async for item in board.iter(ctx)]


@pytest.mark.sealed_elsewhere
@pytest.mark.parametrize("isolation", ["sandbox"], indirect=True)
def test_a_process_that_is_killed_in_the_middle_goes_on_there_sandboxed_as_by_default(tmp_path: Path) -> None:
    """The real thing: `kill -9`, a file, a clock, workers, others who write. The last process runs to the end and says what is there."""
    chance = random.Random(3)
    command = [sys.executable, str(Path(__file__).with_name("killed.py")), str(tmp_path / "data")]
    kills = 0
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        time.sleep(chance.uniform(0.05, 0.5))
        if process.poll() is None:
            kills += 1
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    told = subprocess.run([*command, "end"], capture_output=True, text=True, timeout=120, check=True).stdout.splitlines()[-1]
    found = json.loads(told)
    assert kills == 3
    assert (found["state"], found["error"], found["processed"]) == ("success", None, 800)
    assert found["passed"] == {"1": 800}
    assert found["told"] == found["table"]
