"""Marks, in the order of their making and in the order of their commits."""

from typing import Any

from interlock import CommitTimestamp, MutationCtx, QueryCtx, mutation, query


@mutation
async def mark(ctx: MutationCtx, kind: str, count: int = 1) -> None:
    for _ in range(count):
        await ctx.db.insert("marks", {"kind": kind, "now": ctx.now(), "at": CommitTimestamp()})


@mutation
async def plan(ctx: MutationCtx, kind: str, seconds: float) -> str:
    return await ctx.scheduler.run_after(seconds, mark, kind=kind)


@query
async def by_creation(ctx: QueryCtx) -> list[dict[str, Any]]:
    return [await _as_text(row) async for row in ctx.db.query("marks")]


@query
async def by_commit(ctx: QueryCtx) -> list[dict[str, Any]]:
    return [await _as_text(row) async for row in ctx.db.query("marks").index("by_at")]


@query
async def states(ctx: QueryCtx) -> list[str]:
    return [job.state for job in await ctx.scheduler.list() if job.args["kind"] != "tick"]


@query
async def ticks_due(ctx: QueryCtx) -> list[float]:
    """When each tick that has run was due. One that is late runs in the second of the next."""
    return [job.scheduled_time for job in await ctx.scheduler.list(state="success") if job.args["kind"] == "tick"]


async def _as_text(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "at": str(row["at"])}
