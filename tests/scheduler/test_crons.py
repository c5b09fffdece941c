"""Crons: exactly one job each, planned again in the transaction that ends it, kept over deploys."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from tests.placed import placed

from interlock import ActionCtx, App, AppError, Component, MountError, MutationCtx, QueryCtx, Schema, Table

from .rooms import START_MS, Machine, Process

CatchUp = Literal["skip", "once", "all"]


def clockwork(
    *,
    every: float | None = 60,
    cron: str | None = None,
    timezone: str = "UTC",
    catch_up: CatchUp = "once",
    name: str | None = "tick",
    args: dict[str, Any] | None = None,
    function: str = "tick",
) -> Component:
    """Writes down when its cron ran."""
    component = Component("clockwork", schema=Schema(ticks=Table({"at": float, "word": str})))

    @component.mutation
    async def tick(ctx: MutationCtx, word: str = "") -> None:
        await ctx.db.insert("ticks", {"at": ctx.now(), "word": word})

    @component.mutation
    async def fail(ctx: MutationCtx) -> None:
        await ctx.db.insert("ticks", {"at": ctx.now(), "word": "undone"})
        raise AppError("no")

    @component.mutation
    async def cancel(ctx: MutationCtx, job: str) -> None:
        await ctx.scheduler.cancel(job)

    @component.query
    async def ticks(ctx: QueryCtx) -> list[float]:
        """Seconds since the start."""
        return [(row["at"] - START_MS) / 1000 async for row in ctx.db.query("ticks")]

    @component.query
    async def words(ctx: QueryCtx) -> list[str]:
        return [row["word"] async for row in ctx.db.query("ticks")]

    if name is not None:
        component.cron(name, every=every, cron=cron, timezone=timezone, catch_up=catch_up, args=args)(function)
    return component


async def next_time(process: Process) -> float:
    [job] = await process.jobs("pending")
    return (job.scheduled_time - START_MS) / 1000


@pytest.mark.usefixtures("both_isolations")
async def test_an_interval_runs_at_once_and_then_after_every_period() -> None:
    async with Machine().process(placed(clockwork, every=60)) as process:
        await process.advance(0)
        assert await process.call("ticks") == [0]
        await process.advance(150)
        assert await process.call("ticks") == [0, 60, 120]
        assert [job.scheduled_time - START_MS for job in await process.jobs("success")] == [0, 60_000, 120_000]


@pytest.mark.usefixtures("both_isolations")
async def test_an_expression_runs_at_its_times_on_the_wall_of_its_zone() -> None:
    machine = Machine()
    machine.clock.move_to(datetime(2026, 3, 28, 12, tzinfo=UTC).timestamp() * 1000)
    component = placed(clockwork, every=None, cron="30 2 * * *", timezone="Europe/Berlin")
    async with machine.process(component) as process:
        await process.advance(3 * 86_400)
        found = [datetime.fromtimestamp(job.scheduled_time / 1000, UTC) for job in await process.jobs("success")]
        assert found == [
            datetime(2026, 3, 29, 1, 0, tzinfo=UTC),  # the clock leaps over 02:30
            datetime(2026, 3, 30, 0, 30, tzinfo=UTC),
            datetime(2026, 3, 31, 0, 30, tzinfo=UTC),
        ]


@pytest.mark.usefixtures("both_isolations")
async def test_a_cron_whose_function_raises_goes_on() -> None:
    async with Machine().process(placed(clockwork, function="fail")) as process:
        await process.advance(130)
        assert await process.call("ticks") == []
        assert [job.state for job in await process.jobs()] == ["failed", "failed", "failed", "pending"]


@pytest.mark.usefixtures("both_isolations")
async def test_a_cron_calls_with_its_arguments() -> None:
    async with Machine().process(placed(clockwork, args={"word": "tock"})) as process:
        await process.advance(0)
        assert await process.call("words") == ["tock"]


@pytest.mark.usefixtures("both_isolations")
async def test_a_cron_of_the_app_may_call_a_mount() -> None:
    from interlock import components

    app = App()
    app.use(placed(clockwork, name=None), isolation="inline")
    app.cron("tick", every=60)(components.clockwork.tick)
    async with Machine().process(app) as process:
        await process.advance(60)
        assert await process.call("ticks", "clockwork") == [0, 60]
        assert {ran.job.name for ran in process.ran} == {"clockwork/tick"}
        assert await process.jobs(component_path="clockwork") == []


@pytest.mark.usefixtures("both_isolations")
async def test_each_instance_of_a_component_has_crons_of_its_own() -> None:
    app = App()
    app.use(placed(clockwork, every=60), name="one", isolation="inline")
    app.use(placed(clockwork, every=60), name="two", isolation="inline")
    async with Machine().process(app) as process:
        await process.advance(60)
        assert await process.call("ticks", "one") == await process.call("ticks", "two") == [0, 60]


# missed times


async def down(machine: Machine, component: Component, *, from_s: float, to_s: float) -> Process:
    """A process that crashed at one time, and the one that was started at another."""
    process = await machine.start(component)
    await process.advance(from_s)
    process.crash()
    machine.clock.move_to(START_MS + to_s * 1000)
    process = await machine.start(component)
    await process.advance(0)
    return process


@pytest.mark.parametrize(
    ("catch_up", "ticks", "following"),
    [
        ("once", [0, 60, 630], 660),
        ("skip", [0, 60], 660),
        ("all", [0, 60, *[630.0] * 9], 660),
    ],
)
@pytest.mark.usefixtures("both_isolations")
async def test_times_missed_while_the_process_was_down(catch_up: CatchUp, ticks: list[float], following: float) -> None:
    process = await down(Machine(), placed(clockwork, every=60, catch_up=catch_up), from_s=70, to_s=630)
    assert await process.call("ticks") == ticks
    assert await next_time(process) == following
    await process.advance(60)
    assert (await process.call("ticks"))[len(ticks) :] == [660]
    await process.stop()


@pytest.mark.parametrize(("catch_up", "runs"), [("once", 1), ("skip", 0), ("all", 3)])
@pytest.mark.usefixtures("both_isolations")
async def test_times_of_an_expression_missed_while_the_process_was_down(catch_up: CatchUp, runs: int) -> None:
    machine = Machine()
    component = placed(clockwork, every=None, cron="0 * * * *", catch_up=catch_up)
    process = await machine.start(component)
    [job] = await process.jobs("pending")
    process.crash()
    machine.clock.move_to(job.scheduled_time + 2.5 * 3_600_000)
    async with machine.process(component) as process:
        await process.advance(0)
        assert len(await process.call("ticks")) == runs
        [pending] = await process.jobs("pending")
        assert pending.scheduled_time == job.scheduled_time + 3 * 3_600_000


@pytest.mark.parametrize(
    ("catch_up", "begins"),
    [
        ("once", [0, 150, 180]),
        ("skip", [0, 180, 240]),
        ("all", [0, 150, 150]),
    ],
)
@pytest.mark.one_isolation("inline", "its function waits in the test, or counts in it")
async def test_runs_do_not_overlap_and_times_missed_meanwhile_follow_the_policy(catch_up: CatchUp, begins: list[float]) -> None:
    """The first run takes 150 s, so it misses the times 60 and 120."""
    component = clockwork(name=None)
    seen: list[float] = []
    started, go_on = asyncio.Event(), asyncio.Event()
    running = 0

    @component.action
    async def slow(ctx: ActionCtx) -> None:
        nonlocal running
        running += 1
        assert running == 1
        seen.append((ctx.now() - START_MS) / 1000)
        if len(seen) == 1:
            started.set()
            await go_on.wait()
        running -= 1

    component.cron("slow", every=60, catch_up=catch_up)("slow")
    async with Machine().process(component) as process:
        await started.wait()
        process.clock.move_to(START_MS + 150_000)
        go_on.set()
        await process.scheduler.wait_idle()
        if catch_up != "all":
            await process.advance(100)
        assert seen[:3] == begins


@pytest.mark.one_isolation("inline", "its function waits in the test, or counts in it")
async def test_a_cron_whose_action_was_running_at_a_crash_goes_on() -> None:
    machine = Machine()
    component = clockwork(name=None)
    runs: list[float] = []
    started = asyncio.Event()

    @component.action
    async def once_stuck(ctx: ActionCtx) -> None:
        runs.append((ctx.now() - START_MS) / 1000)
        if len(runs) == 1:
            started.set()
            await asyncio.Event().wait()

    component.cron("stuck", every=60)("once_stuck")
    process = await machine.start(component)
    await started.wait()
    process.crash()
    machine.clock.move_to(START_MS + 10_000)
    async with machine.process(component) as process:
        await process.advance(60)
        assert runs == [0, 60]
        assert {job.scheduled_time - START_MS: job.state for job in await process.jobs()} == {
            0: "failed",
            60_000: "success",
            120_000: "pending",
        }


@pytest.mark.one_isolation("inline", "its function waits in the test, or counts in it")
async def test_a_cron_whose_running_action_was_cancelled_before_a_crash_goes_on() -> None:
    machine = Machine()
    component = clockwork(name=None)
    runs: list[float] = []
    started = asyncio.Event()

    @component.action
    async def once_stuck(ctx: ActionCtx) -> None:
        runs.append((ctx.now() - START_MS) / 1000)
        if len(runs) == 1:
            started.set()
            await asyncio.Event().wait()

    component.cron("stuck", every=60)("once_stuck")
    process = await machine.start(component)
    await started.wait()
    [job] = await process.jobs("running")
    await process.call("cancel", job=job.id)
    process.crash()
    machine.clock.move_to(START_MS + 10_000)
    async with machine.process(component) as process:
        await process.advance(60)
        assert runs == [0, 60]


@pytest.mark.usefixtures("both_isolations")
async def test_cancelling_the_next_run_of_a_cron_skips_it() -> None:
    async with Machine().process(placed(clockwork, every=60)) as process:
        await process.advance(0)
        [job] = await process.jobs("pending")
        await process.call("cancel", job=job.id)
        await process.advance(120)
        assert await process.call("ticks") == [0, 120]


@pytest.mark.one_isolation("inline", "its function waits in the test, or counts in it")
async def test_cancelling_a_running_run_of_a_cron_lets_it_go_on_and_plans_the_next() -> None:
    component = clockwork(name=None)
    started, go_on = asyncio.Event(), asyncio.Event()
    runs: list[float] = []

    @component.action
    async def slow(ctx: ActionCtx) -> None:
        runs.append((ctx.now() - START_MS) / 1000)
        started.set()
        await go_on.wait()

    component.cron("slow", every=60)("slow")
    async with Machine().process(component) as process:
        await started.wait()
        [job] = await process.jobs("running")
        await process.call("cancel", job=job.id)
        go_on.set()
        await process.advance(60)
        assert runs == [0, 60]
        states = {job.scheduled_time - START_MS: job.state for job in await process.jobs()}
        assert states == {0: "canceled", 60_000: "success", 120_000: "pending"}


# deploys


@pytest.mark.usefixtures("both_isolations")
async def test_a_cron_deployed_again_unchanged_keeps_its_next_time() -> None:
    async with Machine().process(placed(clockwork, every=60)) as process:
        await process.advance(10)
        await process.deploy(placed(clockwork, every=60))
        assert await next_time(process) == 60
        await process.deploy(placed(clockwork, every=60, catch_up="all"))
        assert await next_time(process) == 60


@pytest.mark.usefixtures("both_isolations")
async def test_a_cron_with_another_schedule_is_planned_anew() -> None:
    async with Machine().process(placed(clockwork, every=60)) as process:
        await process.advance(10)
        await process.deploy(placed(clockwork, every=30))
        await process.advance(30)
        assert await process.call("ticks") == [0, 10, 40]


@pytest.mark.usefixtures("both_isolations")
async def test_changed_arguments_apply_to_the_next_run() -> None:
    async with Machine().process(placed(clockwork, args={"word": "old"})) as process:
        await process.advance(10)
        await process.deploy(placed(clockwork, args={"word": "new"}))
        assert await next_time(process) == 60
        await process.advance(60)
        assert await process.call("words") == ["old", "new"]


@pytest.mark.one_isolation("inline", "its function waits in the test, or counts in it")
async def test_a_cron_that_is_changed_between_the_reading_and_the_running_of_its_job_runs_as_changed() -> None:
    """Its job waits for a slot, so it was read with the old arguments."""

    def with_hog(word: str) -> Component:
        component = clockwork(args={"word": word})

        @component.action
        async def hog(ctx: ActionCtx) -> None:
            await go_on.wait()

        @component.mutation
        async def start(ctx: MutationCtx) -> None:
            for _ in range(64):
                await ctx.scheduler.run_after(0, hog)

        return component

    go_on = asyncio.Event()
    async with Machine().process(with_hog("old")) as process:
        await process.advance(10)
        await process.call("start")
        for _ in range(100):
            await asyncio.sleep(0)
        process.clock.move_to(START_MS + 60_000)
        for _ in range(20):
            await asyncio.sleep(0)
        await process.deploy(with_hog("new"))
        go_on.set()
        await process.scheduler.wait_idle()
        assert await process.call("words") == ["old", "new"]


@pytest.mark.usefixtures("both_isolations")
async def test_a_removed_cron_runs_no_more_and_a_renamed_one_begins_anew() -> None:
    async with Machine().process(placed(clockwork, every=60)) as process:
        await process.advance(10)
        await process.deploy(placed(clockwork, every=60, name="tock"))
        await process.advance(60)
        assert await process.call("ticks") == [0, 10, 70]
        await process.deploy(placed(clockwork, name=None))
        await process.advance(600)
        assert len(await process.call("ticks")) == 3
        assert await process.jobs("pending") == []


@pytest.mark.one_isolation("inline", "its function waits in the test, or counts in it")
async def test_a_cron_that_is_removed_while_its_action_runs_is_not_planned_again() -> None:
    def with_cron(name: str | None) -> Component:
        component = clockwork(name=None)

        @component.action
        async def slow(ctx: ActionCtx) -> None:
            started.set()
            await go_on.wait()

        if name is not None:
            component.cron(name, every=60)("slow")
        return component

    started, go_on = asyncio.Event(), asyncio.Event()
    async with Machine().process(with_cron("slow")) as process:
        await started.wait()
        await process.deploy(with_cron(None))
        go_on.set()
        await process.advance(300)
        assert [job.state for job in await process.jobs()] == ["success"]


@pytest.mark.usefixtures("both_isolations")
async def test_the_crons_of_an_unmounted_instance_wait_until_it_is_mounted_again() -> None:
    app = App()
    app.use(placed(clockwork, every=60), isolation="inline")
    async with Machine().process(app) as process:
        await process.advance(10)
        await process.deploy(App())
        await process.advance(290)
        again = App()
        again.use(placed(clockwork, every=60), isolation="inline")
        await process.deploy(again)
        await process.advance(60)
        assert await process.call("ticks", "clockwork") == [0, 300, 360]


@pytest.mark.usefixtures("both_isolations")
async def test_a_day_that_never_comes_is_refused_at_start_and_nothing_is_changed() -> None:
    machine = Machine()
    with pytest.raises(MountError, match=r'cron "tick": .*never comes'):
        await machine.start(placed(clockwork, every=None, cron="0 0 31 2 *"))
    assert (await machine.storage.load()).tables == []


@pytest.mark.usefixtures("both_isolations")
async def test_arguments_that_are_too_long_are_refused_at_start() -> None:
    with pytest.raises(MountError, match="too long"):
        await Machine().start(placed(clockwork, args={"word": "x" * 300_000}))
