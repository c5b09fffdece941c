"""Crons of a running app: when they run, what becomes of what fails or is missed, and that nothing else ever runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock import (
    ActionCtx,
    AppError,
    ArgumentError,
    Component,
    Job,
    MutationCtx,
    PaginationOptions,
    QueryCtx,
    Schema,
    Table,
    components,
)
from interlock.testing import TestBackend
from interlock_crons import Cron, CronExists, CronInfo, CronNotFound, Crons, Every

crons = Crons(components.crons)


class Lab:
    """Functions to be called again and again, and what they have noted."""

    def __init__(self) -> None:
        self.gate: asyncio.Event | None = None
        self.acted: list[str] = []
        self.failing: set[str] = set()
        self.component = lab = Component("lab", schema=Schema(log=Table({"what": str, "at": float})))
        lab.use("crons")

        @lab.mutation
        async def note(ctx: MutationCtx, what: str) -> None:
            await ctx.db.insert("log", {"what": what, "at": ctx.now()})
            if what in self.failing:
                raise AppError(f"{what} fails")

        @lab.mutation
        async def once(ctx: MutationCtx, what: str) -> None:
            await ctx.db.insert("log", {"what": what, "at": ctx.now()})
            await crons.delete(ctx, name=what)

        @lab.action
        async def act(ctx: ActionCtx, what: str) -> None:
            self.acted.append(what)
            if self.gate is not None:
                await self.gate.wait()

        @lab.query
        async def told(ctx: QueryCtx, name: str) -> list[Any] | None:
            found = await crons.get(ctx, name=name)
            return None if found is None else [found.runs, found.is_running, found.last_outcome]

        self.note, self.once, self.act = note, once, act


async def do(t: TestBackend, operation: Callable[[Any], Awaitable[Any]]) -> Any:
    """Something of the face in a mutation, whose answer need be no value."""
    found: list[Any] = []

    async def run(ctx: MutationCtx) -> None:
        found[:] = [await operation(ctx)]

    await t.run(run)
    return found[0]


async def register(t: TestBackend, lab: Lab, schedule: Every | Cron, name: str, ref: Any = None, **options: Any) -> str:
    function = lab.note if ref is None else ref
    id: str = await do(t, lambda ctx: crons.register(ctx, schedule, function, {"what": name}, name=name, **options))
    return id


async def info(t: TestBackend, name: str) -> CronInfo:
    found = await do(t, lambda ctx: crons.get(ctx, name=name))
    assert isinstance(found, CronInfo)
    return found


async def jobs(t: TestBackend, state: Any = None) -> list[Job]:
    """Those of the component."""
    found: list[Job] = []

    async def look(ctx: MutationCtx) -> None:
        found[:] = await ctx.scheduler.list(state)

    await t.run(look, component="crons")
    return found


async def log(t: TestBackend, start: float = 0.0) -> list[tuple[str, float]]:
    """What was noted, with the seconds since `start`."""
    rows = await t.run(lambda ctx: ctx.db.query("log").collect())
    return [(row["what"], (row["at"] - start) / 1000) for row in rows]


# when


async def test_an_interval_of_two_seconds_has_run_three_times_after_seven() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:
        start = t.now()
        await register(t, lab, Every(2), "a")
        await t.advance(7)
        assert await log(t, start) == [("a", 2), ("a", 4), ("a", 6)]
        await do(t, lambda ctx: crons.delete(ctx, name="a"))
        await t.advance(60)
        assert len(await log(t)) == 3
        assert await do(t, lambda ctx: crons.get(ctx, name="a")) is None


async def test_a_cron_expression_is_read_on_the_clock_of_its_zone() -> None:
    lab = Lab()
    async with TestBackend(lab.component, start=datetime(2026, 3, 27, 12, tzinfo=UTC)) as t:
        await register(t, lab, Cron("30 9 * * *", "Europe/Berlin"), "berlin")
        await register(t, lab, Cron("0 0 L * *"), "last")
        await register(t, lab, Cron("15 0 0 * * 7"), "seconds")
        await t.advance(timedelta(days=5))
        ran = sorted((datetime.fromtimestamp(at, UTC).strftime("%m-%d %H:%M:%S"), what) for what, at in await log(t))
        assert ran == [
            ("03-28 08:30:00", "berlin"),
            ("03-29 00:00:15", "seconds"),
            ("03-29 07:30:00", "berlin"),  # summer time has begun
            ("03-30 07:30:00", "berlin"),
            ("03-31 00:00:00", "last"),
            ("03-31 07:30:00", "berlin"),
            ("04-01 07:30:00", "berlin"),
        ]


async def test_a_time_years_ahead_is_waited_for() -> None:
    lab = Lab()
    async with TestBackend(lab.component, start=datetime(2096, 3, 1, tzinfo=UTC)) as t:
        await register(t, lab, Cron("0 0 29 2 *"), "leap")  # 2100 has no such day
        assert (await info(t, "leap")).next_run == datetime(2104, 2, 29, tzinfo=UTC).timestamp() * 1000
        in_a_year = datetime(2097, 3, 1, tzinfo=UTC).timestamp() * 1000
        assert [job.scheduled_time for job in await jobs(t, "pending") if job.name == "tick"] == [in_a_year]


async def test_an_early_timer_runs_nothing_and_comes_again() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:
        start = t.now()
        id = await register(t, lab, Every(10), "a")
        await t.advance(4)
        await t.component("crons").mutation("tick", cron_id=id)
        await t.advance(17)
        assert await log(t, start) == [("a", 10), ("a", 20)]


# making and changing


async def test_a_name_is_taken_once_and_what_cannot_be_is_refused() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:
        await register(t, lab, Every(5), "a")
        with pytest.raises(CronExists, match="'a' already"):
            await register(t, lab, Every(6), "a")
        with pytest.raises(ArgumentError):
            await do(t, lambda ctx: crons.register(ctx, Every(5), lab.note, {"whatever": 1}, name="b"))
        assert {job.name for job in await jobs(t)} == {"check", "tick"}  # what was tried is undone
        await do(t, lambda ctx: crons.register(ctx, Every(5), lab.note, {"what": "x"}))
        await do(t, lambda ctx: crons.register(ctx, Every(5), lab.note, {"what": "x"}))  # without a name any number
        for operation in (crons.delete, crons.run_now, crons.update):
            with pytest.raises(CronNotFound, match="no cron 'b'"):
                await do(t, partial(operation, name="b"))
        with pytest.raises(AppError, match="at most"):
            await t.component("crons").mutation("register", schedule={"kind": "interval", "seconds": 0.5}, handle="x")
        with pytest.raises(TypeError, match="which cron"):
            await do(t, lambda ctx: crons.get(ctx))


@pytest.mark.one_isolation("inline", "no component runs: what the face refuses")
def test_schedules_are_checked_where_they_are_written() -> None:
    assert Every(timedelta(minutes=2)) == Every(120)
    for wrong, says in ((0.5, "every 1 second at most"), (float("nan"), "at most"), (-1, "at most"), (float("inf"), "number of seconds")):
        with pytest.raises(ValueError, match=says):
            Every(wrong)
    with pytest.raises(TypeError):
        Every(True)
    with pytest.raises(ValueError, match="five fields"):
        Cron("* * *")
    with pytest.raises(ValueError, match="no time zone"):
        Cron("* * * * *", "Mars/Olympus")
    for fields in ((None,), (5,), ("* * * * *", 5)):
        with pytest.raises(TypeError, match="Cron takes"):
            Cron(*fields)  # type: ignore[arg-type]


async def test_a_registration_is_part_of_its_transaction() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:

        async def fail(ctx: MutationCtx) -> None:
            await crons.register(ctx, Every(1), lab.note, {"what": "a"}, name="a")
            raise AppError("no")

        with pytest.raises(AppError):
            await t.run(fail)
        await t.advance(10)
        assert await log(t) == []
        assert (await do(t, lambda ctx: crons.list(ctx))).page == []


async def test_a_cron_is_changed_in_place() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:
        start = t.now()
        id = await register(t, lab, Every(10), "a")
        await t.advance(12)
        await do(t, lambda ctx: crons.update(ctx, name="a", args={"what": "b"}, schedule=Every(10)))
        await t.advance(10)
        assert await log(t, start) == [("a", 10), ("b", 20)]  # the same schedule keeps its next time
        await do(t, lambda ctx: crons.update(ctx, id=id, schedule=Every(3), ref=lab.act))
        await t.advance(7)
        assert lab.acted == ["b", "b"]
        found = await info(t, "a")
        assert (found.id, found.function, found.schedule, found.runs) == (id, "act", Every(3), 4)
        assert found.next_run == start + 31_000
        with pytest.raises(ArgumentError):
            await do(t, lambda ctx: crons.update(ctx, id=id, args={"what": 1}))
        assert (await info(t, "a")).args == {"what": "b"}


async def test_crons_are_listed_in_pages() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:
        for name in "abcde":
            await register(t, lab, Every(60), name, missed="skip")
        first = await do(t, lambda ctx: crons.list(ctx, PaginationOptions(num_items=3)))
        rest = await do(t, lambda ctx: crons.list(ctx, PaginationOptions(num_items=3, cursor=first.continue_cursor)))
        assert [found.name for found in first.page + rest.page] == list("abcde")
        assert (first.is_done, rest.is_done) == (False, True)
        assert {(found.missed, found.schedule, found.runs) for found in first.page} == {("skip", Every(60), 0)}


async def test_a_cron_removes_itself_from_its_own_function() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:
        start = t.now()
        await register(t, lab, Every(2), "a", lab.once)
        await t.advance(20)
        assert await log(t, start) == [("a", 2)]
        assert await jobs(t, "failed") == []


async def test_a_deleted_cron_takes_a_run_along_that_has_not_begun() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:
        await register(t, lab, Every(2), "a")

        async def start_and_delete(ctx: MutationCtx) -> None:
            assert await crons.run_now(ctx, name="a")
            await crons.delete(ctx, name="a")

        await t.run(start_and_delete)
        await t.advance(5)
        assert await log(t) == []


# outcomes


async def test_outcomes_are_live_and_a_failure_stops_nothing() -> None:
    lab = Lab()
    lab.failing.add("a")
    async with TestBackend(lab.component) as t:
        start = t.now()
        await register(t, lab, Every(10), "a")
        seen = []

        async def watch() -> None:
            async for told in t.subscribe("told", name="a"):
                seen.append(told)

        watching = asyncio.ensure_future(watch())
        await t.advance(10)
        await until(lambda: seen[-1:] == [[1, False, "failed"]])
        found = await info(t, "a")
        assert (found.last_outcome, found.last_run) == ("failed", start + 10_000)
        assert found.last_error is not None and "a fails" in found.last_error
        lab.failing.clear()
        await t.advance(10)
        found = await info(t, "a")
        assert (found.last_outcome, found.last_error, found.runs) == ("success", None, 2)
        assert await log(t, start) == [("a", 20)]
        await until(lambda: seen[-1] == [2, False, "success"])
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def test_runs_do_not_overlap_and_a_time_that_comes_meanwhile_is_skipped() -> None:
    lab = Lab()
    lab.gate = asyncio.Event()
    async with TestBackend(lab.component) as t:
        await register(t, lab, Every(10), "a", lab.act)
        # Not advance: it waits for the run to end.
        t.clock.move_to(t.now() + 10_000)
        await until(lambda: lab.acted == ["a"])
        t.clock.move_to(t.now() + 10_000)
        for _ in range(500):
            found = await info(t, "a")
            if found.skipped:
                break
            await asyncio.sleep(0.001)
        assert (found.is_running, found.runs, found.skipped, found.last_outcome) == (True, 1, 1, None)
        assert not await do(t, lambda ctx: crons.run_now(ctx, name="a"))
        lab.gate.set()
        await t.finish_in_progress()
        assert lab.acted == ["a"]
        assert await do(t, lambda ctx: crons.run_now(ctx, name="a"))
        await t.advance(9)
        found = await info(t, "a")
        assert (lab.acted, found.runs, found.last_outcome, found.is_running) == (["a", "a"], 2, "success", False)
        await t.advance(1)
        assert len(lab.acted) == 3


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(5_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to that")


async def test_a_function_that_is_revoked_is_told_of_and_the_cron_goes_on() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:
        await register(t, lab, Every(10), "a")

        async def revoke(ctx: MutationCtx) -> None:
            await ctx.revoke_handle(await ctx.function_handle(lab.note))

        await t.run(revoke)
        await t.advance(25)
        found = await info(t, "a")
        assert (found.runs, found.last_outcome) == (2, "failed")
        assert found.last_error is not None and "FunctionHandleNotFound" in found.last_error
        await do(t, lambda ctx: crons.update(ctx, name="a", ref=lab.note))
        await t.advance(5)
        assert ((await info(t, "a")).last_outcome, len(await log(t))) == ("success", 1)


async def test_an_outcome_is_known_long_after_its_job_is_forgotten() -> None:
    lab = Lab()
    lab.failing.add("a")
    async with TestBackend(lab.component) as t:
        await register(t, lab, Every(timedelta(days=400)), "a")
        assert await do(t, lambda ctx: crons.run_now(ctx, name="a"))
        await t.advance(610)  # it is noted by the check

        async def forget(ctx: MutationCtx) -> bool:
            [row] = await ctx.db.query("crons").collect()
            return "execution" not in row

        assert await t.run(forget, component="crons")
        found = await info(t, "a")
        assert found.last_outcome == "failed" and found.last_error is not None and "a fails" in found.last_error


# what is missed, and what is lost


@pytest.mark.parametrize(("missed", "expected"), [("run_once", [10, 605, 610, 620]), ("skip", [10, 610, 620])])
async def test_after_a_downtime_what_was_missed_runs_once_or_not_at_all(missed: Any, expected: list[float]) -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:
        start = t.now()
        await register(t, lab, Every(10), "a", missed=missed)
        await t.advance(15)
        t.clock.move_to(t.now() + 590_000)  # nobody is there to look
        await t.advance(20)
        assert [at for _, at in await log(t, start)] == expected
        assert (await info(t, "a")).skipped == (1 if missed == "skip" else 0)


async def test_a_cron_whose_timer_is_lost_comes_back() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:
        start = t.now()
        await register(t, lab, Every(100), "a")
        await register(t, lab, Every(100), "b")

        async def lose(ctx: MutationCtx) -> None:
            for row in await ctx.db.query("crons").collect():
                await ctx.scheduler.cancel(row["timer"])

        await t.advance(110)
        await t.run(lose, component="crons")
        await t.advance(600)
        ran = await log(t, start)
        assert [at for what, at in ran if what == "a"] == [100, 600, 700]  # looked for every 600 seconds
        assert [at for what, at in ran if what == "b"] == [100, 600, 700]


# against a model


@dataclass
class Model:
    """One cron, obviously right: its next time moves on by its interval, whatever happens."""

    seconds: int
    next: float
    missed: str
    ran: int = 0


NAMES = ("a", "b", "c", "fails")
names = st.sampled_from(NAMES)
seconds = st.integers(1, 20)
missing = st.sampled_from(["skip", "run_once"])
single = st.one_of(
    st.tuples(st.just("register"), names, seconds, missing),
    st.tuples(st.just("update"), names, seconds, missing),
    st.tuples(st.just("delete"), names),
    st.tuples(st.just("run_now"), names),
)
steps = st.one_of(
    st.tuples(st.just("together"), st.lists(st.tuples(single, st.booleans()), min_size=1, max_size=4, unique_by=lambda item: item[0][1])),
    st.tuples(st.just("advance"), st.integers(0, 45)),
    st.tuples(st.just("stall"), st.integers(1, 150)),
)


@settings(max_examples=60, deadline=None)
@given(history=st.lists(steps, min_size=2, max_size=10))
async def test_every_history_runs_what_a_model_runs(history: list[Any]) -> None:
    """Calls at once, as sub-transactions of mutations of which some fail afterwards; functions that always fail; times in which nobody
    looks. Model: each cron alone, second by second."""
    lab = Lab()
    lab.failing.add("fails")
    model: dict[str, Model] = {}
    expected: list[tuple[str, float]] = []

    async def one(ctx: MutationCtx, call: Any, fails: bool) -> None:
        kind, name, *more = call
        if kind == "register":
            await crons.register(ctx, Every(more[0]), lab.note, {"what": name}, name=name, missed=more[1])
        elif kind == "update":
            await crons.update(ctx, name=name, schedule=Every(more[0]), missed=more[1])
        else:
            await (crons.delete if kind == "delete" else crons.run_now)(ctx, name=name)
        if fails:
            raise AppError("undone")

    def one_in_the_model(now: float, call: Any) -> None:
        kind, name, *more = call
        known = model.get(name)
        if kind == "register":
            if known is None:
                model[name] = Model(more[0], now + more[0], more[1])
        elif known is None:
            pass
        elif kind == "update":
            known.missed = more[1]
            if known.seconds != more[0]:
                known.seconds, known.next = more[0], now + more[0]
        elif kind == "delete":
            del model[name]
        else:
            run(name, now)

    def run(name: str, now: float) -> None:
        model[name].ran += 1
        if name not in lab.failing:
            expected.append((name, now))

    def pass_to(until: float, looked_at: float) -> None:
        """Nobody looks before `looked_at`."""
        for name, cron in model.items():
            if cron.next <= min(looked_at, until):
                late, first = looked_at - cron.next, cron.next
                while cron.next <= looked_at:
                    cron.next += cron.seconds
                is_missed = late > 60 or first + cron.seconds <= looked_at
                if not (is_missed and cron.missed == "skip"):
                    run(name, looked_at)
            while cron.next <= until:
                run(name, cron.next)
                cron.next += cron.seconds

    async with TestBackend(lab.component) as t:
        start, now = t.now(), 0.0
        for kind, what in history:
            if kind == "together":
                outcomes = await asyncio.gather(
                    *(t.run(partial(one, call=call, fails=fails)) for call, fails in what), return_exceptions=True
                )
                for (call, fails), outcome in zip(what, outcomes, strict=True):
                    is_possible = (call[1] in model) != (call[0] == "register")
                    assert isinstance(outcome, AppError) == (fails or not is_possible), outcome
                    assert outcome is None or isinstance(outcome, AppError)
                    if not fails:
                        one_in_the_model(now, call)
                await t.finish_in_progress()
            elif kind == "advance":
                pass_to(now + what, now)
                now += what
                await t.advance(what)
            else:
                now += what
                t.clock.move_to(start + now * 1000)
                pass_to(now, now)
                await t.finish_in_progress()
        assert sorted(await log(t, start)) == sorted(expected)
        found = {cron.name: cron for cron in (await do(t, lambda ctx: crons.list(ctx))).page}
        assert {name: (cron.runs, (cron.next_run - start) / 1000) for name, cron in found.items()} == {
            name: (cron.ran, cron.next) for name, cron in model.items()
        }
        for name, cron in found.items():
            assert cron.last_outcome == (None if not cron.runs else "failed" if name == "fails" else "success")
