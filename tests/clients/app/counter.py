"""A number per name: the smallest thing that can be subscribed to and changed."""

from interlock import ActionCtx, MutationCtx, QueryCtx, action, mutation, query


@query
async def get(ctx: QueryCtx, name: str = "n") -> float:
    ctx.log.info("reading", name)
    row = await ctx.db.query("counters").index("by_name", name=name).unique()
    return row["value"] if row else 0.0


@mutation
async def add(ctx: MutationCtx, n: float = 1, name: str = "n") -> float:
    ctx.log.info("adding", n)
    row = await ctx.db.query("counters").index("by_name", name=name).unique()
    if row is None:
        await ctx.db.insert("counters", {"name": name, "value": n})
        return n
    await ctx.db.patch(row["_id"], {"value": row["value"] + n})
    return float(row["value"] + n)


@mutation
async def touch_nothing(ctx: MutationCtx) -> str:
    return "nothing"


@mutation(internal=True)
async def add_secretly(ctx: MutationCtx, n: float, name: str = "n") -> float:
    return await add(ctx, n, name)


@action
async def add_twice(ctx: ActionCtx, n: float, name: str = "n") -> float:
    await ctx.run_mutation(add, n=n, name=name)
    after: float = await ctx.run_mutation(add, n=n, name=name)
    return after
