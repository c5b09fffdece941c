"""Index ranges and pages, against sorted lists."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.placed import placed

from interlock import (
    UNSET,
    Component,
    InvalidCursor,
    LimitExceeded,
    Limits,
    MutationCtx,
    Page,
    PaginationOptions,
    QueryCtx,
    QueryError,
    Range,
    Schema,
    Table,
    ValueRefused,
)
from interlock.engine import Interval
from interlock.engine.catalog import Index
from interlock.engine.catalog import Table as StoredTable
from interlock.engine.made import arrived
from interlock.functions import reading
from interlock.functions.caller import Caller
from interlock.functions.reading import interval_of
from interlock.sdk.host import Bounds, Scan
from interlock.storage.protocol import TableRecord
from interlock.values import encode_key, encode_keys, loads

from .rooms import Rooms, running

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(-2, 2, width=16),
    st.text("ab", max_size=2),
    st.just(UNSET),
    st.binary(max_size=1),
)


def index(*fields: str, name: str = "by") -> Index:
    return Index(1, StoredTable(TableRecord(10_001, "", "t")), name, fields)


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(st.tuples(SCALARS, SCALARS, SCALARS), max_size=12),
    equal=st.lists(SCALARS, max_size=2),
    lower=st.none() | st.tuples(SCALARS),
    upper=st.none() | st.tuples(SCALARS),
    inclusive=st.tuples(st.booleans(), st.booleans()),
    swapped=st.booleans(),
)
@pytest.mark.one_isolation("inline", "no component runs: what a range is")
@example(rows=[("\0", 1.0, 1.0), ("", 1.0, 1.0)], equal=[""], lower=None, upper=None, inclusive=(True, True), swapped=False)
@example(rows=[("a\0", 1.0, 1.0), ("a", 1.0, 1.0)], equal=[], lower=("a",), upper=None, inclusive=(False, True), swapped=False)
@example(rows=[("a\0", 1.0, 1.0), ("a", 1.0, 1.0)], equal=[], lower=None, upper=("a",), inclusive=(True, True), swapped=False)
def test_a_range_has_exactly_the_rows_that_it_says(rows: Any, equal: Any, lower: Any, upper: Any, inclusive: Any, swapped: bool) -> None:
    """Model: the rows themselves, compared field by field in the order of values."""
    bounds = None
    if lower or upper:
        bounds = Bounds("abc"[len(equal)], lower, inclusive[0], upper, inclusive[1])
    pairs = list(zip("abc", equal, strict=False))
    scan = Scan("t", "by", tuple(reversed(pairs) if swapped else pairs), bounds)
    start, end = interval_of(index("a", "b", "c"), scan)

    def fits(row: Any) -> bool:
        keys = [encode_key(value) for value in row]
        if any(keys[at] != encode_key(value) for at, value in enumerate(equal)):
            return False
        key = keys[len(equal)]
        if lower and not (key >= encode_key(lower[0]) if inclusive[0] else key > encode_key(lower[0])):
            return False
        return not (upper and not (key <= encode_key(upper[0]) if inclusive[1] else key < encode_key(upper[0])))

    for row in rows:
        key = encode_keys([*row, 1.5, "id"])
        assert (start <= key and (end is None or key < end)) == fits(row)


@pytest.mark.parametrize(
    ("equal", "bounds", "said"),
    [
        ({"b": 1}, None, 'InvalidIndexRange: "b" is given and "a" is not'),
        ({"a": 1, "c": 1}, None, 'InvalidIndexRange: "c" is given and "b" is not'),
        ({"d": 1}, None, "FieldNotInIndex"),
        ({}, "b", "InvalidIndexRange"),
        ({"a": 1}, "c", "InvalidIndexRange"),
        ({"a": 1}, "a", "AlreadyDefinedBound"),
        ({"a": 1}, "x", "FieldNotInIndex"),
        ({"a": 1, "b": 1, "c": 1, "_creationTime": 1.0, "_id": "x"}, "_id", "AlreadyDefinedBound"),
    ],
)
@pytest.mark.one_isolation("inline", "no component runs: what a range is")
def test_ranges_that_cannot_be_are_refused_with_the_reason(equal: dict[str, Any], bounds: str | None, said: str) -> None:
    scan = Scan("t", "by", tuple(equal.items()), Bounds(bounds, (1,)) if bounds else None)
    with pytest.raises(QueryError, match=said):
        interval_of(index("a", "b", "c"), scan)


@pytest.mark.one_isolation("inline", "no component runs: what a range is")
def test_the_unseen_fields_at_the_end_of_an_index_can_be_ranged_over() -> None:
    assert interval_of(index(name="by_creation_time"), Scan("t", "by_creation_time", (), Bounds("_creationTime", (5.0,)))) == Interval(
        encode_key(5.0), None
    )
    start, end = interval_of(index("a"), Scan("t", "by", (("a", 1), ("_creationTime", 2.0)), Bounds("_id", ("x",))))
    assert start == encode_keys([1, 2.0, "x"])
    assert end is not None
    by_id = index("_id", name="by_id")
    assert interval_of(by_id, Scan("t", "by_id", (("_id", "x"),))).start == encode_key("x")
    with pytest.raises(QueryError):
        interval_of(by_id, Scan("t", "by_id", (("_creationTime", 1.0),)))


def app() -> Component:
    made = Component("app", schema=Schema(notes=Table({"n": int, "tag": str}).index("by_tag", "tag", "n")))

    @made.mutation
    async def fill(ctx: MutationCtx, count: int, tag: str = "x") -> None:
        for n in range(count):
            await ctx.db.insert("notes", {"n": n, "tag": tag})

    @made.mutation
    async def put(ctx: MutationCtx, n: int) -> None:
        await ctx.db.insert("notes", {"n": n, "tag": "x"})

    @made.mutation
    async def remove(ctx: MutationCtx, first: int, last: int) -> None:
        for row in await ctx.db.query("notes").index("by_tag", tag="x", n=Range(gte=first, lte=last)).collect():
            await ctx.db.delete(row["_id"])

    @made.query
    async def page(
        ctx: QueryCtx, pagination_opts: PaginationOptions, tag: str = "x", order: str = "asc", at_least: int = -1000
    ) -> Page[Any]:
        query = ctx.db.query("notes").index("by_tag", tag=tag, n=Range(gte=at_least)).order("desc" if order == "desc" else "asc")
        return (await query.paginate(pagination_opts)).map(lambda row: row["n"])

    @made.query
    async def filtered(ctx: QueryCtx, pagination_opts: PaginationOptions, modulo: int) -> Page[Any]:
        query = ctx.db.query("notes").index("by_tag", tag="x").filter(lambda row: row["n"] % modulo == 0)
        return (await query.paginate(pagination_opts)).map(lambda row: row["n"])

    @made.query
    async def two(ctx: QueryCtx, first: PaginationOptions, second: PaginationOptions) -> list[Any]:
        small = await ctx.run_query("page", pagination_opts=first)
        large = await ctx.db.query("notes").index("by_tag", tag="x").order("desc").paginate(second)
        return [small["page"], [row["n"] for row in large.page]]

    @made.query
    async def limited(ctx: QueryCtx, pagination_opts: PaginationOptions, most: int) -> Any:
        return await ctx.run_query(page.options(limits=Limits(documents_read=most)), pagination_opts=pagination_opts)

    return made


notes = placed(app)


def options(num_items: int, cursor: str | None = None, **more: Any) -> dict[str, Any]:
    return {"numItems": num_items, "cursor": cursor, **more}


async def pages(rooms: Rooms, name: str = "page", size: int = 10, **args: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        found.append(await rooms.query(name, pagination_opts=options(size, cursor), **args))
        cursor = found[-1]["continueCursor"]
        if found[-1]["isDone"]:
            return found


@pytest.mark.usefixtures("both_isolations")
async def test_unknown_indexes_offer_the_close_one_and_unknown_tables_are_empty() -> None:
    async with running(notes) as rooms:
        with pytest.raises(QueryError, match=r'no index "by_tags"\. Did you mean "by_tag"'):
            await rooms.on_the_spot(lambda ctx: ctx.db.query("notes").index("by_tags", tag="x").collect())
        assert await rooms.on_the_spot(lambda ctx: ctx.db.query("nothing").collect()) == []
        assert await rooms.on_the_spot(lambda ctx: ctx.db.query("nothing").count()) == 0
        assert await rooms.on_the_spot(lambda ctx: ctx.db.query("nothing").filter(lambda row: True).first()) is None
        for table in ("_requests", "_jobs"):
            with pytest.raises(QueryError, match="system's"):
                await rooms.on_the_spot(lambda ctx, table=table: ctx.db.query(table).collect())


@pytest.mark.usefixtures("both_isolations")
async def test_normalize_id_knows_the_tables_of_the_instance() -> None:
    async with running(notes) as rooms:
        id = await rooms.on_the_spot(lambda ctx: ctx.db.insert("notes", {"n": 1, "tag": "x"}))
        assert await rooms.on_the_spot(lambda ctx: ctx.db.normalize_id("notes", id)) == id
        for table, text in (("nothing", id), ("notes", "x"), ("notes", id.upper()), ("_jobs", id)):
            assert await rooms.on_the_spot(lambda ctx, table=table, text=text: ctx.db.normalize_id(table, text)) is None


@pytest.mark.usefixtures("both_isolations")
async def test_many_documents_come_in_the_order_of_their_ids_and_each_is_a_copy() -> None:
    async def look(ctx: MutationCtx) -> None:
        first, second = [await ctx.db.insert("notes", {"n": n, "tag": "x"}) for n in (1, 2)]
        gone = await ctx.db.insert("notes", {"n": 3, "tag": "x"})
        await ctx.db.delete(gone)
        found = await ctx.db.get_many([second, "no id", first, gone, second])
        assert [row and row["n"] for row in found] == [2, None, 1, None, 2]
        assert found[0] is not None
        found[0]["n"] = 9
        assert [row and row["n"] for row in await ctx.db.get_many(iter([second, first]))] == [2, 1]
        assert found[4] == await ctx.db.get(second)
        assert await ctx.db.get_many([]) == []
        with pytest.raises(ValueRefused, match="must be a list of ids"):
            await ctx.db.get_many(first)

    async with running(notes) as rooms:
        await rooms.on_the_spot(look)


@pytest.mark.usefixtures("both_isolations")
async def test_an_id_that_is_no_string_is_refused_with_words() -> None:
    async def look(ctx: MutationCtx) -> None:
        there, odd = await ctx.db.insert("notes", {"n": 1, "tag": "x"}), 5
        for misused in (
            lambda: ctx.db.get(odd),
            lambda: ctx.db.get_many([there, odd]),
            lambda: ctx.db.patch(odd, {}),
            lambda: ctx.db.replace(odd, {}),
            lambda: ctx.db.delete(odd),
        ):
            with pytest.raises(ValueRefused, match="must be the id of a document, a string; got int"):
                await misused()
        assert await ctx.db.normalize_id("notes", odd) is None

    async with running(notes) as rooms:
        await rooms.on_the_spot(look)


@pytest.mark.usefixtures("both_isolations")
async def test_many_documents_count_as_each_of_them() -> None:
    async with running(notes) as rooms:
        await rooms.mutation("fill", count=10)
        ids = [row["_id"] for row in await rooms.on_the_spot(lambda ctx: ctx.db.query("notes").collect())]

        async def used(ctx: MutationCtx) -> dict[str, float]:
            await ctx.db.get_many(ids)
            return dict(ctx.metrics().used)

        async def used_by_each(ctx: MutationCtx) -> dict[str, float]:
            for id in ids:
                await ctx.db.get(id)
            return dict(ctx.metrics().used)

        assert await rooms.on_the_spot(used) == await rooms.on_the_spot(used_by_each)
        with pytest.raises(LimitExceeded, match="documents_read"):
            await rooms.on_the_spot(lambda ctx: ctx.db.get_many(["no id"] * 100_000))


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.usefixtures("both_isolations")
async def test_pages_have_every_row_once_and_the_last_is_done(order: str) -> None:
    async with running(notes) as rooms:
        await rooms.mutation("fill", count=25)
        await rooms.mutation("fill", count=5, tag="y")
        found = await pages(rooms, order=order)
        assert [len(page["page"]) for page in found] == [10, 10, 5]
        rows = [n for page in found for n in page["page"]]
        assert rows == sorted(range(25), reverse=order == "desc")


@pytest.mark.usefixtures("both_isolations")
async def test_a_filter_that_keeps_nothing_gives_a_done_page() -> None:
    async with running(notes) as rooms:
        await rooms.mutation("fill", count=100)
        page = await rooms.query("filtered", pagination_opts=options(10), modulo=1_000)
        assert (page["page"], page["isDone"]) == ([0], True)
        page = await rooms.query("filtered", pagination_opts=options(3), modulo=10)
        assert (page["page"], page["isDone"]) == ([0, 10, 20], False)


@pytest.mark.usefixtures("both_isolations")
async def test_cursors_of_other_queries_are_invalid() -> None:
    async with running(notes) as rooms:
        await rooms.mutation("fill", count=5)
        cursor = (await rooms.query("page", pagination_opts=options(2)))["continueCursor"]
        assert (await rooms.query("page", pagination_opts=options(2, cursor)))["page"] == [2, 3]
        for other in ({"order": "desc"}, {"tag": "y"}, {"at_least": 0}):
            with pytest.raises(InvalidCursor):
                await rooms.query("page", pagination_opts=options(2, cursor), **other)
        for garbage in ("", "nonsense", cursor[:-2], cursor + "A", "é", cursor[:-1] + ("A" if cursor[-1] != "A" else "B")):
            with pytest.raises(InvalidCursor):
                await rooms.query("page", pagination_opts=options(2, garbage))


@pytest.mark.usefixtures("both_isolations")
async def test_cursors_are_equal_for_equal_places_and_survive_a_restart() -> None:
    made = notes
    async with running(made) as rooms:
        await rooms.mutation("fill", count=5)
        first = (await rooms.query("page", pagination_opts=options(2)))["continueCursor"]
        second = (await rooms.query("page", pagination_opts=options(2, None, id=4)))["continueCursor"]
        assert first == second
        storage = rooms.engine.storage
    async with running(made, storage=storage) as rooms:
        assert (await rooms.query("page", pagination_opts=options(2, first)))["page"] == [2, 3]


@pytest.mark.usefixtures("both_isolations")
async def test_a_page_between_two_cursors_is_read_whole_and_splits_in_two() -> None:
    async with running(notes) as rooms:
        await rooms.mutation("fill", count=9)
        whole = await rooms.query("page", pagination_opts=options(7))
        split, end = whole["splitCursor"], whole["continueCursor"]
        first = await rooms.query("page", pagination_opts=options(1, None, endCursor=split))
        second = await rooms.query("page", pagination_opts=options(1, split, endCursor=end))
        assert first["page"] + second["page"] == whole["page"] == list(range(7))
        assert (first["isDone"], second["isDone"]) == (False, False)
        assert abs(len(first["page"]) - len(second["page"])) <= 1


@pytest.mark.usefixtures("both_isolations")
async def test_a_limit_ends_a_page_early_and_says_so() -> None:
    async with running(notes) as rooms:
        await rooms.mutation("fill", count=30)
        page = await rooms.query("page", pagination_opts=options(20, None, maximumRowsRead=5))
        assert (len(page["page"]), page["pageStatus"], page["isDone"]) == (5, "SplitRequired", False)
        page = await rooms.query("limited", pagination_opts=options(20), most=7)
        assert (page["page"], page["pageStatus"]) == (list(range(7)), "SplitRequired")
        rest = await rooms.query("page", pagination_opts=options(100, page["continueCursor"]))
        assert rest["page"] == list(range(7, 30))
        exact = await rooms.query("limited", pagination_opts=options(30), most=30)
        assert (len(exact["page"]), exact["pageStatus"]) == (30, "SplitRecommended" if exact["pageStatus"] else None)
        with pytest.raises(LimitExceeded):
            await rooms.query("limited", pagination_opts=options(5), most=0)


class Subscriber:
    """A live query, asked again whenever it was woken."""

    def __init__(self, rooms: Rooms, name: str, args: dict[str, Any], journal: str | None = None) -> None:
        self.rooms, self.woken = rooms, 0
        self.live = rooms.dispatcher.live_query(name, args, caller=Caller(admin=True, source="test"), wake=self._wake, journal=journal)

    def _wake(self) -> None:
        self.woken += 1

    async def was_woken(self) -> int:
        await asyncio.sleep(0)  # commits are noticed behind the answers that they give
        return self.woken

    async def now(self) -> Any:
        log = self.rooms.engine.log
        place = log.durable
        log.pin(place)
        try:
            entry = await arrived(self.live.at(place))
        finally:
            log.unpin(place)
        if entry.error is not None:
            raise entry.error
        return loads(entry.value.json)


@pytest.mark.usefixtures("both_isolations")
async def test_a_subscribed_page_keeps_its_end_while_rows_come_and_go() -> None:
    async with running(notes) as rooms:
        await rooms.mutation("fill", count=25)
        first = Subscriber(rooms, "page", {"pagination_opts": options(10)})
        page = await first.now()
        cursor = page["continueCursor"]
        second = Subscriber(rooms, "page", {"pagination_opts": options(10, cursor)})
        assert (await second.now())["page"] == list(range(10, 20))

        await rooms.mutation("put", n=5)  # within the first page
        assert await first.was_woken() == 1
        grown = await first.now()
        assert len(grown["page"]) == 11
        assert grown["continueCursor"] == cursor
        assert await second.was_woken() == 0

        await rooms.mutation("remove", first=10, last=19)  # all of the second page
        assert (await second.now())["page"] == []
        assert (await first.now())["page"] == grown["page"]
        await rooms.mutation("put", n=15)
        assert (await second.now())["page"] == [15]


@pytest.mark.usefixtures("both_isolations")
async def test_an_exhausted_page_stays_open_at_its_end() -> None:
    async with running(notes) as rooms:
        await rooms.mutation("fill", count=3)
        last = Subscriber(rooms, "page", {"pagination_opts": options(10)})
        assert (await last.now())["isDone"] is True
        await rooms.mutation("put", n=100)
        assert (await last.now())["page"] == [0, 1, 2, 100]


@pytest.mark.usefixtures("both_isolations")
async def test_a_page_of_a_table_that_is_not_there_goes_on_when_it_is() -> None:
    @placed
    def made() -> Component:
        made = Component("app")

        @made.query
        async def page(ctx: QueryCtx) -> Page[Any]:
            return (await ctx.db.query("later").paginate(PaginationOptions(5))).map(lambda row: row["n"])

        return made

    async with running(made) as rooms:
        live = Subscriber(rooms, "page", {})
        assert (await live.now())["page"] == []
        await rooms.on_the_spot(lambda ctx: ctx.db.insert("later", {"n": 1}))
        assert await live.was_woken() == 1
        assert (await live.now())["page"] == [1]


@pytest.mark.usefixtures("both_isolations")
async def test_journals_hold_every_page_of_a_function_and_of_those_that_it_calls() -> None:
    async with running(notes) as rooms:
        await rooms.mutation("fill", count=10)
        args = {"first": options(2), "second": options(3)}
        live = Subscriber(rooms, "two", args)
        assert await live.now() == [[0, 1], [9, 8, 7]]
        await rooms.mutation("put", n=0)
        await rooms.mutation("put", n=8)
        assert await live.now() == [[0, 0, 1], [9, 8, 8, 7]]
        # A client that connects again gives its journal, and gets the same pages.
        again = Subscriber(rooms, "two", args, live.live.journal)
        assert await again.now() == await live.now()
        fresh = Subscriber(rooms, "two", args)
        assert await fresh.now() == [[0, 0], [9, 8, 8]]


@pytest.mark.usefixtures("both_isolations")
async def test_a_journal_of_somebody_else_is_an_invalid_cursor() -> None:
    async with running(notes) as rooms:
        for journal in ("nonsense", "[]", '{"|0": "x"}', '{"|0": 5}'):
            live = Subscriber(rooms, "page", {"pagination_opts": options(2)}, journal)
            with pytest.raises(InvalidCursor):
                await live.now()


@pytest.mark.usefixtures("both_isolations")
@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(["put", "remove"]), st.integers(0, 40)), max_size=12),
    size=st.integers(1, 7),
    order=st.sampled_from(["asc", "desc"]),
)
def test_subscribed_pages_together_are_always_the_table(steps: list[tuple[str, int]], size: int, order: str) -> None:
    """Model: a sorted list. Pages are subscribed to one by one, as a client's list does; then rows come and go."""

    async def history() -> None:
        async with running(notes) as rooms:
            await rooms.mutation("fill", count=20)
            model = list(range(20))
            loaded: list[Subscriber] = []
            cursor = None
            for _ in range(3):
                loaded.append(Subscriber(rooms, "page", {"pagination_opts": options(size, cursor), "order": order}))
                page = await loaded[-1].now()
                cursor = page["continueCursor"]
            for what, n in steps:
                if what == "put":
                    await rooms.mutation("put", n=n)
                    model.append(n)
                else:
                    await rooms.mutation("remove", first=n, last=n)
                    model = [other for other in model if other != n]
                shown = [row for subscriber in loaded for row in (await subscriber.now())["page"]]
                rest: list[int] = []
                if not (await loaded[-1].now())["isDone"]:
                    end = (await loaded[-1].now())["continueCursor"]
                    rest = (await rooms.query("page", pagination_opts=options(1_000, end), order=order))["page"]
                assert shown + rest == sorted(model, reverse=order == "desc")

    asyncio.run(history())


@pytest.mark.parametrize(
    "value", ["x" * 2**20 + "x", [[]] * 600_000, [[1, 2.0]] * 100_000, {"a": [None] * 200_000}, {"x" * 2**20: 1}, b"x" * 2**21]
)
@pytest.mark.one_isolation("inline", "no component runs: what a range is")
def test_of_what_no_document_can_hold_no_key_is_made(monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    def refuse(value: Any) -> bytes:
        raise AssertionError("it takes long to make one")

    monkeypatch.setattr(reading, "encode_key", refuse)
    for scan in (
        Scan("t", "by", (("a", value),)),
        Scan("t", "by", (), Bounds("a", (value,))),
        Scan("t", "by", (), Bounds("a", None, True, (value,))),
    ):
        with pytest.raises(LimitExceeded, match="document_bytes"):
            interval_of(index("a", "b"), scan)
    with pytest.raises(LimitExceeded, match="document_bytes"):
        interval_of(None, Scan("t", "by", (("a", value),)))


@pytest.mark.parametrize("value", ["x" * 2**20, [1.0] * 100_000, {"a": ["x" * 1_000] * 1_000}, UNSET, None, [[[]]]])
@pytest.mark.one_isolation("inline", "no component runs: what a range is")
def test_what_a_document_can_hold_has_one(value: Any) -> None:
    assert interval_of(index("a"), Scan("t", "by", (("a", value),))).start == encode_key(value)


@pytest.mark.one_isolation("inline", "no component runs: what a range is")
def test_fields_without_number_are_looked_at_once() -> None:
    compared = 0

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

    names = [*[Name(f"f{number}") for number in range(2_000)], Name("f1999")]
    with pytest.raises(QueryError, match='"f1999" is given twice'):
        interval_of(index("a"), Scan("t", "by", tuple((name, 1) for name in names)))
    assert compared < 10_000


@pytest.mark.one_isolation("inline", "no component runs: what a range is")
def test_of_a_name_that_none_can_have_no_other_is_guessed_and_little_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(QueryError, match='Did you mean "price"'):
        interval_of(index("price"), Scan("t", "by", (("prices", 1),)))
    with pytest.raises(QueryError) as refused:
        interval_of(index("price"), Scan("t", "by", (("prices" * 100, 1),)))
    assert "Did you mean" not in str(refused.value)
    assert len(str(refused.value)) < 400
