"""A query that was answered by a worker is answered by the host again: where it would be shown the same, and not otherwise."""

from __future__ import annotations

import asyncio
import math
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock import App, MutationCtx, components
from interlock.functions import kept_answers
from interlock.functions.sandboxed import SandboxRunner
from interlock.testing import TestBackend
from interlock.values import Int64

from .test_memory import bump, calls, set_value

ledger = components.ledger
PAGE = {"numItems": 2, "cursor": None}


async def value(app: TestBackend, name: str = "a") -> Any:
    """Within a mutation, where no query cache answers."""

    async def ask(ctx: MutationCtx) -> Any:
        return await ctx.run_query(ledger.value, name=name)

    return await app.mutation(ask)


async def crossings(app: TestBackend, asked: Any) -> tuple[Any, int]:
    """What comes of it, and how many calls its worker was sent."""
    before = await calls(app)
    return await asked, await calls(app) - before


async def known(app: TestBackend) -> None:
    """`value` of "a" has run in the worker on what that remembers."""
    assert await bump(app) == 1
    assert [await value(app) for _ in range(3)] == [1, 1, 1]


async def test_a_query_that_would_be_shown_the_same_does_not_cross(app: TestBackend) -> None:
    await known(app)
    assert await crossings(app, value(app)) == (1, 0)
    assert await crossings(app, value(app, "b")) == (None, 1)


async def test_what_another_has_written_is_seen(app: TestBackend) -> None:
    await known(app)
    await set_value(app, 7)
    assert [await value(app) for _ in range(3)] == [7, 7, 7]
    assert await crossings(app, value(app)) == (7, 0)
    assert await bump(app) == 8
    assert await value(app) == 8


async def test_what_the_same_transaction_has_written_is_seen(app: TestBackend) -> None:
    await known(app)

    async def turns(ctx: MutationCtx) -> list[Any]:
        return [
            await ctx.run_query(ledger.value, name="a"),
            await ctx.run_mutation(ledger.bump, name="a"),
            await ctx.run_query(ledger.value, name="a"),
        ]

    assert [await app.mutation(turns) for _ in range(3)] == [[1, 2, 2], [2, 3, 3], [3, 4, 4]]


async def test_what_comes_new_into_what_it_has_looked_through_is_seen(app: TestBackend) -> None:
    assert [await value(app, "new") for _ in range(3)] == [None] * 3
    assert await crossings(app, value(app, "new")) == (None, 0)
    await set_value(app, 3, "new")
    assert await value(app, "new") == 3


async def test_it_is_depended_on_as_if_it_had_run(app: TestBackend) -> None:
    await known(app)
    seen = []

    async def slow(ctx: MutationCtx) -> None:
        seen.append(await ctx.run_query(ledger.value, name="a"))
        if len(seen) == 1:
            await set_value(app, 50)
        await ctx.run_mutation(ledger.bump, name="b")

    await app.mutation(slow)
    assert seen == [1, 50]


async def test_an_answer_that_no_longer_holds_is_not_depended_on(app: TestBackend) -> None:
    """What was read to see that is given back, to the read set and to the budget."""
    await known(app)
    await set_value(app, 2)
    runs = []

    async def measured(ctx: MutationCtx) -> float:
        runs.append(await ctx.run_query(ledger.value, name="a"))
        return ctx.metrics().used["documents_read"]

    found = [await app.mutation(measured) for _ in range(3)]
    assert runs == [2, 2, 2]
    assert found[0] == found[1] == found[2]


async def test_a_live_query_that_was_answered_so_hears_of_changes(app: TestBackend) -> None:
    await known(app)
    found = app.component("ledger").subscribe("value", name="a")
    assert await anext(found) == 1
    await bump(app)
    assert await anext(found) == 2
    await found.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("what", ["the time", "its seed", "the environment", "a log line", "a page"])
async def test_what_another_run_may_answer_otherwise_runs_each_time(app: TestBackend, what: str) -> None:
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "the time": ("told_time", {}),
        "its seed": ("drawn", {}),
        "the environment": ("facts", {}),
        "a log line": ("flood", {"lines": 1}),
        "a page": ("page", {"options": PAGE}),
    }
    function, args = asked[what]

    async def ask(ctx: MutationCtx) -> Any:
        return await ctx.run_query(ledger[function], **args)

    for _ in range(3):
        await app.mutation(ask)
    assert (await crossings(app, app.mutation(ask)))[1] == 1


async def test_each_caller_is_given_an_answer_of_his_own(app: TestBackend) -> None:
    async def spoil(ctx: MutationCtx) -> Any:
        found = await ctx.run_query(ledger.echo, value={"list": [1]})
        before = [*found["list"]]
        found["list"].append(2)
        return before

    assert [await app.mutation(spoil) for _ in range(4)] == [[1]] * 4


async def test_arguments_of_other_types_are_other_calls(app: TestBackend) -> None:
    async def ask(ctx: MutationCtx) -> Any:
        return repr([await ctx.run_query(ledger.echo, value=value) for value in values])

    values = [
        1,
        "1",
        None,
        True,
        b"1",
        [1],
        Int64(1),
        [Int64(1)],
        0,
        -0.0,
        math.nan,
        math.inf,
        [math.nan],
        [None],
        {"a": None},
        {"a": math.nan},
    ]
    for _ in range(3):
        assert await app.mutation(ask) == repr(values)


async def test_no_more_is_kept_than_there_is_room_for(app: TestBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_answers, "_ANSWERS_MAX", 4)

    async def ask(ctx: MutationCtx) -> list[Any]:
        return [await ctx.run_query(ledger.echo, value=float(n)) for n in range(10)]

    for _ in range(3):
        assert await app.mutation(ask) == [float(n) for n in range(10)]
    assert (await crossings(app, app.mutation(ask)))[1] >= 6
    monkeypatch.setattr(kept_answers, "_ANSWERS_MAX", 10)
    for _ in range(3):
        assert await app.mutation(ask) == [float(n) for n in range(10)]
    assert (await crossings(app, app.mutation(ask)))[1] == 0


async def test_what_is_kept_is_counted_as_the_memory_that_it_takes(app: TestBackend) -> None:
    """Lists without anything in them are short as they cross."""
    runner = (await app.opened()).dispatcher.directory.scopes["ledger"].runner
    assert isinstance(runner, SandboxRunner)
    found = await app.component("ledger").query("echo", value=[[] for _ in range(150)])
    assert len(runner._answers._answers) == 1
    assert runner._answers._bytes > sum(map(sys.getsizeof, found))


async def test_what_no_longer_holds_takes_no_room(app: TestBackend) -> None:
    runner = (await app.opened()).dispatcher.directory.scopes["ledger"].runner
    assert isinstance(runner, SandboxRunner)
    await known(app)
    before = runner._answers._bytes
    for n in range(2, 20):
        await set_value(app, n)
        assert [await value(app) for _ in range(3)] == [n] * 3
    assert before <= runner._answers._bytes < 2 * before


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    plan=st.lists(st.tuples(st.sampled_from(["ask", "bump", "edit", "undo"]), st.sampled_from("ab")), min_size=1, max_size=40),
    at_once=st.integers(1, 4),
)
async def test_whatever_happens_in_between_a_query_tells_what_is(ledger_installed: None, plan: list[tuple[str, str]], at_once: int) -> None:
    """The model is a sum for each name. What overlaps is asked within one transaction: before and after a bump of its own."""
    made = App()
    made.use("ledger")
    async with TestBackend(made, isolation="process") as app:

        async def ask(ctx: MutationCtx, name: str) -> None:
            before = await ctx.run_query(ledger.value, name=name) or 0
            assert await ctx.run_mutation(ledger.bump, name=name) == before + 1
            assert await ctx.run_query(ledger.value, name=name) == before + 1

        async def undo(ctx: MutationCtx, name: str) -> None:
            await ask(ctx, name)
            raise KeyError(name)

        expected = {"a": 0.0, "b": 0.0}
        edits = 0
        for place in range(0, len(plan), at_once):
            some = plan[place : place + at_once]
            doing: list[Any] = []
            for what, name in some:
                if what == "edit" and not any(other == name for _, other in some if (_, other) != (what, name)):
                    edits += 100
                    expected[name] = float(edits)
                    doing.append(set_value(app, edits, name))
                elif what == "ask" or what == "bump":
                    expected[name] += 1
                    doing.append(app.mutation(ask, name=name) if what == "ask" else bump(app, name))
                elif what == "undo":
                    doing.append(app.mutation(undo, name=name))
            for done in await asyncio.gather(*doing, return_exceptions=True):
                assert not isinstance(done, AssertionError), done
            for name, total in expected.items():
                assert (await value(app, name) or 0) == total
