"""A component with pages of its own."""

from typing import Any

from interlock import Component, MutationCtx, Page, PaginationOptions, QueryCtx, Schema, Table

component = Component("shelf", schema=Schema(books=Table({"title": str}).index("by_title", "title")))


@component.mutation
async def put(ctx: MutationCtx, title: str) -> str:
    return await ctx.db.insert("books", {"title": title})


@component.query
async def titles(ctx: QueryCtx, pagination_opts: PaginationOptions) -> Page[dict[str, Any]]:
    return await ctx.db.query("books").index("by_title").paginate(pagination_opts)


@component.query
async def size(ctx: QueryCtx) -> int:
    return len(await ctx.db.query("books").collect())
