"""Hits of an action cache in an embedded backend, beside the decorators of caching libraries."""

from __future__ import annotations

from bench.programs import SANDBOXED, program
from bench.rows import Row, Work
from bench.servers import INTERLOCK

CASHEWS, DISKCACHE = "cashews", "diskcache"

WORKS = [
    Work(
        "action_cache hit, in one process",
        {
            INTERLOCK: program("components", "action_cache", "inline"),
            SANDBOXED: program("components", "action_cache", "sandbox"),
            CASHEWS: program("peers.caches", "cashews", needs="cashews"),
            DISKCACHE: program("peers.caches", "diskcache", needs="diskcache"),
        },
        [
            Row("× cashews' decorator", "hits/s", over=CASHEWS, at_least=2),
            Row("× diskcache's memoize", "hits/s", over=DISKCACHE, at_least=1.3),
            Row("sandboxed : inline", "hits/s", of=SANDBOXED, over=INTERLOCK, at_least=0.65),
        ],
        rounds=2,
        warm_up=False,
    )
]
