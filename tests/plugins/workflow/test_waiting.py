"""Runs that wait in memory do what they would do if they were replayed: the records are the same, whenever they are dropped."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from interlock import ActionCtx, LimitExceeded, MutationCtx
from interlock_workflow import Retry, StepFailed, StepTimeout, WorkflowStep, waiting
from interlock_workflow.client import _Doing
from interlock_workflow.turn import Turn
from interlock_workflow.waiting import Waiting

from .lab import Bench, Lab, OutOfStock, do, done, start, status

NEVER = 1_000_000


class Dropping(Waiting):
    """Forgets runs by chance; counts what it gave and what it did not have."""

    def __init__(self, dropped: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        self._dropped, self._chance = dropped, random.Random(seed)
        self.given, self.missed = 0, 0

    def take(self, owner: Any, name: str, workflow_id: str, number: int) -> Turn | None:
        if self._chance.random() < self._dropped:
            self.clear()
        turn = super().take(owner, name, workflow_id, number)
        self.given, self.missed = self.given + (turn is not None), self.missed + (turn is None)
        return turn


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setattr(waiting, "STEPS_FEWEST", 0)
    monkeypatch.setattr(waiting, "NAP_SECONDS", float("inf"))
    yield monkeypatch


def keep_in(monkeypatch: pytest.MonkeyPatch, kept: Waiting) -> None:
    monkeypatch.setattr("interlock_workflow.client.WAITING", kept)


# the same records

STEP = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 3)),
    st.tuples(st.just("apart"), st.integers(0, 3)),
    st.tuples(st.just("fail"), st.integers(0, 3)),
    st.tuples(st.just("act"), st.integers(0, 2)),
    st.tuples(st.just("sleep"), st.integers(0, 5)),
    st.tuples(st.just("child"), st.integers(0, 3)),
    st.tuples(st.just("late"), st.integers(1, 3)),
    st.tuples(st.just("patched"), st.integers(0, 1)),
)
PROGRAM = st.lists(st.one_of(STEP, st.tuples(st.sampled_from(["gather", "race"]), st.lists(STEP, min_size=1, max_size=4))), max_size=8)
mine: ContextVar[int] = ContextVar("mine", default=0)


def wanderer(lab: Lab) -> Any:
    """A workflow that does what its program says, and puts down all that it sees."""

    @lab.component.mutation
    async def add(ctx: MutationCtx, what: int) -> int:
        """Writes in a sub-transaction; everybody meets in one table."""
        return int(await ctx.run_mutation(lab.write, what=what) and what)

    @lab.component.action
    async def toil(ctx: ActionCtx, name: str, fails: int) -> str:
        await asyncio.sleep(0)
        if lab.failures[name] < fails:
            lab.failures[name] += 1
            raise OutOfStock(name)
        return name

    @lab.define
    async def child(step: WorkflowStep, what: int) -> int:
        await step.run_action(toil, name=f"child {step.workflow_id} {what}", fails=0)
        return what

    @lab.define
    async def run(step: WorkflowStep, program: list[Any], name: str) -> list[Any]:
        number = 0

        async def one(what: str, argument: Any) -> Any:
            nonlocal number
            number += 1
            own = f"{name} {number}"
            mine.set(mine.get() + 1)
            step.log.info(own)
            if what in ("gather", "race"):
                tasks = [asyncio.ensure_future(one(*below)) for below in argument]
                if what == "race":
                    return await next(iter(asyncio.as_completed(tasks)))
                return await asyncio.gather(*tasks)
            if what == "write":
                return await step.run_mutation(add, what=argument)
            if what == "apart":
                return await step.with_options(inline=False).run_mutation(add, what=argument)
            if what == "act":
                patient = step.with_options(retry=Retry(max_attempts=2, initial_backoff=0.5, jitter=0))
                try:
                    return await patient.run_action(toil, name=own, fails=argument)
                except StepFailed as error:
                    return str(error)
            if what == "sleep":
                return await step.sleep(argument)
            if what == "child":
                return await step.run_workflow(child, what=argument)
            if what == "patched":
                return step.patched(str(argument))
            try:
                if what == "late":
                    return await step.await_event("never", timeout=argument)
                return await step.run_mutation(lab.write, what=argument, fail=True)
            except (StepTimeout, OutOfStock) as error:
                return type(error).__name__

        seen = [[await one(*one_of), step.now(), step.random.random(), str(step.uuid4()), mine.get()] for one_of in program]
        step.log.info("ended")
        return seen

    return run


async def records(programs: list[Any], seed: int) -> list[Any]:
    """The histories of some runs at once over one table, and what they have written."""
    lab = Lab()
    run = wanderer(lab)
    async with Bench(lab.component, seed=seed) as t:
        ids = [
            await do(t, lambda ctx, n=n, program=program: lab.workflows.start(ctx, run, {"program": program, "name": str(n)}))
            for n, program in enumerate(programs)
        ]
        await t.finish_scheduled(1_000)
        histories = [await do(t, lambda ctx, id=id: lab.workflows.history(ctx, id)) for id in ids]
        assert {history["state"] for history in histories} == {"completed"}
        return [*histories, Counter(await done(t))]


@pytest.mark.one_isolation(
    "inline", "with workers ids are drawn in another order each time, and all randomness of a run follows from its id"
)
@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(programs=st.lists(PROGRAM, min_size=1, max_size=3), dropped=st.sampled_from([0.0, 0.3, 0.7]), seed=st.integers(1, 2**32 - 1))
async def test_whenever_it_is_dropped_a_run_leaves_the_record_of_one_that_was_always_replayed(
    programs: Any, dropped: float, seed: int
) -> None:
    plain = [[list(step) for step in program] for program in programs]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "NAP_SECONDS", float("inf"))
        patch.setattr(waiting, "STEPS_FEWEST", NEVER)
        replayed = await records(plain, seed)
        patch.setattr(waiting, "STEPS_FEWEST", 0)
        keep_in(patch, Dropping(dropped, seed))
        assert await records(plain, seed) == replayed


async def test_a_long_run_is_begun_a_few_times_and_then_waits_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Dropping()
    keep_in(monkeypatch, kept)
    lab = Lab()
    begun: list[int] = []

    @lab.define
    async def flow(step: WorkflowStep) -> int:
        begun.append(1)
        for n in range(60):
            await step.run_action(lab.act, name=str(n))
        return len(begun)

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        assert (await status(t, lab, id)).result == waiting.STEPS_FEWEST + 1  # the first only looks at the arguments
        assert (kept.given, kept.missed) == (60 - waiting.STEPS_FEWEST + 1, 0)
        assert not kept._turns


async def test_what_is_logged_is_logged_once_whether_or_not_the_run_is_kept(memory: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    memory.setattr(_Doing, "log", lambda doing, level, text: lines.append(text))
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> None:
        for n in range(130):  # more than fit into a turn
            await step.run_mutation(lab.write, what=n)
            step.log.info(f"wrote {n}")
        await step.sleep(1)
        step.log.info("slept")

    for kept in (Dropping(), Dropping(dropped=1.0)):
        keep_in(memory, kept)
        lines.clear()
        async with Bench(lab.component) as t:
            await start(t, lab, flow)
            await t.finish_scheduled()
        assert sorted(lines) == sorted([*[f"wrote {n}" for n in range(130)], "slept"])


async def lives(memory: pytest.MonkeyPatch, kept: Waiting) -> list[Any]:
    """The histories of a run that is paused, canceled, restarted and forked, and of its fork."""
    keep_in(memory, kept)
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> list[Any]:
        seen: list[Any] = []
        for n in range(4):
            seen += [await step.run_action(lab.act, name=f"{n}"), await step.await_event("go"), step.random.random()]
        return seen

    async def send(id: str, value: int) -> None:
        await do(t, lambda ctx: lab.workflows.send_event(ctx, "go", workflow_id=id, value=value))
        await t.finish_in_progress()

    async with Bench(lab.component, seed=11) as t:
        id = await start(t, lab, flow)
        await send(id, 0)
        await do(t, lambda ctx: lab.workflows.pause(ctx, id))
        await send(id, 1)
        await do(t, lambda ctx: lab.workflows.resume(ctx, id))
        await t.finish_in_progress()
        await do(t, lambda ctx: lab.workflows.cancel(ctx, id))
        await do(t, lambda ctx: lab.workflows.restart(ctx, id))
        await t.finish_in_progress()
        await send(id, 2)
        await do(t, lambda ctx: lab.workflows.cancel(ctx, id))
        await do(t, lambda ctx: lab.workflows.restart(ctx, id, from_step=4))
        await t.finish_in_progress()
        fork = await do(t, lambda ctx: lab.workflows.fork(ctx, id, from_step=1))
        await t.finish_in_progress()
        for each in (id, fork):
            for value in range(5, 9):
                if (await status(t, lab, each)).type == "in_progress":
                    await send(each, value)
        assert {(await status(t, lab, each)).type for each in (id, fork)} == {"completed"}
        return [*[await do(t, lambda ctx, each=each: lab.workflows.history(ctx, each)) for each in (id, fork)], lab.log]


@pytest.mark.one_isolation(
    "inline", "with workers ids are drawn in another order each time, and all randomness of a run follows from its id"
)
async def test_a_run_that_is_paused_canceled_restarted_and_forked_is_the_same(memory: pytest.MonkeyPatch) -> None:
    always, never = Dropping(), Dropping(dropped=1.0)
    assert await lives(memory, always) == await lives(memory, never)
    assert always.given > 4 and never.given == 0


async def test_a_restart_does_not_go_on_with_the_function_that_waited_before_it(memory: pytest.MonkeyPatch) -> None:
    keep_in(memory, Dropping())
    lab = Lab()
    begun: list[int] = []

    @lab.define
    async def flow(step: WorkflowStep) -> int:
        begun.append(1)
        await step.run_action(lab.act, name="a")
        await step.sleep(10)
        return len(begun)

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        assert len(begun) == 2  # of which the first looks at the arguments
        await do(t, lambda ctx: lab.workflows.cancel(ctx, id))
        await do(t, lambda ctx: lab.workflows.restart(ctx, id))
        await t.finish_scheduled()
        assert (await status(t, lab, id)).result == 3


async def test_a_turn_that_was_undone_is_not_gone_on_with(memory: pytest.MonkeyPatch) -> None:
    keep_in(memory, kept := Dropping())
    lab = Lab()
    spent = [False, True]

    @lab.component.mutation
    async def spend(ctx: MutationCtx) -> None:
        await ctx.db.insert("done", {"what": "x"})
        if spent.pop():
            raise LimitExceeded("documents_written", 2, 1)

    @lab.define
    async def flow(step: WorkflowStep) -> int:
        await step.run_action(lab.act, name="a")
        await step.run_mutation(spend)
        await step.run_action(lab.act, name="b")
        return 1

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        assert ((await status(t, lab, id)).result, await done(t), lab.log) == (1, ["x"], ["a", "b"])
        assert (kept.given, kept.missed) == (2, 1)


# what is kept


def turn(size: int = 10, count: int = 20, id: str = "run") -> Turn:
    made = Turn(id, "", 0.0, [], number=count)
    made.size, made.count = size, count
    return made


@pytest.mark.one_isolation("inline", "it is about what is kept, not about functions")
def test_only_who_knows_the_name_gets_a_run_once_and_only_as_the_record_has_it() -> None:
    kept, code = Waiting(), object()
    ours = turn()
    name = kept.keep(code, ours)
    assert name is not None
    assert kept.take(code, "another", "run", 20) is None
    assert kept.take(code, name, "run", 20) is ours
    assert kept.take(code, name, "run", 20) is None
    for asked in ((object(), "run", 20), (code, "other", 20), (code, "run", 21)):
        name = kept.keep(code, turn())
        assert name is not None and kept.take(asked[0], name, *asked[1:]) is None
    assert (kept._turns, kept._bytes) == ({}, 0)


@pytest.mark.one_isolation("inline", "it is about what is kept, not about functions")
def test_runs_are_kept_up_to_a_number_and_a_size_and_those_that_came_first_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "RUNS_MOST", 3)
    monkeypatch.setattr(waiting, "BYTES_MOST", 100)
    kept, code = Waiting(), object()
    names = [kept.keep(code, turn(id=str(n))) for n in range(4)]
    assert [name in kept._turns for name in names] == [False, True, True, True]
    last = kept.keep(code, turn(size=85))
    assert list(kept._turns) == [names[3], last]
    for unfit in (turn(size=waiting.BYTES_EACH + 1), turn(count=waiting.STEPS_FEWEST - 1), turn(count=waiting.STEPS_MOST + 1)):
        assert kept.keep(code, unfit) is None
    kept.clear()
    assert (kept._turns, kept._bytes) == ({}, 0)


async def test_a_run_that_is_forgotten_does_no_more_steps(memory: pytest.MonkeyPatch) -> None:
    keep_in(memory, kept := Dropping())
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> str:
        try:
            await step.sleep(10)
        finally:
            await step.run_mutation(lab.write, what="cleared up")
        return "done"

    async with Bench(lab.component) as t:
        id = await start(t, lab, flow)
        assert len(kept._turns) == 1
        kept.clear()
        assert await done(t) == []
        await t.finish_scheduled()
        assert ((await status(t, lab, id)).result, await done(t)) == ("done", ["cleared up"])
