"""The naive counter: read, add one, write. On one document, over a thousand, and through a component."""

from __future__ import annotations

import json

from bench.peers import postgres, redis
from bench.rows import Figures, Row, Run, Work
from bench.servers import FASTAPI, INTERLOCK, POCKETBASE, POSTGRES, REDIS, STARLETTE, Server, Servers
from bench.work.http import calls, figures, interlock_body, posts

HOT = ["hot"]
SPREAD = [f"c{n}" for n in range(1_000)]
SPREAD_ALONE, SHARDED = "over 1,000 documents", "through sharded_counter"


def total(server: Server) -> float:
    """The sum of all counters."""
    value = server.call("query", "counters:total")
    assert isinstance(value, float)
    return value


def total_sharded(server: Server) -> float:
    value = server.call("query", "counters:total_sharded", name="hot")
    assert isinstance(value, float)
    return value


def add(names: list[str], callers: int) -> Run:
    return calls("mutation", [interlock_body("counters:add", name=name) for name in names], callers, total=total)


def peer_add(peer: str, names: list[str], callers: int) -> Run:
    return posts(peer, "/add", [json.dumps({"name": name}) for name in names], callers, total="/total")


def on_postgres(is_hot: bool, callers: int) -> Run:
    def run(servers: Servers, seconds: float) -> Figures:
        report, lost = postgres.load(servers.get(POSTGRES), callers, seconds, is_hot=is_hot)
        return {**figures(report), "lost": lost}

    return run


def on_redis(is_hot: bool, callers: int) -> Run:
    return lambda servers, seconds: {**figures(redis.load(servers.get(REDIS), callers, seconds, is_hot=is_hot)), "lost": 0.0}


def counter(label: str, names: list[str], callers: int) -> Work:
    is_hot = names is HOT
    rows = [Row("no update is lost", "lost", at_most=0, decimals=0)]
    if callers == 64:
        rows += [
            Row(f"× {STARLETTE}", "per_second", over=STARLETTE, at_least=5),
            Row(f"× {POCKETBASE}", "per_second", over=POCKETBASE, at_least=6),
            Row(f"× {FASTAPI}", "per_second", over=FASTAPI, at_least=25),
            Row(f"× {POSTGRES}", "per_second", over=POSTGRES, at_least=10 if is_hot else 1.2),
            Row("server CPU a mutation, µs", "cpu_us", at_most=50, decimals=0),
        ]
    if callers == 64 and is_hot:
        rows.append(Row("p99 : p50", "p99_ms", over_figure="p50_ms", at_most=5))
    if callers == 1:
        rows.append(Row(f"p50 : {STARLETTE}", "p50_ms", over=STARLETTE, at_most=1.15))
    return Work(
        f"naive counter, {label}, {callers} caller{'s' * (callers > 1)}",
        {
            INTERLOCK: add(names, callers),
            STARLETTE: peer_add(STARLETTE, names, callers),
            POCKETBASE: peer_add(POCKETBASE, names, callers),
            FASTAPI: peer_add(FASTAPI, names, callers),
            POSTGRES: on_postgres(is_hot, callers),
            REDIS: on_redis(is_hot, callers),
        },
        rows,
    )


WORKS = [
    *(counter("one document", HOT, callers) for callers in (1, 16, 64)),
    *(counter("1,000 documents", SPREAD, callers) for callers in (1, 16, 64)),
    Work(
        "naive counter in three ways, 64 callers",
        {
            INTERLOCK: add(HOT, 64),
            SPREAD_ALONE: add(SPREAD, 64),
            SHARDED: calls("mutation", [interlock_body("counters:add_sharded", name="hot")], 64, total=total_sharded),
        },
        [
            Row("one document : 1,000 documents", "per_second", over=SPREAD_ALONE, at_least=0.9),
            Row("through sharded_counter, inline : naive", "per_second", of=SHARDED, over=INTERLOCK, at_least=0.8),
            Row("no update is lost through sharded_counter", "lost", of=SHARDED, at_most=0, decimals=0),
        ],
    ),
]
