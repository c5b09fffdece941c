"""A pool: how often it runs what, in which order, how many at once, and what becomes of what fails."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import combinations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock import ActionCtx, AppError, Component, MutationCtx, PaginationOptions, QueryCtx, Schema, Table, components
from interlock.testing import TestBackend
from interlock_workpool import DAY, HOUR, NonRetryable, Retry, Workpool, WorkStatus, component
from interlock_workpool.component import failure_rates

pool = Workpool(components.workpool)
EXACT = Retry(max_attempts=3, initial_backoff=1, base=2, jitter=0)


ISOLATION: list[Any] = ["inline"]


@pytest.fixture(params=["inline", "sandbox"], autouse=True)
def isolation(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test runs twice: with the mount in its own process, and in a worker."""
    ISOLATION.append(request.param)
    yield request.param
    ISOLATION.pop()


class Bench(TestBackend):
    """A backend whose mounts run as the test's parameter says."""

    __test__ = False

    def __init__(self, component: Component, **options: Any) -> None:
        super().__init__(component, isolation=ISOLATION[-1], **options)


class Office:
    """Something that has work to do, and notes what was done, in memory for actions and in tables for mutations."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.running = self.most_running = 0
        self.gates: dict[str, asyncio.Event] = {}
        self.failures: Counter[str] = Counter()  # how many attempts of a name still fail
        self.component = office = Component(
            "office", schema=Schema(done=Table({"what": Any}), ended=Table({"id": str, "context": Any, "result": Any}))
        )
        office.use("workpool", isolation="inline")

        @office.action
        async def act(ctx: ActionCtx, name: str, gate: bool = False, final: bool = False) -> str:
            self.log.append(name)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            try:
                if gate:
                    await self.gates.setdefault(name, asyncio.Event()).wait()
                if self.failures[name] > 0:
                    self.failures[name] -= 1
                    if final:
                        raise NonRetryable(f"{name} can never work")
                    raise AppError({"code": "NOT_NOW", "message": f"{name} failed"})
                return f"did {name}"
            finally:
                self.running -= 1

        @office.mutation
        async def write(ctx: MutationCtx, what: Any, fail: bool = False) -> int:
            await ctx.db.insert("done", {"what": what})
            if fail:
                raise AppError("no")
            return len(await ctx.db.query("done").collect())

        @office.query
        async def read(ctx: QueryCtx) -> int:
            return len(await ctx.db.query("done").collect())

        @office.mutation
        async def ended(ctx: MutationCtx, work_id: str, context: Any, result: dict[str, Any]) -> None:
            await ctx.db.insert("ended", {"id": work_id, "context": context, "result": result})
            if context == "raise":
                raise AppError("callback failed")

        @office.mutation
        async def regret(ctx: MutationCtx, what: str) -> None:
            await pool.enqueue_mutation(ctx, write, {"what": what}, on_complete=ended, context=what)
            raise AppError("regretted")

        self.act, self.write, self.read, self.ended, self.regret = act, write, read, ended, regret


async def do(t: TestBackend, operation: Callable[[MutationCtx], Any]) -> Any:
    """Something of the face, whose answer need be no value."""
    found: list[Any] = []

    async def run(ctx: MutationCtx) -> None:
        found[:] = [await operation(ctx)]

    await t.run(run)
    return found[0]


async def ended(t: TestBackend) -> list[dict[str, Any]]:
    return [
        {"id": row["id"], "context": row["context"], **row["result"]} for row in await t.run(lambda ctx: ctx.db.query("ended").collect())
    ]


async def status(t: TestBackend, id: str) -> WorkStatus:
    found: WorkStatus = await do(t, lambda ctx: pool.status(ctx, id))
    return found


async def until(condition: Callable[[], bool]) -> None:
    """Let everything run until something holds that does not wait for an action at its gate. Workers take a moment of real time."""
    for _ in range(5_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to hold")


# what runs


async def test_an_action_a_mutation_and_a_query_run_and_report_once() -> None:
    office = Office()
    async with Bench(office.component) as t:
        a = await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "a"}, on_complete=office.ended, context=[1, {"b": b"x"}]))
        b = await do(t, lambda ctx: pool.enqueue_mutation(ctx, office.write, {"what": "b"}, on_complete=office.ended))
        await t.finish_in_progress()
        c = await do(t, lambda ctx: pool.enqueue_query(ctx, office.read, on_complete=office.ended))
        await t.finish_in_progress()
        rows = {row.pop("id"): row for row in await ended(t)}
        assert rows == {
            a: {"context": [1, {"b": b"x"}], "kind": "success", "return_value": "did a"},
            b: {"context": None, "kind": "success", "return_value": 1},
            c: {"context": None, "kind": "success", "return_value": 1},
        }
        assert len(await ended(t)) == 3
        found = await status(t, a)
        assert (found.state, found.detail, found.result) == ("finished", "succeeded", {"kind": "success", "return_value": "did a"})
        assert found.name == "act"


async def test_what_a_failed_mutation_wrote_is_undone_and_its_failure_reported() -> None:
    office = Office()
    async with Bench(office.component) as t:
        await do(t, lambda ctx: pool.enqueue_mutation(ctx, office.write, {"what": 1, "fail": True}, on_complete=office.ended))
        await t.finish_in_progress()
        [row] = await ended(t)
        assert (row["kind"], row["error"], row["error_type"], row["error_data"]) == ("failed", "no", "AppError", "no")
        assert await t.query("read") == 0


async def test_enqueueing_is_undone_with_its_transaction() -> None:
    office = Office()

    async def fail(ctx: MutationCtx) -> None:
        await pool.enqueue_action(ctx, office.act, {"name": "a"})
        raise AppError("undo")

    async with Bench(office.component) as t:
        with pytest.raises(AppError):
            await t.run(fail)
        await t.finish_scheduled()
        assert office.log == []
        assert (await do(t, lambda ctx: pool.report(ctx)))["backlog"] == 0


async def test_a_batch_is_put_in_and_looked_at_together() -> None:
    office = Office()
    async with Bench(office.component) as t:
        ids = await do(t, lambda ctx: pool.enqueue_action_batch(ctx, office.act, [{"name": name} for name in "abc"]))
        more = await do(t, lambda ctx: pool.enqueue_mutation_batch(ctx, office.write, [{"what": n} for n in range(3)]))
        asks = await do(t, lambda ctx: pool.enqueue_query_batch(ctx, office.read, [None, {}]))
        await t.finish_in_progress()
        found = await do(t, lambda ctx: pool.status_batch(ctx, [*ids, *more, *asks, "nonsense"]))
        assert [one.state for one in found] == ["finished"] * 9
        assert [one.result for one in found[:3]] == [{"kind": "success", "return_value": f"did {name}"} for name in "abc"]
        assert found[8].detail is None


@pytest.mark.parametrize("count", [3, 12_000, 2_600_000])
async def test_long_arguments_contexts_and_results_come_back_whole(count: int) -> None:
    office = Office()
    office.log = []
    text = "ä" * (count // 2) + "b" * (count - count // 2)
    async with Bench(office.component) as t:
        id = await do(
            t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": text}, on_complete=office.ended, context=text[:1000] * 12)
        )
        await t.finish_in_progress()
        assert office.log == [text]
        [found] = await t.run(lambda ctx: ctx.db.query("ended").collect()) if count < 900_000 else [None]
        if found is not None:
            assert found["context"] == text[:1000] * 12
            assert found["result"]["return_value"] == f"did {text}"
        else:  # the callback could not store so much; the work has ended all the same
            assert (await status(t, id)).on_complete_error is not None
        assert (await status(t, id)).result == {"kind": "success", "return_value": f"did {text}"}
        await do(t, lambda ctx: pool.discard(ctx, id))
        await t.finish_in_progress()
        assert await t.component("workpool").run(lambda ctx: ctx.db.query("payloads").collect()) == []


async def test_what_is_too_long_is_refused_and_nothing_put_in() -> None:
    office = Office()
    async with Bench(office.component) as t:
        with pytest.raises(AppError, match="TOO_LARGE"):
            await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "x" * 4_000_001}))
        assert (await do(t, lambda ctx: pool.report(ctx)))["backlog"] == 0


# callbacks


@pytest.mark.parametrize("excluded", [list(some) for n in range(4) for some in combinations(["success", "failed", "canceled"], n)])
@pytest.mark.parametrize("outcome", ["success", "failed", "canceled"])
async def test_a_kind_of_outcome_that_is_excluded_calls_nobody(excluded: Any, outcome: str) -> None:
    office = Office()
    office.failures["a"] = outcome == "failed"
    async with Bench(office.component) as t:
        id = await do(
            t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "a"}, on_complete=office.ended, on_complete_exclude=excluded)
        )
        if outcome == "canceled":
            assert await do(t, lambda ctx: pool.cancel(ctx, id))
        await t.finish_in_progress()
        assert [row["kind"] for row in await ended(t)] == ([] if outcome in excluded else [outcome])


async def test_a_callback_that_raises_is_undone_and_the_work_has_ended_all_the_same() -> None:
    office = Office()
    async with Bench(office.component) as t:
        id = await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "a"}, on_complete=office.ended, context="raise"))
        await t.finish_in_progress()
        assert await ended(t) == []
        found = await status(t, id)
        assert (found.detail, found.on_complete_error) == ("succeeded", "AppError: callback failed")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"on_complete_exclude": ["never"]}, ValueError),
        ({"run_at": 0.0, "run_after": 1}, TypeError),
        ({"run_after": -1}, ValueError),
        ({"timeout": 0}, AppError),
        ({"priority": 1.5}, TypeError),
        ({"retry": 5}, TypeError),
    ],
)
async def test_options_that_make_no_sense_are_refused_and_put_nothing_in(options: Any, error: type[Exception]) -> None:
    office = Office()
    async with Bench(office.component) as t:
        with pytest.raises(error):
            await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "a"}, **options))
        assert (await do(t, lambda ctx: pool.report(ctx)))["backlog"] == 0
    with pytest.raises(ValueError, match="max_parallelism"):
        Workpool(components.workpool, max_parallelism=201)


async def test_a_function_of_another_kind_is_refused_where_it_is_put_in() -> None:
    office = Office()
    async with Bench(office.component) as t:
        with pytest.raises(TypeError, match="write is no action: put it in with enqueue_mutation"):
            await do(t, lambda ctx: pool.enqueue_action(ctx, office.write, {"what": 1}))
        with pytest.raises(TypeError, match="act is no mutation: put it in with enqueue_action"):
            await do(t, lambda ctx: pool.enqueue_mutation(ctx, office.act, {"name": "a"}))
        with pytest.raises(TypeError, match="on_complete is a mutation"):
            await do(t, lambda ctx: pool.enqueue_query(ctx, office.read, on_complete=office.act))
        assert (await do(t, lambda ctx: pool.report(ctx)))["backlog"] == 0


# retries


async def test_a_failed_action_is_tried_again_until_it_works() -> None:
    office = Office()
    office.failures["a"] = 2
    async with Bench(office.component) as t:
        id = await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "a"}, retry=EXACT, on_complete=office.ended))
        await t.finish_in_progress()
        assert (await status(t, id)).previous_attempts == 1
        await t.advance(0.99)
        assert len(office.log) == 1
        await t.advance(0.01)
        assert len(office.log) == 2
        await t.advance(1.9)
        assert (await status(t, id)).detail == "waiting"
        await t.advance(0.1)
        assert (await status(t, id)).detail == "succeeded"
        assert [row["kind"] for row in await ended(t)] == ["success"]


async def test_a_result_that_is_too_long_and_an_error_that_no_document_can_hold_are_told_at_once() -> None:
    office = Office()

    @office.component.action
    async def odd(ctx: ActionCtx, large: bool) -> str:
        office.log.append(large)
        if large:
            return "x" * 4_000_000
        raise ValueError("no file \udcff")

    async with Bench(office.component) as t:
        for large in (True, False):
            await do(t, lambda ctx, large=large: pool.enqueue_action(ctx, odd, {"large": large}, retry=EXACT, on_complete=office.ended))
            await t.advance(3)
        assert office.log == [True, False, False, False]  # to try again would make a result no smaller
        too_long, refused = await ended(t)
        assert too_long["kind"] == "failed" and "4,000,000 bytes" in too_long["error"]
        assert refused["error_type"] == "ValueError" and refused["error"] == "no file \\udcff"


@pytest.mark.parametrize("retry", [True, Retry(max_attempts=5, jitter=0)])
async def test_when_all_attempts_are_used_it_fails_once(retry: Any) -> None:
    office = Office()
    office.failures["a"] = 99
    async with Bench(office.component) as t:
        await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "a"}, retry=retry, on_complete=office.ended))
        await t.finish_scheduled()
        assert office.log == ["a"] * 5
        assert [(row["kind"], row["error"]) for row in await ended(t)] == [("failed", "a failed")]


async def test_what_says_that_it_is_final_is_not_tried_again() -> None:
    office = Office()
    office.failures["a"] = 99
    async with Bench(office.component) as t:
        await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "a", "final": True}, retry=True, on_complete=office.ended))
        await t.finish_scheduled()
        assert office.log == ["a"]
        assert (await ended(t))[0]["error"] == "a can never work"


async def test_without_a_policy_there_is_one_attempt_unless_the_pool_says_otherwise() -> None:
    office = Office()
    office.failures["a"] = office.failures["b"] = office.failures["c"] = 99
    eager = Workpool(components.workpool, retry_actions_by_default=True, default_retry=Retry(max_attempts=2))
    async with Bench(office.component) as t:
        await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "a"}))
        await do(t, lambda ctx: eager.enqueue_action(ctx, office.act, {"name": "b"}))
        await do(t, lambda ctx: eager.enqueue_action(ctx, office.act, {"name": "c"}, retry=False))
        await t.finish_scheduled()
        assert Counter(office.log) == {"a": 1, "b": 2, "c": 1}


async def test_pauses_grow_to_their_ceiling_and_differ_by_chance() -> None:
    office = Office()
    office.failures.update({str(n): 99 for n in range(20)})
    policy = Retry(max_attempts=4, initial_backoff=10, base=10, max_backoff=20)
    async with Bench(office.component) as t:
        begun = t.now()
        await do(t, lambda ctx: pool.enqueue_action_batch(ctx, office.act, [{"name": str(n)} for n in range(20)], retry=policy))
        await t.finish_in_progress()
        rows = await t.component("workpool").run(lambda ctx: ctx.db.query("works").collect())
        firsts = sorted((row["due"] - begun) / 1000 for row in rows)
        assert 5 <= firsts[0] < 8 and 12 < firsts[-1] < 15
        await t.finish_scheduled()
        assert (t.now() - begun) / 1000 < 15 + 30 + 30 + 10


async def test_an_attempt_that_takes_too_long_has_failed() -> None:
    office = Office()
    async with Bench(office.component) as t:
        await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "a", "gate": True}, timeout=5, on_complete=office.ended))
        await until(lambda: office.running == 1)
        t.clock.move_to(t.now() + 5_000)
        await until(lambda: office.running == 0)
        await t.finish_in_progress()
        assert [(row["kind"], row["error_type"]) for row in await ended(t)] == [("failed", "DeadlineExceeded")]


# how many, and which first


async def test_never_more_than_the_cap_run_at_once() -> None:
    office = Office()
    small = Workpool(components.workpool, max_parallelism=3)
    async with Bench(office.component) as t:
        await do(t, lambda ctx: small.enqueue_action_batch(ctx, office.act, [{"name": str(n), "gate": True} for n in range(10)]))
        await until(lambda: office.log == ["0", "1", "2"])
        for n in range(10):
            await until(lambda n=n: str(n) in office.gates)
            office.gates[str(n)].set()
        await t.finish_in_progress()
        assert (office.most_running, len(office.log)) == (3, 10)


async def test_a_pool_of_none_starts_nothing_until_it_is_made_larger() -> None:
    office = Office()
    closed = Workpool(components.workpool, max_parallelism=0)
    async with Bench(office.component) as t:
        id = await do(t, lambda ctx: closed.enqueue_action(ctx, office.act, {"name": "a"}))
        await t.finish_scheduled()
        assert ((await status(t, id)).state, office.log) == ("pending", [])
        await do(t, lambda ctx: closed.resize(ctx, 2))
        await t.finish_in_progress()
        assert (await status(t, id)).state == "finished"


async def test_what_was_set_at_run_time_is_not_undone_by_what_the_code_says() -> None:
    office = Office()
    ten = Workpool(components.workpool, max_parallelism=10)
    async with Bench(office.component) as t:
        await do(t, lambda ctx: ten.resize(ctx, 1))
        await do(t, lambda ctx: ten.enqueue_action_batch(ctx, office.act, [{"name": str(n)} for n in range(5)]))
        await t.finish_in_progress()
        assert office.most_running == 1
        assert (await do(t, lambda ctx: ten.settings(ctx))).max_parallelism == 1
        await do(t, lambda ctx: ten.pause(ctx))
        await do(t, lambda ctx: ten.resize(ctx, None))
        await do(t, lambda ctx: ten.enqueue_action(ctx, office.act, {"name": "later"}))
        await t.finish_in_progress()
        assert "later" not in office.log
        held = await do(t, lambda ctx: ten.settings(ctx))
        assert (held.paused, held.max_parallelism, held.default_parallelism) == (True, 10, 10)
        await do(t, lambda ctx: ten.resume(ctx))
        await t.finish_in_progress()
        assert "later" in office.log
        with pytest.raises(AppError, match="INVALID_PARALLELISM"):
            await do(t, lambda ctx: ten.resize(ctx, 201))


async def test_work_starts_by_priority_then_as_it_was_due_then_as_it_was_put_in() -> None:
    office = Office()
    async with Bench(office.component) as t:
        await do(t, lambda ctx: pool.resize(ctx, 1))
        await do(t, lambda ctx: pool.pause(ctx))
        await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "late"}, run_after=2))
        for name in ("a", "b", "c"):
            await do(t, lambda ctx, name=name: pool.enqueue_action(ctx, office.act, {"name": name}))
        await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "soon"}, run_after=1))
        await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "first"}, priority=5))
        await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "last"}, priority=-1))
        await t.advance(3)
        await do(t, lambda ctx: pool.resume(ctx))
        await t.finish_in_progress()
        assert office.log == ["first", "a", "b", "c", "soon", "late", "last"]


async def test_keys_take_turns_however_much_one_of_them_has_to_do() -> None:
    office = Office()
    async with Bench(office.component) as t:
        await do(t, lambda ctx: pool.resize(ctx, 1))
        await do(t, lambda ctx: pool.pause(ctx))
        for key, count in (("greedy", 6), ("modest", 2), ("late", 2)):
            works = [{"name": f"{key}{n}"} for n in range(count)]
            await do(t, lambda ctx, works=works, key=key: pool.enqueue_action_batch(ctx, office.act, works, key=key))
        await do(t, lambda ctx: pool.resume(ctx))
        await t.finish_in_progress()
        assert {name[:-1] for name in office.log[:3]} == {"greedy", "modest", "late"}
        assert {name[:-1] for name in office.log[3:6]} == {"greedy", "modest", "late"}
        assert office.log[6:] == ["greedy2", "greedy3", "greedy4", "greedy5"]


async def test_works_without_a_key_take_turns_with_those_that_have_one() -> None:
    office = Office()
    async with Bench(office.component) as t:
        await do(t, lambda ctx: pool.resize(ctx, 1))
        await do(t, lambda ctx: pool.pause(ctx))
        for key, name in ((None, "any"), ("k", "key")):
            works = [{"name": f"{name}{n}"} for n in range(3)]
            await do(t, lambda ctx, works=works, key=key: pool.enqueue_action_batch(ctx, office.act, works, key=key))
        await do(t, lambda ctx: pool.resume(ctx))
        await t.finish_in_progress()
        assert office.log == ["any0", "key0", "any1", "key1", "any2", "key2"]


async def test_of_one_serial_key_one_runs_at_a_time_in_order() -> None:
    office = Office()
    async with Bench(office.component) as t:
        for name in ("a1", "a2", "b1", "a3"):
            work = {"name": name, "gate": True}
            await do(t, lambda ctx, work=work: pool.enqueue_action(ctx, office.act, work, serial_key=work["name"][0]))
        await until(lambda: office.log == ["a1", "b1"])
        office.gates["a1"].set()
        await until(lambda: office.log == ["a1", "b1", "a2"])
        office.gates["a2"].set()
        await until(lambda: office.log == ["a1", "b1", "a2", "a3"])
        for gate in office.gates.values():
            gate.set()
        await t.finish_in_progress()


async def test_a_dedupe_key_finds_the_work_that_has_not_ended() -> None:
    office = Office()
    async with Bench(office.component) as t:
        a = await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "a"}, dedupe_key="k"))
        assert await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "b"}, dedupe_key="k")) == a
        assert await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "c"}, dedupe_key="other")) != a
        await t.finish_in_progress()
        assert sorted(office.log) == ["a", "c"]
        assert await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "d"}, dedupe_key="k")) != a


# stopping


async def test_what_waits_to_be_tried_again_can_be_canceled_and_says_so_once() -> None:
    office = Office()
    office.failures["a"] = 99
    async with Bench(office.component) as t:
        id = await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "a"}, retry=EXACT, on_complete=office.ended))
        await t.finish_in_progress()
        assert await do(t, lambda ctx: pool.cancel(ctx, id))
        assert not await do(t, lambda ctx: pool.cancel(ctx, id))
        await t.finish_scheduled()
        assert office.log == ["a"]
        assert [row["kind"] for row in await ended(t)] == ["canceled"]


@pytest.mark.parametrize(("fails", "retry", "outcome"), [(0, None, "success"), (1, None, "failed"), (1, EXACT, "canceled")])
async def test_what_runs_may_finish_when_it_is_canceled_but_is_not_tried_again(fails: int, retry: Any, outcome: str) -> None:
    office = Office()
    office.failures["a"] = fails
    async with Bench(office.component) as t:
        work = {"name": "a", "gate": True}
        id = await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, work, retry=retry, on_complete=office.ended))
        await until(lambda: office.running == 1)
        for _ in range(2):
            assert await do(t, lambda ctx: pool.cancel(ctx, id))
        office.gates["a"].set()
        await t.finish_scheduled()
        assert [row["kind"] for row in await ended(t)] == [outcome]
        assert office.log == ["a"]


@pytest.mark.parametrize("kind", ["mutation", "query"])
async def test_what_has_its_place_but_has_not_begun_is_not_done_when_it_is_canceled(kind: str) -> None:
    office = Office()

    async def begin_and_cancel(ctx: MutationCtx) -> bool:
        await ctx.run_mutation("resume")
        await ctx.run_mutation("dispatch")
        assert (await ctx.run_query("status", work_id=id))["detail"] == "running"
        return bool(await ctx.run_mutation("cancel", work_id=id))

    async with Bench(office.component) as t:
        await do(t, pool.pause)
        if kind == "mutation":
            id = await do(t, lambda ctx: pool.enqueue_mutation(ctx, office.write, {"what": 1}, on_complete=office.ended))
        else:
            id = await do(t, lambda ctx: pool.enqueue_query(ctx, office.read, on_complete=office.ended))
        assert await t.run(begin_and_cancel, component="workpool")
        await t.finish_scheduled()
        assert [row["kind"] for row in await ended(t)] == ["canceled"]
        assert await t.run(lambda ctx: ctx.db.query("done").collect()) == []


async def test_everything_can_be_canceled_some_at_once_and_the_rest_in_jobs() -> None:
    office = Office()
    async with Bench(office.component) as t:
        await do(t, lambda ctx: pool.pause(ctx))
        names = [{"name": str(n)} for n in range(65)]
        await do(t, lambda ctx: pool.enqueue_action_batch(ctx, office.act, names, on_complete=office.ended))
        assert await do(t, lambda ctx: pool.cancel_all(ctx)) == 64
        assert (await do(t, lambda ctx: pool.report(ctx)))["backlog"] == 1
        await t.advance(1)
        await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "new"}))
        await t.finish_in_progress()
        assert (await do(t, lambda ctx: pool.report(ctx)))["canceled"] == 65
        await do(t, lambda ctx: pool.resume(ctx))
        await t.finish_in_progress()
        assert office.log == ["new"]
        assert len(await ended(t)) == 65
        assert not await do(t, lambda ctx: pool.cancel(ctx, "nobody"))


# afterwards


async def test_dead_letters_can_be_read_put_in_again_and_discarded() -> None:
    office = Office()
    office.failures["a"] = office.failures["b"] = 1
    async with Bench(office.component) as t:
        a = await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "a"}))
        b = await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "b"}))
        await t.finish_in_progress()
        page = await do(t, lambda ctx: pool.dead_letters(ctx, PaginationOptions(num_items=10)))
        assert {letter.id for letter in page.page} == {a, b}
        assert await do(t, lambda ctx: pool.redrive(ctx, a))
        assert not await do(t, lambda ctx: pool.redrive(ctx, a))
        await t.finish_in_progress()
        assert (await status(t, a)).detail == "succeeded"
        assert await do(t, lambda ctx: pool.discard(ctx, b))
        assert (await status(t, b)).detail is None
        assert (await do(t, lambda ctx: pool.dead_letters(ctx))).page == []


async def test_a_dead_letter_that_is_put_in_again_has_its_dedupe_key_again() -> None:
    office = Office()
    office.failures["a"] = 1
    async with Bench(office.component) as t:

        def put(ctx: MutationCtx) -> Any:
            return pool.enqueue_action(ctx, office.act, {"name": "a"}, dedupe_key="a")

        first = await do(t, put)
        await t.finish_scheduled()
        second = await do(t, put)
        assert second != first
        with pytest.raises(AppError, match="of the same dedupe_key 'a' has not ended"):
            await do(t, lambda ctx: pool.redrive(ctx, first))
        await t.finish_scheduled()
        await do(t, pool.pause)
        assert await do(t, lambda ctx: pool.redrive(ctx, first))
        assert await do(t, put) == first
        await do(t, pool.resume)
        await t.finish_scheduled()
        assert [(await status(t, id)).detail for id in (first, second)] == ["succeeded", "succeeded"]
        assert await do(t, put) not in (first, second)


async def test_results_are_kept_for_a_day_and_dead_letters_for_a_week() -> None:
    office = Office()
    office.failures["b"] = 1
    brief = Workpool(components.workpool, keep_results=0)
    async with Bench(office.component) as t:
        a = await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "a"}))
        b = await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "b"}))
        c = await do(t, lambda ctx: brief.enqueue_mutation(ctx, office.write, {"what": 1}, on_complete=office.ended))
        await t.finish_in_progress()
        assert ((await status(t, c)).detail, [row["id"] for row in await ended(t)]) == (None, [c])
        await t.advance(DAY - HOUR)
        assert (await status(t, a)).detail == "succeeded"
        await t.advance(3 * HOUR)
        assert ((await status(t, a)).state, (await status(t, a)).detail, (await status(t, b)).detail) == ("finished", None, "failed")
        await t.advance(7 * DAY)
        assert await t.component("workpool").run(lambda ctx: ctx.db.query("works").collect()) == []


async def test_a_report_counts_attempts_and_works() -> None:
    assert failure_rates(10, 2, 2) == {"failure_rate": 0.4, "permanent_failure_rate": 0.25}
    office = Office()
    office.failures["a"] = 1
    office.failures["b"] = 9
    async with Bench(office.component) as t:
        for name in "abc":
            await do(t, lambda ctx, name=name: pool.enqueue_action(ctx, office.act, {"name": name}, retry=Retry(max_attempts=2)))
        await t.finish_scheduled()
        report = await do(t, lambda ctx: pool.report(ctx))
        assert (report["completed"], report["succeeded"], report["failed"], report["retries"]) == (5, 2, 1, 2)
        assert (report["failure_rate"], report["permanent_failure_rate"], report["backlog"]) == (0.6, 0.3333, 0)


async def test_an_attempt_whose_job_was_ended_by_others_is_found() -> None:
    office = Office()
    async with Bench(office.component) as t:
        work = {"name": "a", "gate": True}
        id = await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, work, retry=EXACT, on_complete=office.ended))
        await until(lambda: office.running == 1)

        async def end(ctx: MutationCtx) -> None:
            row = await ctx.db.get(id)
            assert row is not None
            await ctx.scheduler.cancel(row["job"])

        await t.component("workpool").run(end)
        t.clock.move_to(t.now() + 11_000)
        for _ in range(5_000):
            if (await status(t, id)).detail == "waiting":
                break
            await asyncio.sleep(0.001)
        t.clock.move_to(t.now() + 1_000)
        await until(lambda: office.log == ["a", "a"])
        office.gates["a"].set()
        await t.finish_in_progress()
        assert [row["kind"] for row in await ended(t)] == ["success"]


async def test_a_report_that_comes_twice_or_late_changes_nothing() -> None:
    office = Office()
    office.failures["a"] = 1
    async with Bench(office.component) as t:

        async def report(attempt: int) -> None:
            outcome = {"kind": "failed", "error": '{"message": "late", "type": "AppError"}'}
            await t.component("workpool").mutation("finish_action", work_id=id, attempt=attempt, outcome=outcome)

        id = await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "a"}, retry=EXACT, on_complete=office.ended))
        await t.finish_in_progress()
        before = await status(t, id)
        assert (before.detail, before.previous_attempts) == ("waiting", 1)
        await report(1)
        assert await status(t, id) == before
        await t.finish_scheduled()
        after = await status(t, id)
        assert (after.detail, after.previous_attempts) == ("succeeded", 2)
        for attempt in (1, 2, 3):
            await report(attempt)
        await t.finish_scheduled()
        assert await status(t, id) == after
        assert [row["kind"] for row in await ended(t)] == ["success"] and office.log == ["a", "a"]


@pytest.mark.parametrize("isolation", ["inline"], indirect=True)
async def test_work_whose_start_was_lost_is_started_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a worker crashes over the job that starts what is due."""
    office, failures, whole = Office(), [2], component.start_due

    async def fails_twice(ctx: MutationCtx) -> None:
        if failures[0]:
            failures[0] -= 1
            raise RuntimeError("the worker is gone")
        await whole(ctx)

    async with Bench(office.component) as t:
        monkeypatch.setattr(component, "start_due", fails_twice)
        now = await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "now"}))
        later = await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "later"}, run_after=60))
        await t.advance(61)
        assert [(await status(t, id)).state for id in (now, later)] == ["pending", "pending"]
        await t.advance(310)
        assert [(await status(t, id)).state for id in (now, later)] == ["finished", "finished"]


@pytest.mark.parametrize("isolation", ["inline"], indirect=True)
async def test_of_much_work_whose_start_fails_again_and_again_each_is_tried_once_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    office, is_broken, whole, count = Office(), [True], component.start_due, 5

    async def fails(ctx: MutationCtx) -> None:
        if is_broken[0]:
            raise RuntimeError("the worker is gone")
        await whole(ctx)

    async with Bench(office.component) as t:
        monkeypatch.setattr(component, "start_due", fails)
        monkeypatch.setattr(component, "MENDED_AT_ONCE", 2)
        ids = [await do(t, lambda ctx: pool.enqueue_action(ctx, office.act, {"name": "a"}, run_after=1)) for _ in range(count)]
        await t.advance(3_600)

        async def failed(ctx: MutationCtx) -> int:
            return len([job for job in await ctx.scheduler.list("failed") if job.name.endswith("promote")])

        assert count * 10 <= await t.run(failed, component="workpool") <= count * 13
        is_broken[0] = False
        await t.advance(310)
        assert [(await status(t, id)).state for id in ids] == ["finished"] * count


# a model


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    plan=st.lists(
        st.tuples(
            st.sampled_from(["action", "mutation", "cancel", "resize", "time"]),
            st.integers(0, 4),
            st.sampled_from(["", "k", "l"]),
            st.booleans(),
        ),
        max_size=25,
    ),
    seed=st.integers(0, 2**32 - 1),
)
async def test_every_work_ends_once_and_as_often_as_it_should_have_run(plan: list[tuple[str, int, str, bool]], seed: int) -> None:
    """What is put in is put in at once, in transactions of which some fail, beside sub-transactions that are undone.

    Model: how many attempts each work has left, and whether a transaction that put it in stood.
    """
    office = Office()
    policy = Retry(max_attempts=3, initial_backoff=1, jitter=0)
    async with Bench(office.component, seed=seed) as t:
        fails: dict[str, int] = {}
        canceled: set[str] = set()
        ids: dict[str, str] = {}
        putting: list[tuple[Any, bool]] = []

        async def put_in() -> None:
            outcomes = await asyncio.gather(*(t.run(put) for put, _ in putting), return_exceptions=True)
            assert [isinstance(outcome, AppError) for outcome in outcomes] == [undone for _, undone in putting], outcomes
            putting.clear()

        for at, (what, number, key, undone) in enumerate(plan):
            name = f"w{at}"

            async def put(ctx: MutationCtx, what=what, name=name, key=key, undone=undone, number=number) -> Any:  # type: ignore[no-untyped-def]
                if what == "action":
                    ids[name] = await pool.enqueue_action(
                        ctx,
                        office.act,
                        {"name": name},
                        retry=policy,
                        on_complete=office.ended,
                        context=name,
                        key=key or None,
                        serial_key=key or None,
                        priority=number,
                    )
                else:
                    work = {"what": name, "fail": number > 2}
                    ids[name] = await pool.enqueue_mutation(
                        ctx, office.write, work, on_complete=office.ended, context=name, key=key or None
                    )
                with suppress(AppError):
                    await ctx.run_mutation(office.regret, what=f"{name} regretted")
                if undone:
                    raise AppError("undone")

            if what in ("action", "mutation"):
                if not undone:
                    fails[name] = number
                if what == "action":
                    office.failures[name] = number
                putting.append((put, undone))
                continue
            await put_in()
            if what == "cancel" and fails:
                name = sorted(fails)[number % len(fails)]
                if await do(t, lambda ctx, name=name: pool.cancel(ctx, ids[name])):
                    canceled.add(name)
            elif what == "resize":
                await do(t, lambda ctx, number=number: pool.resize(ctx, number))
            else:
                await t.advance(number)
        await put_in()
        await do(t, lambda ctx: pool.resize(ctx, 4))
        await t.finish_scheduled()
        results = {row["context"]: row["kind"] for row in await ended(t)}
        assert sorted(results) == sorted(fails)  # each once
        assert len(await ended(t)) == len(fails)
        wrote = Counter(row["what"] for row in await t.run(lambda ctx: ctx.db.query("done").collect()))
        for name, number in fails.items():
            is_action = plan[int(name[1:])][0] == "action"
            expected = "success" if number < 3 else "failed"
            assert results[name] == expected or (name in canceled and results[name] == "canceled")
            if results[name] == "canceled":
                continue
            if is_action:
                assert office.log.count(name) == min(number + 1, 3)
            else:
                assert wrote[name] == (results[name] == "success")
        assert office.most_running <= 10
        assert set(wrote) <= set(fails)
        assert await t.component("workpool").run(lambda ctx: ctx.db.query("works").index("queue", state="running").collect()) == []
