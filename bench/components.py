"""`python -m bench.components KIND inline|sandbox`: what the components do in an embedded backend. Prints figures as JSON."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Literal

from interlock import Backend

APP = Path(__file__).parent / "components_app"
ROUND, CALLERS, SECONDS = 50, 64, 1.0
ITEMS, SMALL, LARGE, SCORES = 10_000, 1_000, 1_000_000, 300_000
Isolation = Literal["inline", "sandbox"]


async def rate(operation: Callable[[], Awaitable[object]], of: int = 1, callers: int = 1) -> float:
    """How often a second it is done, `of` at a time, by so many at once."""
    await operation()
    begun = time.perf_counter()
    end = begun + SECONDS

    async def caller() -> int:
        done = 0
        while time.perf_counter() < end:
            await operation()
            done += of
        return done

    done = await asyncio.gather(*[caller() for _ in range(callers)])
    return sum(done) / (time.perf_counter() - begun)


async def fill(backend: Backend, items: int, *, scored: bool = False) -> None:
    for first in range(0, items, 2_000):
        await backend.mutation("items:fill", first=first, count=min(2_000, items - first), of=items, scored=scored)


async def operations(backend: Backend, items: int, times: int = ROUND, callers: int = 1) -> dict[str, float]:
    """Each operation of an aggregate of so many items, so many times in a mutation, inserts last."""
    await fill(backend, items)
    return {
        "at/s": await rate(lambda: backend.mutation("items:at", times=times, of=items), times, callers),
        "rank/s": await rate(lambda: backend.mutation("items:rank", times=times), times, callers),
        "count/s": await rate(lambda: backend.mutation("items:count", times=times), times, callers),
        "insert/s": await rate(lambda: backend.mutation("items:insert", times=times), times, callers),
    }


async def aggregate(isolation: Isolation) -> dict[str, float]:
    """10,000 items."""
    async with in_memory(isolation) as backend:
        return await operations(backend, ITEMS)


async def aggregate_of_many(isolation: Isolation) -> dict[str, float]:
    """The same, by 64 callers with one operation in each mutation."""
    async with in_memory(isolation) as backend:
        return await operations(backend, ITEMS, 1, CALLERS)


async def growth(isolation: Isolation) -> dict[str, float]:
    """How much longer each operation takes with 1,000,000 items than with 1,000."""
    async with in_memory(isolation) as backend:
        small = await operations(backend, SMALL)
    async with in_memory(isolation) as backend:
        large = await operations(backend, LARGE)
    return {figure: small[figure] / large[figure] for figure in small}


async def through_a_trigger(isolation: Isolation) -> dict[str, float]:
    """64 writers who insert documents with random keys, durable: bare, and into a table that an aggregate of 300,000 items follows."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as data:
        async with Backend(APP, data=data, isolation=isolation) as backend:
            await fill(backend, SCORES, scored=True)
            bare = await rate(lambda: backend.mutation("items:add_bare"), callers=CALLERS)
            scored = await rate(lambda: backend.mutation("items:add_scored"), callers=CALLERS)
            documents, counted, attempts = await backend.mutation("items:totals")
            assert counted == SCORES + documents
    return {"bare/s": bare, "scored/s": scored, "run again": attempts / documents - 1}


async def rate_limiter(isolation: Isolation) -> dict[str, float]:
    """64 callers of one limit: in memory, and durable."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        for name, data in (("memory/s", ":memory:"), ("durable/s", folder)):
            async with Backend(APP, data=data, isolation=isolation) as backend:
                figures[name] = await rate(partial(backend.mutation, "limits:use"), callers=CALLERS)
    return figures


async def action_cache(isolation: Isolation) -> dict[str, float]:
    """One action that fetches what is there."""
    async with in_memory(isolation) as backend:
        return {"hits/s": await rate(lambda: backend.action("cache:fetch", times=1_000), 1_000)}


def in_memory(isolation: Isolation) -> Backend:
    return Backend(APP, data=":memory:", isolation=isolation)


KINDS = {
    "aggregate": aggregate,
    "aggregate_of_many": aggregate_of_many,
    "growth": growth,
    "through_a_trigger": through_a_trigger,
    "rate_limiter": rate_limiter,
    "action_cache": action_cache,
}


async def main(kind: str, isolation: Isolation) -> None:
    gc.set_threshold(50_000, 50, 1_000)  # as `interlock serve` sets it
    print(json.dumps(await KINDS[kind](isolation)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], "sandbox" if "sandbox" in sys.argv else "inline"))
