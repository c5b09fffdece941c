"""A loop that has always something to do, as a server's under more load than it can bear."""

from __future__ import annotations

import asyncio
import time

_SECONDS = 20.0


async def never_rests_until(done: asyncio.Future[object]) -> None:
    """It lets go of the interpreter between two turns, for a moment each time. Fails if that does not end."""
    until = time.perf_counter() + _SECONDS
    while not done.done():
        turn = time.perf_counter() + 0.0005
        while time.perf_counter() < turn:
            pass
        await asyncio.sleep(0)
        assert turn < until, "it waits for ever"
