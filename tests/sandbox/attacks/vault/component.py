"""Keeps something that another component is after."""

from interlock import Component, MutationCtx, PaginationOptions, QueryCtx, Schema, Table

component = Component("vault", schema=Schema(secrets=Table({"text": str})))


@component.mutation
async def put(ctx: MutationCtx, text: str) -> str:
    return await ctx.db.insert("secrets", {"text": text})


@component.mutation
async def change(ctx: MutationCtx, id: str, text: str) -> None:
    await ctx.db.patch(id, {"text": text})


@component.query
async def texts(ctx: QueryCtx) -> list[str]:
    return [row["text"] async for row in ctx.db.query("secrets")]


@component.query
async def page(ctx: QueryCtx) -> str:
    return (await ctx.db.query("secrets").paginate(PaginationOptions(num_items=1))).continue_cursor


@component.mutation
async def handle(ctx: MutationCtx) -> str:
    return await ctx.function_handle(texts)


@component.mutation
async def revoke(ctx: MutationCtx, handle: str) -> None:
    await ctx.revoke_handle(handle)


@component.mutation
async def later(ctx: MutationCtx) -> str:
    return await ctx.scheduler.run_after(3600, put, text="later")


@component.mutation(internal=True)
async def inner(ctx: MutationCtx) -> str:
    return "the secret"
