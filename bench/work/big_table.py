"""A table that does not fit into the memory it is given, against one of 10,000 documents. `BIG=10000000` makes it as large as you like."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from bench.rows import Figures, Row, Run, Work
from bench.servers import Server, Servers, interlock_with, new_data
from bench.work.http import figures, interlock_body

BIG, SMALL = int(os.environ.get("BIG", "200000")), 10_000
MEMORY_MIB, _STEP = 32, 2_000
FEW, MANY = f"{SMALL:,} documents", f"{BIG:,} documents"
COUNTS = {FEW: SMALL, MANY: BIG}


@contextmanager
def filled(count: int) -> Iterator[Server]:
    """A server with so many documents, started again after they were written."""
    with ExitStack() as stack:
        data = stack.enter_context(new_data())
        with interlock_with(memory_mib=MEMORY_MIB, data=data) as server:
            for start in range(0, count, _STEP):
                server.call("mutation", "points:fill", start=start, count=min(_STEP, count - start))
        yield stack.enter_context(interlock_with(memory_mib=MEMORY_MIB, data=data))


def read(name: str, function: str) -> Run:
    """Reads at random places. Each is a new question, so none is answered from the query cache."""
    picked = random.Random(4)

    def run(servers: Servers, seconds: float) -> Figures:
        server = servers.get_or(name, partial(filled, COUNTS[name]))
        asked = (
            interlock_body(f"points:{function}", at=picked.randrange(COUNTS[name]), salt=picked.getrandbits(40)) for _ in range(40_000)
        )
        return {**figures(server.load("/api/query", list(asked), 16, seconds, expected='"success"')), "memory MiB": server.memory_mib()}

    return run


def start(servers: Servers, seconds: float) -> Figures:
    """Start once more on the same data."""
    server = servers.get_or(MANY, partial(filled, BIG))
    servers.end(MANY)
    began = time.perf_counter()
    with interlock_with(memory_mib=MEMORY_MIB, data=server.data) as again:
        again.call("query", "points:one", at=BIG // 2)
        return {"start s": time.perf_counter() - began, "memory MiB": again.memory_mib()}


WORKS = [
    Work(
        f"a point read of {BIG:,} documents, {MEMORY_MIB} MiB for tables, 16 callers",
        {FEW: read(FEW, "one"), MANY: read(MANY, "one")},
        [Row(f"p50 : of {SMALL:,}", "p50_ms", of=MANY, over=FEW, at_most=2)],
    ),
    Work(
        f"take(50) of {BIG:,} documents, {MEMORY_MIB} MiB for tables, 16 callers",
        {FEW: read(FEW, "fifty"), MANY: read(MANY, "fifty")},
        [
            Row(f"p50 : of {SMALL:,}", "p50_ms", of=MANY, over=FEW, at_most=2),
            Row("memory in use, MiB", "memory MiB", of=MANY, at_most=80 + MEMORY_MIB, decimals=0),
        ],
    ),
    Work(
        f"start with {BIG:,} documents",
        {MANY: start},
        [Row("until the first answer, s", "start s", of=MANY, at_most=3)],
        rounds=1,
        warm_up=False,
    ),
]
