"""Functions that raise what is meant to end more than a call: they end that call, and nobody else notices."""

from __future__ import annotations

import asyncio
import sys

import pytest

from interlock import ActionCtx, Component, FunctionAborted, MutationCtx, QueryCtx, Schema, Table
from interlock.testing import TestBackend

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


@pytest.mark.parametrize(
    "kind, name",
    [
        ("query", "leaves"),
        ("mutation", "writes_and_leaves"),
        ("mutation", "cancels"),
        ("mutation", "closes"),
        ("mutation", "closes_later"),
        ("mutation", "closes_plainly"),
        ("mutation", "is_closed"),
        ("action", "waits_for_what_it_cancelled"),
        ("action", "leaves_its_thread"),
    ],
)
async def test_it_ends_its_own_call_with_an_error_and_leaves_nothing(kind: str, name: str) -> None:
    async with TestBackend(component) as t:
        with pytest.raises(FunctionAborted, match=name):
            await getattr(t, kind)(name)
        assert await t.run(lambda ctx: ctx.db.query("rows").collect()) == []


async def test_a_job_that_does_fails_and_others_run() -> None:
    async with TestBackend(component) as t:
        job = await t.mutation("later")
        await t.advance(1)

        async def state_of(ctx: MutationCtx) -> str:
            found = await ctx.scheduler.get(job)
            return found.state if found is not None else "gone"

        assert await t.run(state_of) == "failed"
        assert await t.mutation("goes_on") == 1


async def test_a_cancellation_from_outside_still_passes() -> None:
    async with TestBackend(component) as t:

        async def waits(ctx: ActionCtx) -> None:
            await asyncio.Event().wait()

        task = asyncio.ensure_future(t.action(waits))
        for _ in range(20):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
