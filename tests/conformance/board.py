"""The app of the cases that are about clients: one table of numbered notes, and functions that anybody may call."""

from __future__ import annotations

from typing import Any, NotRequired

from interlock import (
    ActionCtx,
    App,
    AppError,
    MutationCtx,
    Page,
    PaginationOptions,
    QueryCtx,
    Range,
    Schema,
    Table,
    action,
    components,
    mutation,
    query,
)

from .interleaving import Pause
from .pile import pile

app = App()
app.use(pile, isolation="inline")
schema = Schema(notes=Table({"n": int, "text": NotRequired[str]}).index("by_n", "n"))

pauses: dict[str, Pause] = {}
"""Where functions stop that are given the name of a pause."""


@query
async def echo(ctx: QueryCtx, value: Any) -> Any:
    return value


@mutation
async def store(ctx: MutationCtx, value: Any) -> Any:
    await ctx.db.insert("values", {"value": value})
    return value


@query
async def stored(ctx: QueryCtx) -> Any:
    row = await ctx.db.query("values").unique()
    return None if row is None else row["value"]


@mutation
async def add(ctx: MutationCtx, n: int, text: str | None = None) -> str:
    return await ctx.db.insert("notes", {"n": n} if text is None else {"n": n, "text": text})


@mutation
async def edit(ctx: MutationCtx, id: str, text: str) -> None:
    await ctx.db.patch(id, {"text": text})


@mutation
async def remove(ctx: MutationCtx, low: int, high: int) -> None:
    for row in await ctx.db.query("notes").index("by_n", n=Range(gte=low, lt=high)).collect():
        await ctx.db.delete(row["_id"])


@query
async def numbers(ctx: QueryCtx, low: int = 0, high: int = 1_000_000) -> list[int]:
    return [row["n"] for row in await ctx.db.query("notes").index("by_n", n=Range(gte=low, lt=high)).collect()]


@query
async def total(ctx: QueryCtx) -> int:
    return sum(row["n"] for row in await ctx.db.query("notes").collect())


@query
async def no_doubles(ctx: QueryCtx) -> list[int]:
    """Fails while two notes have one number."""
    seen: list[int] = []
    for row in await ctx.db.query("notes").index("by_n").collect():
        if row["n"] in seen:
            raise AppError({"double": row["n"]})
        seen.append(row["n"])
    return seen


@query
async def page(
    ctx: QueryCtx, pagination_opts: PaginationOptions, low: int = 0, descending: bool = False, texts: list[str] | None = None
) -> Page[int]:
    """Of the notes with a number from `low` on, and one of the `texts` if any are given."""
    found = ctx.db.query("notes").index("by_n", n=Range(gte=low)).order("desc" if descending else "asc")
    if texts is not None:
        found = found.filter(lambda row: row.get("text") in texts)
    return (await found.paginate(pagination_opts)).map(lambda row: row["n"])


@query
async def two_pages(ctx: QueryCtx, first: PaginationOptions, second: PaginationOptions) -> list[list[int]]:
    """A page from the front and one from the back."""
    front = await ctx.db.query("notes").index("by_n").paginate(first)
    back = await ctx.db.query("notes").index("by_n").order("desc").paginate(second)
    return [[row["n"] for row in found.page] for found in (front, back)]


@mutation
async def fill(ctx: MutationCtx, count: int) -> None:
    """Notes with the numbers 0, 10, 20, …"""
    for n in range(count):
        await ctx.db.insert("notes", {"n": n * 10})


@mutation
async def read_slowly(ctx: MutationCtx, pause: str) -> list[int]:
    """Only reads, and stops in between."""
    found = [row["n"] for row in await ctx.db.query("notes").index("by_n").collect()]
    await pauses[pause]()
    return found


@action
async def act_slowly(ctx: ActionCtx, pause: str) -> list[int]:
    found: list[int] = await ctx.run_mutation(read_slowly, pause=pause)
    return found


@mutation(internal=True)
async def hidden(ctx: MutationCtx) -> None:
    pass


@query
async def pile_size(ctx: QueryCtx) -> int:
    size: int = await ctx.run_query(components.pile.size)
    return size
