"""Lists that are read page by page."""

from typing import Any

from interlock import MutationCtx, Page, PaginationOptions, QueryCtx, components, mutation, query

Item = dict[str, Any]


@query
async def page(ctx: QueryCtx, list: str, pagination_opts: PaginationOptions) -> Page[Item]:
    return await ctx.db.query("items").index("by_list_rank", list=list).paginate(pagination_opts)


@query
async def two_pages(ctx: QueryCtx, one: str, two: str, count: int) -> dict[str, Any]:
    """Two pages in one function."""
    options = PaginationOptions(num_items=count)
    first = await ctx.db.query("items").index("by_list_rank", list=one).paginate(options)
    second = await ctx.db.query("items").index("by_list_rank", list=two).paginate(options)
    return {"one": [item["rank"] for item in first.page], "two": [item["rank"] for item in second.page]}


@query
async def titles(ctx: QueryCtx, pagination_opts: PaginationOptions) -> Any:
    """Pages of a component, passed on."""
    return await ctx.run_query(components.shelf.titles, pagination_opts=pagination_opts)


@mutation
async def fill(ctx: MutationCtx, list: str, ranks: list[float]) -> None:
    for rank in ranks:
        await ctx.db.insert("items", {"list": list, "rank": rank})


@mutation
async def drop(ctx: MutationCtx, list: str, rank: float) -> None:
    for item in await ctx.db.query("items").index("by_list_rank", list=list, rank=rank).collect():
        await ctx.db.delete(item["_id"])


@mutation
async def put_title(ctx: MutationCtx, title: str) -> str:
    id: str = await ctx.run_mutation(components.shelf.put, title=title)
    return id
