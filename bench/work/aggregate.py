"""Aggregates, in embedded backends: beside the original, as they grow, and behind a trigger."""

from __future__ import annotations

from bench.programs import SANDBOXED, original, program
from bench.rows import Row, Work
from bench.servers import INTERLOCK

ORIGINAL = "@convex-dev/aggregate in convex-test"
OPERATIONS = ("insert", "at", "rank", "count")
_AT_LEAST = {"insert": 12, "at": 15, "rank": 15, "count": 25}

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
]
