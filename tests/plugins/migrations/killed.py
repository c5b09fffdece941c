"""The process that `test_crashes` kills: a migration of a table on a file, which an aggregate follows while others write to it.

Every document counts how often it was passed. With `end` the process goes on to the end, and prints what is there.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from random import Random
from typing import Any

from interlock import Backend, Component, MutationCtx, QueryCtx, Schema, Table, components
from interlock_aggregate import TableAggregate
from interlock_migrations import Migrations

ROWS = 800

shop = Component("shop", schema=Schema(scores=Table({"game": str, "points": int, "passed": int}).index("game", "game")))
shop.use("aggregate")
shop.use("migrations")
migrations = Migrations(components.migrations, decorate=shop.mutation)
board = TableAggregate(
    components.aggregate, "scores", namespace=lambda d: d["game"], sort_key=lambda d: d["points"], sum_value=lambda d: d["points"]
)
shop.trigger("scores")(board.on_change)


@migrations.define("scores", batch_size=25)
async def double(ctx: MutationCtx, doc: dict[str, Any]) -> dict[str, Any]:
    return {"points": doc["points"] * 2, "passed": doc["passed"] + 1}


@shop.mutation
async def fill(ctx: MutationCtx, first: int, count: int) -> int:
    for n in range(first, first + count):
        await ctx.db.insert("scores", {"game": "ab"[n % 2], "points": n, "passed": 0})
    return await ctx.db.query("scores").count()


@shop.mutation
async def move(ctx: MutationCtx, at: int) -> None:
    """Somebody else's write: a score goes to the other game."""
    rows = await ctx.db.query("scores").index("game", game="ab"[at % 2]).take(at % 40 + 1)
    await ctx.db.patch(rows[-1]["_id"], {"game": "ba"[at % 2]})


@shop.mutation
async def begin(ctx: MutationCtx) -> None:
    await migrations.run_one(ctx, double)


@shop.query
async def facts(ctx: QueryCtx) -> dict[str, Any]:
    (status,) = await migrations.get_status(ctx, [double])
    return {"state": status.state, "processed": status.processed, "error": status.error}


@shop.query
async def found(ctx: QueryCtx) -> dict[str, Any]:
    """What the table holds, and what the aggregate says of it."""
    rows = await ctx.db.query("scores").collect()
    table, told = {}, {}
    for game in "ab":
        points = sorted(row["points"] for row in rows if row["game"] == game)
        table[game] = [len(points), sum(points), points[len(points) // 2]]
        count = await board.count(ctx, namespace=game)
        told[game] = [count, await board.sum(ctx, namespace=game), (await board.at(ctx, count // 2, namespace=game)).key]
    return {"passed": dict(Counter(str(row["passed"]) for row in rows)), "table": table, "told": told}


async def main(data: str, to_the_end: bool) -> None:
    async with Backend(shop, data=data) as backend:
        there = await backend.mutation("fill", first=0, count=0)
        while there < ROWS:
            there = await backend.mutation("fill", first=there, count=400)
        await backend.mutation("begin")
        print("open", flush=True)
        chance = Random(1)
        while True:
            await backend.mutation("move", at=chance.randrange(1_000))
            now = await backend.query("facts")
            if now["state"] == "failed" or (to_the_end and now["state"] == "success"):
                print(json.dumps({**now, **await backend.query("found")}), flush=True)
                return
            await asyncio.sleep(0.005)


asyncio.run(main(sys.argv[1], len(sys.argv) > 2))
