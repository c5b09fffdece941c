"""Limits of a transaction and of a call: what goes over one is refused with its numbers, and who catches that depends on it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.placed import placed

from interlock import (
    ArgumentError,
    Component,
    InterlockError,
    LimitExceeded,
    Limits,
    MutationCtx,
    QueryCtx,
    Schema,
    Table,
    components,
)

from .rooms import running

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


async def test_a_call_may_be_given_less_and_the_caller_keeps_the_rest() -> None:
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


async def test_what_is_over_a_limit_is_refused_with_its_numbers() -> None:
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


@pytest.mark.parametrize("arguments", [{"text": "\ud800"}, {"text": "\ud800" * 10_000}, {"text": ["\ud800"]}, {"text": "a", "\ud800": 1}])
async def test_what_is_no_text_is_refused_as_an_argument_whatever_its_size(arguments: dict[str, Any]) -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.mutation
        async def take(ctx: MutationCtx, text: Any, **rest: Any) -> None:
            return None

        return app

    async with running(app) as rooms:
        with pytest.raises(ArgumentError):
            await rooms.mutation("take", **arguments)


async def test_a_transaction_may_write_as_much_as_the_docs_say() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.mutation
        async def write(ctx: MutationCtx, count: int) -> int:
            for n in range(count):
                await ctx.db.insert("notes", {"n": n})
            return ctx.metrics().used["intervals_read"]

        @app.mutation
        async def look(ctx: MutationCtx, count: int) -> int:
            ids = [await ctx.db.insert("notes", {"n": n}) for n in range(count)]
            for id in [*ids, *ids]:
                await ctx.db.get(id)
            return ctx.metrics().used["intervals_read"]

        return app

    async with running(app) as rooms:
        assert await rooms.mutation("write", count=16_000) == 0
        assert await rooms.mutation("look", count=20) == 20


@pytest.mark.one_isolation("inline", "beyond the limit a worker asks for each of 16,000 writes, which takes its time")
async def test_one_write_more_is_refused() -> None:
    app = component()

    @app.mutation
    async def write(ctx: MutationCtx) -> None:
        for n in range(20_000):
            await ctx.db.insert("notes", {"n": n})

    async with running(app) as rooms:
        with pytest.raises(LimitExceeded) as caught:
            await rooms.mutation("write")
        assert (caught.value.limit, caught.value.used, caught.value.maximum) == ("documents_written", 16_001, 16_000)


async def test_a_function_that_reads_far_too_much_meets_a_limit_and_its_worker_lives() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.mutation
        async def look(ctx: MutationCtx) -> None:
            for _ in range(60_000):
                await ctx.db.query("notes").first()

        @app.mutation
        async def look_in_vain(ctx: MutationCtx) -> None:
            await ctx.run_mutation(look.options(limits=Limits(documents_read=200)))

        @app.query
        async def count(ctx: QueryCtx) -> int:
            return await ctx.db.query("notes").count()

        @app.mutation
        async def write(ctx: MutationCtx) -> None:
            await ctx.db.insert("notes", {"n": 1})

        return app

    async with running(app) as rooms:
        await rooms.mutation("write")
        with pytest.raises(LimitExceeded, match="documents_read"):
            await rooms.mutation("look_in_vain")
        assert await rooms.query("count") == 1


async def test_reading_too_much_stops_at_the_limit() -> None:
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
