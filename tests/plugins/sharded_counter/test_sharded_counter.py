"""Counters in shards: what they count, how they spread, what an estimate is worth, what concurrency costs."""

from __future__ import annotations

import ast
import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock import (
    ActionCtx,
    App,
    AppError,
    ArgumentError,
    Change,
    Component,
    InvalidCursor,
    MutationCtx,
    Page,
    PaginationOptions,
    QueryCtx,
    components,
)
from interlock.testing import TestBackend
from interlock_sharded_counter import NamedCounter, ShardedCounter
from interlock_sharded_counter.component import component


def app() -> App:
    """An app that mounts the component twice."""
    app = App()
    app.use("sharded_counter", isolation="inline")
    app.use("sharded_counter", name="other", isolation="inline")
    return app


counter = ShardedCounter(components.sharded_counter)


async def rows(t: TestBackend, name: str | None = None, component: str | None = None) -> dict[int, float]:
    """Values by shard."""
    found = await t.run(lambda ctx: ctx.db.query("counters").collect(), component=component)
    return {row["shard"]: row["value"] for row in found if name in (None, row["name"])}


# the component


async def test_it_counts_the_sum_of_what_was_added() -> None:
    async with TestBackend(component) as t:
        for count in (10, 5, -5):
            await t.mutation("add", name="beans", count=count)
        assert await t.query("count", name="beans") == 10
        await t.mutation("add", name="friends", count=6, shards=1)
        await t.mutation("add", name="friends", count=2, shards=1)
        await t.mutation("add", name="friends", count=3, shards=3)
        assert await t.query("count", name="friends") == 11
        assert await t.query("count", name="nobody") == 0


async def test_a_shard_that_is_given_is_the_one_that_is_used() -> None:
    async with TestBackend(component) as t:
        assert await t.mutation("add", name="beans", count=10, shard=1) == 1
        assert await t.mutation("add", name="beans", count=5, shard=2) == 2
        assert await rows(t) == {1: 10, 2: 5}
        await t.mutation("reset", name="beans")
        assert await t.query("count", name="beans") == 0
        assert await rows(t) == {}


async def test_without_a_shard_any_of_sixteen_is_used() -> None:
    async with TestBackend(component) as t:
        used = {await t.mutation("add", name="beans", count=1) for _ in range(200)}
        assert used == set(range(16))
        assert {await t.mutation("add", name="peas", count=1, shards=3) for _ in range(50)} == {0, 1, 2}


async def test_resetting_one_counter_never_touches_another() -> None:
    async with TestBackend(component) as t:
        for name in ("a", "a ", "ab", ""):
            await t.mutation("add", name=name, count=1)
        await t.mutation("reset", name="a")
        await t.mutation("reset", name="unknown")
        assert [await t.query("count", name=name) for name in ("a", "a ", "ab", "")] == [0, 1, 1, 1]


@pytest.mark.parametrize("name", ["", "$x", "_y", "ünïcödé", "a b/c:d", "\0", "x" * 2_000])
async def test_a_name_may_be_any_string(name: str) -> None:
    async with TestBackend(app()) as t:
        await t.run(lambda ctx: counter.add(ctx, name, 2))
        await t.run(lambda ctx: counter.add_many(ctx, {name: 3}))
        assert await t.run(lambda ctx: counter.count(ctx, name)) == 5
        assert (await t.run(lambda ctx: counter.names(ctx)))["page"] == [name]


@pytest.mark.parametrize(
    ("function", "wrong", "code"),
    [
        ("add", {"count": 1, "shards": 0}, "InvalidShards"),
        ("add", {"count": 1, "shards": -1}, "InvalidShards"),
        ("add", {"count": 1, "shard": -1}, "InvalidShard"),
        ("add", {"count": float("nan")}, "InvalidCount"),
        ("add", {"count": float("inf")}, "InvalidCount"),
        ("add", {"count": 1, "rebalance_every": 0}, "InvalidPeriod"),
        ("rebalance", {"shards": 0}, "InvalidShards"),
        ("estimate_count", {"shards": 0}, "InvalidShards"),
    ],
)
async def test_what_would_ruin_a_counter_is_refused_and_changes_nothing(function: str, wrong: dict[str, Any], code: str) -> None:
    async with TestBackend(component) as t:
        await t.mutation("add", name="beans", count=7)
        call = t.query if function == "estimate_count" else t.mutation
        with pytest.raises(AppError) as error:
            await call(function, name="beans", **wrong)
        assert error.value.data["code"] == code
        assert await t.query("count", name="beans") == 7


@pytest.mark.parametrize(("argument", "value"), [("shards", 1.5), ("shard", 0.5), ("shards", True), ("count", "1")])
async def test_arguments_of_another_type_are_refused(argument: str, value: Any) -> None:
    async with TestBackend(component) as t:
        with pytest.raises(ArgumentError, match=argument):
            await t.mutation("add", **{"name": "beans", "count": 1, argument: value})


async def test_reading_all_shards_estimates_what_lies_in_their_range() -> None:
    async with TestBackend(component) as t:
        await t.mutation("add", name="beans", count=10, shard=0)
        await t.mutation("add", name="beans", count=5, shard=7)
        assert await t.query("estimate_count", name="beans", shards=4, read_from_shards=4) == 10
        assert await t.query("estimate_count", name="beans", shards=8, read_from_shards=99) == 15
        assert await t.query("estimate_count", name="nobody") == 0


async def test_the_mean_of_all_estimates_is_the_count() -> None:
    """Every one-shard estimate is the value of one shard times their number, so drawing each once gives the mean exactly."""
    async with TestBackend(component) as t:
        for shard, count in enumerate((5, 0, 7, -2)):
            await t.mutation("add", name="beans", count=count, shard=shard)
        estimates = Counter([await t.mutation(estimate_of("beans", 4)) for _ in range(400)])
        assert set(estimates) == {20, 0, 28, -8}
        assert all(60 < times < 140 for times in estimates.values())


def estimate_of(name: str, shards: int) -> Any:
    async def estimate(ctx: MutationCtx) -> float:
        return float(await ctx.run_query("estimate_count", name=name, shards=shards))

    return estimate


async def test_rebalancing_spreads_the_value_and_removes_every_other_row() -> None:
    async with TestBackend(component) as t:
        await t.mutation("add", name="beans", count=10, shard=0)
        await t.mutation("add", name="beans", count=1, shard=40)
        await t.run(lambda ctx: ctx.db.insert("counters", {"name": "beans", "shard": -3, "value": 5}))
        await t.mutation("rebalance", name="beans", shards=4)
        assert await rows(t) == {0: 4, 1: 4, 2: 4, 3: 4}
        assert await t.query("count", name="beans") == 16


async def test_an_integer_counter_stays_one_when_it_is_rebalanced() -> None:
    async with TestBackend(component) as t:
        for total in (11, -5, 2**53 - 1):
            await t.mutation("reset", name="beans")
            await t.mutation("add", name="beans", count=total, shard=3)
            await t.mutation("rebalance", name="beans", shards=4)
            values = (await rows(t)).values()
            assert all(isinstance(value, int) for value in values)
            assert max(values) - min(values) <= 1
            exact = await t.query("count", name="beans")
            assert (exact, type(exact)) == (total, int)
            for reads in range(1, 5):
                assert await t.query("estimate_count", name="beans", shards=4, read_from_shards=reads) == pytest.approx(total)


async def test_what_is_added_after_rebalancing_counts_in_estimates_as_before() -> None:
    async with TestBackend(component) as t:
        await t.mutation("add", name="beans", count=5, shard=0)
        await t.mutation("rebalance", name="beans", shards=2)
        await t.mutation("add", name="beans", count=10, shard=1)
        assert await t.query("estimate_count", name="beans", shards=2, read_from_shards=2) == 15
        assert await t.query("count", name="beans") == 15


async def test_rebalancing_an_unknown_counter_does_nothing() -> None:
    async with TestBackend(component) as t:
        await t.mutation("rebalance", name="nobody")
        assert await rows(t) == {}


async def test_sums_that_are_no_exact_integers_any_more_become_floats() -> None:
    async with TestBackend(component) as t:
        for shard in range(4):
            await t.mutation("add", name="beans", count=2**53, shard=shard)
        assert await t.query("count", name="beans") == 2.0**55
        await t.mutation("add", name="beans", count=2**53, shard=0)
        assert (await rows(t))[0] == 2.0**54
        await t.mutation("add", name="huge", count=1.7e308, shard=0)
        with pytest.raises(AppError):
            await t.mutation("add", name="huge", count=1.7e308, shard=0)


amounts = st.one_of(st.integers(-100, 100), st.integers(-10_000, 10_000).map(lambda cents: cents / 100))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("abc"), amounts, st.integers(1, 100)),
        st.tuples(st.just("add to shard"), st.sampled_from("abc"), amounts, st.integers(0, 30)),
        st.tuples(st.just("rebalance"), st.sampled_from("abc"), st.none(), st.integers(1, 20)),
        st.tuples(st.just("reset"), st.sampled_from("abc"), st.none(), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=40)
@given(steps=steps, seed=st.integers(1, 2**32))
async def test_whatever_is_done_the_counts_are_those_of_a_dict(steps: list[tuple[str, str, Any, int]], seed: int) -> None:
    """Model: a dict of plain sums."""
    model: dict[str, float] = {}
    async with TestBackend(component, seed=seed) as t:
        for what, name, amount, number in steps:
            if what == "add":
                await t.mutation("add", name=name, count=amount, shards=number)
                model[name] = model.get(name, 0) + amount
            elif what == "add to shard":
                await t.mutation("add", name=name, count=amount, shard=number)
                model[name] = model.get(name, 0) + amount
            elif what == "rebalance":
                await t.mutation("rebalance", name=name, shards=number)
                for reads in range(1, number + 1):
                    estimate = await t.query("estimate_count", name=name, shards=number, read_from_shards=reads)
                    assert estimate == pytest.approx(model.get(name, 0), abs=1e-6)
            else:
                await t.mutation("reset", name=name)
                model.pop(name, None)
            found = {name: await t.query("count", name=name) for name in "abc"}
            assert found == pytest.approx({name: model.get(name, 0) for name in "abc"}, abs=1e-6)
            for name, total in model.items():
                if isinstance(total, int):
                    assert (found[name], type(found[name])) == (total, int)


# names


async def test_names_come_in_order_and_by_prefix_whatever_their_shards() -> None:
    async with TestBackend(app()) as t:
        for name in ("b", "a", "ab", "aé", "a\U0010ffff", "c", ""):
            for shard in range(3):
                await t.component("sharded_counter").mutation("add", name=name, count=1, shard=shard)
        assert await all_names(t, "") == sorted(["b", "a", "ab", "aé", "a\U0010ffff", "c", ""])
        assert await all_names(t, "a") == ["a", "ab", "aé", "a\U0010ffff"]
        assert await all_names(t, "a\U0010ffff") == ["a\U0010ffff"]
        assert await all_names(t, "x") == []


async def all_names(t: TestBackend, prefix: str, size: int = 2) -> list[str]:
    """All of them, page by page."""
    names: list[str] = []
    cursor: str | None = None
    while True:
        options = PaginationOptions(num_items=size, cursor=cursor)
        page: Page[str] = Page.from_arguments(await t.run(partial(counter.names, prefix=prefix, pagination=options)))
        assert len(page.page) <= size
        names += page.page
        if page.is_done:
            return names
        cursor = page.continue_cursor


async def test_a_page_of_names_that_has_an_end_grows_and_shrinks_with_it() -> None:
    """As official clients ask again for a page they have: from its cursor to its end."""
    async with TestBackend(component) as t:
        for name in "acegi":
            await t.mutation("add", name=name, count=1)
        first = await t.query("names", pagination_opts=PaginationOptions(num_items=2))
        await t.mutation("add", name="b", count=1)
        await t.mutation("add", name="d", count=1)
        end = first["continueCursor"]
        again = await t.query("names", pagination_opts=PaginationOptions(num_items=2, end_cursor=end))
        assert (again["page"], again["isDone"], again["continueCursor"]) == (["a", "b", "c"], False, end)
        rest = await t.query("names", pagination_opts=PaginationOptions(num_items=9, cursor=end))
        assert (rest["page"], rest["isDone"]) == (["d", "e", "g", "i"], True)
        await t.mutation("add", name="z", count=1)
        tail = PaginationOptions(num_items=1, cursor=end, end_cursor=rest["continueCursor"])
        assert (await t.query("names", pagination_opts=tail))["page"] == ["d", "e", "g", "i", "z"]


async def test_a_cursor_of_something_else_is_refused() -> None:
    async with TestBackend(component) as t:
        with pytest.raises(InvalidCursor):
            await t.query("names", pagination_opts=PaginationOptions(num_items=2, cursor="nonsense"))


# the face


async def test_the_face_works_from_queries_mutations_and_actions() -> None:
    async def act(ctx: ActionCtx) -> list[float]:
        await counter.add(ctx, "beans", 5)
        await counter.subtract(ctx, "beans", 2)
        await counter.inc(ctx, "beans")
        await counter.dec(ctx, "beans")
        await counter.rebalance(ctx, "beans")
        return [await counter.count(ctx, "beans"), await counter.estimate_count(ctx, "beans", 16)]

    async def read(ctx: QueryCtx) -> list[float]:
        return [await counter.count(ctx, "beans"), await counter.estimate_count(ctx, "beans", 16)]

    async with TestBackend(app()) as t:
        assert await t.action(act) == [3, 3]
        assert await t.query(read) == [3, 3]
        await t.run(lambda ctx: counter.reset(ctx, "beans"))
        assert await t.query(read) == [0, 0]


async def test_a_mutation_reads_what_it_has_added() -> None:
    async def write(ctx: MutationCtx) -> float:
        await counter.inc(ctx, "beans")
        await counter.inc(ctx, "beans")
        await counter.dec(ctx, "beans")
        return await counter.count(ctx, "beans")

    async with TestBackend(app()) as t:
        assert await t.run(write) == 1


async def test_a_named_counter_is_the_same_counter_without_the_name() -> None:
    beans = counter.named("beans")

    async def write(ctx: MutationCtx) -> list[float]:
        await beans.add(ctx, 5)
        await beans.subtract(ctx)
        await beans.inc(ctx)
        await beans.dec(ctx)
        await beans.rebalance(ctx)
        return [await beans.count(ctx), await beans.estimate_count(ctx), await counter.count(ctx, "beans")]

    async with TestBackend(app()) as t:
        assert await t.run(write) == [4, 4, 4]
        await t.run(beans.reset)
        assert await t.run(beans.count) == 0
    assert isinstance(beans, NamedCounter) and beans.name == "beans"


async def test_two_mounts_of_the_component_share_nothing() -> None:
    other = ShardedCounter(components.other)
    async with TestBackend(app()) as t:
        await t.run(lambda ctx: counter.inc(ctx, "beans"))
        assert await t.run(lambda ctx: other.count(ctx, "beans")) == 0


async def test_many_counters_are_added_to_in_one_call_or_not_at_all() -> None:
    async with TestBackend(app()) as t:
        await t.run(lambda ctx: counter.add_many(ctx, {"beans": 2, "peas": 0.5, "corn": -1}))
        await t.run(lambda ctx: counter.add_many(ctx, {}))
        assert [await t.run(partial(counter.count, name=name)) for name in ("beans", "peas", "corn")] == [2, 0.5, -1]

        async def half_wrong(ctx: MutationCtx) -> None:
            with pytest.raises(AppError):
                await counter.add_many(ctx, {"beans": 5, "peas": float("nan")})

        await t.run(half_wrong)
        assert await t.run(lambda ctx: counter.count(ctx, "beans")) == 2


async def test_a_hundred_adds_of_one_mutation_write_one_row() -> None:
    ten = ShardedCounter(components.sharded_counter, shards={"beans": 10})

    async def write(ctx: MutationCtx) -> list[float]:
        for _ in range(100):
            await ten.inc(ctx, "beans")
        return [await ten.estimate_count(ctx, "beans") for _ in range(30)]

    async with TestBackend(app()) as t:
        assert set(await t.run(write)) == {0, 1000}
        assert list((await rows(t, "beans", "sharded_counter")).values()) == [100]


async def test_the_next_mutation_picks_its_shard_anew() -> None:
    async with TestBackend(app()) as t:
        for _ in range(100):
            await t.run(lambda ctx: counter.inc(ctx, "beans"))
        assert len(await rows(t, "beans", "sharded_counter")) == 16


async def test_adds_of_sub_transactions_and_of_what_is_undone_go_to_the_row_of_their_transaction() -> None:
    board = Component("board")
    board.use("sharded_counter", isolation="inline")

    @board.mutation
    async def add(ctx: MutationCtx, fails: bool) -> None:
        await counter.inc(ctx, "beans")
        if fails:
            raise AppError("undone")

    @board.mutation
    async def go_on(ctx: MutationCtx) -> None:
        for n in range(20):
            with contextlib.suppress(AppError):
                await ctx.run_mutation(add, fails=n % 2 == 1)
        await counter.inc(ctx, "beans")

    async with TestBackend(board) as t:
        await t.mutation("go_on")
        assert list((await rows(t, "beans", "sharded_counter")).values()) == [11]


async def test_a_trigger_counts_the_documents_of_a_table() -> None:
    count = counter.on_change("notes")
    named = counter.named("notes").on_change()

    async def write(ctx: MutationCtx) -> float:
        note = {"text": "x"}
        await count(ctx, [Change("insert", "1", None, note)])
        await named(ctx, [Change("insert", "2", None, note)])
        await count(ctx, Change("update", "1", note, note))
        await named(ctx, Change("delete", "1", note, None))
        return await counter.count(ctx, "notes")

    async with TestBackend(app()) as t:
        assert await t.run(write) == 1


@pytest.mark.one_isolation("inline", "no component runs: what the face refuses")
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"shards": {"beans": 0}}, ValueError),
        ({"shards": {"beans": 1.5}}, TypeError),
        ({"default_shards": -1}, ValueError),
        ({"default_shards": True}, TypeError),
        ({"auto_rebalance_every": 0}, ValueError),
        ({"auto_rebalance_every": "1h"}, TypeError),
    ],
)
def test_options_that_cannot_be_are_refused_where_they_are_written(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        ShardedCounter(components.sharded_counter, **options)


async def test_what_is_no_number_is_refused_by_the_face() -> None:
    wrong: Any = "1"

    async def write(ctx: MutationCtx) -> None:
        with pytest.raises(TypeError):
            await counter.add(ctx, "beans", wrong)
        with pytest.raises(TypeError):
            await counter.subtract(ctx, "beans", wrong)

    async with TestBackend(app()) as t:
        await t.run(write)


# rebalancing by itself


async def test_a_counter_that_was_added_to_is_rebalanced_in_time_and_then_left_alone() -> None:
    before = ShardedCounter(components.sharded_counter)
    after = ShardedCounter(components.sharded_counter, default_shards=2, auto_rebalance_every=timedelta(hours=1))
    async with TestBackend(app()) as t:
        for _ in range(60):
            await t.run(lambda ctx: before.inc(ctx, "beans"))
        assert len(await rows(t, "beans", "sharded_counter")) > 2
        await t.run(lambda ctx: after.inc(ctx, "beans"))
        await t.advance(1_800)
        await t.run(lambda ctx: after.inc(ctx, "beans"))
        [job] = await t.advance(1_800)
        assert (job.name, job.state) == ("sharded_counter/rebalance_as_planned", "success")
        assert await rows(t, "beans", "sharded_counter") == {0: 31, 1: 31}
        assert await t.advance(86_400) == []
        await t.run(lambda ctx: after.inc(ctx, "beans"))
        assert len(await t.finish_scheduled()) == 1


async def test_many_adds_plan_one_rebalance() -> None:
    planning = ShardedCounter(components.sharded_counter, auto_rebalance_every=60)
    async with TestBackend(app()) as t:
        for _ in range(50):
            await t.run(lambda ctx: planning.inc(ctx, "beans"))
            await t.run(lambda ctx: planning.add_many(ctx, {"beans": 1, "peas": 1}))
        assert len(await t.finish_scheduled()) == 2


async def test_a_counter_that_was_reset_is_not_rebalanced() -> None:
    planning = ShardedCounter(components.sharded_counter, auto_rebalance_every=60)
    async with TestBackend(app()) as t:
        await t.run(lambda ctx: planning.inc(ctx, "beans"))
        await t.run(lambda ctx: planning.reset(ctx, "beans"))
        await t.run(lambda ctx: counter.inc(ctx, "beans"))
        await t.finish_scheduled()
        assert len(await rows(t, "beans", "sharded_counter")) == 1


# concurrency


class Runs:
    """A mutation that counts how often it was run."""

    def __init__(self) -> None:
        self.runs = 0

    async def add(self, ctx: MutationCtx, shard: int | None = None) -> None:
        self.runs += 1
        if shard is None:
            await counter.inc(ctx, "beans")
        else:
            await ctx.run_mutation(components.sharded_counter.add, name="beans", count=1, shard=shard)
        await asyncio.sleep(0)  # all others have read by now, and none has committed


async def test_concurrent_adds_to_different_shards_never_conflict() -> None:
    async with TestBackend(app()) as t:
        for _ in range(2):  # into new rows, then into rows that are there
            added = Runs()
            await asyncio.gather(*[t.mutation(added.add, shard=shard) for shard in range(40)])
            assert added.runs == 40
        assert await t.run(lambda ctx: counter.count(ctx, "beans")) == 80


async def test_concurrent_adds_to_one_shard_conflict_and_none_is_lost() -> None:
    async with TestBackend(app()) as t:
        added = Runs()
        await asyncio.gather(*[t.mutation(added.add, shard=0) for _ in range(10)])
        assert added.runs > 10
        assert await t.run(lambda ctx: counter.count(ctx, "beans")) == 10


@pytest.mark.one_isolation("inline", "what a worker did from memory is done again on what stands at its commit: it conflicts with nobody")
async def test_two_concurrent_adds_conflict_about_once_in_as_many_times_as_there_are_shards() -> None:
    async with TestBackend(app()) as t:
        conflicts = 0
        for _ in range(320):
            added = Runs()
            await asyncio.gather(t.mutation(added.add), t.mutation(added.add))
            conflicts += added.runs - 2
        assert 5 < conflicts < 45  # 320 / 16 = 20 expected
        assert await t.run(lambda ctx: counter.count(ctx, "beans")) == 640


@settings(max_examples=20)
@given(calls=st.lists(st.tuples(st.integers(-5, 5), st.sampled_from(["fold", "drop", "fail"])), max_size=12), seed=st.integers(1, 2**32))
async def test_only_calls_that_stand_count_however_they_overlap(calls: list[tuple[int, str]], seed: int) -> None:
    """Model: the sum of those that stand. Each call adds 100 outside, and `amount` in a sub-transaction that is folded or dropped."""

    async def inner(ctx: MutationCtx, amount: int) -> None:
        await counter.add(ctx, "beans", amount)
        await asyncio.sleep(0)

    async def outer(ctx: MutationCtx, amount: int, fate: str) -> None:
        await counter.add(ctx, "beans", 100)
        try:
            if fate == "fold":
                await ctx.run_mutation(components.sharded_counter.add, name="beans", count=amount)
            else:
                await ctx.run_mutation(
                    components.sharded_counter.add_many,
                    additions=[{"name": "beans", "count": amount}, {"name": "beans", "count": float("nan")}],
                )
        except AppError:
            if fate == "fail":
                raise
        await asyncio.sleep(0)

    async with TestBackend(app(), seed=seed) as t:
        await asyncio.gather(*[t.mutation(outer, amount=amount, fate=fate) for amount, fate in calls], return_exceptions=True)
        expected = sum(100 + (amount if fate == "fold" else 0) for amount, fate in calls if fate != "fail")
        assert await t.run(lambda ctx: counter.count(ctx, "beans")) == expected


# the package


PACKAGE = Path(__file__).parents[3] / "plugins" / "sharded_counter"


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.one_isolation("inline", "no component runs: which half imports which")
def test_neither_half_of_the_package_needs_the_other() -> None:
    sealed, *face = (PACKAGE / "interlock_sharded_counter" / name for name in ("component.py", "client.py", "__init__.py"))
    assert not [name for name in imports(sealed) if name.startswith("interlock_sharded_counter")]
    assert not [name for file in face for name in imports(file) if name.endswith(".component")]
