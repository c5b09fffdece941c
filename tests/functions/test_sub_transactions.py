"""Mutations called by mutations: layers that are folded or dropped. engine.md section 10, cases 51 to 58."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.placed import placed

from interlock import AppError, ArgumentError, Component, InterlockError, MutationCtx, ReturnError, Schema, Table

from .rooms import gated, running

pytestmark = pytest.mark.usefixtures("both_isolations")


def component() -> Component:
    return Component("app", schema=Schema(notes=Table({"n": int}).index("by_n", "n"), log=Table({"text": str})))


async def refusal(operation: Any) -> str:
    """What an operation is refused with."""
    try:
        await operation
    except InterlockError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def layered() -> Component:
    app = component()

    @app.mutation
    async def add(ctx: MutationCtx, n: int) -> int:
        await ctx.db.insert("notes", {"n": n})
        return n

    @app.mutation
    async def add_and_fail(ctx: MutationCtx, n: int) -> None:
        await ctx.db.insert("notes", {"n": n})
        await ctx.scheduler.run_after(1, "add", n=n)
        raise AppError({"n": n})

    @app.mutation
    async def add_and_return_nonsense(ctx: MutationCtx, n: int) -> int:
        await ctx.db.insert("notes", {"n": n})
        return "nonsense"  # type: ignore[return-value]

    @app.mutation
    async def catch(ctx: MutationCtx, call: str) -> Any:
        await ctx.db.insert("notes", {"n": 1})
        try:
            await ctx.run_mutation(call, n=2)
        except (AppError, ReturnError) as error:
            await ctx.db.insert("notes", {"n": 3})
            return type(error).__name__
        return "nothing was raised"

    @app.mutation
    async def call_and_fail(ctx: MutationCtx) -> None:
        await ctx.run_mutation("add", n=2)
        raise AppError("after")

    @app.mutation
    async def middle(ctx: MutationCtx) -> None:
        await ctx.db.insert("notes", {"n": 2})
        await ctx.run_mutation("catch", call="add_and_fail")

    return app


layered_component = placed(layered)


async def test_what_a_caught_sub_transaction_did_is_undone() -> None:
    async with running(layered_component) as rooms:
        assert await rooms.mutation("catch", call="add_and_fail") == "AppError"
        assert await rooms.values("notes") == [1, 3]
        assert await rooms.on_the_spot(lambda ctx: ctx.scheduler.list()) == []


async def test_uncaught_it_takes_the_caller_along() -> None:
    async with running(layered_component) as rooms:
        with pytest.raises(AppError):
            await rooms.mutation("add_and_fail", n=2)
        with pytest.raises(AppError):
            await rooms.mutation("call_and_fail")
        assert await rooms.values("notes") == []


async def test_a_layer_in_a_layer_is_dropped_alone() -> None:
    async with running(layered_component) as rooms:
        await rooms.mutation("middle")
        assert await rooms.values("notes") == [2, 1, 3]


async def test_a_result_that_breaks_its_promise_undoes_the_call() -> None:
    async with running(layered_component) as rooms:
        assert await rooms.mutation("catch", call="add_and_return_nonsense") == "ReturnError"
        assert await rooms.values("notes") == [1, 3]
        with pytest.raises(ReturnError) as caught:
            await rooms.mutation("add_and_return_nonsense", n=1)
        assert caught.value.function == "add_and_return_nonsense"


async def test_wrong_arguments_are_refused_before_anything_is_run() -> None:
    @placed
    def app() -> Component:
        app = layered()

        @app.mutation
        async def call_wrongly(ctx: MutationCtx) -> str:
            try:
                await ctx.run_mutation("add", n="three")
            except ArgumentError as error:
                return f"{error.function} {error.path}"
            return ""

        return app

    async with running(app) as rooms:
        assert await rooms.mutation("call_wrongly") == "add .n"
        assert await rooms.values("notes") == []


async def test_the_reads_of_a_dropped_sub_transaction_still_conflict() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.mutation
        async def outer(ctx: MutationCtx, note: str, gate: str) -> None:
            failed = await refusal(ctx.run_mutation("read_and_fail", note=note))
            await ctx.run_query(gate, said=failed)
            await ctx.db.insert("log", {"text": "done"})

        @app.mutation
        async def read_and_fail(ctx: MutationCtx, note: str) -> None:
            raise AppError((await ctx.db.get(note) or {})["n"])

        return app

    async with gated(app) as (rooms, gate):
        note = await rooms.on_the_spot(lambda ctx: ctx.db.insert("notes", {"n": 1}), "app")
        task = asyncio.ensure_future(rooms.mutation("outer", "app", note=note, gate=gate.handle))
        await gate.arrived()
        await rooms.on_the_spot(lambda ctx: ctx.db.patch(note, {"n": 2}), "app")
        gate.opened.set()
        await task
        assert gate.said[0] == "AppError: 1"
        assert set(gate.said[1:]) == {"AppError: 2"}  # a worker may be mistaken on the way, and run once more
        assert await rooms.values("log", "text", component_path="app") == ["done"]


async def test_the_budget_of_a_dropped_layer_is_given_back_but_for_its_reads() -> None:
    @placed
    def app() -> Component:
        app = layered()

        @app.mutation
        async def measure(ctx: MutationCtx) -> list[int]:
            await ctx.db.query("notes").collect()
            assert await refusal(ctx.run_mutation("add_and_fail", n=1)) == "AppError: {'n': 1}"
            used = ctx.metrics().used
            return [int(used[name]) for name in ("documents_written", "functions_scheduled", "documents_read")]

        return app

    async with running(app) as rooms:
        await rooms.mutation("add", n=1)
        written, scheduled, read = await rooms.mutation("measure")
        assert (written, scheduled) == (0, 0)
        assert read >= 1
