"""The transaction of one top-level call: alone in the world, whole or not at all, and run again when it has to be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.placed import placed

from interlock import AppError, Change, Component, MutationCtx, QueryCtx, Schema, Table
from interlock.engine import TableSpec
from interlock.functions.caller import Caller
from interlock.testing import TestBackend

from .rooms import gated, running

pytestmark = pytest.mark.usefixtures("both_isolations")


def component() -> Component:
    return Component("app", schema=Schema(notes=Table({"n": int}).index("by_n", "n"), log=Table({"text": str})))


async def test_concurrent_increments_are_all_counted() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.mutation
        async def start(ctx: MutationCtx) -> str:
            return await ctx.db.insert("notes", {"n": 0})

        @app.mutation
        async def increment(ctx: MutationCtx, note: str) -> None:
            row = await ctx.db.get(note)
            assert row is not None
            await asyncio.sleep(0)  # others run between the read and the write
            await ctx.db.patch(note, {"n": row["n"] + 1})

        return app

    async with running(app) as rooms:
        note = await rooms.mutation("start")

        async def caller() -> None:
            for _ in range(10):
                await rooms.mutation("increment", note=note)

        await asyncio.gather(*(caller() for _ in range(4)))
        assert await rooms.values("notes") == [40]


async def test_two_doctors_never_both_leave() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.mutation
        async def leave(ctx: MutationCtx, doctor: str) -> bool:
            on_call = [row for row in await ctx.db.query("notes").collect() if row["n"]]
            await asyncio.sleep(0)
            if len(on_call) < 2:
                return False
            await ctx.db.patch(doctor, {"n": 0})
            return True

        return app

    async with running(app) as rooms:
        ada = await rooms.on_the_spot(lambda ctx: ctx.db.insert("notes", {"n": 1}))
        bob = await rooms.on_the_spot(lambda ctx: ctx.db.insert("notes", {"n": 1}))
        left = await asyncio.gather(rooms.mutation("leave", doctor=ada), rooms.mutation("leave", doctor=bob))
        assert sorted(left) == [False, True]
        assert sum(await rooms.values("notes")) == 1


async def test_a_mutation_that_raises_leaves_nothing() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.mutation
        async def fail(ctx: MutationCtx) -> None:
            await ctx.db.insert("notes", {"n": 1})
            await ctx.db.insert("of_no_schema", {"x": 1})
            await ctx.scheduler.run_after(5, "fail")
            raise AppError("no")

        return app

    async with running(app) as rooms:
        with pytest.raises(AppError):
            await rooms.mutation("fail")
        assert await rooms.rows("notes") == []
        assert rooms.engine.catalog.get("", "of_no_schema") is None
        assert await rooms.on_the_spot(lambda ctx: ctx.scheduler.list()) == []


async def test_a_mutation_reads_its_own_writes_at_their_place() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.mutation
        async def write_and_read(ctx: MutationCtx) -> list[int]:
            first = await ctx.db.insert("notes", {"n": 5})
            await ctx.db.insert("notes", {"n": 2})
            await ctx.db.insert("notes", {"n": 9})
            await ctx.db.delete(first)
            return [row["n"] for row in await ctx.db.query("notes").index("by_n").collect()]

        return app

    async with running(app) as rooms:
        await rooms.on_the_spot(lambda ctx: ctx.db.insert("notes", {"n": 4}))
        assert await rooms.mutation("write_and_read") == [2, 4, 9]


async def test_time_stands_still_in_a_transaction_and_randomness_differs_between_attempts() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.mutation
        async def look(ctx: MutationCtx, note: str, gate: str) -> list[Any]:
            row = await ctx.db.get(note)
            await ctx.run_query(gate, said=[ctx.now(), ctx.random.random()])
            await ctx.db.patch(note, {"n": 1 + (row or {"n": 0})["n"]})
            return [ctx.now(), await ctx.run_query("inner"), str(ctx.uuid4())]

        @app.query
        async def inner(ctx: QueryCtx) -> float:
            return ctx.now()

        return app

    async with gated(app) as (rooms, gate):
        note = await rooms.on_the_spot(lambda ctx: ctx.db.insert("notes", {"n": 1}), "app")
        task = asyncio.ensure_future(rooms.mutation("look", "app", note=note, gate=gate.handle))
        await gate.arrived()
        await rooms.on_the_spot(lambda ctx: ctx.db.patch(note, {"n": 7}), "app")
        rooms.clock.move_to(rooms.clock.now_ms() + 50)
        gate.opened.set()
        outer, nested, uuid = await task
        first, second = gate.said[0], gate.said[-1]
        assert outer == nested == second[0] > first[0]
        assert first[1] != second[1]
        assert uuid[14] == "4"
        assert await rooms.values("notes", component_path="app") == [8]


async def test_the_same_seed_gives_the_same_randomness() -> None:
    async def draw() -> list[Any]:
        @placed
        def app() -> Component:
            app = component()

            @app.mutation
            async def outer(ctx: MutationCtx) -> list[float]:
                return [ctx.random.random(), await ctx.run_mutation("nested"), ctx.random.random()]

            @app.mutation
            async def nested(ctx: MutationCtx) -> float:
                return ctx.random.random()

            return app

        async with running(app) as rooms:
            return [await rooms.mutation("outer"), await rooms.mutation("outer")]

    first, second = await draw(), await draw()
    assert first == second
    assert first[0] != first[1]
    assert len({number for row in first for number in row}) == 6


@pytest.mark.one_isolation("inline", "a function written on the spot runs in the host")
@pytest.mark.parametrize("kind", ["query", "mutation"])
async def test_a_transaction_that_has_to_run_again_does_even_if_its_function_swallows_that(kind: Any) -> None:
    app = component()
    gate = asyncio.Event()
    runs: list[int] = []

    async def stubborn(ctx: QueryCtx) -> str:
        runs.append(1)
        await ctx.db.query("notes").collect()
        await gate.wait()
        try:
            await ctx.run_query("read")
        except Exception:
            return "swallowed"
        return "read"

    @app.query
    async def read(ctx: QueryCtx) -> int:
        return len(await ctx.db.query("notes").collect())

    async with running(app) as rooms:
        task = asyncio.ensure_future(rooms.dispatcher.run(stubborn, kind=kind, caller=Caller(source="test")))
        await asyncio.sleep(0)
        await rooms.on_the_spot(lambda ctx: ctx.db.insert("notes", {"n": 1}))
        await rooms.engine.deploy([TableSpec("elsewhere", "things")])
        gate.set()
        assert (await task).value == "read"
        assert len(runs) == 2


async def test_a_mutation_that_has_to_run_again_does_even_if_its_function_swallows_that() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.mutation
        async def stubborn(ctx: MutationCtx, gate: str) -> str:
            await ctx.db.query("notes").collect()
            await ctx.run_query(gate)
            try:
                await ctx.run_query("read")
            except Exception:
                return "swallowed"
            return "read"

        @app.query
        async def read(ctx: QueryCtx) -> int:
            return len(await ctx.db.query("notes").collect())

        return app

    async with gated(app) as (rooms, gate):
        task = asyncio.ensure_future(rooms.mutation("stubborn", "app", gate=gate.handle))
        await gate.arrived()
        await rooms.on_the_spot(lambda ctx: ctx.db.insert("notes", {"n": 1}), "app")
        await rooms.engine.deploy([TableSpec("elsewhere", "things")])
        gate.opened.set()
        assert await task == "read"
        assert len(gate.said) >= 2


async def test_a_transaction_has_one_name_for_all_its_functions_and_another_when_it_runs_again() -> None:
    @placed
    def tally() -> Component:
        tally = Component("tally")
        seen: list[str] = []

        @tally.trigger("rows")
        async def notice(ctx: MutationCtx, change: Change) -> None:
            seen.append(ctx.transaction)

        @tally.query
        async def inner(ctx: QueryCtx) -> str:
            return ctx.transaction

        @tally.mutation
        async def outer(ctx: MutationCtx) -> list[str]:
            await ctx.db.insert("rows", {})
            return [ctx.transaction, await ctx.run_query("inner"), seen[-1]]

        return tally

    async with TestBackend(tally) as t:
        first, second = set(await t.mutation("outer")), set(await t.mutation("outer"))
        assert len(first) == len(second) == 1 and first != second
        assert all(len(name) >= 16 for name in first)
