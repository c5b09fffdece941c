"""A component whose functions raise what is meant to end more than a call."""

from __future__ import annotations

import asyncio
import sys

from interlock import ActionCtx, Component, FunctionAborted, MutationCtx, QueryCtx, Schema, Table

component = Component("rough", schema=Schema(rows=Table({"n": int})))


@component.query
async def leaves(ctx: QueryCtx) -> None:
    sys.exit(3)


@component.mutation
async def writes_and_leaves(ctx: MutationCtx) -> None:
    await ctx.db.insert("rows", {"n": 1})
    raise SystemExit(2)


@component.mutation
async def cancels(ctx: MutationCtx) -> None:
    await ctx.db.insert("rows", {"n": 1})
    raise asyncio.CancelledError


@component.mutation
async def closes(ctx: MutationCtx) -> None:
    await ctx.db.insert("rows", {"n": 1})
    raise GeneratorExit


@component.mutation
async def closes_later(ctx: MutationCtx) -> None:
    await ctx.db.insert("rows", {"n": 1})
    await asyncio.sleep(0)
    raise GeneratorExit


@component.mutation
def closes_plainly(ctx: MutationCtx) -> None:
    raise GeneratorExit


@component.mutation
async def is_closed(ctx: MutationCtx) -> None:
    for name in (closes, closes_later, closes_plainly):
        try:
            await ctx.run_mutation(name)
        except FunctionAborted:
            continue
        raise AssertionError(name)
    sys.exit(0)


@component.action
async def waits_for_what_it_cancelled(ctx: ActionCtx) -> None:
    task = asyncio.ensure_future(asyncio.sleep(60))
    task.cancel()
    await task


@component.action
def leaves_its_thread(ctx: ActionCtx) -> None:
    sys.exit(1)


@component.mutation
async def later(ctx: MutationCtx) -> str:
    return await ctx.scheduler.run_after(0, writes_and_leaves)


@component.mutation
async def goes_on(ctx: MutationCtx) -> int:
    try:
        await ctx.run_mutation(writes_and_leaves)
    except FunctionAborted:
        await ctx.db.insert("rows", {"n": 7})
    return len(await ctx.db.query("rows").collect())
