"""Runs of actions: how often and when they are tried, what they end with, and that each ends once, whatever dies."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock import ActionCtx, AppError, ArgumentError, Component, Job, MutationCtx, Schema, Table, components
from interlock.backend import Backend
from interlock.storage.memory import MemoryStorage
from interlock.testing import TestBackend
from interlock.testing.isolation import default
from interlock_action_retrier import ActionRetrier, RunInProgress, RunNotFound, RunResult, RunStatus

retrier = ActionRetrier(components.action_retrier)
CANCELED, SUCCESS = RunResult(kind="canceled"), "success"


class Lab:
    """An action that does what a script says, and what its runs came to."""

    def __init__(self) -> None:
        self.scripts: dict[str, list[str]] = {}  # "fail", "ok", "wait"; at the end "ok" for ever
        self.attempts: list[tuple[str, float]] = []
        self.gate = asyncio.Event()
        self.component = lab = Component("lab", schema=Schema(ended=Table({"id": str, "result": Any, "at": float})))
        lab.use("action_retrier")

        @lab.action
        async def work(ctx: ActionCtx, what: str) -> Any:
            self.attempts.append((what, ctx.now()))
            script = self.scripts.get(what, [])
            step = script.pop(0) if script else "ok"
            if step == "fail":
                raise AppError({"code": "NOT_NOW", "message": f"{what} failed"})
            if step == "break":
                raise RuntimeError(f"{what} broke")
            if step == "wait":
                await self.gate.wait()
            if step == "odd":
                raise OSError("no file \udcff")
            if step == "large":
                return "x" * 1_000_000
            return [what, b"done"]

        @lab.mutation
        async def ended(ctx: MutationCtx, run_id: str, result: dict[str, Any]) -> None:
            await ctx.db.insert("ended", {"id": run_id, "result": result, "at": ctx.now()})

        @lab.mutation
        async def ended_badly(ctx: MutationCtx, run_id: str, result: dict[str, Any]) -> None:
            await ctx.db.insert("ended", {"id": run_id, "result": result, "at": ctx.now()})
            raise AppError("callback failed")

        self.work, self.ended, self.ended_badly = work, ended, ended_badly


async def do(t: TestBackend, operation: Callable[[Any], Awaitable[Any]]) -> Any:
    """Something of the face in a mutation, whose answer need be no value."""
    found: list[Any] = []

    async def run(ctx: MutationCtx) -> None:
        found[:] = [await operation(ctx)]

    await t.run(run)
    return found[0]


async def start(t: TestBackend, lab: Lab, what: str, **options: Any) -> str:
    id: str = await do(t, lambda ctx: retrier.run(ctx, lab.work, {"what": what}, on_complete=lab.ended, **options))
    return id


async def status(t: TestBackend, id: str) -> RunStatus:
    found = await do(t, lambda ctx: retrier.status(ctx, id))
    assert isinstance(found, RunStatus)
    return found


async def ended(t: TestBackend) -> list[tuple[str, Any]]:
    return [(row["id"], row["result"]) for row in await t.run(lambda ctx: ctx.db.query("ended").collect())]


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(5_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to that")


def delays(lab: Lab, what: str) -> list[float]:
    """Seconds between its attempts."""
    times = [at for name, at in lab.attempts if name == what]
    return [(later - earlier) / 1000 for earlier, later in pairwise(times)]


def are_jittered(found: list[float], expected: list[float]) -> bool:
    return len(found) == len(expected) and all(0.5 * one <= delay <= 1.5 * one + 0.01 for delay, one in zip(found, expected, strict=True))


# attempts


async def test_an_action_that_succeeds_is_run_once_and_told_of() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:
        id = await start(t, lab, "a")
        await t.finish_in_progress()
        result = RunResult(kind="success", return_value=["a", b"done"])
        assert await status(t, id) == RunStatus("completed", 0, None, None, result)
        assert (len(lab.attempts), await ended(t)) == (1, [(id, result)])
        ran = await t.finish_scheduled()
        assert len(ran) < 3 and len(await ended(t)) == 1


async def test_with_the_defaults_there_are_five_attempts_and_the_first_pause_is_the_initial_one() -> None:
    lab = Lab()
    lab.scripts["a"] = ["fail"] * 9
    async with TestBackend(lab.component) as t:
        id = await start(t, lab, "a")
        await t.finish_in_progress()
        found = await status(t, id)
        assert (found.state, found.failures, found.result) == ("in_progress", 1, None)
        assert found.next_attempt is not None and 125 <= found.next_attempt - t.now() <= 375
        assert found.last_error is not None and "a failed" in found.last_error
        await t.finish_scheduled()
        assert are_jittered(delays(lab, "a"), [0.25, 0.5, 1, 2])
        found = await status(t, id)
        assert found.result is not None and (found.failures, found.result["kind"]) == (5, "failed")
        assert found.result["error_data"] == {"code": "NOT_NOW", "message": "a failed"}
        assert [result["kind"] for _, result in await ended(t)] == ["failed"]


async def test_each_run_may_have_options_of_its_own() -> None:
    lab = Lab()
    lab.scripts = {"a": ["break"] * 6, "b": ["fail"], "c": ["break", "fail"]}
    async with TestBackend(lab.component) as t:
        await start(t, lab, "a", initial_backoff=timedelta(seconds=10), base=3, max_failures=6, max_backoff=60)
        await start(t, lab, "b", max_failures=0)
        await start(t, lab, "c", initial_backoff=5, base=1)
        await t.finish_scheduled()
        assert are_jittered(delays(lab, "a"), [10, 30, 60, 60, 60, 60])
        assert (delays(lab, "b"), are_jittered(delays(lab, "c"), [5, 5])) == ([], True)
        assert Counter(result["kind"] for _, result in await ended(t)) == {"success": 2, "failed": 1}


async def test_a_run_begins_at_its_time() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:
        first = t.now()
        await do(t, lambda ctx: retrier.run_after(ctx, 5, lab.work, {"what": "after"}))
        await do(t, lambda ctx: retrier.run_at(ctx, first + 9_000, lab.work, {"what": "at"}))
        await do(
            t, lambda ctx: retrier.run_at(ctx, datetime.fromtimestamp(first / 1000, UTC) + timedelta(days=3), lab.work, {"what": "late"})
        )
        await do(t, lambda ctx: retrier.run_at(ctx, 0, lab.work, {"what": "past"}))
        await t.advance(timedelta(days=4))
        assert [(what, (at - first) / 1000) for what, at in lab.attempts] == [("past", 0), ("after", 5), ("at", 9), ("late", 3 * 86_400)]


async def test_what_cannot_be_is_refused() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:
        with pytest.raises(ArgumentError):
            await do(t, lambda ctx: retrier.run(ctx, lab.work, {"whatever": 1}))
        with pytest.raises(TypeError, match="is a mutation"):
            await do(t, lambda ctx: retrier.run(ctx, lab.ended))
        with pytest.raises(TypeError, match="on_complete is a mutation"):
            await do(t, lambda ctx: retrier.run(ctx, lab.work, {"what": "a"}, on_complete=lab.work))
        with pytest.raises(AppError, match="900,000"):
            await do(t, lambda ctx: retrier.run(ctx, lab.work, {"what": "x" * 900_001}))
        with pytest.raises(AppError, match="base must be"):
            options = {"initial_backoff": 1.0, "base": 0.5, "max_failures": 1}
            await t.component("action_retrier").mutation("start", handle="x", options=options)
        await t.finish_scheduled()
        assert lab.attempts == []
    for wrong in ({"initial_backoff": -1}, {"base": 0.9}, {"max_failures": 1.5}, {"max_backoff": float("nan")}, {"log_level": "LOUD"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ActionRetrier(components.action_retrier, **wrong)


async def test_a_run_that_is_started_in_a_transaction_that_fails_never_was() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:

        async def fail(ctx: MutationCtx) -> None:
            await retrier.run(ctx, lab.work, {"what": "a"}, on_complete=lab.ended)
            raise AppError("no")

        with pytest.raises(AppError):
            await t.run(fail)
        await t.finish_scheduled()
        assert (lab.attempts, await ended(t)) == ([], [])


async def test_a_callback_that_fails_is_undone_and_the_run_has_ended_all_the_same() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:
        id = await do(t, lambda ctx: retrier.run(ctx, lab.work, {"what": "a"}, on_complete=lab.ended_badly))
        await t.finish_scheduled()
        result = (await status(t, id)).result
        assert result is not None and result["kind"] == SUCCESS
        assert (len(lab.attempts), await ended(t)) == (1, [])


async def test_a_result_that_cannot_be_kept_is_a_failure_that_is_not_tried_again() -> None:
    lab = Lab()
    lab.scripts["a"] = ["large"]
    async with TestBackend(lab.component) as t:
        id = await start(t, lab, "a")
        await t.finish_scheduled()
        result = (await status(t, id)).result
        assert result is not None and result["kind"] == "failed" and "900,000 can be kept" in result["error"]
        assert len(lab.attempts) == 1


async def test_an_error_that_no_document_can_hold_is_told_all_the_same() -> None:
    lab = Lab()
    lab.scripts["a"] = ["odd"]
    async with TestBackend(lab.component) as t:
        id = await start(t, lab, "a", max_failures=0)
        await t.finish_in_progress()
        assert (await status(t, id)).result == RunResult(kind="failed", error="no file \\udcff")


# stopping and forgetting


async def test_a_run_that_waits_is_canceled_at_once_and_only_once() -> None:
    lab = Lab()
    lab.scripts["a"] = ["fail"] * 9
    async with TestBackend(lab.component) as t:
        id = await start(t, lab, "a", initial_backoff=100)
        await t.finish_in_progress()
        assert await do(t, lambda ctx: retrier.cancel(ctx, id)) is True
        assert (await status(t, id)).result == CANCELED
        assert await do(t, lambda ctx: retrier.cancel(ctx, id)) is False
        assert await do(t, lambda ctx: retrier.cancel(ctx, "nothing")) is False
        await t.finish_scheduled()
        assert (len(lab.attempts), await ended(t)) == (1, [(id, {"kind": "canceled"})])


async def test_the_result_of_an_attempt_that_goes_on_is_dropped_by_a_cancel() -> None:
    lab = Lab()
    lab.scripts["a"] = ["wait"]
    async with TestBackend(lab.component) as t:
        id = await start(t, lab, "a")
        await until(lambda: len(lab.attempts) == 1)
        found = await status(t, id)
        assert (found.state, found.next_attempt) == ("in_progress", None)
        with pytest.raises(RunInProgress):
            await do(t, lambda ctx: retrier.cleanup(ctx, id))
        assert await do(t, lambda ctx: retrier.cancel(ctx, id))
        assert (await status(t, id)).result == CANCELED
        lab.gate.set()
        await t.finish_scheduled()
        assert ((await status(t, id)).result, await ended(t)) == (CANCELED, [(id, {"kind": "canceled"})])


async def test_runs_are_forgotten_when_asked_or_after_a_week() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:
        a, b = await start(t, lab, "a"), await start(t, lab, "b")
        await t.finish_scheduled()
        await do(t, lambda ctx: retrier.cleanup(ctx, a))
        for operation in (retrier.cleanup, retrier.status):
            with pytest.raises(RunNotFound):
                await do(t, partial(operation, id=a))
        await t.advance(timedelta(days=6))
        assert (await status(t, b)).state == "completed"
        await t.advance(timedelta(days=2))
        with pytest.raises(RunNotFound, match="kept for a week"):
            await status(t, b)


# attempts that do not report


class Machine(TestBackend):
    """A backend whose disk outlives it."""

    def __init__(self, lab: Lab, disk: MemoryStorage, start: float, seed: int) -> None:
        super().__init__(lab.component, start=start, seed=seed)
        disk._clock_ns = lambda: int(self.now() * 1e6)
        self._backend = Backend(lab.component, storage=disk, dev=True, clock=self.clock, seed=seed, isolation=default.isolation)


async def test_an_attempt_whose_process_ended_counts_as_a_failure() -> None:
    lab = Lab()
    lab.scripts["a"] = ["wait"]
    disk = MemoryStorage()
    async with Machine(lab, disk, 1e12, 1) as t:
        id = await start(t, lab, "a")
        await until(lambda: len(lab.attempts) == 1)
    async with Machine(lab, disk, 1e12 + 60_000, 2) as t:
        await t.finish_scheduled()
        found = await status(t, id)
        assert found.result is not None and (found.failures, found.result["kind"], len(lab.attempts)) == (1, SUCCESS, 2)
        assert [run for run, _ in await ended(t)] == [id]


async def jobs(t: TestBackend) -> list[Job]:
    """Those of the component."""
    found: list[Job] = []

    async def look(ctx: MutationCtx) -> None:
        found[:] = await ctx.scheduler.list()

    await t.run(look, component="action_retrier")
    return found


async def test_a_job_that_is_canceled_by_hand_cancels_the_run() -> None:
    lab = Lab()
    lab.scripts["a"] = ["fail"]
    async with TestBackend(lab.component) as t:
        id = await start(t, lab, "a", initial_backoff=30)
        await t.finish_in_progress()
        [waiting] = [job.id for job in await jobs(t) if job.name == "attempt" and job.state == "pending"]
        await t.run(lambda ctx: ctx.scheduler.cancel(waiting), component="action_retrier")
        await t.advance(70)
        assert ((await status(t, id)).result, len(await ended(t))) == (CANCELED, 1)


async def test_the_heart_beats_while_something_is_in_progress_and_then_stops() -> None:
    lab = Lab()
    lab.scripts["a"] = ["wait"]
    async with TestBackend(lab.component) as t:
        await start(t, lab, "a")
        await until(lambda: len(lab.attempts) == 1)
        for beats in range(1, 4):
            t.clock.move_to(t.now() + 15_001)
            for _ in range(1_000):
                ran = [job for job in await jobs(t) if job.name == "heartbeat" and job.state == "success"]
                if len(ran) == beats:
                    break
                await asyncio.sleep(0.001)
            assert len(ran) == beats
        lab.gate.set()
        await t.finish_scheduled()
        assert [job.name for job in await jobs(t) if job.state == "pending"] == ["remove_old"]
        assert len(await ended(t)) == 1


# against a model

attempts = st.lists(st.sampled_from(["fail", "break", "ok"]), max_size=4)
run = st.tuples(attempts, st.integers(0, 3), st.booleans())  # what its attempts do, how many failures it may have, is its start undone
fault = st.one_of(
    st.tuples(st.just("advance"), st.integers(0, 30)),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
    st.tuples(st.just("lose"), st.integers(0, 5)),
    st.tuples(st.just("stall"), st.integers(20, 100)),
)


@settings(max_examples=40, deadline=None)
@given(plan=st.lists(run, min_size=1, max_size=6), faults=st.lists(fault, max_size=6))
async def test_every_run_ends_once_and_as_a_model_says(plan: list[Any], faults: list[Any]) -> None:
    """Runs that begin at once, some in transactions that fail; cancels, attempts that are lost, times in which nobody looks.

    Model: a run is its list of attempts, up to the first that succeeds or to the last that it may have; one that is lost is a failure.
    """
    lab = Lab()
    lab.scripts = {str(number): list(script) for number, (script, _, _) in enumerate(plan)}
    ids: dict[str, str] = {}
    lost: Counter[str] = Counter()
    canceled: set[str] = set()

    async def begin(ctx: MutationCtx, what: str, max_failures: int, fails: bool) -> str:
        options: dict[str, Any] = {"initial_backoff": 20, "max_failures": max_failures, "on_complete": lab.ended}
        id = await retrier.run(ctx, lab.work, {"what": what}, **options)
        if fails:
            raise AppError("undone")
        return id

    async def cancel(ctx: MutationCtx, id: str) -> list[Any]:
        """In one transaction: what is due runs beside the test."""
        return [(await retrier.status(ctx, id)).state, await retrier.cancel(ctx, id)]

    async def lose(ctx: MutationCtx, id: str) -> bool:
        row = await ctx.db.get(id)
        job = None if row is None else await ctx.scheduler.get(row["job"])
        if row is None or job is None or row["state"] != "in_progress" or job.state != "pending":
            return False
        await ctx.scheduler.cancel(row["job"])
        await ctx.db.patch(id, {"job": "gone"})
        return True

    async with TestBackend(lab.component) as t:
        begun = await asyncio.gather(
            *(t.run(partial(begin, what=str(number), max_failures=most, fails=fails)) for number, (_, most, fails) in enumerate(plan)),
            return_exceptions=True,
        )
        for number, (id, (_, _, fails)) in enumerate(zip(begun, plan, strict=True)):
            assert isinstance(id, AppError) if fails else isinstance(id, str)
            if isinstance(id, str):
                ids[str(number)] = id
        for kind, what in faults:
            name = str(what)
            if kind == "advance":
                await t.advance(what)
            elif kind == "stall":
                await t.finish_in_progress()  # a transaction that the clock runs away from meets its deadline
                t.clock.move_to(t.now() + what * 1000)
                await t.finish_in_progress()
            elif name in ids and kind == "cancel":
                state, is_canceled = await t.run(partial(cancel, id=ids[name]))
                assert is_canceled == (state == "in_progress")
                if is_canceled:
                    canceled.add(name)
            elif name in ids and await t.run(partial(lose, id=ids[name]), component="action_retrier"):
                lost[name] += 1
        await t.finish_scheduled()
        results = await ended(t)
        assert sorted(id for id, _ in results) == sorted(ids.values())
        tried = Counter(what for what, _ in lab.attempts)
        for number, (script, most, fails) in enumerate(plan):
            name = str(number)
            if fails:
                assert tried[name] == 0
                continue
            [result] = [result for id, result in results if id == ids[name]]
            assert (await status(t, ids[name])).result == result
            failing = next((at for at, step in enumerate(script) if step == "ok"), len(script))  # attempts that fail
            can_fail = most + 1 - lost[name]  # attempts after which it fails, as some were lost
            if name in canceled:
                assert result == CANCELED and tried[name] <= min(failing + 1, max(can_fail, 0))
            elif failing < can_fail:
                assert (result, tried[name]) == ({"kind": SUCCESS, "return_value": [name, b"done"]}, failing + 1)
            else:
                assert (result["kind"], tried[name]) == ("failed", can_fail)
