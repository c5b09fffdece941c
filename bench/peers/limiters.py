"""`python -m bench.peers.limiters pyrate|limits [port]`: rate limits of one key that are never reached. Prints figures as JSON.

Callers in one thread, one request after the other: threads only make both of them slower.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 1.0


def rate(operation: Callable[[], bool]) -> float:
    assert operation()
    done, begun = 0, time.perf_counter()
    while (took := time.perf_counter() - begun) < SECONDS:
        assert operation()
        done += 1
    return done / took


def pyrate() -> float:
    """pyrate-limiter with its bucket in a SQLite file."""
    from pyrate_limiter import Limiter, Rate, SQLiteBucket

    rates = [Rate(10**9, 1_000)]
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as data:
        limiter = Limiter(SQLiteBucket.init_from_file(rates, db_path=str(Path(data) / "limits.sqlite")))
        try:
            return rate(lambda: bool(limiter.try_acquire("use", blocking=False)))
        finally:
            limiter.close()


def limits(port: str) -> float:
    """`limits` with its fixed window, which is its fastest strategy, on Redis."""
    from limits import parse
    from limits.storage import RedisStorage
    from limits.strategies import FixedWindowRateLimiter

    limiter, limit = FixedWindowRateLimiter(RedisStorage(f"redis://127.0.0.1:{port}")), parse("1000000000/hour")
    return rate(lambda: limiter.hit(limit, "use"))


if __name__ == "__main__":
    print(json.dumps({"per_second": pyrate() if sys.argv[1] == "pyrate" else limits(sys.argv[2])}))
