"""Counters and messages with Starlette and the standard library's sqlite3: one connection, a transaction a request, synchronous=FULL."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def make_app(database: Path) -> Starlette:
    connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE counters (name TEXT PRIMARY KEY, n INTEGER NOT NULL)")

    async def add(request: Request) -> Response:
        name = orjson.loads(await request.body())["name"]
        connection.execute("BEGIN IMMEDIATE")
        try:
            row = connection.execute("SELECT n FROM counters WHERE name = ?", (name,)).fetchone()
            n = (row[0] if row else 0) + 1
            connection.execute("INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = excluded.n", (name, n))
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        return Response(orjson.dumps({"value": n}), media_type="application/json")

    async def get(request: Request) -> Response:
        name = orjson.loads(await request.body())["name"]
        row = connection.execute("SELECT n FROM counters WHERE name = ?", (name,)).fetchone()
        return Response(orjson.dumps({"value": row[0] if row else 0}), media_type="application/json")

    async def total(_: Request) -> Response:
        return Response(orjson.dumps({"value": connection.execute("SELECT coalesce(sum(n), 0) FROM counters").fetchone()[0]}))

    async def empty(_: Request) -> Response:
        return Response(b'{"value":0}', media_type="application/json")

    return Starlette(
        routes=[
            Route("/add", add, methods=["POST"]),
            Route("/get", get, methods=["POST"]),
            Route("/total", total, methods=["POST"]),
            Route("/empty", empty, methods=["GET", "POST"]),
        ]
    )


if __name__ == "__main__":
    app = make_app(Path(sys.argv[1]) / "counters.sqlite3")
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False, http="httptools", loop="uvloop")
