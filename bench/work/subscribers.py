"""One query that a thousand sockets look at, and mutations that change its result."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace

from bench.listeners import Heard, Job
from bench.rows import Figures, Row, Work
from bench.servers import BARE, INTERLOCK, Server, Servers, on_load_core
from bench.work.http import interlock_body

SUBSCRIBERS = 1_000
SYNC = "/api/1.48.0/sync"
_MS_A_ROUND = 40.0
_sizes: dict[str, int] = {}


def opening(number: int, queries: list[tuple[str, dict[str, object]]]) -> list[str]:
    """What a client sends that begins with some queries."""
    session = f"00000000-0000-4000-8000-{number:012d}"
    modifications = [
        {"type": "Add", "queryId": id, "udfPath": path, "args": [args], "journal": None} for id, (path, args) in enumerate(queries)
    ]
    messages: list[dict[str, object]] = [
        {"type": "Connect", "sessionId": session, "connectionCount": 0, "lastCloseReason": None},
        {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": modifications},
    ]
    return [json.dumps(message, separators=(",", ":")) for message in messages]


def listen(server: Server, job: Job) -> tuple[Heard, float]:
    """What the listeners heard, and the CPU seconds that it took the server."""
    before = server.cpu_seconds()
    heard = Heard(**json.loads(on_load_core([sys.executable, "-m", "bench.listeners"], json.dumps(asdict(job)) + "\n").splitlines()[-1]))
    return heard, server.cpu_seconds() - before


def told(heard: Heard) -> Figures:
    return {
        "request → last ms": heard.last_ms,
        "p99": heard.last_p99_ms,
        "ack ms": heard.ack_ms,
        "ack p99": heard.ack_p99_ms,
        "bytes each": heard.message_bytes,
    }


def interlock(servers: Servers, seconds: float) -> Figures:
    """A counter that everybody watches."""
    openings = [opening(number, [("counters:get", {"name": "live"})]) for number in range(SUBSCRIBERS)]
    calls = [interlock_body("counters:add", name="live")] * max(5, int(seconds * 1e3 / _MS_A_ROUND))
    job = Job(servers.get(INTERLOCK).port, SYNC, openings, SUBSCRIBERS, "all", "/api/mutation", calls)
    heard, _ = listen(servers.get(INTERLOCK), job)
    _sizes["told"] = heard.message_bytes
    return told(heard)


def bare(servers: Servers, seconds: float) -> Figures:
    """As many bytes, written to as many sockets, by the same server with nothing behind it."""
    calls = [str(_sizes["told"])] * max(5, int(seconds * 1e3 / _MS_A_ROUND))
    heard, _ = listen(
        servers.get(BARE), replace(Job(servers.get(BARE).port, "/", [[]] * SUBSCRIBERS, 0, "all"), call_path="/fan", calls=calls)
    )
    return told(heard)


WORKS = [
    Work(
        "1,000 live subscribers of one query",
        {INTERLOCK: interlock, BARE: bare},
        [
            Row("request → last one told : bare fan-out of the same bytes", "request → last ms", over=BARE, at_most=1.3),
            Row("ack, ms", "ack ms", at_most=2),
        ],
    )
]
