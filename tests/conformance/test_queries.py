"""engine.md section 10, "Order, indexes, queries": cases 17 to 30."""

from __future__ import annotations

import itertools
import random
from typing import Any, NotRequired

import pytest

from interlock import UNSET, Component, Int64, MutationCtx, QueryCtx, QueryError, Range, Schema, Table
from interlock.testing import TestBackend

from .interleaving import Pause

pytestmark = pytest.mark.one_isolation("inline", "the app's own functions; what components do is in test_components, both ways")

IN_ORDER: list[tuple[str, dict[str, Any]]] = [
    ("missing", {}),
    ("null", {"a": None}),
    ("int64", {"a": Int64(1)}),
    ("number", {"a": 0.5}),
    ("false", {"a": False}),
    ("true", {"a": True}),
    ("empty string", {"a": ""}),
    ("string", {"a": "a"}),
    ("bytes", {"a": b""}),
    ("array", {"a": []}),
    ("object", {"a": {}}),
]
"""One value of each type, in the order of the types."""


def rows_by_a() -> Component:
    """Documents with `a` of any type, or without it, indexed by it."""
    return Component("app", schema=Schema(rows=Table({"name": str, "a": NotRequired[Any]}).index("by_a", "a")))


async def with_every_type(t: TestBackend) -> None:
    async def fill(ctx: MutationCtx) -> None:
        for name, fields in random.Random(17).sample(IN_ORDER, len(IN_ORDER)):
            await ctx.db.insert("rows", {"name": name, **fields})

    await t.run(fill)


async def names(t: TestBackend, **ranges: Any) -> list[str]:
    return [row["name"] for row in await t.run(lambda ctx: ctx.db.query("rows").index("by_a", **ranges).collect())]


async def test_017_an_index_orders_by_type_first_and_what_is_missing_comes_before_all() -> None:
    async with TestBackend(rows_by_a()) as t:
        await with_every_type(t)
        assert await names(t) == [name for name, _ in IN_ORDER]


async def test_018_equal_to_unset_finds_rows_without_the_field_and_not_those_with_null() -> None:
    async with TestBackend(rows_by_a()) as t:
        await with_every_type(t)
        assert await names(t, a=UNSET) == ["missing"]
        assert await names(t, a=None) == ["null"]


async def test_019_a_lower_bound_is_one_on_the_types_behind_its_own_too() -> None:
    async with TestBackend(rows_by_a()) as t:
        await with_every_type(t)
        assert await names(t, a=Range(gt=5.0)) == ["false", "true", "empty string", "string", "bytes", "array", "object"]
        assert await names(t, a=Range(lt=0.5)) == ["missing", "null", "int64"]


def rows_by_a_and_b() -> Component:
    return Component("app", schema=Schema(rows=Table({"a": int, "b": int}).index("by_a_b", "a", "b")))


async def test_020_a_range_is_on_the_field_behind_the_equalities() -> None:
    async def fill(ctx: MutationCtx) -> None:
        for a, b in itertools.product((1, 2), (1, 2, 3)):
            await ctx.db.insert("rows", {"a": a, "b": b})

    async with TestBackend(rows_by_a_and_b()) as t:
        await t.run(fill)

        async def found(*fields: Any, **values: Any) -> list[tuple[int, int]]:
            return [
                (row["a"], row["b"]) for row in await t.run(lambda ctx: ctx.db.query("rows").index("by_a_b", *fields, **values).collect())
            ]

        assert await found(a=Range(gt=1)) == [(2, 1), (2, 2), (2, 3)]
        assert await found(b=2, a=1) == [(1, 2)]
        assert await found(a=1, b=Range(gt=1)) == [(1, 2), (1, 3)]
        with pytest.raises(QueryError, match="InvalidIndexRange"):
            await found(b=1)
        with pytest.raises(QueryError, match="InvalidIndexRange"):
            await found(b=Range(gt=1))
        with pytest.raises(QueryError, match="given twice"):
            await found({"a": 1}, b=Range(gt=2), a=Range(lt=3))
        with pytest.raises(QueryError, match="ranges on"):
            await found(b=Range(gt=2), a=Range(lt=3))


async def test_021_a_range_without_values_is_empty_and_no_error() -> None:
    async with TestBackend(rows_by_a()) as t:
        await with_every_type(t)
        assert await names(t, a=Range(gte=5, lt=3)) == []


async def test_022_rows_with_equal_values_come_in_the_order_of_their_creation() -> None:
    app = rows_by_a()

    @app.mutation
    async def insert(ctx: MutationCtx, name: str) -> None:
        await ctx.db.insert("rows", {"name": name, "a": 1})

    async with TestBackend(app) as t:
        for name in "cab":
            await t.mutation("insert", name=name)
        assert await names(t) == ["c", "a", "b"]
        backwards = await t.run(lambda ctx: ctx.db.query("rows").index("by_a", a=1).order("desc").collect())
        assert [row["name"] for row in backwards] == ["b", "a", "c"]


async def test_023_unique_is_one_row_or_none_and_take_gives_as_many_as_asked() -> None:
    async with TestBackend(rows_by_a()) as t:
        assert await t.run(lambda ctx: ctx.db.query("rows").unique()) is None
        ids = [await t.run(lambda ctx: ctx.db.insert("rows", {"name": "x"})) for _ in range(2)]
        with pytest.raises(QueryError) as refused:
            await t.run(lambda ctx: ctx.db.query("rows").unique())
        assert all(id in str(refused.value) for id in ids)
        assert await t.run(lambda ctx: ctx.db.query("rows").take(0)) == []
        with pytest.raises(QueryError):
            await t.run(lambda ctx: ctx.db.query("rows").take(-1))


async def test_024_a_query_can_be_read_again() -> None:
    """In the original a query object is used up by its first read. Ours is a value, as section 2 of the contract reads it twice."""

    async def read_twice(ctx: MutationCtx) -> list[int]:
        rows = ctx.db.query("rows")
        await ctx.db.insert("rows", {"name": "one", "a": 1})
        first = await rows.collect()
        await ctx.db.insert("rows", {"name": "two", "a": 2})
        return [len(first), len(await rows.collect())]

    async with TestBackend(rows_by_a()) as t:
        assert await t.run(read_twice) == [1, 2]


async def test_025_a_filter_is_python_and_the_order_of_types_is_that_of_indexes() -> None:
    """The original filters in expressions of its own: there Int64(1) < 0.5, and their sum is an EvalError.

    A filter here is a Python function of the row, so it compares and adds as Python does. What is missing is not in the row.
    """
    app = Component("app", schema=Schema(rows=Table({"x": NotRequired[Any]}).index("by_x", "x")))

    @app.query
    async def without_x(ctx: QueryCtx) -> int:
        return len(await ctx.db.query("rows").filter(lambda row: row.get("x", UNSET) is UNSET).collect())

    @app.query
    async def filtered_below_a_half(ctx: QueryCtx) -> int:
        return len(await ctx.db.query("rows").filter(lambda row: "x" in row and row["x"] < 0.5).collect())

    @app.query
    async def sums(ctx: QueryCtx) -> list[float]:
        return [row["x"] + 1.0 async for row in ctx.db.query("rows").filter(lambda row: "x" in row)]

    async with TestBackend(app) as t:
        await t.run(lambda ctx: ctx.db.insert("rows", {}))
        await t.run(lambda ctx: ctx.db.insert("rows", {"x": Int64(1)}))
        assert await t.query("without_x") == 1
        assert await t.query("filtered_below_a_half") == 0
        assert await t.query("sums") == [2.0]
        assert await t.run(lambda ctx: ctx.db.query("rows").index("by_x", x=Range(gte=None, lt=0.5)).count()) == 1


async def test_026_creation_times_rise_strictly_within_a_mutation() -> None:
    async def fill(ctx: MutationCtx) -> list[Any]:
        ids = [await ctx.db.insert("rows", {"name": str(n)}) for n in range(10)]
        return [(await ctx.db.get(id) or {})["_creationTime"] for id in ids]

    async with TestBackend(rows_by_a()) as t:
        times = await t.run(fill)
        assert all(earlier < later for earlier, later in itertools.pairwise(times))
        assert t.now() <= times[0] and times[-1] < t.now() + 1


async def test_027_a_table_that_was_never_made_reads_as_empty_and_the_first_insert_makes_it() -> None:
    async with TestBackend(Component("app")) as t:
        assert await t.run(lambda ctx: ctx.db.query("rows").collect()) == []
        await t.run(lambda ctx: ctx.db.insert("rows", {"n": 1}))
        assert [row["n"] for row in await t.run(lambda ctx: ctx.db.query("rows").collect())] == [1]


async def test_028_a_patch_that_changes_nothing_is_no_write() -> None:
    app = rows_by_a()

    @app.query
    async def all_names(ctx: QueryCtx) -> list[str]:
        return [row["name"] for row in await ctx.db.query("rows").collect()]

    async with TestBackend(app) as t:
        id = await t.run(lambda ctx: ctx.db.insert("rows", {"name": "x", "a": {"b": 1}}))
        pause = Pause()

        async def read_and_write(ctx: MutationCtx) -> None:
            await ctx.db.get(id)
            await pause()
            await ctx.db.insert("others", {})

        watched = t.subscribe("all_names")
        assert await anext(watched) == ["x"]
        runs = t.query_runs
        await pause.meanwhile(t.run(read_and_write), t.run(lambda ctx: ctx.db.patch(id, {"a": {"b": 1}})))
        assert pause.runs == 1
        assert await t.query("all_names") == ["x"]
        assert t.query_runs == runs
        assert await t.run(lambda ctx: ctx.db.replace(id, {"name": "x", "a": {"b": 1}})) is None
        assert await t.query("all_names") == ["x"]
        assert t.query_runs == runs


async def test_029_a_patch_replaces_fields_whole_and_removes_those_that_are_unset() -> None:
    async with TestBackend(rows_by_a()) as t:
        id = await t.run(lambda ctx: ctx.db.insert("rows", {"name": "x", "a": {"b": 0, "c": 2}}))
        await t.run(lambda ctx: ctx.db.patch(id, {"a": {"b": 1}}))
        assert (await t.run(lambda ctx: ctx.db.get(id)))["a"] == {"b": 1}
        await t.run(lambda ctx: ctx.db.patch(id, {"a": UNSET}))
        assert (await t.run(lambda ctx: ctx.db.get(id))).keys() == {"_id", "_creationTime", "name"}


async def test_030_a_replace_keeps_the_id_and_the_creation_time() -> None:
    async with TestBackend(rows_by_a()) as t:
        id = await t.run(lambda ctx: ctx.db.insert("rows", {"name": "x", "a": 1}))
        before = await t.run(lambda ctx: ctx.db.get(id))
        await t.advance(60)
        await t.run(lambda ctx: ctx.db.replace(id, {"name": "y"}))
        after = await t.run(lambda ctx: ctx.db.get(id))
        assert after == {"_id": id, "_creationTime": before["_creationTime"], "name": "y"}
