"""`python -m bench.workflows inline|sandbox`: workflows of three steps in an embedded backend, on a file. Prints figures as JSON.

Callers begin a run and wait for its result with a live query, one run after the other.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

from interlock import Backend

APP = Path(__file__).parent / "workflow_app"
CALLERS, ONE, EACH, AT_ONCE = 8, 300, 150, 10_000


async def run(backend: Backend, n: int) -> float:
    """One run from its start to its result, in seconds."""
    begun = time.perf_counter()
    id = await backend.mutation("three:start", n=n)
    async for result in backend.subscribe("three:result", id=id):
        if result is not None:
            assert result == n + 3
            break
    return time.perf_counter() - begun


async def several(backend: Backend, count: int) -> list[float]:
    return [await run(backend, n) for n in range(count)]


async def at_once(backend: Backend) -> float:
    """Seconds from the first start to the last step of all."""
    before = await backend.query("three:done")
    begun = time.perf_counter()
    for _ in range(10):  # as many callers as a socket may have mutations in its queue
        await asyncio.gather(*[backend.mutation("three:start", n=0) for _ in range(AT_ONCE // 10)])
    while True:
        if await backend.query("three:done") == before + AT_ONCE * 3:
            return time.perf_counter() - begun
        await asyncio.sleep(0.2)


async def main(isolation: Literal["inline", "sandbox"]) -> None:
    with tempfile.TemporaryDirectory() as data:
        async with Backend(APP, data=data, isolation=isolation) as backend:
            await several(backend, 20)
            gc.freeze()
            gc.set_threshold(50_000, 50, 1_000)  # as `interlock serve` sets it
            p50_ms = statistics.median(await several(backend, ONE)) * 1000
            begun = time.perf_counter()
            await asyncio.gather(*[several(backend, EACH) for _ in range(CALLERS)])
            per_second = CALLERS * EACH / (time.perf_counter() - begun)
            cpu = time.process_time()
            drained = await at_once(backend)
            cpu_us = (time.process_time() - cpu) / AT_ONCE * 1e6
    print(json.dumps({"per_second": per_second, "p50_ms": p50_ms, "drained/s": AT_ONCE / drained, "cpu_us": cpu_us}))


if __name__ == "__main__":
    asyncio.run(main("sandbox" if "sandbox" in sys.argv else "inline"))
