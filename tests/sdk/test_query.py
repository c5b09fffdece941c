"""The query builder, against a host that looks through plain lists."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock import UNSET, LimitExceeded, MutationCtx, QueryCtx, QueryError, Range
from interlock.sdk.query import Query

from .fake_host import FakeHost


def letters(host: FakeHost, count: int = 10) -> None:
    host.indexes["letters", "by_kind"] = ("kind", "n")
    host.indexes["letters", "by_state"] = ("state.kind",)
    host.add("letters", *({"kind": "ab"[n % 2], "n": n, "state": {"kind": "even"} if n % 2 == 0 else {}} for n in range(count)))


@pytest.fixture
def host() -> FakeHost:
    host = FakeHost()
    letters(host)
    return host


@pytest.fixture
def q(host: FakeHost) -> Query:
    return QueryCtx(host).db.query("letters")


def ns(rows: list[dict[str, Any]]) -> list[int]:
    return [row["n"] for row in rows]


async def test_a_table_is_read_in_the_order_of_creation(q: Query) -> None:
    assert ns(await q.collect()) == list(range(10))


async def test_an_index_takes_equalities_and_then_one_range(q: Query) -> None:
    assert ns(await q.index("by_kind", kind="a", n=Range(gt=2, lte=6)).collect()) == [4, 6]
    assert ns(await q.index("by_kind", kind="a", n=Range(gte=2, lt=6)).order("desc").collect()) == [4, 2]
    assert ns(await q.index("by_kind", kind="b").take(2)) == [1, 3]


async def test_dotted_names_are_given_in_a_dict_and_unset_is_absent(host: FakeHost) -> None:
    db = QueryCtx(host).db
    assert ns(await db.query("letters").index("by_state", {"state.kind": "even"}).collect()) == [0, 2, 4, 6, 8]
    assert ns(await db.query("letters").index("by_state", {"state.kind": UNSET}).collect()) == [1, 3, 5, 7, 9]
    assert ns(await db.query("letters").index("by_kind", {"kind": "a"}, n=4).collect()) == [4]
    assert ns(await db.query("letters").index("by_state", {"state.kind": Range(gt=UNSET)}).collect()) == [0, 2, 4, 6, 8]


async def test_none_is_a_bound_like_any_value(host: FakeHost) -> None:
    host.indexes["notes", "by_text"] = ("text",)
    host.add("notes", {"text": None}, {"text": "x"}, {})
    rows = await QueryCtx(host).db.query("notes").index("by_text", text=Range(lte=None)).collect()
    assert [row.get("text", "absent") for row in rows] == ["absent", None]


async def test_every_step_gives_a_new_query(q: Query) -> None:
    kind_a = q.index("by_kind", kind="a")
    first, last = kind_a.order("asc"), kind_a.order("desc")
    assert (await first.first() or {})["n"] == 0
    assert (await last.first() or {})["n"] == 8
    assert ns(await kind_a.filter(lambda row: row["n"] > 2).take(1)) == [4]


TERMINALS: list[Callable[[Query], Awaitable[Any]]] = [
    lambda q: q.first(),
    lambda q: q.filter(lambda row: row["n"] == 3).unique(),
    lambda q: q.take(1),
    lambda q: q.collect(),
    lambda q: q.count(),
    lambda q: q.paginate({"numItems": 1}),
]


@pytest.mark.parametrize("read", TERMINALS)
async def test_a_query_is_a_value_that_can_be_read_again(q: Query, read: Callable[[Query], Awaitable[Any]]) -> None:
    rows = await q.collect()
    await read(q)
    assert await q.collect() == rows


async def test_a_query_that_was_read_can_be_narrowed(q: Query) -> None:
    rows = [row async for row in q]
    assert await q.order("desc").collect() == rows[::-1]
    assert await q.filter(lambda row: False).collect() == []


async def test_what_is_said_twice_is_refused(q: Query) -> None:
    with pytest.raises(QueryError, match="order is said once"):
        q.order("asc").order("asc")
    with pytest.raises(QueryError, match="one index"):
        q.index("by_kind", kind="a").index("by_kind", kind="b")
    with pytest.raises(QueryError, match="both gt and gte"):
        q.index("by_kind", kind=Range(gt=1, gte=2))
    with pytest.raises(QueryError, match="both lt and lte"):
        q.index("by_kind", kind=Range(lt=1, lte=2))
    with pytest.raises(QueryError, match="ranges on kind and n"):
        q.index("by_kind", kind=Range(gt="a"), n=Range(gt=1))
    with pytest.raises(QueryError, match="kind is given twice"):
        q.index("by_kind", {"kind": "a"}, kind="a")


async def test_a_count_that_is_none_is_refused(q: Query) -> None:
    for count in (-1, 1.5, True, "1", None):
        with pytest.raises(QueryError, match="take needs"):
            q.take(count)  # type: ignore[arg-type]
    assert await q.take(0) == []
    with pytest.raises(QueryError, match='"asc" or "desc"'):
        QueryCtx(FakeHost()).db.query("letters").order("down")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="function of the row"):
        QueryCtx(FakeHost()).db.query("letters").filter("n > 1")  # type: ignore[arg-type]


async def test_unique_names_the_table_and_both_ids(host: FakeHost) -> None:
    db = QueryCtx(host).db
    assert await db.query("letters").index("by_kind", kind="c").unique() is None
    assert (await db.query("letters").index("by_kind", kind="a", n=4).unique() or {})["n"] == 4
    for query in (db.query("letters").index("by_kind", kind="b"), db.query("letters").filter(lambda row: row["kind"] == "b")):
        with pytest.raises(QueryError, match=r"letters.*letters0001 and letters0003"):
            await query.unique()


async def test_filters_add_up_and_may_be_async(q: Query) -> None:
    async def is_late(row: dict[str, Any]) -> bool:
        await asyncio.sleep(0)
        return bool(row["n"] > 4)

    assert ns(await q.filter(lambda row: row["kind"] == "a").filter(is_late).collect()) == [6, 8]
    assert await QueryCtx(q._db._host).db.query("letters").filter(is_late).count() == 5


async def test_only_rows_that_were_looked_at_count_as_read(host: FakeHost) -> None:
    letters(host, 100)
    db = QueryCtx(host).db
    assert (await db.query("letters").filter(lambda row: row["n"] == 3).first() or {})["n"] == 3
    assert len(host.consumed) == 4

    host.consumed.clear()
    async for row in db.query("letters"):
        if row["n"] == 5:
            break
    assert len(host.consumed) == 6

    host.consumed.clear()
    assert await db.query("letters").filter(lambda row: row["n"] == -1).first() is None
    assert len(host.consumed) == 110
    assert host.whole_intervals == 1


async def test_an_empty_interval_counts_as_read(host: FakeHost) -> None:
    assert [row async for row in QueryCtx(host).db.query("nothing")] == []
    assert (await QueryCtx(host).db.query("nothing").paginate({"numItems": 5})).page == []
    assert host.whole_intervals == 2


async def test_chunks_grow(host: FakeHost) -> None:
    letters(host, 2_000)
    async for row in QueryCtx(host).db.query("letters"):
        if row["_id"] == "letters0000":
            break
    assert host.fetched == 16
    assert len(await QueryCtx(host).db.query("letters").filter(lambda row: True).collect()) == 2_010


async def test_a_read_limit_is_felt_where_rows_are_looked_at(host: FakeHost) -> None:
    host.rows_max = 4
    with pytest.raises(LimitExceeded):
        await QueryCtx(host).db.query("letters").filter(lambda row: False).first()
    host.consumed.clear()
    assert len(await QueryCtx(host).db.query("letters").filter(lambda row: True).take(4)) == 4


async def test_a_read_without_a_filter_is_one_request(host: FakeHost) -> None:
    db = MutationCtx(host).db
    asked = []

    async def scan(scan: Any, count: int | None) -> list[Any]:
        asked.append(count)
        return []

    host.scan = scan  # type: ignore[method-assign]
    await db.query("letters").first()
    await db.query("letters").unique()
    await db.query("letters").take(7)
    await db.query("letters").collect()
    assert asked == [1, 2, 7, None]


@given(
    values=st.lists(st.integers(0, 5), max_size=60),
    wanted=st.integers(0, 5),
    count=st.integers(0, 30),
    descending=st.booleans(),
)
def test_a_filtered_read_is_the_filtered_list(values: list[int], wanted: int, count: int, descending: bool) -> None:
    """Model: the list of rows, reversed or not, filtered, cut."""

    async def read() -> None:
        host = FakeHost()
        host.add("t", *({"n": n} for n in values))
        db = QueryCtx(host).db

        def make() -> Query:
            return db.query("t").order("desc" if descending else "asc").filter(lambda row: row["n"] == wanted)

        rows = host.tables.get("t", [])
        model = [row for row in (rows[::-1] if descending else rows) if row["n"] == wanted]
        assert await make().take(count) == model[:count]
        assert await make().collect() == model
        assert [row async for row in make()] == model
        assert await make().count() == len(model)
        assert await make().first() == (model[0] if model else None)

    asyncio.run(read())
