"""Pages: against a host over plain lists, and against the sorted list itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock import InvalidCursor, LimitExceeded, Page, PaginationOptions, QueryCtx, QueryError
from interlock.sdk.query import Query
from interlock.values import compile_validator, from_annotation

from .fake_host import FakeHost


def table(values: list[int]) -> FakeHost:
    host = FakeHost()
    host.indexes["t", "by_n"] = ("n",)
    host.add("t", *({"n": n} for n in values))
    return host


def query(host: FakeHost, *, descending: bool = False, wanted: int | None = None) -> Query:
    """A query in a call of its own, as each page of a client is."""
    found = QueryCtx(host).db.query("t").index("by_n").order("desc" if descending else "asc")
    return found if wanted is None else found.filter(lambda row: row["n"] == wanted)


async def page(host: FakeHost, options: PaginationOptions, *, journal: str | None = None, **how: Any) -> Page[dict[str, Any]]:
    host.journal = {} if journal is None else {0: journal}
    return await query(host, **how).paginate(options)


async def all_pages(host: FakeHost, size: int, **how: Any) -> list[Page[dict[str, Any]]]:
    pages: list[Page[dict[str, Any]]] = []
    cursor = None
    while not pages or not pages[-1].is_done:
        pages.append(await page(host, PaginationOptions(size, cursor), **how))
        cursor = pages[-1].continue_cursor
    return pages


async def test_pages_of_ten_over_twenty_five_rows() -> None:
    pages = await all_pages(table(list(range(25))), 10)
    assert [len(one.page) for one in pages] == [10, 10, 5]
    assert [one.is_done for one in pages] == [False, False, True]


async def test_a_page_that_fills_is_not_done_even_if_nothing_follows() -> None:
    pages = await all_pages(table(list(range(10))), 10)
    assert [len(one.page) for one in pages] == [10, 0]
    assert [one.is_done for one in pages] == [False, True]


@given(
    values=st.lists(st.integers(0, 4), max_size=50),
    size=st.integers(1, 12),
    descending=st.booleans(),
    wanted=st.none() | st.integers(0, 4),
)
def test_pages_one_after_the_other_are_the_whole(values: list[int], size: int, descending: bool, wanted: int | None) -> None:
    """Model: the sorted list. Ties are in the order of creation, as in the index."""

    async def read() -> None:
        host = table(values)
        pages = await all_pages(host, size, descending=descending, wanted=wanted)
        rows = sorted(host.tables.get("t", []), key=lambda row: (row["n"], row["_creationTime"]), reverse=descending)
        assert [row for one in pages for row in one.page] == [row for row in rows if wanted in (None, row["n"])]
        assert all(len(one.page) == size for one in pages[:-1])

    asyncio.run(read())


changes = st.lists(st.tuples(st.sampled_from(["insert", "delete"]), st.integers(0, 40)), max_size=15)


@given(values=st.lists(st.integers(0, 40), max_size=40), size=st.integers(1, 10), changes=changes, descending=st.booleans())
def test_pages_that_are_run_again_with_their_journals_have_no_gaps_and_no_duplicates(
    values: list[int], size: int, changes: list[tuple[str, int]], descending: bool
) -> None:
    """Model: the sorted list after the changes. Every page was read before them, and is run again after them."""

    async def read() -> None:
        host = table(values)
        known: list[tuple[str | None, str]] = []
        cursor: str | None = None
        while True:
            one = await page(host, PaginationOptions(size, cursor), descending=descending)
            known.append((cursor, host.marks[0]))
            cursor = one.continue_cursor
            if one.is_done:
                break
        rows = host.tables.setdefault("t", [])
        for number, (change, n) in enumerate(changes):
            if change == "insert":
                rows.append({"_id": f"new{number:04}", "_creationTime": 1000.0 + number, "n": n})
            else:
                del rows[n : n + 1]
        again = [await page(host, PaginationOptions(size, start), journal=journal, descending=descending) for start, journal in known]
        model = sorted(rows, key=lambda row: (row["n"], row["_creationTime"]), reverse=descending)
        assert [row for one in again for row in one.page] == model
        # Boundaries stay, the last page stays open, and a run with the journal that it gave is the same again.
        assert [one.continue_cursor for one in again] == [journal for _, journal in known]
        assert [one.is_done for one in again] == [False] * (len(again) - 1) + [True]
        for (start, journal), one in zip(known, again, strict=True):
            assert await page(host, PaginationOptions(size, start), journal=journal, descending=descending) == one
            assert host.marks[0] == journal

    asyncio.run(read())


async def start_of(host: FakeHost, one: Page[dict[str, Any]], size: int, wanted: int | None) -> str | None:
    """The cursor that a page was asked for with."""
    cursor: str | None = None
    while (other := await page(host, PaginationOptions(size, cursor), wanted=wanted)) != one:
        cursor = other.continue_cursor
    return cursor


@given(values=st.lists(st.integers(0, 40), max_size=40), size=st.integers(1, 20), wanted=st.none() | st.integers(0, 40))
def test_the_two_halves_of_a_split_page_are_the_page(values: list[int], size: int, wanted: int | None) -> None:
    async def read() -> None:
        host = table(values)
        for one in await all_pages(host, size, wanted=wanted):
            if one.split_cursor is None:
                continue
            start = await start_of(host, one, size, wanted)
            left = await page(host, PaginationOptions(size, start, one.split_cursor), wanted=wanted)
            right = await page(host, PaginationOptions(size, one.split_cursor, one.continue_cursor), wanted=wanted)
            assert left.page + right.page == one.page
            assert (left.continue_cursor, left.is_done) == (one.split_cursor, False)
            assert (right.continue_cursor, right.is_done) == (one.continue_cursor, one.is_done)
            if wanted is None and len(one.page) > 2:
                assert left.page and right.page

    asyncio.run(read())


async def test_small_pages_have_nothing_to_split() -> None:
    assert (await page(table([1, 2]), PaginationOptions(5))).split_cursor is None
    assert (await page(table([1, 2, 3]), PaginationOptions(5))).split_cursor is not None


async def test_an_insert_into_a_page_grows_it_and_one_behind_it_does_not() -> None:
    host = table([0, 2, 4, 6, 8])
    first = await page(host, PaginationOptions(3))
    journal = host.marks[0]
    host.add("t", {"n": 1}, {"n": 5})
    again = await page(host, PaginationOptions(3), journal=journal)
    assert [row["n"] for row in again.page] == [0, 1, 2, 4]
    assert again.continue_cursor == first.continue_cursor


async def test_each_paginate_of_a_call_has_a_journal_entry_of_its_own() -> None:
    host = table([1, 2, 3, 4])
    db = QueryCtx(host).db
    await asyncio.gather(db.query("t").index("by_n").paginate(PaginationOptions(1)), db.query("t").paginate(PaginationOptions(3)))
    assert len(host.marks) == 2
    host.journal = dict(host.marks)
    host.add("t", {"n": 0})
    db = QueryCtx(host).db
    one = await db.query("t").index("by_n").paginate(PaginationOptions(1))
    two = await db.query("t").paginate(PaginationOptions(3))
    assert [row["n"] for row in one.page] == [0, 1]
    assert [row["n"] for row in two.page] == [1, 2, 3]


async def test_a_filter_that_matches_nothing_reads_to_the_end() -> None:
    one = await page(table([1] * 100), PaginationOptions(10), wanted=5)
    assert (one.page, one.is_done, one.page_status) == ([], True, None)


async def test_a_read_limit_ends_a_page_and_asks_for_a_split() -> None:
    host = table([1] * 30)
    host.rows_max = 12
    one = await page(host, PaginationOptions(20))
    assert (len(one.page), one.is_done, one.page_status) == (12, False, "SplitRequired")
    assert one.split_cursor is not None
    host.consumed.clear()
    rest = await page(host, PaginationOptions(10, one.continue_cursor))
    assert len(rest.page) == 10
    host.consumed[:] = ["x"] * 12
    with pytest.raises(LimitExceeded):
        await page(host, PaginationOptions(10, one.continue_cursor))


async def test_a_limit_that_is_met_between_two_chunks_ends_the_page() -> None:
    host = table([1] * 100)
    host.rows_max = 10
    one = await page(host, PaginationOptions(10), wanted=5)
    assert (one.page, one.is_done, one.page_status) == ([], False, "SplitRequired")


async def test_the_callers_own_maxima_end_a_page() -> None:
    host = table([1] * 30)
    one = await page(host, PaginationOptions(20, maximum_rows_read=7))
    assert (len(one.page), one.page_status) == (7, "SplitRequired")
    one = await page(host, PaginationOptions(20, maximum_bytes_read=100))
    assert (len(one.page), one.page_status) == (3, "SplitRequired")  # 47 bytes each
    one = await page(host, PaginationOptions(7, maximum_rows_read=8))
    assert (len(one.page), one.page_status) == (7, "SplitRecommended")
    one = await page(host, PaginationOptions(40, maximum_rows_read=30))
    assert (len(one.page), one.is_done, one.page_status) == (30, False, "SplitRequired")


async def test_a_known_end_overrules_the_number_of_items_and_the_maxima() -> None:
    host = table(list(range(30)))
    first = await page(host, PaginationOptions(20))
    again = await page(host, PaginationOptions(2, None, first.continue_cursor, maximum_rows_read=3))
    assert len(again.page) == 20


async def test_a_cursor_of_another_query_is_refused() -> None:
    host = table(list(range(30)))
    first = await page(host, PaginationOptions(20))
    with pytest.raises(InvalidCursor):
        await page(host, PaginationOptions(20, first.continue_cursor), descending=True)
    with pytest.raises(InvalidCursor):
        await page(host, PaginationOptions(20, "nonsense"))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"numItems": 0}, QueryError),
        ({"numItems": -1}, QueryError),
        ({"numItems": 2.5}, QueryError),
        ({"numItems": True}, QueryError),
        ({"numItems": 32_001}, LimitExceeded),
        ({"numItems": 1, "maximumRowsRead": 0}, QueryError),
        ({"numItems": 1, "maximumBytesRead": -1}, QueryError),
        ({"numItems": 1, "cursor": 5}, QueryError),
        ({"numItems": 1, "surprise": 5}, QueryError),
        ({"numItems": 1, "num_items": 1}, QueryError),
        ({"cursor": None}, QueryError),
        (5, QueryError),
    ],
)
def test_options_that_ask_for_no_page_are_refused(options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        query(table([1])).paginate(options)


def test_options_travel_with_the_names_of_the_clients() -> None:
    options = PaginationOptions(5, "c", maximum_rows_read=10)
    assert options.to_wire_fields() == {"numItems": 5, "cursor": "c", "maximumRowsRead": 10}
    for fields in ({"numItems": 5.0, "cursor": "c", "maximumRowsRead": 10.0}, {"num_items": 5, "cursor": "c", "maximum_rows_read": 10}):
        assert PaginationOptions.from_arguments(fields) == options
    assert PaginationOptions.from_arguments(options) is options
    assert PaginationOptions(1).to_wire_fields() == {"numItems": 1, "cursor": None}
    check = compile_validator(from_annotation(PaginationOptions, where="test"), lambda table: None)
    for accepted in ({"numItems": 3, "cursor": None, "id": 1}, {"numItems": 3, "cursor": "x", "endCursor": None, "maximumBytesRead": 5}):
        assert check(accepted) == accepted


def test_a_page_travels_with_the_names_of_the_clients() -> None:
    one: Page[int] = Page([1, 2], False, "c", "s", "SplitRecommended")
    fields = one.to_wire_fields()
    assert fields == {"page": [1, 2], "isDone": False, "continueCursor": "c", "splitCursor": "s", "pageStatus": "SplitRecommended"}
    assert Page.from_arguments(fields) == one
    assert Page.from_arguments(one) is one
    assert one.map(str) == Page(["1", "2"], False, "c", "s", "SplitRecommended")
    for annotation in (Page, Page[int]):
        check = compile_validator(from_annotation(annotation, where="test"), lambda table: None)
        assert check(fields) == fields
        assert check(Page([], True, "c").to_wire_fields()) == Page([], True, "c").to_wire_fields()
