"""Reading a table: `ctx.db.query(table)` and what may be said about it, up to the operation that reads.

A query is a value: every step gives a new one, and one query may be read several times. Without a filter a read is
one request to the host. With one, and in `async for`, rows are fetched in growing chunks, and only those that were
looked at count as read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, SupportsIndex, overload

from interlock.errors import LimitExceeded, QueryError
from interlock.limits import LIMITS
from interlock.sdk.host import Bounds, Cursor, Document, Host, Scan
from interlock.sdk.pagination import Page, PageStatus, PaginationOptions
from interlock.sdk.ranges import OPEN, Range
from interlock.values import size_of

if TYPE_CHECKING:
    from interlock.sdk.contexts import DatabaseReader

Predicate = Callable[[Document], Any]

_CHUNK_FIRST = 16
_CHUNK_LAST = 512
_new: Final[Any] = tuple.__new__
_SPLIT_ITEMS = 6144
_SPLIT_SHARE = 0.75


class Query:
    """A read of one table that is still being described."""

    __slots__ = ("_bounds", "_db", "_descending", "_equal", "_filters", "_index", "_table")

    def __init__(
        self,
        db: DatabaseReader,
        table: str,
        index: str = "by_creation_time",
        equal: tuple[tuple[str, Any], ...] = (),
        bounds: Bounds | None = None,
        descending: bool | None = None,
        filters: tuple[Predicate, ...] = (),
    ) -> None:
        self._db = db
        self._table = table
        self._index = index
        self._equal = equal
        self._bounds = bounds
        self._descending = descending
        self._filters = filters

    @overload
    def index(self, name: str, /, **values: Any) -> Query: ...

    @overload
    def index(self, name: str, fields: Mapping[str, Any] | None, /, **values: Any) -> Query: ...

    def index(self, *args: Any, **values: Any) -> Query:  # type: ignore[misc]  # it does: `name` and `fields` are positional
        """Read by an index: equality on the first of its fields, then at most one `Range`.

        Fields are keywords, or keys of a dict where their names are no keywords (`{"state.kind": "done"}`).
        """
        # Not with names in front: compiled, a field of such a name would be taken for them.
        if not 1 <= len(args) <= 2:
            raise TypeError(f"index() takes the name of an index and perhaps a dict of fields, not {len(args)} arguments")
        name = args[0]
        fields: Any = args[1] if len(args) == 2 else None
        if self._index != "by_creation_time" or self._equal or self._bounds:
            raise QueryError(self._table, f"it reads by {self._index} already; a query has one index")
        if not isinstance(name, str):
            raise QueryError(self._table, f"an index is named by a string, not by {type(name).__name__}")
        if fields is not None and (not isinstance(fields, Mapping) or not all(isinstance(field, str) for field in fields)):
            raise QueryError(self._table, f'the fields of an index are keywords, or a dict like {{"state.kind": "done"}}, not {fields!r}')
        given = values if fields is None else {**fields, **values}
        if fields is not None and len(given) < len(fields) + len(values):
            raise QueryError(self._table, f"{', '.join(sorted(fields.keys() & values.keys()))} is given twice")
        bounds: Bounds | None = None
        equal = []
        for field, value in given.items():
            if type(value) is not Range:
                equal.append((field, value))
            elif bounds is not None:
                raise QueryError(self._table, f"ranges on {bounds.field} and {field}; only the last field may have one")
            else:
                bounds = _bounds(self._table, field, value)
        return Query(self._db, self._table, name, tuple(equal), bounds, self._descending, self._filters)

    @overload
    def order(self, direction: Literal["asc"], /) -> Query: ...

    @overload
    def order(self, direction: Literal["desc"], /) -> Query: ...

    def order(self, direction: Any, /) -> Query:
        """The order of the rows, by the index that is read; "asc" unless said."""
        if self._descending is not None:
            raise QueryError(self._table, "it has an order already; order is said once")
        if direction not in ("asc", "desc"):
            raise QueryError(self._table, f'the order is "asc" or "desc", not {direction!r}')
        return Query(self._db, self._table, self._index, self._equal, self._bounds, direction == "desc", self._filters)

    def filter(self, predicate: Predicate, /) -> Query:
        """Keep the rows for which `predicate(row)` is true; it may be async. Rows that are dropped count as read."""
        if not callable(predicate):
            raise QueryError(self._table, f"a filter is a function of the row, not {predicate!r}")
        return Query(self._db, self._table, self._index, self._equal, self._bounds, self._descending, (*self._filters, predicate))

    def first(self) -> Awaitable[Document | None]:
        """The first row, or None."""
        scan = self._scan()
        return self._first(scan) if self._filters else self._db._host.first(scan)

    def unique(self) -> Awaitable[Document | None]:
        """The only row, or None. Two rows raise QueryError."""
        return self._unique(self._scan())

    def take(self, count: SupportsIndex, /) -> Awaitable[list[Document]]:
        """The first `count` rows."""
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise QueryError(self._table, f"take needs a whole number, 0 or more, not {count!r}")
        scan = self._scan()
        return self._matching(scan, count) if self._filters else self._db._host.scan(scan, count)

    def collect(self) -> Awaitable[list[Document]]:
        """All rows."""
        scan = self._scan()
        return self._matching(scan, None) if self._filters else self._db._host.scan(scan, None)

    def count(self) -> Awaitable[int]:
        """How many rows there are."""
        scan = self._scan()
        return self._count(scan) if self._filters else self._db._host.count(scan)

    def paginate(self, options: PaginationOptions | Mapping[str, Any], /) -> Awaitable[Page[Document]]:
        """One page. In a live query it keeps its end while rows come and go, so pages loaded one by one never overlap or leave a gap."""
        wanted = PaginationOptions.from_arguments(options)
        wanted.check(self._table)
        scan = self._scan()
        # Numbered here, not in the coroutine: the order of the calls is the same in every run, that of their first steps need not be.
        ordinal = self._db._pages
        self._db._pages += 1
        return self._page(scan, wanted, ordinal)

    def __aiter__(self) -> AsyncIterator[Document]:
        """Row by row. Rows after the one that the loop ended at are not read."""
        return _Rows(self._db._host, self._scan(), self._filters)

    def _scan(self) -> Scan:
        # As `Scan(…)` does, without the function that it is in Python: it is made for every read.
        scan: Scan = _new(Scan, (self._table, self._index, self._equal, self._bounds, self._descending is True))
        return scan

    async def _first(self, scan: Scan) -> Document | None:
        rows = await self._matching(scan, 1)
        return rows[0] if rows else None

    async def _unique(self, scan: Scan) -> Document | None:
        rows = await (self._matching(scan, 2) if self._filters else self._db._host.scan(scan, 2))
        if len(rows) > 1:
            raise QueryError(scan.table, f"unique() found more than one document: {rows[0]['_id']} and {rows[1]['_id']}")
        return rows[0] if rows else None

    async def _matching(self, scan: Scan, count: int | None) -> list[Document]:
        found: list[Document] = []
        if count == 0:
            return found
        async for row in _Rows(self._db._host, scan, self._filters):
            found.append(row)
            if len(found) == count:
                break
        return found

    async def _count(self, scan: Scan) -> int:
        found = 0
        async for _ in _Rows(self._db._host, scan, self._filters):
            found += 1
        return found

    async def _page(self, scan: Scan, wanted: PaginationOptions, ordinal: int) -> Page[Document]:
        host = self._db._host
        until = wanted.end_cursor if wanted.end_cursor is not None else host.page_end(ordinal)
        before = host.metrics().used.get("bytes_read", 0.0)
        cursor = await host.open(scan, wanted.cursor, until)
        if until is None:
            reading = await self._new_page(cursor, wanted)
        else:
            reading = await self._known_page(cursor)
        done = cursor.exhausted and reading.unseen == 0
        if until is not None:
            end, done = until, cursor.open_ended
        else:
            end = cursor.mark()
        host.set_page_end(ordinal, end)
        scanned = reading.scanned
        status: PageStatus | None = None
        if reading.cut_short:
            status = "SplitRequired"
        elif (
            len(reading.items) > _SPLIT_ITEMS
            or scanned > _SPLIT_SHARE * min(LIMITS["documents_read"].value, wanted.maximum_rows_read or _FAR)
            or host.metrics().used.get("bytes_read", 0.0) - before
            > _SPLIT_SHARE * min(LIMITS["bytes_read"].value, wanted.maximum_bytes_read or _FAR)
        ):
            status = "SplitRecommended"
        split = cursor.mark(scanned - scanned // 2) if scanned > 2 else None
        return Page(reading.items, done, end, split, status)

    async def _new_page(self, cursor: Cursor, wanted: PaginationOptions) -> _Reading:
        """Up to `num_items` matching rows; a page that fills ends right after its last row."""
        reading = _Reading()
        rows_left, bytes_left = wanted.maximum_rows_read, wanted.maximum_bytes_read
        chunk = wanted.num_items
        while True:
            asked = chunk if rows_left is None else min(chunk, rows_left - reading.scanned)
            try:
                rows = await cursor.fetch(asked)
            except LimitExceeded:
                if not reading.scanned:
                    raise  # there is no room for a single row: an empty page would never end
                reading.cut_short = True
                return reading
            if not rows:
                cursor.consume(0)
            elif not self._filters and bytes_left is None:
                # Nothing is asked of the rows one by one, so they count together.
                taken = min(len(rows), wanted.num_items - len(reading.items))
                cursor.consume(taken)
                reading.scanned += taken
                reading.items += rows[:taken]
                full = len(reading.items) == wanted.num_items
                if full or reading.scanned == rows_left:
                    reading.unseen = len(rows) - taken
                    reading.cut_short = not full and not (cursor.exhausted and reading.unseen == 0)
                    return reading
            else:
                for position, row in enumerate(rows, 1):
                    cursor.consume(1)
                    reading.scanned += 1
                    if await _matches(row, self._filters):
                        reading.items.append(row)
                    if bytes_left is not None:
                        bytes_left -= size_of(row)
                    full = len(reading.items) == wanted.num_items
                    spent = reading.scanned == rows_left or (bytes_left is not None and bytes_left <= 0)
                    if full or spent:
                        reading.unseen = len(rows) - position
                        reading.cut_short = not full and not (cursor.exhausted and reading.unseen == 0)
                        return reading
            if cursor.exhausted:
                return reading
            if cursor.stopped:
                reading.cut_short = True
                return reading
            chunk = min(max(chunk, _CHUNK_FIRST) * 2, _CHUNK_LAST)

    async def _known_page(self, cursor: Cursor) -> _Reading:
        """All matching rows of a page whose end is known; the limits of its first run do not end it."""
        reading = _Reading()
        chunk = _CHUNK_FIRST
        while True:
            rows = await cursor.fetch(chunk)
            cursor.consume(len(rows))
            reading.scanned += len(rows)
            if self._filters:
                reading.items += [row for row in rows if await _matches(row, self._filters)]
            else:
                reading.items += rows
            if cursor.exhausted:
                return reading
            chunk = min(chunk * 2, _CHUNK_LAST)


_FAR = float("inf")


class _Reading:
    """What was read for one page: matching rows, rows looked at, rows fetched and not looked at, whether a limit ended it."""

    __slots__ = ("cut_short", "items", "scanned", "unseen")

    def __init__(self) -> None:
        self.items: list[Document] = []
        self.scanned = 0
        self.unseen = 0
        self.cut_short = False


class _Rows:
    """Matching rows one by one. A class and no generator: one that a loop leaves early would have to be closed by a task."""

    __slots__ = ("_chunk", "_cursor", "_fetched", "_filters", "_host", "_position", "_scan")

    def __init__(self, host: Host, scan: Scan, filters: tuple[Predicate, ...]) -> None:
        self._host, self._scan, self._filters = host, scan, filters
        self._cursor: Cursor | None = None
        self._fetched: list[Document] = []
        self._position = 0
        self._chunk = _CHUNK_FIRST

    def __aiter__(self) -> _Rows:
        return self

    async def __anext__(self) -> Document:
        cursor = self._cursor
        if cursor is None:
            cursor = self._cursor = await self._host.open(self._scan, None, None)
        while True:
            if self._position == len(self._fetched):
                if self._fetched and cursor.exhausted:
                    raise StopAsyncIteration
                self._fetched, self._position = await cursor.fetch(self._chunk), 0
                self._chunk = min(self._chunk * 2, _CHUNK_LAST)
                if not self._fetched:
                    cursor.consume(0)
                    raise StopAsyncIteration
            row = self._fetched[self._position]
            self._position += 1
            cursor.consume(1)
            if not self._filters or await _matches(row, self._filters):
                return row


async def _matches(row: Document, filters: tuple[Predicate, ...]) -> bool:
    for predicate in filters:
        kept = predicate(row)
        if kept is not True and kept is not False and hasattr(kept, "__await__"):
            kept = await kept
        if not kept:
            return False
    return True


def _bounds(table: str, field: str, given: Range) -> Bounds:
    if given.gt is not OPEN and given.gte is not OPEN:
        raise QueryError(table, f"the range on {field} has both gt and gte; give one of them")
    if given.lt is not OPEN and given.lte is not OPEN:
        raise QueryError(table, f"the range on {field} has both lt and lte; give one of them")
    lower = given.gt if given.gt is not OPEN else given.gte
    upper = given.lt if given.lt is not OPEN else given.lte
    return Bounds(
        field=field,
        lower=None if lower is OPEN else (lower,),
        lower_inclusive=given.gt is OPEN,
        upper=None if upper is OPEN else (upper,),
        upper_inclusive=given.lte is not OPEN,
    )
