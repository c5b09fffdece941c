"""engine.md section 10, "Scheduler, crons": cases 74 to 83."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.placed import placed

from interlock import (
    ActionCtx,
    AppError,
    Backend,
    Component,
    FunctionNotFound,
    LimitExceeded,
    MutationCtx,
    QueryCtx,
    ScheduleError,
    Schema,
    Table,
)
from interlock.testing import TestBackend

from .deployments import START_MS, Deployment, ask
from .interleaving import Pause

pytestmark = pytest.mark.usefixtures("both_isolations")

DAY = 86_400.0


def diary() -> Component:
    """An app that writes notes, at once and later."""
    app = Component("app", schema=Schema(notes=Table({"text": str})))

    @app.mutation
    async def write(ctx: MutationCtx, text: str) -> None:
        await ctx.db.insert("notes", {"text": text})

    @app.mutation
    async def write_later(ctx: MutationCtx, text: str, seconds: float) -> str:
        return await ctx.scheduler.run_after(seconds, write, text=text)

    @app.mutation
    async def cancel(ctx: MutationCtx, job: str) -> None:
        await ctx.scheduler.cancel(job)

    @app.mutation
    async def write_at(ctx: MutationCtx, when: float) -> str:
        return await ctx.scheduler.run_at(when, write, text="x")

    @app.mutation
    async def call_missing(ctx: MutationCtx) -> None:
        await ctx.scheduler.run_after(0, "missing")

    @app.mutation
    async def write_many_later(ctx: MutationCtx, count: int) -> None:
        for n in range(count):
            await ctx.scheduler.run_after(60, write, text=str(n))

    @app.query
    async def texts(ctx: QueryCtx) -> list[str]:
        return [row["text"] for row in await ctx.db.query("notes").collect()]

    @app.query
    async def state(ctx: QueryCtx, job: str) -> str | None:
        found = await ctx.scheduler.get(job)
        return None if found is None else found.state

    return app


DIARY = placed(diary)


async def test_074_a_job_for_now_runs_once_after_the_commit_and_sees_it() -> None:
    @placed
    def app() -> Component:
        app = diary()

        @app.mutation
        async def copy(ctx: MutationCtx) -> None:
            texts = [row["text"] for row in await ctx.db.query("notes").collect()]
            await ctx.db.insert("notes", {"text": f"seen: {', '.join(texts)}"})

        @app.mutation
        async def write_and_schedule(ctx: MutationCtx) -> None:
            await ctx.scheduler.run_after(0, copy)
            await ctx.db.insert("notes", {"text": "first"})

        return app

    async with TestBackend(app) as t:
        await t.mutation("write_and_schedule")
        assert [job.name for job in await t.finish_scheduled()] == ["copy"]
        assert await t.query("texts") == ["first", "seen: first"]


@pytest.mark.one_isolation("inline", "the test waits in its functions; tests/scheduler has the same of components, where it can")
async def test_075_a_job_that_raises_has_failed_and_one_that_conflicts_runs_again() -> None:
    app = diary()
    pause = Pause()

    @app.mutation
    async def write_and_fail(ctx: MutationCtx) -> None:
        await ctx.db.insert("notes", {"text": "no"})
        raise AppError("failed")

    @app.mutation
    async def count(ctx: MutationCtx) -> None:
        found = len(await ctx.db.query("notes").collect())
        await pause()
        await ctx.db.insert("notes", {"text": f"{found} before"})

    async with TestBackend(app) as t:
        await t.run(lambda ctx: ctx.scheduler.run_after(0, "write_and_fail"))
        [failed] = await t.finish_scheduled()
        assert failed.state == "failed"
        assert await t.advance(DAY) == []
        assert await t.query("texts") == []
        await t.run(lambda ctx: ctx.scheduler.run_after(0, "count"))
        [counted] = await pause.meanwhile(t.finish_in_progress(), t.mutation("write", text="one"))
        assert (counted.state, pause.runs) == ("success", 2)
        assert await t.query("texts") == ["one", "1 before"]


@pytest.mark.one_isolation("inline", "the test waits in its functions; tests/scheduler has the same of components, where it can")
async def test_076_after_a_crash_an_action_has_failed_and_a_mutation_runs_again(deployment: Deployment) -> None:
    app = diary()
    in_action, in_mutation = Pause(), Pause()

    @app.action
    async def act(ctx: ActionCtx) -> None:
        await in_action()

    @app.mutation
    async def write_slowly(ctx: MutationCtx) -> None:
        await ctx.db.insert("notes", {"text": "slow"})
        await in_mutation()

    @app.mutation
    async def schedule_both(ctx: MutationCtx) -> list[str]:
        return [await ctx.scheduler.run_after(0, act), await ctx.scheduler.run_after(0, write_slowly)]

    async with deployment.start(app) as backend:
        action, mutation = await ask(backend, "schedule_both")
        await in_action.wait_reached()
        await in_mutation.wait_reached()
        deployment.crash()
    async with deployment.start(app) as backend:
        await deployment.pass_time(backend, 60)
        assert await ask(backend, "state", job=action) == "failed"
        assert await ask(backend, "state", job=mutation) == "success"
        assert (in_action.runs, in_mutation.runs) == (1, 2)
        assert await ask(backend, "texts") == ["slow"]


async def test_077_a_job_that_is_cancelled_never_runs_and_one_that_has_run_stays_as_it_is() -> None:
    @placed
    def app() -> Component:
        app = diary()

        @app.mutation
        async def cancel_and_fail(ctx: MutationCtx, job: str) -> None:
            await ctx.scheduler.cancel(job)
            raise AppError("failed")

        return app

    async with TestBackend(app) as t:
        cancelled = await t.mutation("write_later", text="cancelled", seconds=10)
        kept = await t.mutation("write_later", text="kept", seconds=10)
        await t.mutation("cancel", job=cancelled)
        with pytest.raises(AppError):
            await t.mutation("cancel_and_fail", job=kept)
        assert (await t.query("state", job=cancelled), await t.query("state", job=kept)) == ("canceled", "pending")
        await t.advance(10)
        await t.mutation("cancel", job=kept)
        assert (await t.query("state", job=cancelled), await t.query("state", job=kept)) == ("canceled", "success")
        assert await t.query("texts") == ["kept"]


@pytest.mark.one_isolation("inline", "the test waits in its functions; tests/scheduler has the same of components, where it can")
async def test_078_what_a_cancelled_action_schedules_is_cancelled_from_birth() -> None:
    app = diary()
    pause = Pause()

    @app.action
    async def act(ctx: ActionCtx) -> None:
        await pause()
        await ctx.run_mutation("note", job=await ctx.scheduler.run_after(0, "write", text="too late"))

    @app.mutation
    async def note(ctx: MutationCtx, job: str) -> None:
        await ctx.db.insert("notes", {"text": job})

    async with TestBackend(app) as t:
        running = await t.run(lambda ctx: ctx.scheduler.run_after(0, "act"))
        await pause.meanwhile(t.finish_in_progress(), t.mutation("cancel", job=running))
        [born] = await t.query("texts")
        assert await t.query("state", job=born) == "canceled"
        assert await t.query("state", job=running) == "canceled"
        assert await t.finish_scheduled() == []
        assert await t.query("texts") == [born]


async def test_079_a_job_that_cannot_be_planned_is_refused() -> None:
    async with TestBackend(DIARY) as t:
        with pytest.raises(ScheduleError, match="five years"):
            await t.mutation("write_at", when=t.now() + 6 * 365 * DAY * 1000)
        with pytest.raises(ScheduleError, match="0 or more"):
            await t.mutation("write_later", text="x", seconds=-1)
        with pytest.raises(FunctionNotFound):
            await t.mutation("call_missing")


@pytest.mark.one_isolation("inline", "a thousand jobs take their time; tests/scheduler plans as many both ways")
async def test_080_a_mutation_schedules_at_most_a_thousand_jobs() -> None:
    async with TestBackend(DIARY) as t:
        with pytest.raises(LimitExceeded, match="functions_scheduled exceeded: 1,001 of at most 1,000"):
            await t.mutation("write_many_later", count=1_001)
        await t.mutation("write_many_later", count=1_000)
        assert len(await t.advance(60)) == 1_000


async def test_081_a_subscriber_sees_a_job_through_its_life() -> None:
    async with TestBackend(DIARY) as t:
        states = t.subscribe("state", job=await t.mutation("write_later", text="x", seconds=10))
        assert await anext(states) == "pending"
        await t.advance(10)
        assert await anext(states) == "success"
        await t.advance(6 * DAY)
        changed = asyncio.ensure_future(anext(states))
        await asyncio.sleep(0)
        assert not changed.done()
        await t.advance(DAY + 60)
        assert await changed is None


def with_cron(name: str, *, every: float) -> Component:
    """An app with a cron that writes down when it ran: seconds since the start of the test."""
    app = Component("app", schema=Schema(runs=Table({"at": float})))

    @app.mutation
    async def run(ctx: MutationCtx) -> None:
        await ctx.db.insert("runs", {"at": (ctx.now() - START_MS) / 1000})

    @app.query
    async def runs(ctx: QueryCtx) -> list[float]:
        return [row["at"] for row in await ctx.db.query("runs").collect()]

    app.cron(name, every=every)(run)
    return app


async def runs(backend: Backend) -> Any:
    return await ask(backend, "runs")


async def test_082_after_ten_minutes_down_a_cron_of_every_minute_runs_once(deployment: Deployment) -> None:
    """What becomes of missed times is for catch_up to say: by default one run makes up for all of them."""
    app = placed(with_cron, "tick", every=60)
    async with deployment.start(app) as backend:
        await deployment.pass_time(backend, 90)
        assert await runs(backend) == [0, 60]
    deployment.clock.move_to(START_MS + 690_000)
    async with deployment.start(app) as backend:
        await deployment.pass_time(backend, 0)
        assert await runs(backend) == [0, 60, 690]
        await deployment.pass_time(backend, 60)
        assert await runs(backend) == [0, 60, 690, 720]


async def test_083_a_cron_that_is_renamed_starts_anew_and_one_that_is_not_keeps_its_time(deployment: Deployment) -> None:
    async with deployment.start(placed(with_cron, "tick", every=3600)) as backend:
        await deployment.pass_time(backend, 1000)
        assert await runs(backend) == [0]
    async with deployment.start(placed(with_cron, "tick", every=3600)) as backend:
        await deployment.pass_time(backend, 2599)
        assert await runs(backend) == [0]
        await deployment.pass_time(backend, 400)
        assert await runs(backend) == [0, 3600]
    async with deployment.start(placed(with_cron, "tock", every=3600)) as backend:
        await deployment.pass_time(backend, 3600)
        assert await runs(backend) == [0, 3600, 3999, 7599]
