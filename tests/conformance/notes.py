"""One table of numbered notes, in a component: what the cases about clients read and write."""

from __future__ import annotations

from typing import Any, NotRequired

from interlock import AppError, Component, MutationCtx, Page, PaginationOptions, QueryCtx, Range, Schema, Table

notes = Component("notes", schema=Schema(notes=Table({"n": int, "text": NotRequired[str]}).index("by_n", "n")))


@notes.query
async def echo(ctx: QueryCtx, value: Any) -> Any:
    return value


@notes.mutation
async def store(ctx: MutationCtx, value: Any) -> Any:
    await ctx.db.insert("values", {"value": value})
    return value


@notes.query
async def stored(ctx: QueryCtx) -> Any:
    row = await ctx.db.query("values").unique()
    return None if row is None else row["value"]


@notes.mutation
async def add(ctx: MutationCtx, n: int, text: str | None = None) -> str:
    return await ctx.db.insert("notes", {"n": n} if text is None else {"n": n, "text": text})


@notes.mutation
async def edit(ctx: MutationCtx, id: str, text: str) -> None:
    await ctx.db.patch(id, {"text": text})


@notes.mutation
async def remove(ctx: MutationCtx, low: int, high: int) -> None:
    for row in await ctx.db.query("notes").index("by_n", n=Range(gte=low, lt=high)).collect():
        await ctx.db.delete(row["_id"])


@notes.query
async def numbers(ctx: QueryCtx, low: int = 0, high: int = 1_000_000) -> list[int]:
    return [row["n"] for row in await ctx.db.query("notes").index("by_n", n=Range(gte=low, lt=high)).collect()]


@notes.query
async def total(ctx: QueryCtx) -> int:
    return sum(row["n"] for row in await ctx.db.query("notes").collect())


@notes.query
async def no_doubles(ctx: QueryCtx) -> list[int]:
    """Fails while two notes have one number."""
    seen: list[int] = []
    for row in await ctx.db.query("notes").index("by_n").collect():
        if row["n"] in seen:
            raise AppError({"double": row["n"]})
        seen.append(row["n"])
    return seen


@notes.query
async def page(
    ctx: QueryCtx, options: PaginationOptions, low: int = 0, descending: bool = False, texts: list[str] | None = None
) -> Page[int]:
    """Of the notes with a number from `low` on, and one of the `texts` if any are given."""
    found = ctx.db.query("notes").index("by_n", n=Range(gte=low)).order("desc" if descending else "asc")
    if texts is not None:
        found = found.filter(lambda row: row.get("text") in texts)
    return (await found.paginate(options)).map(lambda row: row["n"])


@notes.query
async def two_pages(ctx: QueryCtx, first: PaginationOptions, second: PaginationOptions) -> list[list[int]]:
    """A page from the front and one from the back."""
    front = await ctx.db.query("notes").index("by_n").paginate(first)
    back = await ctx.db.query("notes").index("by_n").order("desc").paginate(second)
    return [[row["n"] for row in found.page] for found in (front, back)]


@notes.mutation
async def fill(ctx: MutationCtx, count: int) -> None:
    """Notes with the numbers 0, 10, 20, …"""
    for n in range(count):
        await ctx.db.insert("notes", {"n": n * 10})


@notes.mutation
async def read_slowly(ctx: MutationCtx, gate: str, pause: str) -> list[int]:
    """Only reads, and stops in between."""
    found = [row["n"] for row in await ctx.db.query("notes").index("by_n").collect()]
    await ctx.run_query(gate, pause=pause)
    return found
