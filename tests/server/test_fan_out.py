"""Many clients that look at the same: each goes on from where it was, and those that were at one place are sent the same bytes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from interlock import Backend
from interlock.server import ServerSettings
from interlock.server.auth import Authenticator
from interlock.server.binding import DispatcherService
from interlock.server.shared import Shared
from interlock.server.turns import Turns
from interlock.testing.virtual_clock import VirtualClock

from .sync_client import SyncClient, settle

START_MS = 1_800_000_000_000.0


FILES = {
    "app.py": "from interlock import App\napp = App()\n",
    "schema.py": """
from interlock import Schema, Table

schema = Schema(rows=Table({"name": str, "n": int}).index("by_name", "name"))
""",
    "rows.py": """
from interlock import MutationCtx, QueryCtx, mutation, query


@query
async def get(ctx: QueryCtx, name: str) -> int:
    row = await ctx.db.query("rows").index("by_name", name=name).first()
    return 0 if row is None else row["n"]


@mutation
async def add(ctx: MutationCtx, name: str) -> None:
    row = await ctx.db.query("rows").index("by_name", name=name).first()
    if row is None:
        await ctx.db.insert("rows", {"name": name, "n": 1})
    else:
        await ctx.db.patch(row["_id"], {"n": row["n"] + 1})
""",
}


@asynccontextmanager
async def served(tmp_path: Path, seed: int) -> AsyncIterator[tuple[Backend, Shared]]:
    """A backend, and what the sessions of its server share."""
    folder = tmp_path / f"fan_out_app_{seed}"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    clock = VirtualClock(START_MS)
    async with Backend(folder, data=":memory:", clock=clock, seed=seed) as backend:
        service = DispatcherService(backend.engine, backend.dispatcher, ServerSettings("test", bytes(32)), dev=False)
        authenticator = Authenticator((), instance_name="test", secret=bytes(32), clock=clock)
        loop = asyncio.get_running_loop()
        yield backend, Shared(service, authenticator, clock, Turns(), loop.create_task, lambda: "0" * 16)


@pytest.mark.parametrize("seed", range(8))
async def test_every_client_holds_what_is_there(tmp_path: Path, seed: int) -> None:
    """Model: a dict. `SyncClient` asserts that versions follow on each other and that nothing is told twice."""
    numbers = random.Random(seed)
    async with served(tmp_path, seed) as (backend, shared):
        clients, looked_at = [], []
        for number in range(12):
            client = SyncClient(shared)
            skew = {"clientTs": int(START_MS) - 5 * number} if number % 3 == 0 else {}
            await client.connect(sessionId=f"00000000-0000-4000-8000-{number:012d}", **skew)
            clients.append(client)
            looked_at.append({0 if number < 9 else number: "a"} | ({50: "b"} if number % 4 == 0 else {}))
            for query_id, name in looked_at[-1].items():
                await client.add(query_id, "rows:get", {"name": name})
        model: dict[str, Any] = {"a": 0, "b": 0}
        for step in range(30):
            name = numbers.choice("aab")
            model[name] += 1
            if numbers.random() < 0.5:
                await numbers.choice(clients).mutate("rows:add", {"name": name})
            else:
                await backend.mutation("rows:add", name=name)
            if numbers.random() < 0.2:
                chosen = numbers.randrange(len(clients))
                looked_at[chosen][100 + step] = "b"
                await clients[chosen].add(100 + step, "rows:get", {"name": "b"})
            if numbers.random() < 0.7:
                await settle(60)
                for client, queries in zip(clients, looked_at, strict=True):
                    client.read()
                    assert {query_id: client.value(query_id) for query_id in queries} == {q: model[n] for q, n in queries.items()}
                    assert not client.unconfirmed


async def test_those_that_were_at_one_place_are_sent_the_same_bytes(tmp_path: Path) -> None:
    async with served(tmp_path, 100) as (backend, shared):
        clients = [SyncClient(shared) for _ in range(200)]
        for client in clients:
            await client.connect()
            await client.add(0, "rows:get", {"name": "a"})
        await settle(60)
        for n in (1, 2):
            await backend.mutation("rows:add", name="a")
            await settle(60)
            assert {client.read()[-1]["modifications"][0]["value"] for client in clients} == {n}
        assert len({id(client.wire.sent[-1]) for client in clients}) == 1
