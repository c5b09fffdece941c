"""An app to try the command line on, and servers that end with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from .commands import Process

APP = """\
from interlock import App, Component, MutationCtx, Schema, Table

tally = Component("tally", schema=Schema(counts=Table({"name": str}).index("by_name", "name")))


@tally.mutation
async def add(ctx: MutationCtx, name: str) -> int:
    await ctx.db.insert("counts", {"name": name})
    return await ctx.db.query("counts").count()


app = App()
app.use(tally, name="votes", isolation="inline")
"""

MESSAGES = """\
from interlock import AppError, MutationCtx, QueryCtx, action, mutation, query


@mutation
async def send(ctx: MutationCtx, author: str, body: str) -> str:
    ctx.log.info(f"from {author}")
    return await ctx.db.insert("messages", {"author": author, "body": body})


@query
async def bodies(ctx: QueryCtx) -> list[str]:
    return [message["body"] async for message in ctx.db.query("messages")]


@mutation(internal=True)
async def wipe(ctx: MutationCtx) -> int:
    rows = await ctx.db.query("messages").collect()
    for row in rows:
        await ctx.db.delete(row["_id"])
    return len(rows)


@mutation
async def refuse(ctx: MutationCtx) -> None:
    raise AppError({"code": "closed"})


@mutation
async def divide(ctx: MutationCtx) -> float:
    ctx.log.info("about to divide")
    return 1 / 0
"""

SCHEMA = 'from interlock import Schema, Table\n\nschema = Schema(messages=Table({"author": str, "body": str}))\n'


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    """An app with a table, a component and functions of every kind that the command line calls."""
    directory = tmp_path / "chat"
    directory.mkdir()
    for name, source in {"app.py": APP, "messages.py": MESSAGES, "schema.py": SCHEMA}.items():
        (directory / name).write_text(source)
    return directory


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Starts `interlock …` as a process, and ends it with the test."""
    started: list[Process] = []

    def start(*arguments: str | Path) -> Process:
        started.append(Process(*arguments))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """Commands that run in this process bind the log to a stderr that is closed when their test ends."""
    yield
    structlog.reset_defaults()
