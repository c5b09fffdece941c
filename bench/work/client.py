"""The official JavaScript client: a mutation on a warm socket, from the call until its promise is fulfilled."""

from __future__ import annotations

import json
import shutil

from bench.rows import Figures, Row, Run, Work
from bench.servers import BARE, HERE, INTERLOCK, Missing, Servers, on_load_core

ECHO = "an echo after one sync, same socket"


def round_trips(name: str, mode: str) -> Run:
    def run(servers: Servers, seconds: float) -> Figures:
        node = shutil.which("node")
        if node is None or not (HERE.parent / "tests" / "clients" / "node_modules" / "convex").is_dir():
            raise Missing("node, or the official client, is not installed: make bench installs the client")
        port = servers.get(name).port
        figures: dict[str, float] = json.loads(on_load_core([node, str(HERE / "client.mjs"), mode, str(port), str(seconds)]))
        return figures

    return run


WORKS = [
    Work(
        "official JavaScript client, mutation on a warm socket",
        {INTERLOCK: round_trips(INTERLOCK, "convex"), ECHO: round_trips(BARE, "echo")},
        [Row(f"p50 : {ECHO}", "p50_ms", over=ECHO, at_most=1.5)],
    )
]
