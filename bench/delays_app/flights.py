"""The same table, followed by an aggregate of delays, which is attached while reports come in."""

from typing import Any

from interlock import MutationCtx, QueryCtx, components, mutation, query, trigger
from interlock_aggregate import TableAggregate
from interlock_migrations import Migrations

delays = TableAggregate(components.delays, "flights", sort_key=lambda d: d["delay"], sum_value=lambda d: d["delay"])
trigger("flights")(delays.on_change)
upkeep = delays.runner()

migrations = Migrations(components.migrations)


@migrations.define("flights")
async def add_a_minute(ctx: MutationCtx, doc: dict[str, Any]) -> dict[str, Any]:
    return {"delay": doc["delay"] + 1}


migrate = migrations.runner(add_a_minute)


@mutation
async def attach(ctx: MutationCtx) -> None:
    await delays.attach(ctx)


@mutation
async def report(ctx: MutationCtx, flight: dict[str, Any]) -> None:
    await ctx.db.insert("flights", flight)


@query
async def progress(ctx: QueryCtx) -> dict[str, Any]:
    attached = await delays.progress(ctx, "attach")
    (status,) = await migrations.get_status(ctx, [add_a_minute])
    return {"attach": attached.state if attached else None, "state": status.state, "processed": status.processed, "error": status.error}


@query
async def totals(ctx: QueryCtx) -> list[float]:
    return [await delays.count(ctx), await delays.sum(ctx)]
