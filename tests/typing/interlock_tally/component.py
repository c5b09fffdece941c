"""Section 3: a component."""

from typing import Any, assert_type

from interlock import ActionCtx, Change, Component, MutationCtx, QueryCtx, Request, Response, Schema, Table

component = Component(
    "tally",
    schema=Schema(counters=Table({"name": str, "shard": int, "value": float}).index("by_name", "name", "shard")),
    env={},
    permissions=[],
)
component.use("workpool")


@component.mutation
async def add(ctx: MutationCtx, name: str, count: float = 1) -> float:
    row = await ctx.db.query("counters").index("by_name", name=name).first()
    if row is None:
        await ctx.db.insert("counters", {"name": name, "shard": 0, "value": count})
        return count
    await ctx.db.patch(row["_id"], {"value": row["value"] + count})
    return float(row["value"] + count)


@component.query
async def count(ctx: QueryCtx, name: str) -> float:
    return float(sum([row["value"] async for row in ctx.db.query("counters").index("by_name", name=name)]))


@component.action(internal=True, name="report_all")
async def report(ctx: ActionCtx, to: str, **rest: Any) -> None:
    assert_type(await ctx.run_query(count, name=to), Any)


@component.trigger("counters")
async def on_counters(ctx: MutationCtx, change: Change) -> None:
    assert_type(change.id, str)
    assert_type(change.old, dict[str, Any] | None)
    if change.kind == "insert" and change.new is not None:
        await add(ctx, "inserts")


@component.http("POST", "/webhook")
async def webhook(ctx: ActionCtx, request: Request) -> Response:
    await ctx.run_mutation(add, name=request.json()["name"])
    return Response("ok", status=201)


component.cron("report", every=3600, args={"to": "ada"})(report)


async def within(ctx: MutationCtx) -> None:
    assert_type(await add(ctx, "x", count=2), float)
    assert_type(await count(ctx, name="x"), float)
    await on_counters(ctx, Change("delete", "id", {}, None))
