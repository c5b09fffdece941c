"""What it costs that every answer waits for the disk."""

from __future__ import annotations

from bench.rows import Figures, Row, Run, Work
from bench.servers import Servers, interlock_with
from bench.work.counters import SPREAD
from bench.work.http import figures, interlock_body

FULL, NORMAL = "synced before each answer", "synchronous=NORMAL"


def add(level: str) -> Run:
    """A counter over a thousand documents."""

    def run(servers: Servers, seconds: float) -> Figures:
        server = servers.get_or(level, lambda: interlock_with("FULL" if level == FULL else "NORMAL"))
        bodies = [interlock_body("counters:add", name=name) for name in SPREAD]
        return figures(server.load("/api/mutation", bodies, 64, seconds, expected='"success"'))

    return run


WORKS = [
    Work(
        "durability, naive counter over 1,000 documents, 64 callers",
        {FULL: add(FULL), NORMAL: add(NORMAL)},
        [Row(f"{FULL} : {NORMAL}", "per_second", of=FULL, over=NORMAL, at_least=0.8)],
    )
]
