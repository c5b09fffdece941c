"""What the app does itself, and its calls of the components."""

import time

from interlock import ActionCtx, InterlockError, Limits, MutationCtx, QueryCtx, action, components, mutation, query


@mutation
async def add(ctx: MutationCtx, name: str) -> int:
    """The naive counter: work of the app's own, beside whatever a component does."""
    row = await ctx.db.query("counters").index("by_name", name=name).first()
    if row is None:
        await ctx.db.insert("counters", {"name": name, "n": 1})
        return 1
    n: int = row["n"] + 1
    await ctx.db.patch(row["_id"], {"n": n})
    return n


@mutation
async def no_ops(ctx: MutationCtx, count: int) -> list[float]:
    """Calls of a component that does nothing, in turn: how many milliseconds each took."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        await ctx.run_mutation(components.quiet.no_op)
        took.append((time.perf_counter() - began) * 1e3)
    return took


@query
async def nothing(ctx: QueryCtx) -> None:
    """An answer without work."""


@action
async def attack(ctx: ActionCtx, how: str, seconds: float) -> str:
    try:
        await ctx.run_action(components.hostile[how].options(limits=Limits(deadline=seconds)))
    except InterlockError as error:
        return f"{type(error).__name__}: {error}"
    return "it came back"


@mutation
async def plant(ctx: MutationCtx) -> None:
    """The first of jobs without end."""
    await ctx.run_mutation(components.hostile.jobs)
