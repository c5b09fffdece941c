"""Section 3 of the contract: a component."""

from interlock import Component, MutationCtx, QueryCtx, Schema, Table

component = Component(
    "tally",
    schema=Schema(counters=Table({"name": str, "shard": int, "value": float}).index("by_name", "name", "shard")),
    env={},
    permissions=[],
)


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
