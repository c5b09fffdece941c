"""How long a function may take. The clock of the wall is virtual, the CPU time what a function says it has used."""

from __future__ import annotations

import asyncio
import gc
import textwrap
import time
from typing import Any

import pytest
from tests.placed import placed

from interlock import ActionCtx, Component, DeadlineExceeded, Limits, MutationCtx, QueryCtx, Schema, Table, components
from interlock.clock import SystemClock
from interlock.functions.call import Payer
from interlock.functions.deadlines import Deadlines
from interlock.functions.meter import CpuMeter
from interlock.storage.memory import MemoryStorage

from .rooms import Rooms, gated, running


def app(rooms_of: list[Rooms]) -> Component:
    made = Component("app", schema=Schema(notes=Table({"n": int})))

    @made.mutation
    async def hang(ctx: MutationCtx) -> None:
        await ctx.db.insert("notes", {"n": 1})
        await asyncio.Event().wait()

    @made.mutation
    async def hang_stubbornly(ctx: MutationCtx) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    @made.query
    async def hang_in_tasks(ctx: QueryCtx) -> None:
        await asyncio.gather(*(asyncio.Event().wait() for _ in range(3)))

    @made.action
    async def work(ctx: ActionCtx) -> None:
        await asyncio.Event().wait()

    @made.mutation
    async def burn(ctx: MutationCtx, seconds: float, pauses: int = 0) -> str:
        for _ in range(pauses + 1):
            rooms_of[0].meter.used += seconds / (pauses + 1)
            if pauses:
                await asyncio.sleep(0)
        await ctx.db.insert("notes", {"n": 1})
        return "done"

    @made.query
    def burn_plainly(ctx: QueryCtx, seconds: float) -> str:
        rooms_of[0].meter.used += seconds
        return "done"

    @made.mutation
    async def careful(ctx: MutationCtx) -> str:
        try:
            await ctx.run_mutation(hang.options(limits=Limits(deadline=2)))
        except DeadlineExceeded as error:
            await ctx.db.insert("notes", {"n": 2})
            return f"{error.function} {error.what} {error.seconds:g}"
        return "it came back"

    @made.mutation
    async def careful_of_cpu(ctx: MutationCtx) -> str:
        try:
            await ctx.run_mutation(burn.options(limits=Limits(cpu=0.2)), seconds=0.3)
        except DeadlineExceeded as error:
            return f"{error.function} {error.what} {error.seconds:g}"
        return "it came back"

    @made.mutation
    async def leave_behind(ctx: MutationCtx) -> None:
        asyncio.ensure_future(ctx.run_mutation("hang"))  # noqa: RUF006
        await asyncio.sleep(0)

    return made


async def until(rooms: Rooms, task: asyncio.Future[Any], seconds: float) -> bool:
    for _ in range(5):
        await asyncio.sleep(0)
    rooms.clock.move_to(rooms.clock.now_ms() + seconds * 1000.0)
    for _ in range(10):
        await asyncio.sleep(0)
    return task.done()


@pytest.mark.parametrize(
    ("kind", "name", "seconds"),
    [
        ("mutation", "hang", 15),
        ("mutation", "hang_stubbornly", 15),
        ("query", "hang_in_tasks", 15),
        ("action", "work", 600),
        ("mutation", "leave_behind", 15),
    ],
)
@pytest.mark.one_isolation("inline", "what is counted is turns of the host's loop; the same without that stands below, both ways")
async def test_a_function_that_waits_too_long_is_stopped(kind: str, name: str, seconds: float) -> None:
    held: list[Rooms] = []
    async with running(app(held)) as rooms:
        held.append(rooms)
        task = asyncio.ensure_future(rooms.ask(kind, name, {}))
        assert not await until(rooms, task, seconds - 0.1)
        assert await until(rooms, task, 0.2) == (name != "hang_stubbornly")
        assert await until(rooms, task, 1.1)
        with pytest.raises(DeadlineExceeded) as late:
            await task
        assert (late.value.what, late.value.seconds) == ("wall time", seconds)
        assert await rooms.rows("notes") == []
        assert rooms.clock.next_timer_ms() is None


@pytest.mark.one_isolation("inline", "what is counted is turns of the host's loop; the same without that stands below, both ways")
async def test_a_call_with_a_shorter_deadline_can_be_caught_and_leaves_nothing() -> None:
    held: list[Rooms] = []
    async with running(app(held)) as rooms:
        task = asyncio.ensure_future(rooms.mutation("careful"))
        assert not await until(rooms, task, 1.9)
        assert await until(rooms, task, 0.2)
        assert await task == "hang wall time 2"
        assert await rooms.values("notes") == [2]


@pytest.mark.one_isolation("inline", "what is counted is turns of the host's loop; the same without that stands below, both ways")
async def test_calls_below_one_that_is_stopped_end_as_it_does_and_cannot_be_caught_on_the_way() -> None:
    held: list[Rooms] = []
    made = app(held)
    caught: list[str] = []

    @made.mutation
    async def middle(ctx: MutationCtx, gathered: bool) -> None:
        try:
            call = ctx.run_mutation("hang")
            await (asyncio.gather(call, ctx.db.query("notes").collect()) if gathered else call)
        except Exception as error:
            caught.append(type(error).__name__)

    @made.mutation
    async def outer(ctx: MutationCtx, gathered: bool) -> None:
        await ctx.run_mutation("middle", gathered=gathered)

    async with running(made) as rooms:
        for gathered in (False, True):
            task = asyncio.ensure_future(rooms.mutation("outer", gathered=gathered))
            assert not await until(rooms, task, 14)
            assert await until(rooms, task, 2)
            with pytest.raises(DeadlineExceeded) as late:
                await task
            assert late.value.function == "outer"
        assert caught == []
        assert await rooms.rows("notes") == []


@pytest.mark.one_isolation("inline", "the CPU clock of the test is the host's; tests/sandbox/test_shares.py spends a worker's")
async def test_own_cpu_time_is_measured_slice_by_slice() -> None:
    held: list[Rooms] = []
    async with running(app(held)) as rooms:
        held.append(rooms)
        assert await rooms.mutation("burn", seconds=0.9) == "done"
        assert await rooms.mutation("burn", seconds=0.9, pauses=3) == "done"
        assert await rooms.query("burn_plainly", seconds=0.9) == "done"
        for pauses in (0, 3):
            with pytest.raises(DeadlineExceeded, match="CPU time"):
                await rooms.mutation("burn", seconds=1.2, pauses=pauses)
        with pytest.raises(DeadlineExceeded, match="CPU time"):
            await rooms.query("burn_plainly", seconds=1.2)
        assert await rooms.values("notes") == [1, 1]
        assert await rooms.mutation("careful_of_cpu") == "burn CPU time 0.2"


@pytest.mark.one_isolation("inline", "the CPU clock of the test is the host's; tests/sandbox/test_shares.py spends a worker's")
async def test_the_time_of_gathered_calls_counts_too() -> None:
    held: list[Rooms] = []
    made = app(held)

    @made.mutation
    async def gather(ctx: MutationCtx, calls: int, pauses: int) -> list[Any]:
        return await asyncio.gather(*(ctx.run_mutation("burn", seconds=0.4, pauses=pauses) for _ in range(calls)))

    async with running(made) as rooms:
        held.append(rooms)
        for pauses in (0, 2):
            assert await rooms.mutation("gather", calls=2, pauses=pauses) == ["done", "done"]
            with pytest.raises(DeadlineExceeded) as late:
                await rooms.mutation("gather", calls=3, pauses=pauses)
            assert (late.value.function, late.value.what) == ("gather", "CPU time")
        assert len(await rooms.rows("notes")) == 4


@pytest.mark.one_isolation("inline", "the CPU clock of the test is the host's; tests/sandbox/test_shares.py spends a worker's")
async def test_a_mount_may_have_less_time() -> None:
    held: list[Rooms] = []
    child = Component("child")

    @child.query
    async def burn(ctx: QueryCtx, seconds: float) -> None:
        held[0].meter.used += seconds

    outer = Component("outer")
    outer.use(child, isolation="inline", limits=Limits(cpu=0.5))

    @outer.query
    async def call(ctx: QueryCtx, times: int) -> int:
        for _ in range(times):
            await ctx.run_query(components.child.burn, seconds=0.2)
        return times

    async with running(outer) as rooms:
        held.append(rooms)
        assert await rooms.query("call", times=2) == 2
        with pytest.raises(DeadlineExceeded) as late:
            await rooms.query("call", times=3)
        assert late.value.function == "child/burn"


@pytest.mark.one_isolation("inline", "what is counted is turns of the host's loop; the same without that stands below, both ways")
async def test_cancelling_the_caller_cancels_the_function() -> None:
    ended: list[str] = []
    made = Component("app")

    @made.mutation
    async def hang(ctx: MutationCtx) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async with running(made) as rooms:
        task = asyncio.ensure_future(rooms.mutation("hang"))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == ["cancelled"]


@pytest.mark.one_isolation("inline", "it ends the process of the host; what spins in a worker is in tests/sandbox/test_shares.py")
class TestWatchdog:
    """Functions that never come back are ended; here with limits far below those in force."""

    def app(self) -> Component:
        made = Component("app", schema=Schema(notes=Table({"n": int})))

        @made.query
        async def spin(ctx: QueryCtx, how: str) -> None:
            while True:
                try:
                    if how == "reading":
                        await ctx.db.get("nothing")
                    if how == "calling":
                        await ctx.run_query("spin", how="alone")
                    if how == "gathered":
                        await asyncio.gather(ctx.run_query("spin", how="alone"), ctx.run_query("spin", how="alone"))
                    if how == "in the library":
                        " ".join(textwrap.wrap("a b c " * 100))
                except Exception:
                    continue

        @made.query
        def spin_plainly(ctx: QueryCtx) -> None:
            while True:
                pass

        @made.query
        async def spin_later(ctx: QueryCtx) -> None:
            await asyncio.sleep(0)
            while True:
                pass

        @made.mutation
        async def write_and_spin(ctx: MutationCtx) -> None:
            await ctx.db.insert("notes", {"n": 1})
            while True:
                await ctx.db.get("nothing")

        @made.mutation
        async def catch(ctx: MutationCtx) -> str:
            try:
                await ctx.run_query(made.functions["spin"].options(limits=Limits(cpu=0.02)), how="alone")
            except DeadlineExceeded as error:
                await ctx.db.insert("notes", {"n": 2})
                return error.what
            return ""

        return made

    @pytest.mark.parametrize("how", ["alone", "reading", "calling", "gathered", "in the library"])
    async def test_a_function_that_spins_is_ended(self, how: str) -> None:
        async with running(self.app(), meter=CpuMeter(tick_seconds=0.01)) as rooms:
            with pytest.raises(DeadlineExceeded, match="CPU time"):
                await rooms.ask("query", "spin", {"how": how}, limits=Limits(cpu=0.03))
            assert await rooms.mutation("catch") == "CPU time"
            assert await rooms.values("notes") == [2]

    async def test_one_that_keeps_the_engine_busy_is_ended_by_the_clock_on_the_wall(self) -> None:
        async with running(self.app(), meter=CpuMeter(tick_seconds=0.01)) as rooms:
            with pytest.raises(DeadlineExceeded, match="wall time"):
                await rooms.ask("query", "spin", {"how": "reading"}, limits=Limits(deadline=0.03))

    async def test_what_the_collector_takes_is_not_charged(self) -> None:
        class Slow:
            """Stands for a heap that is large: the collector takes long over it, whoever happens to run."""

            def __init__(self) -> None:
                self.itself = self

            def __del__(self) -> None:
                until = time.thread_time() + 0.1
                while time.thread_time() < until:
                    pass

        made = self.app()

        @made.query
        async def make_garbage(ctx: QueryCtx) -> str:
            Slow()
            gc.collect()
            return "done"

        gc.collect()  # else it would be there for what others have left
        async with running(made, meter=CpuMeter(tick_seconds=0.01)) as rooms:
            assert (await rooms.ask("query", "make_garbage", {}, limits=Limits(cpu=0.05))).value == "done"
            with pytest.raises(DeadlineExceeded, match="CPU time"):
                await rooms.ask("query", "spin", {"how": "alone"}, limits=Limits(cpu=0.03))

    @pytest.mark.parametrize("name", ["spin_plainly", "spin_later", "write_and_spin"])
    async def test_so_are_plain_ones_late_ones_and_those_that_write(self, name: str) -> None:
        async with running(self.app(), meter=CpuMeter(tick_seconds=0.01)) as rooms:
            kind = "mutation" if name == "write_and_spin" else "query"
            for _ in range(3):
                with pytest.raises(DeadlineExceeded, match="CPU time"):
                    await rooms.ask(kind, name, {}, limits=Limits(cpu=0.03))
            assert await rooms.rows("notes") == []


@pytest.mark.one_isolation("inline", "the CPU clock of the test is the host's; tests/sandbox/test_shares.py spends a worker's")
async def test_what_the_engine_does_is_not_the_functions_time_and_what_its_calls_do_is() -> None:
    held: list[Rooms] = []
    made = app(held)

    class Slow(MemoryStorage):
        async def get(self, *args: Any) -> Any:
            held[0].meter.used += 0.3
            await asyncio.sleep(0)
            held[0].meter.used += 0.3
            return await super().get(*args)

    @made.mutation
    async def read(ctx: MutationCtx, id: str, times: int) -> str:
        for _ in range(times):
            await ctx.db.get(id)
        return "done"

    @made.mutation
    async def nested(ctx: MutationCtx, seconds: float) -> str:
        for pauses in (0, 1):
            await ctx.run_mutation("burn", seconds=seconds, pauses=pauses)
        return "done"

    async with running(made, storage=Slow()) as rooms:
        held.append(rooms)
        id = await rooms.on_the_spot(lambda ctx: ctx.db.insert("notes", {"n": 1}))
        table = rooms.engine.catalog.get("", "notes")
        assert table is not None
        table.memory = None  # so that it is read from storage
        assert await rooms.mutation("read", id=id, times=5) == "done"
        assert await rooms.mutation("nested", seconds=0.4) == "done"
        with pytest.raises(DeadlineExceeded) as late:
            await rooms.mutation("nested", seconds=0.6)
        assert (late.value.function, late.value.what) == ("nested", "CPU time")


@pytest.mark.one_isolation("inline", "no component runs: the meter of the host")
def test_the_meter_counts_time_that_was_used_and_not_time_that_was_waited() -> None:
    now, cpu = [0.0], [0.0]
    meter = CpuMeter(seconds=lambda: now[0], cpu_seconds=lambda: cpu[0], tick_seconds=None)
    call = Payer()
    slice = meter.start(call)
    now[0], cpu[0] = 2.0, 0.5  # other processes had the rest
    meter.leave()
    now[0], cpu[0] = 4.0, 1.0  # the engine
    meter.come_back()
    now[0], cpu[0] = 6.0, 1.5
    meter.stop(slice)
    assert call.cpu == 1.0


@pytest.mark.one_isolation("inline", "no component runs: the meter of the host")
def test_the_meter_leaves_out_a_collection_and_no_more() -> None:
    now = [0.0]
    meter = CpuMeter(seconds=lambda: now[0], cpu_seconds=lambda: now[0], tick_seconds=None)
    meter.collection_began()
    meter.collection_ended()  # nobody runs
    call = Payer()
    slice = meter.start(call)
    for began, ended in ((1.0, 3.0), (4.0, 4.5)):
        now[0] = began
        meter.collection_began()
        now[0] = ended
        meter.collection_ended()
    now[0] = 5.0
    meter.leave()
    meter.collection_began()
    now[0] = 6.0
    meter.collection_ended()
    meter.come_back()
    now[0] = 7.0
    meter.stop(slice)
    assert call.cpu == 3.5


def waiting() -> Component:
    made = Component("app", schema=Schema(notes=Table({"n": int})))

    @made.mutation
    async def write_and_hang(ctx: MutationCtx, gate: str) -> None:
        await ctx.db.insert("notes", {"n": 1})
        await ctx.run_query(gate)
        await asyncio.Event().wait()

    @made.query
    async def hang_in_tasks(ctx: QueryCtx, gate: str) -> None:
        await ctx.run_query(gate)
        await asyncio.gather(*(asyncio.Event().wait() for _ in range(3)))

    @made.action
    async def work(ctx: ActionCtx, gate: str) -> None:
        await ctx.run_query(gate)
        await asyncio.Event().wait()

    @made.mutation
    async def hang_below(ctx: MutationCtx, gate: str) -> str:
        try:
            await ctx.run_mutation("write_and_hang", gate=gate)
        except Exception:
            return "caught"
        return "it came back"

    @made.mutation
    async def careful(ctx: MutationCtx, gate: str) -> str:
        try:
            await ctx.run_mutation(write_and_hang.options(limits=Limits(deadline=2)), gate=gate)
        except DeadlineExceeded as error:
            await ctx.db.insert("notes", {"n": 2})
            return f"{error.function} {error.what} {error.seconds:g}"
        return "it came back"

    return made


waiting_component = placed(waiting)


@pytest.mark.usefixtures("both_isolations")
@pytest.mark.parametrize(
    ("kind", "name", "seconds"),
    [("mutation", "write_and_hang", 15), ("query", "hang_in_tasks", 15), ("action", "work", 600), ("mutation", "hang_below", 15)],
)
async def test_a_call_that_has_met_its_deadline_is_over_and_leaves_nothing(kind: str, name: str, seconds: float) -> None:
    async with gated(waiting_component) as (rooms, gate):
        gate.opened.set()
        task = asyncio.ensure_future(rooms.ask(kind, name, {"gate": gate.handle}, "app"))
        await gate.arrived()
        rooms.clock.move_to(rooms.clock.now_ms() + (seconds - 0.1) * 1000.0)
        await asyncio.sleep(0)
        assert not task.done()
        rooms.clock.move_to(rooms.clock.now_ms() + 1_200.0)
        with pytest.raises(DeadlineExceeded) as late:
            await asyncio.wait_for(task, 60)
        assert (late.value.function, late.value.what, late.value.seconds) == (f"app/{name}", "wall time", seconds)
        assert await rooms.rows("notes", "app") == []


@pytest.mark.usefixtures("both_isolations")
async def test_a_shorter_deadline_can_be_caught_and_undoes_the_call() -> None:
    async with gated(waiting_component) as (rooms, gate):
        gate.opened.set()
        task = asyncio.ensure_future(rooms.mutation("careful", "app", gate=gate.handle))
        await gate.arrived()
        rooms.clock.move_to(rooms.clock.now_ms() + 2_100.0)
        assert await asyncio.wait_for(task, 60) == "app/write_and_hang wall time 2"
        assert await rooms.values("notes", component_path="app") == [2]


@pytest.mark.one_isolation("inline", "no function is called")
async def test_deadlines_of_many_calls_pass_in_their_order() -> None:
    """In real time, for which they share a timer."""
    clock, passed, ended = SystemClock(), [], asyncio.Event()
    deadlines = Deadlines(clock)
    began_ms = clock.now_ms()

    def note(name: str) -> None:
        passed.append((name, clock.now_ms() >= began_ms + at_ms[name] - 1.0))
        if name == "first":
            deadlines.drop("ended by the first")
        if name == "last":
            ended.set()

    at_ms = {"far away": 3_600_000.0, "last": 12.0, "dropped": 2.0, "first": 2.0, "ended by the first": 4.0, "second": 6.0}
    for name, ms in at_ms.items():
        assert deadlines.add(name, began_ms + ms, lambda name=name: note(name)) is None  # type: ignore[misc]
    deadlines.drop("dropped")
    deadlines.drop("never added")
    await asyncio.wait_for(ended.wait(), 10)
    assert passed == [("first", True), ("second", True), ("last", True)]
    deadlines.add("after that", clock.now_ms() + 1.0, ended.clear)
    deadlines.close()
    await asyncio.sleep(0.005)
    assert ended.is_set(), "nobody is told after the end"
