"""What keeps mutations that end together from being told apart from those that end alone: each guard, with the case that needs it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.engine.faults import GatedStorage

from interlock import (
    AppError,
    Change,
    CommitTimestamp,
    Component,
    LimitExceeded,
    Limits,
    MutationCtx,
    SchemaError,
    StorageUnavailable,
    components,
)
from interlock.engine import TableSpec, Transaction
from interlock.functions.caller import Caller

from .rooms import Rooms, running

pytestmark = pytest.mark.one_isolation("inline", "its triggers wait for the test, which a worker could not")

GROUP = 4


class Gate:
    """A trigger comes here and waits, once the gate is closed."""

    def __init__(self) -> None:
        self.is_closed = False
        self.arrived, self.opened = asyncio.Event(), asyncio.Event()
        self.lists: list[int] = []

    async def pass_through(self, changes: list[Change]) -> None:
        self.lists.append(len(changes))
        if self.is_closed:
            self.arrived.set()
            await self.opened.wait()

    def open(self) -> None:
        self.is_closed = False
        self.opened.set()


def gated_app(gate: Gate) -> Component:
    made = Component("app")

    @made.trigger("rows")
    async def told(ctx: MutationCtx, changes: list[Change]) -> None:
        await gate.pass_through(changes)
        for change in changes:
            await ctx.db.insert("told", {"n": (change.new or {})["n"]})

    @made.mutation
    async def put(ctx: MutationCtx, n: int) -> int:
        await ctx.db.insert("rows", {"n": n})
        return n

    @made.query
    async def read(ctx: Any, table: str) -> list[int]:
        return sorted([row["n"] for row in await ctx.db.query(table).collect()])

    return made


@asynccontextmanager
async def at_the_gate() -> AsyncIterator[tuple[Rooms, Gate, list[asyncio.Task[Any]]]]:
    """A group of mutations whose trigger waits at the gate."""
    gate = Gate()
    async with running(gated_app(gate)) as rooms:
        await rooms.mutation("put", n=0)
        await asyncio.gather(*[rooms.mutation("put", n=0) for _ in range(GROUP)])
        gate.is_closed = True
        group = [asyncio.create_task(rooms.mutation("put", n=n)) for n in range(1, GROUP + 1)]
        await gate.arrived.wait()
        assert gate.lists[-1] == GROUP
        yield rooms, gate, group


async def test_what_is_deployed_meanwhile_holds_for_all() -> None:
    async with at_the_gate() as (rooms, gate, group):
        small = {"type": "union", "value": [{"type": "literal", "value": float(n)} for n in range(3)]}
        rows = {"type": "object", "value": {"n": {"fieldType": small, "optional": False}}}
        await rooms.engine.deploy([TableSpec("", "rows", rows, indexes={"by_n": ("n",)})])
        gate.open()
        ended = await asyncio.gather(*group, return_exceptions=True)
        assert [type(end) for end in ended] == [int, int, SchemaError, SchemaError]
        assert await rooms.query("read", table="rows") == [0] * (GROUP + 1) + [1, 2]
        table = rooms.engine.catalog.by_name["", "rows"]
        assert table.memory is not None
        assert len(table.memory.entries[table.indexes["by_n"].number]) == GROUP + 3


async def test_nothing_stands_of_those_who_have_given_up() -> None:
    async with at_the_gate() as (rooms, gate, group):
        group[0].cancel()
        group[2].cancel()
        await asyncio.sleep(0)
        gate.open()
        await asyncio.gather(*group, return_exceptions=True)
        assert await rooms.query("read", table="rows") == await rooms.query("read", table="told") == [0] * (GROUP + 1) + [2, 4]


async def test_a_slow_trigger_is_each_ones_own_before_their_time_is_over() -> None:
    async with at_the_gate() as (rooms, gate, group):
        rooms.clock.move_to(rooms.clock.now_ms() + 1_500.0)
        for _ in range(10):
            await asyncio.sleep(0)
        assert gate.lists[-GROUP:] == [1] * GROUP
        gate.open()
        assert await asyncio.gather(*group) == [1, 2, 3, 4]


async def test_who_waits_hears_that_the_backend_closes() -> None:
    async with at_the_gate() as (rooms, gate, group):
        late = asyncio.create_task(rooms.mutation("put", n=9))
        await asyncio.sleep(0)
        rooms.engine.joint.close()
        ended = await asyncio.gather(*group, late, return_exceptions=True)
        assert {type(end) for end in ended} == {StorageUnavailable}
        gate.open()


async def test_who_ends_while_a_batch_is_written_is_told_of_with_those_whom_it_wakes() -> None:
    gate, storage = Gate(), GatedStorage()
    async with running(gated_app(gate), storage=storage) as rooms:
        await rooms.mutation("put", n=0)
        for _ in range(2):
            await asyncio.gather(*[rooms.mutation("put", n=0) for _ in range(GROUP)])

        async def again(n: int) -> None:
            for _ in range(2):
                await rooms.mutation("put", n=n)

        storage.gate.clear()
        callers = [asyncio.create_task(again(n)) for n in range(GROUP)]
        await settled()
        early = asyncio.create_task(rooms.mutation("put", n=9))
        await settled()
        gate.lists.clear()
        storage.gate.set()
        await asyncio.gather(early, *callers)
        assert gate.lists == [GROUP + 1]  # not the early one alone, and all others behind it


async def test_who_has_had_no_company_does_not_wait_for_a_batch_of_others() -> None:
    gate, storage = Gate(), GatedStorage()
    made = gated_app(gate)

    @made.mutation
    async def put_elsewhere(ctx: MutationCtx) -> None:
        await ctx.db.insert("others", {})

    async with running(made, storage=storage) as rooms:
        await rooms.mutation("put", n=0)
        await rooms.mutation("put_elsewhere")
        storage.gate.clear()
        gate.lists.clear()
        other = asyncio.create_task(rooms.mutation("put_elsewhere"))
        await settled()
        lone = asyncio.create_task(rooms.mutation("put", n=1))
        await settled()
        assert gate.lists == [1]  # it is in the next batch, not in the one after that
        storage.gate.set()
        await asyncio.gather(other, lone)


@pytest.mark.parametrize("kind", ["refuse", "break_off"])
async def test_who_waits_for_a_batch_that_fails_is_answered(kind: str) -> None:
    gate, storage = Gate(), GatedStorage()
    async with running(gated_app(gate), storage=storage) as rooms:
        await rooms.mutation("put", n=0)
        storage.gate.clear()
        calls = [asyncio.create_task(rooms.mutation("put", n=n)) for n in range(GROUP)]
        await settled()
        calls += [asyncio.create_task(rooms.mutation("put", n=n)) for n in range(GROUP)]
        await settled()
        setattr(storage, kind, True)
        storage.gate.set()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(end) for end in ended} == {StorageUnavailable}


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_what_a_trigger_plans_at_once_is_done_at_once() -> None:
    made = Component("app")

    @made.trigger("rows")
    async def plan(ctx: MutationCtx, changes: list[Change]) -> None:
        await ctx.scheduler.run_after(0, note.options(at_once=True), n=len(changes))

    @made.mutation
    async def note(ctx: MutationCtx, n: int) -> None:
        await ctx.db.insert("notes", {"n": n})

    @made.mutation
    async def put(ctx: MutationCtx) -> None:
        await ctx.db.insert("rows", {})

    @made.query
    async def notes(ctx: Any) -> list[int]:
        return [row["n"] for row in await ctx.db.query("notes").collect()]

    async with running(made) as rooms:
        await rooms.mutation("put")
        assert await rooms.query("notes") == [1]


async def test_what_a_job_writes_is_told_with_nobody_elses() -> None:
    gate = Gate()
    async with running(gated_app(gate)) as rooms:
        await rooms.mutation("put", n=0)
        job = Caller(admin=True, source="scheduler", request_id="a-request", job="a-job")
        puts = [rooms.mutation("put", n=n) for n in range(GROUP)]
        await asyncio.gather(rooms.ask("mutation", "put", {"n": 9}, caller=job), *puts)
        assert sorted(gate.lists) == [1, 1, GROUP] or gate.lists.count(1) >= 2
        assert sum(gate.lists) == GROUP + 2


async def test_a_trigger_that_looks_at_the_table_sees_it_grow_row_by_row() -> None:
    made = Component("app")

    @made.trigger("users")
    async def award(ctx: MutationCtx, changes: list[Change]) -> None:
        n = await ctx.db.query("users").count()
        if n % 2 == 0:
            await ctx.db.insert("prizes", {"n": n})

    @made.mutation
    async def join(ctx: MutationCtx) -> None:
        await ctx.db.insert("users", {})

    @made.query
    async def prizes(ctx: Any) -> list[int]:
        return [row["n"] for row in await ctx.db.query("prizes").collect()]

    async with running(made) as rooms:
        await rooms.mutation("join")
        await asyncio.gather(*[rooms.mutation("join") for _ in range(9)])
        assert await rooms.query("prizes") == [2, 4, 6, 8, 10]


async def test_time_stands_still_for_a_function_and_its_triggers() -> None:
    made = Component("app")
    go, told_of = asyncio.Event(), list[int]()

    @made.trigger("rows")
    async def told(ctx: MutationCtx, changes: list[Change]) -> None:
        told_of.append(len(changes))
        for change in changes:
            await ctx.db.insert("told", {"n": (change.new or {})["n"], "at": ctx.now()})

    @made.mutation
    async def put(ctx: MutationCtx, n: int) -> None:
        await ctx.db.insert("rows", {"n": n, "at": ctx.now()})
        await go.wait()

    @made.query
    async def read(ctx: Any, table: str) -> list[Any]:
        return sorted([[row["n"], row["at"]] for row in await ctx.db.query(table).collect()])

    async with running(made) as rooms:
        go.set()
        await rooms.mutation("put", n=-1)
        go.clear()
        putting = []
        for n in range(2 * GROUP):
            putting.append(asyncio.create_task(rooms.mutation("put", n=n)))
            for _ in range(5):
                await asyncio.sleep(0)
            rooms.clock.move_to(rooms.clock.now_ms() + n // GROUP)
        go.set()
        await asyncio.gather(*putting)
        rows = await rooms.query("read", table="rows")
        assert len({at for _, at in rows}) > 1, "not all have begun at the same time"
        assert rows == await rooms.query("read", table="told")
        assert max(told_of) > 1, "they were joined first"


async def test_commit_timestamps_say_in_which_order_they_have_committed() -> None:
    """Rows of one commit would be in the order of their inserts, which is not the one in which the trigger has heard of them."""
    gate = Gate()
    made = gated_app(gate)

    @made.mutation
    async def put_twice(ctx: MutationCtx, n: int) -> None:
        await ctx.db.insert("rows", {"n": n, "at": CommitTimestamp()})
        for _ in range(GROUP - n):  # they end in another order than they have begun in
            await asyncio.sleep(0)
        await ctx.db.insert("rows", {"n": n, "at": CommitTimestamp()})

    @made.query
    async def in_order(ctx: Any, table: str) -> list[int]:
        rows = await ctx.db.query(table).collect()
        return [row["n"] for row in sorted(rows, key=lambda row: row.get("at", 0))]

    async with running(made) as rooms:
        await rooms.mutation("put", n=-1)
        await asyncio.gather(*[rooms.mutation("put", n=-1) for _ in range(2 * GROUP)])
        assert max(gate.lists) > 1, "others are joined"
        await asyncio.gather(*[rooms.mutation("put_twice", n=n) for n in range(GROUP)])
        rows, told = [[n for n in await rooms.query("in_order", table=table) if n >= 0] for table in ("rows", "told")]
        assert len(rows) == 2 * GROUP
        assert rows == told


async def test_each_hears_what_its_own_trigger_logs_and_a_kept_answer_has_it_too() -> None:
    made = Component("app")

    @made.trigger("rows")
    async def say(ctx: MutationCtx, changes: list[Change]) -> None:
        ctx.log.info(" ".join([str((change.new or {})["n"]) for change in changes]))

    @made.mutation
    async def put(ctx: MutationCtx, n: int) -> None:
        await ctx.db.insert("rows", {"n": n})

    async with running(made) as rooms:
        await rooms.mutation("put", n=0)
        for _ in range(2):  # the second time they are known
            asked = [rooms.ask("mutation", "put", {"n": n}, session=("a-session", n)) for n in range(GROUP)]
            assert [answer.log_lines for answer in await asyncio.gather(*asked)] == [[f"[INFO] {n}"] for n in range(GROUP)]


@pytest.mark.parametrize("is_mount", [False, True])
async def test_nobody_may_do_more_with_others_than_alone(is_mount: bool) -> None:
    """A function that writes all but one of what it may, and a trigger that writes two."""
    most = 10
    inner = Component("inner")

    @inner.mutation
    async def write(ctx: MutationCtx, count: int) -> None:
        for _ in range(count):
            await ctx.db.insert("notes", {})

    made = Component("app")
    made.use(inner, limits=Limits(documents_written=most))

    @made.trigger("rows")
    async def told(ctx: MutationCtx, changes: list[Change]) -> None:
        if is_mount:
            await ctx.run_mutation(inner_write, count=2)
        else:
            for _ in range(8_000):
                await ctx.db.insert("notes", {})

    @made.mutation
    async def put(ctx: MutationCtx, is_large: bool) -> None:
        if is_mount:
            await ctx.run_mutation(inner_write, count=most - 1 if is_large else 1)
        else:
            for _ in range(8_001 if is_large else 1):
                await ctx.db.insert("others", {})
        await ctx.db.insert("rows", {})

    inner_write = components.inner.write
    async with running(made) as rooms:
        await rooms.mutation("put", is_large=False)
        with pytest.raises(LimitExceeded):
            await rooms.mutation("put", is_large=True)
        ended = await asyncio.gather(*[rooms.mutation("put", is_large=n == 2) for n in range(GROUP)], return_exceptions=True)
        assert [type(end) for end in ended] == [type(None), type(None), LimitExceeded, type(None)]


async def test_no_transaction_outlives_its_mutation() -> None:
    def alive() -> int:
        return sum(isinstance(one, Transaction) for one in gc.get_objects())

    gate = Gate()
    made = gated_app(gate)

    @made.mutation
    async def refused(ctx: MutationCtx) -> None:
        await ctx.db.insert("rows", {})  # of which the trigger raises

    async with running(made) as rooms:
        await rooms.mutation("put", n=0)
        gc.collect()
        gc.disable()
        try:
            before = alive()
            await asyncio.gather(*[rooms.mutation("put", n=0) for _ in range(20)])
            assert alive() <= before + 2
            ended = await asyncio.gather(*[rooms.mutation("refused") for _ in range(5)], return_exceptions=True)
            assert not any(end is None or isinstance(end, AppError) for end in ended)
            del ended
            assert alive() <= before + 5
        finally:
            gc.enable()
