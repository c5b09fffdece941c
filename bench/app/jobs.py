"""Jobs: many that wait, and many that are due at once."""

from interlock import MutationCtx, QueryCtx, mutation, query


@mutation(internal=True)
async def work(ctx: MutationCtx, by: str) -> None:
    await ctx.db.insert("done", {"by": by})


@mutation
async def plan(ctx: MutationCtx, count: int, seconds: float) -> None:
    for _ in range(count):
        await ctx.scheduler.run_after(seconds, work, by="plan")


@query
async def done(ctx: QueryCtx) -> int:
    return await ctx.db.query("done").count()
