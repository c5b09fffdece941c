"""What workflows wait for: times and events, and what stays the same while they do."""

from __future__ import annotations

from typing import Any

import pytest

from interlock import MutationCtx, ValueRefused
from interlock.testing import TestBackend
from interlock_workflow import (
    DAY,
    HOUR,
    Event,
    EventAlreadySent,
    StepFailed,
    StepTimeout,
    WorkflowNotFound,
    WorkflowStep,
)

from .lab import Bench, Lab, do, done, start, status, steps

pytestmark = pytest.mark.usefixtures("isolation")


# times


async def test_a_sleep_lasts_for_days_and_keeps_nothing_running() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> list[float]:
        begun = step.now()
        await step.sleep(3 * DAY)
        await step.with_options(run_after=HOUR).run_mutation(lab.write, what="late")
        await step.with_options(run_after=HOUR).run_action(lab.act, name="later")
        return [(step.now() - begun) / 1000]

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        assert [step.kind for step in (await status(t, lab, id)).running] == ["sleep"]
        await t.advance(3 * DAY - 1)
        assert (await steps(t, lab, id))[0].state == "running"
        await t.advance(1)
        assert ((await steps(t, lab, id))[0].state, await done(t)) == ("success", [])
        await t.advance(HOUR)
        assert await done(t) == ["late"]
        await t.advance(HOUR)
        assert (await status(t, lab, id)).result == [3 * DAY + 2 * HOUR]


async def test_a_run_may_begin_later() -> None:
    lab = Lab()

    @lab.define
    async def child(step: WorkflowStep) -> None:
        await step.run_mutation(lab.write, what="child")

    @lab.define
    async def flow(step: WorkflowStep) -> None:
        await step.run_mutation(lab.write, what="flow")
        await step.with_options(run_after=60).run_workflow(child)

    async with Bench(lab.component) as t:
        await start(t, lab, flow, options={"run_after": HOUR})
        assert await done(t) == []
        await t.advance(HOUR)
        assert await done(t) == ["flow"]
        await t.advance(60)
        assert await done(t) == ["flow", "child"]


async def test_time_chance_and_logs_are_the_same_in_every_replay() -> None:
    lab = Lab()
    seen: list[list[Any]] = []

    @lab.define
    async def flow(step: WorkflowStep) -> None:
        facts: list[Any] = [step.now(), step.random.random(), str(step.uuid4()), step.workflow_id]
        step.log.info("begun")
        for _ in range(3):
            await step.sleep(10)
            facts += [step.now(), step.random.random()]
        step.log.info("ended")
        seen.append(facts)

    async with Bench(lab.component) as t:
        begun = t.now()
        id = await start(t, lab, flow)
        await t.advance(60)
        await do(t, lambda ctx: lab.workflows.restart(ctx, id))
        await t.finish_in_progress()
        assert [len(facts) for facts in seen] == [10, 10]
        assert seen[0][0] == begun and seen[0][4::2] == [begun + 10_000, begun + 20_000, begun + 30_000]
        assert seen[1].pop(8) == begun + 60_000  # what comes after the record is new
        assert seen[0].pop(8) and seen[0] == seen[1]


# events


async def test_events_are_taken_once_in_the_order_in_which_they_were_sent() -> None:
    lab = Lab()
    number = Event("number", int)

    @lab.define
    async def flow(step: WorkflowStep) -> list[Any]:
        return [await step.await_event(number), await step.await_event("number"), await step.await_event("other")]

    async def send(t: TestBackend, id: str, name: Any, value: Any = None) -> Any:
        return await do(t, lambda ctx: lab.workflows.send_event(ctx, name, workflow_id=id, value=value))

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        assert [step.name for step in (await status(t, lab, id)).running] == ["number"]
        with pytest.raises(ValueRefused):
            await send(t, id, number, "one")
        assert await send(t, id, number, 1)
        assert await send(t, id, "other")
        assert await send(t, id, number, 2)
        assert await send(t, id, number, 3)  # nobody will ever wait for it
        await t.finish_in_progress()
        assert (await status(t, lab, id)).result == [1, 2, None]
        assert await send(t, id, number, 4) is False
        with pytest.raises(WorkflowNotFound):
            await send(t, "nobody", number, 4)
        assert await do(t, lambda ctx: lab.workflows.cleanup(ctx, id))
        assert await t.component("workflow").run(lambda ctx: ctx.db.query("events").collect()) == []


async def test_a_step_may_have_another_name_than_what_it_waits_for() -> None:
    lab = Lab()

    @lab.define
    async def child(step: WorkflowStep) -> str:
        return "grown up"

    @lab.define
    async def flow(step: WorkflowStep) -> list[str]:
        named = step.with_options(name="other")
        return [await named.await_event("e", timeout=60), await named.await_event("e"), await named.run_workflow(child)]

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        assert [step.name for step in (await status(t, lab, id)).running] == ["other"]
        for value in ("waited for", "there already"):
            assert await do(t, lambda ctx, value=value: lab.workflows.send_event(ctx, "e", workflow_id=id, value=value))
        await t.finish_in_progress()
        assert (await status(t, lab, id)).result == ["waited for", "there already", "grown up"]
        children = await do(t, lambda ctx: lab.workflows.list(ctx, name="child"))
        assert [found.parent for found in children.page] == [id]


async def test_an_event_may_carry_an_error_be_refused_or_never_come() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> list[str]:
        told = []
        for wait in (
            lambda: step.await_event("a"),
            lambda: step.await_event("b", validator=int),
            lambda: step.await_event("c", timeout=30),
        ):
            try:
                await wait()
            except StepTimeout:
                told.append("timeout")
            except StepFailed as error:
                told.append(f"{error.type}: {error.message}")
        return told

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        await do(t, lambda ctx: lab.workflows.send_event(ctx, "a", workflow_id=id, error="refused"))
        await do(t, lambda ctx: lab.workflows.send_event(ctx, "b", workflow_id=id, value="text"))
        await t.finish_in_progress()
        assert (await status(t, lab, id)).type == "in_progress"
        await t.advance(30)
        first, second, third = (await status(t, lab, id)).result
        assert (first, third) == ("Event: refused", "timeout")
        assert second.startswith("ValueRefused: event b:")


async def test_an_event_of_its_own_is_sent_by_its_id_once() -> None:
    lab = Lab()

    @lab.component.mutation
    async def invite(ctx: MutationCtx, workflow: str) -> str:
        return await lab.workflows.create_event(ctx, "invited", workflow)

    @lab.define
    async def flow(step: WorkflowStep) -> list[Any]:
        first, second = [await step.run_mutation(invite, workflow=step.workflow_id) for _ in range(2)]
        await step.run_mutation(lab.write, what=[first, second])
        return [await step.await_event(id=first), await step.await_event(id=second)]

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        [[first, second]] = await done(t)
        for event, value in ((second, 2), (first, 1)):
            assert await do(t, lambda ctx, event=event, value=value: lab.workflows.send_event(ctx, id=event, value=value))
        with pytest.raises(EventAlreadySent):
            await do(t, lambda ctx: lab.workflows.send_event(ctx, id=first))
        await t.finish_in_progress()
        assert (await status(t, lab, id)).result == [1, 2]
