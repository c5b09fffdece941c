"""What is refused when a call is planned, and what the scheduler is told."""

from __future__ import annotations

from typing import Any

import pytest
from tests.placed import placed

from interlock import (
    ActionCtx,
    ArgumentError,
    CallRefused,
    CommitTimestamp,
    Component,
    FunctionNotFound,
    LimitExceeded,
    MutationCtx,
    QueryCtx,
    ScheduleError,
    components,
)
from interlock.engine import Transaction
from interlock.functions.caller import Caller
from interlock.functions.scheduling import Plan
from interlock.sdk.host import Job

from .rooms import START_MS, running

pytestmark = pytest.mark.usefixtures("both_isolations")

YEAR = 365 * 86_400


class Recorder:
    """A scheduler that only remembers; what a transaction undoes it forgets."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.cancelled: list[tuple[str, str, str | None]] = []

    async def schedule(self, tx: Transaction, plan: Plan) -> str:
        tx.insert(tx.table("", "planned") or tx.make_table("", "planned"), {})
        tx.on_commit.append(lambda ts: self.plans.append(plan))
        return "a job"

    async def cancel(self, tx: Transaction, holder: str, job_id: str, running_job: str | None) -> None:
        self.cancelled.append((holder, job_id, running_job))

    async def get(self, tx: Transaction, holder: str, job_id: str) -> Job | None:
        return Job(job_id, "pending", "name", {}, 0.0)

    async def list(self, tx: Transaction, holder: str, state: str | None) -> list[Job]:
        return []


def child() -> Component:
    child = Component("child")

    @child.mutation
    async def work(ctx: MutationCtx, n: int = 0) -> None: ...

    @child.mutation
    async def plan_own(ctx: MutationCtx) -> str:
        return await ctx.scheduler.run_after(1, "work", n=2)

    return child


def app() -> Component:
    made = Component("app")
    made.use(placed(child), isolation="inline")

    @made.mutation
    async def do(ctx: MutationCtx, n: int = 0, **rest: Any) -> None: ...

    @made.query
    async def read(ctx: QueryCtx) -> None: ...

    @made.mutation
    async def after(ctx: MutationCtx, seconds: float, name: str = "do", args: dict[str, Any] | None = None) -> str:
        return await ctx.scheduler.run_after(seconds, name, **(args or {}))

    @made.mutation
    async def at(ctx: MutationCtx, when: float) -> str:
        return await ctx.scheduler.run_at(when, "do", n=1)

    @made.mutation
    async def for_child(ctx: MutationCtx) -> None:
        await ctx.scheduler.run_after(1, components.child.work)
        await ctx.run_mutation(components.child.plan_own)

    @made.mutation
    async def with_placeholder(ctx: MutationCtx) -> None:
        await ctx.scheduler.run_after(1, "do", at=CommitTimestamp())

    @made.mutation
    async def cancel(ctx: MutationCtx, id: str) -> None:
        await ctx.scheduler.cancel(id)

    @made.action
    async def act(ctx: ActionCtx) -> list[Any]:
        await ctx.scheduler.cancel("x")
        await ctx.run_mutation("cancel", id="y")
        return [await ctx.scheduler.run_after(1, "do", n=5), (await ctx.scheduler.get("x")).state, await ctx.scheduler.list()]  # type: ignore[union-attr]

    @made.query
    async def plan_in_a_query(ctx: QueryCtx) -> None:
        await ctx._host.schedule(None, 1.0, do.target, {})

    return made


async def test_what_cannot_run_is_refused_when_it_is_planned() -> None:
    async with running(app()) as rooms:
        recorder = Recorder()
        rooms.dispatcher.attach(scheduling=recorder)
        for args, error in (
            ({"seconds": 1, "name": "nothing"}, FunctionNotFound),
            ({"seconds": 1, "name": "read"}, ScheduleError),
            ({"seconds": 1, "args": {"n": "x"}}, ArgumentError),
            ({"seconds": -1}, ScheduleError),
            ({"seconds": 6 * YEAR}, ScheduleError),
            ({"seconds": 1, "args": {"large": ["x" * 900_000] * 5}}, LimitExceeded),
        ):
            with pytest.raises(error):
                await rooms.ask("mutation", "after", args)
        with pytest.raises(ScheduleError):
            await rooms.mutation("at", when=START_MS - 6 * YEAR * 1000.0)
        with pytest.raises(ScheduleError, match="no value yet"):
            await rooms.mutation("with_placeholder")
        with pytest.raises(CallRefused):
            await rooms.query("plan_in_a_query")
        assert recorder.plans == []


async def test_the_scheduler_is_told_who_plans_what_for_when() -> None:
    async with running(app()) as rooms:
        recorder = Recorder()
        rooms.dispatcher.attach(scheduling=recorder)
        assert await rooms.mutation("after", seconds=2.5, args={"n": 1}) == "a job"
        await rooms.mutation("at", when=START_MS - 5.0)
        await rooms.mutation("for_child")
        told = [(plan.holder, plan.component_path, plan.function, plan.kind, plan.args, plan.when_ms - START_MS) for plan in recorder.plans]
        assert told == [
            ("", "", "do", "mutation", {"n": 1}, 2_500.0),
            ("", "", "do", "mutation", {"n": 1}, -5.0),
            ("", "child", "work", "mutation", {}, 1_000.0),
            ("child", "child", "work", "mutation", {"n": 2}, 1_000.0),
        ]


async def test_a_job_is_known_in_what_it_plans_and_in_what_it_cancels() -> None:
    async with running(app()) as rooms:
        recorder = Recorder()
        rooms.dispatcher.attach(scheduling=recorder)
        caller = Caller(admin=True, source="scheduler", request_id="r", job="the job")
        await rooms.ask("mutation", "after", {"seconds": 1}, caller=caller)
        await rooms.ask("mutation", "cancel", {"id": "x"}, caller=caller)
        assert [plan.scheduled_by for plan in recorder.plans] == ["the job"]
        assert recorder.cancelled == [("", "x", "the job")]


async def test_an_action_schedules_at_once_and_its_mutations_are_not_the_job() -> None:
    async with running(app()) as rooms:
        recorder = Recorder()
        rooms.dispatcher.attach(scheduling=recorder)
        answer = await rooms.ask("action", "act", {}, caller=Caller(admin=True, source="scheduler", job="the job"))
        assert answer.value == ["a job", "pending", []]
        assert [plan.scheduled_by for plan in recorder.plans] == ["the job"]
        assert recorder.cancelled == [("", "x", None), ("", "y", None)]


async def test_what_a_dropped_call_planned_is_forgotten() -> None:
    made = app()

    @made.mutation
    async def plan_and_fail(ctx: MutationCtx) -> None:
        await ctx.scheduler.run_after(1, "do")
        raise ValueError

    @made.mutation
    async def catch(ctx: MutationCtx) -> int:
        await ctx.scheduler.run_after(2, "do")
        for _ in range(3):
            with pytest.raises(ValueError):
                await ctx.run_mutation("plan_and_fail")
        return int(ctx.metrics().used["functions_scheduled"])

    async with running(made) as other:
        recorder = Recorder()
        other.dispatcher.attach(scheduling=recorder)
        assert await other.mutation("catch") == 1
        assert len(recorder.plans) == 1
