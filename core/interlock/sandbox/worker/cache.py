"""What a worker has read before, so that a mutation need not wait for the host to read it again.

Nothing here has to be right. A function that runs on it keeps a log of what it read and wrote, and the host does all of that
itself before the call counts: at its own snapshot, with its own read set, comparing what it finds with what the function was
shown. If they differ, the call is undone and runs again without the cache. So a row that another writer has changed, a phantom,
a layer that was dropped or a write that never committed cost a second run, and nothing else.

Start at `Cache.scan` and `Cache.document`. The two sides compare digests.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from random import Random
from typing import Any

from interlock.errors import InterlockError
from interlock.sdk.host import Scan
from interlock.sdk.schema import Schema
from interlock.sdk.validator import compile_loosely
from interlock.values import UNSET, CommitTimestamp, Mismatch, encode_id, new_internal, pack, table_of, unpack

_SCANS_MAX = 5_000
_DOCUMENTS_MAX = 20_000
_DOCUMENT_BYTES = 8 * 1024
_RECENT_MAX = 1_000
SCAN_ROWS_MAX = 64


class Cache:
    """Rows by id as the host packs them, and ids by scan. `tables` without a trigger can be patched here.

    `changes` counts the patches: whoever asks the host notes it, and an answer does not take the place of what was patched since.
    """

    def __init__(self, schema: Schema | None, triggered: set[str]) -> None:
        self.changes = self.doubts = 0
        self._doubted = 0  # calls up to this one began before the last doubt
        # Documents that were patched last, and may never be committed as they are, with the number of the patch; and, by call, how
        # many patches there were before its first.
        self._recent: dict[str, int] = {}
        self._patches_before: dict[int, int] = {}
        self._scans: dict[bytes, tuple[str, list[str]]] = {}
        # The scans of a table, by the first field that they are narrowed to (None: to none) and its packed value.
        self._by_field: dict[str, dict[str | None, dict[bytes, set[bytes]]]] = {}
        self._documents: dict[str, tuple[str, bytes, int]] = {}  # table, packed, when it was patched last
        self._tables: dict[int, str] = {}  # as far as they were met, by the number that their ids have
        self._numbers: dict[str, int] = {}
        self._checks: dict[str, Any] = {}
        self._indexed: dict[str, set[str]] = {}
        for name, table in schema.declarations().items() if schema is not None and schema.strict else ():
            if name not in triggered:
                self._checks[name] = compile_loosely(table.validator)  # whose ids they are, the host says
                self._indexed[name] = {field.partition(".")[0] for fields in table.indexes.values() for field in fields}

    def document(self, id: Any) -> bytes | None:
        """A document that was read before, packed."""
        known = self._documents.get(id) if type(id) is str else None
        return None if known is None else known[1]

    def scan(self, key: bytes) -> dict[str, bytes] | None:
        """The rows of a scan that was made before, packed, by their ids."""
        known = self._scans.get(key)
        if known is None:
            return None
        documents = self._documents
        try:
            return {id: documents[id][1] for id in known[1]}
        except KeyError:
            return None

    def keep_document(self, table: str, id: str, packed: bytes, since: int) -> None:
        """What the host has answered to a question that was asked when there had been so many `changes`."""
        if table in self._checks and len(packed) <= _DOCUMENT_BYTES:
            self._make_room()
            self._keep(table, id, packed, since)

    def keep_scan(self, key: bytes, scan: Scan, rows: Mapping[str, bytes], since: int) -> None:
        """The same, the rows in their order."""
        table = scan.table
        if table not in self._checks:
            return
        self._make_room()
        for id, packed in rows.items():
            self._keep(table, id, packed, since)
        self._scans[key] = (table, list(rows))
        field, value = scan.equal[0] if scan.equal else (None, None)
        self._by_field.setdefault(table, {}).setdefault(field, {}).setdefault(pack(value), set()).add(key)

    def _keep(self, table: str, id: str, packed: bytes, since: int) -> None:
        known = self._documents.get(id)
        if known is None and table not in self._numbers:
            self.learn(table, id)
        if known is None or known[2] <= since:
            self._documents[id] = (table, packed, 0 if known is None else known[2])

    def learn(self, table: str, id: str) -> None:
        """This is an id of the table."""
        number = table_of(id)
        if number is not None:
            self._tables[number] = table
            self._numbers[table] = number

    def _make_room(self) -> None:
        if len(self._scans) >= _SCANS_MAX or len(self._documents) >= _DOCUMENTS_MAX:
            self.clear()

    def clear(self) -> None:
        """Forget everything: it was wrong somewhere, and what was built on that is wrong as well."""
        self._scans.clear()
        self._by_field.clear()
        self._documents.clear()

    def patched(self, id: Any, packed: bytes, fields: Any) -> bytes | None:
        """What a document becomes by a patch, if that is sure to be the host's outcome too."""
        known = self._documents.get(id)
        table = known[0] if known is not None else self._tables.get(table_of(id) or 0)
        check = None if table is None else self._checks.get(table)
        if check is None or not isinstance(fields, Mapping):
            return None
        new = unpack(packed)
        made_as, made_at = new.pop("_id"), new.pop("_creationTime")
        for name, value in fields.items():
            if type(name) is not str or name[:1] == "_" or type(value) is CommitTimestamp:
                return None
            if value is UNSET:
                new.pop(name, None)
            else:
                new[name] = value
        try:
            new = check(new)
            new["_id"], new["_creationTime"] = made_as, made_at
            return pack(new)
        except (Mismatch, TypeError, ValueError, RecursionError):
            return None  # the host says what is wrong with it

    def inserted(self, table: str, document: Mapping[str, Any], chance: Random, ms: int) -> tuple[str, dict[str, Any]] | None:
        """An id for a new document of a table of which some are known, and what is sure to be stored, but for the system's fields."""
        check, number = self._checks.get(table), self._numbers.get(table)
        if check is None or number is None or any([type(name) is not str or name[:1] == "_" for name in document]):
            return None
        try:
            new: dict[str, Any] = check({name: value for name, value in document.items() if value is not UNSET})
        except (Mismatch, TypeError, ValueError, RecursionError):
            return None
        return encode_id(number, new_internal(chance, ms)), new

    def begin_patches(self, number: int) -> None:
        """This call is about to `put` what it has patched."""
        if number not in self._patches_before:
            _note(self._patches_before, number, self.changes)

    def put(self, id: str, before: bytes, after: bytes, fields: Set[str]) -> None:
        """A call has patched these fields of a document. Where another has patched it meanwhile, one of the two will be run again."""
        known = self._documents.get(id)
        if known is None or known[1] != before:
            return
        table = known[0]
        self.changes += 1
        self._documents[id] = (table, after, self.changes)
        _note(self._recent, id, self.changes)
        if not self._indexed[table].isdisjoint(fields):
            self.forget_scans(table)

    def moves(self, table: str, own: Mapping[str, tuple[bytes, bytes, Set[str]]]) -> bool:
        """Whether patches that are not remembered yet change what a scan of the table finds."""
        indexed = self._indexed.get(table)
        return indexed is not None and any([not indexed.isdisjoint(fields) for _, _, fields in own.values()])

    def forget(self, id: Any) -> None:
        """Somebody else writes this document."""
        known = self._documents.pop(id, None) if type(id) is str else None
        if known is not None:
            self.forget_scans(known[0])

    def correct(self, mistakes: list[Any], mistaken: int, number: int) -> None:
        """The call `mistaken` was, and runs again as call `number`: steps, each with what is right, a table and a document of it.

        What it patched is not so, and what was patched since may rest on that, as do the calls that ran since. They run again
        after this one, in their order: what they find now is not taken from them.
        """
        is_first = mistaken > self._doubted
        if is_first:
            self._doubted = number - 1
            self.doubts += 1
            before = self._patches_before.get(mistaken, self.changes)
            for id in [id for id, change in self._recent.items() if change > before]:
                self._documents.pop(id, None)
                del self._recent[id]
        for step, right in mistakes:
            if right is None:
                self.forget_step(step)
            elif step[0] == "scan":
                table, rows = right
                if is_first or any([row["_id"] not in self._documents for row in rows]):
                    scan = step[1]
                    equal = tuple([(pair[0], pair[1]) for pair in scan[2]])
                    packed = {row["_id"]: pack(row) for row in rows}
                    self.keep_scan(pack(step[1:3]), Scan(scan[0], scan[1], equal, None, scan[4]), packed, self.changes)
            elif is_first or step[1] not in self._documents:
                table, document = right
                if table in self._checks:
                    self._documents[step[1]] = (table, pack(document), self.changes)

    def forget_step(self, step: list[Any]) -> None:
        """A call was mistaken when it did this: what it went by is asked for anew. Anything else that is wrong comes out the same way."""
        if step[0] == "scan":
            known = self._scans.pop(pack(step[1:3]), None)
            for id in known[1] if known is not None else ():
                self._documents.pop(id, None)
        else:
            self._documents.pop(step[1], None)

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


def _note(recent: dict[Any, int], key: Any, value: int) -> None:
    """Keep the newest notes."""
    recent.pop(key, None)
    recent[key] = value
    if len(recent) > _RECENT_MAX:
        del recent[next(iter(recent))]
