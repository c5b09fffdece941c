"""The testing kit, tested with itself: what an author may lean on."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.placed import placed

import interlock.testing
from interlock import (
    ActionCtx,
    App,
    AppError,
    Component,
    DeadlineExceeded,
    FunctionNotFound,
    LimitExceeded,
    Limits,
    MountError,
    MutationCtx,
    QueryCtx,
    Schema,
    Table,
    components,
    mutation,
)
from interlock.testing import TestBackend

pytestmark = pytest.mark.usefixtures("both_isolations")


def tally(with_cron: bool = False) -> Component:
    component = Component("tally", schema=Schema(counts=Table({"name": str, "n": int}).index("by_name", "name")))

    @component.mutation
    async def add(ctx: MutationCtx, name: str, n: int = 1) -> int:
        row = await ctx.db.query("counts").index("by_name", name=name).first()
        if row is None:
            await ctx.db.insert("counts", {"name": name, "n": n})
            return n
        await ctx.db.patch(row["_id"], {"n": row["n"] + n})
        return int(row["n"] + n)

    @component.mutation(internal=True)
    async def clear(ctx: MutationCtx) -> None:
        for row in await ctx.db.query("counts").collect():
            await ctx.db.delete(row["_id"])

    @component.query
    async def count(ctx: QueryCtx, name: str) -> int:
        row = await ctx.db.query("counts").index("by_name", name=name).first()
        return 0 if row is None else int(row["n"])

    @component.mutation
    async def add_later(ctx: MutationCtx, name: str, seconds: float) -> str:
        return await ctx.scheduler.run_after(seconds, add, name=name)

    @component.mutation
    async def add_for_ever(ctx: MutationCtx, name: str, seconds: float) -> None:
        await ctx.run_mutation(add, name=name)
        await ctx.scheduler.run_after(seconds, add_for_ever, name=name, seconds=seconds)

    @component.mutation
    async def add_while(ctx: MutationCtx, name: str, times: int, seconds: float) -> None:
        if times:
            await ctx.run_mutation(add, name=name)
            await ctx.scheduler.run_after(seconds, add_while, name=name, times=times - 1, seconds=seconds)

    @component.action
    async def add_twice(ctx: ActionCtx, name: str) -> None:
        await ctx.run_mutation(add, name=name)
        await ctx.run_mutation(add, name=name)

    @component.mutation
    async def fail(ctx: MutationCtx) -> None:
        await ctx.db.insert("counts", {"name": "no", "n": 1})
        raise AppError("undone")

    @component.query
    async def is_told_who_asks(ctx: QueryCtx) -> bool:
        return hasattr(ctx, "auth")

    @component.mutation
    async def fill(ctx: MutationCtx, number: int) -> None:
        for part in range(50):
            await ctx.db.insert("counts", {"name": f"{number}", "n": part})

    @component.mutation
    async def draw(ctx: MutationCtx) -> list[Any]:
        return [ctx.random.random(), await ctx.db.insert("counts", {"name": "x", "n": 1})]

    if with_cron:
        component.cron("add", every=60, args={"name": "ticks"})(add)
    return component


TALLY, TICKING = placed(tally), placed(tally, with_cron=True)


async def test_a_component_on_its_own_is_called_by_name() -> None:
    async with TestBackend(TALLY) as t:
        assert await t.mutation("add", name="beans", n=10) == 10
        await t.action("add_twice", name="beans")
        assert await t.query("count", name="beans") == 12


async def test_functions_are_called_by_reference_too() -> None:
    async with TestBackend(TALLY) as t:
        await t.mutation(TALLY.functions["add"], name="beans")
        assert await t.query(TALLY.functions["count"], name="beans") == 1


async def test_functions_may_be_written_on_the_spot() -> None:
    async def first(ctx: QueryCtx, table: str) -> Any:
        return await ctx.db.query(table).first()

    async def insert(ctx: MutationCtx, name: str) -> str:
        return await ctx.db.insert("counts", {"name": name, "n": 3})

    async def act(ctx: ActionCtx) -> int:
        return int(await ctx.run_query("count", name="peas"))

    @mutation
    async def decorated(ctx: MutationCtx, name: str) -> int:
        return int(await ctx.run_mutation("add", name=name))

    async with TestBackend(TALLY) as t:
        id = await t.mutation(insert, name="peas")
        assert (await t.query(first, table="counts"))["_id"] == id
        assert await t.action(act) == 3
        assert await t.mutation(decorated, name="peas") == 4


@pytest.mark.one_isolation("inline", "a function written on the spot runs in the host")
@pytest.mark.skipif(sys.platform == "win32", reason="nothing ends a function there that never comes back")
async def test_what_is_written_on_the_spot_and_never_comes_back_is_ended() -> None:
    def spin(ctx: MutationCtx) -> None:
        while True:
            pass

    async with TestBackend(TALLY) as t:
        with pytest.raises(DeadlineExceeded, match="CPU time"):
            await t.run(spin)
        assert await t.run(lambda ctx: "plain") == "plain"


async def test_run_is_a_mutation_written_on_the_spot() -> None:
    async with TestBackend(TALLY) as t:
        await t.run(lambda ctx: ctx.db.insert("counts", {"name": "peas", "n": 5}))
        assert await t.query("count", name="peas") == 5
        assert await t.run(lambda ctx: ctx.function.kind) == "mutation"
        with pytest.raises(AppError):
            await t.run(fail_after_writing)
        assert await t.run(lambda ctx: ctx.db.query("counts").count()) == 1


async def fail_after_writing(ctx: MutationCtx) -> None:
    await ctx.db.insert("counts", {"name": "no", "n": 1})
    raise AppError("undone")


async def test_errors_arrive_as_they_were_raised() -> None:
    async with TestBackend(TALLY) as t:
        with pytest.raises(FunctionNotFound):
            await t.query("cuont", name="x")
        for failing in (t.run(fail_after_writing), t.mutation("fail")):
            with pytest.raises(AppError) as error:
                await failing
            assert error.value.data == "undone"


def app() -> App:
    app = App()
    app.use(TALLY, name="one", isolation="inline")
    app.use(TALLY, name="two", isolation="inline")
    return app


async def test_a_mounts_functions_are_called_directly_the_internal_ones_too() -> None:
    async with TestBackend(app()) as t:
        one = t.component("one")
        await one.mutation("add", name="beans")
        assert await one.query("count", name="beans") == 1
        assert await t.component("two").query("count", name="beans") == 0
        assert await t.query(components.one.count, name="beans") == 1
        await one.mutation("clear")
        assert await one.query("count", name="beans") == 0
        await t.run(lambda ctx: ctx.db.insert("counts", {"name": "peas", "n": 2}), component="two")
        assert await t.component("two").run(lambda ctx: ctx.db.query("counts").count()) == 1


async def test_a_mount_that_is_not_there_is_named() -> None:
    async with TestBackend(app()) as t:
        with pytest.raises(MountError, match="one"):
            await t.component("three").query("count", name="x")


async def test_an_identity_is_seen_by_the_app_and_not_by_its_components() -> None:
    async def who(ctx: QueryCtx) -> Any:
        identity = await ctx.auth.identity()
        return None if identity is None else (identity.subject, identity.name, identity["favourite"], identity.token_identifier)

    async with TestBackend(app()) as t:
        assert await t.query(who) is None
        ada = t.with_identity(subject="ada", name="Ada", favourite="word")
        assert await ada.query(who) == ["ada", "Ada", "word", "https://issuer.test|ada"]
        assert await t.with_identity(subject="b", issuer="https://b", favourite=1).query(who) == ["b", None, 1, "https://b|b"]
        assert await ada.component("one").query("is_told_who_asks") is False


async def test_subscribers_see_each_change_once() -> None:
    async with TestBackend(TALLY) as t:
        counts = t.subscribe("count", name="beans")
        assert await anext(counts) == 0
        await t.mutation("add", name="beans")
        assert await anext(counts) == 1
        runs = t.query_runs
        await t.mutation("add", name="peas")
        assert await t.query("count", name="beans") == 1
        assert t.query_runs == runs
        await counts.aclose()  # type: ignore[attr-defined]


# time


async def test_time_stands_still_until_it_is_advanced() -> None:
    async with TestBackend(TALLY) as t:
        start = t.now()
        assert await t.run(lambda ctx: ctx.now()) == start
        await t.advance(90)
        await t.advance(timedelta(minutes=1))
        assert await t.run(lambda ctx: ctx.now()) == start + 150_000


async def test_documents_of_one_moment_keep_the_order_in_which_they_were_inserted() -> None:
    async with TestBackend(TALLY) as t:
        for number in range(5):
            await t.mutation("fill", number=number)
        rows = await t.run(lambda ctx: ctx.db.query("counts").collect())
        assert [(row["name"], row["n"]) for row in rows] == [(f"{number}", part) for number in range(5) for part in range(50)]


async def test_the_beginning_of_time_can_be_chosen() -> None:
    async with TestBackend(TALLY, start=datetime(2026, 5, 1, tzinfo=UTC)) as t:
        assert t.now() == datetime(2026, 5, 1, tzinfo=UTC).timestamp() * 1000
    assert TestBackend(TALLY, start=5_000.0).now() == 5_000.0
    with pytest.raises(ValueError, match="time zone"):
        TestBackend(TALLY, start=datetime(2026, 5, 1))


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
async def test_time_passes_forward_only(seconds: float) -> None:
    async with TestBackend(TALLY) as t:
        with pytest.raises(ValueError, match="forward"):
            await t.advance(seconds)


async def test_advancing_runs_what_becomes_due_in_the_order_of_time() -> None:
    async with TestBackend(TALLY) as t:
        for seconds in (30, 10, 20, 40):
            await t.mutation("add_later", name=str(seconds), seconds=seconds)
        ran = await t.advance(30)
        assert [job.args["name"] for job in ran] == ["10", "20", "30"]
        assert {job.state for job in ran} == {"success"}
        assert [job.args["name"] for job in await t.advance(10)] == ["40"]


async def test_crons_run_as_time_passes() -> None:
    async with TestBackend(TICKING) as t:
        await t.advance(3_600)
        assert await t.query("count", name="ticks") == 61


async def test_finish_in_progress_runs_what_is_due_and_lets_no_time_pass() -> None:
    async with TestBackend(TALLY) as t:
        await t.mutation("add_while", name="now", times=5, seconds=0)
        await t.mutation("add_later", name="later", seconds=5)
        ran = await t.finish_in_progress()
        assert len(ran) == 5
        assert await t.query("count", name="now") == 5
        assert await t.query("count", name="later") == 0


async def test_finish_scheduled_runs_all_that_is_planned_and_says_what() -> None:
    async with TestBackend(TALLY) as t:
        start = t.now()
        await t.mutation("add_while", name="x", times=5, seconds=10)
        ran = await t.finish_scheduled()
        assert [job.name for job in ran] == ["add_while"] * 5
        assert await t.query("count", name="x") == 5
        assert t.now() == start + 50_000
        assert await t.finish_scheduled() == []


async def test_a_job_that_ran_beside_the_tests_own_calls_is_among_those_that_ran() -> None:
    async def plan(ctx: MutationCtx) -> None:
        await ctx.scheduler.run_after(0, "add", name="beans")

    async with TestBackend(TALLY) as t:
        await t.run(plan)
        for _ in range(3):
            await t.mutation("add", name="peas")  # the loop turns meanwhile
        assert [job.name for job in await t.finish_scheduled()] == ["add"]
        assert await t.finish_scheduled() == []
        await t.run(plan)
        for _ in range(3):
            await t.mutation("add", name="peas")
        assert [job.name for job in await t.advance(0)] == ["add"]


async def test_finish_scheduled_takes_crons_along_and_does_not_wait_for_them() -> None:
    async with TestBackend(TICKING) as t:
        await t.mutation("add_later", name="x", seconds=150)
        ran = await t.finish_scheduled()
        assert [job.args["name"] for job in ran] == ["ticks", "ticks", "ticks", "x"]


async def test_finish_scheduled_fails_where_jobs_plan_each_other_without_end() -> None:
    async with TestBackend(TALLY) as t:
        await t.mutation("add_for_ever", name="x", seconds=10)
        with pytest.raises(AssertionError, match="after 20 rounds jobs are still planned: add_for_ever"):
            await t.finish_scheduled(max_rounds=20)


@pytest.mark.one_isolation("inline", "a thousand generations of jobs take their time; the rounds above are counted both ways")
async def test_jobs_that_plan_each_other_for_now_without_end_are_found_by_all_that_wait() -> None:
    async with TestBackend(TALLY) as t:
        await t.mutation("add_for_ever", name="x", seconds=0)
        with pytest.raises(AssertionError, match="without an end, and no time passes: add_for_ever"):
            await t.finish_scheduled()
        with pytest.raises(AssertionError, match="without an end"):
            await t.advance(1)


async def test_a_job_that_fails_is_told_like_any_other() -> None:
    async with TestBackend(TALLY) as t:
        await t.run(lambda ctx: ctx.scheduler.run_after(0, "fail"))
        [job] = await t.finish_scheduled()
        assert job.state == "failed"
        assert "AppError: undone" in (job.error or "")


async def test_jobs_of_mounts_are_named_with_their_path() -> None:
    async with TestBackend(app()) as t:
        await t.component("one").mutation("add_later", name="x", seconds=5)
        assert [job.name for job in await t.finish_scheduled()] == ["one/add"]


# the engine itself


@pytest.mark.one_isolation("inline", "a function written on the spot runs in the host")
async def test_concurrent_mutations_conflict_and_none_is_lost() -> None:
    runs = 0

    async def add_slowly(ctx: MutationCtx) -> None:
        nonlocal runs
        runs += 1
        row = await ctx.db.query("counts").first()
        await asyncio.sleep(0)
        if row is None:
            await ctx.db.insert("counts", {"name": "x", "n": 1})
        else:
            await ctx.db.patch(row["_id"], {"n": row["n"] + 1})

    async with TestBackend(TALLY) as t:
        await asyncio.gather(*[t.run(add_slowly) for _ in range(20)])
        assert await t.query("count", name="x") == 20
        assert runs > 20


async def test_limits_lower_what_each_call_may_use() -> None:
    async with TestBackend(TALLY, limits=Limits(documents_written=1)) as t:
        await t.mutation("add", name="x")
        await t.mutation("add", name="y")
        with pytest.raises(LimitExceeded, match="documents_written"):
            await t.mutation("clear")


async def test_one_seed_gives_one_history() -> None:
    async def history(seed: int) -> list[Any]:
        async with TestBackend(TALLY, seed=seed) as t:
            return [await t.mutation("draw") for _ in range(3)]

    assert await history(1) == await history(1)
    assert await history(1) != await history(2)


@pytest.mark.one_isolation("inline", "the app's own functions run in the host")
async def test_an_apps_directory_is_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "jotted"
    folder.mkdir()
    (folder / "app.py").write_text("from interlock import App\napp = App()\n")
    (folder / "jots.py").write_text(
        """
from interlock import MutationCtx, mutation

@mutation
async def jot(ctx: MutationCtx, text: str) -> int:
    return len(text)
"""
    )
    async with TestBackend(folder) as t:
        assert await t.mutation("jots:jot", text="four") == 4


@pytest.mark.one_isolation("inline", "no component runs: names alone")
def test_the_promised_names_are_there_and_no_others() -> None:
    assert interlock.testing.__all__ == [
        "FAULTS",
        "CallFailed",
        "Faults",
        "History",
        "SimulatedClient",
        "SimulationFailed",
        "TestBackend",
        "TestClient",
        "VirtualClock",
        "Workload",
        "simulate",
    ]
    for name in interlock.testing.__all__:
        there = getattr(interlock.testing, name)
        assert name == "FAULTS" or (there.__name__ == name and there.__doc__)
    assert not hasattr(interlock.testing, "Nothing")
