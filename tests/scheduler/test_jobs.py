"""What a job promises: planned with its transaction, run as often as said, readable, cancelled, cleaned up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.placed import placed

from interlock import ActionCtx, App, AppError, ArgumentError, Component, LimitExceeded, MutationCtx, QueryCtx, ScheduleError, Schema, Table
from interlock.engine.made import arrived
from interlock.scheduler import jobs, scheduler
from interlock.values import loads

from .rooms import START_MS, Machine, Process


def diary() -> Component:
    """Writes down what ran, and when."""
    component = Component("diary", schema=Schema(entries=Table({"text": str, "at": float})))

    @component.mutation
    async def write(ctx: MutationCtx, text: str) -> None:
        await ctx.db.insert("entries", {"text": text, "at": ctx.now()})

    @component.mutation
    async def fail(ctx: MutationCtx, text: str) -> None:
        await ctx.db.insert("entries", {"text": text, "at": ctx.now()})
        raise AppError("no " + text)

    @component.mutation
    async def plan(ctx: MutationCtx, seconds: float, text: str, function: str = "write") -> str:
        return await ctx.scheduler.run_after(seconds, function, text=text)

    @component.mutation
    async def plan_and_fail(ctx: MutationCtx, text: str) -> None:
        await ctx.scheduler.run_after(0, "write", text=text)
        raise AppError("undone")

    @component.mutation
    async def plan_in_vain(ctx: MutationCtx, text: str) -> None:
        try:
            await ctx.run_mutation("plan_and_fail", text=text)
        except AppError:
            await ctx.scheduler.run_after(0, "write", text="after " + text)

    @component.mutation
    async def plan_at(ctx: MutationCtx, when: float, text: str) -> str:
        return await ctx.scheduler.run_at(when, "write", text=text)

    @component.mutation
    async def plan_many(ctx: MutationCtx, count: int, text: str = "one of many") -> None:
        for _ in range(count):
            await ctx.scheduler.run_after(0, "write", text=text)

    @component.action
    async def plan_from_action(ctx: ActionCtx, text: str) -> str:
        return await ctx.scheduler.run_after(0, "write", text=text)

    @component.mutation
    async def cancel(ctx: MutationCtx, job: str) -> None:
        await ctx.scheduler.cancel(job)

    @component.mutation
    async def cancel_and_fail(ctx: MutationCtx, job: str) -> None:
        await ctx.scheduler.cancel(job)
        raise AppError("undone")

    @component.mutation
    async def plan_wrongly(ctx: MutationCtx) -> None:
        await ctx.scheduler.run_after(0, "write", txt="x")

    @component.mutation
    async def end_itself(ctx: MutationCtx, text: str) -> None:
        [own] = await ctx.scheduler.list("running")
        if await ctx.scheduler.get(own.id) != own:
            raise AppError("it does not see itself run")
        await ctx.scheduler.cancel(own.id)

    @component.action
    async def end_itself_below(ctx: ActionCtx, text: str) -> None:
        [own] = await ctx.scheduler.list("running")
        await ctx.run_mutation("cancel", job=own.id)
        await ctx.scheduler.run_after(0, "write", text="no longer")

    @component.action
    async def slow(ctx: ActionCtx, text: str) -> None:
        """Writes "started", and waits until "go on" is written."""
        await ctx.scheduler.run_after(0, "write", text="before")
        await ctx.run_mutation("write", text="started")
        while "go on" not in await ctx.run_query("texts"):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await ctx.scheduler.run_after(0, "write", text="by itself")
        await ctx.run_mutation("plan", seconds=0, text="by a mutation below")
        await ctx.run_action("plan_from_action", text="by an action below")

    @component.mutation
    async def plan_by_handle(ctx: MutationCtx, seconds: float) -> str:
        handle = await ctx.function_handle("write")
        await ctx.scheduler.run_after(seconds, handle, text="by handle")
        return handle

    @component.mutation
    async def revoke(ctx: MutationCtx, handle: str) -> None:
        await ctx.revoke_handle(handle)

    @component.query
    async def texts(ctx: QueryCtx) -> list[str]:
        return [row["text"] async for row in ctx.db.query("entries")]

    @component.query
    async def state_of(ctx: QueryCtx, job: str) -> str | None:
        found = await ctx.scheduler.get(job)
        return None if found is None else found.state

    @component.query
    async def look(ctx: QueryCtx, text: str) -> None: ...

    return component


DIARY = placed(diary)


async def until_written(process: Process, text: str) -> None:
    while text not in await process.call("texts"):  # noqa: ASYNC110
        await asyncio.sleep(0)


@pytest.mark.usefixtures("both_isolations")
async def test_a_job_runs_when_it_is_due_and_not_before() -> None:
    async with Machine().process(DIARY) as process:
        await process.call("plan", seconds=10, text="ten")
        await process.advance(9.999)
        assert await process.call("texts") == []
        await process.advance(0.001)
        assert await process.call("texts") == ["ten"]


@pytest.mark.usefixtures("both_isolations")
async def test_a_job_without_delay_runs_after_the_commit_that_planned_it() -> None:
    async with Machine().process(DIARY) as process:
        job = await process.call("plan", seconds=0, text="now")
        await process.scheduler.wait_idle()
        assert await process.call("texts") == ["now"]
        assert await process.call("state_of", job=job) == "success"


@pytest.mark.usefixtures("both_isolations")
async def test_jobs_run_in_the_order_due() -> None:
    async with Machine().process(DIARY) as process:
        for seconds in (3, 1, 2):
            await process.call("plan", seconds=seconds, text=str(seconds))
        await process.advance(5)
        assert await process.call("texts") == ["1", "2", "3"]


@pytest.mark.usefixtures("both_isolations")
async def test_a_job_of_a_transaction_that_is_undone_was_never_planned() -> None:
    async with Machine().process(DIARY) as process:
        with pytest.raises(AppError):
            await process.call("plan_and_fail", text="gone")
        await process.call("plan_in_vain", text="gone")
        await process.advance(60)
        assert await process.call("texts") == ["after gone"]
        assert len(await process.jobs()) == 1


@pytest.mark.usefixtures("both_isolations")
async def test_one_mount_has_so_many_pending_jobs_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_PENDING_MAX", 10)
    machine = Machine()
    async with machine.process(DIARY) as process:
        planned = [await process.call("plan", seconds=10 * at, text=str(at)) for at in range(1, 11)]
        with pytest.raises(LimitExceeded, match="jobs_pending exceeded: 11 of at most 10"):
            await process.call("plan", seconds=5, text="one too many")
        with pytest.raises(AppError):
            await process.call("cancel_and_fail", job=planned[-1])
        with pytest.raises(LimitExceeded):
            await process.call("plan", seconds=5, text="one too many")
        await process.call("cancel", job=planned[-1])
        await process.call("plan", seconds=5, text="in its place")
    async with machine.process(DIARY) as process:
        await process.scheduler.wait_idle()
        with pytest.raises(LimitExceeded):
            await process.call("plan", seconds=5, text="one too many")
        await process.advance(10)
        assert await process.call("texts") == ["in its place", "1"]
        for at in range(2):
            await process.call("plan", seconds=5, text=str(at))
        with pytest.raises(LimitExceeded):
            await process.call("plan", seconds=5, text="one too many")
        await process.advance(500)
        assert process.scheduler.jobs.pending == {"": 0}


@pytest.mark.one_isolation("inline", "its function is made in the test; the bound is the host's")
async def test_jobs_that_breed_end_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_PENDING_MAX", 300)
    component = Component("bomb")

    @component.mutation
    async def breed(ctx: MutationCtx) -> None:
        await ctx.scheduler.run_after(0, "breed")
        await ctx.scheduler.run_after(0, "breed")

    async with Machine().process(component) as process:
        await process.call("breed")
        while len(process.ran) < 1_000:
            await asyncio.sleep(0)
            assert process.scheduler.jobs.pending[""] < 300 + 2 * 64
        assert {type(ran.error) for ran in process.ran} == {type(None), LimitExceeded}


@pytest.mark.usefixtures("both_isolations")
async def test_an_action_plans_at_once() -> None:
    async with Machine().process(DIARY) as process:
        await process.call("plan_from_action", text="by an action")
        await process.scheduler.wait_idle()
        assert await process.call("texts") == ["by an action"]


@pytest.mark.usefixtures("both_isolations")
async def test_a_time_in_the_past_runs_at_once_and_is_shown_as_asked() -> None:
    async with Machine().process(DIARY) as process:
        job = await process.call("plan_at", when=START_MS - 5_000, text="late")
        await process.scheduler.wait_idle()
        assert await process.call("texts") == ["late"]
        found = await process.job(job)
        assert found is not None and found.scheduled_time == START_MS - 5_000


@pytest.mark.usefixtures("both_isolations")
async def test_a_job_shows_what_it_calls_with_which_arguments() -> None:
    async with Machine().process(DIARY) as process:
        job = await process.call("plan", seconds=10, text="ten")
        found = await process.job(job)
        assert found is not None
        assert (found.state, found.name, found.args, found.scheduled_time) == ("pending", "write", {"text": "ten"}, START_MS + 10_000)
        assert [(found.id, found.state) for found in await process.jobs("pending")] == [(job, "pending")]
        assert await process.jobs("success") == []
        await process.advance(10)
        assert [(found.id, found.state) for found in await process.jobs()] == [(job, "success")]


@pytest.mark.usefixtures("both_isolations")
async def test_a_mutation_that_raises_leaves_its_job_failed_and_nothing_else() -> None:
    async with Machine().process(DIARY) as process:
        job = await process.call("plan", seconds=1, text="x", function="fail")
        await process.advance(3600)
        assert await process.call("texts") == []
        found = await process.job(job)
        assert found is not None and found.state == "failed"
        assert found.error is not None and "AppError: no x" in found.error
        assert len(process.ran) == 1


@pytest.mark.usefixtures("both_isolations")
async def test_a_job_with_wrong_arguments_is_refused_when_planned() -> None:
    async with Machine().process(DIARY) as process:
        with pytest.raises(ArgumentError):
            await process.call("plan_wrongly")


@pytest.mark.usefixtures("both_isolations")
async def test_more_jobs_than_a_transaction_may_plan_are_refused() -> None:
    async with Machine().process(DIARY) as process:
        with pytest.raises(LimitExceeded, match="functions_scheduled"):
            await process.call("plan_many", count=1_001)
        await process.call("plan_many", count=1_000)
        await process.scheduler.wait_idle()
        assert len(await process.call("texts")) == 1_000


@pytest.mark.usefixtures("both_isolations")
async def test_arguments_larger_than_a_document_arrive_whole() -> None:
    async with Machine().process(DIARY) as process:
        text = "ä" * 1_000_000
        component_text: list[Any] = []
        process.scheduler.watchers.append(lambda ran: component_text.append(ran.job.args["text"]))
        job = await process.call("plan", seconds=1, text=text, function="fail")
        found = await process.job(job)
        assert found is not None and found.args == {"text": text}
        await process.advance(1)
        assert component_text == [text]
        await process.advance(8 * 86_400)
        assert await process.job(job) is None
        table = process.engine.catalog.get("", "_job_args")
        assert table is not None and table.memory is not None and not table.memory.documents


# cancelling


@pytest.mark.usefixtures("both_isolations")
async def test_a_cancelled_job_never_runs() -> None:
    async with Machine().process(DIARY) as process:
        job = await process.call("plan", seconds=10, text="never")
        await process.call("cancel", job=job)
        await process.advance(60)
        assert await process.call("texts") == []
        assert await process.call("state_of", job=job) == "canceled"


@pytest.mark.usefixtures("both_isolations")
async def test_cancelling_what_has_ended_or_is_gone_does_nothing() -> None:
    async with Machine().process(DIARY) as process:
        job = await process.call("plan", seconds=0, text="done")
        await process.advance(0)
        await process.call("cancel", job=job)
        assert await process.call("state_of", job=job) == "success"
        await process.advance(8 * 86_400)
        await process.call("cancel", job=job)


@pytest.mark.usefixtures("both_isolations")
async def test_cancelling_is_undone_with_its_transaction() -> None:
    async with Machine().process(DIARY) as process:
        job = await process.call("plan", seconds=10, text="still")
        with pytest.raises(AppError):
            await process.call("cancel_and_fail", job=job)
        assert await process.call("state_of", job=job) == "pending"
        await process.advance(10)
        assert await process.call("texts") == ["still"]


@pytest.mark.parametrize("text", ["", "nonsense", "function://x"])
@pytest.mark.usefixtures("both_isolations")
async def test_what_is_no_job_cannot_be_cancelled(text: str) -> None:
    async with Machine().process(DIARY) as process:
        with pytest.raises(ScheduleError, match="no job of this instance"):
            await process.call("cancel", job=text)


@pytest.mark.usefixtures("both_isolations")
async def test_a_mutation_cannot_cancel_the_job_that_runs_it() -> None:
    async with Machine().process(DIARY) as process:
        job = await process.call("plan", seconds=1, text="", function="end_itself")
        await process.advance(1)
        found = await process.job(job)
        assert found is not None and found.state == "failed"
        assert found.error is not None and "cancel itself" in (str(process.ran[0].error))


@pytest.mark.usefixtures("both_isolations")
async def test_what_a_cancelled_running_action_plans_is_cancelled_from_birth() -> None:
    async with Machine().process(DIARY) as process:
        job = await process.call("plan", seconds=0, text="slow", function="slow")
        await until_written(process, "started")
        await until_written(process, "before")
        assert await process.call("state_of", job=job) == "running"
        await process.call("cancel", job=job)
        assert await process.call("state_of", job=job) == "canceled"
        await process.call("write", text="go on")
        await process.scheduler.wait_idle()
        assert sorted(await process.call("texts")) == ["before", "go on", "started"]
        assert {found.args["text"]: found.state for found in await process.jobs()} == {
            "slow": "canceled",
            "before": "success",
            "by itself": "canceled",
            "by a mutation below": "canceled",
            "by an action below": "canceled",
        }


@pytest.mark.usefixtures("both_isolations")
async def test_a_running_action_may_cancel_itself_through_a_mutation() -> None:
    async with Machine().process(DIARY) as process:
        job = await process.call("plan", seconds=0, text="", function="end_itself_below")
        await process.scheduler.wait_idle()
        assert await process.call("state_of", job=job) == "canceled"
        assert await process.call("texts") == []


@pytest.mark.one_isolation("inline", "its function waits in the test, where a mutation cannot wait for a commit")
async def test_a_job_that_is_cancelled_while_its_mutation_runs_does_not_run() -> None:
    """The cancelling commit conflicts with the run, which then finds its job cancelled."""
    component = diary()
    started, go_on = asyncio.Event(), asyncio.Event()

    @component.mutation
    async def write_slowly(ctx: MutationCtx) -> None:
        started.set()
        await go_on.wait()
        await ctx.db.insert("entries", {"text": "slow", "at": ctx.now()})

    @component.mutation
    async def start(ctx: MutationCtx) -> str:
        return await ctx.scheduler.run_after(0, write_slowly)

    async with Machine().process(component) as process:
        job = await process.call("start")
        await started.wait()
        assert await process.call("state_of", job=job) == "pending"
        await process.call("cancel", job=job)
        go_on.set()
        await process.scheduler.wait_idle()
        assert await process.call("texts") == []
        assert await process.call("state_of", job=job) == "canceled"


# as often as promised


@pytest.mark.one_isolation("inline", "its function waits in the test, where a mutation cannot wait for a commit")
async def test_a_conflicting_mutation_job_runs_until_it_stands_and_counts_once() -> None:
    component = Component("counter", schema=Schema(counts=Table({"n": int})))
    runs = 0

    @component.mutation
    async def add(ctx: MutationCtx) -> None:
        nonlocal runs
        runs += 1
        row = await ctx.db.query("counts").first()
        await asyncio.sleep(0)  # lets the others in, so that they conflict
        if row is None:
            await ctx.db.insert("counts", {"n": 1})
        else:
            await ctx.db.patch(row["_id"], {"n": row["n"] + 1})

    @component.mutation
    async def start(ctx: MutationCtx, count: int) -> None:
        for _ in range(count):
            await ctx.scheduler.run_after(0, add)

    @component.query
    async def total(ctx: QueryCtx) -> int:
        row = await ctx.db.query("counts").first()
        return 0 if row is None else int(row["n"])

    async with Machine().process(component) as process:
        await process.call("start", count=50)
        await process.scheduler.wait_idle()
        assert await process.call("total") == 50
        assert runs > 50
        assert {found.state for found in await process.jobs()} == {"success"}


@pytest.mark.one_isolation("inline", "its function waits in the test, where a mutation cannot wait for a commit")
async def test_after_a_crash_a_running_action_is_failed_and_a_running_mutation_runs_again() -> None:
    machine = Machine()
    component = diary()
    started, never = asyncio.Event(), asyncio.Event()
    runs: list[str] = []

    @component.action
    async def action(ctx: ActionCtx) -> None:
        runs.append("action")
        if len(runs) == 2:
            started.set()
        await never.wait()

    @component.mutation
    async def mutation(ctx: MutationCtx) -> None:
        runs.append("mutation")
        if len(runs) == 2:
            started.set()
        if runs.count("mutation") == 1:
            await never.wait()
        await ctx.db.insert("entries", {"text": "mutation", "at": ctx.now()})

    @component.mutation
    async def start(ctx: MutationCtx) -> list[str]:
        return [await ctx.scheduler.run_after(0, action), await ctx.scheduler.run_after(0, mutation)]

    process = await machine.start(component)
    of_action, of_mutation = await process.call("start")
    await started.wait()
    process.crash()
    async with machine.process(component) as process:
        await process.scheduler.wait_idle()
        assert sorted(runs) == ["action", "mutation", "mutation"]
        failed = await process.job(of_action)
        assert failed is not None and (failed.state, failed.error) == ("failed", "The process ended while it ran.")
        assert await process.call("state_of", job=of_mutation) == "success"
        assert await process.call("texts") == ["mutation"]


@pytest.mark.usefixtures("both_isolations")
async def test_a_pending_job_outlives_its_process() -> None:
    machine = Machine()
    process = await machine.start(DIARY)
    await process.call("plan", seconds=10, text="later")
    process.crash()
    machine.clock.move_to(START_MS + 60_000)
    async with machine.process(DIARY) as process:
        await process.scheduler.wait_idle()
        assert await process.call("texts") == ["later"]


@pytest.mark.usefixtures("both_isolations")
async def test_an_action_that_runs_when_the_backend_stops_is_failed_at_once() -> None:
    async with Machine().process(DIARY) as process:
        job = await process.call("plan", seconds=0, text="", function="slow")
        await until_written(process, "started")
        await process.scheduler.stop()
        found = await process.job(job)
        assert found is not None and (found.state, found.error) == ("failed", "The backend was stopped while it ran.")


@pytest.mark.usefixtures("both_isolations")
async def test_an_action_that_ends_while_the_backend_stops_with_grace_succeeds() -> None:
    async with Machine().process(DIARY) as process:
        job = await process.call("plan", seconds=0, text="", function="slow")
        await until_written(process, "started")
        stopping = asyncio.ensure_future(process.scheduler.stop(grace_seconds=10))
        await asyncio.sleep(0)
        await process.call("write", text="go on")
        await stopping
        assert await process.call("state_of", job=job) == "success"


@pytest.mark.usefixtures("both_isolations")
async def test_a_function_that_is_gone_when_its_job_is_due_leaves_it_failed() -> None:
    @placed
    def smaller() -> Component:
        return Component("diary", schema=Schema(entries=Table({"text": str, "at": float})))

    async with Machine().process(DIARY) as process:
        job = await process.call("plan", seconds=10, text="x")
        await process.deploy(smaller)
        await process.advance(10)
        found = await process.job(job)
        assert found is not None and found.state == "failed"
        assert found.error is not None and "Could not find" in found.error


@pytest.mark.usefixtures("both_isolations")
async def test_a_handle_of_a_job_is_looked_at_again_when_the_job_is_due() -> None:
    async with Machine().process(DIARY) as process:
        handle = await process.call("plan_by_handle", seconds=1)
        await process.advance(1)
        assert await process.call("texts") == ["by handle"]
        await process.call("plan_by_handle", seconds=1)
        await process.call("revoke", handle=handle)
        await process.advance(1)
        assert await process.call("texts") == ["by handle"]
        assert [job.state for job in await process.jobs("failed")] == ["failed"]


# looking


@pytest.mark.usefixtures("both_isolations")
async def test_who_looks_at_a_job_is_told_when_it_changes() -> None:
    async with Machine().process(DIARY) as process:
        job = await process.call("plan", seconds=10, text="ten")
        woken: list[None] = []
        live = process.dispatcher.live_query("state_of", {"job": job}, caller=process.caller, wake=lambda: woken.append(None))

        async def state() -> Any:
            entry = await arrived(live.at(process.engine.durable))
            return loads(entry.value.json)

        assert await state() == "pending"
        await process.call("plan", seconds=10, text="another")
        assert not woken
        await process.advance(10)
        assert woken
        assert await state() == "success"
        await process.advance(7 * 86_400)
        assert await state() is None


@pytest.mark.usefixtures("both_isolations")
async def test_a_finished_job_is_kept_for_its_time_and_then_removed() -> None:
    async with Machine().process(DIARY) as process:
        job = await process.call("plan", seconds=0, text="x")
        await process.advance(7 * 86_400 - 1)
        assert await process.call("state_of", job=job) == "success"
        await process.advance(1)
        assert await process.call("state_of", job=job) is None


@pytest.mark.usefixtures("both_isolations")
async def test_a_cancelled_job_is_kept_and_removed_like_any_other() -> None:
    async with Machine().process(DIARY) as process:
        job = await process.call("plan", seconds=3600, text="x")
        await process.advance(1)
        await process.call("cancel", job=job)
        await process.advance(7 * 86_400 - 1)
        assert await process.call("state_of", job=job) == "canceled"
        await process.advance(1)
        assert await process.call("state_of", job=job) is None


@pytest.mark.usefixtures("both_isolations")
async def test_of_too_many_finished_jobs_those_that_ended_first_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "_FINISHED_MAX", 40)
    machine = Machine()
    async with machine.process(DIARY) as process:
        waiting = await process.call("plan", seconds=86_400, text="waits")
        first = [await process.call("plan", seconds=at, text=str(at), function="fail" if at % 3 else "write") for at in range(1, 41)]
        first.append(await process.call("plan", seconds=41, text="never"))
        await process.advance(40)
        await process.call("cancel", job=first[-1])
        assert [job.id for job in await process.jobs() if job.state != "pending"] == first, "one more, which is not worth a transaction"
        await process.call("plan_many", count=60)
        await process.advance(1)
        kept = [job.id for job in await process.jobs() if job.state != "pending"]
        assert 40 <= len(kept) <= 40 + 32 and len(await process.call("texts")) == 73
        assert kept[: max(0, len(kept) - 60)] == first[41 - max(0, len(kept) - 60) :]
        assert process.scheduler.jobs.ended[""] == len(kept)
    async with machine.process(DIARY) as process:
        await process.scheduler.wait_idle()
        assert process.scheduler.jobs.ended[""] == len(kept) and process.scheduler.jobs.pending[""] == 1
        for text in ("x" * 100_000, "y"):
            await process.call("plan_many", count=60, text=text)
            await process.advance(1)
            assert 40 <= len(await process.jobs("success")) <= 40 + 32 and await process.jobs("failed") == []
        assert await process.call("state_of", job=waiting) == "pending"


@pytest.mark.one_isolation("inline", "900 jobs take their time; what removes them is the host, and does so above both ways")
async def test_many_old_jobs_are_removed_in_several_transactions() -> None:
    async with Machine().process(diary()) as process:
        await process.call("plan_many", count=900)
        await process.advance(8 * 86_400)
        assert await process.jobs() == []


def two_mounts() -> Any:
    app = App()
    app.use(placed(diary), name="one", isolation="inline")
    app.use(placed(diary), name="two", isolation="inline")
    return app


@pytest.mark.usefixtures("both_isolations")
async def test_each_instance_has_jobs_of_its_own() -> None:
    async with Machine().process(two_mounts()) as process:
        job = await process.call("plan", "one", seconds=10, text="x")
        assert await process.call("state_of", "two", job=job) is None
        with pytest.raises(ScheduleError):
            await process.call("cancel", "two", job=job)
        assert await process.jobs(component_path="two") == []
        await process.advance(10)
        assert await process.call("texts", "one") == ["x"]
        assert await process.call("texts", "two") == []
        assert [ran.job.name for ran in process.ran] == ["one/write"]


@pytest.mark.usefixtures("both_isolations")
async def test_jobs_of_an_unmounted_instance_wait_until_it_is_mounted_again() -> None:
    async with Machine().process(two_mounts()) as process:
        await process.call("plan", "one", seconds=10, text="parked")
        await process.deploy(App())
        await process.advance(60)
        assert process.ran == []
        await process.deploy(two_mounts())
        await process.advance(0)
        assert await process.call("texts", "one") == ["parked"]


@pytest.mark.one_isolation("inline", "slots of the host; its functions wait in the test")
async def test_no_instance_waits_for_the_long_jobs_of_another() -> None:
    hog = Component("hog")
    never = asyncio.Event()

    @hog.action
    async def wait(ctx: ActionCtx) -> None:
        await never.wait()

    @hog.mutation
    async def start(ctx: MutationCtx) -> None:
        for _ in range(500):
            await ctx.scheduler.run_after(0, wait)

    app = App()
    app.use(hog, isolation="inline")
    app.use(diary(), isolation="inline")
    async with Machine().process(app) as process:
        await process.call("start", "hog")
        job = await process.call("plan", "diary", seconds=0, text="x")
        for _ in range(200):
            await asyncio.sleep(0)
        assert await process.call("state_of", "diary", job=job) == "success"
