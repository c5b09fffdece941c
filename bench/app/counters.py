"""The naive counter (read, add one, write), the same through a component, and reading it."""

from interlock import MutationCtx, QueryCtx, components, mutation, query
from interlock_sharded_counter import ShardedCounter

sharded = ShardedCounter(components.sharded_counter, default_shards=1)
sealed = ShardedCounter(components.sealed_counter, default_shards=1)


@mutation
async def add(ctx: MutationCtx, name: str) -> int:
    row = await ctx.db.query("counters").index("by_name", name=name).first()
    if row is None:
        await ctx.db.insert("counters", {"name": name, "n": 1})
        return 1
    n: int = row["n"] + 1
    await ctx.db.patch(row["_id"], {"n": n})
    return n


@mutation
async def add_sharded(ctx: MutationCtx, name: str) -> None:
    await sharded.add(ctx, name)


@mutation
async def add_sealed(ctx: MutationCtx, name: str) -> None:
    await sealed.add(ctx, name)


@query
async def get(ctx: QueryCtx, name: str) -> int:
    row = await ctx.db.query("counters").index("by_name", name=name).first()
    return row["n"] if row is not None else 0


@query
async def total(ctx: QueryCtx) -> int:
    return sum([row["n"] async for row in ctx.db.query("counters")])


@query
async def total_sharded(ctx: QueryCtx, name: str) -> float:
    return await sharded.count(ctx, name)


@query
async def total_of_mount(ctx: QueryCtx, is_sealed: bool, first: int, names: int) -> float:
    counter = sealed if is_sealed else sharded
    return float(sum([await counter.count(ctx, f"c{n}") for n in range(first, first + names)]))
