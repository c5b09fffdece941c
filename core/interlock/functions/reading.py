"""Reading: what a query names, as an interval of index keys; what can be wrong with it; scans that are read page by page.

Start at `find_index` and `interval_of`. Knows transactions, and nothing of calls.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from interlock.engine import Index, Interval, Transaction, TransactionCursor
from interlock.errors import InvalidCursor, LimitExceeded, QueryError
from interlock.functions.sealing import Seal
from interlock.limits import LIMITS
from interlock.sdk.host import Bounds, Document, Scan
from interlock.values import after_values, encode_key

_new: Any = tuple.__new__
_END, _AFTER = b"E", b"A"
_PRINT_BYTES, _FIELDS_BYTES = 12, 4
_VALUE_BYTES = int(LIMITS["document_bytes"].value)
_NAME_SHOWN = 200


def find_index(tx: Transaction, component_path: str, scan: Scan) -> Index | None:
    """The index that a scan names, or None when the table is not there: it reads as empty, and the transaction depends on that."""
    name = scan.table
    if name[:1] == "_":
        raise QueryError(name, "tables whose names begin with _ are the system's, and not read through ctx.db.")
    table = tx.table(component_path, name)
    if table is None:
        return None
    index = table.indexes.get(scan.index)
    if index is None:
        if scan.index in table.staged:
            raise QueryError(
                name,
                f'IndexStaged: the index "{scan.index}" is being filled in the background, and cannot be read yet. '
                "Declare it without staged=True and deploy again: that waits for what is left to fill.",
            )
        raise _no_such_index(name, scan.index, list(table.indexes))
    return index


def _no_such_index(table: str, index: str, there: Sequence[str]) -> QueryError:
    close = _close(index, there)
    guess = f'Did you mean "{close[0]}"?' if close else f"There are {', '.join(sorted(there))}."
    return QueryError(table, f'IndexNotFound: there is no index "{index[:_NAME_SHOWN]}". {guess}')


def _close(name: str, known: Sequence[str]) -> list[str]:
    """The one that may be meant. Of a name that none can have it is not asked, which would take long."""
    return difflib.get_close_matches(name, known, 1) if len(name) <= _NAME_SHOWN else []


def interval_of(index: Index | None, scan: Scan) -> Interval:
    """The keys that a scan covers. Without an index, of a table that is not there, its fields are taken as they come."""
    equal, bounds = scan[2], scan[3]
    if bounds is None and index is not None and (prefix := _leading(index, equal)) is not None:  # mostly
        whole: Interval = _new(Interval, (prefix, after_values(prefix)))  # as `Interval(…)`, which is a function in Python
        return whole
    if index is None:
        fields = (*(field for field, _ in equal), *((bounds.field,) if bounds is not None else ()))
    else:
        fields = index.fields if index.is_by_id else (*index.fields, "_creationTime", "_id")
        if len(equal) > len(fields) or any([pair[0] != field for pair, field in zip(equal, fields, strict=False)]):
            equal = _in_order(scan, index.name, fields)
    prefix = b"".join([_key(value) for _, value in equal])
    if bounds is None:
        return Interval(prefix, after_values(prefix))
    if len(equal) == len(fields) or bounds.field != fields[len(equal)]:
        raise _not_next(scan, index.name if index is not None else scan.index, fields, bounds)
    start, end = prefix, after_values(prefix)
    if bounds.lower is not None:
        start = prefix + _key(bounds.lower[0])
        if not bounds.lower_inclusive:
            start = _after(start)
    if bounds.upper is not None:
        end = prefix + _key(bounds.upper[0])
        if bounds.upper_inclusive:
            end = _after(end)
    return Interval(start, end)


def _leading(index: Index, equal: tuple[tuple[str, Any], ...]) -> bytes | None:
    """The key of equalities on the first declared fields, in their order; None where they are others."""
    fields = index.fields
    if len(equal) > len(fields):
        return None
    prefix = b""
    for at, (field, value) in enumerate(equal):
        if field != fields[at]:
            return None
        prefix += _key(value)
    return prefix


def _key(value: Any) -> bytes:
    kind = type(value)
    if kind is list or kind is dict or kind is tuple or ((kind is str or kind is bytes) and len(value) > _VALUE_BYTES):
        _check_size(value)
    return encode_key(value)


def _check_size(value: Any) -> None:
    """Refuse what no document can hold, as soon as that is known: a key is made and kept of it, which takes longer than to look."""
    size, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        kind = type(one)
        if kind is str or kind is bytes:
            size += 2 + len(one)
        elif kind is list or kind is tuple:
            size += 2
            waiting.extend(one)
        elif kind is dict:
            size += 2 + sum([len(name) + 1 for name in one if type(name) is str])
            waiting.extend(one.values())
        else:
            size += 9
        if size + len(waiting) > _VALUE_BYTES:
            raise LimitExceeded("document_bytes", size + len(waiting), _VALUE_BYTES)


def _after(key: bytes) -> bytes:
    after = after_values(key)
    assert after is not None, "no value has an empty key"
    return after


def _in_order(scan: Scan, index: str, fields: Sequence[str]) -> tuple[tuple[str, Any], ...]:
    """The equalities in the order of the index, whatever order they were written in."""
    given = dict(scan.equal)
    if len(given) < len(scan.equal):
        raise QueryError(scan.table, f'AlreadyDefinedBound: "{_twice(scan)[:_NAME_SHOWN]}" is given twice.')
    for field in given:
        if field not in fields:
            raise _not_in_index(scan.table, index, field, fields)
    for at, field in enumerate(fields[: len(given)]):
        if field not in given:
            late = next(name for name in fields[at:] if name in given)
            raise QueryError(
                scan.table,
                f'InvalidIndexRange: "{late}" is given and "{field}" is not, but the index "{index}" has it first '
                f"({', '.join(fields)}). Equalities are on its first fields, without a gap.",
            )
    return tuple((field, given[field]) for field in fields[: len(given)])


def _twice(scan: Scan) -> str:
    """The first field that is given again."""
    met: set[str] = set()
    for field, _ in scan.equal:
        if field in met:
            return field
        met.add(field)
    raise AssertionError("one is")


def _not_in_index(table: str, index: str, field: str, fields: Sequence[str]) -> QueryError:
    close = _close(field, fields)
    guess = f' Did you mean "{close[0]}"?' if close else ""
    return QueryError(
        table, f'FieldNotInIndex: the index "{index}" has the fields {", ".join(fields)}, and no "{field[:_NAME_SHOWN]}".{guess}'
    )


def _not_next(scan: Scan, index: str, fields: Sequence[str], bounds: Bounds) -> QueryError:
    if bounds.field not in fields:
        return _not_in_index(scan.table, index, bounds.field, fields)
    if bounds.field in dict(scan.equal):
        return QueryError(scan.table, f'AlreadyDefinedBound: "{bounds.field}" has an equality and a range.')
    missing = ", ".join(f'"{field}"' for field in fields[len(scan.equal) : fields.index(bounds.field)])
    return QueryError(
        scan.table, f'InvalidIndexRange: a range on "{bounds.field}" needs an equality on {missing} before it in the index "{index}".'
    )


class Pages:
    """Page cursors of one scan: texts that name a place in it. Those of another scan, or of none, are InvalidCursor."""

    __slots__ = ("_component_path", "_index", "_scan", "_seal", "interval")

    def __init__(self, seal: Seal, component_path: str, scan: Scan, index: Index | None, interval: Interval) -> None:
        self._seal, self._component_path, self._scan, self._index, self.interval = seal, component_path, scan, index, interval

    @property
    def _print(self) -> bytes:
        """What tells scans apart. By names, not numbers: the end of a table that is not there yet is still the end when it is."""
        scan = self._scan
        facts = repr((self._component_path, scan.table, scan.index, scan.descending, tuple(self.interval)))
        return hashlib.sha256(facts.encode()).digest()[:_PRINT_BYTES]

    @property
    def _fields(self) -> bytes:
        """What tells an index from one of its name with other fields, whose keys mean other places."""
        return hashlib.sha256(repr(self._index.fields if self._index is not None else None).encode()).digest()[:_FIELDS_BYTES]

    def end(self) -> str:
        """The place behind everything that the scan covers, now or later."""
        return self._seal.close(self._print + _END)

    def after(self, key: bytes) -> str:
        """The place right behind a row."""
        return self._seal.close(self._print + _AFTER + self._fields + key)

    def read(self, text: str) -> bytes | None:
        """The key of the row that a cursor is right behind; None for the end."""
        contents = self._seal.open(text) if isinstance(text, str) else None
        if contents is None:
            raise InvalidCursor(self._scan.table, "this is no page cursor of this backend. Start from the first page, with cursor None.")
        place = contents[_PRINT_BYTES:]
        start, end = self.interval
        if contents[:_PRINT_BYTES] == self._print:
            if place == _END:
                return None
            key = place[1 + _FIELDS_BYTES :]
            if place[: 1 + _FIELDS_BYTES] == _AFTER + self._fields and start <= key and (end is None or key < end):
                return key
        raise InvalidCursor(
            self._scan.table,
            "the page cursor belongs to another query: another index, range or order. Start from the first page, with cursor None.",
        )

    def between(self, after: str | None, until: str | None, descending: bool) -> Interval | None:
        """The keys behind `after` up to and including `until`, in the order of the scan; None when that is surely nothing."""
        start, end = self.interval
        first = last = None
        if after is not None and (first := self.read(after)) is None:
            return None
        if until is not None:
            last = self.read(until)
        if descending:
            end = first if first is not None else end
            start = last if last is not None else start
        else:
            start = first + b"\x00" if first is not None else start
            end = last + b"\x00" if last is not None else end
        return Interval(start, end)


class ScanCursor:
    """An open scan, as the sdk reads it: what is fetched counts once it is consumed, and a read limit ends it early.

    `serve` runs the one operation that may wait, `fetch`, in the turn of the call that opened the scan.
    """

    __slots__ = ("_after", "_cursor", "_given", "_keys", "_pages", "_serve", "_tx", "_until", "open_ended", "stopped")

    def __init__(
        self,
        tx: Transaction,
        cursor: TransactionCursor | None,
        pages: Pages,
        after: str | None,
        until: str | None,
        serve: Callable[[Callable[[], Awaitable[list[Document]]]], Awaitable[list[Document]]],
    ) -> None:
        self._tx, self._cursor, self._pages, self._serve = tx, cursor, pages, serve
        self._after = after
        self._until = until
        self._keys: list[bytes] = []
        self._given = 0  # consumed
        self.stopped = False
        self.open_ended = until is None or pages.read(until) is None

    async def fetch(self, count: int) -> list[Document]:
        return await self._serve(lambda: self._fetch(count))

    async def _fetch(self, count: int) -> list[Document]:
        cursor = self._cursor
        if cursor is None:
            return []
        used, maximum = self._tx.budget.used, self._tx.budget.maximum
        room = max(0, maximum.documents_read - used.documents_read - (len(self._keys) - self._given))
        rows: list[tuple[bytes, Document]] = []
        fitting = 0
        if not self.stopped:
            rows = await cursor.fetch(min(count, room + 1))  # one more than may be read: if it is there, the limit is met
            fitting = min(room, self._fitting(cursor, len(rows), maximum.bytes_read - used.bytes_read))
        if self.stopped or (rows and not fitting):
            # Never an empty answer at a limit: it would look like the end of the rows.
            cursor.depend_on_next()
            name = "bytes_read" if room else "documents_read"
            raise LimitExceeded(name, getattr(maximum, name) + 1, getattr(maximum, name))
        self.stopped = fitting < len(rows)
        self._keys.extend([key for key, _ in rows[:fitting]])
        return [document for _, document in rows[:fitting]]

    def _fitting(self, cursor: TransactionCursor, count: int, room: int) -> int:
        """How many of the last `count` fetched rows may be read before the limit on bytes."""
        fetched = cursor._fetched
        first = len(fetched) - count
        room -= sum([size for _, size in fetched[self._given : first]])
        for at in range(first, len(fetched)):
            room -= fetched[at][1]
            if room < 0:
                return at - first
        return count

    def consume(self, count: int) -> None:
        taken = min(count, len(self._keys) - self._given)
        self._given += taken
        if self._cursor is not None:
            self._cursor.consume(taken)

    @property
    def exhausted(self) -> bool:
        return self._cursor is None or (self._cursor.exhausted and not self.stopped)

    def mark(self, back: int = 0) -> str:
        at = self._given - 1 - back
        if not back and self.exhausted and self._given == len(self._keys):
            return self._pages.end() if self._until is None else self._until
        if at < 0 and self._after is not None:
            return self._after
        assert at >= 0, "a place to mark is asked for only when a row was consumed, or none is left"
        return self._pages.after(self._keys[at])
