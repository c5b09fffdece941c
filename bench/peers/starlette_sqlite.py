"""Starlette with the standard library's sqlite3: one connection, a transaction a request, synchronous=FULL.

Under uvicorn with its fastest parts.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

SCHEMA = """
CREATE TABLE counters (name TEXT PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY, created REAL NOT NULL DEFAULT (julianday('now')), author TEXT NOT NULL, body TEXT NOT NULL
);
"""
FILL = """
WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?)
INSERT INTO messages (author, body)
SELECT 'author ' || (n % 100), 'message ' || n || ': the quick brown fox jumps over the lazy dog' FROM numbers
"""


def make_app(database: Path) -> Starlette:
    connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.executescript(SCHEMA)

    @contextmanager
    def transaction() -> Iterator[None]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def newest() -> list[dict[str, Any]]:
        rows = connection.execute("SELECT id, created, author, body FROM messages ORDER BY id DESC LIMIT 50")
        return [{"id": id, "created": created, "author": author, "body": body} for id, created, author, body in rows]

    async def add(request: Request) -> Response:
        name = orjson.loads(await request.body())["name"]
        with transaction():
            row = connection.execute("SELECT n FROM counters WHERE name = ?", (name,)).fetchone()
            n = (row[0] if row else 0) + 1
            connection.execute("INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = excluded.n", (name, n))
        return _answer(n)

    async def get(request: Request) -> Response:
        name = orjson.loads(await request.body())["name"]
        row = connection.execute("SELECT n FROM counters WHERE name = ?", (name,)).fetchone()
        return _answer(row[0] if row else 0)

    async def total(_: Request) -> Response:
        return _answer(connection.execute("SELECT coalesce(sum(n), 0) FROM counters").fetchone()[0])

    async def send(request: Request) -> Response:
        message = orjson.loads(await request.body())
        with transaction():
            connection.execute("INSERT INTO messages (author, body) VALUES (?, ?)", (message["author"], message["body"]))
            rows = newest()
        return _answer(rows)

    async def list_messages(_: Request) -> Response:
        return _answer(newest())

    async def fill(request: Request) -> Response:
        connection.execute(FILL, (orjson.loads(await request.body())["count"],))
        return _answer(None)

    async def empty(_: Request) -> Response:
        return _answer(0)

    routes: list[tuple[str, Any]] = [
        ("/add", add),
        ("/get", get),
        ("/total", total),
        ("/send", send),
        ("/newest", list_messages),
        ("/fill", fill),
        ("/empty", empty),
    ]
    return Starlette(routes=[Route(path, endpoint, methods=["GET", "POST"]) for path, endpoint in routes])


def _answer(value: object) -> Response:
    return Response(orjson.dumps({"value": value}), media_type="application/json")


if __name__ == "__main__":
    app = make_app(Path(sys.argv[1]) / "data.sqlite3")
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False, http="httptools", loop="uvloop")
