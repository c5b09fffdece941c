"""`python -m bench.peers.dbos_workflows sqlite|PORT`: workflows of three steps by DBOS, on SQLite or on a Postgres. Prints figures as JSON.

Called as its users call them.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dbos import DBOS

CALLERS, ONE, EACH = 8, 60, 40


def run(n: int) -> float:
    begun = time.perf_counter()
    assert three(n) == n + 3
    return time.perf_counter() - begun


def several(count: int) -> list[float]:
    return [run(n) for n in range(count)]


def one(n: int) -> int:
    return n + 1


def three(n: int) -> int:
    for _ in range(3):
        n = one(n)
    return n


def main() -> None:
    with tempfile.TemporaryDirectory() as data:
        where = sys.argv[1]
        url = f"sqlite:///{Path(data) / 'dbos.sqlite'}" if where == "sqlite" else f"postgresql://bench@127.0.0.1:{where}/dbos"
        DBOS(config={"name": "bench", "system_database_url": url, "run_admin_server": False, "log_level": "ERROR"})
        globals().update(one=DBOS.step()(one), three=DBOS.workflow()(three))
        DBOS.launch()
        several(5)
        p50_ms = statistics.median(several(ONE)) * 1000
        begun = time.perf_counter()
        with ThreadPoolExecutor(CALLERS) as pool:
            list(pool.map(several, [EACH] * CALLERS))
        print(json.dumps({"per_second": CALLERS * EACH / (time.perf_counter() - begun), "p50_ms": p50_ms}))
        DBOS.destroy()


if __name__ == "__main__":
    main()
