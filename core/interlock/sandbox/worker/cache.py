"""What a worker has read before, so that a mutation need not wait for the host to read it again.

Nothing here has to be right. A function that runs on it keeps a log of what it read and wrote, and the host does all of that
itself before the call counts: at its own snapshot, with its own read set, comparing what it finds with what the function was
shown. If they differ, the call is undone and runs again without the cache. So a row that another writer has changed, a phantom,
a layer that was dropped or a write that never committed cost a second run, and nothing else.

Start at `Cache.scanned` and `Cache.row`. What a function was shown is told by the number of a version, or by a digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

import orjson

from interlock.errors import InterlockError
from interlock.sandbox.digests import digest
from interlock.sandbox.frames import SCAN_KEY_MAX
from interlock.sandbox.long_values import length_of
from interlock.sandbox.worker.row import Row, row_of, size_if_flat
from interlock.sdk.host import Bounds, Scan
from interlock.sdk.schema import Schema
from interlock.sdk.validator import compile_loosely
from interlock.values import COMMIT_TS_TOKEN, UNSET, CommitTimestamp, Mismatch, encode_id, new_internal, pack, table_of, unpack
from interlock.values.types import LARGEST_INT

_SCANS_MAX = 5_000
_DOCUMENTS_MAX = 20_000
_DOCUMENT_BYTES = 64 * 1024
_BYTES_MAX = 48 * 1024 * 1024
_RECENT_MAX = 1_000
_MADE_MAX = 1_000
SCAN_ROWS_MAX = 64
_fragment, _as_text = orjson.Fragment, orjson.dumps
_KEPT: dict[str, frozenset[Any]] = {
    "string": frozenset({str}),
    "id": frozenset({str}),
    "boolean": frozenset({bool}),
    "null": frozenset({type(None)}),
    "number": frozenset({float}),
}


class Cache:
    """Rows by id, and ids by scan. Tables without a trigger can be patched here.

    `changes` counts the patches: whoever asks the host notes it, and an answer does not take the place of what was patched since.
    """

    def __init__(self, schema: Schema | None, triggered: set[str]) -> None:
        self.changes = self.doubts = 0
        self._doubted = 0  # calls up to this one began before the last doubt
        # Documents that were patched last, and may never be committed as they are, with the number of the patch; and, by call, how
        # many patches there were before its first.
        self._recent = _Notes()
        self._patches_before = _Notes()
        self._scans: dict[Any, Scanned] = {}
        # The scans of a table, by the first field that they are narrowed to (None: to none) and its packed value.
        self._by_field: dict[str, dict[str | None, dict[bytes, set[Any]]]] = {}
        self._documents: dict[str, tuple[str, Row, int]] = {}  # table, what it is, when it was patched last
        self._bytes = 0  # of all of them
        self._made: dict[str, tuple[str, bytes]] = {}  # documents that calls have added, without the system's fields, and their tables
        self._versions = self._forgotten = 0  # the newest number that was given to one; the newest that the host no longer knows
        self._names: dict[int, str] = {}  # of tables, as far as they were met, by the number that their ids have
        self._tables: dict[str, _Table] = {}
        for name, table in schema.declarations().items() if schema is not None and schema.strict else ():
            if name not in triggered:
                indexed = {field.partition(".")[0] for fields in table.indexes.values() for field in fields}
                self._tables[name] = _Table(table.validator, indexed)

    def row(self, id: str) -> Row | None:
        """A document that was read before."""
        known = self._documents.get(id)
        return None if known is None else known[1]

    def scanned(self, key: Any) -> Scanned | None:
        """A scan that was made before, if all that it found is still known."""
        known = self._scans.get(key)
        if known is None:
            return None
        documents, rows = self._documents, known.rows
        for place, id in enumerate(known.ids):
            document = documents.get(id)
            if document is None:
                return None
            row = document[1]
            if row is not rows[place]:
                rows[place] = row
                known.step = None
        return known

    def next_version(self) -> int:
        """A number for a version that the host is told of, or tells of."""
        self._versions += 1
        return self._versions

    def forget_versions(self) -> None:
        """The host knows none any more by its number."""
        self._forgotten = self._versions
        for _, row, _ in self._documents.values():
            row.forget_version()
        for known in self._scans.values():
            known.step = None

    def keep_document(self, table: str, id: str, document: dict[str, Any], since: int, version: int = 0) -> Row:
        """What the host has answered to a question that was asked when there had been so many `changes`."""
        row = row_of(document)
        if version > self._forgotten:
            row.version = version
        if table in self._tables and row.size <= _DOCUMENT_BYTES:
            self._make_room()
            self._keep(table, id, row, since)
        return row

    def keep_scan(self, key: Any, scan: Scan, count: int, rows: Mapping[str, Row], since: int) -> None:
        """The same, the rows in their order."""
        table = scan.table
        if table not in self._tables:
            return
        text = pack([as_sent(scan), count])
        if len(text) > SCAN_KEY_MAX:
            return
        self._make_room()
        for id, row in rows.items():
            self._keep(table, id, row, since)
        self._scans[key] = Scanned(list(rows), list(rows.values()), b'["scan",%b,' % _as_text(text.decode()))
        field, value = scan.equal[0] if scan.equal else (None, None)
        self._by_field.setdefault(table, {}).setdefault(field, {}).setdefault(pack(value), set()).add(key)

    def _keep(self, table: str, id: str, row: Row, since: int) -> None:
        known = self._documents.get(id)
        if known is None and self._tables[table].number is None:
            self.learn(table, id)
        if known is None:
            self._documents[id] = (table, row, 0)
            self._bytes += row.size
        elif known[2] <= since and known[1].packed != row.packed:
            self._documents[id] = (table, row, known[2])
            self._bytes += row.size - known[1].size

    def _drop(self, id: str) -> str | None:
        """Forget a document, if it is known: gives the name of its table."""
        known = self._documents.pop(id, None)
        if known is None:
            return None
        self._bytes -= known[1].size
        return known[0]

    def learn(self, table: str, id: str) -> None:
        """This is an id of the table."""
        number = table_of(id)
        if number is not None:
            self._names[number] = table
            known = self._tables.get(table)
            if known is not None:
                known.number = number

    def number_of(self, table: str) -> int | None:
        """The number that the ids of a declared table have, once one was met."""
        known = self._tables.get(table)
        return None if known is None else known.number

    def _make_room(self) -> None:
        if len(self._scans) >= _SCANS_MAX or len(self._documents) >= _DOCUMENTS_MAX or self._bytes >= _BYTES_MAX:
            self.clear()

    def clear(self) -> None:
        """Forget everything: it was wrong somewhere, and what was built on that is wrong as well."""
        self._scans.clear()
        self._by_field.clear()
        self._documents.clear()
        self._bytes = 0

    def _table_of(self, id: str) -> _Table | None:
        known = self._documents.get(id)
        name = known[0] if known is not None else self._names.get(table_of(id) or 0)
        return None if name is None else self._tables.get(name)

    def triggers_nothing(self, id: str) -> bool:
        """Whether it is known that to write this document calls no trigger."""
        return self._table_of(id) is not None

    def patched(self, id: str, row: Row, fields: dict[Any, Any]) -> Row | None:
        """What a document becomes by a patch, if that is sure to be the host's outcome too."""
        table = self._table_of(id)
        if table is None:
            return None
        new = row.fresh()
        try:
            if row.fits:
                if table.change(new, fields):
                    size = size_if_flat(new)
                    return Row(pack(new), None, True) if size < 0 else Row(None, new, True, size)
                new = row.fresh()
            for field, value in fields.items():
                if type(field) is not str or field[:1] == "_" or type(value) is CommitTimestamp:
                    return None
            made_as, made_at = new.pop("_id"), new.pop("_creationTime")
            for field, value in fields.items():
                if value is UNSET:
                    new.pop(field, None)
                else:
                    new[field] = value
            new = table.check(new)
            new["_id"], new["_creationTime"] = made_as, made_at
            size = size_if_flat(new)
            return Row(pack(new), None, True) if size < 0 else Row(None, dict(sorted(new.items())), True, size)
        except (Mismatch, TypeError, ValueError, RecursionError):
            return None  # the host says what is wrong with it

    def inserted(self, table: str, document: Mapping[str, Any], chance: Random, ms: int) -> tuple[str, dict[str, Any]] | None:
        """An id for a new document of a table of which some are known, and what is sure to be stored, but for the system's fields."""
        known = self._tables.get(table)
        if known is None or known.number is None or any([type(name) is not str or name[:1] == "_" for name in document]):
            return None
        try:
            new = known.check({name: value for name, value in document.items() if value is not UNSET})
        except (Mismatch, TypeError, ValueError, RecursionError):
            return None
        return encode_id(known.number, new_internal(chance, ms)), new

    def note_made(self, table: str, id: str, new: dict[str, Any] | None) -> None:
        """A call adds this document, of which the host has yet to say when it was made. None: one that is not to be remembered."""
        self._made.pop(id, None)  # of a run before this one, which did not count
        if new is not None:
            if len(self._made) >= _MADE_MAX:
                self._made.clear()
            packed = pack(new)
            if COMMIT_TS_TOKEN not in packed:  # what it will be only its commit tells
                self._made[id] = (table, packed)

    def keep_made(self, told: list[list[Any]]) -> None:
        """Documents that calls have added are stored: ids, and when they were made."""
        for id, made_at in told:
            noted = self._made.pop(id, None)
            if noted is not None and id not in self._documents:
                table, packed = noted
                document = unpack(packed)
                document["_id"], document["_creationTime"] = id, made_at
                self._make_room()
                self._keep(table, id, Row(pack(document), None, True), self.changes)

    def put(self, number: int, own: Mapping[str, tuple[Row, Row, Iterable[str]]]) -> None:
        """The call of this number has patched these: before, after, fields. Where another has patched one meanwhile, one of the two will
        be run again.
        """
        changes = self.changes
        if self._patches_before.get(number) is None:
            self._patches_before.put(number, changes)
        for id, (before, after, fields) in own.items():
            known = self._documents.get(id)
            if known is None or (known[1] is not before and known[1].packed != before.packed):
                continue
            table = known[0]
            if after.version <= self._forgotten:
                after.forget_version()
            changes += 1
            self._documents[id] = (table, after, changes)
            self._bytes += after.size - before.size
            self._recent.put(id, changes)
            if not self._tables[table].indexed.isdisjoint(fields):
                self.forget_scans(table)
        self.changes = changes

    def moves(self, table: str, own: Mapping[str, tuple[Row, Row, Iterable[str]]]) -> bool:
        """Whether patches that are not remembered yet change what a scan of the table finds."""
        known = self._tables.get(table)
        return known is not None and any([not known.indexed.isdisjoint(fields) for _, _, fields in own.values()])

    def forget(self, id: Any) -> None:
        """Somebody else writes this document."""
        if type(id) is str:
            self._made.pop(id, None)
            table = self._drop(id)
            if table is not None:
                self.forget_scans(table)

    def correct(self, mistakes: list[Any], mistaken: int, number: int) -> None:
        """The call `mistaken` was, and runs again as call `number`: steps, each with what is right, a table and a document of it.

        What it patched is not so, and what was patched since may rest on that, as do the calls that ran since. They run again
        after this one, in their order: what they find now is not taken from them.
        """
        is_first = mistaken > self._doubted
        if is_first:
            self._doubted = number - 1
            self.doubts += 1
            before = self._patches_before.get(mistaken)
            for id in self._recent.take_above(self.changes if before is None else before):
                self._drop(id)
        for step, right in mistakes:
            if right is None:
                self.forget_step(step)
            elif step[0] == "scan":
                table, rows = right
                if is_first or any([row["_id"] not in self._documents for row in rows]):
                    scan, count = a_told_scan(step[1])
                    self.keep_scan(key_of(scan, count), scan, count, {row["_id"]: row_of(row) for row in rows}, self.changes)
            elif is_first or step[1] not in self._documents:
                table, document = right
                if table in self._tables:
                    self._drop(step[1])
                    row = row_of(document)
                    self._documents[step[1]] = (table, row, self.changes)
                    self._bytes += row.size

    def forget_step(self, step: list[Any]) -> None:
        """A call was mistaken when it did this: what it went by is asked for anew. Anything else that is wrong comes out the same way."""
        if step[0] == "scan":
            known = self._scans.pop(key_of(*a_told_scan(step[1])), None)
            for id in known.ids if known is not None else ():
                self._drop(id)
        else:
            self._drop(step[1])

    def forget_scans(self, table: str) -> None:
        """Any scan of the table may find something else from now on."""
        for by_value in self._by_field.pop(table, {}).values():
            for keys in by_value.values():
                for key in keys:
                    self._scans.pop(key, None)

    def forget_scans_of(self, table: str, document: Mapping[str, Any]) -> None:
        """The scans that would find a document which is new."""
        for field, by_value in self._by_field.get(table, {}).items():
            values = list(by_value)
            if field is not None and "." not in field:
                try:
                    values = [pack(document.get(field, UNSET))]
                except (TypeError, ValueError, InterlockError, RecursionError):
                    continue  # the host refuses it
            for value in values:
                for key in by_value.pop(value, ()):
                    self._scans.pop(key, None)


class Scanned:
    """What a scan found: ids and rows in their order, and the step of a function that was shown them, as it is sent."""

    __slots__ = ("_begin", "ids", "rows", "step")

    def __init__(self, ids: list[str], rows: list[Row], begin: bytes) -> None:
        self.ids, self.rows, self._begin = ids, rows, begin
        self.step: Any = None

    def told(self) -> Any:
        """The step."""
        if self.step is None:
            self.step = self.told_of(self.rows)
        return self.step

    def told_of(self, rows: list[Row]) -> Any:
        """The step where the function was shown these in their place."""
        shown: Any
        if len(rows) == 1:
            row = rows[0]
            shown = [self.ids[0], row.version] if row.version else row.digest
        else:
            shown = digest([row.packed for row in rows])
        return _fragment(self._begin + _as_text(shown) + b"]")


class _Table:
    """One that can be patched here. `number` is that of its ids, where it is known; `indexed` are its fields that an index is about."""

    def __init__(self, validator: Any, indexed: set[str]) -> None:
        self.number: int | None = None
        self.indexed = indexed
        self._validator = validator
        self._check: Any = None
        # By name, as each is first written: the types of which a value stays as it is, and the check of others. An object's alone: in a
        # union it is the rest that says what one may be.
        self._fields: dict[str, tuple[frozenset[Any], Any]] = {}
        self._declared: dict[str, Any] = validator["value"] if validator["type"] == "object" else {}

    def check(self, document: dict[str, Any]) -> dict[str, Any]:
        """The document as it is stored, whosoever the ids in it are: the host looks at that. Raises Mismatch."""
        if self._check is None:
            self._check = compile_loosely(self._validator)
        checked: dict[str, Any] = self._check(document)
        return checked

    def change(self, document: dict[str, Any], fields: dict[Any, Any]) -> bool:
        """Set these fields of a document that fits. False where that is not all there is to it: one comes or goes, or is none. Raises
        Mismatch.
        """
        for name, value in fields.items():
            known = self._fields.get(name)
            if name not in document or value is UNSET or type(value) is CommitTimestamp or (known is None and name not in self._declared):
                return False
            if known is None:
                declared = self._declared[name]["fieldType"]
                known = self._fields[name] = (_kept(declared), compile_loosely(declared))
            kind = type(value)
            if kind not in known[0] or (kind is str and not value.isascii()) or (kind is int and not -LARGEST_INT <= value <= LARGEST_INT):
                document[name] = known[1](value)
            else:
                document[name] = value
        return True


def _kept(declared: Any) -> frozenset[Any]:
    """Types of which any value is stored as it is: text if it is ASCII, an int if it is not too large."""
    kind = declared["type"]
    if kind == "union":
        members = declared["value"]
        if any([member["type"] in ("any", "literal", "union") for member in members]):
            return frozenset()
        together: frozenset[Any] = frozenset().union(*[_kept(member) for member in members])
        return together - {float} if int in together else together  # beside ints, whole floats become such
    if kind == "number" and "integer" in declared:
        return frozenset({int}) if declared["integer"] is True else frozenset()
    return _KEPT.get(kind, frozenset())


class _Notes:
    """The newest notes, a thousand at least and at most twice as many."""

    __slots__ = ("_older", "_younger")

    def __init__(self) -> None:
        self._younger: dict[Any, int] = {}
        self._older: dict[Any, int] = {}

    def get(self, key: Any) -> int | None:
        found = self._younger.get(key)
        return self._older.get(key) if found is None else found

    def put(self, key: Any, value: int) -> None:
        self._younger[key] = value
        if len(self._younger) >= _RECENT_MAX:
            self._older, self._younger = self._younger, {}

    def take_above(self, least: int) -> list[Any]:
        """What has a higher value, in the order of the notes. They are gone then."""
        found: list[Any] = []
        for notes in (self._older, self._younger):
            above = [key for key, value in notes.items() if value > least]
            found += above
            for key in above:
                del notes[key]
        return found


def key_of(scan: Scan, count: int) -> Any:
    """What a scan is remembered by: equal for equal ones alone. Raises TypeError or ValueError for one that the host will refuse."""
    if scan.bounds is None:
        for _, value in scan.equal:
            kind = type(value)
            if kind is not str and kind is not int and value is not None and value is not UNSET:
                break  # 1.0 and True are equal to 1
        else:
            return (scan, count)
    told = as_sent(scan)
    if length_of(told, 8) < 0:
        raise TypeError("it is bound to what is no value")
    return pack([told, count])


def as_sent(scan: Scan) -> list[Any]:
    """A scan as it is sent."""
    bounds = scan.bounds
    shown: list[Any] = []
    if bounds is not None:
        lower = [] if bounds.lower is None else list(bounds.lower)
        upper = [] if bounds.upper is None else list(bounds.upper)
        shown = [bounds.field, lower, bounds.lower_inclusive, upper, bounds.upper_inclusive]
    return [scan.table, scan.index, [list(pair) for pair in scan.equal], shown, scan.descending]


def a_told_scan(text: str) -> tuple[Scan, int]:
    """The scan that a step has told of, and its count."""
    told, count = unpack(text.encode())
    return a_scan(told), count


def a_scan(told: list[Any]) -> Scan:
    """The scan that was sent."""
    table, index, equal, shown, descending = told
    bounds: Bounds | None = None
    if shown:
        field, lower, lower_inclusive, upper, upper_inclusive = shown
        bounds = Bounds(field, tuple(lower) or None, lower_inclusive, tuple(upper) or None, upper_inclusive)
    return Scan(table, index, tuple([(name, value) for name, value in equal]), bounds, descending)
