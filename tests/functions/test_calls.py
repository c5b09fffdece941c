"""Calls: which functions may call which, how deep, by what names, and how a plain function is called."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.never_rests import never_rests_until
from tests.placed import placed

from interlock import (
    ActionCtx,
    CallRefused,
    Component,
    FunctionAborted,
    FunctionNotFound,
    MutationCtx,
    QueryCtx,
    ReturnError,
    Schema,
    Table,
    WrongFunctionKind,
    reference,
)

from .rooms import gated, running

pytestmark = pytest.mark.usefixtures("both_isolations")


def component() -> Component:
    return Component("app", schema=Schema(notes=Table({"n": int}).index("by_n", "n"), log=Table({"text": str})))


async def test_calls_nest_eight_deep_and_the_ninth_names_the_way() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.mutation
        async def dig(ctx: MutationCtx, depth: int) -> int:
            return depth if depth == 0 else await ctx.run_mutation("dig", depth=depth - 1)

        return app

    async with running(app) as rooms:
        assert await rooms.mutation("dig", depth=8) == 0
        with pytest.raises(CallRefused, match=r"8 deep: dig → dig"):
            await rooms.mutation("dig", depth=9)


async def run_past_the_context(ctx: Any, kind: str, name: str) -> None:
    """As a worker could ask: the context has no such method."""
    from interlock.sdk.references import as_target

    await ctx._host.run(kind, as_target(name), {})


async def test_what_a_kind_of_function_may_call() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.query
        async def read(ctx: QueryCtx) -> None:
            pass

        @app.mutation
        async def write(ctx: MutationCtx) -> None:
            pass

        @app.action
        async def act(ctx: ActionCtx) -> None:
            pass

        @app.query
        async def from_query(ctx: QueryCtx, kind: str, name: str) -> None:
            await run_past_the_context(ctx, kind, name)

        @app.mutation
        async def from_mutation(ctx: MutationCtx, kind: str, name: str) -> None:
            await run_past_the_context(ctx, kind, name)

        @app.action
        async def from_action(ctx: ActionCtx, kind: str, name: str) -> None:
            await run_past_the_context(ctx, kind, name)

        return app

    may = {"query": {"read"}, "mutation": {"read", "write"}, "action": {"read", "write", "act"}}
    kinds = {"read": "query", "write": "mutation", "act": "action"}
    async with running(app) as rooms:
        for caller in ("query", "mutation", "action"):
            for name, kind in kinds.items():
                if name in may[caller]:
                    await rooms.ask(caller, f"from_{caller}", {"kind": kind, "name": name})
                else:
                    with pytest.raises(CallRefused):
                        await rooms.ask(caller, f"from_{caller}", {"kind": kind, "name": name})
        with pytest.raises(WrongFunctionKind, match="as query, but it is defined as mutation"):
            await rooms.ask("action", "from_action", {"kind": "query", "name": "write"})
        with pytest.raises(WrongFunctionKind):
            await rooms.mutation("read")


async def test_names_that_are_not_there_offer_the_close_one() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.query
        async def count_notes(ctx: QueryCtx) -> int:
            return 1

        @app.query
        async def call(ctx: QueryCtx, name: str) -> Any:
            return await ctx.run_query(name)

        return app

    async with running(app) as rooms:
        assert await rooms.query("call", name="count_notes") == 1
        with pytest.raises(FunctionNotFound, match="Did you mean count_notes"):
            await rooms.query("call", name="count_note")


async def test_a_plain_function_is_called_like_any_other() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.query
        def double(ctx: QueryCtx, n: int) -> int:
            return 2 * n

        @app.action
        def work(ctx: ActionCtx, n: int) -> int:
            ctx.log.info("at work")
            return 2 * n

        return app

    async with running(app) as rooms:
        assert await rooms.query("double", n=4) == 8
        answer = await rooms.ask("action", "work", {"n": 5})
        assert (answer.value, answer.log_lines) == (10, ["[INFO] at work"])


async def test_what_an_action_logged_before_it_was_cancelled_is_kept(both_isolations: str) -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.action
        async def hang(ctx: ActionCtx, handle: str, said: str = "") -> None:
            ctx.log.info("before")
            await ctx.run_query(reference(handle), said=said)
            await asyncio.get_running_loop().create_future()

        @app.action
        async def let_go(ctx: ActionCtx, handle: str) -> None:
            hanging = asyncio.create_task(ctx.run_action("hang", handle=handle))  # type: ignore[arg-type]
            await ctx.run_query(reference(handle))
            hanging.cancel()
            await asyncio.wait([hanging])
            ctx.log.info("after")

        return app

    async with gated(app) as (rooms, gate):
        with capture_logs() as published:
            calling = asyncio.ensure_future(rooms.ask("action", "let_go", {"handle": gate.handle}, "app"))
            await gate.arrived(times=2)
            gate.opened.set()
            lines = (await calling).log_lines
            assert "[INFO] app: after" in lines
            if both_isolations == "inline":  # what a worker has cancelled ends in its own time
                assert lines == ["[INFO] app: before", "[INFO] app: after"]
            gate.opened.clear()
            hanging = asyncio.ensure_future(rooms.action("hang", "app", handle=gate.handle, said="again"))
            await gate.arrived()
            hanging.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hanging
        assert sorted([line["event"] for line in published]) == ["after", "before", "before"]


@pytest.mark.one_isolation("inline", "a worker has one thread")
async def test_a_plain_action_runs_in_a_thread() -> None:
    app = component()

    @app.action
    def work(ctx: ActionCtx) -> bool:
        return threading.current_thread() is not threading.main_thread()

    async with running(app) as rooms:
        assert await rooms.action("work")


@pytest.mark.one_isolation("inline", "a worker has one thread")
async def test_a_plain_action_ends_though_the_loop_never_rests() -> None:
    app = component()

    @app.action
    def work(ctx: ActionCtx) -> int:
        for _ in range(20):
            time.sleep(0.0001)
        return 20

    async with running(app) as rooms:
        working = asyncio.ensure_future(rooms.action("work"))
        await never_rests_until(working)
        assert await working == 20


@pytest.mark.one_isolation("inline", "a worker has one thread, and in it one event loop")
async def test_the_context_of_a_plain_action_calls_nothing_from_its_thread() -> None:
    """A commit would be begun in an event loop that ends with the call, and the backend with it."""
    app = component()

    @app.mutation
    async def write(ctx: MutationCtx) -> None:
        await ctx.db.insert("notes", {"n": 1})

    @app.action
    def work(ctx: ActionCtx, how: str) -> list[Any]:
        async def use() -> Any:
            if how == "write":
                return await ctx.run_mutation(write)
            return await (ctx.scheduler.run_after(1, write) if how == "plan" else ctx.function_handle(write))

        with pytest.raises(CallRefused, match="another thread"):
            asyncio.run(use())
        return []

    async with running(app) as rooms:
        for how in ("write", "plan", "name"):
            assert await rooms.action("work", how=how) == []
        await rooms.mutation("write")
        assert await rooms.values("notes") == [1]


@pytest.mark.one_isolation("inline", "a function written on the spot runs in the host")
async def test_a_function_written_on_the_spot_is_one_of_its_instance() -> None:
    async with running(component()) as rooms:
        assert await rooms.on_the_spot(lambda ctx: 5) == 5
        with pytest.raises(FunctionNotFound, match="Nothing is mounted"):
            await rooms.on_the_spot(lambda ctx: None, "nowhere")


async def test_what_was_not_awaited_is_no_result_and_the_error_says_so() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.query
        async def forgot(ctx: QueryCtx) -> Any:
            return ctx.db.query("notes").collect()

        @app.query
        async def forgot_more(ctx: QueryCtx) -> Any:
            return ctx.db.query("notes")

        return app

    async with running(app) as rooms:
        for name in ("forgot", "forgot_more"):
            with pytest.raises(ReturnError, match="write `await` in front of it"):
                await rooms.query(name)


async def test_tasks_groups_of_them_and_timeouts_are_over_operations_as_everywhere() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.mutation
        async def group(ctx: MutationCtx, waits: bool) -> int:
            before = asyncio.current_task()
            if waits:
                await ctx.db.insert("notes", {"n": 0})
            async with asyncio.timeout(3_600), asyncio.TaskGroup() as tasks:
                made = [tasks.create_task(ctx.db.insert("notes", {"n": n})) for n in range(3)]  # type: ignore[arg-type]
            other = asyncio.create_task(ctx.db.insert("notes", {"n": 3}))  # type: ignore[arg-type]
            ids = {await other, *[task.result() for task in made]}
            assert before is not None and asyncio.current_task() is before and other is not before
            return len(ids)

        @app.mutation
        async def fail(ctx: MutationCtx, waits: bool) -> str:
            try:
                async with asyncio.TaskGroup() as tasks:
                    if waits:
                        await ctx.db.insert("notes", {"n": 0})
                    tasks.create_task(ctx.db.insert("notes", {"n": 1}))  # type: ignore[arg-type]
                    tasks.create_task(ctx.db.insert("notes", {"n": "many"}))  # type: ignore[arg-type]
                    await asyncio.get_running_loop().create_future()
            except BaseExceptionGroup as group:
                return type(group.exceptions[0]).__name__
            return "nothing"

        @app.mutation
        async def empty(ctx: MutationCtx) -> bool:
            async with asyncio.timeout(3_600), asyncio.TaskGroup():
                return asyncio.current_task() is not None

        @app.mutation
        async def late(ctx: MutationCtx, waits: bool) -> str:
            try:
                async with asyncio.timeout(0.001):
                    if waits:
                        await ctx.db.insert("notes", {"n": 1})
                    await asyncio.get_running_loop().create_future()
            except TimeoutError:
                return "late"
            return "in time"

        return app

    async with running(app) as rooms:
        for waits in (False, True):
            assert await rooms.mutation("group", waits=waits) == 4
            assert await rooms.mutation("fail", waits=waits) == "SchemaError"
            assert await rooms.mutation("late", waits=waits) == "late"
            assert await rooms.mutation("empty")


@pytest.mark.one_isolation("sandbox", "inline it would be the test's own task")
async def test_a_function_that_cancels_the_task_that_it_is_in_has_ended() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.mutation
        async def give_up(ctx: MutationCtx, waits: bool) -> None:
            if waits:
                await ctx.scheduler.list()
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await ctx.scheduler.list()

        return app

    async with running(app) as rooms:
        for waits in (False, True):
            with pytest.raises(FunctionAborted, match="CancelledError"):
                await rooms.mutation("give_up", waits=waits)
