"""A component that uses up what it can get. It goes past the SDK, straight to its worker's channel, where that is worse."""

import asyncio
import re
import sys
from itertools import count, islice
from typing import Any

from interlock import ActionCtx, Component, MutationCtx, QueryCtx

hostile = Component("hostile")
hoard: list[bytearray] = []


def worker() -> Any:
    """The object that runs calls here."""
    stdout: Any = sys.stdout
    return stdout._worker


@hostile.query
async def nothing(ctx: QueryCtx, n: int) -> None:
    """An honest call. With another number each time nobody has answered it before."""


@hostile.action
async def cpu(ctx: ActionCtx) -> None:
    while True:
        pass


@hostile.action
async def talk(ctx: ActionCtx) -> None:
    """It burns as much, and never for long without a word."""
    for n in count():
        for _ in range(200_000):  # some milliseconds
            pass
        await ctx.run_query(nothing, n=n)


@hostile.action
async def regex(ctx: ActionCtx) -> None:
    """It never comes back to Python, where it could be interrupted."""
    re.match(r"(a+)+$", "a" * 64 + "b")


@hostile.action
async def memory(ctx: ActionCtx) -> None:
    while True:
        try:
            hoard.append(bytearray(1 << 20))
        except MemoryError:
            hoard.clear()


@hostile.action
async def logs(ctx: ActionCtx) -> None:
    """As many lines as the channel takes, past the limit that the SDK keeps."""
    found, running = worker(), worker().running()
    while True:
        found.send(["log", running.number, "INFO", "x" * 1_000])


@hostile.action
async def frames(ctx: ActionCtx) -> None:
    """Operations without end, and never so many at once that the worker would be ended for it."""
    numbers = count()
    while True:
        await asyncio.gather(*[ctx.run_query(nothing, n=n) for n in islice(numbers, 500)])


@hostile.mutation
async def jobs(ctx: MutationCtx) -> None:
    """Each plans two more."""
    await ctx.scheduler.run_after(0, jobs)
    await ctx.scheduler.run_after(0, jobs)
