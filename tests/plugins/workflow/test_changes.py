"""Code that changes while runs are in flight, runs that are begun again from a step, and replays of recorded runs."""

from __future__ import annotations

import asyncio
import importlib
import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from interlock import AppError
from interlock.testing import TestBackend
from interlock_workflow import ChangedPast, NotAStep, Retry, StepFailed, UnknownStep, WorkflowRunning, WorkflowStep
from interlock_workflow.determinism import names_its_steps
from interlock_workflow.testing import replay

from .lab import Bench, Lab, OutOfStock, callbacks, do, done, start, status, steps

pytestmark = pytest.mark.usefixtures("isolation")


class Changing:
    """A workflow whose code is what `code` says now."""

    def __init__(self, lab: Lab, **options: Any) -> None:
        self.code: Callable[[WorkflowStep], Any] | None = None

        @lab.define(**options)
        async def flow(step: WorkflowStep) -> Any:
            assert self.code is not None
            return await self.code(step)

        self.flow = flow


async def changed(before: Any, after: Any, lab: Lab) -> tuple[str, Any, list[Any]]:
    """What becomes of a run that waits in a sleep under the code `before`, and goes on under `after`."""
    changing = Changing(lab)
    changing.code = before
    async with Bench(lab.component) as t:
        id = await start(t, lab, changing.flow)
        assert (await status(t, lab, id)).type == "in_progress"
        changing.code = after
        await t.finish_scheduled()
        found = await status(t, lab, id)
        return found.type, found.result if found.error is None else found.error["message"], await done(t)


async def test_code_that_is_still_to_come_may_change_and_steps_may_be_put_in_anywhere() -> None:
    lab = Lab()

    async def before(step: WorkflowStep) -> None:
        await step.run_mutation(lab.write, what="a")
        await step.sleep(10)
        await step.run_mutation(lab.write, what="b")

    async def after(step: WorkflowStep) -> str:
        await step.with_options(name="new").run_mutation(lab.write, what="put in")
        await step.run_mutation(lab.write, what="a")
        await step.sleep(10)
        await step.run_action(lab.act, name="c")
        return "new code"

    assert await changed(before, after, lab) == ("completed", "new code", ["a", "put in"])


async def test_the_order_of_recorded_steps_may_change() -> None:
    lab = Lab()

    async def before(step: WorkflowStep) -> None:
        await step.with_options(name="one").run_mutation(lab.write, what=1)
        await step.with_options(name="two").run_mutation(lab.write, what=2)
        await step.sleep(10)

    async def after(step: WorkflowStep) -> str:
        await step.with_options(name="two").run_mutation(lab.write, what=2)
        await step.with_options(name="one").run_mutation(lab.write, what=1)
        await step.sleep(10)
        return "still"

    assert await changed(before, after, lab) == ("completed", "still", [1, 2])


PASTS = {
    "a step is gone": ('step "write" (number 0)', lambda lab, step: _none()),
    "a step has another name": (
        'step "write" (number 0)',
        lambda lab, step: step.with_options(name="other").run_mutation(lab.write, what=1),
    ),
    "an action is put in before": ('step "write" (number 0)', lambda lab, step: step.run_action(lab.act, name="new")),
    "a step has other arguments": ('step "write" has other arguments', lambda lab, step: step.run_mutation(lab.write, what=2)),
    "a step is of another kind": (
        'step "write" was a mutation when this run did it, and is a query now',
        lambda lab, step: step.with_options(name="write").run_query(lab.count),
    ),
}


async def _none() -> None: ...


@pytest.mark.parametrize("name", PASTS)
async def test_a_changed_past_is_found_named_and_leaves_nothing(name: str) -> None:
    lab = Lab()
    told, first = PASTS[name]

    async def before(step: WorkflowStep) -> None:
        await step.run_mutation(lab.write, what=1)
        await step.sleep(10)

    async def after(step: WorkflowStep) -> None:
        await first(lab, step)
        await step.sleep(10)

    state, message, written = await changed(before, after, lab)
    assert (state, written, lab.log) == ("failed", [1], [])
    assert told in message and "step.patched" in message


async def test_a_sleep_of_another_length_is_a_changed_past_and_unstable_arguments_are_none() -> None:
    lab = Lab()

    def code(seconds: float, what: int, unstable: bool) -> Any:
        async def flow(step: WorkflowStep) -> str:
            await step.with_options(unstable_args=unstable).run_mutation(lab.write, what=what)
            await step.sleep(seconds)
            return "done"

        return flow

    state, message, _ = await changed(code(10, 1, True), code(11, 1, True), lab)
    assert state == "failed" and 'step "sleep" has other arguments' in message
    lab = Lab()
    assert (await changed(code(10, 1, True), code(10, 2, True), lab))[:2] == ("completed", "done")


async def test_a_run_that_failed_over_a_changed_past_goes_on_when_the_code_is_right_again() -> None:
    lab = Lab()
    changing = Changing(lab)

    async def right(step: WorkflowStep) -> str:
        await step.run_mutation(lab.write, what=1)
        await step.sleep(10)
        return "done"

    async def wrong(step: WorkflowStep) -> None: ...

    changing.code = right
    async with Bench(lab.component) as t:
        id = await start(t, lab, changing.flow)
        changing.code = wrong
        await t.advance(10)
        error = (await status(t, lab, id)).error
        assert error is not None and error["type"] == "ChangedPast"
        changing.code = right
        await do(t, lambda ctx: lab.workflows.restart(ctx, id))
        await t.finish_in_progress()
        assert ((await status(t, lab, id)).result, await done(t)) == ("done", [1])


async def test_what_is_patched_takes_the_new_way_only_where_the_run_has_not_been() -> None:
    lab = Lab()
    changing = Changing(lab)

    async def before(step: WorkflowStep) -> None:
        await step.run_mutation(lab.write, what=1)
        await step.sleep(10)

    async def after(step: WorkflowStep) -> list[bool]:
        early = step.patched("early")
        if early:
            await step.run_action(lab.act, name="early")
        await step.run_mutation(lab.write, what=1)
        await step.sleep(10)
        late = step.patched("late")
        if late:
            await step.run_action(lab.act, name="late")
        await step.sleep(5)
        return [early, late]

    changing.code = before
    async with Bench(lab.component) as t:
        old = await start(t, lab, changing.flow)
        changing.code = after
        new = await start(t, lab, changing.flow)
        await t.finish_scheduled()
        assert (await status(t, lab, old)).result == [False, True]
        assert (await status(t, lab, new)).result == [True, True]
        assert sorted(lab.log) == ["early", "late", "late"]


async def test_runs_stay_with_the_version_that_they_began_with() -> None:
    lab = Lab()

    async def first(step: WorkflowStep) -> str:
        await step.run_mutation(lab.write, what="first")
        await step.sleep(10)
        return "first"

    async def second(step: WorkflowStep) -> str:
        await step.sleep(20)
        return "second"

    @lab.define(version=1)
    async def flow(step: WorkflowStep) -> str:
        return await first(step)

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        history = await do(t, lambda ctx: lab.workflows.history(ctx, id))
        later = Lab()
        both = later.define(version=2, earlier={1: first}, name="flow")(second)
        gone = Lab().define(version=2, name="flow")(second)
        assert replay(both, history).asks == () and replay(both, history).status == "blocked"
        with pytest.raises(ChangedPast):
            replay(both, history, version=2)
        with pytest.raises(Exception, match="this run began with 1"):
            replay(gone, history)
        flow.workflow.versions, flow.workflow.version = both.workflow.versions, 2  # as a deploy would
        new = await start(t, lab, flow)
        await t.finish_scheduled()
        assert [(await status(t, lab, one)).result for one in (id, new)] == ["first", "second"]
        assert [(await status(t, lab, one)).version for one in (id, new)] == [1, 2]


# from a step on


async def three(lab: Lab, t: TestBackend, flow: Any) -> str:
    id = await start(t, lab, flow, options={"on_complete": lab.ended})
    assert [step.name for step in await steps(t, lab, id)] == ["fetch", "process", "save"]
    return id


def pipeline(lab: Lab) -> Any:
    @lab.define
    async def flow(step: WorkflowStep) -> str:
        for name in ("fetch", "process", "save"):
            await step.with_options(name=name).run_mutation(lab.write, what=name)
        raise OutOfStock("at last")

    return flow


@pytest.mark.parametrize(
    ("from_step", "again"),
    [(None, []), (1, ["process", "save"]), ("process", ["process", "save"]), (0, ["fetch", "process", "save"]), (99, [])],
)
async def test_a_run_is_restarted_from_any_step(from_step: Any, again: list[str]) -> None:
    lab = Lab()
    flow = pipeline(lab)
    async with Bench(lab.component) as t:
        id = await three(lab, t, flow)
        await do(t, lambda ctx: lab.workflows.restart(ctx, id, from_step=from_step))
        await t.finish_in_progress()
        assert await done(t) == ["fetch", "process", "save", *again]
        found = await status(t, lab, id)
        assert (found.type, found.generation, found.steps) == ("failed", 1, 3)
        assert [kind for kind, _ in await callbacks(t)] == ["failed", "failed"]


@pytest.mark.parametrize("from_step", [None, 0])
async def test_a_run_that_began_anew_is_restarted_and_forked_from_there(from_step: int | None) -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep, left: int, text: str) -> int:
        if left:
            await step.run_mutation(lab.write, what="before")
            step.continue_as_new(left=left - 1, text=text[:-1000])
        try:
            await step.run_action(lab.act, name="a")
        finally:
            await step.run_mutation(lab.write, what="after")
        await step.run_action(lab.act, name="b")
        return len(text)

    lab.failures["a"] = 1
    async with Bench(lab.component) as t:
        id = await start(t, lab, flow, left=2, text="x" * 30_000)
        assert (await status(t, lab, id)).type == "failed"
        await do(t, lambda ctx: lab.workflows.restart(ctx, id, from_step="act" if from_step is None else from_step))
        await t.finish_in_progress()
        assert (await status(t, lab, id)).result == 28_000
        fork = await do(t, lambda ctx: lab.workflows.fork(ctx, id, from_step=from_step))
        await t.finish_in_progress()
        assert (await status(t, lab, fork)).result == 28_000
        assert await done(t) == ["before"] * 2 + ["after"] * (2 if from_step is None else 3)
        assert lab.log == ["a", "a", "b"] if from_step is None else ["a", "a", "b", "a", "b"]


async def test_a_run_that_fails_before_its_first_step_since_it_began_anew_can_be_restarted() -> None:
    lab = Lab()
    fails = [True]

    @lab.define
    async def flow(step: WorkflowStep, left: int = 1) -> str:
        if left:
            await step.run_mutation(lab.write, what="before")
            step.continue_as_new(left=0)
        if fails[0]:
            raise AppError("not yet")
        await step.run_mutation(lab.write, what="after")
        await step.run_action(lab.act, name="a")
        return "done"

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        fails[0] = False
        await do(t, lambda ctx: lab.workflows.restart(ctx, id))
        await t.finish_in_progress()
        assert (await status(t, lab, id)).result == "done"
        assert await done(t) == ["before", "after"]


async def test_a_long_result_is_replaced_by_that_of_a_restart() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> str:
        return "x" * (9_000 + await step.run_mutation(lab.write, what=1))

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        for length in (9_002, 9_003):
            await do(t, lambda ctx: lab.workflows.restart(ctx, id, from_step=0))
            await t.finish_in_progress()
            assert (await status(t, lab, id)).result == "x" * length
        await do(t, lambda ctx: lab.workflows.cleanup(ctx, id))
        await t.finish_in_progress()
        assert await t.component("workflow").run(lambda ctx: ctx.db.query("texts").collect()) == []


@pytest.mark.parametrize(("from_step", "again"), [(None, []), (1, ["process", "save"]), ("save", ["save"])])
async def test_a_fork_does_again_what_comes_after_the_step_and_leaves_the_old_run_alone(from_step: Any, again: list[str]) -> None:
    lab = Lab()
    flow = pipeline(lab)
    async with Bench(lab.component) as t:
        id = await three(lab, t, flow)
        new = await do(t, lambda ctx: lab.workflows.fork(ctx, id, from_step=from_step))
        await t.finish_in_progress()
        assert await done(t) == ["fetch", "process", "save", *again]
        assert [step.name for step in await steps(t, lab, new)] == ["fetch", "process", "save"]
        assert ((await status(t, lab, id)).generation, (await status(t, lab, new)).type) == (0, "failed")


async def test_a_restart_takes_events_and_children_of_what_is_done_again_along() -> None:
    lab = Lab()

    @lab.define
    async def child(step: WorkflowStep) -> str:
        return f"child {step.workflow_id}"

    @lab.define
    async def flow(step: WorkflowStep) -> list[Any]:
        return [await step.await_event("go"), await step.run_workflow(child)]

    async def rows(table: str) -> int:
        return len(await t.component("workflow").run(lambda ctx: ctx.db.query(table).collect()))

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        for value, from_step in (("first", None), ("second", 0)):
            if from_step is not None:
                await do(t, lambda ctx: lab.workflows.restart(ctx, id, from_step=0))
                await t.finish_in_progress()
                assert [step.name for step in (await status(t, lab, id)).running] == ["go"]  # the old event is not taken again
                assert (await rows("events"), await rows("workflows")) == (0, 1)  # both of the old run are gone
            await do(t, lambda ctx, value=value: lab.workflows.send_event(ctx, "go", workflow_id=id, value=value))
            await t.finish_in_progress()
            found = await status(t, lab, id)
            assert found.result[0] == value
        assert await rows("workflows") == 2


async def test_options_are_those_given_last_and_a_step_with_others_leaves_the_first_as_it_is() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> None:
        patient = step.with_options(name="patient", retry=Retry(max_attempts=2, initial_backoff=0, jitter=0), run_after=60)
        await patient.run_mutation(lab.write, what="a mutation takes no notice of the policy")
        await patient.with_options(name="hasty", run_at=datetime.fromtimestamp(0, UTC)).run_action(lab.act, name="a")
        try:
            await patient.with_options(name="once", retry=False).run_action(lab.act, name="b")
        except StepFailed as error:
            assert error.step == "once"
        await step.run_action(lab.act, name="c")

    lab.failures["a"] = lab.failures["b"] = 1
    async with Bench(lab.component) as t:
        began = t.now()
        id = await start(t, lab, flow)
        await t.finish_scheduled()
        assert (await status(t, lab, id)).type == "completed"
        assert lab.log == ["a", "a", "b", "c"]
        assert [(step.name, step.state) for step in await steps(t, lab, id)] == [
            ("patient", "success"),
            ("hasty", "success"),
            ("once", "failed"),
            ("act", "success"),
        ]
        assert 120 <= (t.now() - began) / 1000 < 180  # two of four were delayed by a minute


async def test_a_step_that_is_not_there_or_a_run_that_still_runs_is_refused() -> None:
    lab = Lab()
    flow = pipeline(lab)

    @lab.define
    async def waiting(step: WorkflowStep) -> None:
        await step.await_event("e")

    async with Bench(lab.component) as t:
        id, running = await three(lab, t, flow), await start(t, lab, waiting)
        for from_step in ("nothing", -1):
            with pytest.raises(UnknownStep):
                await do(t, lambda ctx, from_step=from_step: lab.workflows.restart(ctx, id, from_step=from_step))
        with pytest.raises(TypeError, match="number of a step, its name or its function"):
            await do(t, lambda ctx: lab.workflows.fork(ctx, id, from_step=1.5))
        with pytest.raises(WorkflowRunning, match="still running"):
            await do(t, lambda ctx: lab.workflows.restart(ctx, running))


async def test_a_recorded_failure_fails_again_until_the_run_is_restarted_from_it() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> str:
        result: str = await step.run_action(lab.act, name="a")
        return result

    lab.failures["a"] = 1
    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        await do(t, lambda ctx: lab.workflows.restart(ctx, id))
        await t.finish_in_progress()
        assert ((await status(t, lab, id)).type, lab.log) == ("failed", ["a"])
        await do(t, lambda ctx: lab.workflows.restart(ctx, id, from_step=lab.act))
        await t.finish_in_progress()
        assert ((await status(t, lab, id)).result, lab.log) == ("did a", ["a", "a"])


async def test_what_a_cancel_cut_off_is_done_again_by_a_restart() -> None:
    lab = Lab()

    @lab.define
    async def child(step: WorkflowStep) -> str:
        result: str = await step.await_event("go")
        return result

    @lab.define
    async def flow(step: WorkflowStep) -> list[Any]:
        await step.run_mutation(lab.write, what=1)
        return list(await asyncio.gather(step.sleep(10), step.await_event("e"), step.run_workflow(child)))

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        await do(t, lambda ctx: lab.workflows.cancel(ctx, id))
        assert [step.state for step in await steps(t, lab, id)] == ["success", "canceled", "canceled", "canceled"]
        await do(t, lambda ctx: lab.workflows.restart(ctx, id))
        await t.finish_in_progress()
        running = (await status(t, lab, id)).running
        assert [step.kind for step in running] == ["sleep", "event", "workflow"]
        await do(t, lambda ctx: lab.workflows.send_event(ctx, "e", workflow_id=id, value=7))
        await do(t, lambda ctx: lab.workflows.send_event(ctx, "go", workflow_id=running[2].child, value="went"))
        await t.finish_scheduled()
        assert ((await status(t, lab, id)).result, await done(t)) == ([None, 7, "went"], [1])


# what a workflow may not do


async def _sleeps() -> None:
    await asyncio.sleep(1)


async def _threads() -> None:
    await asyncio.get_running_loop().run_in_executor(None, int)


async def _waits_for_nobody() -> None:
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(
    ("helper", "told"),
    [(_sleeps, r"step\.sleep\(seconds\)"), (_threads, r"step\.run_action"), (_waits_for_nobody, "something that is no step")],
)
async def test_waiting_for_what_is_no_step_fails_and_says_what_to_write(helper: Any, told: str) -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> None:
        try:
            await helper()
        except NotAStep:
            pass

    async with Bench(lab.component) as t:
        found = await status(t, lab, await start(t, lab, flow))
        assert found.error is not None and found.error["type"] == "NotAStep"
        with pytest.raises(Exception, match=told):
            raise Exception(found.error["message"])


async def clock(step: WorkflowStep) -> float:
    return time.time()


async def dice(step: WorkflowStep) -> float:
    return next(random.random() for _ in range(2))


async def today(step: WorkflowStep) -> str:
    return str(datetime.now())


async def nap(step: WorkflowStep) -> None:
    await asyncio.sleep(1)


async def reads(step: WorkflowStep) -> str:
    with open("x") as file:  # noqa: ASYNC230, PTH123
        return file.read()


@pytest.mark.one_isolation("inline", "no component runs: what was recorded is replayed")
@pytest.mark.parametrize(
    ("handler", "instead"),
    [(clock, "step.now"), (dice, "step.random"), (today, "step.now"), (nap, "step.sleep"), (reads, "run_action")],
)
async def test_what_differs_in_a_replay_is_refused_where_the_workflow_is_defined(handler: Any, instead: str) -> None:
    with pytest.raises(TypeError, match=f"{handler.__name__} uses .*Use .*{instead}"):
        Lab().define(handler)


KNOWN, PLACE = object(), "lab:write"


async def plain(step: Any, count: int) -> Any:
    for n in range(count):
        if await step.run_query(KNOWN, n=n):
            await step.sleep(n)
    return await step.run_mutation(KNOWN, at=step.now())


async def by_name(step: Any) -> None:
    await step.run_mutation("lab:write")


async def by_variable(step: Any) -> None:
    await step.run_mutation(PLACE)


async def of_an_object(step: Any) -> None:
    await step.run_action(KNOWN.write)  # type: ignore[attr-defined]


async def by_argument(step: Any, ref: str) -> None:
    await step.run_mutation(ref)


async def chosen(step: Any, first: bool) -> None:
    await step.run_mutation(KNOWN if first else PLACE)


async def the_other(step: Any) -> None:
    await step.run_mutation(KNOWN and PLACE)


async def with_a_child(step: Any) -> None:
    await step.run_workflow(KNOWN)


async def with_options(step: Any) -> None:
    await step.with_options(name="x").run_mutation(KNOWN)


async def given_away(step: Any) -> None:
    await plain(step, 1)


async def renamed(step: Any) -> None:
    other = step
    await other.run_mutation(PLACE)


async def held(step: Any) -> None:
    write = step.run_mutation
    await write(PLACE)


async def within(step: Any) -> None:
    await asyncio.gather(*(step.run_mutation(ref) for ref in (KNOWN, PLACE)))


@pytest.mark.one_isolation("inline", "no component runs: code is looked at")
async def test_only_of_plain_code_it_is_known_that_its_steps_are_there() -> None:
    assert names_its_steps(plain, lambda ref: ref is KNOWN)
    doubtful = (
        by_name,
        by_variable,
        of_an_object,
        by_argument,
        chosen,
        the_other,
        with_a_child,
        with_options,
        given_away,
        renamed,
        held,
        within,
    )
    assert [handler for handler in doubtful if names_its_steps(handler, lambda ref: ref is KNOWN)] == []


async def test_a_context_is_not_there_and_says_what_is() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: Any) -> None:
        await step.db.get("x")

    async with Bench(lab.component) as t:
        found = await status(t, lab, await start(t, lab, flow))
        assert found.error is not None and "step.run_query" in found.error["message"]


@pytest.mark.parametrize(
    "options", [{"inline": True, "run_after": 1}, {"run_after": 1, "run_at": 2.0}, {"inline": True, "name": "act", "retry": True}]
)
async def test_options_that_make_no_sense_together_are_refused(options: Any) -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> None:
        await step.with_options(**options).run_action(lab.act, name="a")

    async with Bench(lab.component) as t:
        found = await status(t, lab, await start(t, lab, flow))
        assert found.error is not None and found.error["type"] in ("ValueError", "TypeError")
        assert lab.log == []


@pytest.mark.parametrize(
    "options", [{"timeout": 0}, {"timeout": 2e8}, {"run_after": 2e8}, {"run_after": -1}, {"run_at": datetime(9999, 1, 1, tzinfo=UTC)}]
)
async def test_times_at_which_nothing_can_be_planned_are_refused_where_they_are_written(options: Any) -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> str:
        with pytest.raises(ValueError, match=r"years|seconds"):
            await step.with_options(**options).run_action(lab.act, name="a")
        with pytest.raises(ValueError, match="five years"):
            await step.sleep(2e8)
        with pytest.raises(ValueError, match="five years"):
            await step.await_event("e", timeout=2e8)
        return "went on"

    async with Bench(lab.component) as t:
        assert (await status(t, lab, await start(t, lab, flow))).result == "went on"
        assert lab.log == []


@pytest.mark.parametrize("wrong", [5, "\ud800", "x" * 10_001])
async def test_names_that_cannot_be_recorded_are_refused_where_they_are_written(wrong: Any) -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> str:
        for call in (
            lambda: step.await_event(wrong),
            lambda: step.sleep(1, name=wrong),
            lambda: step.patched(wrong),
            lambda: step.with_options(name=wrong).run_mutation(lab.write, what=1),
        ):
            with pytest.raises((TypeError, ValueError), match="name of a"):
                call()
        with pytest.raises(TypeError, match="or its id, is a str"):
            step.await_event(id=5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="retry takes"):
            step.with_options(retry=5)  # type: ignore[arg-type]
        return "went on"

    async with Bench(lab.component) as t:
        assert (await status(t, lab, await start(t, lab, flow))).result == "went on"
        assert await done(t) == []


async def test_what_is_no_workflow_is_refused_where_it_is_started() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> str:
        with pytest.raises(TypeError, match="write is none"):
            step.run_workflow(lab.write, what=1)
        return "went on"

    async with Bench(lab.component) as t:
        with pytest.raises(TypeError, match="act is none"):
            await start(t, lab, lab.act, name="a")
        with pytest.raises(TypeError, match="on_complete is a mutation"):
            await start(t, lab, flow, options={"on_complete": lab.act})
        with pytest.raises(TypeError, match="a value or an error"):
            await do(t, lambda ctx: lab.workflows.send_event(ctx, "e", workflow_id="x", value=1, error="no"))
        assert (await status(t, lab, await start(t, lab, flow))).result == "went on"


# replays


async def test_a_recorded_run_is_replayed_in_one_line(tmp_path: Path) -> None:
    lab = Lab()
    changing = Changing(lab)

    async def code(step: WorkflowStep) -> list[Any]:
        text = await step.run_mutation(lab.write, what="x" * 10_000)
        try:
            await step.run_action(lab.act, name="a")
        except StepFailed as error:
            text = error.message
        both = await asyncio.gather(step.run_query(lab.count), step.sleep(3))
        return [text, *both, step.random.random()]

    async def other(step: WorkflowStep) -> None:
        await step.run_query(lab.count)

    lab.failures["a"] = 1
    changing.code = code
    async with Bench(lab.component) as t:
        id = await start(t, lab, changing.flow)
        await t.finish_scheduled()
        history = await do(t, lambda ctx: lab.workflows.history(ctx, id))
        result = (await status(t, lab, id)).result
    file = tmp_path / "history.json"
    file.write_text(json.dumps(history))
    lab.log.clear()
    assert replay(changing.flow, file).result == result
    for length in range(len(history["steps"])):
        short = {**history, "steps": history["steps"][:length]}
        assert replay(changing.flow, short).asks == tuple(s["key"] for s in history["steps"][length : 4 if length == 2 else length + 1])
    assert lab.log == []
    changing.code = other
    with pytest.raises(ChangedPast, match=r'step "write" \(number 0\)'):
        replay(changing.flow, history)


@pytest.mark.one_isolation("inline", "no component runs: what was recorded is replayed")
def test_a_recorded_run_of_an_app_that_no_backend_has_loaded_is_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app, folder = tmp_path / "replayed_app", tmp_path / "replayed_app" / "inner"
    folder.mkdir(parents=True)
    (app / "app.py").write_text("from interlock import App\n\napp = App()\n")
    (folder / "writing.py").write_text(
        "from interlock import MutationCtx, mutation\n\n@mutation\nasync def write(ctx: MutationCtx, text: str) -> int:\n    return 1\n"
    )
    (app / "orders.py").write_text(
        "from interlock import components\nfrom interlock_workflow import WorkflowManager, WorkflowStep\n\n"
        "from .inner.writing import write as wrote\n\nworkflows = WorkflowManager(components.workflow)\n\n@workflows.define\n"
        "async def order(step: WorkflowStep, text: str) -> int:\n    return await step.run_mutation(wrote, text=text) + 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    orders = importlib.import_module("replayed_app.orders")
    step = {"number": 0, "key": "inner/writing:write", "name": "inner/writing:write", "kind": "mutation", "state": "success", "value": "1"}
    history = {"id": "a", "seed": "a", "run": 0, "started": 0.0, "args": '{"text": "x"}', "steps": [{**step, "digest": "", "at": 0.0}]}
    assert replay(orders.order, history).result == 2
    with pytest.raises(ChangedPast, match="asks for 'inner/writing:write'"):
        replay(orders.order, {**history, "steps": [{**history["steps"][0], "key": "other"}]})
