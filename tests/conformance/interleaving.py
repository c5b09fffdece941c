"""Two transactions at once, in an order that the test chooses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any


class Pause:
    """A place in a function where its first run waits, while something else is done. Counts the runs."""

    def __init__(self) -> None:
        self.runs = 0
        self._reached, self._go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> None:
        self.runs += 1
        if self.runs == 1:
            self._reached.set()
            await self._go_on.wait()

    async def meanwhile(self, first: Awaitable[Any], then: Awaitable[Any]) -> Any:
        """Run `first` up to the pause, `then` to its end, and `first` to its end. Gives the result of `first`."""
        running = asyncio.ensure_future(first)
        await self.wait_reached()
        await then
        self.end()
        return await running

    async def wait_reached(self) -> None:
        await self._reached.wait()

    def end(self) -> None:
        """Whoever waits here goes on."""
        self._go_on.set()
