"""A component to mount: a table of its own that others have names for too, an internal function, a child."""

from __future__ import annotations

from typing import Any

from interlock import AppError, Component, MutationCtx, Page, PaginationOptions, QueryCtx, Schema, Table

crumb = Component("crumb")


@crumb.query
async def taste(ctx: QueryCtx) -> str:
    return "dry"


pile = Component("pile", schema=Schema(notes=Table({"n": int}).index("by_n", "n")))
pile.use(crumb, isolation="inline")

calls = 0


@pile.mutation
async def put(ctx: MutationCtx, n: int) -> str:
    return await ctx.db.insert("notes", {"n": n})


@pile.mutation
async def put_later(ctx: MutationCtx, n: int, seconds: float) -> str:
    return await ctx.scheduler.run_after(seconds, put, n=n)


@pile.mutation
async def put_and_fail(ctx: MutationCtx, n: int, data: Any) -> None:
    await ctx.db.insert("notes", {"n": n})
    await ctx.scheduler.run_after(60, put, n=n)
    raise AppError(data)


@pile.query
async def numbers(ctx: QueryCtx) -> list[int]:
    return [row["n"] for row in await ctx.db.query("notes").collect()]


@pile.query
async def size(ctx: QueryCtx) -> int:
    return await ctx.db.query("notes").count()


@pile.query
async def echo(ctx: QueryCtx, id: str) -> str:
    return id


@pile.query
async def get(ctx: QueryCtx, id: str) -> Any:
    return await ctx.db.get(id)


@pile.query
async def page(ctx: QueryCtx, options: PaginationOptions) -> Page[int]:
    return (await ctx.db.query("notes").index("by_n").paginate(options)).map(lambda row: row["n"])


@pile.mutation(internal=True)
async def clear(ctx: MutationCtx) -> None:
    for row in await ctx.db.query("notes").collect():
        await ctx.db.delete(row["_id"])


@pile.mutation
async def count_calls(ctx: MutationCtx) -> int:
    """Keeps its count in the module, which it should not."""
    global calls
    calls += 1
    return calls
