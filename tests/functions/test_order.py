"""Operations of one call: served in the order started, ended with it, and refused where both would wait for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.placed import placed

from interlock import ActionCtx, AppError, CallRefused, Component, InterlockError, MutationCtx, QueryCtx, Schema, Table

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


async def test_gathered_sub_transactions_run_one_after_the_other() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.mutation
        async def step(ctx: MutationCtx, n: int) -> int:
            ctx.log.info(f"begin {n}")
            await asyncio.sleep(0)
            await ctx.db.insert("notes", {"n": n})
            await asyncio.sleep(0)
            ctx.log.info(f"end {n}")
            if n == 2:
                raise AppError(n)
            return n

        @app.mutation
        async def outer(ctx: MutationCtx) -> list[Any]:
            done = await asyncio.gather(*(ctx.run_mutation("step", n=n) for n in range(4)), return_exceptions=True)
            return [result if isinstance(result, int) else "failed" for result in done]

        return app

    async with running(app) as rooms:
        answer = await rooms.ask("mutation", "outer", {})
        assert answer.value == [0, 1, "failed", 3]
        assert answer.log_lines == [f"[INFO] {what} {n}" for n in range(4) for what in ("begin", "end")]
        assert await rooms.values("notes") == [0, 1, 3]


async def test_own_operations_wait_while_a_sub_transaction_is_open() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.mutation
        async def slow(ctx: MutationCtx) -> None:
            await ctx.db.insert("notes", {"n": 1})
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            raise AppError("undo it")

        @app.mutation
        async def outer(ctx: MutationCtx) -> list[int]:
            call = asyncio.ensure_future(ctx.run_mutation("slow"))
            await asyncio.sleep(0)
            rows, _ = await asyncio.gather(ctx.db.query("notes").collect(), ctx.db.insert("notes", {"n": 2}))
            assert await refusal(call) == "AppError: undo it"
            assert rows == []  # it neither saw the layer nor wrote into it
            return [row["n"] for row in await ctx.db.query("notes").collect()]

        return app

    async with running(app) as rooms:
        assert await rooms.mutation("outer") == [2]


async def test_what_was_started_and_not_awaited_belongs_to_the_call() -> None:
    @placed
    def app() -> Component:
        app = component()
        kept: list[Any] = []

        @app.mutation
        async def hasty(ctx: MutationCtx) -> None:
            kept.append(asyncio.ensure_future(ctx.run_mutation("slow")))
            await asyncio.sleep(0)

        @app.mutation
        async def slow(ctx: MutationCtx) -> None:
            for _ in range(3):
                await asyncio.sleep(0)
            await ctx.db.insert("notes", {"n": 1})

        return app

    async with running(app) as rooms:
        await rooms.mutation("hasty")
        assert await rooms.values("notes") == [1]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize(
    ("function", "operation"),
    [
        ("insert", "ctx.db.insert"),
        ("patch", "ctx.db.patch"),
        ("replace", "ctx.db.replace"),
        ("delete", "ctx.db.delete"),
        ("run_mutation", "ctx.run_mutation"),
        ("run_query", "ctx.run_query"),
        ("run_after", "ctx.scheduler.run_after"),
        ("run_at", "ctx.scheduler.run_at"),
        ("cancel", "ctx.scheduler.cancel"),
        ("function_handle", "ctx.function_handle"),
        ("returned", "ctx.db.insert"),
        ("after_others", "ctx.db.insert"),
        ("in_a_task", "ctx.db.insert"),
        ("action", "ctx.run_mutation"),
        ("action_of_action", "ctx.run_action"),
    ],
)
async def test_an_await_that_was_forgotten_is_named_and_nothing_is_done(function: str, operation: str) -> None:
    @placed
    def app() -> Component:
        app = component()
        kept: list[Any] = []

        def forgetting(name: str, forget: Any) -> None:
            @app.mutation(name=name)
            async def forgets(ctx: MutationCtx) -> Any:
                id = await ctx.db.insert("notes", {"n": 1})
                return forget(ctx, id)

        def leave(made: Any) -> None:
            kept.append(made)

        forgetting("insert", lambda ctx, id: leave(ctx.db.insert("notes", {"n": 2})))
        forgetting("patch", lambda ctx, id: leave(ctx.db.patch(id, {"n": 2})))
        forgetting("replace", lambda ctx, id: leave(ctx.db.replace(id, {"n": 2})))
        forgetting("delete", lambda ctx, id: leave(ctx.db.delete(id)))
        forgetting("run_mutation", lambda ctx, id: leave(ctx.run_mutation("noted")))
        forgetting("run_query", lambda ctx, id: leave(ctx.run_query("seen")))
        forgetting("run_after", lambda ctx, id: leave(ctx.scheduler.run_after(1, "noted")))
        forgetting("run_at", lambda ctx, id: leave(ctx.scheduler.run_at(ctx.now(), "noted")))
        forgetting("cancel", lambda ctx, id: leave(ctx.scheduler.cancel("none")))
        forgetting("function_handle", lambda ctx, id: leave(ctx.function_handle("noted")))
        forgetting("returned", lambda ctx, id: ctx.db.insert("notes", {"n": 2}))
        forgetting("in_a_task", lambda ctx, id: leave(asyncio.ensure_future(ctx.db.insert("notes", {"n": 2}))))

        @app.mutation
        async def after_others(ctx: MutationCtx) -> None:
            await asyncio.gather(ctx.run_mutation("noted"), ctx.run_query("seen"))
            kept.append(ctx.db.insert("notes", {"n": 2}))
            await ctx.run_mutation("noted")

        @app.action
        async def action(ctx: ActionCtx) -> None:
            kept.append(ctx.run_mutation("noted"))

        @app.action
        async def action_of_action(ctx: ActionCtx) -> None:
            kept.append(ctx.run_action("action"))

        @app.mutation
        async def noted(ctx: MutationCtx) -> None:
            await ctx.db.insert("notes", {"n": 3})

        @app.query
        async def seen(ctx: QueryCtx) -> int:
            return len(await ctx.db.query("notes").collect())

        @app.mutation
        async def catches(ctx: MutationCtx, function: str) -> str:
            return await refusal(ctx.run_mutation(function))

        return app

    kind = "action" if function.startswith("action") else "mutation"
    said = f"{function}: {operation}(…) was called and never awaited, so it was not done. Write `await` in front of it."
    async with running(app) as rooms:
        with pytest.raises(CallRefused) as refused:
            await rooms.ask(kind, function, {})
        assert str(refused.value) == said
        if kind == "mutation":
            assert await rooms.mutation("catches", function=function) == f"CallRefused: {said}"
        assert await rooms.values("notes") == []


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
async def test_a_read_that_is_not_awaited_is_missed_by_nobody() -> None:
    @placed
    def app() -> Component:
        app = component()
        kept: list[Any] = []

        @app.mutation
        async def look(ctx: MutationCtx) -> str:
            kept.append(ctx.db.query("notes").collect())
            kept.append(ctx.db.query("notes").count())
            kept.append(ctx.db.get("none"))
            return "looked"

        return app

    async with running(app) as rooms:
        assert await rooms.mutation("look") == "looked"


async def test_an_operation_sees_what_was_started_before_it_and_not_what_was_started_after() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.mutation
        async def mixed(ctx: MutationCtx) -> list[Any]:
            id = await ctx.db.insert("notes", {"n": 1})
            notes = ctx.db.query("notes")
            await notes.collect()
            _, rows, _, first, _, count, _, gone = await asyncio.gather(
                ctx.db.insert("notes", {"n": 2}),
                notes.collect(),
                ctx.db.patch(id, {"n": 5}),
                notes.first(),
                ctx.run_mutation("more"),
                notes.count(),
                ctx.db.delete(id),
                ctx.db.get(id),
            )
            return [[row["n"] for row in rows], (first or {})["n"], count, gone]

        @app.mutation
        async def more(ctx: MutationCtx) -> None:
            await ctx.db.insert("notes", {"n": 3})

        @app.mutation
        async def clear(ctx: MutationCtx) -> None:
            for row in await ctx.db.query("notes").collect():
                await ctx.db.delete(row["_id"])

        return app

    async with running(app) as rooms:
        for _ in range(2):
            assert await rooms.mutation("mixed") == [[1, 2], 5, 3, None]
            await rooms.mutation("clear")


async def test_a_cancelled_operation_gives_its_turn_on() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.mutation
        async def outer(ctx: MutationCtx) -> int:
            first = asyncio.ensure_future(ctx.run_mutation("slow"))
            await asyncio.sleep(0)
            second = asyncio.ensure_future(ctx.db.insert("notes", {"n": 2}))
            third = asyncio.ensure_future(ctx.db.insert("notes", {"n": 3}))
            await asyncio.sleep(0)
            second.cancel()
            await first
            await third
            return len(await ctx.db.query("notes").collect())

        @app.mutation
        async def slow(ctx: MutationCtx) -> None:
            for _ in range(3):
                await asyncio.sleep(0)

        return app

    async with running(app) as rooms:
        assert await rooms.mutation("outer") == 1


async def test_a_cancelled_sub_transaction_is_undone_and_the_next_operation_is_served() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.mutation
        async def slow(ctx: MutationCtx) -> None:
            await ctx.db.insert("notes", {"n": 1})
            for _ in range(100):
                await asyncio.sleep(0)
            await ctx.db.insert("notes", {"n": 2})

        @app.mutation
        async def outer(ctx: MutationCtx, turns: int) -> list[int]:
            call = asyncio.ensure_future(ctx.run_mutation("slow"))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            assert call.cancelled()
            await ctx.db.insert("notes", {"n": 3})
            return [row["n"] for row in await ctx.db.query("notes").collect()]

        return app

    async with running(app) as rooms:
        for turns in (1, 2, 10):
            assert await rooms.mutation("outer", turns=turns) == [3]
            await rooms.on_the_spot(clear)


async def clear(ctx: MutationCtx) -> None:
    for row in await ctx.db.query("notes").collect():
        await ctx.db.delete(row["_id"])


async def test_a_context_is_over_when_its_call_is() -> None:
    @placed
    def app() -> Component:
        app = component()
        kept: list[Any] = []

        @app.mutation
        async def keep(ctx: MutationCtx) -> None:
            kept.append(ctx)

        @app.query
        async def look(ctx: QueryCtx) -> None:
            kept.append(ctx)

        @app.action
        async def act(ctx: ActionCtx) -> None:
            kept.append(ctx)

        @app.mutation
        async def use(ctx: MutationCtx) -> list[str]:
            mutation_ctx, query_ctx, action_ctx = kept
            return [
                await refusal(operation)
                for operation in (
                    mutation_ctx.db.insert("notes", {"n": 1}),
                    mutation_ctx.run_mutation("keep"),
                    query_ctx.db.query("notes").collect(),
                    query_ctx.run_query("look"),
                    action_ctx.run_mutation("keep"),
                    action_ctx.scheduler.run_after(0, "keep"),
                )
            ]

        return app

    async with running(app) as rooms:
        await rooms.mutation("keep")
        await rooms.query("look")
        await rooms.action("act")
        for refused in await rooms.mutation("use"):
            assert refused.startswith("CallRefused: ") and "after the call had ended" in refused


@pytest.mark.parametrize("how", ["awaited", "in a task", "from a query"])
async def test_waiting_on_the_context_of_a_caller_is_refused_and_not_a_deadlock(how: str) -> None:
    @placed
    def app() -> Component:
        app = component()
        lent: list[Any] = []

        @app.mutation
        async def outer(ctx: MutationCtx) -> None:
            lent.append(ctx)
            await ctx.run_mutation("middle")

        @app.mutation
        async def middle(ctx: MutationCtx) -> None:
            if how == "from a query":
                await ctx.run_query("inner_query")
            else:
                await ctx.run_mutation("inner")

        @app.mutation
        async def inner(ctx: MutationCtx) -> None:
            operation = lent[0].db.insert("notes", {"n": 1})
            await (operation if how == "awaited" else asyncio.ensure_future(operation))

        @app.query
        async def inner_query(ctx: QueryCtx) -> None:
            await lent[0].db.query("notes").collect()

        return app

    async with running(app) as rooms:
        with pytest.raises(CallRefused, match="outer → middle → inner"):
            await asyncio.wait_for(rooms.mutation("outer"), 5)


async def test_an_action_that_its_own_mutation_calls_back_is_refused_too() -> None:
    @placed
    def app() -> Component:
        app = component()
        lent: list[Any] = []

        @app.action
        async def act(ctx: ActionCtx) -> None:
            lent.append(ctx)
            await ctx.run_mutation("write")

        @app.mutation
        async def write(ctx: MutationCtx) -> None:
            await lent[0].run_mutation("write")

        return app

    async with running(app) as rooms:
        with pytest.raises(CallRefused, match="both would wait forever"):
            await rooms.action("act")


async def test_the_calls_of_an_action_run_side_by_side() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.mutation
        async def step(ctx: MutationCtx, n: int, gate: str) -> None:
            await ctx.run_query(gate, said=n)

        @app.action
        async def act(ctx: ActionCtx, gate: str) -> None:
            await asyncio.gather(ctx.run_mutation("step", n=1, gate=gate), ctx.run_mutation("step", n=2, gate=gate))

        return app

    async with gated(app) as (rooms, gate):
        task = asyncio.ensure_future(rooms.action("act", "app", gate=gate.handle))
        await gate.arrived(2)
        assert gate.said == [1, 2]
        gate.opened.set()
        await task
