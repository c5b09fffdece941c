"""A message is stored and the newest fifty are read, in one transaction; with few stored, and with a million."""

from __future__ import annotations

import json
import os

from bench.rows import Figures, Row, Run, Work
from bench.servers import FASTAPI, INTERLOCK, POCKETBASE, STARLETTE, Servers
from bench.work.http import calls, interlock_body, posts

MANY = int(os.environ.get("MESSAGES", "1000000"))
_FILL_STEP = 2_000
MESSAGE = {"author": "ada", "body": "a message that somebody wrote to everybody else in the room"}
PEERS = {STARLETTE: 3, POCKETBASE: 8, FASTAPI: 20}
_filled: set[tuple[int, str]] = set()


def after_filling(name: str, run: Run) -> Run:
    """The same work, with many messages stored before."""

    def filled(servers: Servers, seconds: float) -> Figures:
        server = servers.get(name)
        if (server.port, name) not in _filled:
            _filled.add((server.port, name))
            if name == INTERLOCK:
                for _ in range(MANY // _FILL_STEP):
                    server.call("mutation", "messages:fill", count=_FILL_STEP)
            else:
                server.post("/fill", {"count": MANY})
        return run(servers, seconds)

    return filled


def contestants(callers: int) -> dict[str, Run]:
    ours = calls("mutation", [interlock_body("messages:send", **MESSAGE)], callers)
    return {INTERLOCK: ours, **{peer: posts(peer, "/send", [json.dumps(MESSAGE)], callers) for peer in PEERS}}


def rows() -> list[Row]:
    return [Row(f"× {peer}", "per_second", over=peer, at_least=goal) for peer, goal in PEERS.items()]


PAUSE = Row("longest pause, ms", "pause_ms", at_most=15, decimals=1)

WORKS = [
    Work("insert a message and read the newest 50, 1 caller", contestants(1), []),
    Work("insert a message and read the newest 50, 16 callers", contestants(16), []),
    Work("insert a message and read the newest 50, 64 callers", contestants(64), [*rows(), PAUSE]),
    Work(
        f"the same with {MANY:,} stored, 64 callers",
        {name: after_filling(name, run) for name, run in contestants(64).items()},
        [*rows(), PAUSE],
    ),
]
