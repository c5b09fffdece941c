"""Documents at places, read alone and in ranges. `salt` makes each question a new one, so that it is not answered from the cache."""

from typing import Any

from interlock import MutationCtx, QueryCtx, Range, mutation, query


@mutation
async def fill(ctx: MutationCtx, start: int, count: int) -> None:
    for at in range(start, start + count):
        await ctx.db.insert("points", {"at": at, "value": 0, "text": f"point {at}: the quick brown fox jumps over the lazy dog, again"})


@mutation
async def touch(ctx: MutationCtx, at: int) -> int:
    row = await ctx.db.query("points").index("by_at", at=at).first()
    assert row is not None
    value: int = row["value"] + 1
    await ctx.db.patch(row["_id"], {"value": value})
    return value


@query
async def between(ctx: QueryCtx, start: int, end: int) -> list[int]:
    return [row["value"] async for row in ctx.db.query("points").index("by_at", at=Range(gte=start, lt=end))]


@query
async def one(ctx: QueryCtx, at: int, salt: int = 0) -> dict[str, Any] | None:
    return await ctx.db.query("points").index("by_at", at=at).first()


@query
async def fifty(ctx: QueryCtx, at: int, salt: int = 0) -> list[dict[str, Any]]:
    return await ctx.db.query("points").index("by_at", at=Range(gte=at)).take(50)
