"""Whatever a process was doing when it ended: every run still ends, and what a mutation step writes is there exactly once."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from interlock import ActionCtx, MutationCtx
from interlock.backend import Backend
from interlock.storage.memory import MemoryStorage
from interlock.testing import TestBackend
from interlock_workflow import Retry, StepFailed, WorkflowStep, waiting

from .lab import ISOLATION, Isolation, Lab, OutOfStock, callbacks, do, done, status

PATIENT = Retry(max_attempts=8, initial_backoff=0.5, jitter=0)


class Machine(TestBackend):
    """A backend whose disk outlives it: `disk` may be that of another one which has crashed."""

    def __init__(self, lab: Lab, disk: MemoryStorage | None = None, start: float | None = None, seed: int = 0) -> None:
        super().__init__(lab.component, seed=seed, **({} if start is None else {"start": start}))
        self.disk = disk if disk is not None else MemoryStorage()
        self.disk._clock_ns = lambda: int(self.now() * 1e6)
        # Another seed for each life: the same one would draw ids again that are on the disk already.
        lives = f"{self.seed} {self.disk._newest}"
        own = random.Random(lives).getrandbits(32)
        self._backend = Backend(lab.component, storage=self.disk, dev=True, clock=self.clock, seed=own, isolation=ISOLATION[-1])

    def crash(self) -> tuple[MemoryStorage, float]:
        """What is on the disk at this moment, and the time."""
        disk = MemoryStorage()
        for name, value in vars(self.disk).items():
            if name != "_clock_ns":
                setattr(disk, name, copy.deepcopy(value))
        return disk, self.now()


class Watch:
    """Takes down, at every turn of the event loop, what a crash would leave now."""

    def __init__(self, machine: Machine, lab: Lab) -> None:
        self.turns = 0
        self.crashes: dict[tuple[Any, ...], tuple[MemoryStorage, float]] = {}
        self._machine, self._lab = machine, lab
        self._task = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        while True:
            self.turns += 1
            place = (self._machine.disk._newest, len(self._lab.log), self._lab.running)
            if place not in self.crashes:
                self.crashes[place] = self._machine.crash()
            await asyncio.sleep(0)

    async def __aenter__(self) -> Watch:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


def everything(lab: Lab) -> Any:
    """A workflow with a step of every kind."""

    @lab.component.action
    async def slow(ctx: ActionCtx, name: str) -> str:
        await asyncio.sleep(0)
        lab.log.append(name)
        await asyncio.sleep(0)
        return name

    @lab.define
    async def child(step: WorkflowStep) -> str:
        await step.run_mutation(lab.write, what="child")
        result: str = await step.with_options(retry=PATIENT).run_action(slow, name="child")
        return result

    @lab.define
    async def flow(step: WorkflowStep) -> list[Any]:
        patient = step.with_options(retry=PATIENT)
        await step.run_mutation(lab.write, what="first")
        first = await patient.run_action(slow, name="first")
        await step.with_options(inline=False).run_mutation(lab.write, what="apart")
        try:
            await step.run_mutation(lab.write, what="fails", fail=True)
        except OutOfStock:
            await step.run_mutation(lab.write, what="instead")
        await step.sleep(1)
        several = await asyncio.gather(patient.run_action(slow, name="x"), step.run_workflow(child), step.await_event("go"))
        await step.run_mutation(lab.write, what="last")
        return [first, *several]

    return flow


EXPECTED = ["first", "apart", "instead", "child", "last"]


async def send(t: TestBackend, lab: Lab, id: str) -> None:
    await do(t, lambda ctx: lab.workflows.send_event(ctx, "go", workflow_id=id, value=7))


SAMPLE = 6
"""At so many of the crashes it goes on where the functions run in workers: each needs some of its own."""


async def test_after_a_crash_at_every_await_the_run_ends_and_nothing_was_written_twice(isolation: Isolation) -> None:
    lab = Lab()
    flow = everything(lab)
    async with Machine(lab) as machine, Watch(machine, lab) as watch:
        id = await do(machine, lambda ctx: lab.workflows.start(ctx, flow, {}, on_complete=lab.ended))
        await send(machine, lab, id)
        await machine.finish_scheduled()
        assert (await status(machine, lab, id)).result == ["first", "x", "child", 7]
        assert Counter(await done(machine)) == Counter(EXPECTED)
    assert watch.turns > 50
    assert len(watch.crashes) > 12
    crashes = list(watch.crashes.values())
    if isolation == "sandbox":
        crashes = random.Random(machine.seed).sample(crashes, SAMPLE)
    for disk, now in crashes:
        async with Machine(lab, disk, now) as again:
            runs = (await do(again, lambda ctx: lab.workflows.list(ctx, name=flow))).page
            if not runs:
                continue  # it had not begun
            await again.finish_in_progress()
            events = await again.component("workflow").run(lambda ctx: ctx.db.query("events").collect())
            found = await status(again, lab, id)
            if not events and found.type == "in_progress" and not await _has_event(again, lab, id):
                await send(again, lab, id)
            await again.finish_scheduled()
            found = await status(again, lab, id)
            assert (found.type, found.result) == ("completed", ["first", "x", "child", 7]), found
            assert Counter(await done(again)) == Counter(EXPECTED)
            assert await callbacks(again) == [("success", None)]
            works = await again.component("workflow/workpool").run(lambda ctx: ctx.db.query("works").collect())
            assert works == []


async def _has_event(t: TestBackend, lab: Lab, id: str) -> bool:
    page = await do(t, lambda ctx: lab.workflows.list_steps(ctx, id))
    return any(step.kind == "event" and step.state == "success" for step in page.page)


# a model

STEP = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 3)),
    st.tuples(st.just("apart"), st.integers(0, 3)),
    st.tuples(st.just("fail"), st.integers(0, 3)),
    st.tuples(st.just("act"), st.integers(0, 2)),
    st.tuples(st.just("sleep"), st.integers(0, 5)),
)
PROGRAM = st.lists(st.one_of(STEP, st.tuples(st.just("gather"), st.lists(STEP, min_size=1, max_size=4))), max_size=6)


def expected(program: list[Any]) -> tuple[list[Any], list[Any]]:
    """The model: what a program writes, and what it sees."""
    wrote: list[Any] = []
    seen: list[Any] = []
    for what, argument in program:
        if what == "gather":
            below = [expected([step]) for step in argument]
            wrote += [one for writes, _ in below for one in writes]
            seen.append([one[1][0] for one in below])
        elif what in ("write", "apart"):
            wrote.append(argument)
            seen.append("wrote")
        else:
            seen.append({"fail": "failed", "act": "acted", "sleep": None}[what])
    return wrote, seen


def interpreter(lab: Lab) -> Any:
    @lab.component.mutation
    async def add(ctx: MutationCtx, what: int) -> str:
        """Writes in a sub-transaction, and in one that is undone; everybody meets in one document."""
        await ctx.run_mutation(lab.write, what=what)
        with suppress(OutOfStock):
            await asyncio.gather(ctx.run_mutation(lab.write, what=what, fail=True), ctx.run_query(lab.count))
        return "wrote"

    @lab.component.action
    async def toil(ctx: ActionCtx, name: str, fails: int) -> str:
        lab.log.append(name)
        await asyncio.sleep(0)
        if lab.failures[name] < fails:
            lab.failures[name] += 1
            raise OutOfStock(name)
        return "acted"

    @lab.define
    async def run(step: WorkflowStep, program: list[Any], name: str) -> list[Any]:
        number = 0

        async def one(what: str, argument: Any) -> Any:
            nonlocal number
            number += 1
            if what == "gather":
                return list(await asyncio.gather(*[one(*below) for below in argument]))
            if what == "write":
                return await step.run_mutation(add, what=argument)
            if what == "apart":
                return await step.with_options(inline=False).run_mutation(add, what=argument)
            if what == "act":
                return await step.with_options(retry=PATIENT).run_action(toil, name=f"{name} {number}", fails=argument)
            if what == "sleep":
                return await step.sleep(argument)
            try:
                return await step.run_mutation(lab.write, what=argument, fail=True)
            except OutOfStock:
                return "failed"

        return [await one(what, argument) for what, argument in program]

    return run


# A failing example is small enough, and shrinking it takes minutes.
@pytest.mark.usefixtures("isolation")
@settings(max_examples=10, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate], suppress_health_check=list(HealthCheck))
@given(programs=st.lists(PROGRAM, min_size=1, max_size=3), points=st.lists(st.floats(0, 1), max_size=3), seed=st.integers(1, 2**32 - 1))
async def test_programs_do_what_the_model_says_however_often_the_process_ends(
    programs: Any, points: list[float], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several runs at once over one table; at some places, as the numbers say, the process ends and another goes on.

    With an even seed runs wait in memory, and what the ended process had there is still there: the record says that it is not meant.
    """
    monkeypatch.setattr(waiting, "STEPS_FEWEST", 16 if seed % 2 else 0)
    lab = Lab()
    run = interpreter(lab)
    disk: MemoryStorage | None = None
    now: float | None = None
    for point in [*points, None]:
        async with Machine(lab, disk, now, seed) as machine, Watch(machine, lab) as watch:
            for number, program in enumerate(programs):  # those that are there already are found by their key
                plain = json.loads(json.dumps(program))
                args = {"program": plain, "name": str(number)}
                await do(machine, lambda ctx, args=args, n=number: lab.workflows.start(ctx, run, args, key=f"{n}", on_complete=lab.ended))
            await machine.finish_scheduled(1_000)
            if point is None:
                runs = (await do(machine, lambda ctx: lab.workflows.list(ctx))).page
                results = [(await status(machine, lab, one.id)).result for one in runs]
                wanted = [expected(program) for program in programs]
                assert results == [seen for _, seen in wanted]
                assert Counter(await done(machine)) == Counter(one for writes, _ in wanted for one in writes)
                assert await callbacks(machine) == [("success", None)] * len(programs)
        crashes = list(watch.crashes.values())
        disk, now = crashes[int((point or 0) * (len(crashes) - 1))]


async def test_without_retries_an_action_that_was_cut_off_has_failed_and_is_not_run_again() -> None:
    lab = Lab()

    @lab.define
    async def flow(step: WorkflowStep) -> str:
        try:
            result: str = await step.run_action(lab.act, name="a", gate=True)
        except StepFailed as error:
            return error.type
        return result

    async with Machine(lab) as machine:
        id = await do(machine, lambda ctx: lab.workflows.start(ctx, flow, {}))
        async with asyncio.timeout(20):  # a worker is a process: how many turns of the loop it takes nobody knows
            while not lab.log:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert lab.log == ["a"]
        disk, now = machine.crash()
    async with Machine(lab, disk, now) as again:
        await again.finish_scheduled()
        assert ((await status(again, lab, id)).result, lab.log) == ("Lost", ["a"])


@pytest.mark.sealed_elsewhere
def test_a_process_that_is_killed_again_and_again_does_everything_once(tmp_path: Path, isolation: Isolation) -> None:
    """The real thing: `kill -9`, a file, a clock. The last process runs to the end and says what is there."""
    chance = random.Random(7)
    command = [sys.executable, str(Path(__file__).with_name("killed.py")), str(tmp_path / "data"), isolation]
    kills = 0
    for _ in range(5):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        time.sleep(chance.uniform(0.05, 0.6))
        if process.poll() is None:
            kills += 1
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    told = subprocess.run([*command, "end"], capture_output=True, text=True, timeout=120, check=True).stdout.splitlines()[-1]
    found = json.loads(told)
    assert kills >= 3
    assert found["states"] == {"completed": found["runs"]}
    assert found["runs"] >= 20
    assert found["writes"] == {"1": found["runs"] * 4}  # each of four steps of each run, once
    assert found["callbacks"] == found["runs"]
