"""What workflows do: steps of every kind, in order and together, what they give back, how they end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from interlock import ActionCtx, AppError, ArgumentError, FunctionNotFound, MutationCtx
from interlock_workflow import (
    Retry,
    StepFailed,
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
