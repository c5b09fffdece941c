"""Runs within runs, and runs that are canceled or paused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from interlock import MutationCtx, reference
from interlock_workflow import (
    DAY,
    StepCanceled,
    WorkflowEnded,
    WorkflowStep,
)

from .lab import Bench, Lab, OutOfStock, callbacks, do, done, start, status, until

pytestmark = pytest.mark.usefixtures("isolation")


async def test_a_child_gives_its_result_and_its_failure_to_its_parent() -> None:
    lab = Lab()

    @lab.define
    async def child(step: WorkflowStep, n: int) -> int:
        await step.run_action(lab.act, name=f"child {n}")
        if n < 0:
            raise OutOfStock({"message": "negative"})
        return n * 2

    @lab.define
    async def flow(step: WorkflowStep) -> list[Any]:
        results = list(await asyncio.gather(*[step.run_workflow(child, n=n) for n in (1, 2)]))
        try:
            await step.run_workflow(child, n=-1)
        except OutOfStock as error:
            results.append(error.data["message"])
        return results

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        assert (await status(t, lab, id)).result == [2, 4, "negative"]
        children = (await do(t, lambda ctx: lab.workflows.list_by_name(ctx, child))).page
        assert [one.parent for one in children] == [id] * 3
        assert await do(t, lambda ctx: lab.workflows.cleanup(ctx, id))
        await t.finish_in_progress()
        assert (await do(t, lambda ctx: lab.workflows.list(ctx))).page == []


async def test_a_cancel_ends_a_run_and_its_children_and_late_results_are_dropped() -> None:
    lab = Lab()

    @lab.define
    async def child(step: WorkflowStep) -> None:
        await step.run_action(lab.act, name="slow", gate=True)
        await step.run_mutation(lab.write, what="never")

    @lab.define
    async def flow(step: WorkflowStep) -> None:
        await asyncio.gather(step.run_workflow(child), step.sleep(DAY), step.await_event("e"))
        await step.run_mutation(lab.write, what="never")

    async with Bench(lab.component) as t:
        id = await do(t, lambda ctx: lab.workflows.start(ctx, flow, {}, on_complete=lab.ended))
        await until(lambda: lab.log == ["slow"])
        await do(t, lambda ctx: lab.workflows.cancel(ctx, id))
        found = (await do(t, lambda ctx: lab.workflows.list(ctx))).page
        assert [(run.type, run.generation) for run in found] == [("canceled", 1)] * 2
        lab.gates["slow"].set()
        await t.finish_scheduled()
        assert (await done(t), await callbacks(t)) == ([], [("canceled", None)])
        for change in (lab.workflows.cancel, lab.workflows.pause, lab.workflows.resume):
            with pytest.raises(WorkflowEnded):
                await do(t, lambda ctx, change=change: change(ctx, id))


async def test_a_run_that_cancels_itself_writes_nothing_further_and_what_it_did_stays_done() -> None:
    lab = Lab()

    @lab.component.mutation
    async def stop(ctx: MutationCtx, workflow: str) -> None:
        await lab.workflows.cancel(ctx, workflow)

    @lab.define
    async def flow(step: WorkflowStep) -> None:
        await step.run_mutation(lab.write, what=1)
        await step.run_mutation(stop, workflow=step.workflow_id)
        await step.run_mutation(lab.write, what=2)

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        assert ((await status(t, lab, id)).type, await done(t)) == ("canceled", [1])
        await do(t, lambda ctx: lab.workflows.restart(ctx, id))
        await t.finish_in_progress()
        assert ((await status(t, lab, id)).type, await done(t)) == ("completed", [1, 2])


@pytest.mark.parametrize("is_done", [False, True])
async def test_a_mutation_in_the_pool_is_done_once_however_late_its_run_is_canceled(is_done: bool) -> None:
    lab = Lab()

    @lab.component.mutation
    async def stop(ctx: MutationCtx, id: str) -> None:
        await lab.workflows.cancel(ctx, id)

    @lab.define
    async def flow(step: WorkflowStep) -> int:
        return await step.with_options(inline=False).run_mutation(lab.write, what="x")

    async with Bench(lab.component) as t:
        await do(t, lab.workflows.pause_pool)
        id = await start(t, lab, flow)
        handle = await do(t, lambda ctx: ctx.function_handle(stop))

        async def go_on_and_cancel(ctx: MutationCtx) -> None:
            await ctx.run_mutation("resume")
            await ctx.run_mutation("dispatch")
            work = await ctx.db.query("works").first()
            if is_done:
                await ctx.run_mutation("run_transaction", work_id=work["_id"], attempt=1)
            await ctx.run_mutation(reference(handle), id=id)

        await t.run(go_on_and_cancel, component="workflow/workpool")
        await t.finish_in_progress()
        assert ((await status(t, lab, id)).type, await done(t)) == ("canceled", ["x"] if is_done else [])
        await do(t, lambda ctx: lab.workflows.restart(ctx, id))
        await t.finish_in_progress()
        assert ((await status(t, lab, id)).result, await done(t)) == (1, ["x"])


async def test_a_child_that_is_canceled_is_told_to_its_parent() -> None:
    lab = Lab()

    @lab.define
    async def child(step: WorkflowStep) -> None:
        await step.await_event("never")

    @lab.define
    async def flow(step: WorkflowStep) -> str:
        try:
            await step.run_workflow(child)
        except StepCanceled as error:
            return error.message
        return "?"

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        [running] = (await status(t, lab, id)).running
        await do(t, lambda ctx: lab.workflows.cancel(ctx, running.child or ""))
        await t.finish_in_progress()
        assert (await status(t, lab, id)).result == "Canceled"


async def test_a_paused_run_does_nothing_further_until_it_is_resumed() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> None:
        await step.run_action(lab.act, name="a")
        await step.sleep(10)
        await step.run_mutation(lab.write, what=1)

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        await do(t, lambda ctx: lab.workflows.pause(ctx, id))
        await t.advance(60)
        assert ((await status(t, lab, id)).type, await done(t)) == ("paused", [])
        await do(t, lambda ctx: lab.workflows.resume(ctx, id))
        await t.finish_in_progress()
        assert ((await status(t, lab, id)).type, await done(t)) == ("completed", [1])


async def test_the_pool_can_be_paused_and_resized_and_queries_need_no_place_in_it() -> None:
    lab = Lab(max_parallelism=5)

    @lab.define
    async def flow(step: WorkflowStep) -> str:
        await step.run_mutation(lab.write, what=1)
        result: str = await step.run_action(lab.act, name="a")
        return result

    async with Bench(lab.component) as t:
        await do(t, lambda ctx: lab.workflows.resize_pool(ctx, 0))
        id = await start(t, lab, flow)
        assert (await done(t), lab.log) == ([1], [])
        await do(t, lambda ctx: lab.workflows.pause_pool(ctx))
        await do(t, lambda ctx: lab.workflows.resize_pool(ctx, None))
        await t.finish_in_progress()
        assert lab.log == []
        await do(t, lambda ctx: lab.workflows.resume_pool(ctx))
        await t.finish_in_progress()
        assert (await status(t, lab, id)).result == "did a"
        report = await t.component("workflow").query("pool_report")
        assert (report["max_parallelism"], report["running"], report["backlog"]) == (5, 0, 0)
