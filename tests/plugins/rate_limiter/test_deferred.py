"""Deferred limits: callers do not meet, what they take is folded in later, and nothing of it is lost or counted twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock import App, AppError, MutationCtx, QueryCtx, components
from interlock.testing import TestBackend
from interlock.testing.backend import START_MS
from interlock_rate_limiter import HOUR, Ask, FixedWindow, RateLimited, RateLimiter, TokenBucket

BUCKET = TokenBucket(10, 10_000 * HOUR, capacity=20, deferred=True)
limits = RateLimiter(
    components.rate_limiter,
    {"few": TokenBucket(10, HOUR, capacity=3, deferred=True), "x": BUCKET, "now": TokenBucket(10, HOUR)},
)
near = pytest.approx


def backend(seed: int = 0) -> TestBackend:
    app = App()
    app.use("rate_limiter")
    return TestBackend(app, seed=seed)


async def left(t: TestBackend, name: str, key: str | None = None) -> float:
    async def look(ctx: MutationCtx) -> float:
        return (await limits.get_value(ctx, name, key=key)).value

    found: float = await t.run(look)
    return found


async def rows(t: TestBackend, table: str = "rate_limits") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await t.run(lambda ctx: ctx.db.query(table).collect(), component="rate_limiter")
    return found


async def test_a_burst_is_let_through_and_counted_afterwards() -> None:
    async with backend() as t:

        async def burst(ctx: MutationCtx) -> list[Any]:
            let = [(await limits.limit(ctx, "few")).ok for _ in range(3)]
            return [*let, (await limits.get_value(ctx, "few")).value]

        assert await t.run(burst) == [True, True, True, 3]
        await t.finish_scheduled()
        assert await left(t, "few") == near(0)
        refused = await t.run(_limit("few"))
        assert refused == [False, near(360)]
        assert await t.run(_limit("few", count=2, reserve=True)) == [True, near(720)]
        await t.finish_scheduled()
        assert await left(t, "few") == near(-2)
        with pytest.raises(RateLimited, match="few"):
            await t.run(_limit("few", throws=True))
        assert await rows(t, "pending_updates") == []


async def test_what_a_mutation_took_is_given_back_if_it_fails_and_a_check_takes_nothing() -> None:
    async with backend() as t:

        async def fails(ctx: MutationCtx) -> None:
            await limits.limit(ctx, "x", count=5)
            raise AppError("no")

        async def looks(ctx: QueryCtx) -> bool:
            return (await limits.check(ctx, "x", count=20)).ok and not (await limits.check(ctx, "now", count=10, throws=False)).retry_after

        with pytest.raises(AppError):
            await t.run(fails)
        await t.finish_scheduled()
        assert await rows(t) == []
        assert await t.query(looks)


async def test_many_updates_are_one_write_and_a_reset_and_a_refund_keep_their_place() -> None:
    async with backend() as t:

        async def fifteen(ctx: MutationCtx) -> None:
            for _ in range(15):
                await limits.limit(ctx, "x")

        await t.run(fifteen)
        await t.finish_scheduled()
        assert await left(t, "x") == near(5)
        assert len(await rows(t)) == 1

        async def several(ctx: MutationCtx) -> None:
            await limits.limit(ctx, "x", count=4)
            await limits.reset(ctx, "x")
            await limits.limit(ctx, "x", count=3)
            await limits.refund(ctx, "x", count=1)
            await limits.limit(ctx, "x", key="other")

        await t.run(several)
        await t.finish_scheduled()
        assert await left(t, "x") == near(18)
        assert await left(t, "x", "other") == near(19)


async def test_an_update_from_before_what_is_stored_counts_as_of_that_and_time_stands_still_after_a_reset() -> None:
    async with backend() as t:
        config = TokenBucket(1, 1.0, capacity=10, deferred=True).to_config()

        def update(kind: str, after_ms: float, count: float = 1) -> dict[str, Any]:
            return {"kind": kind, "name": "y", "config": config, "ts": START_MS + after_ms, "count": count}

        mount = t.component("rate_limiter")
        await mount.mutation("enqueue_updates", updates=[update("consume", 0, 10)])
        await mount.mutation("enqueue_updates", updates=[update("consume", -5_000)])
        await t.finish_scheduled()
        (row,) = await rows(t)
        assert (row["value"], row["ts"]) == (near(-1), START_MS)
        await mount.mutation("enqueue_updates", updates=[update("reset", 2_000), update("consume", 1_000, 4)])
        await t.finish_scheduled()
        (row,) = await rows(t)
        assert (row["value"], row["ts"]) == (near(6), START_MS + 2_000)


async def test_a_window_is_deferred_too_and_gives_at_its_start() -> None:
    window = FixedWindow(4, 60, start=START_MS, deferred=True)
    windows = RateLimiter(components.rate_limiter, {"w": window})
    async with backend() as t:

        async def take(ctx: MutationCtx, count: float) -> tuple[bool, float | None]:
            status = await windows.limit(ctx, "w", count=count)
            return status.ok, status.retry_after

        assert await t.mutation(take, count=4) == [True, None]
        await t.finish_scheduled()
        assert (await t.mutation(take, count=2))[0] is False
        await t.advance(60)
        assert await t.mutation(take, count=2) == [True, None]


async def test_modes_are_not_mixed() -> None:
    async with backend() as t:
        with pytest.raises(ValueError, match="no shards"):
            TokenBucket(10, HOUR, shards=2, deferred=True)
        with pytest.raises(ValueError, match="not asked in one call"):
            await t.run(lambda ctx: limits.limit_many(ctx, [Ask("few"), Ask("now")]))
        mount, config = t.component("rate_limiter"), BUCKET.to_config()
        with pytest.raises(AppError, match="rate_limit_deferred"):
            await mount.mutation("rate_limit", name="x", config=config)
        plain = TokenBucket(10, HOUR).to_config()
        with pytest.raises(AppError, match="NotDeferred"):
            await mount.mutation("rate_limit_deferred", asks=[{"name": "x", "config": plain}])
        with pytest.raises(AppError, match="NotDeferred"):
            await mount.mutation("enqueue_updates", updates=[{"kind": "consume", "name": "x", "config": plain}])
        with pytest.raises(AppError, match="KeyTooLong"):
            await t.run(lambda ctx: limits.limit(ctx, "x", key="k" * 5_000))

        async def both(ctx: MutationCtx) -> bool:
            return (await limits.limit_many(ctx, [Ask("few", count=3), Ask("x", key="a")])).ok

        assert await t.run(both)
        await t.finish_scheduled()
        assert (await left(t, "few"), await left(t, "x", "a")) == (near(0), near(19))
        assert not await t.run(both)


async def test_a_time_at_which_nothing_can_have_been_taken_is_refused() -> None:
    limit = FixedWindow(5, HOUR, start=0, deferred=True)

    def consumed(ts: float) -> dict[str, Any]:
        return {"kind": "consume", "name": "x", "config": limit.to_config(), "ts": ts}

    async with backend() as t:
        mount = t.component("rate_limiter")
        for wrong in (float("nan"), float("inf"), -1.0, 1e20):
            with pytest.raises(AppError, match="InvalidTime"):
                await mount.mutation("enqueue_updates", updates=[consumed(wrong)])
        await mount.mutation("enqueue_updates", updates=[consumed(0.0)])
        await t.finish_in_progress()
        [row] = await rows(t)
        assert row["value"] == 4


async def test_callers_of_one_deferred_limit_do_not_conflict() -> None:
    runs = 0

    async def take(ctx: MutationCtx) -> None:
        nonlocal runs
        runs += 1
        await limits.limit(ctx, "x")
        await asyncio.sleep(0)

    async with backend() as t:
        await t.mutation(take)  # the first one plans the job
        await asyncio.gather(*[t.mutation(take) for _ in range(14)])
        assert runs <= 17  # once each, but for those that met the job as it went to sleep
        await t.finish_scheduled()
        assert await left(t, "x") == near(5)


async def test_updates_whose_job_has_failed_are_gone_on_with_by_themselves() -> None:
    async def cut_off(ctx: MutationCtx) -> int:
        update = {"kind": "consume", "name": "x", "config": BUCKET.to_config(), "count": 2}
        await ctx.run_mutation("enqueue_updates", updates=[update])
        jobs = [job for job in await ctx.scheduler.list("pending") if job.name.endswith("apply_updates")]
        return sum([await ctx.scheduler.cancel(job.id) is not False for job in jobs])

    async with backend() as t:
        assert await t.run(cut_off, component="rate_limiter") == 1
        await t.run(_limit("x"))
        await t.finish_scheduled()
        assert await left(t, "x") == near(20)
        await t.advance(2 * HOUR)
        assert await left(t, "x") == near(17, abs=0.01)


@settings(max_examples=15, deadline=None)
@given(
    calls=st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 4), st.sampled_from(["stand", "drop", "fail"])), max_size=14),
    seed=st.integers(1, 2**32),
)
async def test_in_the_end_all_that_stands_was_taken_once(calls: list[tuple[str, int, str]], seed: int) -> None:
    """Model: a number for each key. What is dropped in a sub-transaction, or fails with all, takes nothing."""

    async def outer(ctx: MutationCtx, key: str, count: int, fate: str) -> int:
        taken = 1 if (await limits.limit(ctx, "x", key=key)).ok else 0
        await asyncio.sleep(0)
        if fate == "drop":
            with pytest.raises(AppError, match="InvalidCount"):
                await limits.limit_many(ctx, [Ask("x", key=key, count=count), Ask("x", key=key, count=-1)])
            return taken
        taken += count if (await limits.limit(ctx, "x", key=key, count=count)).ok else 0
        if fate == "fail":
            raise AppError("all of it")
        return taken

    async with backend(seed=seed) as t:
        answers = await asyncio.gather(*[t.mutation(outer, key=k, count=n, fate=f) for k, n, f in calls], return_exceptions=True)
        await t.finish_scheduled()
        assert sum(isinstance(answer, int) for answer in answers) == sum(fate != "fail" for _, _, fate in calls)
        for key in "ab":
            taken = sum(answer for (k, _, _), answer in zip(calls, answers, strict=True) if k == key and isinstance(answer, int))
            assert await left(t, "x", key) == near(20 - taken, abs=1e-3)
        assert await rows(t, "pending_updates") == []


def _limit(name: str, **options: Any) -> Any:
    async def run(ctx: MutationCtx) -> tuple[bool, float | None]:
        status = await limits.limit(ctx, name, **options)
        return status.ok, status.retry_after

    return run
