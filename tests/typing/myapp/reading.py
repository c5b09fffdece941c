"""Section 2: reading."""

from typing import Any, assert_type

from interlock import Page, PaginationOptions, QueryCtx, Range, query
from interlock.sdk.query import Query


@query
async def everything(ctx: QueryCtx, g: str, pagination_opts: PaginationOptions) -> Page[str]:
    q = ctx.db.query("guesses")
    q = q.index("by_game_score", game=g, score=Range(gte=10, lt=20))
    assert_type(q, Query)
    tasks = ctx.db.query("tasks").index("by_state", {"state.kind": "done"})
    q = q.order("desc")
    q = q.filter(lambda d: d["word"] != "x")
    first = await q.first()
    assert_type(first, dict[str, Any] | None)
    assert_type(await tasks.unique(), dict[str, Any] | None)
    assert_type(await q.take(20), list[dict[str, Any]])
    assert_type(await q.collect(), list[dict[str, Any]])
    assert_type(await q.count(), int)
    async for row in q:
        assert_type(row, dict[str, Any])
    page = await q.paginate(pagination_opts)
    assert_type(page, Page[dict[str, Any]])
    assert_type(page.continue_cursor, str)
    return page.map(lambda row: str(row["word"]))


@query
async def awaited_filter(ctx: QueryCtx) -> int:
    async def is_long(row: dict[str, Any]) -> bool:
        return len(row["word"]) > 5

    return await ctx.db.query("guesses").filter(is_long).count()
