"""Workflows of three steps, each side as a library in a process of its own, on a file."""

from __future__ import annotations

import importlib.util
import json
import sys

from bench.rows import Figures, Row, Run, Work
from bench.servers import INTERLOCK, Missing, Servers, on_load_core

SANDBOXED, DBOS = "Interlock, sandboxed", "DBOS on SQLite"


def ours(isolation: str) -> Run:
    def run(servers: Servers, seconds: float) -> Figures:
        figures: Figures = json.loads(on_load_core([sys.executable, "-m", "bench.workflows", isolation]))
        return figures

    return run


def dbos(servers: Servers, seconds: float) -> Figures:
    if importlib.util.find_spec("dbos") is None:
        raise Missing("DBOS is not installed. Run: make bench")
    figures: Figures = json.loads(on_load_core([sys.executable, "-m", "bench.peers.dbos_sqlite"]))
    return figures


WORKS = [
    Work(
        "workflow of 3 steps, 8 callers; one caller; 10,000 started at once",
        {INTERLOCK: ours("inline"), SANDBOXED: ours("sandbox"), DBOS: dbos},
        [
            Row(f"8 callers : {DBOS}", "per_second", over=DBOS, at_least=8, decimals=1),
            Row("8 callers, /s", "per_second", at_least=860, decimals=0),
            Row("one caller, p50 ms", "p50_ms", at_most=2.5),
            Row("10,000 at once, /s", "drained/s", at_least=800, decimals=0),
            Row("sandboxed : inline, 8 callers", "per_second", of=SANDBOXED, over=INTERLOCK, at_least=0.65),
            Row("sandboxed : inline, at once", "drained/s", of=SANDBOXED, over=INTERLOCK, at_least=0.65),
        ],
        warm_up=False,
    )
]
