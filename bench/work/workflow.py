"""Workflows of three steps, each side as a library in a process of its own, on a file."""

from __future__ import annotations

from bench.programs import SANDBOXED, program
from bench.rows import Figures, Row, Work
from bench.servers import INTERLOCK, POSTGRES, Servers

DBOS, DBOS_POSTGRES = "DBOS on SQLite", "DBOS on Postgres"


def dbos_on_postgres(servers: Servers, seconds: float) -> Figures:
    server = servers.get(POSTGRES)
    return program("peers.dbos_workflows", str(server.port), needs="dbos")(servers, seconds)


WORKS = [
    Work(
        "workflow of 3 steps, 8 callers; one caller; 10,000 started at once",
        {
            INTERLOCK: program("workflows", "inline"),
            SANDBOXED: program("workflows", "sandbox"),
            DBOS: program("peers.dbos_workflows", "sqlite", needs="dbos"),
            DBOS_POSTGRES: dbos_on_postgres,
        },
        [
            Row(f"8 callers : {DBOS}", "per_second", over=DBOS, at_least=8, decimals=1),
            Row(f"8 callers : {DBOS_POSTGRES}", "per_second", over=DBOS_POSTGRES, at_least=8, decimals=1),
            Row("8 callers, /s", "per_second", at_least=860, decimals=0),
            Row("one caller, p50 ms", "p50_ms", at_most=2.5),
            Row("10,000 at once, /s", "drained/s", at_least=800, decimals=0),
            Row("sandboxed : inline, 8 callers", "per_second", of=SANDBOXED, over=INTERLOCK, at_least=0.65),
            Row("sandboxed : inline, at once", "drained/s", of=SANDBOXED, over=INTERLOCK, at_least=0.65),
        ],
        rounds=2,
        warm_up=False,
    )
]
