"""What workflows do: steps of every kind, in order and together, what they give back, how they end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from interlock import ActionCtx, AppError, ArgumentError, FunctionNotFound, MutationCtx, ValueRefused, reference
from interlock.testing import TestBackend
from interlock_workflow import (
    DAY,
    HOUR,
    Event,
    EventAlreadySent,
    Retry,
    StepCanceled,
    StepFailed,
    StepTimeout,
    WorkflowEnded,
    WorkflowNotFound,
    WorkflowStep,
)

from .lab import Bench, Lab, OutOfStock, callbacks, do, done, start, status, steps, until

pytestmark = pytest.mark.usefixtures("isolation")


async def test_steps_run_one_after_another_and_are_recorded() -> None:
    lab = Lab()

    @lab.define
    async def order(step: WorkflowStep, item: str, count: int = 2) -> dict[str, Any]:
        first = await step.run_mutation(lab.write, what=item)
        seen = await step.run_query(lab.count)
        told = await step.run_action(lab.act, name=item)
        last = await step.run_mutation(lab.write, what=f"{item} again")
        return {"first": first, "seen": seen, "told": told, "last": last, "count": count}

    async with Bench(lab.component) as t:
        id = await start(t, lab, order, item="tea", options={"on_complete": lab.ended, "context": [1]})
        found = await status(t, lab, id)
        assert (found.type, found.name, found.steps, found.version) == ("completed", "order", 4, 1)
        assert found.result == {"first": 1, "seen": 1, "told": "did tea", "last": 2, "count": 2}
        assert found.args == {"item": "tea"}
        recorded = await steps(t, lab, id)
        assert [(step.number, step.key, step.kind, step.state) for step in recorded] == [
            (0, "write", "mutation", "success"),
            (1, "count", "query", "success"),
            (2, "act", "action", "success"),
            (3, "write#2", "mutation", "success"),
        ]
        assert recorded[2].args == {"name": "tea"} and recorded[2].result == "did tea"
        assert await callbacks(t) == [("success", [1])]
        assert lab.log == ["tea"]


async def test_steps_of_queries_and_mutations_share_a_transaction_unless_they_ask_for_their_own() -> None:
    lab = Lab()

    @lab.define
    async def many(step: WorkflowStep, inline: bool | None = None) -> int:
        mine = step.with_options(inline=inline)
        for n in range(5):
            await mine.run_mutation(lab.write, what=n)
        result: int = await mine.run_query(lab.count)
        return result

    async with Bench(lab.component) as t:
        id = await do(t, lambda ctx: lab.workflows.start(ctx, many, {}))
        ran = [job.name for job in await t.finish_in_progress()]
        assert ran.count("workflow/turn") <= 1 and (await status(t, lab, id)).result == 5
        id = await do(t, lambda ctx: lab.workflows.start(ctx, many, {"inline": False}))
        await t.finish_in_progress()
        assert (await status(t, lab, id)).result == 10
        assert [step.kind for step in await steps(t, lab, id)] == ["mutation"] * 5 + ["query"]


async def test_a_start_is_undone_with_its_transaction_and_nothing_of_the_run_happens_before_it_stands() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> int:
        result: int = await step.run_query(lab.count)
        return result

    async def undone(ctx: MutationCtx) -> None:
        await lab.workflows.start(ctx, flow, {})
        raise AppError("undo")

    async def then_write(ctx: MutationCtx) -> str:
        id = await lab.workflows.start(ctx, flow, {})
        await ctx.db.insert("done", {"what": "after the start"})
        return id

    async with Bench(lab.component) as t:
        with pytest.raises(AppError):
            await t.run(undone)
        await t.finish_scheduled()
        assert (await do(t, lambda ctx: lab.workflows.list(ctx))).page == []
        id = await t.run(then_write)
        await t.finish_in_progress()
        assert (await status(t, lab, id)).result == 1


async def test_what_is_wrong_is_raised_by_the_start() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep, count: int) -> None:
        await step.run_action("no_such_function", count=count)

    async with Bench(lab.component) as t:
        with pytest.raises(ArgumentError, match="flow: argument count must be int"):
            await do(t, lambda ctx: lab.workflows.start(ctx, flow, {"count": "many"}))
        with pytest.raises(ArgumentError):
            await do(t, lambda ctx: lab.workflows.start(ctx, flow, {"count": 1, "more": 2}))
        with pytest.raises(FunctionNotFound):
            await do(t, lambda ctx: lab.workflows.start(ctx, flow, {"count": 1}))
        assert (await do(t, lambda ctx: lab.workflows.list(ctx))).page == []
        id = await start(t, lab, flow, count="many", options={"start_async": True})
        found = await status(t, lab, id)
        assert found.type == "failed" and found.error is not None and found.error["type"] == "ArgumentError"
        id = await start(t, lab, flow, count=1, options={"start_async": True})
        assert "no_such_function" in ((await status(t, lab, id)).error or {})["message"]


async def test_a_workflow_can_be_started_by_calling_it_and_by_name() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep, what: str) -> None:
        await step.run_mutation(lab.write, what=what)

    async with Bench(lab.component) as t:
        id = await t.mutation("flow", args={"what": "called"})
        await do(t, lambda ctx: lab.workflows.start(ctx, "flow", {"what": "named"}))
        await t.finish_in_progress()
        assert sorted(await done(t)) == ["called", "named"]
        assert (await status(t, lab, id)).type == "completed"


# failures


async def test_an_error_of_a_step_is_raised_where_it_was_awaited_with_its_class_and_data() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> list[Any]:
        caught: list[Any] = []
        for inline in (None, False):
            try:
                await step.with_options(inline=inline).run_mutation(lab.write, what="milk", fail=True)
            except AppError as error:
                caught.append([isinstance(error, OutOfStock), error.data])
        try:
            await step.run_action(lab.act, name="a")
        except StepFailed as error:
            caught.append([error.step, error.message, error.data["code"]])
        await step.run_mutation(lab.write, what="instead")
        return caught

    lab.failures["a"] = 1
    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        data = {"left": 0, "message": "no milk"}
        assert (await status(t, lab, id)).result == [[True, data], [False, data], ["act", "a failed", "NOT_NOW"]]
        assert await done(t) == ["instead"]
        assert [step.state for step in await steps(t, lab, id)] == ["failed", "failed", "failed", "success"]


async def test_a_workflow_that_raises_has_failed_and_its_callback_is_told_once() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> None:
        await step.run_mutation(lab.write, what="kept")
        raise OutOfStock({"message": "really none"})

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow, options={"on_complete": lab.ended})
        found = await status(t, lab, id)
        assert found.type == "failed"
        assert found.error is not None
        assert (found.error["type"], found.error["message"]) == ("OutOfStock", "really none")
        assert "in flow" in found.error["traceback"]
        assert (await callbacks(t), await done(t)) == ([("failed", None)], ["kept"])


async def test_an_error_that_no_document_can_hold_is_told_all_the_same() -> None:
    lab = Lab()
    text = "no file \udcff"

    @lab.component.mutation
    async def fail(ctx: MutationCtx, how: str = "text", **told: Any) -> None:
        raise AppError({"message": text, "what": lab}) if how == "data" else ValueError(text)

    @lab.component.action
    async def fail_later(ctx: ActionCtx) -> None:
        raise ValueError(text)

    @lab.define
    async def flow(step: WorkflowStep) -> list[str]:
        caught = []
        for call in (step.run_mutation(fail, how="text"), step.run_mutation(fail, how="data"), step.run_action(fail_later)):
            try:
                await call
            except StepFailed as error:
                caught.append(error.message)
        await step.run_mutation(lab.write, what=caught)
        raise ValueError(text)

    async with Bench(lab.component) as t:
        found = await status(t, lab, await start(t, lab, flow, options={"on_complete": fail}))
        assert found.error is not None and found.error["message"] == "no file \\udcff"
        assert found.on_complete_error == "ValueError: no file \\udcff"
        assert await done(t) == [["no file \\udcff"] * 3]


async def test_a_result_that_does_not_fit_its_annotation_is_a_failure() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> int:
        await step.run_mutation(lab.write, what=1)
        return "text"  # type: ignore[return-value]

    async with Bench(lab.component) as t:
        found = await status(t, lab, await start(t, lab, flow))
        assert found.error is not None and found.error["message"].startswith("Invalid return value")
        assert await done(t) == [1]


async def test_a_callback_that_raises_is_undone_and_the_end_stands() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> int:
        return 7

    async with Bench(lab.component) as t:
        found = await status(t, lab, await start(t, lab, flow, options={"on_complete": lab.ended, "context": "raise"}))
        assert (found.type, found.result, found.on_complete_error) == ("completed", 7, "AppError: callback failed")
        assert await callbacks(t) == []
        id = await start(t, lab, flow, options={"on_complete": lab.ended, "context": "clean"})
        with pytest.raises(WorkflowNotFound):
            await status(t, lab, id)


@pytest.mark.parametrize("by", ["step", "workflow", "manager"])
async def test_actions_are_retried_as_the_step_the_workflow_or_the_manager_says(by: str) -> None:
    policy = Retry(max_attempts=3, initial_backoff=1, jitter=0)
    lab = Lab(**({"retry_actions_by_default": True, "default_retry": policy} if by == "manager" else {}))

    @lab.define(**({"retry": policy} if by == "workflow" else {}))
    async def flow(step: WorkflowStep) -> str:
        retrying = step.with_options(retry=policy) if by == "step" else step
        try:
            await step.with_options(retry=False).run_action(lab.act, name="once")
        except StepFailed:
            pass
        result: str = await retrying.run_action(lab.act, name="often")
        return result

    lab.failures.update(once=1, often=2)
    async with Bench(lab.component) as t:
        id = await do(t, lambda ctx: lab.workflows.start(ctx, flow, {}))
        await t.finish_scheduled()
        assert (await status(t, lab, id)).result == "did often"
        assert lab.log == ["once", "often", "often", "often"]


# together


async def test_steps_that_are_gathered_run_together_and_come_back_in_order() -> None:
    lab = Lab(max_parallelism=3)

    @lab.define
    async def flow(step: WorkflowStep, n: int) -> list[str]:
        return list(await asyncio.gather(*[step.run_action(lab.act, name=str(i), gate=True) for i in range(n)]))

    async with Bench(lab.component) as t:
        id = await do(t, lambda ctx: lab.workflows.start(ctx, flow, {"n": 14}))
        await until(lambda: lab.running == 3)
        assert len((await status(t, lab, id)).running) == 14
        assert lab.most_running == 3
        for i in range(14):
            lab.gates.setdefault(str(i), asyncio.Event()).set()
        await t.finish_in_progress()
        assert (await status(t, lab, id)).result == [f"did {i}" for i in range(14)]
        assert (lab.most_running, len(lab.log)) == (3, 14)


async def test_task_groups_locks_and_races_work_and_no_code_runs_while_a_step_is_in_progress() -> None:
    lab = Lab()
    seen: list[int] = []

    @lab.define
    async def flow(step: WorkflowStep) -> list[Any]:
        lock, order = asyncio.Lock(), []

        async def branch(name: str) -> None:
            async with lock:
                order.append(await step.run_action(lab.act, name=name))

        async with asyncio.TaskGroup() as group:
            for name in "ab":
                group.create_task(branch(name))
        finished, left = await asyncio.wait(
            [asyncio.ensure_future(step.sleep(5)), asyncio.ensure_future(step.run_action(lab.act, name="fast"))],
            return_when=asyncio.FIRST_COMPLETED,
        )
        seen.append(lab.running)
        order.append([task.result() for task in finished])
        async for task in _completed([step.run_mutation(lab.write, what=1), step.run_query(lab.count)]):
            order.append(task)
        return [*order, len(left)]

    async def _completed(calls: list[Any]) -> Any:
        for future in asyncio.as_completed(calls):
            yield await future

    async with Bench(lab.component) as t:
        id = await do(t, lambda ctx: lab.workflows.start(ctx, flow, {}))
        await t.finish_scheduled()
        found = await status(t, lab, id)
        assert found.type == "completed", found.error
        assert sorted(map(str, found.result)) == sorted(map(str, ["did a", "did b", [None, "did fast"], 1, 1, 0])) or found.result[:2] == [
            "did a",
            "did b",
        ]
        assert set(seen) == {0}


async def test_of_gathered_steps_the_failure_is_raised_and_the_others_are_done_all_the_same() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> None:
        await asyncio.gather(step.run_action(lab.act, name="bad"), step.run_action(lab.act, name="good"))

    lab.failures["bad"] = 1
    async with Bench(lab.component) as t:
        found = await status(t, lab, await start(t, lab, flow))
        assert found.error is not None
        assert (found.type, found.error["message"], sorted(lab.log)) == ("failed", "bad failed", ["bad", "good"])


async def test_a_step_that_is_never_awaited_is_done_before_the_end_and_its_failure_counts() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep, fail: bool) -> str:
        step.run_mutation(lab.write, what="forgotten", fail=fail)
        step.run_action(lab.act, name="forgotten too")
        return "done"

    async with Bench(lab.component) as t:
        good, bad = await start(t, lab, flow, fail=False), await start(t, lab, flow, fail=True)
        assert ((await status(t, lab, good)).result, (await status(t, lab, bad)).type) == ("done", "failed")
        assert (await done(t), len(lab.log)) == (["forgotten"], 2)


async def test_more_steps_than_fit_into_one_transaction_take_several() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> int:
        for n in range(250):
            await step.run_mutation(lab.write, what=n)
        results = await asyncio.gather(*[step.run_action(lab.act, name=str(n)) for n in range(230)])
        return len(results)

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        assert ((await status(t, lab, id)).result, await done(t)) == (230, list(range(250)))
        assert sorted(map(int, lab.log)) == list(range(230))
        page = await do(t, lambda ctx: lab.workflows.list_steps(ctx, id, order="desc"))
        assert [step.number for step in page.page] == list(range(479, 379, -1))


async def test_a_step_that_is_too_large_for_a_shared_transaction_gets_one_of_its_own() -> None:
    lab = Lab()
    limits_met: list[int] = []

    @lab.component.mutation
    async def large(ctx: MutationCtx, rows: int) -> int:
        for n in range(rows):
            await ctx.db.insert("done", {"what": n})
        limits_met.append(rows)
        return rows

    @lab.define
    async def flow(step: WorkflowStep) -> list[int]:
        return [await step.run_mutation(large, rows=7_000) for _ in range(2)] + [await step.run_mutation(large, rows=13_000)]

    async with Bench(lab.component) as t:
        found = await status(t, lab, await start(t, lab, flow))
        assert (found.type, found.result) == ("completed", [7_000, 7_000, 13_000])
        assert await t.run(lambda ctx: ctx.db.query("done").count()) == 27_000


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


# runs within runs


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


# large ones, long ones, many


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
