"""The aggregate as an app uses it: what it counts and ranks, what it costs, what concurrency and failures do to it."""

from __future__ import annotations

import ast
import asyncio
import bisect
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock import ActionCtx, App, AppError, MutationCtx, QueryCtx, components
from interlock.testing import TestBackend
from interlock_aggregate import (
    Bound,
    Bounds,
    DirectAggregate,
    Eq,
    Item,
    KeyExists,
    KeyMissing,
    OffsetOutOfRange,
    Prefix,
    Query,
)

scores = DirectAggregate(components.aggregate)


def app() -> App:
    """An app that mounts the component twice."""
    app = App()
    app.use("aggregate", isolation="inline")
    app.use("aggregate", name="other", isolation="inline")
    return app


async def fill(t: TestBackend, keys: list[Any], **where: Any) -> None:
    """An item for each key, whose sum value is the key if that is a number."""
    items = [Item(key, str(i), key if isinstance(key, int | float) else 0) for i, key in enumerate(keys)]
    await t.run(lambda ctx: scores.insert_many(ctx, items, **where))


def over(lower: Any) -> Bounds:
    return Bounds(lower=Bound(lower, inclusive=False))


def from_(lower: Any) -> Bounds:
    return Bounds(lower=Bound(lower))


def under(upper: Any) -> Bounds:
    return Bounds(upper=Bound(upper, inclusive=False))


def to(upper: Any) -> Bounds:
    return Bounds(upper=Bound(upper))


def span(lower: Any, upper: Any, ends: str = "[]") -> Bounds:
    return Bounds(Bound(lower, inclusive=ends[0] == "["), Bound(upper, inclusive=ends[1] == "]"))


async def counts(t: TestBackend, *bounds: Bounds) -> list[int]:
    """One by one, and all in one call."""
    single = [await t.run(partial(scores.count, bounds=one)) for one in bounds]
    assert await t.run(lambda ctx: scores.count_batch(ctx, [Query(one) for one in bounds])) == single
    return single


async def item(t: TestBackend, ask: Any) -> tuple[Any, str] | None:
    async def read(ctx: MutationCtx) -> Any:
        found = await ask(ctx)
        return None if found is None else [found.key, found.id]

    found = await t.run(read)
    return None if found is None else (found[0], found[1])


# what the original's tests say


async def test_ranks_in_a_tree_of_small_nodes() -> None:
    async with TestBackend(app()) as t:
        await t.run(lambda ctx: scores.clear(ctx, max_node_size=4))
        for key in (1, 4, 3, 2, 5, 6, 7, 10, 0, -1, 9, 8):
            await t.run(lambda ctx, key=key: scores.insert(ctx, key, str(key)))
        assert [await t.run(partial(scores.index_of, key=key)) for key in (-1, 5, 10)] == [0, 6, 11]


async def test_counts_strictly_between() -> None:
    async with TestBackend(app()) as t:
        await fill(t, list(range(10)))
        assert await counts(t, span(-1, 10, "()"), span(4, 6, "()"), span(0.5, 8.5, "()"), span(6, 9, "()")) == [10, 1, 8, 2]


async def test_ends_belong_to_a_range_or_do_not() -> None:
    async with TestBackend(app()) as t:
        await fill(t, [10, 20, 30])
        assert await counts(t, from_(20), over(20), to(20), under(20)) == [2, 1, 2, 1]
    async with TestBackend(app()) as t:
        await fill(t, [10, 20, 30, 40])
        assert await counts(t, *[span(20, 30, ends) for ends in ("[]", "()", "[)", "(]")]) == [2, 0, 1, 1]
    async with TestBackend(app()) as t:
        await fill(t, [15, 20, 20, 25])
        assert await counts(t, from_(20), over(20)) == [3, 1]
        first = Bounds(lower=Bound(20, id="1", inclusive=False))
        assert await counts(t, first, Bounds(upper=Bound(20, id="1")), Bounds(Bound(20, id="1"), Bound(20, id="1"))) == [2, 2, 1]


async def test_tuples_are_compared_part_by_part() -> None:
    async with TestBackend(app()) as t:
        await fill(t, [(10, "a"), (20, "b"), (20, "c"), (30, "d")])
        assert await counts(t, from_((20, "b")), over((20, "b")), to((20, "c")), under((20, "c"))) == [3, 2, 3, 2]
        assert await counts(t, Eq((20, "b")), Eq((20, "z"))) == [1, 0]
        assert await counts(t, Prefix(10), Prefix(20), Prefix(), Prefix(20, "c"), Prefix(20, "c", 1)) == [1, 2, 4, 1, 0]


async def test_a_prefix_is_of_tuples_not_of_strings() -> None:
    async with TestBackend(app()) as t:
        await fill(t, [("chess", 1), ("chess", 2), "chess", ("che", 3)])
        assert await counts(t, Prefix("chess"), Prefix("che"), Prefix("ch"), Prefix()) == [2, 1, 0, 3]
        assert await item(t, partial(scores.max, bounds=Prefix("chess"))) == (["chess", 2], "1")


async def test_all_items_of_one_key() -> None:
    async with TestBackend(app()) as t:
        await fill(t, [10, 20, 20, 30])
        assert await counts(t, *map(Eq, (10, 20, 30, 40))) == [1, 2, 1, 0]
        assert await t.run(lambda ctx: scores.sum_batch(ctx, [Query(Eq(key)) for key in (10, 20, 30)])) == [10, 40, 30]


async def test_a_leaderboard() -> None:
    async with TestBackend(app()) as t:
        for points in (10, 20, 15, 25, 30, 35, 5):
            await t.run(lambda ctx, points=points: scores.insert(ctx, -points, f"p{points}", points))
        assert [await t.run(partial(scores.index_of, key=-points)) for points in (35, 30, 10, 33)] == [0, 1, 5, 1]
        assert await t.run(scores.sum) == 140
        await t.run(lambda ctx: scores.delete(ctx, -35, "p35"))
        assert await t.run(scores.sum) == 105


async def test_percentiles() -> None:
    async with TestBackend(app()) as t:
        await fill(t, [10, 20, 15, 25, 30, 35])

        async def read(ctx: MutationCtx) -> list[float]:
            n, total = await scores.count(ctx), await scores.sum(ctx)
            found = await scores.at_batch(ctx, [Query(n // 2), Query(offset=int(n * 0.75)), Query(int(n * 0.95)), Query(-1)])
            return [total / n, *[one.key for one in found]]

        assert await t.run(read) == [22.5, 25, 30, 35, 35]


async def test_clearing_all_of_nothing_twice() -> None:
    async with TestBackend(app()) as t:
        await t.run(scores.clear_all)
        await t.run(scores.clear_all)
        assert await t.run(scores.count) == 0
        page = await t.component("aggregate").query("paginate_namespaces")
        assert page["page"] == [None]


async def test_a_stale_count_does_not_see_what_its_mutation_has_inserted() -> None:
    async def write(ctx: MutationCtx) -> list[int]:
        await scores.insert(ctx, 1, "a")
        return [await scores.count(ctx, stale=True), await scores.count(ctx)]

    async with TestBackend(app()) as t:
        assert await t.run(write) == [0, 1]


# where the original is weak


async def test_a_rank_is_within_the_bounds() -> None:
    async with TestBackend(app()) as t:
        await fill(t, list(range(10)))
        for order, low, high in (("asc", 0, 3), ("desc", 3, 0)):
            ranks = [await t.run(partial(scores.index_of, key=key, order=order, bounds=span(4, 6))) for key in (-5, 50)]
            assert ranks == [low, high]


async def test_the_shape_of_a_tree_can_be_looked_at() -> None:
    async with TestBackend(app()) as t:
        assert await t.component("aggregate").query("inspect") == []
        await t.run(lambda ctx: scores.clear(ctx, max_node_size=4))
        for key in range(1, 9):
            await t.run(lambda ctx, key=key: scores.insert(ctx, key, "x"))
        (shape,) = await t.component("aggregate").query("inspect")
        assert len(shape) > 1 and all(len(leaf) <= 4 for leaf in shape)
        assert [key for leaf in shape for key in leaf] == list(range(1, 9))


async def test_with_an_eager_root_the_whole_count_reads_one_document() -> None:
    async with TestBackend(app()) as t:
        await t.run(lambda ctx: scores.clear(ctx, root_lazy=False))
        await fill(t, list(range(1000)))
        for ask in (scores.count, scores.sum):
            assert (await cost(t, ask))[0] == 1
        await t.run(scores.make_all_roots_lazy)
        assert (await cost(t, scores.count))[0] > 1
        assert await t.run(scores.sum) == 499_500


async def test_none_is_the_default_namespace() -> None:
    async with TestBackend(app()) as t:
        await t.run(lambda ctx: scores.insert(ctx, 1, "a", namespace=None))
        await t.run(lambda ctx: scores.insert(ctx, 1, "a", namespace=[1, "x"]))
        assert await t.run(scores.count) == 1

        async def namespaces(ctx: MutationCtx) -> list[Any]:
            return [one async for one in scores.iter_namespaces(ctx, page_size=1)]

        assert await t.run(namespaces) == [None, [1, "x"]]
        await t.run(scores.clear_all)
        assert await t.run(scores.count) == await t.run(partial(scores.count, namespace=[1, "x"])) == 0


async def test_strings_are_in_the_order_of_the_engine() -> None:
    async with TestBackend(app()) as t:
        await fill(t, ["\U0001f600", "\uffee"])
        assert await item(t, scores.max) == ("\U0001f600", "0")


async def test_numbers_are_one_kind_of_key() -> None:
    async with TestBackend(app()) as t:
        await fill(t, [66, 65.5, 65, 64.5])
        assert await t.run(partial(scores.count, bounds=Eq(65.0))) == 1
        assert [(await item(t, partial(scores.at, offset=i)) or ())[0] for i in range(4)] == [64.5, 65, 65.5, 66]


async def test_a_huge_number_that_is_taken_away_again_leaves_the_small_ones() -> None:
    async with TestBackend(app()) as t:
        for i in range(10):
            await t.run(lambda ctx, i=i: scores.insert(ctx, i, "x", 0.1))
        await t.run(lambda ctx: scores.insert(ctx, 50, "x", 1e30))
        await t.run(lambda ctx: scores.delete(ctx, 50, "x"))
        assert await t.run(scores.sum) == 1.0
        await t.run(lambda ctx: scores.insert(ctx, 50, "x", 2**53))
        await t.run(lambda ctx: scores.insert(ctx, 51, "x", 2**53))
        await t.run(lambda ctx: scores.delete(ctx, 50, "x"))
        assert await t.run(partial(scores.sum, bounds=from_(50))) == 2**53


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
async def test_what_would_poison_a_sum_is_refused(wrong: float) -> None:
    async def write(ctx: MutationCtx) -> None:
        with pytest.raises(AppError, match="finite"):
            await scores.insert(ctx, 1, "a", wrong)
        with pytest.raises(TypeError):
            await scores.insert(ctx, 1, "a", True)

    async with TestBackend(app()) as t:
        await t.run(write)
        assert await t.run(scores.count) == 0


async def test_several_aggregates_share_a_mount_and_two_mounts_share_nothing() -> None:
    named, other = DirectAggregate(components.aggregate, name="named"), DirectAggregate(components.other)
    async with TestBackend(app()) as t:
        await t.run(lambda ctx: named.insert(ctx, 1, "a"))
        assert [await t.run(one.count) for one in (scores, named, other)] == [0, 1, 0]
        await t.run(scores.clear_all)
        assert await t.run(named.count) == 1


async def test_a_tree_that_is_cleared_is_deleted_in_batches_and_keeps_its_options() -> None:
    async with TestBackend(app()) as t:
        await t.run(lambda ctx: scores.clear(ctx, max_node_size=4))
        await fill(t, list(range(2000)))
        await t.run(scores.clear)
        assert await t.run(scores.count) == 0
        await fill(t, [1, 2, 3, 4, 5])
        jobs = await t.finish_scheduled()
        assert 1 < len(jobs) < 10
        for table, rows in (("leaves", 2), ("inners", 0), ("totals", 0)):  # five items, four to a node
            assert await t.run(partial(count_rows, table=table), component="aggregate") == rows
        assert await t.run(scores.count) == 5


async def count_rows(ctx: QueryCtx, table: str) -> int:
    return await ctx.db.query(table).count()


@pytest.mark.parametrize("options", [{"max_node_size": 5}, {"max_node_size": 2}, {"max_node_size": 1000}, {"lanes": 2}])
async def test_shapes_that_cannot_be_are_refused(options: dict[str, int]) -> None:
    async with TestBackend(app()) as t:
        await fill(t, [1])
        with pytest.raises(AppError):
            await t.run(partial(scores.clear, **options))
        assert await t.run(scores.count) == 1


async def test_hashed_shards_answer_as_one() -> None:
    spread = DirectAggregate(components.aggregate, shards=4)
    async with TestBackend(app()) as t:
        random = Random(3)
        keys = [random.randrange(50) for _ in range(200)]
        await t.run(lambda ctx: spread.insert_many(ctx, [Item(key, str(i), key) for i, key in enumerate(keys)]))
        trees = await t.run(lambda ctx: ctx.db.query("trees").count(), component="aggregate")
        assert trees == 4
        ordered = sorted((key, str(i)) for i, key in enumerate(keys))
        assert [await item(t, partial(spread.at, offset=i)) for i in (0, 57, 199, -1, -150)] == [ordered[i] for i in (0, 57, 199, -1, -150)]
        assert await t.run(partial(spread.index_of, key=25)) == bisect.bisect_left(ordered, (25,))
        await t.run(lambda ctx: scores.delete(ctx, *ordered[7]))  # one that knows nothing of shards
        assert await t.run(spread.sum) == sum(keys) - ordered[7][0]


# errors


async def test_errors_have_their_types() -> None:
    async def write(ctx: MutationCtx) -> None:
        await scores.insert(ctx, 1, "a")
        with pytest.raises(KeyExists):
            await scores.insert(ctx, 1.0, "a")
        with pytest.raises(KeyMissing) as missing:
            await scores.delete(ctx, 2, "a")
        assert missing.value.data["code"] == "DELETE_MISSING_KEY"
        with pytest.raises(KeyMissing):
            await scores.replace(ctx, "a", 2, 3)
        await scores.insert(ctx, 2, "a")
        with pytest.raises(KeyExists):
            await scores.replace(ctx, "a", 1, 2)
        for offset in (2, -3):
            with pytest.raises(OffsetOutOfRange):
                await scores.at(ctx, offset)
        with pytest.raises(IndexError):
            await scores.at_batch(ctx, [Query(0), Query(5)])
        with pytest.raises(ValueError, match="order"):
            await scores.index_of(ctx, 1, order="up")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            await scores.at(ctx, 1.5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"bounds are .* Eq\(key\) .*, got 3"):
            await scores.count(ctx, bounds=3)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"Bound\(key\), got 3"):
            Bounds(lower=3)  # type: ignore[arg-type]
        assert await scores.count(ctx) == 2

    async with TestBackend(app()) as t:
        await t.run(write)


async def test_tolerant_forms_put_right_what_they_meet() -> None:
    async def write(ctx: MutationCtx) -> list[float]:
        await scores.delete_if_exists(ctx, 1, "a")
        await scores.insert_if_does_not_exist(ctx, 1, "a", 5)
        await scores.insert_if_does_not_exist(ctx, 1, "a", 7)
        await scores.replace_or_insert(ctx, "b", 8, 9, 1)
        await scores.replace_or_insert(ctx, "b", 9, 10, 2, new_namespace="x")
        return [await scores.count(ctx), await scores.sum(ctx), await scores.count(ctx, namespace="x")]

    async with TestBackend(app()) as t:
        assert await t.run(write) == [1, 7, 1]


async def test_an_empty_aggregate() -> None:
    async with TestBackend(app()) as t:
        for ask in (scores.min, scores.max, scores.random):
            assert await item(t, ask) is None
        assert [await t.run(scores.count), await t.run(scores.sum), await t.run(partial(scores.index_of, key=1))] == [0, 0, 0]
        assert await t.component("aggregate").query("get", key=1, value="a") is None
        page = await t.component("aggregate").query("paginate")
        assert page == {"page": [], "cursor": "", "is_done": True}


async def test_a_page_that_ends_with_the_last_item_says_so() -> None:
    async with TestBackend(app()) as t:
        await fill(t, [1, 2, 3, 4])

        async def pages(ctx: MutationCtx) -> list[Any]:
            one = await scores.paginate(ctx, page_size=2)
            two = await scores.paginate(ctx, page_size=2, cursor=one.continue_cursor)
            three = await scores.paginate(ctx, page_size=2, cursor=two.continue_cursor)
            return [[[item.key for item in page.page], page.is_done] for page in (one, two, three)] + [two.continue_cursor]

        assert await t.run(pages) == [[[1, 2], False], [[3, 4], True], [[], True], ""]
        for wrong in ("garbage", "\0", "gg", "z" * 50):
            with pytest.raises(AppError, match="INVALID_CURSOR"):
                await t.component("aggregate").query("paginate", cursor=wrong)

        async def listed(ctx: MutationCtx) -> list[Any]:
            return [item.key async for item in scores.iter(ctx, order="desc", page_size=3, bounds=over(1))]

        assert await t.run(listed) == [4, 3, 2]


async def test_any_item_is_as_likely_as_the_other() -> None:
    async with TestBackend(app()) as t:
        await fill(t, [0, *[1] * 5, 2])
        drawn = [await item(t, partial(scores.random, bounds=Eq(1))) for _ in range(200)]
        assert {id for _, id in filter(None, drawn)} == set("12345")
        assert all(20 <= drawn.count((1, id)) <= 62 for id in "12345")


async def test_it_works_from_queries_mutations_and_actions() -> None:
    async def act(ctx: ActionCtx) -> list[float]:
        await scores.insert(ctx, 1, "a", 2)
        await scores.replace(ctx, "a", 1, 3, 4)
        return [await scores.count(ctx), (await scores.at(ctx, 0)).key]

    async def read(ctx: QueryCtx) -> float:
        return await scores.sum(ctx)

    async with TestBackend(app()) as t:
        assert await t.action(act) == [1, 3]
        assert await t.query(read) == 4


# what it costs


async def cost(t: TestBackend, do: Any) -> tuple[int, int]:
    """Documents read and written."""

    async def measure(ctx: MutationCtx) -> list[float]:
        await do(ctx)
        used = ctx.metrics().used
        return [used["documents_read"], used["documents_written"]]

    read, written = await t.run(measure)
    return int(read), int(written)


@pytest.mark.parametrize(("size", "is_shuffled"), [(3_000, True), (3_000, False), (20_000, True)])
async def test_an_operation_reads_and_writes_few_documents(size: int, is_shuffled: bool) -> None:
    """The bounds are what the original needs at 3,000 items."""
    random = Random(11)
    keys = list(range(size))
    if is_shuffled:
        random.shuffle(keys)
    async with TestBackend(app()) as t:
        for start in range(0, size, 1_000):
            items = [Item(key, f"id{key}", key) for key in keys[start : start + 1_000]]
            await t.run(partial(scores.insert_many, items=items))

        def some() -> Bounds:
            return span(*sorted(random.sample(range(size), 2)))

        def leave(ctx: MutationCtx) -> Any:
            key = keys.pop()
            return scores.delete(ctx, key, f"id{key}")

        def move(ctx: MutationCtx) -> Any:
            key = keys.pop()
            return scores.replace(ctx, f"id{key}", key, random.randrange(size) + 0.5)

        most: list[tuple[Any, int, int]] = [
            (scores.count, 4, 0),
            (scores.sum, 4, 0),
            (lambda ctx: scores.count(ctx, bounds=some()), 32, 0),
            (lambda ctx: scores.at(ctx, random.randrange(size // 2)), 15, 0),
            (lambda ctx: scores.index_of(ctx, random.randrange(size)), 12, 0),
            (scores.min, 5, 0),
            (scores.max, 5, 0),
            (lambda ctx: scores.paginate(ctx, bounds=some()), 13, 0),
            (lambda ctx: scores.insert(ctx, random.randrange(size) + 0.5, "new"), 21, 4),
            (leave, 15, 3),
            (move, 36, 7),
        ]
        for place, (do, reads, writes) in enumerate(most):
            for _ in range(40 if writes == 4 else 10):  # of so many inserts some split a leaf
                read, written = await cost(t, do)
                assert read <= reads and written <= writes, (place, read, written)


# concurrency and failures


async def test_parallel_inserts_of_one_mutation_all_land() -> None:
    async def write(ctx: MutationCtx) -> int:
        await asyncio.gather(*[scores.insert(ctx, i % 7, str(i)) for i in range(100)])
        return await scores.count(ctx)

    async with TestBackend(app()) as t:
        await t.run(lambda ctx: scores.clear(ctx, max_node_size=4))
        assert await t.run(write) == 100
        await t.component("aggregate").query("validate")


@pytest.mark.parametrize(("first", "second", "conflicts"), [(0.5, 2999.5, 0), (1500.5, 1500.6, 1)])
async def test_only_writers_of_neighbouring_keys_conflict(first: float, second: float, conflicts: int) -> None:
    runs = 0

    async def write(ctx: MutationCtx, key: float) -> None:
        nonlocal runs
        runs += 1
        await scores.insert(ctx, key, "new")
        await asyncio.sleep(0)  # the other has read by now, and none has committed

    async with TestBackend(app()) as t:
        await fill(t, list(range(3_000)))
        await asyncio.gather(t.mutation(write, key=first), t.mutation(write, key=second))
        # In a worker one runs on what the other has written, and is verified after that has committed.
        assert runs in ((2,) if conflicts == 0 else (2, 3))
        assert await t.run(scores.count) == 3_002


async def test_writers_of_different_namespaces_do_not_conflict() -> None:
    runs = 0

    async def write(ctx: MutationCtx, namespace: int) -> None:
        nonlocal runs
        runs += 1
        await scores.insert(ctx, 1, "a", namespace=namespace)
        await asyncio.sleep(0)

    async with TestBackend(app()) as t:
        for _ in range(2):
            await asyncio.gather(*[t.mutation(write, namespace=namespace) for namespace in range(20)])
            await t.run(scores.clear_all)
        assert runs == 40


async def test_a_mutation_that_fails_leaves_nothing() -> None:
    async def fails(ctx: MutationCtx) -> None:
        for i in range(50):
            await scores.insert(ctx, i, str(i))
        raise AppError("no")

    async with TestBackend(app()) as t:
        await fill(t, list(range(100)))
        with pytest.raises(AppError):
            await t.run(fails)
        with pytest.raises(AppError):
            await t.run(lambda ctx: scores.insert_many(ctx, [Item(500, "x"), Item(5, "5")]))
        assert await t.run(scores.count) == 100
        await t.component("aggregate").query("validate")


steps = st.lists(st.tuples(st.sampled_from("ird"), st.integers(0, 15), st.integers(0, 15), st.integers(-4, 4)), max_size=5)


@settings(max_examples=25)
@given(calls=st.lists(st.tuples(steps, st.sampled_from(["fold", "drop", "fail"])), max_size=8), seed=st.integers(1, 2**32))
async def test_only_calls_that_stand_count_however_they_overlap(calls: list[tuple[Any, str]], seed: int) -> None:
    """Model: a dict, to which the calls that stand are applied in the order in which they committed."""
    there = [n / 4 + 0.1 for n in range(64)]

    async def apply(ctx: MutationCtx, some: list[Any]) -> None:
        for kind, key, other, value in some:
            if kind == "i":
                await scores.insert_if_does_not_exist(ctx, key, "x", value)
            elif kind == "d":
                await scores.delete_if_exists(ctx, key, "x")
            else:
                await scores.replace_or_insert(ctx, "x", key, other, value)
            await asyncio.sleep(0)

    async def call(ctx: MutationCtx, some: list[Any], fate: str, number: int) -> None:
        place = await scores.count(ctx, namespace="log")
        await scores.insert(ctx, place, str(number), namespace="log")
        await apply(ctx, some[:2])
        try:
            if fate == "fold":
                await apply(ctx, some[2:])
            else:
                operations = [{"kind": "insert", "key": 99, "value": "x"}, {"kind": "delete", "key": 98, "value": "x"}]
                await ctx.run_mutation(components.aggregate.write_batch, operations=operations)
        except AppError:
            if fate == "fail":
                raise

    async with TestBackend(app(), seed=seed) as t:
        await t.run(lambda ctx: scores.clear(ctx, max_node_size=4, root_lazy=seed % 2 == 0))
        # So many that inner nodes are below the lanes.
        await t.run(lambda ctx: scores.insert_many(ctx, [Item(key, "x", 1) for key in there]))
        made = [t.mutation(call, some=some, fate=fate, number=i) for i, (some, fate) in enumerate(calls)]
        await asyncio.gather(*made, return_exceptions=True)

        async def order(ctx: MutationCtx) -> list[str]:
            return [item.id async for item in scores.iter(ctx, namespace="log")]

        committed = [int(number) for number in await t.run(order)]
        assert sorted(committed) == [i for i, (_, fate) in enumerate(calls) if fate != "fail"]
        model: dict[float, int] = dict.fromkeys(there, 1)
        for number in committed:
            some, fate = calls[number]
            for kind, key, other, value in some if fate == "fold" else some[:2]:
                if kind != "i":
                    model.pop(key, None)
                if kind != "d":
                    model[key if kind == "i" else other] = value

        async def listed(ctx: MutationCtx) -> list[Any]:
            return [[item.key, item.sum_value] async for item in scores.iter(ctx, page_size=9)]

        assert await t.run(listed) == [[key, model[key]] for key in sorted(model)]
        assert await t.run(scores.sum) == sum(model.values())
        await t.component("aggregate").query("validate")


# the package


PACKAGE = Path(__file__).parents[3] / "plugins" / "aggregate" / "interlock_aggregate"
FACE = {"__init__", "client", "bounds", "errors", "operations", "tasks"}


def imports(name: str) -> Iterator[str]:
    """The modules of the package that a module imports, and theirs."""
    for node in ast.walk(ast.parse((PACKAGE / f"{name}.py").read_text())):
        found = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for module in found:
            package, _, inner = module.partition(".")
            if package == "interlock_aggregate" and inner:
                yield inner
                yield from imports(inner)
            else:
                assert package != "interlock" or not inner, f"{name} imports {module}"


@pytest.mark.one_isolation("inline", "no component runs: which half imports which")
def test_neither_half_of_the_package_needs_the_other() -> None:
    assert set(imports("component")).isdisjoint(FACE)
    assert set(imports("__init__")) <= FACE
