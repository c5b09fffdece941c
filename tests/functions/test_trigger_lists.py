"""Triggers that take lists: what they are told, when, and what becomes of a function whose trigger raises."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.placed import placed

from interlock import AppError, CallRefused, Change, Component, DeadlineExceeded, MutationCtx, QueryCtx, components, reference

from .rooms import gated, running

pytestmark = pytest.mark.usefixtures("both_isolations")


def told(change: Change) -> str:
    """A change in short: `+1`, `1>2`, `-2`."""
    sides = ["" if side is None else str(side["n"]) for side in (change.old, change.new)]
    return {"insert": f"+{sides[1]}", "update": ">".join(sides), "delete": f"-{sides[0]}"}[change.kind]


def listening(name: str = "app") -> Component:
    """A component that logs each list of changes of its tables `a` and `b`."""
    made = Component(name)

    @made.trigger("a")
    async def on_a(ctx: MutationCtx, changes: list[Change]) -> None:
        ctx.log.info("a " + " ".join(map(told, changes)))

    @made.trigger("b")
    async def on_b(ctx: MutationCtx, changes: list[Change]) -> None:
        ctx.log.info("b " + " ".join(map(told, changes)))

    return made


def lines(answer: Any) -> list[str]:
    return [line.removeprefix("[INFO] ") for line in answer.log_lines]


async def test_writes_one_after_the_other_are_told_in_one_list_at_the_end() -> None:
    @placed
    def made() -> Component:
        made = listening()

        @made.mutation
        async def write(ctx: MutationCtx) -> None:
            first = await ctx.db.insert("a", {"n": 1})
            await ctx.db.insert("b", {"n": 9})
            await ctx.db.patch(first, {"n": 2})
            await ctx.db.patch(first, {"n": 2})  # changes nothing
            await ctx.db.replace(first, {"n": 3})
            await ctx.scheduler.run_after(0, "write")
            await ctx.db.delete(first)
            await ctx.db.insert("c", {"n": 1})
            ctx.log.info("written")

        return made

    async with running(made) as rooms:
        assert lines(await rooms.ask("mutation", "write", {})) == ["written", "a +1 1>2 2>3 -3", "b +9"]


async def test_what_a_function_reads_calls_and_returns_finds_the_triggers_done() -> None:
    @placed
    def made() -> Component:
        made = Component("app")

        @made.trigger("a")
        async def count(ctx: MutationCtx, changes: list[Change]) -> None:
            row = await ctx.db.query("counts").first()
            if row is None:
                await ctx.db.insert("counts", {"n": len(changes), "lists": 1})
            else:
                await ctx.db.patch(row["_id"], {"n": row["n"] + len(changes), "lists": row["lists"] + 1})

        @made.query
        async def counted(ctx: QueryCtx) -> list[int]:
            row = await ctx.db.query("counts").first()
            return [] if row is None else [row["n"], row["lists"]]

        @made.mutation
        async def write(ctx: MutationCtx) -> list[Any]:
            seen: list[Any] = []

            async def two() -> None:
                await ctx.db.insert("a", {})
                await ctx.db.insert("a", {})

            await two()
            seen.append([(row["n"], row["lists"]) async for row in ctx.db.query("counts")])
            row = await ctx.db.query("counts").first()
            assert row is not None
            for read in (lambda: ctx.db.get(row["_id"]), lambda: ctx.db.query("counts").first()):
                await two()
                seen.append(((await read()) or {})["n"])
            for look in (
                lambda: ctx.db.query("counts").count(),
                lambda: ctx.run_query("counted"),
                lambda: ctx.scheduler.list(),
            ):
                await two()
                await look()
                seen.append(await ctx.run_query("counted"))
            await two()
            return seen

        return made

    async with running(made) as rooms:
        assert await rooms.mutation("write") == [[[2, 1]], 4, 6, [8, 4], [10, 5], [12, 6]]
        assert await rooms.query("counted") == [14, 7]
        # A worker remembers by now what it is going to read.
        assert await rooms.mutation("write") == [[[16, 8]], 18, 20, [22, 11], [24, 12], [26, 13]]
        assert await rooms.query("counted") == [28, 14]


async def test_when_it_is_told_all_of_the_writes_are_there_and_each_change_says_what_it_did() -> None:
    @placed
    def made() -> Component:
        made = Component("app")

        @made.trigger("a")
        async def look(ctx: MutationCtx, changes: list[Change]) -> None:
            now = await ctx.db.get(changes[0].id)
            ctx.log.info([None if change.new is None else change.new["n"] for change in changes] + [(now or {})["n"]])

        @made.mutation
        async def write(ctx: MutationCtx) -> None:
            id = await ctx.db.insert("a", {"n": 1})
            await ctx.db.patch(id, {"n": 2})

        return made

    async with running(made) as rooms:
        assert lines(await rooms.ask("mutation", "write", {})) == ["[1, 2, 2]"]


async def test_a_function_fails_with_what_its_trigger_raised_whatever_it_does_with_that() -> None:
    @placed
    def made() -> Component:
        made = Component("app")

        @made.trigger("a")
        async def refuse(ctx: MutationCtx, changes: list[Change]) -> None:
            await ctx.db.insert("log", {"n": 1})
            raise AppError("refused")

        @made.mutation
        async def at_end(ctx: MutationCtx) -> None:
            await ctx.db.insert("a", {"n": 1})

        @made.mutation
        async def caught(ctx: MutationCtx) -> str:
            await ctx.db.insert("a", {"n": 1})
            for _ in range(2):
                try:
                    await ctx.db.query("b").collect()
                except AppError as error:
                    assert error.data == "refused"
            await ctx.db.insert("b", {"n": 1})
            return "all is well"

        @made.mutation
        async def other_error(ctx: MutationCtx) -> None:
            try:
                await caught(ctx)
            finally:
                raise ValueError("another error")

        @made.mutation
        async def outer(ctx: MutationCtx) -> list[str]:
            said = []
            for name in ("at_end", "caught", "other_error"):
                try:
                    await ctx.run_mutation(name)
                except AppError as error:
                    said.append(error.data)
            return said

        return made

    async with running(made) as rooms:
        for name in ("at_end", "caught", "other_error"):
            with pytest.raises(AppError, match="refused"):
                await rooms.mutation(name)
        assert await rooms.mutation("outer") == ["refused"] * 3
        for table in ("a", "b", "log"):
            assert await rooms.rows(table) == []


async def test_a_sub_transaction_that_fails_takes_what_it_has_not_told_along() -> None:
    @placed
    def made() -> Component:
        made = listening()

        @made.mutation
        async def inner(ctx: MutationCtx, n: int) -> None:
            await ctx.db.insert("a", {"n": n})
            if n == 2:
                raise AppError("fail")

        @made.mutation
        async def write(ctx: MutationCtx) -> None:
            for n in (1, 2, 3):
                await ctx.db.insert("a", {"n": n * 10})
                try:
                    await ctx.run_mutation("inner", n=n)
                except AppError:
                    pass
            await ctx.db.insert("a", {"n": 40})
            await ctx.db.insert("a", {"n": 50})

        return made

    async with running(made) as rooms:
        answer = await rooms.ask("mutation", "write", {})
        assert lines(answer) == ["a +10", "a +1", "a +20", "a +30", "a +3", "a +40 +50"]
        assert await rooms.values("a") == [10, 1, 20, 30, 3, 40, 50]


async def test_beside_triggers_of_one_change_order_is_kept() -> None:
    @placed
    def made() -> Component:
        made = listening()

        @made.trigger("c")
        async def on_c(ctx: MutationCtx, change: Change) -> None:
            ctx.log.info("one " + told(change))

        @made.trigger("a")
        async def also(ctx: MutationCtx, changes: list[Change]) -> None:
            assert changes[0].new is not None
            ctx.log.info(f"also {len(changes)}")

        @made.mutation
        async def write(ctx: MutationCtx) -> None:
            await ctx.db.insert("a", {"n": 1})
            await ctx.db.insert("a", {"n": 2})
            await ctx.db.insert("c", {"n": 3})  # its trigger finds those of the writes before it done
            await ctx.db.insert("a", {"n": 4})

        return made

    async with running(made) as rooms:
        assert lines(await rooms.ask("mutation", "write", {})) == ["a +1 +2", "also 2", "one +3", "a +4", "also 1"]


async def test_what_one_trigger_does_to_its_documents_does_not_reach_the_next() -> None:
    @placed
    def made() -> Component:
        made = Component("app")

        @made.trigger("a")
        async def tamper(ctx: MutationCtx, changes: list[Change]) -> None:
            (changes[0].new or {})["list"].append("tampered")
            changes.clear()

        @made.trigger("a")
        async def look(ctx: MutationCtx, changes: list[Change]) -> None:
            ctx.log.info([(change.new or {})["list"] for change in changes])

        @made.mutation
        async def write(ctx: MutationCtx) -> None:
            await ctx.db.insert("a", {"list": [1]})

        return made

    async with running(made) as rooms:
        assert lines(await rooms.ask("mutation", "write", {})) == ["[[1]]"]


async def test_a_list_is_told_at_a_thousand_changes() -> None:
    @placed
    def made() -> Component:
        made = Component("app")

        @made.trigger("a")
        async def note(ctx: MutationCtx, changes: list[Change]) -> None:
            ctx.log.info(len(changes))

        @made.mutation
        async def write(ctx: MutationCtx) -> None:
            for n in range(1_001):
                await ctx.db.insert("a", {"n": n})
            ctx.log.info("written")

        return made

    async with running(made) as rooms:
        assert lines(await rooms.ask("mutation", "write", {})) == ["1000", "written", "1"]


async def test_a_circle_of_such_triggers_is_named_too() -> None:
    @placed
    def made() -> Component:
        made = Component("app")

        @made.trigger("a")
        async def to_b(ctx: MutationCtx, changes: list[Change]) -> None:
            await ctx.db.insert("b", {})

        @made.trigger("b")
        async def to_a(ctx: MutationCtx, changes: list[Change]) -> None:
            await ctx.db.insert("a", {})

        @made.mutation
        async def write(ctx: MutationCtx) -> None:
            await ctx.db.insert("a", {})

        return made

    async with running(made) as rooms:
        with pytest.raises(CallRefused, match=r"8 deep.*trigger on a → trigger on b → trigger on a"):
            await rooms.mutation("write")


async def test_gathered_writes_come_in_the_order_started() -> None:
    @placed
    def made() -> Component:
        made = listening()
        writing: list[Any] = []

        @made.mutation
        async def write(ctx: MutationCtx) -> None:
            first = [ctx.db.insert("a", {"n": n}) for n in range(3)]
            await asyncio.gather(*first, ctx.db.query("a").count(), ctx.db.insert("a", {"n": 3}))
            writing.append(asyncio.ensure_future(ctx.db.insert("a", {"n": 4})))  # the end waits for it
            await asyncio.sleep(0)

        return made

    async with running(made) as rooms:
        assert lines(await rooms.ask("mutation", "write", {})) == ["a +0 +1 +2", "a +3 +4"]


async def test_a_trigger_told_at_the_end_has_the_time_that_is_left_to_the_function() -> None:
    @placed
    def made() -> Component:
        made = Component("made")

        @made.trigger("a")
        async def hang(ctx: MutationCtx, changes: list[Change]) -> None:
            await ctx.run_query(reference((changes[0].new or {})["gate"]))
            await asyncio.Event().wait()

        @made.mutation
        async def write(ctx: MutationCtx, gate: str) -> None:
            await ctx.db.insert("a", {"gate": gate})

        return made

    async with gated(made) as (rooms, gate):
        writing = asyncio.ensure_future(rooms.mutation("write", "app", gate=gate.handle))
        await gate.arrived()
        gate.opened.set()
        rooms.clock.move_to(rooms.clock.now_ms() + 15_001)
        with pytest.raises(DeadlineExceeded, match="trigger on a"):
            await asyncio.wait_for(writing, 60)
        assert await rooms.rows("a", "app") == []


async def test_a_component_has_lists_of_its_own() -> None:
    child = placed(_child)
    outer = Component("outer")
    outer.use(child, isolation="inline")

    @outer.mutation
    async def call(ctx: MutationCtx) -> None:
        await ctx.run_mutation(components.child.put)
        await ctx.db.insert("a", {"n": 5})  # another instance's table of the same name

    async with running(outer) as rooms:
        assert lines(await rooms.ask("mutation", "call", {})) == ["child: a +1 +2"]


def _child() -> Component:
    child = listening("child")

    @child.mutation
    async def put(ctx: MutationCtx) -> None:
        await ctx.db.insert("a", {"n": 1})
        await ctx.db.insert("a", {"n": 2})

    return child
