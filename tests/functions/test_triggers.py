from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.placed import placed

from interlock import AppError, CallRefused, Change, Component, MutationCtx, Schema, Table, components

from .rooms import running

pytestmark = pytest.mark.usefixtures("both_isolations")


def app() -> Component:
    return Component("app", schema=Schema(notes=Table({"n": int}), log=Table({"kind": str, "old": int | None, "new": int | None})))


async def test_every_kind_of_write_that_changes_something_fires() -> None:
    @placed
    def made() -> Component:
        made = app()

        @made.trigger("notes")
        async def record(ctx: MutationCtx, change: Change) -> None:
            old, new = (None if side is None else side["n"] for side in (change.old, change.new))
            assert change.id == (change.old or change.new or {})["_id"]
            await ctx.db.insert("log", {"kind": change.kind, "old": old, "new": new})

        @made.mutation
        async def write(ctx: MutationCtx) -> None:
            id = await ctx.db.insert("notes", {"n": 1})
            await ctx.db.patch(id, {"n": 2})
            await ctx.db.patch(id, {"n": 2})  # changes nothing, fires nothing
            await ctx.db.replace(id, {"n": 3})
            await ctx.db.replace(id, {"n": 3})
            await ctx.db.delete(id)

        return made

    async with running(made) as rooms:
        await rooms.mutation("write")
        logged = [(row["kind"], row["old"], row["new"]) for row in await rooms.rows("log")]
        assert logged == [("insert", None, 1), ("update", 1, 2), ("update", 2, 3), ("delete", 3, None)]


async def test_triggers_run_depth_first_in_the_order_registered_before_the_write_returns() -> None:
    @placed
    def made() -> Component:
        made = Component("app")

        @made.trigger("a")
        async def first(ctx: MutationCtx, change: Change) -> None:
            ctx.log.info("first begins")
            await ctx.db.insert("b", {})
            await asyncio.sleep(0)
            ctx.log.info("first ends")

        @made.trigger("a")
        async def second(ctx: MutationCtx, change: Change) -> None:
            ctx.log.info("second")

        @made.trigger("b")
        async def deeper(ctx: MutationCtx, change: Change) -> None:
            ctx.log.info("deeper")

        @made.mutation
        async def write(ctx: MutationCtx) -> None:
            await ctx.db.insert("a", {})
            ctx.log.info("written")

        return made

    async with running(made) as rooms:
        answer = await rooms.ask("mutation", "write", {})
        assert answer.log_lines == [f"[INFO] {line}" for line in ("first begins", "deeper", "first ends", "second", "written")]


async def test_a_trigger_that_raises_undoes_the_write_and_what_the_others_did() -> None:
    @placed
    def made() -> Component:
        made = app()

        @made.trigger("notes")
        async def record(ctx: MutationCtx, change: Change) -> None:
            await ctx.db.insert("log", {"kind": change.kind, "old": None, "new": None})

        @made.trigger("notes")
        async def refuse(ctx: MutationCtx, change: Change) -> None:
            if change.kind == "delete" or (change.new or {})["n"] < 0:
                raise AppError(f"no {change.kind}")

        @made.mutation
        async def write(ctx: MutationCtx, id: str) -> list[Any]:
            said = []
            for attempt in (
                lambda: ctx.db.insert("notes", {"n": -1}),
                lambda: ctx.db.patch(id, {"n": -1}),
                lambda: ctx.db.replace(id, {"n": -2}),
                lambda: ctx.db.delete(id),
            ):
                try:
                    await attempt()
                except AppError as refused:
                    said.append(refused.data)
            return [said, (await ctx.db.get(id) or {})["n"], len(await ctx.db.query("log").collect())]

        return made

    async with running(made) as rooms:
        id = await rooms.on_the_spot(lambda ctx: ctx.db.insert("notes", {"n": 1}))
        said, n, logged = await rooms.mutation("write", id=id)
        assert said == ["no insert", "no update", "no update", "no delete"]
        assert (n, logged) == (1, 1)


async def test_a_circle_of_triggers_is_named() -> None:
    @placed
    def made() -> Component:
        made = Component("app")

        @made.trigger("a")
        async def to_b(ctx: MutationCtx, change: Change) -> None:
            await ctx.db.insert("b", {})

        @made.trigger("b")
        async def to_a(ctx: MutationCtx, change: Change) -> None:
            await ctx.db.insert("a", {})

        return made

    async with running(made) as rooms:
        with pytest.raises(CallRefused, match=r"8 deep.*trigger on a → trigger on b → trigger on a"):
            await rooms.on_the_spot(lambda ctx: ctx.db.insert("a", {}))
        assert rooms.engine.catalog.get("", "a") is None


async def test_each_trigger_has_documents_of_its_own() -> None:
    @placed
    def made() -> Component:
        made = Component("app")

        @made.trigger("a")
        async def tamper(ctx: MutationCtx, change: Change) -> None:
            assert change.new is not None
            change.new["list"].append("tampered")

        @made.trigger("a")
        async def look(ctx: MutationCtx, change: Change) -> None:
            ctx.log.info((change.new or {})["list"])

        @made.mutation
        async def write(ctx: MutationCtx) -> str:
            return await ctx.db.insert("a", {"list": [1]})

        return made

    async with running(made) as rooms:
        answer = await rooms.ask("mutation", "write", {})
        id = answer.value
        assert answer.log_lines == ["[INFO] [1]"]
        assert (await rooms.on_the_spot(lambda ctx: ctx.db.get(id)))["list"] == [1]


async def test_gathered_writes_do_not_mix_with_open_triggers() -> None:
    @placed
    def made() -> Component:
        made = Component("app")

        @made.trigger("a")
        async def slow(ctx: MutationCtx, change: Change) -> None:
            await ctx.db.insert("log", {"n": (change.new or {})["n"]})
            await asyncio.sleep(0)
            if (change.new or {})["n"] == 1:
                raise AppError("undo")

        @made.mutation
        async def write(ctx: MutationCtx) -> None:
            await asyncio.gather(*(ctx.db.insert("a", {"n": n}) for n in range(3)), return_exceptions=True)

        return made

    async with running(made) as rooms:
        await rooms.mutation("write")
        assert await rooms.values("a") == [0, 2]
        assert await rooms.values("log") == [0, 2]


async def test_a_write_without_await_on_its_own_context_in_a_trigger_is_refused_not_hung() -> None:
    @placed
    def made() -> Component:
        made = Component("app")
        lent: list[Any] = []

        @made.trigger("a")
        async def borrow(ctx: MutationCtx, change: Change) -> None:
            await lent[0].db.insert("b", {})

        @made.mutation
        async def write(ctx: MutationCtx) -> None:
            lent.append(ctx)
            await ctx.db.insert("a", {})

        return made

    async with running(made) as rooms:
        with pytest.raises(CallRefused, match="write → trigger on a"):
            await asyncio.wait_for(rooms.mutation("write"), 5)


def watching() -> Component:
    child = Component("child")

    @child.trigger("items")
    async def note(ctx: MutationCtx, change: Change) -> None:
        await ctx.db.insert("seen", {"where": ctx.function.component_path})

    @child.mutation
    async def put(ctx: MutationCtx) -> None:
        await ctx.db.insert("items", {})

    return child


async def test_a_trigger_runs_as_its_own_instance_whoever_wrote() -> None:
    outer = Component("outer")
    outer.use(placed(watching), isolation="inline")

    @outer.mutation
    async def call(ctx: MutationCtx) -> None:
        await ctx.run_mutation(components.child.put)
        await ctx.db.insert("items", {})  # another instance's table of the same name

    async with running(outer) as rooms:
        await rooms.mutation("call")
        assert await rooms.values("seen", "where", "child") == ["child"]


async def test_a_plain_function_may_be_a_trigger() -> None:
    @placed
    def made() -> Component:
        made = Component("app")
        made.trigger("a")(lambda ctx, change: ctx.log.info(change.kind))

        @made.mutation
        async def write(ctx: MutationCtx) -> None:
            await ctx.db.insert("a", {})

        return made

    async with running(made) as rooms:
        assert (await rooms.ask("mutation", "write", {})).log_lines == ["[INFO] insert"]
