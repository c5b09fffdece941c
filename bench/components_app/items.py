"""Aggregates: many operations in one function, and one insert through a trigger.

What only reads is a mutation too: a query would be answered from the query cache.
"""

from interlock import MutationCtx, components, mutation, trigger
from interlock_aggregate import DirectAggregate, Item, TableAggregate

KEYS = 10**9
items = DirectAggregate(components.items)
scores = TableAggregate(components.scores, "scored", sort_key=lambda d: d["points"], sum_value=lambda d: d["points"])
trigger("scored")(scores.on_change)


@mutation
async def fill(ctx: MutationCtx, first: int, count: int, of: int, scored: bool = False) -> None:
    """Items in the order of their keys, which are spread evenly."""
    filled = DirectAggregate(components.scores) if scored else items
    await filled.insert_many(ctx, [Item(n * KEYS // of, f"id{n}", 1) for n in range(first, first + count)])


@mutation
async def insert(ctx: MutationCtx, times: int) -> None:
    for _ in range(times):
        await items.insert(ctx, ctx.random.randrange(KEYS), f"new{ctx.random.getrandbits(64):x}", 1)


@mutation
async def at(ctx: MutationCtx, times: int, of: int) -> None:
    for _ in range(times):
        await items.at(ctx, ctx.random.randrange(of))


@mutation
async def rank(ctx: MutationCtx, times: int) -> None:
    for _ in range(times):
        await items.index_of(ctx, ctx.random.randrange(KEYS))


@mutation
async def count(ctx: MutationCtx, times: int) -> int:
    counted = 0
    for _ in range(times):
        counted = await items.count(ctx)
    return counted


@mutation
async def add_bare(ctx: MutationCtx) -> None:
    await ctx.db.insert("bare", {"points": ctx.random.randrange(KEYS)})


attempts = 0


@mutation
async def add_scored(ctx: MutationCtx) -> None:
    global attempts
    attempts += 1
    await ctx.db.insert("scored", {"points": ctx.random.randrange(KEYS)})


@mutation
async def totals(ctx: MutationCtx) -> list[int]:
    """How many were added through the trigger, what the aggregate counts, and how many attempts that took."""
    return [await ctx.db.query("scored").count(), await scores.count(ctx), attempts]
