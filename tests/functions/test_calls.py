"""Calls within one instance: transactions, layers, whose turn it is."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from tests.placed import placed

from interlock import (
    UNSET,
    ActionCtx,
    AppError,
    ArgumentError,
    CallRefused,
    Change,
    Component,
    DocumentNotFound,
    FunctionNotFound,
    InterlockError,
    LimitExceeded,
    Limits,
    MutationCtx,
    QueryCtx,
    ReturnError,
    Schema,
    SchemaError,
    Table,
    WrongFunctionKind,
    components,
)
from interlock.engine import TableSpec
from interlock.functions.caller import Caller
from interlock.testing import TestBackend

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


class TestSubTransactions:
    """engine.md section 10, cases 51 to 58."""

    async def test_what_a_caught_sub_transaction_did_is_undone(self) -> None:
        async with running(layered_component) as rooms:
            assert await rooms.mutation("catch", call="add_and_fail") == "AppError"
            assert await rooms.values("notes") == [1, 3]
            assert await rooms.on_the_spot(lambda ctx: ctx.scheduler.list()) == []

    async def test_uncaught_it_takes_the_caller_along(self) -> None:
        async with running(layered_component) as rooms:
            with pytest.raises(AppError):
                await rooms.mutation("add_and_fail", n=2)
            with pytest.raises(AppError):
                await rooms.mutation("call_and_fail")
            assert await rooms.values("notes") == []

    async def test_a_layer_in_a_layer_is_dropped_alone(self) -> None:
        async with running(layered_component) as rooms:
            await rooms.mutation("middle")
            assert await rooms.values("notes") == [2, 1, 3]

    async def test_a_result_that_breaks_its_promise_undoes_the_call(self) -> None:
        async with running(layered_component) as rooms:
            assert await rooms.mutation("catch", call="add_and_return_nonsense") == "ReturnError"
            assert await rooms.values("notes") == [1, 3]
            with pytest.raises(ReturnError) as caught:
                await rooms.mutation("add_and_return_nonsense", n=1)
            assert caught.value.function == "add_and_return_nonsense"

    async def test_wrong_arguments_are_refused_before_anything_is_run(self) -> None:
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

    async def test_the_reads_of_a_dropped_sub_transaction_still_conflict(self) -> None:
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

    async def test_the_budget_of_a_dropped_layer_is_given_back_but_for_its_reads(self) -> None:
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


class TestOrder:
    """Operations of one call are served in the order started."""

    async def test_gathered_sub_transactions_run_one_after_the_other(self) -> None:
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

    async def test_own_operations_wait_while_a_sub_transaction_is_open(self) -> None:
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

    async def test_what_was_started_and_not_awaited_belongs_to_the_call(self) -> None:
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

    @pytest.mark.one_isolation("inline", "a worker has sent the operation on its way before it can be cancelled: it is carried out")
    async def test_a_cancelled_operation_gives_its_turn_on(self) -> None:
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

    async def test_a_context_is_over_when_its_call_is(self) -> None:
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
    async def test_waiting_on_the_context_of_a_caller_is_refused_and_not_a_deadlock(self, how: str) -> None:
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

    async def test_an_action_that_its_own_mutation_calls_back_is_refused_too(self) -> None:
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

    async def test_the_calls_of_an_action_run_side_by_side(self) -> None:
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


def writer() -> Component:
    app = component()

    @app.mutation
    async def insert(ctx: MutationCtx, table: str, document: Any) -> str:
        return await ctx.db.insert(table, document)

    @app.mutation
    async def change(ctx: MutationCtx, id: str, how: str, document: Any = None, unset: list[str] | None = None) -> None:
        if how == "delete":
            await ctx.db.delete(id)
        elif how == "patch":
            await ctx.db.patch(id, {**document, **dict.fromkeys(unset or [], UNSET)})
        else:
            await ctx.db.replace(id, document)

    @app.query
    async def get(ctx: QueryCtx, id: str) -> Any:
        return await ctx.db.get(id)

    return app


writer_component = placed(writer)


class TestWriting:
    async def test_system_tables_and_foreign_names_are_refused(self) -> None:
        async with running(writer_component) as rooms:
            for table, document in (
                ("_requests", {}),
                ("no name", {}),
                ("notes", {"n": 1, "_id": "x"}),
                ("notes", {"n": "one"}),
            ):
                with pytest.raises(SchemaError):
                    await rooms.mutation("insert", table=table, document=document)
            with pytest.raises(SchemaError, match="system's"):
                await rooms.mutation("insert", table="_jobs", document={})

    async def test_ids_that_are_not_there_are_not_found(self) -> None:
        async with running(writer_component) as rooms:
            gone = await rooms.mutation("insert", table="notes", document={"n": 1})
            await rooms.mutation("change", id=gone, how="delete")
            for id in (gone, "nonsense", ""):
                assert await rooms.query("get", id=id) is None
                for how in ("patch", "replace", "delete"):
                    with pytest.raises(DocumentNotFound):
                        await rooms.mutation("change", id=id, how=how, document={"n": 1})

    async def test_patch_merges_and_unset_removes(self) -> None:
        async with running(writer_component) as rooms:
            id = await rooms.mutation("insert", table="free", document={"a": {"b": 0, "c": 2}, "x": 1})
            await rooms.mutation("change", id=id, how="patch", document={"a": {"b": 1}}, unset=["x"])
            row = await rooms.query("get", id=id)
            assert {name: value for name, value in row.items() if name[0] != "_"} == {"a": {"b": 1}}
            await rooms.mutation("change", id=id, how="replace", document={"y": 1})
            replaced = await rooms.query("get", id=id)
            assert replaced == {"y": 1, "_id": id, "_creationTime": row["_creationTime"]}

    async def test_documents_are_copies(self) -> None:
        @placed
        def app() -> Component:
            app = component()

            @app.mutation
            async def tamper(ctx: MutationCtx) -> Any:
                given = {"list": [1]}
                id = await ctx.db.insert("free", given)
                given["list"].append(2)
                first = await ctx.db.get(id)
                assert first is not None
                first["list"].append(3)
                return (await ctx.db.get(id) or {})["list"]

            return app

        async with running(app) as rooms:
            assert await rooms.mutation("tamper") == [1]


class TestLimits:
    async def test_a_call_may_be_given_less_and_the_caller_keeps_the_rest(self) -> None:
        @placed
        def app() -> Component:
            app = component()

            @app.query
            async def read(ctx: QueryCtx) -> int:
                return len(await ctx.db.query("notes").collect())

            @app.mutation
            async def outer(ctx: MutationCtx) -> list[Any]:
                few = read.options(limits=Limits(documents_read=3))
                try:
                    limit = str(await ctx.run_query(few))
                except LimitExceeded as error:
                    limit = error.limit
                used = ctx.metrics().used["documents_read"]
                return [limit, used, await ctx.run_query(read)]

            return app

        async with running(app) as rooms:
            for n in range(5):
                await rooms.on_the_spot(lambda ctx, n=n: ctx.db.insert("notes", {"n": n}))
            name, used, count = await rooms.mutation("outer")
            assert name == "documents_read"
            assert used >= 4
            assert count == 5

    async def test_what_is_over_a_limit_is_refused_with_its_numbers(self) -> None:
        @placed
        def app() -> Component:
            app = component()

            @app.mutation
            async def write(ctx: MutationCtx) -> None:
                for n in range(1_000):
                    await ctx.db.insert("notes", {"n": n})

            @app.mutation
            async def write_few(ctx: MutationCtx) -> None:
                await ctx.run_mutation(write.options(limits=Limits(documents_written=300)))

            @app.mutation
            async def plan(ctx: MutationCtx) -> None:
                for _ in range(1_001):
                    await ctx.scheduler.run_after(1, "plan")

            @app.query
            async def large(ctx: QueryCtx) -> list[str]:
                return ["x" * 1_000_000] * 17

            return app

        async with running(app) as rooms:
            with pytest.raises(LimitExceeded) as caught:
                await rooms.mutation("write_few")
            assert (caught.value.limit, caught.value.used, caught.value.maximum) == ("documents_written", 301, 300)
            with pytest.raises(LimitExceeded, match="functions_scheduled"):
                await rooms.mutation("plan")
            with pytest.raises(LimitExceeded, match="result_bytes"):
                await rooms.query("large")
            with pytest.raises(LimitExceeded, match="argument_bytes"):
                await rooms.query("large", x=["x" * 1_000_000] * 17)
            assert await rooms.rows("notes") == []

    @pytest.mark.one_isolation("inline", "16,000 writes take their time; what a limit does is shown by the lower one above")
    async def test_a_transaction_may_write_as_much_as_the_docs_say(self) -> None:
        app = component()

        @app.mutation
        async def write(ctx: MutationCtx) -> None:
            for n in range(20_000):
                await ctx.db.insert("notes", {"n": n})

        async with running(app) as rooms:
            with pytest.raises(LimitExceeded) as caught:
                await rooms.mutation("write")
            assert (caught.value.limit, caught.value.used, caught.value.maximum) == ("documents_written", 16_001, 16_000)

    async def test_reading_too_much_stops_at_the_limit(self) -> None:
        @placed
        def app() -> Component:
            app = component()

            @app.mutation
            async def fill(ctx: MutationCtx) -> None:
                for n in range(1_000):
                    await ctx.db.insert("notes", {"n": n})

            @app.query
            async def read(ctx: QueryCtx, how: str) -> int:
                query = ctx.db.query("notes")
                if how == "collect":
                    return len(await query.collect())
                if how == "filter":
                    return len(await query.filter(lambda row: False).collect())
                return len([row async for row in query])

            @app.query
            async def within(ctx: QueryCtx, how: str, most: int) -> Any:
                return await ctx.run_query(read.options(limits=Limits(documents_read=most)), how=how)

            return app

        async with running(app) as rooms:
            await rooms.mutation("fill")
            for how, count in (("collect", 1_000), ("filter", 0), ("iterate", 1_000)):
                assert await rooms.query("within", how=how, most=1_000) == count
                with pytest.raises(LimitExceeded, match="documents_read"):
                    await rooms.query("within", how=how, most=999)


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


@pytest.mark.parametrize("how", ["collect", "take", "iterate", "filter"])
async def test_who_catches_a_limit_depends_on_the_row_that_was_too_many(how: str) -> None:
    """A watched query that found too many rows is run again when one of them goes, whichever it is."""

    @placed
    def app() -> Component:
        app = component()

        @app.query
        async def read(ctx: QueryCtx, how: str) -> int:
            query = ctx.db.query("notes")
            if how == "collect":
                return len(await query.collect())
            if how == "take":
                return len(await query.take(100))
            if how == "filter":
                return len(await query.filter(lambda row: True).collect())
            return len([row async for row in query])

        @app.query
        async def caught(ctx: QueryCtx, how: str) -> str:
            try:
                return str(await ctx.run_query(read.options(limits=Limits(documents_read=3)), how=how))
            except LimitExceeded:
                return "too many"

        return app

    async with running(app) as rooms:
        ids = [await rooms.on_the_spot(lambda ctx: ctx.db.insert("notes", {"n": 1})) for _ in range(4)]
        assert await rooms.query("caught", how=how) == "too many"
        await rooms.on_the_spot(lambda ctx: ctx.db.delete(ids[3]))
        assert await rooms.query("caught", how=how) == "3"
        last = await rooms.on_the_spot(lambda ctx: ctx.db.insert("notes", {"n": 1}))
        assert await rooms.query("caught", how=how) == "too many"
        await rooms.on_the_spot(lambda ctx: ctx.db.delete(ids[0]))
        assert await rooms.query("caught", how=how) == "3"
        await rooms.on_the_spot(lambda ctx: ctx.db.delete(last))
        assert await rooms.query("caught", how=how) == "2"


async def test_bytes_that_are_too_many_cost_the_caller_no_more_than_the_row_that_did_not_fit() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.query
        async def read(ctx: QueryCtx) -> int:
            return len(await ctx.db.query("notes").collect())

        @app.query
        async def outer(ctx: QueryCtx) -> list[Any]:
            assert "bytes_read" in await refusal(ctx.run_query(read.options(limits=Limits(bytes_read=100))))
            return [ctx.metrics().used["documents_read"], await ctx.run_query(read)]

        return app

    async with running(app) as rooms:
        for n in range(50):
            await rooms.on_the_spot(lambda ctx, n=n: ctx.db.insert("notes", {"n": n}))
        used, count = await rooms.query("outer")
        assert used <= 3
        assert count == 50


@pytest.mark.one_isolation("inline", "the clock of the test stands in for the host's; tests/sandbox/test_shares.py spends a worker's")
async def test_a_share_of_cpu_that_is_used_up_says_so() -> None:
    app, child = component(), Component("child")

    @child.mutation
    async def work(ctx: MutationCtx, seconds: float) -> None:
        meter[0].used += seconds

    @app.mutation
    async def twice(ctx: MutationCtx) -> list[str]:
        return [await refusal(ctx.run_mutation(components.child.work, seconds=seconds)) for seconds in (0.1, 0.0)]

    app.use(child, isolation="inline", limits=Limits(cpu=0.05))
    meter: list[Any] = []
    async with running(app) as rooms:
        meter.append(rooms.meter)
        first, second = await rooms.mutation("twice")
        assert first == second
        assert second.startswith("DeadlineExceeded: ") and "0.05 s of CPU time" in second


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


@pytest.mark.one_isolation("inline", "a worker has one thread")
async def test_a_plain_action_runs_in_a_thread() -> None:
    app = component()

    @app.action
    def work(ctx: ActionCtx) -> bool:
        return threading.current_thread() is not threading.main_thread()

    async with running(app) as rooms:
        assert await rooms.action("work")


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
