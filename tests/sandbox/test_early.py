"""A mutation that writes much tells what it has done so far, and the host does that while it goes on: what comes out is the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from interlock import App, AppError, CallRefused, DeadlineExceeded, LimitExceeded, Limits, MutationCtx, components
from interlock.functions.sandboxed import SandboxRunner
from interlock.functions.served import Served
from interlock.sandbox import operations as operations_of_workers
from interlock.sandbox.share import Share
from interlock.sdk.declarations import Isolation
from interlock.testing import TestBackend

from .test_memory import operations, set_value

ledger = components.ledger
MANY = 100
"""Bumps, of three steps each."""


class Early:
    """What was told early: how many steps each time, and how many of those were done at once. `then` is called after each."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.done: list[int] = []
        self.then: Callable[[Served], None] = lambda _: None

    def look(self, do_early: Callable[[Served], None], served: Served) -> None:
        before = len(served.early or ())
        assert not served.end.done(), "it goes on"
        do_early(served)
        self.told.append(before)
        self.done.append(before - len(served.early or ()))
        self.then(served)


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> Iterator[Early]:
    found, do_early = Early(), Served.do_early
    monkeypatch.setattr(Served, "do_early", lambda served: found.look(do_early, served))
    yield found


async def bump_each(app: TestBackend, *names: str) -> Any:
    return await app.component("ledger").mutation("bump_each", names=list(names))


async def remember(app: TestBackend) -> None:
    """Both counts are at 2, and the worker knows it."""
    for _ in range(2):
        await bump_each(app, *"ab")


def lose(served: Served) -> None:
    """Its worker dies, by another's doing."""
    served._process.kill("another call ends it", Served("another", served._process, None, remembers=False))


async def value(app: TestBackend, name: str = "a") -> Any:
    return await app.component("ledger").query("value", name=name)


async def test_what_a_long_mutation_has_done_is_done_by_the_host_while_it_goes_on(app: TestBackend, early: Early) -> None:
    assert await bump_each(app, *"a" * 10) == list(range(1, 11))
    assert early.told == []  # it was short
    assert await bump_each(app, *"a" * MANY) == list(range(11, 11 + MANY))
    assert len(early.told) > 2
    assert early.done == early.told
    assert MANY * 2 < sum(early.done) < MANY * 3  # the last ones with its end
    assert await value(app) == 10 + MANY


async def test_one_that_goes_on_and_on_asks_for_something_now_and_then(app: TestBackend, early: Early) -> None:
    """So it comes to hear that it has met a limit."""
    await remember(app)
    before = await operations(app)
    assert await bump_each(app, *"a" * 1_500) == list(range(3, 1_503))
    assert sum(early.done) > 4_000
    assert 1 <= await operations(app) - before <= 3


async def test_one_that_was_mistaken_runs_again_and_nothing_counts_twice(app: TestBackend, early: Early) -> None:
    await remember(app)
    await set_value(app, 50, "b")
    names = "a" * MANY + "b" * MANY
    assert await bump_each(app, *names) == [*range(3, 3 + MANY), *range(51, 51 + MANY)]
    assert early.done != early.told, "what it did after its mistake is not done"
    assert [await value(app, name) for name in "ab"] == [2 + MANY, 50 + MANY]


@pytest.mark.parametrize("is_lost", [False, True])
async def test_what_a_run_has_read_that_counts_for_nothing_is_not_depended_on(
    app: TestBackend, early: Early, monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    await remember(app)
    await set_value(app, 50, "b")
    depended_on: list[tuple[str, int]] = []
    undo = SandboxRunner._undo

    def undone(*args: Any) -> None:
        undo(*args)
        depended_on.append(("undone", len(args[0].tx.read_set.ids)))

    def note(served: Served) -> None:
        depended_on.append(("done", len(served.call.tx.read_set.ids)))  # type: ignore[attr-defined]
        if is_lost and len(depended_on) == 1:
            lose(served)

    early.then = note
    monkeypatch.setattr(SandboxRunner, "_undo", staticmethod(undone))
    assert await bump_each(app, *"a" * MANY, *"b" * MANY) == [*range(3, 3 + MANY), *range(51, 51 + MANY)]
    assert depended_on[0] == ("done", 1)
    assert next(count for what, count in depended_on if what == "undone") == 0


async def test_who_writes_there_meanwhile_is_not_overwritten(app: TestBackend, early: Early) -> None:
    await remember(app)
    writing: list[asyncio.Task[None]] = []

    def write(_: Served) -> None:
        if not writing:
            writing.append(asyncio.ensure_future(set_value(app, 1_000)))

    early.then = write
    await bump_each(app, *"a" * MANY)
    await writing[0]
    assert await value(app) in (1_000, 1_000 + MANY)  # one after the other, in whichever order


@pytest.mark.parametrize("is_caught", [False, True])
async def test_what_one_has_done_that_fails_is_undone(app: TestBackend, early: Early, is_caught: bool) -> None:
    await remember(app)

    async def outer(ctx: MutationCtx) -> list[float]:
        try:
            await ctx.run_mutation(ledger.bump_each_and_fail, names=["a"] * MANY)
        except AppError:
            if not is_caught:
                raise
        return list(await ctx.run_mutation(ledger.bump_each, names=["a"] * MANY))

    if is_caught:
        assert await app.mutation(outer) == list(range(3, 3 + MANY))
    else:
        with pytest.raises(AppError, match="after the bumps"):
            await app.mutation(outer)
    assert early.told
    assert await value(app) == (2 + MANY if is_caught else 2)
    assert await bump_each(app, "a") == [3 + MANY if is_caught else 3]


async def test_those_that_wait_for_their_turn_follow_each_other(app: TestBackend, early: Early) -> None:
    """Several are sent off together: the later ones tell what they have done before the host may do it."""
    await remember(app)

    async def outer(ctx: MutationCtx) -> list[list[float]]:
        return await asyncio.gather(*[ctx.run_mutation(ledger.bump_each, names=[*"a" * MANY]) for _ in range(3)])

    assert await app.mutation(outer) == [list(range(start, start + MANY)) for start in (3, 3 + MANY, 3 + 2 * MANY)]
    assert 0 in early.done, "its turn had not come"


@pytest.mark.parametrize("asks", [False, True])
async def test_what_cannot_be_done_at_once_is_done_before_what_comes_then(
    app: TestBackend, early: Early, monkeypatch: pytest.MonkeyPatch, asks: bool
) -> None:
    """An insert is waited for: all that is told after it is kept until the function asks for something, or ends."""
    await remember(app)
    at, values = app.component("ledger"), list(range(3, 3 + MANY))
    await at.mutation("bump_and_tick_each", names=["b"], asks=False)
    monkeypatch.setattr(SandboxRunner, "_undo", None)  # it runs once
    assert await at.mutation("bump_and_tick_each", names=["a"] * MANY, asks=asks) == ([*values, MANY + 1] if asks else values)
    assert early.told[-1] > sum(early.done)
    assert await at.query("ticked") == [3, *values]
    assert await value(app) == 2 + MANY


async def test_a_write_that_is_refused_is_refused_to_the_function_itself(
    ledger_installed: None, isolation: Isolation, early: Early
) -> None:
    """It has its limits where it would meet them inline, and what it did before is undone."""
    made = App()
    names = [f"n{number}" for number in range(MANY)]
    made.use("ledger", limits=Limits(documents_written=60))
    async with TestBackend(made, isolation=isolation) as app:
        for start in range(0, MANY, 50):
            for _ in range(2):
                await bump_each(app, *names[start : start + 50])
        early.told.clear()
        with pytest.raises(LimitExceeded, match="documents_written"):
            await bump_each(app, *names)
        assert len(early.told) == 4, "three of 48 steps, and the one in which it is refused: the run has ended there"
        pool = (await app.opened()).dispatcher.runners.pool("ledger")
        assert pool is not None
        assert [process._late for process in pool._processes] == [0], "what it said until it heard of that was no flood"
        assert {await value(app, name) for name in names} == {2}
        assert await bump_each(app, *names[:60]) == [3] * 60


async def test_a_worker_that_dies_meanwhile_has_done_nothing(app: TestBackend, early: Early) -> None:
    await remember(app)

    def kill(served: Served) -> None:
        early.then = lambda _: None
        lose(served)

    early.then = kill
    assert await bump_each(app, *"a" * MANY) == list(range(3, 3 + MANY))
    assert await value(app) == 2 + MANY


async def test_what_would_take_much_room_is_told_at_the_end(app: TestBackend, early: Early) -> None:
    """Numbers take more of the host's memory than of what a function may write: 450,000 of them, none of which can be done early."""

    async def add(ctx: MutationCtx) -> list[str]:
        return [await ctx.db.insert("things", {"any": 0}) for _ in range(300)]

    ids = await app.run(add, component="ledger")
    at = app.component("ledger")
    await at.mutation("tick_and_fill", ids=[], count=0)
    for _ in range(2):  # the first time it is to remember them
        await at.mutation("tick_and_fill", ids=ids, count=1_500)

    async def lengths(ctx: MutationCtx) -> list[int]:
        return [len(row["any"]) for row in await ctx.db.query("things").collect()]

    assert await app.run(lengths, component="ledger") == [1_500] * 300


async def test_who_is_refused_an_operation_does_not_lose_what_it_did_before(app: TestBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that hold too much at once are refused with all that was to be done before them: the call ends there."""
    await remember(app)
    at = app.component("ledger")
    await at.mutation("bump_and_echo_each", names=["a", "b"], length=10_000)
    assert [await value(app, name) for name in "ab"] == [3, 3]
    monkeypatch.setattr(operations_of_workers, "_HELD_MAX", 10_000)
    with pytest.raises(CallRefused, match="hold more than"):
        await at.mutation("bump_and_echo_each", names=["a", "b"], length=10_000)
    assert [await value(app, name) for name in "ab"] == [3, 3]


async def test_what_an_action_has_done_so_is_paid_by_its_mount(app: TestBackend, early: Early, monkeypatch: pytest.MonkeyPatch) -> None:
    await remember(app)
    spent: list[float] = []
    paid_by: list[int] = []

    def work(_: Served) -> None:
        paid_by.append(len(spent))
        until = time.thread_time() + 0.003
        while time.thread_time() < until:
            pass

    early.then = work
    monkeypatch.setattr(Share, "spend", lambda _, seconds: spent.append(seconds))
    assert await app.component("ledger").action("bump_each_in_action", names=["a"] * MANY) == list(range(3, 3 + MANY))
    assert paid_by
    assert all(spent[number] >= 0.003 for number in paid_by)


async def test_one_that_is_cancelled_or_late_has_done_nothing(app: TestBackend, early: Early) -> None:
    await remember(app)

    def cancel(_: Served) -> None:
        bumping.cancel()

    early.then = cancel
    bumping = asyncio.ensure_future(bump_each(app, *"a" * MANY))
    with pytest.raises(asyncio.CancelledError):
        await bumping
    assert early.told
    assert await value(app) == 2

    def expire(served: Served) -> None:
        served._process.expire(served, DeadlineExceeded(served.label, "wall time", 1.0))

    early.then = expire
    with pytest.raises(DeadlineExceeded):
        await bump_each(app, *"a" * MANY)
    early.then = lambda _: None
    assert await bump_each(app, *"a" * MANY) == list(range(3, 3 + MANY))
