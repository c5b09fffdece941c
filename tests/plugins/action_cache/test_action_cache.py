"""A cache of actions: what is run how often, what is given for how long, and what stays removed."""

from __future__ import annotations

import ast
import asyncio
import functools
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock import ActionCtx, AppError, ArgumentError, Component, Int64, MutationCtx, QueryCtx, components
from interlock.testing import TestBackend
from interlock_action_cache import ActionCache, ActionFailed, Cached, Statistics, heartbeat

mount = components.action_cache


class Lab:
    """An action that says how often it was run, and a component that fetches through a cache."""

    def __init__(self, **options: Any) -> None:
        self.runs: Counter[str] = Counter()
        self.failing: Any = None
        self.gate: asyncio.Event | None = None
        self.gives: Any = None
        self.component = lab = Component("lab")
        lab.use("action_cache")

        @lab.action
        async def work(ctx: ActionCtx, text: str, size: float = 1, more: Any = None) -> Any:
            self.runs[text] += 1
            run = self.runs[text]
            if self.gate is not None:
                await self.gate.wait()
            if self.failing is not None:
                raise self.failing
            return f"{text} {run}" if self.gives is None else self.gives

        @lab.action
        async def fetch(ctx: ActionCtx, args: dict[str, Any], options: dict[str, Any]) -> Any:
            return await self.cache.fetch(ctx, args, **options)

        @lab.mutation
        async def remove(ctx: MutationCtx, args: dict[str, Any]) -> bool:
            return await self.cache.remove(ctx, args)

        self.work = work
        self.cache = ActionCache(mount, work, **options)

    @property
    def waiting(self) -> int:
        """How many wait for the run of another."""
        return sum(map(len, self.cache._waiting.values()))


async def fetch(t: TestBackend, text: str = "a", *, args: dict[str, Any] | None = None, **options: Any) -> Any:
    return await t.action("fetch", args={"text": text, **(args or {})}, options=options)


async def do(t: TestBackend, operation: Callable[[Any], Awaitable[Any]]) -> Any:
    """Something of the face in a mutation, whose answer need be no value."""
    found: list[Any] = []

    async def run(ctx: MutationCtx) -> None:
        found[:] = [await operation(ctx)]

    await t.run(run)
    return found[0]


async def rows(t: TestBackend, table: str = "entries") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await t.run(lambda ctx: ctx.db.query(table).collect(), component="action_cache")
    return found


async def seconds_left(t: TestBackend) -> float:
    """How long the one flight still holds."""
    [flight] = await rows(t, "flights")
    return round((float(flight["until"]) - t.now()) / 1000)


async def another_than(seconds: float, t: TestBackend) -> float:
    """How long the one flight still holds, once that has changed."""
    for _ in range(2_000):
        left = await seconds_left(t)
        if left != seconds:
            return left
        await asyncio.sleep(0.001)
    raise AssertionError(f"it still holds for {seconds} seconds")


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to that")


# reading through


async def test_a_hit_does_not_run_the_action() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:
        assert [await fetch(t), await fetch(t), await fetch(t, "b"), await fetch(t)] == ["a 1", "a 1", "b 1", "a 1"]
        assert lab.runs == {"a": 1, "b": 1}
        assert {row["name"] for row in await rows(t)} == {"work"}


async def test_nothing_older_than_either_ttl_is_given() -> None:
    lab = Lab(ttl=10)
    async with TestBackend(lab.component) as t:
        assert await fetch(t) == "a 1"
        await t.advance(9.999)
        assert await fetch(t) == "a 1"
        assert await fetch(t, ttl=9.999) == "a 2"
        await t.advance(9)
        assert await fetch(t, ttl=100) == "a 2"  # stored for 9.999
        await t.advance(0.999)
        assert await fetch(t, ttl=100) == "a 3"
        await t.advance(50)
        assert await fetch(t, ttl=None) == "a 3"
        await t.advance(50)
        assert await fetch(t, ttl=None) == "a 4"
        await t.advance(1_000_000)
        assert await fetch(t, ttl=None) == "a 4"


async def test_a_ttl_may_be_a_timedelta_and_zero_keeps_nothing() -> None:
    lab = Lab(ttl=timedelta(minutes=1))
    async with TestBackend(lab.component) as t:
        await fetch(t)
        await t.advance(59)
        assert await fetch(t) == "a 1"
        assert await fetch(t, ttl=0) == "a 2"
        assert await fetch(t) == "a 3"


async def test_to_force_is_to_run_and_to_replace() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:
        assert [await fetch(t), await fetch(t, force=True), await fetch(t)] == ["a 1", "a 2", "a 2"]
        assert len(await rows(t)) == 1


@pytest.mark.parametrize("value", [True, 0, 1.5, float("inf"), "text", b"bytes", Int64(2**60), [1, [2]], {"a": {"b": None}}, "é" * 5_000])
async def test_every_kind_of_value_comes_back_equal(value: Any) -> None:
    lab = Lab()
    lab.gives = value
    async with TestBackend(lab.component) as t:
        first, second = await fetch(t), await fetch(t)
        assert first == second == value and type(first) is type(second)
        assert lab.runs["a"] == 1


async def test_no_result_is_a_result() -> None:
    lab = Component("lab")
    lab.use("action_cache")
    runs: list[int] = []

    @lab.action
    async def nothing(ctx: ActionCtx) -> None:
        runs.append(1)

    cache = ActionCache(mount, nothing)

    @lab.action
    async def twice(ctx: ActionCtx) -> list[None]:
        return [await cache.fetch(ctx), await cache.fetch(ctx)]

    async with TestBackend(lab) as t:
        assert await t.action("twice") == [None, None]
    assert len(runs) == 1


async def test_a_result_that_is_too_large_to_keep_is_given_all_the_same() -> None:
    lab = Lab()
    lab.gives = "x" * 950_000
    async with TestBackend(lab.component) as t:
        assert [len(await fetch(t)), len(await fetch(t))] == [950_000] * 2
        assert lab.runs["a"] == 2 and await rows(t) == [] and all("failed" in flight for flight in await rows(t, "flights"))


async def test_a_result_that_no_document_can_hold_is_given_all_the_same() -> None:
    lab = Lab()
    lab.gives = {"nested": 1}
    for _ in range(30):
        lab.gives = [lab.gives]
    async with TestBackend(lab.component) as t:
        assert [await fetch(t), await fetch(t)] == [lab.gives] * 2
        assert lab.runs["a"] == 2 and await rows(t) == [] and all("failed" in flight for flight in await rows(t, "flights"))


# keys


async def test_arguments_that_the_action_cannot_tell_apart_share_an_entry() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:
        for args in ({}, {"size": 1}, {"size": 1.0}, {"more": None}, {"more": None, "size": 1.0}):
            assert await fetch(t, args=args) == "a 1"
        for number, args in enumerate(({"size": 2}, {"more": 1}, {"more": Int64(1)}, {"more": {"x": 1, "y": 2}}), 2):
            assert await fetch(t, args=args) == f"a {number}"
        assert await fetch(t, args={"more": {"y": 2, "x": 1}}) == "a 5"
        with pytest.raises(ArgumentError, match="size"):
            await fetch(t, args={"size": "large"})
        with pytest.raises(ArgumentError):
            await fetch(t, args={"sise": 1})


async def test_long_arguments_are_kept_by_their_hash() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:
        long, other = "x" * 300_000, "x" * 299_999 + "y"
        assert [(await fetch(t, text))[-2:] for text in (long, other, long)] == [" 1", " 1", " 1"]
        assert all(len(row["key"]) == 65 for row in await rows(t))


async def test_names_are_apart_and_the_empty_one_is_a_name() -> None:
    lab = Lab()
    named = {name: ActionCache(mount, lab.work, name=name) for name in ("", "x", "y")}
    async with TestBackend(lab.component) as t:

        async def fetch_all(ctx: ActionCtx) -> list[Any]:
            return [await cache.fetch(ctx, {"text": "a"}) for cache in named.values()]

        assert await t.action(fetch_all) == ["a 1", "a 2", "a 3"]
        await do(t, lambda ctx: named[""].remove_all_for_name(ctx))
        assert await t.action(fetch_all) == ["a 4", "a 2", "a 3"]


async def test_an_action_may_be_given_by_its_name() -> None:
    lab = Lab()
    lab.cache = ActionCache(mount, "work")
    async with TestBackend(lab.component) as t:
        assert [await fetch(t), await fetch(t), await fetch(t, args={"size": 1})] == ["a 1", "a 1", "a 2"]
        assert lab.cache.name == "work"
        assert ActionCache(mount, components.other.act).name == "other/act"


# one run for all who miss


async def test_those_who_miss_at_once_share_one_run() -> None:
    lab = Lab()
    lab.gate = asyncio.Event()
    async with TestBackend(lab.component) as t:
        calls = [asyncio.ensure_future(fetch(t)) for _ in range(8)]
        await until(lambda: lab.waiting == 7)
        lab.gate.set()
        assert await asyncio.gather(*calls) == ["a 1"] * 8
        assert lab.runs["a"] == 1
        assert await rows(t, "flights") == []


async def test_caches_of_two_processes_share_one_run() -> None:
    """Two faces share nothing but the data, as two processes do."""
    lab = Lab()
    lab.gate = asyncio.Event()
    other = ActionCache(mount, lab.work)
    async with TestBackend(lab.component) as t:
        first = asyncio.ensure_future(fetch(t))
        await until(lambda: lab.runs["a"] == 1)
        second = asyncio.ensure_future(t.action(lambda ctx: other.fetch(ctx, {"text": "a"})))
        await asyncio.sleep(0.02)
        lab.gate.set()
        assert await asyncio.gather(first, second) == ["a 1", "a 1"]


async def test_who_wants_no_company_runs_the_action() -> None:
    lab = Lab()
    lab.gate = asyncio.Event()
    async with TestBackend(lab.component) as t:
        calls = [asyncio.ensure_future(fetch(t, single_flight=False)) for _ in range(3)]
        await until(lambda: lab.runs["a"] == 3)
        lab.gate.set()
        assert sorted(await asyncio.gather(*calls)) == ["a 1", "a 2", "a 3"]
        assert len(await rows(t)) == 1


async def test_a_run_that_takes_longer_than_its_lease_is_waited_for_no_longer() -> None:
    lab = Lab(lease=30)
    lab.gate = asyncio.Event()
    async with TestBackend(lab.component) as t:
        first = asyncio.ensure_future(fetch(t))
        await until(lambda: lab.runs["a"] == 1)
        second = asyncio.ensure_future(fetch(t))
        await until(lambda: lab.waiting == 1)
        assert lab.runs["a"] == 1
        await t.advance(31)
        await until(lambda: lab.runs["a"] == 2)
        lab.gate.set()
        assert await asyncio.gather(first, second) == ["a 1", "a 2"]
        assert await fetch(t) == "a 2"  # of the first, whose flight was taken over, nothing is kept


async def test_a_run_whose_process_has_ended_is_soon_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "EVERY", 3_600.0)  # it gives no sign of life
    lab = Lab(lease=600)
    lab.gate = asyncio.Event()
    async with TestBackend(lab.component) as t:
        first = asyncio.ensure_future(fetch(t))
        await until(lambda: lab.runs["a"] == 1)
        second = asyncio.ensure_future(fetch(t))
        await until(lambda: lab.waiting == 1)
        await t.advance(heartbeat.ALIVE + 1)
        await until(lambda: lab.runs["a"] == 2)
        lab.gate.set()
        assert await asyncio.gather(first, second) == ["a 1", "a 2"]


async def test_a_run_that_goes_on_is_waited_for_up_to_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "EVERY", 0.01)
    lab = Lab(lease=25)
    lab.gate = asyncio.Event()
    async with TestBackend(lab.component) as t:
        first = asyncio.ensure_future(fetch(t))
        await until(lambda: lab.runs["a"] == 1)
        assert await seconds_left(t) == heartbeat.ALIVE
        await t.advance(8)
        assert await another_than(2, t) == heartbeat.ALIVE
        await t.advance(9)
        assert await another_than(1, t) == 8  # of its lease
        lab.gate.set()
        assert await first == "a 1"
        assert await rows(t, "flights") == []


async def test_a_refresh_whose_process_has_ended_is_soon_taken_over_too() -> None:
    lab = Lab(lease=600, ttl=10, stale=20)
    async with TestBackend(lab.component) as t:
        await fetch(t)
        await t.advance(11)
        lab.gate = asyncio.Event()
        assert await fetch(t) == "a 1"
        await until(lambda: lab.runs["a"] == 2)
        assert await seconds_left(t) == heartbeat.ALIVE
        lab.gate.set()
        await t.finish_scheduled()
        assert await fetch(t) == "a 2"


@pytest.mark.parametrize(
    "gives", ["x" * 1_000_000, functools.reduce(lambda inner, _: [inner], range(30), [1])], ids=["too large", "too deep"]
)
async def test_those_who_wait_for_what_cannot_be_kept_do_not_run_one_after_the_other(gives: Any) -> None:
    lab = Lab()
    lab.gives, first, others = gives, asyncio.Event(), asyncio.Event()
    lab.gate = first
    async with TestBackend(lab.component) as t:
        calls = [asyncio.ensure_future(fetch(t)) for _ in range(4)]
        await until(lambda: lab.runs["a"] == 1 and lab.waiting == 3)
        lab.gate = others
        first.set()
        await until(lambda: lab.runs["a"] == 4)
        others.set()
        assert await asyncio.gather(*calls) == [gives] * 4
        assert await fetch(t) == gives and lab.runs["a"] == 5


async def test_those_who_wait_get_the_error_and_the_next_runs_it_again() -> None:
    lab = Lab()
    lab.gate, lab.failing = asyncio.Event(), AppError({"code": 7})
    async with TestBackend(lab.component) as t:
        calls = [asyncio.ensure_future(fetch(t)) for _ in range(4)]
        await until(lambda: lab.waiting == 3)
        lab.gate.set()
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert [error.data for error in errors if isinstance(error, AppError)] == [{"code": 7}] * 4
        assert lab.runs["a"] == 1 and await rows(t) == []
        lab.failing = None
        assert await fetch(t) == "a 2"


@pytest.mark.parametrize(
    "error",
    [RuntimeError("secret"), AppError("secret \udcff"), AppError({"secret": object()}), AppError("secret" * 200_000)],
    ids=["none of the author", "no text", "no value", "too long"],
)
async def test_what_is_no_error_of_the_author_or_cannot_be_kept_stays_with_who_ran_it(error: Exception) -> None:
    lab = Lab()
    lab.gate, lab.failing = asyncio.Event(), error
    caught: list[BaseException] = []

    async def fetching(ctx: ActionCtx) -> None:
        try:
            await lab.cache.fetch(ctx, {"text": "a"})
        except Exception as error:
            caught.append(error)

    async with TestBackend(lab.component) as t:
        calls = [asyncio.ensure_future(t.action(fetching)) for _ in range(2)]
        await until(lambda: lab.waiting == 1)
        lab.gate.set()
        await asyncio.gather(*calls)
        [waited] = [error for error in caught if isinstance(error, ActionFailed)]
        assert len(caught) == 2 and "secret" not in str(waited) and waited.data["code"] == "ActionFailed"


# stale while it is refreshed


async def test_what_is_stale_is_given_while_one_run_refreshes_it() -> None:
    lab = Lab(ttl=10, stale=20)
    async with TestBackend(lab.component) as t:
        await fetch(t)
        await t.advance(15)
        lab.gate = asyncio.Event()
        assert [await fetch(t) for _ in range(5)] == ["a 1"] * 5
        lab.gate.set()
        jobs = await t.finish_in_progress()
        assert [(job.name, job.state) for job in jobs] == [("action_cache/refresh", "success")]
        assert lab.runs["a"] == 2
        assert await fetch(t) == "a 2"
        await t.advance(31)
        assert await fetch(t) == "a 3"  # too old to be given


async def test_a_refresh_that_fails_leaves_what_is_stale_until_it_is_too_old() -> None:
    lab = Lab(ttl=10, stale=20)
    async with TestBackend(lab.component) as t:
        await fetch(t)
        await t.advance(15)
        lab.failing = AppError("down")
        assert await fetch(t) == "a 1"
        await t.finish_in_progress()
        assert await fetch(t) == "a 1"
        await t.finish_in_progress()
        assert lab.runs["a"] == 3
        await t.advance(16)
        with pytest.raises(AppError, match="down"):
            await fetch(t)


# errors that are kept


async def test_an_error_is_kept_for_as_long_as_it_is_said_to_be() -> None:
    lab = Lab(ttl=1_000, negative_ttl=5)
    async with TestBackend(lab.component) as t:
        lab.failing = AppError({"code": "GONE"})
        for _ in range(3):
            with pytest.raises(AppError) as error:
                await fetch(t)
            assert error.value.data == {"code": "GONE"}
        assert lab.runs["a"] == 1
        assert await do(t, lambda ctx: lab.cache.get_cached(ctx, {"text": "a"})) is None
        lab.failing = None
        await t.advance(5)
        assert await fetch(t) == "a 2"
        lab.failing = RuntimeError("a bug is not kept")
        for _ in range(2):
            with pytest.raises(Exception, match=r"bug|Error"):
                await fetch(t, "b")
        assert lab.runs["b"] == 2


async def test_an_error_does_not_take_the_place_of_a_result_that_still_holds() -> None:
    lab = Lab(ttl=100, negative_ttl=5)
    async with TestBackend(lab.component) as t:
        assert await fetch(t) == "a 1"
        lab.failing = AppError("down")
        with pytest.raises(AppError, match="down"):
            await fetch(t, force=True)
        assert await fetch(t) == "a 1"
        await t.advance(100)
        for _ in range(2):
            with pytest.raises(AppError, match="down"):
                await fetch(t)
        assert lab.runs["a"] == 3


# removing


async def test_what_was_removed_is_run_once_more() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:
        await fetch(t)
        await fetch(t, "b")
        assert await t.mutation("remove", args={"text": "a", "size": 1.0})
        assert not await t.mutation("remove", args={"text": "a"})
        assert [await fetch(t), await fetch(t), await fetch(t, "b")] == ["a 2", "a 2", "b 1"]


async def test_a_run_that_was_under_way_when_its_entry_was_removed_is_not_kept() -> None:
    lab = Lab(tags=["t"])
    removals: list[Callable[[Any], Awaitable[Any]]] = [
        lambda ctx: lab.cache.remove(ctx, {"text": "a"}),
        lambda ctx: lab.cache.remove_all_for_name(ctx),
        lambda ctx: ActionCache.remove_all(ctx, mount),
        lambda ctx: ActionCache.remove_tag(ctx, mount, "t"),
    ]
    async with TestBackend(lab.component) as t:
        for number, removal in enumerate(removals, 1):
            lab.gate = asyncio.Event()
            call = asyncio.ensure_future(fetch(t))
            await until(lambda number=number: lab.runs["a"] == number)
            await do(t, removal)
            lab.gate.set()
            assert await call == f"a {number}"
            assert await rows(t) == []


async def test_all_of_a_name_go_in_batches_and_what_is_kept_later_stays() -> None:
    lab = Lab()
    other = ActionCache(mount, lab.work, name="other")
    async with TestBackend(lab.component) as t:
        for text in "abcde":
            await fetch(t, text)
        await t.action(lambda ctx: other.fetch(ctx, {"text": "a"}))
        await t.advance(1)
        await do(t, lambda ctx: lab.cache.remove_all_for_name(ctx, batch_size=1))
        assert len(await rows(t)) >= 5
        await t.advance(0)
        assert [row["name"] for row in await rows(t)] == ["other"]
        await fetch(t)
        before = t.now()
        await t.advance(1)
        await fetch(t, "later")
        await do(t, lambda ctx: ActionCache.remove_all(ctx, mount, before=before))
        await t.finish_scheduled()
        assert [row["value"] for row in await rows(t)] == ["later 1"]
        with pytest.raises(AppError, match="batch_size"):
            await do(t, lambda ctx: lab.cache.remove_all_for_name(ctx, batch_size=0))


async def test_a_tag_removes_its_entries_whatever_their_names() -> None:
    lab = Lab(tags=lambda args: [f"text {args['text']}", "all"])
    other = ActionCache(mount, lab.work, name="other", tags="all")
    async with TestBackend(lab.component) as t:
        for text in "abc":
            await fetch(t, text)
        await t.action(lambda ctx: other.fetch(ctx, {"text": "z"}))
        await do(t, lambda ctx: ActionCache.remove_tag(ctx, mount, "text b"))
        assert sorted(row["value"] for row in await rows(t)) == ["a 1", "c 1", "z 1"]
        await do(t, lambda ctx: ActionCache.remove_tag(ctx, mount, "all"))
        assert await rows(t) == [] and await rows(t, "tags") == []


async def test_what_has_expired_is_cleared_away() -> None:
    lab = Lab(ttl=60, stale=60, tags=["t"])
    async with TestBackend(lab.component) as t:
        for number in range(130):
            await fetch(t, str(number))
        await fetch(t, "kept", ttl=100_000)
        await fetch(t, "ever", ttl=None)
        await t.advance(2 * 3_600)
        assert sorted(row["value"] for row in await rows(t)) == ["ever 1", "kept 1"]
        assert len(await rows(t, "tags")) == 2


# budgets


async def test_a_budget_of_entries_keeps_those_that_were_used_last() -> None:
    lab = Lab(max_entries=3)
    async with TestBackend(lab.component) as t:
        for text in "abc":
            await fetch(t, text)
            await t.advance(100)
        assert await fetch(t, "a") == "a 1"
        await t.advance(1)
        await fetch(t, "d")
        assert sorted(row["value"] for row in await rows(t)) == ["a 1", "c 1", "d 1"]
        found = await do(t, lab.cache.statistics)
        assert (found.entries, found.evicted) == (3, 1)


async def test_a_budget_of_bytes_holds() -> None:
    lab = Lab(max_bytes=10_000)
    lab.gives = "x" * 1_000
    async with TestBackend(lab.component) as t:
        for number in range(30):
            await fetch(t, str(number))
            await t.advance(1)
        found = await do(t, lab.cache.statistics)
        assert 8_000 < found.bytes <= 10_000 and found.entries == 9 and found.evicted == 21
        assert found.bytes == sum(row["size"] for row in await rows(t))
        lab.gives = "x" * 10_001
        await fetch(t, "large")
        assert (await do(t, lab.cache.statistics)).entries == 9


async def test_entries_of_which_a_transaction_can_hold_few_are_evicted_removed_and_cleared_away() -> None:
    lab = Lab(ttl=60, max_entries=21, tags=["all"])
    lab.gives = "x" * 850_000

    async def left() -> int:
        found: int = (await do(t, lab.cache.statistics)).entries
        return found

    async def fill() -> None:
        for number in range(22):
            assert len(await fetch(t, str(number))) == 850_000
            await t.advance(0.01)
        assert await left() == 21

    async with TestBackend(lab.component) as t:
        await fill()
        await do(t, lambda ctx: lab.cache.remove_all_for_name(ctx))
        await t.finish_scheduled()
        assert await left() == 0
        await fill()
        await do(t, lambda ctx: ActionCache.remove_tag(ctx, mount, "all"))
        await t.finish_scheduled()
        assert await left() == 0
        await fill()
        await t.advance(2 * 3_600)
        assert await left() == 0 and await rows(t) == []


# what it tells


async def test_statistics_count_what_happened() -> None:
    lab = Lab(ttl=10, stale=10)
    async with TestBackend(lab.component) as t:
        for _ in range(3):
            await fetch(t)
        await fetch(t, "b")
        await t.advance(15)
        await fetch(t)
        await t.finish_in_progress()
        lab.failing = AppError("no")
        with pytest.raises(AppError):
            await fetch(t, "c")
        found = await do(t, lab.cache.statistics)
        assert found == Statistics(
            entries=2, bytes=found.bytes, stored=3, evicted=0, hits=2, stale=1, misses=3, shared=0, failures=1
        )  # fmt: skip


async def test_a_kept_result_can_be_read_without_a_call_also_in_a_query() -> None:
    lab = Lab(ttl=10)
    async with TestBackend(lab.component) as t:

        async def read(ctx: QueryCtx) -> Any:
            found = await lab.cache.get_cached(ctx, {"text": "a"})
            return None if found is None else [found.value, found.expires]

        assert await t.query(read) is None
        await fetch(t)
        stored = t.now()
        assert await t.query(read) == ["a 1", stored + 10_000]
        assert await do(t, lambda ctx: lab.cache.get_cached(ctx, {"text": "a"})) == Cached("a 1", stored, stored + 10_000)
        assert lab.runs["a"] == 1
        await t.advance(10)
        assert await do(t, lambda ctx: lab.cache.get_cached(ctx, {"text": "a"})) is None


async def test_a_log_says_what_every_fetch_found() -> None:
    lab = Lab(log=True)
    lines: list[dict[str, Any]] = []

    async def fetching(ctx: ActionCtx) -> None:
        class Kept:
            def info(self, text: str) -> None:
                lines.append(json.loads(text))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(ctx), "log", Kept())
            for _ in range(2):
                await lab.cache.fetch(ctx, {"text": "a"})
            await lab.cache.fetch(ctx, {"text": "a"}, force=True)

    async with TestBackend(lab.component) as t:
        await t.action(fetching)
    assert [(line["name"], line["get"], line["put"]) for line in lines] == [
        ("work", "miss", "created"), ("work", "hit", None), ("work", "miss", "replaced"),
    ]  # fmt: skip


# the component by itself


async def test_what_is_put_is_got_until_it_expires() -> None:
    lab = Lab()
    async with TestBackend(lab.component) as t:
        await t.finish_in_progress()  # the purge of the start, which else comes between
        cache = t.component("action_cache")
        args = {"name": "n", "args": {"x": 1}}
        assert await cache.query("get", **args) == {"kind": "miss"}
        assert await cache.mutation("put", **args, value="v", ttl=1) == "created"
        assert await cache.query("get", **args) == {"kind": "hit", "value": "v"}
        assert await cache.mutation("put", **args, value="w", ttl=0) == "replaced"
        [row] = await rows(t)
        assert await cache.query("get", **args) == {"kind": "miss", "expired_entry": row["_id"]}
        assert await cache.mutation("put", **args, value="x") == "replaced"
        assert (await cache.query("get", **args, ttl=-1))["kind"] == "miss"
        assert (await cache.query("get", **args))["value"] == "x"
        assert len(await rows(t)) == 1
        await cache.mutation("put", name="n", args={"x": 2}, value="y")
        await cache.mutation("remove_all", batch_size=1)
        assert len(await rows(t)) == 1
        await t.finish_scheduled()
        assert await rows(t) == []


@pytest.mark.one_isolation("inline", "no component runs: what the face refuses")
@pytest.mark.parametrize(
    "options",
    [
        {"ttl": -1},
        {"ttl": "1h"},
        {"stale": 1},
        {"max_entries": 0},
        {"max_bytes": 1.5},
        {"lease": float("nan")},
        {"lease": None},
        {"lease": 0},
    ],
)
def test_options_that_cannot_be_are_refused_where_they_are_written(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        ActionCache(mount, "work", **options)


@pytest.mark.one_isolation("inline", "no component runs: what the face refuses")
def test_only_an_action_has_results_to_keep() -> None:
    lab = Component("lab")

    @lab.query
    async def read(ctx: QueryCtx) -> None: ...

    with pytest.raises(TypeError, match="read is a query"):
        ActionCache(mount, read)


# against a model


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("fetch"), st.sampled_from("ab"), st.sampled_from([None, 0, 3, 10])),
        st.tuples(st.just("force"), st.sampled_from("ab"), st.just(10)),
        st.tuples(st.just("fail"), st.sampled_from("ab"), st.just(10)),
        st.tuples(st.just("remove"), st.sampled_from("ab"), st.none()),
        st.tuples(st.just("undone"), st.sampled_from("ab"), st.none()),
        st.tuples(st.just("pass"), st.just("a"), st.sampled_from([1, 3, 8])),
    ),
    max_size=14,
)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
async def test_it_gives_what_a_dict_of_results_and_times_would(steps: list[tuple[str, str, Any]]) -> None:
    """Model: by text, the number of the run, when it was stored and until when it holds. Every fetch is made by three at once."""
    lab = Lab()
    model: dict[str, tuple[int, float, float]] = {}
    runs: Counter[str] = Counter()

    async def undone(ctx: MutationCtx, text: str) -> None:
        """A removal in a sub-transaction that fails, caught by its caller."""
        try:
            await ctx.run_mutation(failing, text=text)
        except AppError:
            return

    @lab.component.mutation
    async def failing(ctx: MutationCtx, text: str) -> None:
        await lab.cache.remove(ctx, {"text": text})
        raise AppError("undone")

    async with TestBackend(lab.component) as t:
        await t.finish_in_progress()  # the purge of the start, which else comes between
        for what, text, number in steps:
            now = t.now() / 1000
            if what == "pass":
                await t.advance(number)
            elif what == "remove":
                assert await t.mutation("remove", args={"text": text}) == (text in model)
                model.pop(text, None)
            elif what == "undone":
                await t.mutation(undone, text=text)
            elif what == "fail":
                lab.failing = AppError("injected")
                with pytest.raises(AppError, match="injected"):
                    await fetch(t, text, force=True)
                lab.failing = None
                runs[text] += 1
            else:
                kept = model.get(text)
                ends = min(kept[2], kept[1] + (float("inf") if number is None else number)) if kept else 0.0
                if what == "force" or ends <= now:
                    runs[text] += 1
                    model[text] = (runs[text], now, float("inf") if number is None else now + number)
                    assert await fetch(t, text, ttl=number, force=what == "force") == f"{text} {runs[text]}"
                if number != 0:
                    answers = await asyncio.gather(*[fetch(t, text, ttl=number) for _ in range(3)])
                    assert answers == [f"{text} {model[text][0]}"] * 3
            assert lab.runs == runs


@settings(max_examples=15, deadline=None)
@given(calls=st.lists(st.sampled_from(["fetch", "fail", "remove"]), min_size=2, max_size=8), seed=st.integers(1, 2**32))
async def test_whatever_overlaps_the_last_that_stands_is_what_is_kept(calls: list[str], seed: int) -> None:
    lab = Lab()
    async with TestBackend(lab.component, seed=seed) as t:

        async def one(call: str) -> Any:
            if call == "remove":
                return await t.mutation("remove", args={"text": "a"})
            if call == "fail":
                with pytest.raises(AppError):
                    await t.run(lambda ctx: failing(ctx))
                return None
            return await fetch(t)

        async def failing(ctx: MutationCtx) -> None:
            await lab.cache.remove(ctx, {"text": "a"})
            raise AppError("undone")

        answers = await asyncio.gather(*[one(call) for call in calls])
        given_ = {answer for answer in answers if isinstance(answer, str)}
        assert len(given_) <= lab.runs["a"] <= 1 + calls.count("remove")
        entries = await rows(t)
        assert len(entries) <= 1 and {row["value"] for row in entries} <= given_
        assert await rows(t, "flights") == []
        found = await do(t, lab.cache.statistics)
        assert found.entries == len(entries) and found.bytes == sum(row["size"] for row in entries)


# the package

PACKAGE = Path(__file__).parents[3] / "plugins" / "action_cache" / "interlock_action_cache"


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.one_isolation("inline", "no component runs: which half imports which")
def test_neither_half_of_the_package_needs_the_other() -> None:
    ours = [name for name in imports(PACKAGE / "component.py") if name.startswith("interlock_action_cache")]
    assert sorted(ours) == ["interlock_action_cache.heartbeat", "interlock_action_cache.keys", "interlock_action_cache.portions"]
    for file in PACKAGE.glob("*.py"):
        assert file.name == "component.py" or "interlock_action_cache.component" not in list(imports(file))
        assert all(name == "interlock" or not name.startswith("interlock.") for name in imports(file)), "the public SDK alone"
