"""Migrations: which documents are passed, how often, and what becomes of it when something fails, stops or comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, NotRequired

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock import UNSET, ActionCtx, AppError, Change, Component, LimitExceeded, MutationCtx, Range, Schema, Table, components
from interlock.testing import TestBackend
from interlock_migrations import MigrationFailed, Migrations, MigrationStatus


class Shop:
    """A table to migrate, a trigger that counts, and migrations of every kind. `broken` numbers make `price` fail."""

    def __init__(self) -> None:
        self.broken: set[int] = set()
        self.passed: list[int] = []
        items = Table({"n": int, "price": NotRequired[float], "seen": NotRequired[int], "old": NotRequired[str]}).index("by_n", "n")
        self.component = shop = Component("shop", schema=Schema(items=items, sums=Table({"sum": float})))
        shop.use("migrations")
        self.migrations = migrations = Migrations(components.migrations, decorate=shop.mutation)

        async def add_up(ctx: MutationCtx, change: Change) -> None:
            row = await ctx.db.query("sums").first()
            moved = (change.new or {}).get("price", 0) - (change.old or {}).get("price", 0)
            if row is None:
                await ctx.db.insert("sums", {"sum": moved})
            else:
                await ctx.db.patch(row["_id"], {"sum": row["sum"] + moved})

        shop.trigger("items")(add_up)

        @migrations.define("items")
        async def price(ctx: MutationCtx, doc: dict[str, Any]) -> dict[str, Any] | None:
            self.passed.append(doc["n"])
            if doc["n"] in self.broken:
                raise AppError(f"no price for {doc['n']}")
            return {"price": doc["n"] * 1.5, "old": UNSET}

        @migrations.define("items", batch_size=2)
        async def count(ctx: MutationCtx, doc: dict[str, Any]) -> None:
            """It writes by itself."""
            await ctx.db.patch(doc["_id"], {"seen": doc.get("seen", 0) + 1})

        @migrations.define("items", range=lambda q: q.index("by_n", n=Range(gte=3)).order("desc"), parallelize=True, batch_size=3)
        async def high(ctx: MutationCtx, doc: dict[str, Any]) -> dict[str, Any]:
            self.passed.append(doc["n"])
            return {"seen": 1}

        @migrations.define("items", on_error="skip", batch_size=3)
        async def careful(ctx: MutationCtx, doc: dict[str, Any]) -> dict[str, Any]:
            await ctx.db.patch(doc["_id"], {"old": "touched"})
            if doc["n"] in self.broken:
                raise ValueError(f"no price for {doc['n']} \udcff")
            return {"price": 1.0}

        @migrations.define("items", batch_size=1_000)
        async def greedy(ctx: MutationCtx, doc: dict[str, Any]) -> dict[str, Any]:
            for _ in range(300):
                await ctx.db.query("items").index("by_n", n=doc["n"]).first()
            return {"seen": 1}

        @shop.mutation
        async def touch(ctx: MutationCtx, what: str, id: str, by: int, fails: bool) -> None:
            """What others do to the table meanwhile."""
            doc = await ctx.db.get(id)
            if what == "insert":
                await ctx.db.insert("items", {"n": 100, "price": float(by)})
            elif doc is not None and what == "delete":
                await ctx.db.delete(id)
            elif doc is not None:
                await ctx.db.patch(id, {"price": doc.get("price", 0.0) + by})
            if fails:
                raise AppError("undone")

        @shop.action
        async def complete(ctx: ActionCtx, name: str, batch_size: int | None = None) -> int:
            return (await migrations.run_to_completion(ctx, name, batch_size=batch_size)).processed

        self.price, self.count, self.high, self.careful, self.greedy = price, count, high, careful, greedy
        migrations.runner(price, count, name="backfill")
        self.complete, self.touch = complete, touch

    async def fill(self, t: TestBackend, numbers: Any) -> None:
        async def insert(ctx: MutationCtx) -> None:
            for n in numbers:
                await ctx.db.insert("items", {"n": n, "old": "x"})

        await t.run(insert)

    async def items(self, t: TestBackend) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await t.run(lambda ctx: ctx.db.query("items").index("by_n").collect())
        return found

    async def sum(self, t: TestBackend) -> float:
        row = await t.run(lambda ctx: ctx.db.query("sums").first())
        return float(row["sum"])


async def do(t: TestBackend, operation: Callable[[MutationCtx], Any]) -> Any:
    """Something of the face, whose answer need be no value."""
    found: list[Any] = []

    async def run(ctx: MutationCtx) -> None:
        found[:] = [await operation(ctx)]

    await t.run(run)
    return found[0]


async def status(t: TestBackend, shop: Shop, ref: Any) -> MigrationStatus:
    found: list[MigrationStatus] = await do(t, lambda ctx: shop.migrations.get_status(ctx, [ref]))
    return found[0]


# to the end


async def test_every_document_gets_the_patch_and_triggers_fire() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(10))
        first = await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.price, batch_size=2))
        assert (first.state, first.processed, first.is_done, first.batch_size) == ("in_progress", 2, False, 2)
        again = await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.price, batch_size=2))
        assert again.processed in (2, 4, 6, 8, 10)  # what a job has done meanwhile, never a batch of its own
        await t.finish_scheduled()
        done = await status(t, shop, shop.price)
        assert (done.state, done.processed, done.cursor, done.error, done.estimated_total) == ("success", 10, None, None, 10)
        assert [(item["price"], "old" in item) for item in await shop.items(t)] == [(n * 1.5, False) for n in range(10)]
        assert set(shop.passed) == set(range(10))
        assert await shop.sum(t) == sum(n * 1.5 for n in range(10))


async def test_a_full_last_batch_is_the_last() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(4))
        await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.price, batch_size=2))
        ran = await t.finish_scheduled()
        assert sum("work" in job.name for job in ran) == 1
        assert (await status(t, shop, shop.price)).processed == 4


async def test_an_empty_table_is_done_at_once() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        done = await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.price))
        assert (done.state, done.processed, done.batch_size) == ("success", 0, 100)


async def test_run_to_completion_is_done_when_it_returns_and_raises_where_it_fails() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(10))
        shop.broken = {5}
        with pytest.raises(AppError, match="no price for 5"):
            await t.action(shop.complete, name="price", batch_size=2)
        assert (await status(t, shop, shop.price)).processed == 4
        shop.broken = set()
        assert await t.action(shop.complete, name="price", batch_size=2) == 10


async def test_a_migration_of_a_range_passes_that_range_in_its_order() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(8))
        await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.high))
        await t.finish_scheduled()
        assert [item.get("seen") for item in await shop.items(t)] == [None] * 3 + [1] * 5
        assert list(dict.fromkeys(shop.passed)) == [7, 6, 5, 4, 3]  # a transaction may run twice


async def test_documents_added_behind_the_place_are_passed_too() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(5))
        await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.count, delay_between_batches=10))
        await t.advance(11)
        await shop.fill(t, [5, 6])
        await t.finish_scheduled()
        assert [item["seen"] for item in await shop.items(t)] == [1] * 7


async def test_pauses_between_batches_give_a_rate_and_an_end() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(10))
        begun = t.now()
        await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.count, delay_between_batches=10))
        await t.advance(25)
        now = await status(t, shop, shop.count)
        assert (now.processed, now.estimated_total, now.rate) == (6, 10, pytest.approx(0.3))
        assert now.estimated_end == pytest.approx(begun + 20_000 + 4 / 0.3 * 1000)


# failing, and going on


async def test_a_failed_batch_leaves_nothing_and_says_which_document_it_was() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(10))
        shop.broken = {5}
        await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.price, batch_size=2))
        await t.finish_scheduled()
        failed = await status(t, shop, shop.price)
        items = await shop.items(t)
        assert (failed.state, failed.processed, failed.error) == ("failed", 4, "AppError: no price for 5")
        assert failed.failed_id == items[5]["_id"] and "in price" in (failed.traceback or "")
        assert ["price" in item for item in items] == [True] * 4 + [False] * 6
        shop.broken = set()
        await do(t, lambda ctx: shop.migrations.resume(ctx, shop.price))
        await t.finish_scheduled()
        assert (await status(t, shop, shop.price)).processed == 10
        assert all("price" in item for item in await shop.items(t))


async def test_documents_that_fail_may_be_left_out_and_are_told() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(8))
        shop.broken = {1, 4}
        await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.careful))
        await t.finish_scheduled()
        done = await status(t, shop, shop.careful)
        assert (done.state, done.processed, done.skipped) == ("success", 8, 2)
        items = await shop.items(t)
        assert [(item.get("price"), item["old"]) for item in items] == [(None, "x") if n in (1, 4) else (1.0, "touched") for n in range(8)]
        letters = await do(t, lambda ctx: shop.migrations.dead_letters(ctx, shop.careful))
        assert letters == [{"id": items[n]["_id"], "error": f"ValueError: no price for {n} \\udcff"} for n in (1, 4)]
        shop.broken = {4}
        await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.careful, reset=True))
        await t.finish_scheduled()
        assert len(await do(t, lambda ctx: shop.migrations.dead_letters(ctx, shop.careful))) == 1


async def test_a_batch_that_passes_a_limit_is_made_smaller_until_it_fits() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(150))
        await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.greedy))
        await t.finish_scheduled()
        done = await status(t, shop, shop.greedy)
        assert (done.state, done.processed, done.error) == ("success", 150, None)
        assert done.batch_size is not None and done.batch_size < 100
        assert all(item["seen"] == 1 for item in await shop.items(t))


async def test_a_batch_without_a_size_of_its_own_grows() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(1_500))
        await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.price))
        await t.finish_scheduled()
        done = await status(t, shop, shop.price)
        assert (done.processed, done.state) == (1_500, "success")
        assert done.batch_size is not None and done.batch_size > 100


# stopping


async def test_a_migration_that_is_canceled_or_paused_goes_on_from_its_place() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(10))
        for stop in (shop.migrations.cancel, shop.migrations.pause):
            await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.count, delay_between_batches=10, reset=True))
            stopped = await do(t, lambda ctx, stop=stop: stop(ctx, shop.count))
            assert stopped.state == ("canceled" if stop == shop.migrations.cancel else "paused")
            await t.advance(100)
            now = await status(t, shop, shop.count)
            assert (now.state, now.processed) == (stopped.state, 2)
            if stop == shop.migrations.cancel:
                await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.count))
            else:
                await do(t, lambda ctx: shop.migrations.resume(ctx, "count"))
            await t.finish_scheduled()
            assert (await status(t, shop, shop.count)).processed == 10
        assert [item["seen"] for item in await shop.items(t)] == [2] * 10


async def test_a_reset_stops_the_worker_and_begins_again() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(6))
        await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.count, delay_between_batches=10))
        await t.advance(11)
        restarted = await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.count, reset=True))
        assert (restarted.state, restarted.processed) == ("in_progress", 2)
        await t.finish_scheduled()
        assert (await status(t, shop, shop.count)).processed == 6
        assert [item["seen"] for item in await shop.items(t)] == [2] * 4 + [1] * 2


async def test_one_that_is_done_is_done_until_reset() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(2))
        for times, reset in ((1, False), (1, False), (2, True)):
            done = await do(t, lambda ctx, reset=reset: shop.migrations.run_one(ctx, shop.count, reset=reset))
            assert (done.state, done.processed) == ("success", 2)
            assert [item["seen"] for item in await shop.items(t)] == [times] * 2


async def test_cancel_all_and_clear_all() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(10))
        await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.price))
        await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.count, delay_between_batches=10))
        assert [one.name for one in await do(t, shop.migrations.cancel_all)] == ["count"]
        await do(t, shop.migrations.clear_all)
        assert await do(t, shop.migrations.get_status) == []
        assert (await status(t, shop, shop.count)).state == "unknown"


# dry runs


async def test_a_dry_run_changes_nothing_and_shows_what_it_would() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(30))
        before = await shop.items(t)
        tried = await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.price, dry_run=True, batch_size=20))
        assert tried.processed == 20 and len(tried.sample) == 10
        assert [(pair["before"], pair["after"].get("price")) for pair in tried.sample] == [(before[n], n * 1.5) for n in range(10)]
        assert await t.finish_scheduled() == []
        assert await shop.items(t) == before
        assert (await status(t, shop, shop.price)).state == "unknown"
        shop.broken = {0}
        assert (await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.price, dry_run=True))).error == "AppError: no price for 0"


async def test_a_dry_run_leaves_out_what_the_migration_would_and_says_so() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(3))
        before, shop.broken = await shop.items(t), {1, 2}
        tried = await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.careful, dry_run=True))
        assert (tried.state, tried.processed, tried.skipped) == ("success", 3, 2)
        assert [pair["after"]["price"] for pair in tried.sample] == [1.0]
        assert (tried.error, tried.failed_id) == ("ValueError: no price for 1 \\udcff", before[1]["_id"])
        assert await shop.items(t) == before
        assert await do(t, lambda ctx: shop.migrations.dead_letters(ctx, shop.careful)) == []


async def test_a_name_of_a_function_that_is_no_migration_is_refused_as_that() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        with pytest.raises(AppError, match="touch is no migration: make it with @migrations"):
            await do(t, lambda ctx: shop.migrations.run_one(ctx, "touch"))


# series


async def test_a_series_runs_in_order_leaves_out_what_is_done_and_stops_where_one_fails() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(4))
        assert await do(t, lambda ctx: shop.migrations.run_serially(ctx, [])) is None
        await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.high))
        await t.finish_scheduled()
        shop.broken = {3}
        first = await do(t, lambda ctx: shop.migrations.run_serially(ctx, [shop.high, shop.price, shop.count]))
        assert (first.name, first.state, first.next) == ("high", "success", ["price", "count"])
        await t.finish_scheduled()
        found = await do(t, lambda ctx: shop.migrations.get_status(ctx, [shop.count, shop.price, shop.high]))
        assert [(one.name, one.state) for one in found] == [("count", "unknown"), ("price", "failed"), ("high", "success")]
        shop.broken = set()
        await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.price))  # what was behind it is not forgotten
        await t.finish_scheduled()
        assert (await status(t, shop, shop.count)).state == "success"
        assert [item["seen"] for item in await shop.items(t)] == [1, 1, 1, 2]
        await do(t, lambda ctx: shop.migrations.run_serially(ctx, [shop.price, shop.count], reset=True))
        await t.finish_scheduled()
        assert [item["seen"] for item in await shop.items(t)] == [2, 2, 2, 3]
        await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.price))  # done, and so is what is behind it: the reset was for once
        await t.finish_scheduled()
        assert [item["seen"] for item in await shop.items(t)] == [2, 2, 2, 3]


async def test_a_dry_run_of_a_series_is_of_the_first_that_is_not_done() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(4))

        async def backfill(**options: bool) -> Any:
            return await t.component("").mutation("backfill", **options)

        assert (await backfill(dry_run=True))["name"] == "price"
        await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.price))
        tried = await backfill(dry_run=True)
        assert (tried["name"], len(tried["sample"]), tried["next"]) == ("count", 2, [])
        again = await backfill(dry_run=True, reset=True)
        assert (again["name"], again["sample"]) == ("price", [])  # it would change nothing
        await backfill()
        await t.finish_scheduled()
        assert (await backfill(dry_run=True))["name"] == "price"
        assert [item["seen"] for item in await shop.items(t)] == [1] * 4


async def test_alone_a_member_forgets_its_series() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(4))
        shop.broken = {0}
        await do(t, lambda ctx: shop.migrations.run_serially(ctx, [shop.price, shop.count]))
        shop.broken = set()
        await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.price, alone=True))
        await t.finish_scheduled()
        assert (await status(t, shop, shop.count)).state == "unknown"


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("stop", ["cancel", "pause", "cancel_all"])
async def test_the_next_of_a_series_can_be_stopped_before_it_begins(stop: str, reset: bool) -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(4))
        times = int(reset)
        if reset:
            await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.count))
            await t.finish_scheduled()

        async def start_and_stop(ctx: MutationCtx) -> None:
            await shop.migrations.run_serially(ctx, [shop.price, shop.count], reset=reset)
            if stop == "cancel_all":
                assert [stopped.name for stopped in await shop.migrations.cancel_all(ctx)] == ["count"]
            else:
                await getattr(shop.migrations, stop)(ctx, shop.count)

        await do(t, start_and_stop)
        await t.finish_scheduled()
        assert (await status(t, shop, shop.price)).state == "success"
        stopped = await status(t, shop, shop.count)
        assert (stopped.state, stopped.processed) == ("paused" if stop == "pause" else "canceled", 0)
        assert [item.get("seen", 0) for item in await shop.items(t)] == [times] * 4
        await do(t, lambda ctx: shop.migrations.resume(ctx, shop.count))
        await t.finish_scheduled()
        assert (await status(t, shop, shop.count)).state == "success"
        assert [item["seen"] for item in await shop.items(t)] == [times + 1] * 4


async def test_a_series_whose_later_member_is_in_progress_does_not_start() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(10))
        await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.count, delay_between_batches=10))
        found = await do(t, lambda ctx: shop.migrations.run_serially(ctx, [shop.price, shop.count]))
        assert (found.name, found.state) == ("count", "in_progress")
        assert (await status(t, shop, shop.price)).state == "unknown"


# what is refused


async def test_what_makes_no_sense_is_refused() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        with pytest.raises(ValueError, match="batch_size must be a whole number from 1"):
            await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.price, batch_size=0))
        with pytest.raises(AppError, match="INVALID_BATCH_SIZE"):
            await t.component("migrations").mutation("migrate", name="x", handle="function://x", batch_size=0)
        with pytest.raises(ValueError, match="from 1 to 28,000"):
            shop.migrations.define("items", batch_size=10**9)
        with pytest.raises(TypeError, match="complete is no migration"):
            await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.complete))
        with pytest.raises(AppError, match="INVALID_HANDLE"):
            await t.component("migrations").mutation("migrate", name="x", handle="x")
        await shop.fill(t, range(5))
        await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.count, delay_between_batches=10))
        await do(t, lambda ctx: shop.migrations.pause(ctx, shop.count))
        with pytest.raises(AppError, match="INVALID_CURSOR"):
            await do(t, lambda ctx: shop.migrations.run_one(ctx, shop.count, cursor="garbage"))
        assert (await status(t, shop, shop.count)).processed == 2  # its own place is not forgotten
        with pytest.raises(AppError, match="UNKNOWN_MIGRATION"):
            await do(t, lambda ctx: shop.migrations.cancel(ctx, "nobody"))
        with pytest.raises(ValueError, match="on_error"):
            shop.migrations.define("items", on_error="ignore")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="async def"):
            shop.migrations.define("items")(lambda ctx, doc: None)  # type: ignore[arg-type,return-value]
    assert isinstance(MigrationFailed(MigrationStatus("x", "failed")), AppError)
    assert issubclass(LimitExceeded, Exception)


async def test_called_by_itself_a_migration_starts() -> None:
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(5))
        started = await t.mutation(shop.count)
        assert (started["name"], started["state"], started["processed"]) == ("count", "in_progress", 2)
        await t.finish_scheduled()
        assert [item["seen"] for item in await shop.items(t)] == [1] * 5


# against a model


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(0, 25),
    size=st.integers(1, 9),
    plan=st.lists(
        st.tuples(st.sampled_from(["run", "reset", "break", "mend", "cancel", "pause", "resume"]), st.integers(0, 24)), max_size=8
    ),
)
async def test_whatever_fails_and_is_stopped_each_document_is_passed_once_a_run(count: int, size: int, plan: list[tuple[str, int]]) -> None:
    """Model: the documents in order, how often each was passed in full, and the place of the migration among them."""
    shop = Shop()
    async with TestBackend(shop.component) as t:
        await shop.fill(t, range(count))
        broken: set[int] = set()

        seen, place, is_known, is_done = [0] * count, 0, False, False

        def run_on() -> None:
            nonlocal place, is_done
            while not is_done:
                batch = list(range(place, min(place + size, count)))
                if broken & set(batch):
                    return
                for n in batch:
                    seen[n] += 1
                place += len(batch)
                is_done = place == count

        for what, n in [*plan, ("mend", 0), ("run", 0)]:
            match what:
                case "break":
                    broken.add(n)
                case "mend":
                    broken.clear()
                case "run" | "reset":
                    if what == "reset":
                        place, is_done = 0, False
                    is_known = True
                    shop.broken = broken
                    await do(t, lambda ctx, w=what: shop.migrations.run_one(ctx, shop.price, batch_size=size, reset=w == "reset"))
                    await t.finish_scheduled()
                    run_on()
                case "resume" if is_known:
                    await do(t, lambda ctx: shop.migrations.resume(ctx, shop.price))
                    await t.finish_scheduled()
                    if not is_done:
                        run_on()
                case "cancel" | "pause" if is_known:
                    stop = shop.migrations.cancel if what == "cancel" else shop.migrations.pause
                    await do(t, lambda ctx, stop=stop: stop(ctx, shop.price))
            now = await status(t, shop, shop.price)
            assert (now.processed, now.is_done) == ((place, is_done) if is_known else (0, False))
            assert ["price" in item for item in await shop.items(t)] == [times > 0 for times in seen]
        if count:
            assert await shop.sum(t) == sum(n * 1.5 for n in range(count))
        assert is_done and all(seen)


CALLS = st.lists(
    st.tuples(
        st.sampled_from(["raise", "raise", "raise", "insert", "delete"]),
        st.integers(0, 9),
        st.integers(1, 5),
        st.sampled_from(["stand", "stand", "drop", "fail"]),
    ),
    max_size=4,
)


@settings(max_examples=10, deadline=None)
@given(
    rounds=st.lists(st.tuples(st.sampled_from(["", "", "run", "pause", "resume", "cancel"]), CALLS), max_size=8), seed=st.integers(1, 2**32)
)
async def test_whoever_writes_meanwhile_each_document_is_passed_once_and_nothing_is_lost(rounds: list[Any], seed: int) -> None:
    """Writers at once with batches and with those who stop and start it; all meet in one row, that of the trigger.

    Model: what each document has been raised by, by calls that stood, and not by sub-transactions that were dropped.
    """
    shop = Shop()
    async with TestBackend(shop.component, seed=seed) as t:
        await shop.fill(t, range(10))
        ids = [item["_id"] for item in await shop.items(t)]

        async def write(ctx: MutationCtx, what: str, at: int, by: int, fate: str) -> None:
            call: dict[str, Any] = {"what": what, "id": ids[at], "by": by}
            try:
                await ctx.run_mutation(shop.touch, **call, fails=fate == "drop")
            except AppError:
                assert fate == "drop"
            if fate == "fail":
                raise AppError("undone")

        async def steer(ctx: MutationCtx, how: str) -> None:
            if how == "run":
                await shop.migrations.run_one(ctx, shop.count, delay_between_batches=1)
            else:
                await getattr(shop.migrations, how)(ctx, shop.count)

        await t.run(partial(steer, how="run"))
        for how, calls in rounds:
            writes = [t.run(partial(write, what=what, at=at, by=by, fate=fate)) for what, at, by, fate in calls]
            outcomes = await asyncio.gather(*writes, *([t.run(partial(steer, how=how))] if how else []), return_exceptions=True)
            expected = [fate == "fail" for _, _, _, fate in calls] + ([False] if how else [])
            assert [isinstance(outcome, AppError) for outcome in outcomes] == expected, outcomes
            await t.advance(1)
        await t.run(partial(steer, how="run"))
        await t.finish_scheduled()
        assert (await status(t, shop, shop.count)).state == "success"

        stood = [(what, at, by) for _, calls in rounds for what, at, by, fate in calls if fate == "stand"]
        deleted = {at for what, at, _ in stood if what == "delete"}
        items = await t.run(lambda ctx: ctx.db.query("items").collect())
        there = {item["_id"]: item for item in items if item["n"] != 100}
        assert sorted(there) == sorted(id for at, id in enumerate(ids) if at not in deleted)
        for at, id in enumerate(ids):
            if at not in deleted:
                assert there[id]["seen"] == 1
                assert there[id].get("price", 0) == sum(by for what, which, by in stood if what == "raise" and which == at)
        added = [item for item in items if item["n"] == 100]
        assert sorted(item["price"] for item in added) == sorted(by for what, _, by in stood if what == "insert")
        assert {item.get("seen", 0) for item in added} <= {0, 1}
        assert await shop.sum(t) == sum(item.get("price", 0) for item in items)
