"""`python -m bench.peers.caches cashews|diskcache`: hits of a decorated function, a second of processor time. Prints figures as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

KEYS, SECONDS = 100, 1.0


async def cashews() -> float:
    """cashews' decorator, in memory."""
    from cashews import cache

    cache.setup("mem://")

    @cache(ttl="1h")
    async def double(n: int) -> int:
        return n * 2

    async def once() -> None:
        for n in range(KEYS):
            assert await double(n) == n * 2

    await once()
    done, begun = 0, time.process_time()
    while (took := time.process_time() - begun) < SECONDS:
        await once()
        done += KEYS
    return done / took


def diskcache() -> float:
    """diskcache's memoize, on a file that the system keeps in memory."""
    from diskcache import Cache

    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as data, Cache(data) as cache:

        @cache.memoize(expire=3600)
        def double(n: int) -> int:
            return n * 2

        def once() -> None:
            for n in range(KEYS):
                assert double(n) == n * 2

        once()
        done, begun = 0, time.process_time()
        while (took := time.process_time() - begun) < SECONDS:
            once()
            done += KEYS
        return done / took


if __name__ == "__main__":
    print(json.dumps({"hits/s": asyncio.run(cashews()) if sys.argv[1] == "cashews" else diskcache()}))
