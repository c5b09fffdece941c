"""Queries, embedded: one document by index, and the newest fifty, from the cache and past it."""

from __future__ import annotations

from pathlib import Path

from bench.measure import Result, load
from interlock import Backend

APP = Path(__file__).parent / "counting"
ROWS = 2_000


async def measure(seconds: float) -> list[Result]:
    """A query with arguments that were never asked for runs its function; one that was asked for before is answered from the cache."""
    async with Backend(APP, data=":memory:") as backend:
        for number in range(ROWS):
            await backend.mutation("counters:add", name=f"counter {number}")

        async def cached(number: int) -> None:
            await backend.query("counters:of", name=f"counter {number % 100}")

        async def fresh(number: int) -> None:
            await backend.query("counters:of", name=f"counter {number % ROWS}", salt=number)

        async def newest(number: int) -> None:
            await backend.query("counters:newest", count=50, salt=number)

        return [
            await load("query of one document, cached", cached, callers=16, seconds=seconds),
            await load("query of one document, run", fresh, callers=16, seconds=seconds),
            await load("query of the newest 50, run", newest, callers=16, seconds=seconds),
        ]
