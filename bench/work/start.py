"""From nothing to the first answer, and what a server takes that has nothing to do."""

from __future__ import annotations

import time

from bench.rows import Figures, Row, Work
from bench.servers import INTERLOCK, Servers, interlock


def start(servers: Servers, seconds: float) -> Figures:
    """Start `interlock serve` on an empty directory."""
    began = time.perf_counter()
    with interlock(poll_s=0.005) as server:
        server.call("query", "counters:get", name="first")
        took = time.perf_counter() - began
        time.sleep(1)
        return {"start s": took, "memory MiB": server.memory_mib()}


WORKS = [
    Work(
        "empty start",
        {INTERLOCK: start},
        [Row("until the first answer, s", "start s", at_most=1), Row("memory when idle, MiB", "memory MiB", at_most=80, decimals=0)],
    )
]
