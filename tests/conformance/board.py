"""The app of the cases that are about clients: functions that anybody may call, over a component that does what they say."""

from __future__ import annotations

from typing import Any

from tests.placed import replaced

from interlock import ActionCtx, App, MutationCtx, PaginationOptions, QueryCtx, action, components, mutation, query

from .interleaving import Pause
from .notes import notes
from .pile import pile

app = App()
app.use(replaced(notes), isolation="inline")
app.use(replaced(pile), isolation="inline")

pauses: dict[str, Pause] = {}
"""Where functions stop that are given the name of a pause."""


@query
async def echo(ctx: QueryCtx, value: Any) -> Any:
    return await ctx.run_query(components.notes.echo, value=value)


@mutation
async def store(ctx: MutationCtx, value: Any) -> Any:
    return await ctx.run_mutation(components.notes.store, value=value)


@query
async def stored(ctx: QueryCtx) -> Any:
    return await ctx.run_query(components.notes.stored)


@mutation
async def add(ctx: MutationCtx, n: int, text: str | None = None) -> str:
    return str(await ctx.run_mutation(components.notes.add, n=n, text=text))


@mutation
async def edit(ctx: MutationCtx, id: str, text: str) -> None:
    await ctx.run_mutation(components.notes.edit, id=id, text=text)


@mutation
async def remove(ctx: MutationCtx, low: int, high: int) -> None:
    await ctx.run_mutation(components.notes.remove, low=low, high=high)


@query
async def numbers(ctx: QueryCtx, low: int = 0, high: int = 1_000_000) -> Any:
    return await ctx.run_query(components.notes.numbers, low=low, high=high)


@query
async def total(ctx: QueryCtx) -> Any:
    return await ctx.run_query(components.notes.total)


@query
async def no_doubles(ctx: QueryCtx) -> Any:
    return await ctx.run_query(components.notes.no_doubles)


@query
async def page(ctx: QueryCtx, pagination_opts: PaginationOptions, **which: Any) -> Any:
    return await ctx.run_query(components.notes.page, options=pagination_opts, **which)


@query
async def two_pages(ctx: QueryCtx, first: PaginationOptions, second: PaginationOptions) -> Any:
    return await ctx.run_query(components.notes.two_pages, first=first, second=second)


@mutation
async def fill(ctx: MutationCtx, count: int) -> None:
    await ctx.run_mutation(components.notes.fill, count=count)


@query
async def gate(ctx: QueryCtx, pause: str) -> None:
    await pauses[pause]()


@mutation
async def read_slowly(ctx: MutationCtx, pause: str) -> Any:
    return await ctx.run_mutation(components.notes.read_slowly, gate=await ctx.function_handle(gate), pause=pause)


@action
async def act_slowly(ctx: ActionCtx, pause: str) -> Any:
    return await ctx.run_mutation(read_slowly, pause=pause)


@mutation(internal=True)
async def hidden(ctx: MutationCtx) -> None:
    pass


@query
async def pile_size(ctx: QueryCtx) -> int:
    size: int = await ctx.run_query(components.pile.size)
    return size
