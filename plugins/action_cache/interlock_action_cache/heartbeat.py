"""Signs of life of a run that others wait for.

Whoever waits cannot see that the process of the run has ended. So a flight holds for `ALIVE` seconds at a time, and its run prolongs
it every `EVERY` seconds, up to its whole lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from interlock import ActionCtx

ALIVE = 10.0  # seconds after its last sign of life until a run is taken to be over
EVERY = 3.0  # seconds between two signs of life


@asynccontextmanager
async def heartbeat(ctx: ActionCtx, renew: Any, flight: dict[str, Any], lease: float) -> AsyncIterator[None]:
    """While the block runs, call `renew` for the flight (name, key, token), until it no longer holds or `lease` seconds are over."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    beats = asyncio.ensure_future(_beat(ctx, renew, flight, ctx.now() + lease * 1000, ended))
    try:
        yield
    finally:
        ended.cancel()
        await beats  # a renewal that has begun, if there is one


async def _beat(ctx: ActionCtx, renew: Any, flight: dict[str, Any], until: float, ended: asyncio.Future[None]) -> None:
    with suppress(Exception):  # then the flight is over early, and another may begin
        while True:
            await asyncio.wait([ended], timeout=EVERY)
            left = (until - ctx.now()) / 1000
            if ended.done() or left <= 0 or not await ctx.run_mutation(renew, lease=min(left, ALIVE), **flight):
                return
