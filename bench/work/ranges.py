"""Ten thousand subscriptions of ten thousand ranges, and writes at random: each touches one of them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from bench.listeners import Job
from bench.rows import Figures, Row, Run, Work
from bench.servers import HERE, LOAD_CORE, Server, Servers, interlock, pinned
from bench.work.http import figures, interlock_body
from bench.work.subscribers import SYNC, listen, opening

RANGES, WIDTH, SOCKETS = 10_000, 2, 20
NONE, ALL = "no subscription", "10,000 subscriptions"
_CALLS = 300


@contextmanager
def filled() -> Iterator[Server]:
    """A server with a point at every place of every range."""
    with interlock() as server:
        for start in range(0, RANGES * WIDTH, 2_000):
            server.call("mutation", "points:fill", start=start, count=2_000)
        yield server


def openings() -> list[list[str]]:
    each = RANGES // SOCKETS
    queries: list[tuple[str, dict[str, object]]] = [("points:between", {"start": n * WIDTH, "end": (n + 1) * WIDTH}) for n in range(RANGES)]
    return [opening(number, queries[number * each : (number + 1) * each]) for number in range(SOCKETS)]


@contextmanager
def watched() -> Iterator[Server]:
    """The same, and somebody watches every range."""
    with filled() as server:
        job = Job(server.port, SYNC, openings(), SOCKETS, "held")
        listeners = subprocess.Popen(
            [sys.executable, "-m", "bench.listeners"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=HERE.parent,
            preexec_fn=pinned(LOAD_CORE),
        )
        assert listeners.stdin is not None and listeners.stdout is not None
        listeners.stdin.write(json.dumps(asdict(job)).encode() + b"\n")
        listeners.stdin.flush()
        if listeners.stdout.readline() != b"ready\n":
            raise RuntimeError("the listeners did not come to listen")
        try:
            yield server
        finally:
            listeners.communicate()


def touch(name: str, callers: int) -> Run:
    picked = random.Random(2)
    bodies = [interlock_body("points:touch", at=picked.randrange(RANGES * WIDTH)) for _ in range(20_000)]

    def run(servers: Servers, seconds: float) -> Figures:
        server = servers.get_or(name, filled if name == NONE else watched)
        return figures(server.load("/api/mutation", bodies, callers, seconds, expected='"success"'))

    return run


def exactly(servers: Servers, seconds: float) -> Figures:
    """Writes into different ranges, and how many results were told to anybody."""
    server = servers.get_or(NONE, filled)
    calls = [interlock_body("points:touch", at=place * WIDTH) for place in random.Random(3).sample(range(RANGES), _CALLS)]
    heard, _ = listen(server, Job(server.port, SYNC, openings(), SOCKETS, "some", "/api/mutation", calls))
    return {"writes": _CALLS, "results told": heard.updates, "ack ms": heard.ack_ms}


WORKS = [
    Work(
        f"10,000 subscriptions of 10,000 ranges, {callers} caller{'s' * (callers > 1)}",
        {NONE: touch(NONE, callers), ALL: touch(ALL, callers)},
        [
            Row("time of a write (p50) : with none", "p50_ms", of=ALL, over=NONE, at_most=1.3),
            Row("server CPU a write, its query run again and told : with none", "cpu_us", of=ALL, over=NONE, at_most=1.3),
        ],
    )
    for callers in (1, 64)
]
WORKS.append(
    Work(
        "10,000 subscriptions of 10,000 ranges: which are run again",
        {ALL: exactly},
        [
            Row("results told : writes, at least", "results told", of=ALL, over_figure="writes", at_least=1),
            Row("results told : writes, at most", "results told", of=ALL, over_figure="writes", at_most=1),
        ],
        rounds=1,
        warm_up=False,
    )
)
