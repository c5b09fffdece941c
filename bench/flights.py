"""`python -m bench.flights migrate|attach inline|sandbox FOLDER`: work on 336,776 flights, durable. Prints figures as JSON.

FOLDER keeps the filled table between the runs. `FLIGHTS=20000` makes it smaller.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from interlock import Backend

HERE = Path(__file__).parent
FLIGHTS = int(os.environ.get("FLIGHTS", "336776"))
WRITERS, PERIOD = 4, 0.05  # so many, who each report a flight every 50 ms: 80 reports a second, whatever the rest does
MIGRATED_SECONDS = 15.0  # with triggers, for so long: its rate is the same from begin to end
Isolation = Literal["inline", "sandbox"]


def flights(count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Flights like those of the data set that the example loads: the same for everybody."""
    chance = random.Random(seed)
    for n in range(count):
        yield {
            "month": n * 12 // count + 1,
            "day": n * 365 // count % 28 + 1,
            "carrier": chance.choice(("UA", "AA", "B6", "DL", "EV", "MQ")),
            "flight": chance.randrange(1, 6_000),
            "origin": chance.choice(("EWR", "JFK", "LGA")),
            "miles": chance.randrange(80, 4_983),
            "minutes": chance.randrange(20, 695),
            "delay": int(chance.gauss(7, 45)),
            "mph": 0.0,
        }


async def filled(folder: Path) -> Path:
    """A copy of the data of an app that has the flights."""
    data = folder / "filled"
    if not data.exists():
        async with Backend(HERE / "flights_app", data=data, isolation="inline") as backend:
            rows = list(flights(FLIGHTS))
            for first in range(0, FLIGHTS, 4_000):
                await backend.mutation("flights:load", flights=rows[first : first + 4_000])
    return Path(shutil.copytree(data, folder / "copy"))


async def until(backend: Backend, field: str, state: str, seconds: float = 600.0) -> dict[str, Any]:
    """The progress when it has come to a state, or after so many seconds."""
    end = time.perf_counter() + seconds
    while True:
        progress: dict[str, Any] = await backend.query("flights:progress")
        assert progress["error"] is None, progress
        if progress[field] == state or time.perf_counter() > end:
            return progress
        await asyncio.sleep(0.05)


async def run_migration(backend: Backend, seconds: float = 600.0) -> tuple[float, int]:
    """Rows a second, and how many were done; stopped after so many seconds."""
    begun = time.perf_counter()
    await backend.mutation("flights:migrate")
    progress = await until(backend, "state", "success", seconds)
    return progress["processed"] / (time.perf_counter() - begun), progress["processed"]


async def migrate(isolation: Isolation, data: Path) -> dict[str, float]:
    """A function of the app for each row."""
    async with Backend(HERE / "flights_app", data=data, isolation=isolation) as backend:
        cpu = time.process_time()
        rows, done = await run_migration(backend)
        assert done == FLIGHTS
        cpu = time.process_time() - cpu
        for row in await backend.query("flights:sample"):
            assert row["mph"] == row["miles"] / row["minutes"] * 60
    return {"rows/s": rows, "cpu_us": cpu / FLIGHTS * 1e6}


async def attach(isolation: Isolation, data: Path) -> dict[str, float]:
    """Attach an aggregate while others report flights, then migrate what it follows."""
    async with Backend(HERE / "delays_app", data=data, isolation=isolation) as backend:
        reports = 0
        is_attached = asyncio.Event()
        sums = [0]

        async def writer(seed: int) -> None:
            nonlocal reports
            due = time.perf_counter()
            for flight in flights(10**6, seed):
                if is_attached.is_set():
                    return
                await backend.mutation("flights:report", flight=flight)
                reports += 1
                sums[0] += flight["delay"]
                due += PERIOD
                await asyncio.sleep(max(0.0, due - time.perf_counter()))

        begun = time.perf_counter()
        await backend.mutation("flights:attach")
        async with asyncio.TaskGroup() as writers:
            for seed in range(1, WRITERS + 1):
                writers.create_task(writer(seed))
            await until(backend, "attach", "done")
            took = time.perf_counter() - begun
            is_attached.set()
        count, total = FLIGHTS + reports, sums[0] + sum(flight["delay"] for flight in flights(FLIGHTS))
        assert await backend.query("flights:totals") == [count, total]
        migrated, done = await run_migration(backend, MIGRATED_SECONDS)
        counted, summed = await backend.query("flights:totals")
        assert counted == count
        assert total + done <= summed <= total + count  # a batch may have followed
    return {"attach, s": took, "reports/s": reports / took, "with triggers, rows/s": migrated}


async def main(kind: str, isolation: Isolation, folder: Path) -> None:
    data = await filled(folder)
    gc.freeze()
    gc.set_threshold(50_000, 50, 1_000)  # as `interlock serve` sets it
    try:
        print(json.dumps(await migrate(isolation, data) if kind == "migrate" else await attach(isolation, data)))
    finally:
        shutil.rmtree(data)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], "sandbox" if sys.argv[2] == "sandbox" else "inline", Path(sys.argv[3])))
