"""engine.md section 10, "Transactions": cases 37 to 50."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from tests.placed import placed

from interlock import (
    AppError,
    Component,
    LimitExceeded,
    MutationCtx,
    QueryCtx,
    Range,
    Schema,
    Table,
    WriteConflict,
)
from interlock.testing import TestBackend

from . import board
from .interleaving import Pause
from .wire import served, settle

pytestmark = pytest.mark.usefixtures("both_isolations")


def counters() -> Component:
    app = Component("app", schema=Schema(counters=Table({"n": int}).index("by_n", "n")))

    @app.mutation
    async def increment(ctx: MutationCtx, id: str) -> None:
        """With a moment between the read and the write, for others to come in."""
        row = await ctx.db.get(id)
        assert row is not None
        await asyncio.sleep(0)
        await ctx.db.patch(id, {"n": row["n"] + 1})

    @app.mutation
    async def leave(ctx: MutationCtx, doctor: str) -> bool:
        on_call = [row for row in await ctx.db.query("counters").collect() if row["n"]]
        await asyncio.sleep(0)
        if len(on_call) < 2:
            return False
        await ctx.db.patch(doctor, {"n": 0})
        return True

    @app.mutation
    async def fail(ctx: MutationCtx) -> None:
        id = await ctx.db.insert("counters", {"n": 1})
        await ctx.db.insert("made_by_it", {})
        await ctx.scheduler.run_after(0, "fail")
        raise AppError(id)

    @app.mutation
    async def write_and_read(ctx: MutationCtx) -> list[list[int]]:
        async def read() -> list[int]:
            return [row["n"] for row in await ctx.db.query("counters").index("by_n").collect()]

        seen = [await read()]
        id = await ctx.db.insert("counters", {"n": 2})
        seen.append(await read())
        await ctx.db.patch(id, {"n": 4})
        seen.append(await read())
        await ctx.db.delete(id)
        return [*seen, await read()]

    @app.query
    async def now(ctx: QueryCtx) -> float:
        return ctx.now()

    return app


COUNTERS = placed(counters)


async def insert(t: TestBackend, n: int) -> str:
    id: str = await t.run(lambda ctx: ctx.db.insert("counters", {"n": n}))
    return id


async def values(t: TestBackend) -> list[int]:
    return [row["n"] for row in await t.run(lambda ctx: ctx.db.query("counters").index("by_n").collect())]


async def test_037_two_mutations_that_increment_one_counter_lose_nothing() -> None:
    async with TestBackend(COUNTERS) as t:
        id = await insert(t, 0)

        async def caller() -> None:
            for _ in range(100):
                await t.mutation("increment", id=id)

        await asyncio.gather(caller(), caller())
        assert await values(t) == [200]


async def test_038_two_who_are_on_call_never_both_leave() -> None:
    async with TestBackend(COUNTERS) as t:
        ada, bob = await insert(t, 1), await insert(t, 1)
        left = await asyncio.gather(t.mutation("leave", doctor=ada), t.mutation("leave", doctor=bob))
        assert sorted(left) == [False, True]
        assert await values(t) == [0, 1]


@pytest.mark.one_isolation("inline", "the test comes in between, in its functions; tests/functions does that in components")
async def test_039_a_mutation_runs_again_when_a_row_appears_in_a_range_that_it_counted() -> None:
    pause = Pause()

    async def count_and_write(ctx: MutationCtx) -> int:
        found = await ctx.db.query("counters").index("by_n", n=Range(gte=1, lt=10)).collect()
        await pause()
        await ctx.db.insert("counters", {"n": 100})
        return len(found)

    async with TestBackend(COUNTERS) as t:
        await insert(t, 1)
        assert await pause.meanwhile(t.run(count_and_write), insert(t, 5)) == 2
        assert pause.runs == 2
        assert await values(t) == [1, 5, 100]


async def runs_of_take_one(t: TestBackend, n: int) -> int:
    """How often a mutation runs that takes the first row while a row `n` is inserted."""
    pause = Pause()

    async def take_and_write(ctx: MutationCtx) -> None:
        await ctx.db.query("counters").index("by_n").take(1)
        await pause()
        await ctx.db.insert("others", {})

    await pause.meanwhile(t.run(take_and_write), insert(t, n))
    return pause.runs


@pytest.mark.one_isolation("inline", "the test comes in between, in its functions; tests/functions does that in components")
async def test_040_whoever_takes_one_row_depends_on_what_comes_before_it_and_not_on_what_follows() -> None:
    async with TestBackend(COUNTERS) as t:
        await insert(t, 5)
        await insert(t, 6)
        assert await runs_of_take_one(t, 7) == 1
        assert await runs_of_take_one(t, 4) == 2


@pytest.mark.one_isolation("inline", "the test comes in between, in its functions; tests/functions does that in components")
async def test_041_whoever_found_nothing_depends_on_its_not_being_there() -> None:
    """Ids are chosen by an import alone, so a document cannot come to be under an id that somebody missed.

    What can: rows of an empty range, and a table that was not there.
    """
    range_pause, table_pause = Pause(), Pause()

    async def write_if_empty(ctx: MutationCtx) -> bool:
        found = await ctx.db.query("counters").index("by_n", n=Range(gte=1)).first()
        await range_pause()
        if found is None:
            await ctx.db.insert("counters", {"n": -1})
        return found is None

    async def write_if_no_table(ctx: MutationCtx) -> bool:
        found = await ctx.db.query("made_later").first()
        await table_pause()
        if found is None:
            await ctx.db.insert("counters", {"n": -1})
        return found is None

    async with TestBackend(COUNTERS) as t:
        assert await range_pause.meanwhile(t.run(write_if_empty), insert(t, 1)) is False
        make_table = t.run(lambda ctx: ctx.db.insert("made_later", {}))
        assert await table_pause.meanwhile(t.run(write_if_no_table), make_table) is False
        assert (range_pause.runs, table_pause.runs) == (2, 2)
        assert await values(t) == [1]


async def test_042_a_mutation_that_only_reads_conflicts_with_nobody_but_over_the_socket_where_its_answer_is_kept() -> None:
    async with TestBackend(board.app) as t, served(t) as server:
        before: list[float] = []
        for n, (kind, path) in enumerate([("mutation", "board:read_slowly"), ("action", "board:act_slowly")]):
            pause = board.pauses[kind] = Pause()
            assert await pause.meanwhile(server.value(kind, path, {"pause": kind}), t.mutation("board:add", n=n)) == before
            assert pause.runs == 1
            before.append(n)
        pause = board.pauses["socket"] = Pause()
        async with server.socket() as socket:
            socket.send(type="Mutation", requestId=0, udfPath="board:read_slowly", args=[{"pause": "socket"}])
            await pause.wait_reached()
            await t.mutation("board:add", n=2)
            pause.end()
            await settle()
            assert pause.runs == 2
            assert socket.responses[0]["result"] == [*before, 2.0]


@pytest.mark.one_isolation("inline", "the test comes in between, in its functions; tests/functions does that in components")
async def test_043_two_inserts_into_one_table_do_not_conflict() -> None:
    pause = Pause()

    async def insert_slowly(ctx: MutationCtx) -> None:
        await ctx.db.insert("counters", {"n": 1})
        await pause()

    async with TestBackend(COUNTERS) as t:
        await pause.meanwhile(t.run(insert_slowly), insert(t, 2))
        assert pause.runs == 1
        assert await values(t) == [1, 2]


async def test_044_a_mutation_that_raises_leaves_nothing() -> None:
    async with TestBackend(COUNTERS) as t:
        with pytest.raises(AppError) as raised:
            await t.mutation("fail")
        assert await values(t) == []
        assert await t.run(lambda ctx: ctx.db.get(raised.value.data)) is None
        assert await t.run(lambda ctx: ctx.db.query("made_by_it").collect()) == []
        assert await t.run(lambda ctx: ctx.scheduler.list()) == []
        assert await t.finish_scheduled() == []


async def test_045_a_mutation_reads_its_own_writes_at_their_place() -> None:
    """The original's case has text search too, which this version has not."""
    async with TestBackend(COUNTERS) as t:
        await insert(t, 1)
        await insert(t, 3)
        assert await t.mutation("write_and_read") == [[1, 3], [1, 2, 3], [1, 3, 4], [1, 3]]


@pytest.mark.one_isolation("inline", "the test comes in between, in its functions; tests/functions does that in components")
async def test_046_a_mutation_that_keeps_losing_gets_its_turn_and_only_its_deadline_ends_it() -> None:
    """The original runs a mutation five times and then fails it. Here a loser gets a turn: whoever would overtake it again waits.

    Only a deadline that passes while it waits for its turn is an error, which names the function, the table, the ids and the winner.
    """
    app = counters()
    runs: Counter[str] = Counter()
    first_pause, turn_pause = Pause(), Pause()

    @app.mutation
    async def overtaken(ctx: MutationCtx, id: str) -> None:
        """Slow enough for whoever writes without a pause to come first, each time."""
        runs["overtaken"] += 1
        row = await ctx.db.get(id)
        assert row is not None
        await settle()
        await ctx.db.patch(id, {"n": row["n"] + 1})

    @app.mutation
    async def holder(ctx: MutationCtx, id: str) -> None:
        """Loses until it has a turn, and then holds on to it."""
        runs["holder"] += 1
        row = await ctx.db.get(id)
        assert row is not None
        if runs["holder"] <= 2:
            await t.mutation("increment", id=id)
        else:
            await turn_pause()
        await ctx.db.patch(id, {"n": row["n"] + 100})

    @app.mutation
    async def waiter(ctx: MutationCtx, id: str) -> None:
        await ctx.db.get(id)
        await first_pause()
        await ctx.db.patch(id, {"n": 0})

    async with TestBackend(app) as t:
        id = await insert(t, 0)
        losing = asyncio.ensure_future(t.mutation("overtaken", id=id))
        overtakers = 0
        while not losing.done():
            await t.mutation("increment", id=id)
            overtakers += 1
        await losing
        assert 2 <= runs["overtaken"] <= 5
        assert await values(t) == [overtakers + 1]

        waiting = asyncio.ensure_future(t.mutation("waiter", id=id))
        await first_pause.wait_reached()
        await t.advance(5)
        holding = asyncio.ensure_future(t.mutation("holder", id=id))
        await turn_pause.wait_reached()
        first_pause.end()
        await settle()
        await t.advance(10)
        with pytest.raises(WriteConflict) as conflict:
            await waiting
        facts = conflict.value
        assert (facts.function, facts.table, facts.ids, facts.winner) == ("waiter", "counters", (id,), "holder")
        turn_pause.end()
        await holding
        assert await values(t) == [overtakers + 1 + 2 + 100]


@pytest.mark.one_isolation("inline", "the test comes in between, in its functions; tests/functions does that in components")
async def test_047_each_attempt_has_its_own_randomness_and_a_time_that_stands_still() -> None:
    drawn: list[float] = []
    times: list[tuple[float, float]] = []
    pause = Pause()

    async with TestBackend(COUNTERS) as t:
        id = await insert(t, 0)

        async def draw(ctx: MutationCtx) -> None:
            drawn.append(ctx.random.random())
            began = ctx.now()
            await ctx.db.get(id)
            await pause()
            times.append((began, ctx.now()))
            await ctx.db.patch(id, {"n": 1})

        async def let_time_pass_and_write() -> None:
            await t.advance(1)
            await t.run(lambda ctx: ctx.db.patch(id, {"n": 2}))

        start = t.now()
        await pause.meanwhile(t.run(draw), let_time_pass_and_write())
        assert len(set(drawn)) == 2
        assert times == [(start, start), (start + 1000, start + 1000)]


async def test_048_a_query_over_the_time_is_shared_for_seconds_and_no_longer() -> None:
    async with TestBackend(COUNTERS) as t:
        first = await t.query("now")
        await t.advance(16)
        assert await t.query("now") == first
        await t.advance(1)
        assert await t.query("now") == first + 17_000


async def test_049_a_mutation_that_is_sent_again_is_applied_once_and_answered_twice() -> None:
    async with TestBackend(board.app) as t, served(t) as server:
        async with server.socket() as socket:
            first = await socket.call("Mutation", 7, "board:add", {"n": 1.0})
        async with server.socket() as socket:
            again = await socket.call("Mutation", 7, "board:add", {"n": 1.0})
            other = await socket.call("Mutation", 8, "board:add", {"n": 2.0})
        assert first["success"] and again == first
        assert other["result"] != first["result"]
        assert await t.query("board:numbers") == [1, 2]


@pytest.mark.one_isolation("inline", "16,000 writes take their time; tests/functions/test_limits shows in components what a limit does")
async def test_050_a_transaction_reads_and_writes_only_so_much() -> None:
    app = counters()

    @app.mutation
    async def fill(ctx: MutationCtx, count: int) -> None:
        for n in range(count):
            await ctx.db.insert("counters", {"n": n})

    @app.query
    async def read_all(ctx: QueryCtx) -> int:
        return len(await ctx.db.query("counters").collect())

    @app.query
    async def get_each(ctx: QueryCtx, count: int) -> int:
        ids = [row["_id"] for row in await ctx.db.query("counters").take(count)]
        return len([await ctx.db.get(id) for id in ids])

    async with TestBackend(app) as t:
        with pytest.raises(LimitExceeded, match="documents_written exceeded: 16,001 of at most 16,000"):
            await t.mutation("fill", count=16_001)
        await t.mutation("fill", count=16_000)
        await t.mutation("fill", count=16_000)
        assert await t.query("read_all") == 32_000
        await t.mutation("fill", count=1)
        with pytest.raises(LimitExceeded, match="documents_read exceeded: 32,001 of at most 32,000"):
            await t.query("read_all")
        assert await t.query("get_each", count=4_000) == 4_000
        with pytest.raises(LimitExceeded, match="intervals_read"):
            await t.query("get_each", count=4_100)
