"""A counter is one document. `salt` makes a query one that was never asked for."""

from typing import Any

from interlock import MutationCtx, QueryCtx, mutation, query


@mutation
async def add(ctx: MutationCtx, name: str) -> int:
    row = await ctx.db.query("counters").index("by_name", name=name).unique()
    if row is None:
        await ctx.db.insert("counters", {"name": name, "value": 1})
        return 1
    await ctx.db.patch(row["_id"], {"value": row["value"] + 1})
    return int(row["value"]) + 1


@query
async def of(ctx: QueryCtx, name: str, salt: int = 0) -> int:
    row = await ctx.db.query("counters").index("by_name", name=name).unique()
    return 0 if row is None else int(row["value"])


@query
async def newest(ctx: QueryCtx, count: int, salt: int = 0) -> list[dict[str, Any]]:
    return await ctx.db.query("counters").order("desc").take(count)
