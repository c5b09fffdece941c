"""What goes wrong outside: storage that refuses, and processes that end anywhere. Whatever happens, jobs run as often as promised."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock import ActionCtx, Component, MutationCtx, QueryCtx, Schema, StorageUnavailable, Table
from interlock.storage.memory import MemoryStorage
from interlock.storage.protocol import Commit, NothingWritten

from .rooms import START_MS, Machine, Process
from .test_jobs import diary


class FullDisk(MemoryStorage):
    """Refuses to write while it is full."""

    is_full = False

    async def append(self, commits: Sequence[Commit]) -> None:
        if self.is_full:
            raise NothingWritten("no space left", "Make room.")
        await super().append(commits)


def machine_with_disk() -> tuple[Machine, FullDisk]:
    machine = Machine()
    machine.storage = disk = FullDisk(clock_ns=lambda: int(machine.clock.now_ms() * 1e6))
    return machine, disk


@pytest.mark.one_isolation("inline", "the storage or the process of the host fails, at a chosen turn of its loop")
async def test_mutation_jobs_wait_while_storage_refuses_and_run_once_when_it_is_back() -> None:
    machine, disk = machine_with_disk()
    async with machine.process(diary()) as process:
        for name in ("a", "b", "c"):
            await process.call("plan", seconds=10, text=name)
        disk.is_full = True
        await process.advance(60)
        assert await process.call("texts") == []
        assert {job.state for job in await process.jobs()} == {"pending"}
        disk.is_full = False
        await process.advance(60)
        assert sorted(await process.call("texts")) == ["a", "b", "c"]
        assert {job.state for job in await process.jobs()} == {"success"}


@pytest.mark.one_isolation("inline", "the storage or the process of the host fails, at a chosen turn of its loop")
async def test_a_clock_that_is_set_back_while_jobs_wait_for_storage_does_not_make_them_wait_longer() -> None:
    machine, disk = machine_with_disk()
    async with machine.process(diary()) as process:
        await process.call("plan", seconds=1, text="early")
        disk.is_full = True
        await process.advance(20)  # pauses double
        disk.is_full = False
        process.clock.move_to(process.clock.now_ms() + 1_000)  # the engine writes again, the scheduler still waits
        for _ in range(50):
            await asyncio.sleep(0)
        process.clock._now_ms -= 3_600_000
        await process.call("plan", seconds=0, text="late")
        for _ in range(200):
            await asyncio.sleep(0)
        assert await process.call("texts") == ["late"]
        await process.advance(3_700)
        assert await process.call("texts") == ["late", "early"]


@pytest.mark.one_isolation("inline", "the storage or the process of the host fails, at a chosen turn of its loop")
async def test_an_action_that_ended_while_storage_refused_is_marked_when_it_is_back_and_not_run_again() -> None:
    machine, disk = machine_with_disk()
    component = diary()
    runs = 0

    @component.action
    async def act(ctx: ActionCtx) -> None:
        nonlocal runs
        runs += 1
        disk.is_full = True

    @component.mutation
    async def start(ctx: MutationCtx) -> str:
        return await ctx.scheduler.run_after(0, act)

    async with machine.process(component) as process:
        job = await process.call("start")
        for _ in range(50):
            await asyncio.sleep(0)
        assert (await process.job(job)).state == "running"  # type: ignore[union-attr]
        disk.is_full = False
        process.clock.move_to(START_MS + 5_000)
        for _ in range(50):
            await asyncio.sleep(0)
        process.clock.move_to(START_MS + 10_000)
        await process.scheduler.wait_idle()
        assert (await process.job(job)).state == "success"  # type: ignore[union-attr]
        assert runs == 1


@pytest.mark.one_isolation("inline", "the storage or the process of the host fails, at a chosen turn of its loop")
async def test_jobs_of_a_commit_that_was_taken_back_never_run() -> None:
    machine, disk = machine_with_disk()
    async with machine.process(diary()) as process:
        disk.is_full = True
        try:
            await process.call("plan", seconds=0, text="never answered")
        except StorageUnavailable:
            pass
        disk.is_full = False
        await process.advance(60)
        assert await process.call("texts") == []
        assert await process.jobs() == []


def ledger(ran: Counter[str]) -> Component:
    """A mutation writes down that it ran; an action tells `ran`, which no crash undoes, and then writes it down too."""
    component = Component("ledger", schema=Schema(done=Table({"key": str})))

    @component.mutation
    async def note(ctx: MutationCtx, key: str) -> None:
        await asyncio.sleep(0)
        await ctx.db.insert("done", {"key": key})

    @component.action
    async def act(ctx: ActionCtx, key: str) -> None:
        ran[key] += 1
        await asyncio.sleep(0)
        await ctx.run_mutation(note, key=key)
        await asyncio.sleep(0)

    @component.mutation
    async def plan(ctx: MutationCtx, key: str, kind: str, seconds: float) -> str:
        return await ctx.scheduler.run_after(seconds, note if kind == "mutation" else act, key=key)

    @component.mutation
    async def cancel(ctx: MutationCtx, job: str) -> bool:
        """Whether it had not begun, in the transaction that cancels it."""
        found = await ctx.scheduler.get(job)
        await ctx.scheduler.cancel(job)
        return found is not None and found.state == "pending"

    @component.query
    async def done(ctx: QueryCtx) -> list[str]:
        return [row["key"] async for row in ctx.db.query("done")]

    component.cron("each ten", every=10, args={"key": "cron"})(note)
    return component


@pytest.mark.parametrize("kind", ["mutation", "action"])
@pytest.mark.one_isolation("inline", "the storage or the process of the host fails, at a chosen turn of its loop")
async def test_a_crash_at_any_turn_of_the_loop_leaves_no_job_run_twice_and_none_forgotten(kind: str) -> None:
    outcomes: set[tuple[int, int, Any]] = set()
    for turns in range(60):
        machine, ran = Machine(), Counter[str]()
        process = await machine.start(ledger(ran))
        jobs = [await process.call("plan", key=key, kind=kind, seconds=15) for key in "abc"]
        await process.advance(14)
        machine.clock.move_to(START_MS + 15_000)
        for _ in range(turns):
            await asyncio.sleep(0)
        process.crash()
        async with machine.process(ledger(ran)) as process:
            await process.advance(10)
            done = Counter(await process.call("done"))
            states = [await state_of(process, job) for job in jobs]
            assert done["cron"] == 3
            if kind == "mutation":
                assert (done["a"], done["b"], done["c"], states) == (1, 1, 1, ["success"] * 3)
            else:
                for key, state in zip("abc", states, strict=True):
                    assert done[key] <= ran[key] <= 1
                    assert state == "failed" or (done[key], state) == (1, "success")
                outcomes.update((ran[key], done[key], state) for key, state in zip("abc", states, strict=True))
    if kind == "action":  # it was caught before it began, in the middle, between its end and its mark, and not at all
        assert outcomes == {(0, 0, "failed"), (1, 0, "failed"), (1, 1, "failed"), (1, 1, "success")}


steps = st.lists(
    st.one_of(
        st.tuples(st.just("plan"), st.sampled_from(["mutation", "action"]), st.integers(0, 30)),
        st.tuples(st.just("cancel"), st.just(""), st.integers(0, 5)),
        st.tuples(st.just("advance"), st.just(""), st.integers(0, 20)),
        st.tuples(st.just("crash"), st.just(""), st.integers(0, 40)),
    ),
    max_size=15,
)


@settings(max_examples=60)
@given(steps=steps)
@pytest.mark.one_isolation("inline", "the storage or the process of the host fails, at a chosen turn of its loop")
async def test_mutations_run_exactly_once_and_actions_at_most_once_wherever_the_process_crashes(steps: list[tuple[str, str, int]]) -> None:
    """Model: what was planned and not cancelled. A crash comes after so many turns of the loop, in the middle of whatever runs."""
    machine, ran = Machine(), Counter[str]()
    planned: dict[str, tuple[str, str]] = {}  # key → kind, job
    cancelled: set[str] = set()
    too_late: set[str] = set()  # it had begun: an action that runs on is canceled all the same
    process = await machine.start(ledger(ran))
    for what, kind, number in steps:
        if what == "plan":
            key = f"job {len(planned)}"
            planned[key] = kind, await process.call("plan", key=key, kind=kind, seconds=number)
        elif what == "cancel" and number < len(planned):
            key = list(planned)[number]
            (cancelled if await process.call("cancel", job=planned[key][1]) else too_late).add(key)
        elif what == "advance":
            await process.advance(number)
        elif what == "crash":
            due = process.scheduler.next_due_ms
            machine.clock.move_to(max(machine.clock.now_ms(), due) if number % 2 and due < float("inf") else machine.clock.now_ms())
            for _ in range(number):
                await asyncio.sleep(0)
            process.crash()
            process = await machine.start(ledger(ran))
    await process.advance(60)
    done = Counter(await process.call("done"))
    for key, (kind, job) in planned.items():
        state = await state_of(process, job)
        if key in cancelled:
            assert (done[key], ran[key], state) == (0, 0, "canceled")
        elif kind == "mutation":
            assert (done[key], state) == (1, "success")
        else:
            assert done[key] <= ran[key] <= 1
            assert state == "failed" or (done[key], state) == (1, "success") or (state == "canceled" and key in too_late)
    jobs = await process.jobs()
    assert len([job for job in jobs if job.args["key"] == "cron" and job.state == "pending"]) == 1
    assert done["cron"] == len([job for job in jobs if job.args["key"] == "cron" and job.state == "success"])
    await process.stop()


async def state_of(process: Process, job: str) -> Any:
    found = await process.job(job)
    return None if found is None else found.state


@pytest.mark.one_isolation("inline", "the storage or the process of the host fails, at a chosen turn of its loop")
async def test_a_commit_costs_nothing_more_however_many_jobs_are_pending() -> None:
    """Counted, not timed: commits look at no pending job, and reading ahead looks at those that are due."""
    component = diary()

    @component.mutation
    async def plan_later(ctx: MutationCtx, count: int) -> None:
        for _ in range(count):
            await ctx.scheduler.run_after(3_600, "write", text="later")

    async with Machine().process(component) as process:
        for _ in range(10):
            await process.call("plan_later", count=1_000)
        await process.scheduler.wait_idle()
        queries = 0
        query = process.engine.query

        async def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal queries
            queries += 1
            return await query(*args, **kwargs)

        process.engine.query = counted  # type: ignore[method-assign]
        for _ in range(100):
            await process.dispatcher.call("mutation", "write", {"text": "x"}, caller=process.caller)
        assert queries == 0
        await process.call("plan", seconds=0, text="now")
        await process.scheduler.wait_idle()
        assert queries < 10


# A batch on its way to disk


class HeldDisk(MemoryStorage):
    """A batch is on its way until it is let through, or refused."""

    is_full = False

    def __init__(self, machine: Machine) -> None:
        super().__init__(clock_ns=lambda: int(machine.clock.now_ms() * 1e6))
        self._way = asyncio.Event()
        self._way.set()

    @contextmanager
    def holding(self) -> Iterator[None]:
        self._way.clear()
        try:
            yield
        finally:
            self._way.set()

    async def append(self, commits: Sequence[Commit]) -> None:
        await self._way.wait()
        if self.is_full and commits:
            raise NothingWritten("no space left", "Make room.")
        await super().append(commits)


def planner(ran: Counter[str]) -> Component:
    planner = Component("planner", schema=Schema(notes=Table({"text": str})))

    @planner.mutation
    async def note(ctx: MutationCtx, text: str) -> None:
        ran["mutation"] += 1
        await ctx.db.insert("notes", {"text": text})

    @planner.action
    async def act(ctx: ActionCtx) -> None:
        ran["action"] += 1

    @planner.mutation
    async def plan(ctx: MutationCtx, short: int = 0) -> None:
        for _ in range(short):
            await ctx.scheduler.run_after(0, note, text="x")
        await ctx.scheduler.run_after(0, note, text="x" * 300_000)  # kept in parts
        await ctx.scheduler.run_after(0, act)

    @planner.query
    async def count(ctx: QueryCtx) -> int:
        return await ctx.db.query("notes").count()

    return planner


async def turns() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.one_isolation("inline", "the storage of the host holds a batch, at a chosen turn of its loop")
async def test_a_job_begins_while_what_has_planned_it_is_on_its_way_to_disk_but_an_action_does_not() -> None:
    machine, ran = Machine(), Counter[str]()
    machine.storage = disk = HeldDisk(machine)
    async with machine.process(planner(ran)) as process:
        with disk.holding():
            planned = asyncio.ensure_future(process.call("plan"))
            await turns()
            assert ran == {"mutation": 1}
            assert not planned.done()
            assert (await process.call("count"), await process.jobs(), process.ran) == (0, [], [])
        await planned
        await process.scheduler.wait_idle()
        assert ran == {"mutation": 1, "action": 1}
        assert await process.call("count") == 1
        assert {job.state for job in await process.jobs()} == {"success"}
        assert len(process.ran) == 2
        assert (process.scheduler.jobs.pending[""], process.scheduler.jobs.ended[""]) == (0, 2)


@pytest.mark.one_isolation("inline", "the storage of the host holds a batch, at a chosen turn of its loop")
async def test_a_job_that_began_leaves_nothing_where_what_has_planned_it_is_refused() -> None:
    machine, ran = Machine(), Counter[str]()
    machine.storage = disk = HeldDisk(machine)
    async with machine.process(planner(ran)) as process:
        with disk.holding():
            planned = asyncio.ensure_future(process.call("plan", short=64))
            await turns()
            assert ran == {"mutation": 64}  # as many as run at a time: two wait
            disk.is_full = True
        with pytest.raises(StorageUnavailable):
            await planned
        disk.is_full = False
        await process.advance(60)
        await turns()
        assert (await process.call("count"), await process.jobs(), process.ran) == (0, [], [])
        assert ran == {"mutation": 64}
        assert process.scheduler.is_idle
        assert not process.scheduler._lanes[""].taken
        assert (process.scheduler.jobs.pending[""], process.scheduler.jobs.ended[""]) == (0, 0)
        await process.call("plan")
        await process.scheduler.wait_idle()
        assert await process.call("count") == 1
        assert ran == {"mutation": 65, "action": 1}
