"""What all benchmarks share: many callers for a while, and what came of it."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One line of the table. Latencies are what a caller waited for; CPU is of the whole process."""

    name: str
    per_second: float
    median_ms: float
    p99_ms: float
    cpu_us: float

    @staticmethod
    def head() -> str:
        return f"{'benchmark':<44} {'per second':>11} {'median ms':>10} {'p99 ms':>8} {'CPU µs':>8}"

    def __str__(self) -> str:
        return f"{self.name:<44} {self.per_second:>11,.0f} {self.median_ms:>10.2f} {self.p99_ms:>8.2f} {self.cpu_us:>8.1f}"


async def load(name: str, call: Callable[[int], Awaitable[object]], *, callers: int, seconds: float) -> Result:
    """`callers` at once, each calling again as soon as it has its answer. `call` is given the number of the call."""
    waited: list[float] = []
    numbers = iter(range(1 << 62))

    async def caller(until: float) -> None:
        while time.perf_counter() < until:
            began = time.perf_counter()
            await call(next(numbers))
            waited.append(time.perf_counter() - began)

    await asyncio.gather(*(caller(time.perf_counter() + seconds / 10) for _ in range(callers)))
    waited.clear()
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller(began + seconds) for _ in range(callers)))
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    slowest = statistics.quantiles(waited, n=100)[98] if len(waited) > 1 else waited[0]
    return Result(name, len(waited) / took, statistics.median(waited) * 1e3, slowest * 1e3, cpu / len(waited) * 1e6)
