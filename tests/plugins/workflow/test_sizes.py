"""What is large: it fits, or its step fails and says so; a run is never left in the middle."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from interlock import ActionCtx, AppError, MutationCtx
from interlock_workflow import StepFailed, WorkflowStep, component

from .lab import Bench, Lab, callbacks, do, done, start, status

MB = 1_000_000


def reader(lab: Lab) -> Any:
    @lab.component.action
    async def read(ctx: ActionCtx, text: str) -> int:
        return len(text)

    return read


@pytest.mark.parametrize("isolation", ["inline"], indirect=True)
async def test_steps_that_are_asked_for_together_may_have_more_arguments_than_a_transaction_holds() -> None:
    lab = Lab()
    read = reader(lab)

    @lab.define
    async def flow(step: WorkflowStep) -> list[int]:
        await step.run_mutation(lab.write, what="before")
        return await asyncio.gather(*[step.run_action(read, text="ä" * MB) for _ in range(5)])

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow, options={"on_complete": lab.ended})
        found = await status(t, lab, id)
        assert (found.type, found.result) == ("completed", [MB] * 5)
        assert await done(t) == ["before"]
        assert await callbacks(t) == [("success", None)]


async def test_many_large_results_of_one_turn_are_recorded() -> None:
    lab = Lab()

    @lab.component.mutation
    async def much(ctx: MutationCtx) -> str:
        await ctx.db.insert("done", {"what": "much"})
        return "x" * (2 * MB)

    @lab.define
    async def flow(step: WorkflowStep) -> int:
        return sum([len(await step.run_mutation(much)) for _ in range(8)])

    async with Bench(lab.component) as t:
        found = await status(t, lab, await start(t, lab, flow))
        assert (found.type, found.result) == ("completed", 16 * MB)
        assert len(await done(t)) == 8


async def test_what_is_too_large_fails_its_step_or_its_run_and_says_so() -> None:
    lab = Lab()
    read = reader(lab)
    too_much = "x" * (5 * MB)

    @lab.component.mutation
    async def take(ctx: MutationCtx, text: str) -> None:
        raise AssertionError("it is not called")

    @lab.component.mutation
    async def complain(ctx: MutationCtx) -> None:
        raise AppError({"message": "too bad", "text": too_much})

    @lab.define
    async def child(step: WorkflowStep, text: str) -> None: ...

    @lab.define
    async def flow(step: WorkflowStep) -> list[str]:
        told = []
        for call in (step.run_action(read, text=too_much), step.run_mutation(take, text=too_much), step.run_workflow(child, text=too_much)):
            try:
                await call
            except StepFailed as error:
                told.append(error.type)
        try:
            await step.run_mutation(complain)
        except AppError as error:
            told.append(str(error.data))
        return told

    @lab.define
    async def ends(step: WorkflowStep, again: bool) -> str:
        await step.run_mutation(lab.write, what=again)
        if again:
            step.continue_as_new(again=False, text=too_much)
        return too_much

    async with Bench(lab.component) as t:
        found = await status(t, lab, await start(t, lab, flow))
        assert found.type == "completed", found
        assert found.result[:3] == ["TooLarge"] * 3 and "5,000,031 bytes of data" in found.result[3]
        for again in (False, True):
            found = await status(t, lab, await start(t, lab, ends, again=again))
            assert found.type == "failed" and found.error is not None
            assert found.error["type"] == "TooLarge" and "4,000,000 bytes" in found.error["message"]


async def test_long_events_that_came_before_are_taken_together() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> list[int]:
        await step.sleep(1)
        texts = await asyncio.gather(*[step.await_event("text") for _ in range(3)])
        await step.run_mutation(lab.write, what="got them")
        return [len(text) for text in texts]

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        for size in (3_900_000, 3_800_000, 5):
            await do(t, lambda ctx, size=size: lab.workflows.send_event(ctx, "text", workflow_id=id, value="x" * size))
        await t.finish_scheduled()
        found = await status(t, lab, id)
        assert (found.type, found.result) == ("completed", [3_900_000, 3_800_000, 5])
        listed = (await do(t, lambda ctx: lab.workflows.list_steps(ctx, id))).page
        assert [len(step.result or "") for step in listed if step.kind == "event"] == [3_900_000, 3_800_000, 5]
        assert await do(t, lambda ctx: lab.workflows.cleanup(ctx, id))
        await t.finish_scheduled()
        assert await t.run(lambda ctx: ctx.db.query("texts").count(), component="workflow") == 0


@pytest.mark.parametrize("isolation", ["inline"], indirect=True)
@pytest.mark.parametrize("lost", ["take_turn", "step_ended"])
async def test_a_run_of_which_a_job_has_failed_says_why_and_goes_on(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a worker crashes over a turn, or over the end of a sleep."""
    lab = Lab()
    whole, failures = getattr(component, lost), [4 if lost == "take_turn" else 2]  # the first turn is tried at once, too

    async def fails_at_first(*args: Any, **options: Any) -> Any:
        if failures[0]:
            failures[0] -= 1
            raise RuntimeError("the worker is gone")
        return await whole(*args, **options)

    @lab.define
    async def flow(step: WorkflowStep) -> str:
        await step.sleep(1)
        return "done"

    async with Bench(lab.component) as t:
        monkeypatch.setattr(component, lost, fails_at_first)
        id = await start(t, lab, flow)
        await t.finish_scheduled()
        assert (await status(t, lab, id)).type == "in_progress"
        await t.advance(310)
        if lost == "take_turn":
            assert "first turn" in str((await status(t, lab, id)).stalled)
            await t.advance(300)
            assert "the worker is gone" in str((await status(t, lab, id)).stalled)
        await t.advance(620)
        found = await status(t, lab, id)
        assert (found.type, found.result, found.stalled) == ("completed", "done", None)


@pytest.mark.parametrize("isolation", ["inline"], indirect=True)
@pytest.mark.parametrize("lost", ["take_turn", "step_ended"])
async def test_of_many_runs_whose_jobs_fail_again_and_again_each_is_tried_once_a_time(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lab, count = Lab(), 5
    whole, is_broken = getattr(component, lost), [True]

    async def fails(*args: Any, **options: Any) -> Any:
        if is_broken[0]:
            raise RuntimeError("the worker is gone")
        return await whole(*args, **options)

    @lab.define
    async def flow(step: WorkflowStep) -> str:
        await step.sleep(1)
        return "done"

    async with Bench(lab.component) as t:
        monkeypatch.setattr(component, lost, fails)
        monkeypatch.setattr(component, "MENDED_AT_ONCE", 2)
        runs = [await start(t, lab, flow) for _ in range(count)]
        await t.advance(3_600)

        async def failed(ctx: Any) -> int:
            return len(await ctx.scheduler.list("failed"))

        assert count * 10 <= await t.run(failed, component="workflow") <= count * 13
        is_broken[0] = False
        await t.advance(620)
        assert [(await status(t, lab, id)).type for id in runs] == ["completed"] * count


@pytest.mark.parametrize("isolation", ["inline"], indirect=True)
async def test_runs_that_were_kept_long_enough_are_removed_however_much_they_have_recorded() -> None:
    lab = Lab()

    @lab.component.query
    async def some(ctx: Any) -> str:
        return "x" * 7_900

    @lab.define
    async def flow(step: WorkflowStep) -> None:
        for _ in range(30):
            await step.run_query(some)

    async with Bench(lab.component) as t:
        for _ in range(60):
            await do(t, lambda ctx: lab.workflows.start(ctx, flow, {}, keep_for=60))
        await t.finish_scheduled()
        await t.advance(2 * 3_600)
        for table in ("workflows", "pages", "expiries"):
            assert await t.run(lambda ctx, table=table: ctx.db.query(table).count(), component="workflow") == 0
