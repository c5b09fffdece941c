"""Queries that a mutation asks of its begin: they see nothing of it, and it depends on nothing of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.placed import placed

from interlock import CallRefused, Component, LimitExceeded, Limits, MutationCtx, QueryCtx, Schema, Table

from .rooms import gated, running

pytestmark = pytest.mark.usefixtures("both_isolations")


def component() -> Component:
    return Component("app", schema=Schema(notes=Table({"n": int}).index("by_n", "n"), log=Table({"text": str})))


async def test_a_stale_query_reads_the_begin_and_depends_on_nothing() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.query
        async def read(ctx: QueryCtx) -> list[int]:
            return [row["n"] for row in await ctx.db.query("notes").collect()]

        @app.mutation
        async def outer(ctx: MutationCtx, gate: str) -> list[Any]:
            await ctx.db.insert("notes", {"n": 2})
            stale = await ctx.run_query(read.options(stale=True))
            await ctx.run_query(gate)
            return [stale, ctx.metrics().used["documents_read"]]

        @app.mutation
        async def stale_write(ctx: MutationCtx) -> None:
            await ctx.run_mutation(outer.options(stale=True), gate="")

        return app

    async with gated(app) as (rooms, gate):
        await rooms.on_the_spot(lambda ctx: ctx.db.insert("notes", {"n": 1}), "app")
        task = asyncio.ensure_future(rooms.mutation("outer", "app", gate=gate.handle))
        await gate.arrived()
        await rooms.on_the_spot(lambda ctx: ctx.db.insert("notes", {"n": 5}), "app")
        gate.opened.set()
        assert await task == [[1], 0]
        assert len(gate.said) == 1
        with pytest.raises(CallRefused, match="stale"):
            await rooms.mutation("stale_write", "app")


async def test_a_stale_query_has_limits_of_its_own() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.query
        async def read(ctx: QueryCtx, how: str) -> int:
            query = ctx.db.query("notes")
            return len(await query.collect()) if how == "collect" else len([row async for row in query])

        @app.mutation
        async def outer(ctx: MutationCtx, how: str, most: int) -> list[Any]:
            stale = read.options(stale=True, limits=Limits(documents_read=most))
            return [await ctx.run_query(stale, how=how), ctx.metrics().used["documents_read"]]

        return app

    async with running(app) as rooms:
        for n in range(10):
            await rooms.on_the_spot(lambda ctx, n=n: ctx.db.insert("notes", {"n": n}))
        for how in ("collect", "iterate"):
            assert await rooms.mutation("outer", how=how, most=10) == [10, 0]
            with pytest.raises(LimitExceeded, match="documents_read"):
                await rooms.mutation("outer", how=how, most=9)
