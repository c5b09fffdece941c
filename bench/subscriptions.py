"""Live queries, embedded: how long a change takes to all of its subscribers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bench.measure import Result, load
from interlock import Backend

APP = Path(__file__).parent / "counting"
SUBSCRIBERS = 1_000


class Fanout:
    """Waits until every subscriber has seen a value."""

    def __init__(self) -> None:
        self._value, self._left, self._seen = 0, 0, asyncio.Event()

    def expect(self, value: int) -> None:
        self._value, self._left = value, SUBSCRIBERS
        self._seen.clear()

    def saw(self, value: int) -> None:
        if value == self._value:
            self._left -= 1
            if self._left == 0:
                self._seen.set()

    async def wait_seen(self) -> None:
        await self._seen.wait()


async def measure(seconds: float) -> list[Result]:
    """One mutation, and the wait until the last of a thousand subscribers to the same query has its new result."""
    async with Backend(APP, data=":memory:") as backend:
        fanout = Fanout()
        value = 0

        async def subscriber() -> None:
            async for count in backend.subscribe("counters:of", name="watched"):
                fanout.saw(count)

        async def change(_: int) -> None:
            nonlocal value
            value += 1
            fanout.expect(value)
            await backend.mutation("counters:add", name="watched")
            await fanout.wait_seen()

        fanout.expect(value)
        async with asyncio.TaskGroup() as group:
            watching = [group.create_task(subscriber()) for _ in range(SUBSCRIBERS)]
            await fanout.wait_seen()
            result = await load("change to 1,000 subscribers of one query", change, callers=1, seconds=seconds)
            for task in watching:
                task.cancel()
        return [result]
