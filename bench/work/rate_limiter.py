"""Rate limits in embedded backends, beside the original and the libraries of Python."""

from __future__ import annotations

from bench.peers import redis
from bench.programs import SANDBOXED, original, program
from bench.rows import Figures, Row, Work
from bench.servers import INTERLOCK, REDIS, Servers

ORIGINAL = "@convex-dev/rate-limiter in convex-test"
PYRATE = "pyrate-limiter on SQLite"


def limits_on_redis(servers: Servers, seconds: float) -> Figures:
    """Redis keeps it in memory alone, which is how it is fastest."""
    server = servers.get_or(REDIS, redis.start_in_memory)
    return program("peers.limiters", "limits", str(server.port), needs="limits")(servers, seconds)


WORKS = [
    Work(
        "rate limit of one key, 64 callers",
        {
            INTERLOCK: program("components", "rate_limiter", "inline"),
            SANDBOXED: program("components", "rate_limiter", "sandbox"),
            ORIGINAL: original("rate_limiter"),
            PYRATE: program("peers.limiters", "pyrate", needs="pyrate_limiter"),
            REDIS: limits_on_redis,
        },
        [
            Row("in memory : the original", "memory/s", over=ORIGINAL, over_figure="per_second", at_least=5, decimals=1),
            Row(f"durable : {PYRATE}", "durable/s", over=PYRATE, over_figure="per_second", at_least=12, decimals=1),
            Row("durable : limits on Redis", "durable/s", over=REDIS, over_figure="per_second", at_least=1.2),
            Row("sandboxed : inline, in memory", "memory/s", of=SANDBOXED, over=INTERLOCK, at_least=0.65),
            Row("sandboxed : inline, durable", "durable/s", of=SANDBOXED, over=INTERLOCK, at_least=0.65),
        ],
        rounds=2,
        warm_up=False,
    )
]
