"""Counters, and items of which the oldest makes room for the newest."""

from typing import Any

from interlock import ActionCtx, AppError, MutationCtx, QueryCtx, action, mutation, query

ITEMS = 60


@mutation
async def bump(ctx: MutationCtx, name: str) -> int:
    counter = await ctx.db.query("counters").index("by_name", name=name).unique()
    if counter is None:
        await ctx.db.insert("counters", {"name": name, "value": 1})
        return 1
    await ctx.db.patch(counter["_id"], {"value": counter["value"] + 1})
    return int(counter["value"]) + 1


@mutation
async def put(ctx: MutationCtx, size: int) -> int:
    """A new item for the oldest one. `bump`s "put" too."""
    number = int(await ctx.run_mutation(bump, name="put"))
    await ctx.db.insert("items", {"text": "x" * size, "number": number})
    items = await ctx.db.query("items").index("by_number").collect()
    for item in items[:-ITEMS]:
        await ctx.db.delete(item["_id"])
    return number


@mutation
async def plan(ctx: MutationCtx, seconds: float) -> None:
    await ctx.scheduler.run_after(seconds, bump, name="job")
    await ctx.scheduler.run_after(seconds, act)


@mutation
async def fail(ctx: MutationCtx) -> None:
    await ctx.run_mutation(bump, name="never")
    raise AppError("always")


@action
async def act(ctx: ActionCtx) -> Any:
    return await ctx.run_mutation(bump, name="act")


@query
async def newest(ctx: QueryCtx, count: int) -> list[int]:
    return [item["number"] async for item in ctx.db.query("items").index("by_number").order("desc")][:count]


@query
async def counters(ctx: QueryCtx) -> dict[str, int]:
    return {counter["name"]: counter["value"] async for counter in ctx.db.query("counters")}
