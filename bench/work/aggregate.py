"""Aggregates, in embedded backends: beside the original, as they grow, and behind a trigger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.components import SCORES
from bench.programs import SANDBOXED, original, program
from bench.rows import Figures, Row, Run, Work
from bench.servers import INTERLOCK, Server, Servers, interlock
from bench.work.http import figures, interlock_body

ORIGINAL = "@convex-dev/aggregate in convex-test"
OPERATIONS = ("insert", "at", "rank", "count")
_AT_LEAST = {"insert": 12, "at": 15, "rank": 15, "count": 25}
BARE_INSERT = "a bare insert"
_FILLED = "Interlock, with 300,000 scores"


@contextmanager
def filled() -> Iterator[Server]:
    """A server, on all cores, whose aggregate has all of its items."""
    with interlock(app="components_app", core=None) as server:
        for first in range(0, SCORES, 2_000):
            server.call("mutation", "items:fill", first=first, count=2_000, of=SCORES, scored=True)
        yield server


def inserts(function: str, *, counted: bool) -> Run:
    """64 clients that insert documents with random keys. What was counted has to be in the aggregate."""

    def run(servers: Servers, seconds: float) -> Figures:
        server = servers.get_or(_FILLED, filled)
        report = server.load("/api/mutation", [interlock_body(function)], 64, seconds, expected='"success"')
        totals = server.call("mutation", "items:totals")
        assert isinstance(totals, list)
        documents, items, _ = totals
        return {**figures(report), "lost": documents - (items - SCORES) if counted else 0.0}

    return run


WORKS = [
    Work(
        "aggregate of 10,000 items in memory, one caller",
        {
            INTERLOCK: program("components", "aggregate", "inline"),
            SANDBOXED: program("components", "aggregate", "sandbox"),
            ORIGINAL: original("aggregate"),
        },
        [Row(f"{name} : the original", f"{name}/s", over=ORIGINAL, at_least=_AT_LEAST[name], decimals=1) for name in OPERATIONS],
        rounds=1,
        warm_up=False,
    ),
    Work(
        "aggregate of 10,000 items in memory, 64 callers of one operation each",
        {
            INTERLOCK: program("components", "aggregate_of_many", "inline"),
            SANDBOXED: program("components", "aggregate_of_many", "sandbox"),
        },
        [Row(f"{name}, sandboxed : inline", f"{name}/s", of=SANDBOXED, over=INTERLOCK, at_least=0.65) for name in OPERATIONS],
        rounds=2,
        warm_up=False,
    ),
    Work(
        "aggregate of 1,000,000 items : of 1,000",
        {INTERLOCK: program("components", "growth", "inline")},
        [Row(f"{name} takes, times", f"{name}/s", at_most=2.5) for name in OPERATIONS],
        rounds=1,
        warm_up=False,
    ),
    Work(
        "aggregate of 300,000 items behind a trigger, 64 writers of random keys",
        {
            INTERLOCK: program("components", "through_a_trigger", "inline"),
            SANDBOXED: program("components", "through_a_trigger", "sandbox"),
        },
        [
            Row("insert : bare insert", "scored/s", over_figure="bare/s", at_least=0.4),
            Row("mutations run again, a mutation", "run again", at_most=0.02),
            Row("sandboxed : inline", "scored/s", of=SANDBOXED, over=INTERLOCK, at_least=0.65),
        ],
        rounds=1,
        warm_up=False,
    ),
    Work(
        "aggregate of 300,000 items behind a trigger, 64 clients of random keys",
        {INTERLOCK: inserts("items:add_scored", counted=True), BARE_INSERT: inserts("items:add_bare", counted=False)},
        [
            Row("insert : bare insert", "per_second", over=BARE_INSERT, at_least=0.4),
            Row("no item is missing", "lost", at_most=0, decimals=0),
        ],
    ),
]
