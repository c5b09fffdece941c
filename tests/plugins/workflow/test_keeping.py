"""What is large and what goes on for long: how runs are kept, found and removed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from interlock_workflow import (
    HOUR,
    StepFailed,
    WorkflowNotFound,
    WorkflowStep,
)

from .lab import Bench, Lab, do, done, start, status, steps

pytestmark = pytest.mark.usefixtures("isolation")


@pytest.mark.parametrize("size", [100, 9_000, 1_200_000])
async def test_large_arguments_results_and_events_are_held_apart_and_come_back_whole(size: int) -> None:
    lab = Lab()
    text = "ä" * size

    @lab.component.query
    async def echo(ctx: Any, text: str) -> str:
        return text

    @lab.define
    async def flow(step: WorkflowStep, text: str) -> list[str]:
        got = await step.run_query(echo, text=text)
        sent = await step.await_event("e")
        far = await step.with_options(inline=False).run_query(echo, text=text)
        await step.sleep(1)
        return [got[:3], sent[-3:], far[:3], text[:3]]

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow, text=text)
        await do(t, lambda ctx: lab.workflows.send_event(ctx, "e", workflow_id=id, value=text))
        await t.finish_scheduled()
        assert (await status(t, lab, id)).result == ["äää"] * 4
        assert (await steps(t, lab, id))[0].result == text
        await do(t, lambda ctx: lab.workflows.cleanup(ctx, id))
        await t.finish_in_progress()
        for table in ("workflows", "steps", "pages", "texts", "events"):
            assert await t.component("workflow").run(lambda ctx, table=table: ctx.db.query(table).collect()) == []


async def test_a_result_that_is_too_large_fails_its_step_and_says_so() -> None:
    lab = Lab()

    @lab.component.query
    async def huge(ctx: Any) -> str:
        return "x" * 4_100_000

    @lab.define
    async def flow(step: WorkflowStep, inline: bool | None = None) -> str:
        try:
            await step.with_options(inline=inline).run_query(huge)
        except StepFailed as error:
            return error.message
        return "?"

    async with Bench(lab.component) as t:
        for inline in (None, False):
            told = (await status(t, lab, await start(t, lab, flow, inline=inline))).result
            assert "4,000,000" in told and "4,100,002" in told


async def test_a_workflow_may_begin_anew_with_other_arguments() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep, n: int) -> int:
        await step.run_mutation(lab.write, what=n)
        await step.sleep(1)
        if n < 3:
            step.continue_as_new(n=n + 1)
        return n

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow, n=0)
        await t.finish_scheduled()
        assert ((await status(t, lab, id)).result, await done(t)) == (3, [0, 1, 2, 3])
        assert [step.name for step in await steps(t, lab, id)] == ["write", "sleep"]


async def test_runs_are_found_by_name_state_and_key() -> None:
    lab = Lab()

    @lab.define
    async def one(step: WorkflowStep) -> None: ...

    @lab.define
    async def other(step: WorkflowStep) -> None:
        await step.await_event("e")

    async with Bench(lab.component) as t:
        a = await start(t, lab, one, options={"key": "order-1"})
        assert await start(t, lab, one, options={"key": "order-1"}) == a
        b = await start(t, lab, other, options={"key": "order-2"})
        c = await start(t, lab, other)

        async def listed(**how: Any) -> list[str]:
            return [run.id for run in (await do(t, lambda ctx: lab.workflows.list(ctx, **how))).page]

        assert await listed() == [a, b, c]
        assert await listed(order="desc") == [c, b, a]
        assert await listed(name=other) == [b, c]
        assert await listed(state="completed") == [a]
        assert await listed(name=other, state="completed") == []
        assert await listed(key_prefix="order-") == [a, b]
        assert await listed(key_prefix="order-", state="in_progress") == [b]
        assert await do(t, lambda ctx: lab.workflows.find(ctx, "order-2")) == b
        await do(t, lambda ctx: lab.workflows.cleanup(ctx, a))
        assert await do(t, lambda ctx: lab.workflows.find(ctx, "order-1")) is None


async def test_runs_are_removed_when_they_were_kept_long_enough() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> None: ...

    async with Bench(lab.component) as t:
        brief = await start(t, lab, flow, options={"keep_for": HOUR})
        kept = await start(t, lab, flow)
        await t.advance(HOUR / 2)
        assert (await status(t, lab, brief)).type == "completed"
        await t.advance(2 * HOUR)
        with pytest.raises(WorkflowNotFound):
            await status(t, lab, brief)
        assert (await status(t, lab, kept)).type == "completed"


@pytest.mark.parametrize("count", [0, 100, 700])
async def test_cleaning_up_leaves_nothing(count: int) -> None:
    lab = Lab()

    @lab.define
    async def child(step: WorkflowStep) -> None:
        await step.await_event("never")

    @lab.define
    async def flow(step: WorkflowStep) -> None:
        for n in range(count):
            await step.with_options(inline=n % 10 != 0 or None).run_query(lab.count)
        await asyncio.gather(step.run_workflow(child), step.await_event("e"), step.sleep(5))

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        await do(t, lambda ctx: lab.workflows.send_event(ctx, "unasked", workflow_id=id))
        assert await do(t, lambda ctx: lab.workflows.cleanup(ctx, id)) is False
        assert await do(t, lambda ctx: lab.workflows.cleanup(ctx, id, force=True)) is True
        assert await do(t, lambda ctx: lab.workflows.cleanup(ctx, id)) is False
        await t.finish_scheduled()
        for table in ("workflows", "steps", "pages", "texts", "events", "keys", "expiries"):
            assert await t.component("workflow").run(lambda ctx, table=table: ctx.db.query(table).collect()) == []
        with pytest.raises(WorkflowNotFound):
            await do(t, lambda ctx: lab.workflows.cleanup(ctx, "nonsense"))
