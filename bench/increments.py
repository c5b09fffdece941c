"""Durable increments, embedded: on one hot document and spread over a thousand, by one caller and by 64."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.measure import Result, load
from interlock import Backend

APP = Path(__file__).parent / "counting"


async def measure(seconds: float) -> list[Result]:
    """Every answer waits until its commit is on disk, in SQLite with synchronous=FULL."""
    with tempfile.TemporaryDirectory() as data:
        async with Backend(APP, data=data) as backend:

            async def hot(_: int) -> None:
                await backend.mutation("counters:add", name="hot")

            async def spread(number: int) -> None:
                await backend.mutation("counters:add", name=f"counter {number % 1000}")

            return [
                await load("increment, one document, 1 caller", hot, callers=1, seconds=seconds),
                await load("increment, one document, 64 callers", hot, callers=64, seconds=seconds),
                await load("increment, 1,000 documents, 64 callers", spread, callers=64, seconds=seconds),
            ]
