"""Rate limits: what is let through when, what an answer promises, and that nothing is lost or given twice."""

from __future__ import annotations

import ast
import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock import ActionCtx, App, AppError, ArgumentError, MutationCtx, QueryCtx, components
from interlock.testing import TestBackend
from interlock.testing.backend import START_MS
from interlock_rate_limiter import (
    HOUR,
    MINUTE,
    SECOND,
    Ask,
    ConcurrencyLimit,
    FixedWindow,
    Limit,
    RateLimited,
    RateLimiter,
    SlidingWindow,
    Status,
    TokenBucket,
    Value,
    calculate_rate_limit,
    component,
)
from interlock_rate_limiter.arithmetic import on_whole_ms

limits = RateLimiter(components.rate_limiter)
near = pytest.approx


def backend(seed: int = 0) -> TestBackend:
    app = App()
    app.use("rate_limiter")
    return TestBackend(app, seed=seed)


async def do(t: TestBackend, operation: Callable[[Any], Awaitable[Any]]) -> Any:
    """Something of the face in a mutation, whose answer need be no value."""
    found: list[Any] = []

    async def run(ctx: MutationCtx) -> None:
        found[:] = [await operation(ctx)]

    await t.run(run)
    return found[0]


async def take(t: TestBackend, limit: Limit, count: float = 1, *, name: str = "x", key: str | None = None, **options: Any) -> Status:
    status: Status = await do(t, lambda ctx: limits.limit(ctx, name, key=key, count=count, config=limit, **options))
    return status


async def check(t: TestBackend, limit: Limit, count: float = 1, **options: Any) -> Status:
    status: Status = await do(t, lambda ctx: limits.check(ctx, "x", count=count, config=limit, **options))
    return status


async def value(t: TestBackend, limit: Limit, **options: Any) -> Value:
    found: Value = await do(t, lambda ctx: limits.get_value(ctx, "x", config=limit, **options))
    return found


async def rows(t: TestBackend) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await t.run(lambda ctx: ctx.db.query("rate_limits").collect(), component="rate_limiter")
    return found


def window(rate: float, period: float, **options: Any) -> FixedWindow:
    """Aligned to the beginning of the test."""
    return FixedWindow(rate, period, start=START_MS, **options)


# what is let through


@pytest.mark.parametrize("kind", [TokenBucket, FixedWindow, SlidingWindow])
async def test_one_a_second_is_let_through_and_the_second_is_not(kind: Any) -> None:
    async with backend() as t:
        limit = kind(1, SECOND)
        assert await take(t, limit) == Status(True)
        refused = await take(t, limit)
        assert not refused.ok and refused.retry_after is not None and refused.retry_after > 0
        assert refused.name == "x"


@pytest.mark.parametrize("kind", [TokenBucket, FixedWindow])
async def test_capacity_may_be_taken_at_once(kind: Any) -> None:
    async with backend() as t:
        limit = kind(1, SECOND, capacity=3)
        assert (await take(t, limit, 3)).ok
        assert not (await take(t, limit)).ok


async def test_what_could_never_be_let_through_is_an_error() -> None:
    async with backend() as t:
        with pytest.raises(AppError, match="count of 2 exceeds 1"):
            await take(t, TokenBucket(1, SECOND), 2)
        with pytest.raises(AppError, match="exceeds 3"):
            await take(t, TokenBucket(1, SECOND, max_reserved=2), 4, reserve=True)
        with pytest.raises(AppError, match="exceeds 1"):
            await take(t, SlidingWindow(1, SECOND), 2, reserve=True)
        with pytest.raises(AppError, match="exceeds 1"):
            await check(t, window(1, SECOND), 2)
        assert await rows(t) == []


async def test_a_bucket_refills_evenly() -> None:
    async with backend() as t:
        limit = TokenBucket(10, MINUTE)
        assert (await take(t, limit, 5)).ok
        await t.advance(6)
        assert (await take(t, limit, 6)).ok
        assert (await value(t, limit)).value == near(0)
        assert await take(t, limit, 10) == Status(False, near(60), "x")


async def test_a_window_refills_when_the_next_begins() -> None:
    async with backend() as t:
        limit = window(10, MINUTE)
        assert (await take(t, limit, 5)).ok
        await t.advance(59.999)
        assert not (await take(t, limit, 6)).ok
        await t.advance(0.001)
        assert (await take(t, limit, 6)).ok
        assert (await value(t, limit)).value == near(4)
        assert await take(t, limit, 10) == Status(False, near(60), "x")


async def test_a_window_keeps_what_is_left_up_to_its_capacity() -> None:
    async with backend() as t:
        limit = window(10, MINUTE, capacity=25)
        assert (await take(t, limit, 25)).ok
        await t.advance(120)
        assert not (await take(t, limit, 21)).ok
        assert (await take(t, limit, 20)).ok
        await t.advance(600)
        assert (await take(t, limit, 25.5, reserve=True)).retry_after is not None


async def test_a_sliding_window_holds_wherever_it_begins() -> None:
    async with backend() as t:
        limit = SlidingWindow(10, MINUTE)
        assert (await take(t, limit, 6)).ok
        await t.advance(50)
        assert (await take(t, limit, 4)).ok
        assert await take(t, limit, 5) == Status(False, near(10), "x")
        assert await take(t, limit, 7) == Status(False, near(60), "x")
        await t.advance(10)
        assert (await value(t, limit)).value == 0  # as stored
        assert (await take(t, limit, 6)).ok
        assert await take(t, limit) == Status(False, near(50), "x")


async def test_a_sliding_window_keeps_few_entries_however_much_happens() -> None:
    async with backend() as t:
        limit = SlidingWindow(10_000, MINUTE)
        for _ in range(300):
            assert (await take(t, limit)).ok
            await t.advance(0.5)
        [row] = await rows(t)
        assert len(row["events"]) <= 66
        assert 10_000 - row["value"] >= 120


# reservations


async def test_a_bucket_reserves_ahead() -> None:
    async with backend() as t:
        limit = TokenBucket(10, MINUTE)
        await take(t, limit, 5)
        await t.advance(6)
        assert await take(t, limit, 16, reserve=True) == Status(True, near(60), "x")
        assert (await value(t, limit)).value == near(-10)
        await t.advance(30)
        assert await take(t, limit, 5, reserve=True) == Status(True, near(60), "x")


async def test_a_window_reserves_ahead() -> None:
    async with backend() as t:
        limit = window(10, MINUTE)
        await take(t, limit, 5)
        await t.advance(60)
        assert await take(t, limit, 16, reserve=True) == Status(True, near(60), "x")
        assert (await value(t, limit)).value == near(-6)
        await t.advance(30)
        assert await take(t, limit, 5, reserve=True) == Status(True, near(90), "x")
        assert (await value(t, limit)).value == near(-11)


async def test_a_sliding_window_reserves_ahead() -> None:
    async with backend() as t:
        limit = SlidingWindow(2, MINUTE, max_reserved=3)
        await take(t, limit, 2)
        await t.advance(10)
        assert await take(t, limit, 1, reserve=True) == Status(True, near(50), "x")
        assert await take(t, limit, 2, reserve=True) == Status(True, near(110), "x")
        assert (await value(t, limit)).value == -3
        full = await take(t, limit, 1, reserve=True)
        assert full == Status(False, near(50), "x")  # when the first of those reserved has happened
        await t.advance(50)
        assert await take(t, limit, 1, reserve=True) == Status(True, near(120), "x")


@pytest.mark.parametrize("isolation", ["inline"], indirect=True)
async def test_a_row_holds_so_many_moments_that_were_reserved_and_says_when_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component, "EVENTS_MOST", 3)
    async with backend() as t:
        limit = SlidingWindow(1, 60)
        assert [(await take(t, limit, reserve=True)).retry_after for _ in range(3)] == [None, near(60), near(120)]
        full = await take(t, limit, reserve=True)
        assert (full.ok, full.retry_after) == (False, near(60))
        await t.advance(60)
        assert (await take(t, limit, reserve=True)).retry_after == near(120)


async def test_as_many_places_as_a_limit_may_have_fit_into_its_row() -> None:
    most = ConcurrencyLimit(8_000, HOUR)

    async def all_but_one(ctx: MutationCtx) -> None:
        until = ctx.now() + HOUR * 1000
        holders = [{"lease": str(ctx.uuid4()), "count": 1.0, "until": until} for _ in range(7_999)]
        row = {"name": "x", "shard": 0, "value": 1.0, "ts": ctx.now(), "full_at": until, "holders": holders}
        await ctx.db.insert("rate_limits", row)

    async with backend() as t:
        await t.run(all_but_one, component="rate_limiter")
        assert [(await take(t, most)).ok for _ in range(2)] == [True, False]
    with pytest.raises(ValueError, match="8,000"):
        ConcurrencyLimit(8_001)


async def test_without_a_bound_any_number_may_be_reserved_and_who_does_not_reserve_waits_longer() -> None:
    async with backend() as t:
        limit = TokenBucket(1, HOUR)
        reserved = await take(t, limit, 100, reserve=True)
        assert reserved == Status(True, near(99 * HOUR), "x")
        assert (await check(t, limit)) == Status(False, near(100 * HOUR), "x")


async def test_the_bound_of_reservations_holds_and_zero_is_none() -> None:
    async with backend() as t:
        limit = TokenBucket(1, SECOND, max_reserved=1)
        assert (await take(t, limit, 2, reserve=True)).ok
        assert not (await take(t, limit)).ok
        assert await take(t, limit, reserve=True) == Status(False, near(1), "x")
        none = TokenBucket(1, SECOND, max_reserved=0)
        assert await take(t, none, reserve=True, name="none") == Status(True)
        assert await take(t, none, reserve=True, name="none") == Status(False, near(1), "none")


@pytest.mark.parametrize("shards", [1, 4])
async def test_reservations_of_one_are_spaced_evenly(shards: int) -> None:
    async with backend() as t:
        limit = TokenBucket(10, MINUTE, capacity=4, shards=shards)
        waits = [(await take(t, limit, reserve=True)).retry_after for _ in range(8)]
        assert waits == [None] * 4 + [near(6), near(12), near(18), near(24)]


async def test_to_throw_is_to_take_nothing_also_where_it_would_have_been_reserved() -> None:
    async with backend() as t:
        limit = TokenBucket(10, MINUTE)

        async def refused(ctx: MutationCtx) -> list[Any]:
            await limits.limit(ctx, "x", count=10, config=limit, throws=True)
            with pytest.raises(RateLimited) as error:
                await limits.limit(ctx, "x", config=limit, throws=True)
            with pytest.raises(RateLimited):
                await limits.limit(ctx, "x", config=limit, throws=True, reserve=True)
            with pytest.raises(RateLimited):
                await limits.check(ctx, "x", config=limit, throws=True)
            return [error.value.name, error.value.retry_after, error.value.data, str(error.value)]

        name, retry_after, data, text = await t.run(refused)
        assert (name, retry_after) == ("x", near(6))
        assert data == {"kind": "RateLimited", "name": "x", "retryAfter": near(6000)}
        assert "6.000 s" in text
        assert (await value(t, limit)).value == 0


# the promise of an answer

LIMITS = st.one_of(
    st.builds(
        lambda kind, rate, period, capacity, reserved, shards: kind(rate, period, capacity=capacity, max_reserved=reserved, shards=shards),
        st.sampled_from([TokenBucket, FixedWindow]),
        st.sampled_from([1, 3, 10, 0.7]),
        st.sampled_from([1, 60, 7.3]),
        st.sampled_from([None, 4, 12]),
        st.sampled_from([None, 0, 5]),
        st.sampled_from([1, 1, 2, 3, 5]),
    ),
    st.builds(
        lambda rate, period, reserved: SlidingWindow(rate, period, max_reserved=reserved),
        st.sampled_from([1, 3, 10]),
        st.sampled_from([1, 60]),
        st.sampled_from([None, 0, 5]),
    ),
)
STEPS = st.lists(
    st.tuples(st.sampled_from([0, 0, 0.1, 0.4, 1, 7, 61]), st.sampled_from([0.5, 1, 1, 1, 2, 3]), st.booleans()), min_size=1, max_size=10
)


def most(limit: Any) -> float:
    return float(limit.capacity if limit.capacity is not None else limit.rate)


@settings(max_examples=40, deadline=None)
@given(limit=LIMITS, steps=STEPS)
async def test_the_same_call_works_at_the_time_that_was_said_and_not_a_moment_before(limit: Any, steps: list[Any]) -> None:
    async with backend() as t:
        for pause, amount, reserve in steps:
            await t.advance(pause)
            count = min(amount, most(limit))
            before = await rows(t)
            seen = await check(t, limit, count, reserve=reserve)
            assert await rows(t) == before
            status = await take(t, limit, count, reserve=reserve)
            assert (status.ok, status.retry_after) == (seen.ok, near(seen.retry_after) if seen.retry_after else seen.retry_after)
            if status.ok:
                continue
            assert await rows(t) == before, "who is refused changes nothing"
            assert status.retry_after is not None and status.retry_after > 0
            if status.retry_after > 0.001:
                await t.advance(status.retry_after - 0.001)
                assert not (await check(t, limit, count, reserve=reserve)).ok
                await t.advance(0.001)
            else:
                await t.advance(status.retry_after)
            assert (await take(t, limit, count, reserve=reserve)).ok


@settings(max_examples=30, deadline=None)
@given(limit=LIMITS, steps=STEPS)
async def test_no_stretch_of_time_lets_through_more_than_it_may(limit: Any, steps: list[Any]) -> None:
    """Model: the list of all that was let through, and for every pair of moments the sum between them."""
    passed: list[tuple[float, float]] = []
    async with backend() as t:
        for pause, amount, _ in steps * 2:
            await t.advance(pause)
            if (await take(t, limit, min(amount, most(limit)))).ok:
                passed.append((t.now() / 1000, min(amount, most(limit))))
    for first, (begin, _) in enumerate(passed):
        for last in range(first, len(passed)):
            taken, length = sum(count for _, count in passed[first : last + 1]), passed[last][0] - begin
            if isinstance(limit, TokenBucket):
                assert taken <= most(limit) + limit.rate * length / limit.period + 1e-3
            elif isinstance(limit, FixedWindow):
                assert taken <= most(limit) + limit.rate * math.ceil(length / limit.period + 1e-9) + 1e-6
            elif length < limit.period:
                assert taken <= limit.rate


# shards


@pytest.mark.parametrize("shards", [2, 3, 4, 7])
async def test_every_token_of_a_sharded_limit_can_be_taken_and_not_one_more(shards: int) -> None:
    async with backend() as t:
        limit = TokenBucket(10, HOUR, shards=shards)
        assert [(await take(t, limit)).ok for _ in range(12)] == [True] * 10 + [False] * 2


@pytest.mark.parametrize("shards", [2, 3, 4, 10])
async def test_a_fresh_sharded_limit_lets_through_its_whole_capacity_at_once(shards: int) -> None:
    async with backend() as t:
        limit = FixedWindow(10, HOUR, shards=shards)
        assert (await take(t, limit, 10)).ok
        assert not (await take(t, limit)).ok


async def test_shards_with_half_a_token_each_pay_together() -> None:
    async with backend() as t:
        limit = TokenBucket(1.5, HOUR, shards=3)
        assert (await take(t, limit)).ok
        assert sorted(row["value"] for row in await rows(t)) == [0, 0]
        refused = await take(t, limit, throws=False)
        assert refused == Status(False, near(HOUR / 2), "x")  # one shard is full, two fill up
        with pytest.raises(RateLimited):
            await take(t, limit, throws=True)


async def test_calls_of_a_sharded_limit_mostly_touch_one_row() -> None:
    async with backend() as t:
        limit = TokenBucket(1_000, HOUR, shards=10)
        for _ in range(100):
            await take(t, limit)
        found = await rows(t)
        assert len(found) == 10
        assert sum(100 - row["value"] for row in found) == near(100, abs=0.1)


# reading, refunds, resets


async def test_an_unused_limit_shows_its_capacity_and_its_defaults() -> None:
    async with backend() as t:
        found = await value(t, TokenBucket(10, MINUTE, shards=4))
        assert (found.value, found.config, found.exact) == (10, TokenBucket(10, MINUTE, capacity=10, shards=4), False)
        whole = await value(t, window(10, MINUTE, capacity=20))
        assert (whole.value, whole.exact, whole.config.capacity) == (20, True, 20)
        assert (START_MS - whole.ts) % 60_000 == 0 and whole.config.start == whole.ts
        assert (await value(t, SlidingWindow(3, MINUTE))).value == 3
        assert (await value(t, ConcurrencyLimit(3))).value == 3


async def test_the_value_of_a_sharded_limit_is_that_of_all_its_shards() -> None:
    async with backend() as t:
        limit = TokenBucket(40, HOUR, shards=4)
        for _ in range(9):
            await take(t, limit)
        whole = await value(t, limit, sample_shards=4)
        assert (whole.value, whole.exact) == (near(31), True)
        assert 4 * 1 <= (await value(t, limit, sample_shards=1)).value <= 40


async def test_a_value_can_be_moved_on_to_now() -> None:
    async with backend() as t:
        limit = TokenBucket(10, MINUTE)
        await take(t, limit, 5)
        await t.advance(6)
        found = await value(t, limit)
        assert found.value == 5
        assert calculate_rate_limit(found, found.config, t.now()).value == near(6)


async def test_names_and_keys_are_apart_and_no_key_is_not_the_empty_one() -> None:
    async with backend() as t:
        limit = TokenBucket(1, HOUR)
        for name, key in [("x", None), ("x", ""), ("x", "a"), ("y", None), ("y", "a")]:
            assert (await take(t, limit, name=name, key=key)).ok
            assert not (await take(t, limit, name=name, key=key)).ok
        await do(t, lambda ctx: limits.reset(ctx, "x"))
        assert (await take(t, limit)).ok
        assert not (await take(t, limit, key="")).ok
        await do(t, lambda ctx: limits.reset(ctx, "x", key="a"))
        assert (await take(t, limit, key="a")).ok
        assert not (await take(t, limit, name="y", key="a")).ok


async def test_a_reset_takes_all_shards() -> None:
    async with backend() as t:
        limit = TokenBucket(10, HOUR, shards=5)
        await take(t, limit, 10)
        await do(t, lambda ctx: limits.reset(ctx, "x"))
        assert await rows(t) == []
        assert (await take(t, limit, 10)).ok


@pytest.mark.parametrize("limit", [TokenBucket(10, HOUR), FixedWindow(10, HOUR), SlidingWindow(10, HOUR), TokenBucket(10, HOUR, shards=4)])
async def test_a_refund_gives_back_at_most_what_was_taken(limit: Limit) -> None:
    async with backend() as t:
        await take(t, limit, 10)
        await do(t, lambda ctx: limits.refund(ctx, "x", count=4, config=limit))
        assert (await take(t, limit, 4)).ok
        assert not (await take(t, limit)).ok
        await do(t, lambda ctx: limits.refund(ctx, "x", count=99, config=limit))
        assert (await take(t, limit, 10)).ok
        assert not (await take(t, limit)).ok


@pytest.mark.parametrize("count", [-1, float("nan"), float("inf")])
async def test_a_count_that_is_none_is_refused(count: float) -> None:
    async with backend() as t:
        for limit in (TokenBucket(5, SECOND), SlidingWindow(5, SECOND)):
            with pytest.raises(AppError, match="refund"):
                await take(t, limit, count)
            with pytest.raises(AppError, match="count"):
                await do(t, lambda ctx, limit=limit: limits.refund(ctx, "x", count=count, config=limit))


async def test_a_truth_is_not_one_token() -> None:
    async with backend() as t:
        with pytest.raises(ArgumentError, match="count"):
            await take(t, TokenBucket(5, SECOND), True)
        assert (await value(t, TokenBucket(5, SECOND))).value == 5


# time


async def test_a_clock_that_steps_back_costs_nothing_and_gives_nothing() -> None:
    for limit in (TokenBucket(10, MINUTE), window(10, MINUTE), SlidingWindow(10, MINUTE)):
        async with backend() as t:
            await t.advance(3600)
            await take(t, limit, 4)
            t.clock._now_ms -= 1_800_000
            assert not (await check(t, limit, 7)).ok
            assert (await take(t, limit, 6)).ok
            refused = await take(t, limit)
            assert not refused.ok and refused.retry_after is not None
            await t.advance(refused.retry_after)
            assert (await take(t, limit)).ok


async def test_windows_whose_start_is_to_come_or_zero_are_aligned_to_it() -> None:
    async with backend() as t:
        later = FixedWindow(10, MINUTE, start=START_MS + 3_600_000 + 20_000)
        assert (await take(t, later, 10)).ok
        assert await take(t, later, 10) == Status(False, near(20), "x")
        zero = FixedWindow(1, MINUTE, start=0)
        assert (await take(t, zero, name="zero")).ok
        assert (await take(t, zero, name="zero")).retry_after == near(60)
        dated = FixedWindow(1, MINUTE, start=datetime(2020, 1, 1, 0, 0, 30, tzinfo=UTC))
        assert (await take(t, dated, name="dated")).ok
        assert (await take(t, dated, name="dated")).retry_after == near(30)


@pytest.mark.one_isolation("inline", "no component runs: arithmetic alone")
def test_the_arithmetic_alone() -> None:
    bucket = TokenBucket(10, MINUTE, capacity=10)
    state = {"value": 5, "ts": START_MS}
    now = START_MS + 30_000
    assert calculate_rate_limit(state, bucket, now).value == 10
    assert calculate_rate_limit(state, bucket, now, 8).value == 2
    missing = calculate_rate_limit(state, bucket, now, 15)
    assert (missing.value, missing.retry_after, missing.window_start) == (-5, near(30), None)
    fixed = FixedWindow(10, MINUTE)
    assert calculate_rate_limit(state, fixed, START_MS + 45_000).value == 5
    missing = calculate_rate_limit(state, fixed, START_MS + 45_000, 8)
    assert (missing.value, missing.retry_after, missing.window_start) == (-3, near(15), START_MS)
    later = calculate_rate_limit(state, fixed, START_MS + 90_000)
    assert (later.value, later.ts) == (10, START_MS + 60_000)
    assert calculate_rate_limit(None, bucket, now, 3).value == 7
    assert calculate_rate_limit(None, replace(fixed, start=now + 1), now, 3).value == 7
    assert calculate_rate_limit(state, bucket, START_MS - 9, 6).retry_after == near(6.009)


async def test_rows_that_say_nothing_any_more_are_removed() -> None:
    async with backend() as t:
        for key in range(120):
            await take(t, TokenBucket(1, MINUTE), key=str(key))
        await take(t, window(1, MINUTE), name="w")
        await take(t, SlidingWindow(1, MINUTE), name="s")
        await take(t, ConcurrencyLimit(1), name="c")
        await take(t, TokenBucket(1, 10 * HOUR), name="slow")
        await t.advance(3 * HOUR)
        assert [row["name"] for row in await rows(t)] == ["slow"]


async def test_clearing_forgets_everything_that_began_before() -> None:
    async with backend() as t:
        for key in range(230):
            await take(t, TokenBucket(1, 1000 * HOUR), key=str(key))
        await t.advance(1)
        before = t.now()
        await t.advance(1)
        await take(t, TokenBucket(1, 1000 * HOUR), name="later")
        await do(t, lambda ctx: limits.clear_all(ctx, before=before))
        assert len(await rows(t)) == 131
        await t.finish_in_progress()
        assert [row["name"] for row in await rows(t)] == ["later"]
        await do(t, limits.clear_all)
        assert await rows(t) == []


# several at once


async def test_several_limits_are_taken_all_or_none() -> None:
    named = RateLimiter(components.rate_limiter, {"user": TokenBucket(2, MINUTE), "all": TokenBucket(3, HOUR)})

    def asks(user: str) -> list[Ask]:
        return [Ask("user", key=user), Ask("all")]

    async with backend() as t:
        assert (await do(t, lambda ctx: named.limit_many(ctx, asks("a")))) == Status(True)
        assert (await do(t, lambda ctx: named.limit_many(ctx, asks("a")))).ok
        refused = await do(t, lambda ctx: named.limit_many(ctx, asks("a")))
        assert refused == Status(False, near(30), "user")
        assert (await do(t, lambda ctx: named.get_value(ctx, "all"))).value == 1
        assert (await do(t, lambda ctx: named.check_many(ctx, asks("b")))).ok
        assert (await do(t, lambda ctx: named.limit_many(ctx, asks("b")))).ok
        both_full = await do(t, lambda ctx: named.limit_many(ctx, asks("a")))
        assert both_full == Status(False, near(HOUR / 3), "all")
        with pytest.raises(RateLimited) as error:
            await do(t, lambda ctx: named.limit_many(ctx, asks("a"), throws=True))
        assert error.value.name == "all"


async def test_one_limit_asked_twice_in_one_call_is_taken_twice() -> None:
    named = RateLimiter(components.rate_limiter, {"x": TokenBucket(3, HOUR), "s": SlidingWindow(3, HOUR), "c": ConcurrencyLimit(3)})
    async with backend() as t:
        for name in ("x", "s", "c"):
            with pytest.raises(AppError, match=r"CountTooLarge.* 4 "):
                await do(t, lambda ctx, name=name: named.limit_many(ctx, [Ask(name, count=2), Ask(name, count=2)]))
            assert (await do(t, lambda ctx, name=name: named.limit_many(ctx, [Ask(name, count=2), Ask(name)]))).ok
            assert not (await do(t, lambda ctx, name=name: named.limit(ctx, name))).ok


@pytest.mark.parametrize(
    "limit",
    [TokenBucket(4, MINUTE), TokenBucket(4, MINUTE, shards=4), window(4, MINUTE), SlidingWindow(4, MINUTE), ConcurrencyLimit(4)],
    ids=lambda limit: type(limit).__name__,
)
async def test_a_call_that_asks_one_limit_twice_works_at_the_time_that_was_said_and_not_a_moment_before(limit: Limit) -> None:
    asks = [Ask("x", count=2, config=limit), Ask("y", config=TokenBucket(9, HOUR)), Ask("x", count=2, config=limit)]
    async with backend() as t:
        for taken in (1, 2):  # of 4: first the second ask is refused, then both
            for _ in range(taken):
                assert (await take(t, limit)).ok
            await t.advance(1)
            refused = await do(t, lambda ctx: limits.limit_many(ctx, asks))
            assert not refused.ok and refused.name == "x"
            await t.advance(refused.retry_after - 0.002)
            assert not (await do(t, lambda ctx: limits.check_many(ctx, asks))).ok
            await t.advance(0.003)
            assert (await do(t, lambda ctx: limits.check_many(ctx, asks))).ok


# how many at once


async def test_a_concurrency_limit_lets_in_who_fits_until_they_are_done_or_late() -> None:
    async with backend() as t:
        limit = ConcurrencyLimit(2, period=30)
        first = await take(t, limit)
        await t.advance(10)
        second = await take(t, limit)
        assert first.lease is not None and second.lease is not None and first.lease != second.lease
        assert await take(t, limit) == Status(False, near(20), "x")
        assert await do(t, lambda ctx: limits.release(ctx, "x", first.lease))
        assert not await do(t, lambda ctx: limits.release(ctx, "x", first.lease))
        assert (await take(t, limit)).ok
        assert await do(t, lambda ctx: limits.renew(ctx, "x", second.lease, config=limit))
        await t.advance(29)
        assert await take(t, limit, 2) == Status(False, near(1), "x")
        await t.advance(1)
        assert (await take(t, limit, 2)).ok
        assert not await do(t, lambda ctx: limits.renew(ctx, "x", second.lease, config=limit))


async def test_an_action_holds_its_place_while_it_works() -> None:
    named = RateLimiter(components.rate_limiter, {"renders": ConcurrencyLimit(1), "other": TokenBucket(1, HOUR)})

    async def work(ctx: ActionCtx) -> str:
        async with named.hold(ctx, "renders"):
            with pytest.raises(RateLimited):
                async with named.hold(ctx, "renders"):
                    raise AssertionError("there was room for one")
        with pytest.raises(ZeroDivisionError):
            async with named.hold(ctx, "renders"):
                raise ZeroDivisionError
        with pytest.raises(ValueError, match="no concurrency limit"):
            async with named.hold(ctx, "other"):
                pass
        async with named.hold(ctx, "renders"):
            return "done"

    async with backend() as t:
        assert await t.action(work) == "done"


async def test_a_concurrency_limit_cannot_be_reserved_refunded_or_taken_in_part() -> None:
    async with backend() as t:
        limit = ConcurrencyLimit(2)
        for count, options in ((1, {"reserve": True}), (0.5, {}), (3, {})):
            with pytest.raises(AppError, match=r"concurrency|whole number"):
                await take(t, limit, count, **options)
        with pytest.raises(AppError, match="release"):
            await do(t, lambda ctx: limits.refund(ctx, "x", config=limit))


# options


@pytest.mark.one_isolation("inline", "no component runs: what the face refuses")
@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: TokenBucket(0, SECOND), ValueError),
        (lambda: TokenBucket(1, 0), ValueError),
        (lambda: TokenBucket(float("nan"), 1), ValueError),
        (lambda: TokenBucket(1, SECOND, capacity=0), ValueError),
        (lambda: TokenBucket(1, SECOND, max_reserved=-1), ValueError),
        (lambda: TokenBucket(10**400, SECOND), ValueError),
        (lambda: FixedWindow(1, 5e-324), ValueError),
        (lambda: FixedWindow(1e308, 1e308), ValueError),
        (lambda: TokenBucket(1, SECOND, max_reserved=False), TypeError),
        (lambda: TokenBucket(1, SECOND, shards=0), ValueError),
        (lambda: FixedWindow(1, timedelta(0)), ValueError),
        (lambda: FixedWindow(1, SECOND, start=datetime(2020, 1, 1)), ValueError),
        (lambda: SlidingWindow(-1, SECOND), ValueError),
        (lambda: ConcurrencyLimit(0), ValueError),
        (lambda: TokenBucket("1", SECOND), TypeError),  # type: ignore[arg-type]
        (lambda: RateLimiter(components.rate_limiter, {"x": 5}), TypeError),  # type: ignore[dict-item]
    ],
)
def test_limits_that_cannot_be_are_refused_where_they_are_written(make: Callable[[], Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


async def test_what_crosses_is_checked_again_behind_the_boundary() -> None:
    async with backend() as t:
        for config in ({"kind": "token bucket", "period": 1.0}, {"kind": "fixed window", "rate": 1.0, "period": 0.0}):
            with pytest.raises(AppError, match="InvalidLimit"):
                await t.component("rate_limiter").mutation("rate_limit", name="x", config=config)


async def test_an_unknown_name_is_an_error_that_names_it_and_the_others() -> None:
    named = RateLimiter(components.rate_limiter, {"send": TokenBucket(1, MINUTE)})
    async with backend() as t:
        with pytest.raises(ValueError, match=r"'sned'.*send"):
            await do(t, lambda ctx: named.limit(ctx, "sned"))


@pytest.mark.one_isolation("inline", "no component runs: arithmetic alone")
def test_jitter_waits_longer_and_never_shorter() -> None:
    waits = [Status(False, 10.0).retry_after_jittered(0.5) or 0 for _ in range(50)]
    assert all(10 <= wait <= 15 for wait in waits) and len(set(waits)) > 1
    assert Status(True).retry_after_jittered() is None


async def test_a_period_may_be_a_timedelta() -> None:
    async with backend() as t:
        await take(t, TokenBucket(1, timedelta(minutes=1)))
        assert (await take(t, TokenBucket(1, timedelta(minutes=1)))).retry_after == near(60)


async def test_the_face_works_from_queries_and_actions() -> None:
    limit = TokenBucket(2, HOUR)

    async def act(ctx: ActionCtx) -> list[bool]:
        answers = [await limits.limit(ctx, "x", config=limit) for _ in range(3)]
        return [answer.ok for answer in answers]

    async def read(ctx: QueryCtx) -> list[Any]:
        status = await limits.check(ctx, "x", config=limit)
        return [status.ok, (await limits.get_value(ctx, "x", config=limit)).value]

    async with backend() as t:
        assert await t.action(act) == [True, True, False]
        assert await t.query(read) == [False, 0]


# what a client's hook is told


async def test_the_functions_of_the_client_hook_answer_in_its_shape() -> None:
    named = RateLimiter(
        components.rate_limiter, {"send": FixedWindow(10, MINUTE, max_reserved=3, start=START_MS), "s": SlidingWindow(1, MINUTE)}
    )

    async def own(ctx: QueryCtx, sent: str | None) -> str | None:
        if sent == "not mine":
            raise AppError("no")
        return f"user {sent}"

    shared, time = named.client_api("send")
    mine, _ = named.client_api("send", key=own)
    async with backend() as t:
        await do(t, lambda ctx: named.limit(ctx, "send", key="user ada", count=4))
        window_start = START_MS % 60_000
        config = {
            "kind": "fixed window",
            "rate": 10,
            "period": 60_000,
            "capacity": 10,
            "maxReserved": 3,
            "shards": 1,
            "start": window_start,
        }
        shown = {"value": 10, "ts": window_start, "shard": 0, "config": {**config, "start": window_start}}
        assert await t.query(shared) == shown
        assert (await t.query(mine, name="send", key="ada"))["value"] == 6
        assert await t.mutation(time) == t.now()
        for asked in ({"key": "ada"}, {"name": "other"}, {"config": {"rate": 1}}):
            with pytest.raises(AppError, match=r"Refused|OtherLimit"):
                await t.query(shared, **asked)
        with pytest.raises(AppError, match="no"):
            await t.query(mine, key="not mine")
    with pytest.raises(ValueError, match="hook knows"):
        named.client_api("s")


@pytest.mark.one_isolation("inline", "no component runs: what the face tells")
@given(value=st.floats(-20, 20), ts=st.floats(START_MS, START_MS + 1e6), later=st.floats(0, 1e6), rate=st.sampled_from([1, 3, 7, 100]))
def test_what_the_hook_is_told_is_the_same_state_to_a_millisecond(value: float, ts: float, later: float, rate: float) -> None:
    limit = TokenBucket(rate, MINUTE, capacity=20)
    told, told_ts = on_whole_ms(value, ts, limit)
    assert told == int(told) and told_ts == int(told_ts)
    here = calculate_rate_limit({"value": value, "ts": ts}, limit, ts + later + 1).value
    there = calculate_rate_limit({"value": told, "ts": told_ts}, limit, ts + later + 1).value
    assert -1e-5 <= here - there <= rate / 60_000 + 1e-5


# concurrency and failures


@settings(max_examples=25, deadline=None)
@given(
    calls=st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["stand", "drop", "fail"])), max_size=12),
    shards=st.sampled_from([1, 3]),
    seed=st.integers(1, 2**32),
)
async def test_only_calls_that_stand_have_taken_however_they_overlap(calls: list[tuple[int, str]], shards: int, seed: int) -> None:
    """Model: a number. Each call takes 1 outside, and `count` in a sub-transaction that stands, is dropped, or fails it all."""
    limit = TokenBucket(30, 10_000 * HOUR, shards=shards)
    ended: list[int] = []

    async def outer(ctx: MutationCtx, count: int, fate: str) -> int:
        taken = 1 if (await limits.limit(ctx, "x", config=limit)).ok else 0
        await asyncio.sleep(0)
        try:
            if fate == "stand":
                taken += count if (await limits.limit(ctx, "x", count=count, config=limit)).ok else 0
            else:
                asks = [Ask("x", count=count, config=limit), Ask("x", count=-1, config=limit)]
                await limits.limit_many(ctx, asks)
        except AppError:
            if fate == "fail":
                raise
        return taken

    async with backend(seed=seed) as t:
        answers = await asyncio.gather(*[t.mutation(outer, count=count, fate=fate) for count, fate in calls], return_exceptions=True)
        ended = [answer for answer in answers if isinstance(answer, int)]
        assert len(ended) == sum(fate != "fail" for _, fate in calls)
        left = 30 - sum(ended)
        assert left >= 0
        assert (await value(t, limit, sample_shards=shards)).value == near(left, abs=1e-3)
        assert (await check(t, limit, left)).ok
        assert left == 30 or not (await check(t, limit, left + 0.5)).ok


@pytest.mark.parametrize("shards", [1, 4])
async def test_many_callers_at_once_take_what_there_is(shards: int) -> None:
    async with backend() as t:
        limit = TokenBucket(20, 10_000 * HOUR, shards=shards)

        async def one(ctx: MutationCtx) -> bool:
            return (await limits.limit(ctx, "x", config=limit)).ok

        answers = await asyncio.gather(*[t.mutation(one) for _ in range(30)])
        assert sum(answers) == 20


# the package

PACKAGE = Path(__file__).parents[3] / "plugins" / "rate_limiter" / "interlock_rate_limiter"


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.one_isolation("inline", "no component runs: which half imports which")
def test_neither_half_of_the_package_needs_the_other() -> None:
    ours = {name for name in imports(PACKAGE / "component.py") if name.startswith("interlock_rate_limiter")}
    assert not ours & {"interlock_rate_limiter", "interlock_rate_limiter.client", "interlock_rate_limiter.errors"}
    for file in PACKAGE.glob("*.py"):
        assert file.name == "component.py" or "interlock_rate_limiter.component" not in list(imports(file))
        assert all(name == "interlock" or not name.startswith("interlock.") for name in imports(file)), "the public SDK alone"
