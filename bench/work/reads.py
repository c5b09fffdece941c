"""Queries whose result is known: out of the cache, over HTTP, against peers that look it up, and against an endpoint that does nothing."""

from __future__ import annotations

from bench.rows import Figures, Row, Run, Work
from bench.servers import INTERLOCK, POCKETBASE, STARLETTE, Servers
from bench.work.http import calls, figures, interlock_body, posts

EMPTY = "an empty endpoint of the same server"
_LIST = "/api/collections/messages/records?perPage=50&sort=-created&skipTotal=1"
_stored: set[int] = set()


def empty(servers: Servers, seconds: float) -> Figures:
    return figures(servers.get(INTERLOCK).load("/version", [""], 64, seconds, method="GET"))


def with_messages(name: str, run: Run) -> Run:
    """The same, with a thousand messages stored before."""

    def filled(servers: Servers, seconds: float) -> Figures:
        server = servers.get(name)
        if server.port not in _stored:
            _stored.add(server.port)
            if name == INTERLOCK:
                server.call("mutation", "messages:fill", count=1_000)
            else:
                server.post("/fill", {"count": 1_000})
        return run(servers, seconds)

    return filled


WORKS = [
    Work(
        "a cached query of one number, 64 callers",
        {
            INTERLOCK: calls("query", [interlock_body("counters:get", name="hot")], 64),
            STARLETTE: posts(STARLETTE, "/get", ['{"name":"hot"}'], 64),
            EMPTY: empty,
        },
        [
            Row(f"× {STARLETTE}", "per_second", over=STARLETTE, at_least=2),
            Row(f": {EMPTY}", "per_second", over=EMPTY, at_least=0.7),
        ],
    ),
    Work(
        "a cached query of 50 messages, 64 callers",
        {
            INTERLOCK: with_messages(INTERLOCK, calls("query", [interlock_body("messages:newest")], 64)),
            STARLETTE: with_messages(STARLETTE, posts(STARLETTE, "/newest", ["{}"], 64)),
            POCKETBASE: with_messages(POCKETBASE, posts(POCKETBASE, _LIST, [""], 64, method="GET", expected='"items"')),
        },
        [
            Row(f"× {STARLETTE}", "per_second", over=STARLETTE, at_least=2),
            Row(f"× {POCKETBASE}'s own list", "per_second", over=POCKETBASE, at_least=15),
        ],
    ),
]
