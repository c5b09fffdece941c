"""A mutation that comes again and again: the next one has run before it is made, and what comes out is as if it had not."""

from __future__ import annotations

import asyncio
import gc
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock import App, MutationCtx, components
from interlock.engine.waited import Waited
from interlock.functions.foreseen import ForeseenCall, Foresight
from interlock.functions.sandboxed import SandboxRunner
from interlock.sandbox import process
from interlock.sandbox.process import Lost
from interlock.testing import TestBackend

from .test_memory import bump, calls, id_of, operations, set_value

ledger = components.ledger
_LOOKS_MAX = 10_000_000


async def foresight(app: TestBackend) -> Foresight:
    runner = (await app.opened()).dispatcher.directory.scopes["ledger"].runner
    return cast(SandboxRunner, runner)._foresight


async def foreseen(app: TestBackend, *, over: bool = True) -> ForeseenCall | None:
    """The next call, when it has run or is given up; or as soon as it is on its way."""
    found = await foresight(app)
    for _ in range(_LOOKS_MAX):
        await asyncio.sleep(0)
        if found._next is None or found._next.is_over or not over:
            return found._next
    raise AssertionError("it never ended")


async def ready(app: TestBackend) -> bool:
    found = await foreseen(app)
    return found is not None and found.is_ready


async def known(app: TestBackend) -> None:
    """Bumping "a" has been called twice, alone, and asked for nothing the last time."""
    assert [await bump(app) for _ in range(3)] == [1, 2, 3]
    assert await ready(app)


async def test_the_next_call_of_a_row_has_run_before_it_is_made(app: TestBackend) -> None:
    await known(app)
    for expected in range(4, 10):
        before = await calls(app)
        bumped = await bump(app)
        assert bumped == expected
        assert await ready(app)
        assert await calls(app) == before + 1  # the one after it
    assert await app.component("ledger").query("value", name="a") == 9


async def test_what_is_foreseen_is_nothing_until_it_is_made(app: TestBackend) -> None:
    await known(app)
    at = app.component("ledger")
    assert await at.query("value", name="a") == 3
    assert await at.mutation("refuse_if_above", name="a", most=3) == "fine"
    assert await bump(app) == 4


async def test_another_call_comes_instead_and_the_foreseen_one_is_forgotten(app: TestBackend) -> None:
    await known(app)
    assert await bump(app, "b") == 1
    assert await foreseen(app) is None
    assert await bump(app) == 4
    assert await app.component("ledger").query("value", name="a") == 4


async def test_its_writes_are_not_remembered_before_it_is_made(app: TestBackend) -> None:
    """Another call would run on them, and once more without."""
    id = await id_of(app)
    await known(app)
    before = await calls(app)
    assert await app.component("ledger").mutation("bump_at", id=id) == 4
    assert await calls(app) == before + 1


async def test_it_counts_only_where_it_would_be_shown_the_same(app: TestBackend) -> None:
    await known(app)
    await set_value(app, 100)
    assert [await bump(app) for _ in range(3)] == [101, 102, 103]


async def test_another_function_has_written_meanwhile(app: TestBackend) -> None:
    id = await id_of(app)
    at = app.component("ledger")
    for expected in range(1, 30, 4):
        assert [await bump(app) for _ in range(3)] == [expected, expected + 1, expected + 2]
        assert await ready(app) or expected == 1
        assert await at.mutation("bump_at", id=id) == expected + 3


async def test_what_was_made_of_it_is_undone_with_the_caller(app: TestBackend) -> None:
    await known(app)

    async def fails(ctx: MutationCtx) -> None:
        assert await ctx.run_mutation(ledger.bump, name="a") == 4
        raise KeyError("the app changes its mind")

    for _ in range(3):
        with pytest.raises(KeyError):
            await app.mutation(fails)
        await foreseen(app)
    assert await bump(app) == 4


async def test_several_of_them_in_one_transaction_follow_each_other(app: TestBackend) -> None:
    await known(app)

    async def three(ctx: MutationCtx) -> list[Any]:
        return [await ctx.run_mutation(ledger.bump, name="a") for _ in range(3)]

    for first in range(4, 20, 3):
        assert await app.mutation(three) == [first, first + 1, first + 2]
        await foreseen(app)


@pytest.mark.parametrize("function", ["clocks_and_draws", "bump_and_say", "add_count", "bump_and_tick"])
async def test_what_depends_on_when_it_is_made_or_says_something_is_not_run_ahead(app: TestBackend, function: str) -> None:
    at = app.component("ledger")
    for _ in range(4):
        await at.mutation(function, **({} if function == "clocks_and_draws" else {"name": "a"}))
        assert not await ready(app)


async def test_what_comes_to_ask_for_something_is_given_up(app: TestBackend) -> None:
    """It is run ahead, for the calls before it were simple; what it reads has been forgotten by then."""
    id = await id_of(app)
    at = app.component("ledger")
    assert [await at.mutation("bump_at", id=id) for _ in range(3)] == [1, 2, 3]
    assert await ready(app)

    async def remove(ctx: MutationCtx) -> None:
        await ctx.db.replace(id, {"name": "z", "value": 10})

    await app.run(remove, component="ledger")
    assert [await at.mutation("bump_at", id=id) for _ in range(4)] == [11, 12, 13, 14]


@pytest.mark.parametrize("how", ["side by side", "standing still", "in the log"])
async def test_what_is_given_up_again_and_again_costs_no_worker(app: TestBackend, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says all that it has to say before it hears of that."""
    monkeypatch.setattr(process, "_LATE_MAX", 30)
    pool = (await app.opened()).dispatcher.runners.pool("ledger")
    assert pool is not None
    given_up = 0
    for expected in range(1, 25):
        assert await app.component("ledger").mutation("bump_and_ask", name="a", how=how) == expected
        ahead = await foreseen(app)
        given_up += ahead is not None and not ahead.is_ready
    assert given_up == 6
    assert pool.spawned == 1


async def test_draws_are_those_of_a_call_and_never_the_same(app: TestBackend) -> None:
    async def drawn(ctx: MutationCtx) -> Any:
        return await ctx.run_mutation(ledger.draw_one)

    found = []
    for _ in range(6):
        found.append(await app.mutation(drawn))
        await foreseen(app)
    assert len(set(found)) == 6


async def test_the_same_seed_draws_the_same_whether_or_not_it_has_run(ledger_installed: None) -> None:
    found = []
    for over in (True, False, None):
        made = App()
        made.use("ledger")
        async with TestBackend(made, isolation="process", seed=7) as app:
            drawn = []
            for _ in range(6):
                drawn.append(await app.component("ledger").mutation("draw_one"))
                if over is not None:
                    await foreseen(app, over=over)
            found.append(drawn)
    assert found[0] == found[1] == found[2]


async def test_the_same_seed_draws_the_same_where_what_has_run_is_lost(ledger_installed: None) -> None:
    """Its worker ends, or stops it for the time that it takes: that is another in each run."""
    found = []
    for lost in (False, True):
        made = App()
        made.use("ledger")
        async with TestBackend(made, isolation="process", seed=7) as app:
            drawn = []
            for _ in range(8):
                drawn.append(await app.component("ledger").mutation("draw_one"))
                ahead = await foreseen(app)
                if ahead is not None and lost:
                    ahead.process.kill("a test wants it", None)
                    ahead.served.end = Waited(loop=asyncio.get_running_loop())
                    ahead.served.end.set_exception(Lost("a test wants it", is_culprit=True))
            found.append(drawn)
    assert found[0] == found[1]


async def test_one_that_still_runs_is_waited_for(app: TestBackend) -> None:
    await known(app)
    for expected in range(4, 12):
        before = await calls(app)
        assert await bump(app) == expected
        assert await foreseen(app, over=False) is not None
        assert await calls(app) == before + 1


@pytest.mark.parametrize("over", [True, False])
async def test_one_that_came_to_look_at_the_time_runs_again(app: TestBackend, over: bool) -> None:
    """It looks at it once what it reads is above three."""
    at = app.component("ledger")
    assert await bump(app) == 1
    found = [await at.mutation("told_time_above", name="a", most=3) for _ in range(2)]
    for _ in range(4):
        await foreseen(app, over=over)
        found.append(await at.mutation("told_time_above", name="a", most=3))
        await app.advance(10)
        await foreseen(app, over=over)
    assert found[:2] == [2, 3]
    times = found[2:]
    assert times == sorted(times) and len(set(times)) == 4 and times[0] > 1_000


async def test_it_ends_with_its_worker_and_nobody_is_hurt(app: TestBackend) -> None:
    await known(app)
    pool = (await app.opened()).dispatcher.runners.pool("ledger")
    assert pool is not None
    for worker in [*pool._processes]:
        worker.kill("a test wants it", None)
    assert [await bump(app) for _ in range(3)] == [4, 5, 6]


@pytest.mark.parametrize("over", [True, False])
async def test_who_makes_it_may_be_cancelled_at_any_time(app: TestBackend, over: bool) -> None:
    unheard: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    await known(app)
    at, total = app.component("ledger"), 3
    for steps in range(16):
        await foreseen(app, over=over)
        bumped = asyncio.ensure_future(bump(app))
        for _ in range(steps):
            await asyncio.sleep(0)
        bumped.cancel()
        [result] = await asyncio.gather(bumped, return_exceptions=True)
        value = await at.query("value", name="a")  # what is being committed then is committed
        assert value == result or (isinstance(result, asyncio.CancelledError) and value in (total, total + 1))
        assert [await bump(app) for _ in range(3)] == [value + 1, value + 2, value + 3]
        total = value + 3
    gc.collect()
    await asyncio.sleep(0)
    assert unheard == []


@pytest.mark.parametrize("over", [True, False])
async def test_many_at_once_are_not_run_ahead_and_find_what_was(app: TestBackend, over: bool) -> None:
    """The first makes what was foreseen; the others are sent before that has ended, and still run on what it wrote."""
    await known(app)
    assert await bump(app) == 4
    assert await foreseen(app, over=over) is not None
    before = await calls(app)
    assert sorted(await asyncio.gather(*[bump(app) for _ in range(32)])) == list(range(5, 37))
    assert await foreseen(app) is None
    assert await calls(app) == before + 31
    assert await app.component("ledger").query("value", name="a") == 36


async def test_it_asks_for_nothing(app: TestBackend) -> None:
    await known(app)
    before = await operations(app)
    for expected in range(4, 20):
        assert await bump(app) == expected
        await foreseen(app)
    assert await operations(app) == before


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    plan=st.lists(
        st.tuples(
            st.sampled_from(["bump", "bump", "bump", "edit", "undo", "at"]), st.sampled_from("aab"), st.sampled_from([None, True, False])
        ),
        min_size=1,
        max_size=40,
    ),
)
async def test_whatever_comes_instead_every_bump_counts_once(ledger_installed: None, plan: list[tuple[str, str, bool | None]]) -> None:
    """The model adds up. What is foreseen has run, is on its way, or has not begun."""
    made = App()
    made.use("ledger")
    async with TestBackend(made, isolation="process") as app:

        async def undo(ctx: MutationCtx, name: str) -> None:
            await ctx.run_mutation(ledger.bump, name=name)
            raise KeyError(name)

        at = app.component("ledger")
        ids = {name: await id_of(app, name) for name in "ab"}
        expected = {"a": 0.0, "b": 0.0}
        for what, name, over in plan:
            if what == "bump":
                expected[name] += 1
                assert await bump(app, name) == expected[name]
            elif what == "at":
                expected[name] += 1
                assert await at.mutation("bump_at", id=ids[name]) == expected[name]
            elif what == "edit":
                expected[name] += 100
                await set_value(app, expected[name], name)
            elif what == "undo":
                with pytest.raises(KeyError):
                    await app.mutation(undo, name=name)
            assert await at.query("value", name=name) == expected[name]
            if over is not None:
                await foreseen(app, over=over)
