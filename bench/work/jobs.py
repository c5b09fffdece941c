"""Jobs that wait, and what they cost everybody else; jobs that are due, and how fast they run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.rows import Figures, Row, Run, Work
from bench.servers import INTERLOCK, Server, Servers, interlock
from bench.work.counters import SPREAD
from bench.work.http import figures, interlock_body

PENDING, DUE, _STEP = 100_000, 10_000, 1_000
NONE, MANY = "no job", f"{PENDING:,} pending jobs"


@contextmanager
def with_jobs() -> Iterator[Server]:
    with interlock() as server:
        for _ in range(PENDING // _STEP):
            server.call("mutation", "jobs:plan", count=_STEP, seconds=86_400)
        yield server


def add(name: str) -> Run:
    bodies = [interlock_body("counters:add", name=name) for name in SPREAD]

    def run(servers: Servers, seconds: float) -> Figures:
        server = servers.get_or(name, interlock if name == NONE else with_jobs)
        return figures(server.load("/api/mutation", bodies, 64, seconds, expected='"success"'))

    return run


def run_due(servers: Servers, seconds: float) -> Figures:
    """Plan jobs for one moment, and see how long after it the last one has run."""
    server = servers.get(INTERLOCK)
    before = _done(server)
    due = time.time() + 3
    for _ in range(DUE // _STEP):
        server.call("mutation", "jobs:plan", count=_STEP, seconds=due - time.time())
    planned = time.time()
    if planned > due:
        raise RuntimeError("the first jobs were due before the last ones were planned")
    time.sleep(due - planned)
    cpu = server.cpu_seconds()
    while (done := _done(server) - before) < DUE:
        if time.time() > due + 60:
            raise RuntimeError(f"only {done:.0f} of {DUE} jobs have run")
        time.sleep(0.1)
    took = time.time() - due
    return {"jobs/s": DUE / took, "cpu_us": (server.cpu_seconds() - cpu) / DUE * 1e6}


def _done(server: Server) -> float:
    done = server.call("query", "jobs:done")
    assert isinstance(done, float)
    return done


WORKS = [
    Work(
        f"{PENDING:,} pending jobs, naive counter, 64 callers",
        {NONE: add(NONE), MANY: add(MANY)},
        [Row("server CPU a commit : with none", "cpu_us", of=MANY, over=NONE, at_most=1.05)],
    ),
    Work(f"{DUE:,} jobs due at once", {INTERLOCK: run_due}, [Row("jobs/s", "jobs/s", at_least=2_000, decimals=0)], rounds=1, warm_up=False),
]
