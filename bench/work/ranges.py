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
BEYOND = 2_000
NONE, ALL, UNTOUCHED = "no subscription", "10,000 subscriptions", "10,000 subscriptions, none touched"
_CALLS = 300


@contextmanager
def filled() -> Iterator[Server]:
    """A server with a point at every place of every range, and some beyond all of them."""
    with interlock() as server:
        for start in range(0, RANGES * WIDTH + BEYOND, 2_000):
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
    places = range(RANGES * WIDTH, RANGES * WIDTH + BEYOND) if name == UNTOUCHED else range(RANGES * WIDTH)
    bodies = [interlock_body("points:touch", at=picked.choice(places)) for _ in range(20_000)]

    def run(servers: Servers, seconds: float) -> Figures:
        server = servers.get_or(NONE, filled) if name == NONE else servers.get_or(ALL, watched)
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
        "10,000 subscriptions of 10,000 ranges, writes by 1 caller",
        {name: touch(name, 1) for name in (NONE, ALL)},
        [Row("p50 of a write that touches one of them : with none", "p50_ms", of=ALL, over=NONE, at_most=1.3)],
    ),
    Work(
        "10,000 subscriptions of 10,000 ranges, writes by 64 callers",
        {name: touch(name, 64) for name in (NONE, UNTOUCHED, ALL)},
        [
            Row("server CPU of a write that touches none of them : with none", "cpu_us", of=UNTOUCHED, over=NONE, at_most=1.3),
            Row("server CPU of a write, its query run again and told : with none", "cpu_us", of=ALL, over=NONE, at_most=1.3),
        ],
    ),
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
