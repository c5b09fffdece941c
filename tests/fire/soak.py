"""A mixed load for as long as one likes, while the app's code changes all the time; and what the process holds meanwhile.

What comes into the data goes out of it again, and what is kept for a while is kept for seconds here. So everything has to be flat.

Start at `soak`.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sqlite3
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from .server import GIVES_MEMORY_BACK, PATIENCE_S, PROGRAMS, Footprint, Server

HISTORY_S = 5.0
_MOUNTS = ("first", "second", "third")
_RELOADS_A_SAMPLE = 10
_CALLS_A_CONNECTION = 25


@dataclass(frozen=True)
class Sample:
    """What the server held at one moment, after its house was kept. `window_s` is how far the log reaches back, at
    least and at most: from before that and from after.

    `code` are functions, classes and modules, `connections` objects that belong to one: what reloads and connections leave behind
    shows there long before it does in the memory.
    """

    footprint: Footprint
    database: int
    window_s: tuple[float, float]
    code: int
    connections: int

    def __str__(self) -> str:
        held = f"{self.code} functions, classes and modules, {self.connections} objects of connections"
        return f"{self.footprint}, {held}, {self.database / 2**20:.1f} MiB on disk, {self.window_s[0]:.1f} s of history"


@dataclass
class Soak:
    """What came of it."""

    samples: list[Sample] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    reloads: int = 0

    def __str__(self) -> str:
        head = f"{self.reloads} reloads, {self.connections} connections, {self.calls.total()} calls: {dict(self.calls)}"
        return "\n".join([head, *map(str, self.samples)])


async def soak(directory: Path, *, seed: int, seconds: float, reloads: int, clients: int = 4) -> Soak:
    """Load a server for so long at least, and reload its code so often at least. Raises AssertionError when anything is wrong."""
    chance = random.Random(seed)
    told = Soak()
    app, data = directory / "pond", directory / "data"
    await asyncio.to_thread(shutil.copytree, PROGRAMS / "pond", app)
    env = {"INTERLOCK_HISTORY_SECONDS": str(HISTORY_S), **GIVES_MEMORY_BACK}
    async with Server.handled(app, data, env=env) as server:
        loads = [_Load(server.url, random.Random(chance.getrandbits(64)), told) for _ in range(clients)]
        async with asyncio.TaskGroup() as group:
            for load in loads:
                group.create_task(load.run())
            try:
                await _change(server, app, data, chance, seconds, reloads, told)
            finally:
                for load in loads:
                    load.is_over = True
        counters = await server.query("pond:counters")
        for name in ("put", "socket", "http", "act"):
            assert counters[name] >= told.calls[name], f"{name}: {told.calls[name]} were answered, {counters[name]} stand"
        assert "never" not in counters
        assert await server.end(15) == 0
    return told


async def _change(server: Server, app: Path, data: Path, chance: random.Random, seconds: float, reloads: int, told: Soak) -> None:
    until = time.monotonic() + seconds
    pause = seconds / reloads
    while told.reloads < reloads or time.monotonic() < until:
        began = time.monotonic()
        mounts = chance.sample(_MOUNTS, chance.randint(0, len(_MOUNTS)))
        await asyncio.to_thread(_write, app, mounts, told.reloads, chance.random() < 0.3)
        answer = await server.told("reload")
        assert answer == "done", answer
        assert await server.query("extra:version") == told.reloads
        for mount in mounts:
            assert await server.call("mutation", "extra:count", mount=mount) >= 1
        told.reloads += 1
        if told.reloads % _RELOADS_A_SAMPLE == 0:
            asked_s = time.time()
            assert await server.told("house") == "done"
            told_s = time.time()
            alive = await server.alive()
            told.samples.append(await asyncio.to_thread(_sample, server, data, (asked_s, told_s), *alive))
        await asyncio.sleep(max(0.0, began + pause - time.monotonic()))


def _write(app: Path, mounts: list[str], version: int, has_more: bool) -> None:
    """Other code: other mounts, a table more or less, an index more or less."""
    uses = "\n".join(f'app.use("sharded_counter", name="{mount}", isolation="inline")' for mount in mounts)
    (app / "app.py").write_text(f"from interlock import App\n\napp = App()\n{uses}\n")
    schema = (PROGRAMS / "pond/schema.py").read_text()
    if has_more:
        schema = schema.replace('"number")', '"number").index("by_text", "text")').replace(
            "schema = Schema(", 'schema = Schema(\n    more=Table({"a": int}),'
        )
    (app / "schema.py").write_text(schema)
    (app / "extra.py").write_text(
        "from interlock import MutationCtx, QueryCtx, components, mutation, query\n\n"
        f"@query\ndef version(ctx: QueryCtx) -> int:\n    return {version}\n\n"
        "@mutation\nasync def count(ctx: MutationCtx, mount: str) -> float:\n"
        '    await ctx.run_mutation(getattr(components, mount).add, name="a", count=1)\n'
        '    return float(await ctx.run_query(getattr(components, mount).count, name="a"))\n'
    )


def _sample(server: Server, data: Path, kept_s: tuple[float, float], code: int, connections: int) -> Sample:
    size = sum(file.stat().st_size for file in data.glob("interlock.sqlite3*"))
    connection = sqlite3.connect(f"file:{data / 'interlock.sqlite3'}?mode=ro", uri=True)
    (oldest,) = connection.execute("SELECT min(first) FROM log").fetchone()
    connection.close()
    window_s = (kept_s[0] - oldest / 1e9, kept_s[1] - oldest / 1e9)
    return Sample(server.footprint, size, window_s, code, connections)


class _Load:
    """One client: calls on a socket with a live query, that is left and taken again; and over HTTP beside it."""

    def __init__(self, url: str, chance: random.Random, told: Soak) -> None:
        self._url, self._chance, self._told = url, chance, told
        self.is_over = False

    async def run(self) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=PATIENCE_S) as client:
            while not self.is_over:
                async with connect(self._url.replace("http", "ws") + "/api/1.48.0/sync", max_size=None) as socket:
                    self._told.connections += 1
                    await self._talk(socket, client)

    async def _talk(self, socket: ClientConnection, client: httpx.AsyncClient) -> None:
        chance = self._chance
        await socket.send(json.dumps({"type": "Connect", "sessionId": str(uuid.uuid4()), "connectionCount": 0}))
        add = {"type": "Add", "queryId": 0, "udfPath": "pond:newest", "args": [{"count": chance.randint(1, 20)}]}
        await socket.send(json.dumps({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [add]}))
        for number in range(_CALLS_A_CONNECTION):
            name, args = chance.choice(_CALLS)
            await socket.send(json.dumps({"type": "Mutation", "requestId": number, "udfPath": f"pond:{name}", "args": [args]}))
            async with asyncio.timeout(PATIENCE_S):
                while (message := json.loads(await socket.recv()))["type"] != "MutationResponse":
                    assert message["type"] in ("Transition", "Ping"), message
            assert message["success"] == (name != "fail"), message
            self._told.calls[args.get("name", name)] += 1
            kind, name, args = chance.choice(_HTTP_CALLS)
            answer = (await client.post(f"/api/{kind}", json={"path": f"pond:{name}", "args": args, "format": "json"})).json()
            assert answer["status"] == "success", answer
            self._told.calls[args.get("name", name)] += 1
            if self.is_over:
                break


_CALLS: list[tuple[str, dict[str, Any]]] = [
    ("bump", {"name": "socket"}),
    ("bump", {"name": "socket"}),
    ("put", {"size": 2_000}),
    ("plan", {"seconds": 0.0}),
    ("plan", {"seconds": 0.5}),
    ("fail", {}),
]
_HTTP_CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("mutation", "bump", {"name": "http"}),
    ("query", "newest", {"count": 5}),
    ("query", "counters", {}),
    ("action", "act", {}),
]
