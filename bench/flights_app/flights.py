"""A table of flights, and a migration that calls a function for each of them."""

from typing import Any

from interlock import MutationCtx, QueryCtx, components, mutation, query
from interlock_migrations import Migrations

migrations = Migrations(components.migrations)


@migrations.define("flights")
async def set_speed(ctx: MutationCtx, doc: dict[str, Any]) -> dict[str, Any]:
    return {"mph": doc["miles"] / doc["minutes"] * 60}


migrate = migrations.runner(set_speed)


@mutation
async def load(ctx: MutationCtx, flights: list[dict[str, Any]]) -> None:
    for flight in flights:
        await ctx.db.insert("flights", flight)


@query
async def progress(ctx: QueryCtx) -> dict[str, Any]:
    (status,) = await migrations.get_status(ctx, [set_speed])
    return {"state": status.state, "processed": status.processed, "error": status.error}


@query
async def sample(ctx: QueryCtx) -> list[dict[str, Any]]:
    return await ctx.db.query("flights").take(100)
