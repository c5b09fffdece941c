"""engine.md section 10, "Order, indexes, queries": cases 17 to 30."""

from __future__ import annotations

import itertools
import random
from typing import Any, Literal, NotRequired

import pytest
from tests.placed import placed

from interlock import UNSET, Component, Int64, MutationCtx, QueryCtx, QueryError, Range, Schema, Table
from interlock.testing import TestBackend

from .interleaving import Pause

pytestmark = pytest.mark.usefixtures("both_isolations")

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
    """Documents with `a` of any type, or without it, indexed by it, and functions that do to them what they are told."""
    app = Component("app", schema=Schema(rows=Table({"name": str, "a": NotRequired[Any]}).index("by_a", "a")))

    @app.mutation
    async def insert(ctx: MutationCtx, document: Any) -> str:
        return await ctx.db.insert("rows", document)

    @app.mutation
    async def patch(ctx: MutationCtx, id: str, fields: Any, unset: bool = False) -> None:
        await ctx.db.patch(id, {"a": UNSET} if unset else fields)

    @app.mutation
    async def replace(ctx: MutationCtx, id: str, document: Any) -> None:
        await ctx.db.replace(id, document)

    @app.query
    async def get(ctx: QueryCtx, id: str) -> Any:
        return await ctx.db.get(id)

    @app.query
    async def names(ctx: QueryCtx, order: Literal["asc", "desc"] = "asc", **bounds: Any) -> list[str]:
        """Of rows whose `a` is within the bounds; `equal` and `unset` are bounds too."""
        query = ctx.db.query("rows")
        if bounds.pop("unset", False):
            query = query.index("by_a", a=UNSET)
        elif "equal" in bounds:
            query = query.index("by_a", a=bounds["equal"])
        else:
            query = query.index("by_a", a=Range(**bounds)) if bounds else query.index("by_a")
        return [row["name"] for row in await query.order(order).collect()]

    @app.query
    async def all_names(ctx: QueryCtx) -> list[str]:
        return [row["name"] for row in await ctx.db.query("rows").collect()]

    @app.query
    async def unique(ctx: QueryCtx) -> Any:
        return await ctx.db.query("rows").unique()

    @app.query
    async def take(ctx: QueryCtx, count: int) -> int:
        return len(await ctx.db.query("rows").take(count))

    @app.mutation
    async def read_twice(ctx: MutationCtx) -> list[int]:
        rows = ctx.db.query("rows")
        await ctx.db.insert("rows", {"name": "one", "a": 1})
        first = await rows.collect()
        await ctx.db.insert("rows", {"name": "two", "a": 2})
        return [len(first), len(await rows.collect())]

    @app.mutation
    async def fill(ctx: MutationCtx) -> list[Any]:
        ids = [await ctx.db.insert("rows", {"name": str(n)}) for n in range(10)]
        return [(await ctx.db.get(id) or {})["_creationTime"] for id in ids]

    return app


ROWS = placed(rows_by_a)


async def with_every_type(t: TestBackend) -> None:
    for name, fields in random.Random(17).sample(IN_ORDER, len(IN_ORDER)):
        await t.mutation("insert", document={"name": name, **fields})


async def names(t: TestBackend, **bounds: Any) -> list[str]:
    found: list[str] = await t.query("names", **bounds)
    return found


async def test_017_an_index_orders_by_type_first_and_what_is_missing_comes_before_all() -> None:
    async with TestBackend(ROWS) as t:
        await with_every_type(t)
        assert await names(t) == [name for name, _ in IN_ORDER]


async def test_018_equal_to_unset_finds_rows_without_the_field_and_not_those_with_null() -> None:
    async with TestBackend(ROWS) as t:
        await with_every_type(t)
        assert await names(t, unset=True) == ["missing"]
        assert await names(t, equal=None) == ["null"]


async def test_019_a_lower_bound_is_one_on_the_types_behind_its_own_too() -> None:
    async with TestBackend(ROWS) as t:
        await with_every_type(t)
        assert await names(t, gt=5.0) == ["false", "true", "empty string", "string", "bytes", "array", "object"]
        assert await names(t, lt=0.5) == ["missing", "null", "int64"]


def rows_by_a_and_b() -> Component:
    app = Component("app", schema=Schema(rows=Table({"a": int, "b": int}).index("by_a_b", "a", "b")))

    @app.mutation
    async def fill(ctx: MutationCtx) -> None:
        for a in (1, 2):
            for b in (1, 2, 3):
                await ctx.db.insert("rows", {"a": a, "b": b})

    @app.query
    async def found(ctx: QueryCtx, first: dict[str, Any] | None = None, **values: Any) -> list[list[int]]:
        """Values that are given as a dict are ranges."""
        ranges = {name: Range(**value) if isinstance(value, dict) else value for name, value in values.items()}
        query = ctx.db.query("rows").index("by_a_b", *([] if first is None else [first]), **ranges)
        return [[row["a"], row["b"]] for row in await query.collect()]

    return app


async def test_020_a_range_is_on_the_field_behind_the_equalities() -> None:
    async with TestBackend(placed(rows_by_a_and_b)) as t:
        await t.mutation("fill")

        async def found(**values: Any) -> list[tuple[int, int]]:
            return [(a, b) for a, b in await t.query("found", **values)]

        assert await found(a={"gt": 1}) == [(2, 1), (2, 2), (2, 3)]
        assert await found(b=2, a=1) == [(1, 2)]
        assert await found(a=1, b={"gt": 1}) == [(1, 2), (1, 3)]
        with pytest.raises(QueryError, match="InvalidIndexRange"):
            await found(b=1)
        with pytest.raises(QueryError, match="InvalidIndexRange"):
            await found(b={"gt": 1})
        with pytest.raises(QueryError, match="given twice"):
            await found(first={"a": 1}, b={"gt": 2}, a={"lt": 3})
        with pytest.raises(QueryError, match="ranges on"):
            await found(b={"gt": 2}, a={"lt": 3})


async def test_021_a_range_without_values_is_empty_and_no_error() -> None:
    async with TestBackend(ROWS) as t:
        await with_every_type(t)
        assert await names(t, gte=5, lt=3) == []


async def test_022_rows_with_equal_values_come_in_the_order_of_their_creation() -> None:
    async with TestBackend(ROWS) as t:
        for name in "cab":
            await t.mutation("insert", document={"name": name, "a": 1})
        assert await names(t) == ["c", "a", "b"]
        assert await names(t, equal=1, order="desc") == ["b", "a", "c"]


async def test_023_unique_is_one_row_or_none_and_take_gives_as_many_as_asked() -> None:
    async with TestBackend(ROWS) as t:
        assert await t.query("unique") is None
        ids = [await t.mutation("insert", document={"name": "x"}) for _ in range(2)]
        with pytest.raises(QueryError) as refused:
            await t.query("unique")
        assert all(id in str(refused.value) for id in ids)
        assert [await t.query("take", count=count) for count in (0, 1, 5)] == [0, 1, 2]
        with pytest.raises(QueryError):
            await t.query("take", count=-1)


async def test_024_a_query_can_be_read_again() -> None:
    """In the original a query object is used up by its first read. Ours is a value, as section 2 of the contract reads it twice."""
    async with TestBackend(ROWS) as t:
        assert await t.mutation("read_twice") == [1, 2]


async def test_025_a_filter_is_python_and_the_order_of_types_is_that_of_indexes() -> None:
    """The original filters in expressions of its own: there Int64(1) < 0.5, and their sum is an EvalError.

    A filter here is a Python function of the row, so it compares and adds as Python does. What is missing is not in the row.
    """

    @placed
    def app() -> Component:
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

        @app.query
        async def below_a_half(ctx: QueryCtx) -> int:
            return await ctx.db.query("rows").index("by_x", x=Range(gte=None, lt=0.5)).count()

        return app

    async with TestBackend(app) as t:
        await t.run(lambda ctx: ctx.db.insert("rows", {}))
        await t.run(lambda ctx: ctx.db.insert("rows", {"x": Int64(1)}))
        assert await t.query("without_x") == 1
        assert await t.query("filtered_below_a_half") == 0
        assert await t.query("sums") == [2.0]
        assert await t.query("below_a_half") == 1


async def test_026_creation_times_rise_strictly_within_a_mutation() -> None:
    async with TestBackend(ROWS) as t:
        times = await t.mutation("fill")
        assert all(earlier < later for earlier, later in itertools.pairwise(times))
        assert t.now() <= times[0] and times[-1] < t.now() + 1


async def test_027_a_table_that_was_never_made_reads_as_empty_and_the_first_insert_makes_it() -> None:
    @placed
    def app() -> Component:
        app = Component("app")

        @app.mutation
        async def insert(ctx: MutationCtx) -> None:
            await ctx.db.insert("rows", {"n": 1})

        @app.query
        async def numbers(ctx: QueryCtx) -> list[int]:
            return [row["n"] for row in await ctx.db.query("rows").collect()]

        return app

    async with TestBackend(app) as t:
        assert await t.query("numbers") == []
        await t.mutation("insert")
        assert await t.query("numbers") == [1]


async def test_028_a_patch_that_changes_nothing_is_no_write() -> None:
    async with TestBackend(ROWS) as t:
        id = await t.mutation("insert", document={"name": "x", "a": {"b": 1}})
        pause = Pause()

        async def read_and_write(ctx: MutationCtx) -> None:
            await ctx.db.get(id)
            await pause()
            await ctx.db.insert("others", {})

        watched = t.subscribe("all_names")
        assert await anext(watched) == ["x"]
        runs = t.query_runs
        await pause.meanwhile(t.run(read_and_write), t.mutation("patch", id=id, fields={"a": {"b": 1}}))
        assert pause.runs == 1
        assert await t.query("all_names") == ["x"]
        assert t.query_runs == runs
        await t.mutation("replace", id=id, document={"name": "x", "a": {"b": 1}})
        assert await t.query("all_names") == ["x"]
        assert t.query_runs == runs


async def test_029_a_patch_replaces_fields_whole_and_removes_those_that_are_unset() -> None:
    async with TestBackend(ROWS) as t:
        id = await t.mutation("insert", document={"name": "x", "a": {"b": 0, "c": 2}})
        await t.mutation("patch", id=id, fields={"a": {"b": 1}})
        assert (await t.query("get", id=id))["a"] == {"b": 1}
        await t.mutation("patch", id=id, fields={}, unset=True)
        assert (await t.query("get", id=id)).keys() == {"_id", "_creationTime", "name"}


async def test_030_a_replace_keeps_the_id_and_the_creation_time() -> None:
    async with TestBackend(ROWS) as t:
        id = await t.mutation("insert", document={"name": "x", "a": 1})
        before = await t.query("get", id=id)
        await t.advance(60)
        await t.mutation("replace", id=id, document={"name": "y"})
        after = await t.query("get", id=id)
        assert after == {"_id": id, "_creationTime": before["_creationTime"], "name": "y"}
