"""What a worker has read before, so that a mutation need not wait for the host to read it again.

Nothing here has to be right. A function that runs on it keeps a log of what it read and wrote, and the host does all of that
itself before the call counts: at its own snapshot, with its own read set, comparing what it finds with what the function was
shown. If they differ, the call is undone and runs again without the cache. So a row that another writer has changed, a phantom,
a layer that was dropped or a write that never committed cost a second run, and nothing else.

Start at `Cache.scan` and `Cache.document`; `digest` is what the two sides compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interlock.sandbox.digests import digest
from interlock.sdk.schema import Schema
from interlock.values import UNSET, CommitTimestamp, Mismatch, compile_validator, pack, unpack

_SCANS_MAX = 5_000
_DOCUMENTS_MAX = 20_000
_DOCUMENT_BYTES = 8 * 1024
_ROWS_MAX = 64


class Cache:
    """Rows by id as the host packs them, and ids by scan. `tables` without a trigger can be patched here."""

    def __init__(self, schema: Schema | None, triggered: set[str]) -> None:
        self._scans: dict[bytes, tuple[str, list[str]]] = {}
        self._by_table: dict[str, set[bytes]] = {}
        self._documents: dict[str, tuple[str, bytes]] = {}
        self._checks: dict[str, Any] = {}
        self._indexed: dict[str, set[str]] = {}
        for name, table in schema.declarations().items() if schema is not None and schema.strict else ():
            if name not in triggered and '"type": "id"' not in str(table.validator).replace("'", '"'):
                self._checks[name] = compile_validator(table.validator, lambda _: None)
                self._indexed[name] = {field.partition(".")[0] for fields in table.indexes.values() for field in fields}

    def scan(self, key: bytes) -> tuple[list[Any], str] | None:
        """The rows of a scan that was made before, fresh, and their digest."""
        known = self._scans.get(key)
        if known is None:
            return None
        documents = self._documents
        try:
            packed = [documents[id][1] for id in known[1]]
        except KeyError:
            return None
        return [unpack(row) for row in packed], digest(packed)

    def document(self, id: Any) -> tuple[Any, str] | None:
        """A document that was read before, fresh, and its digest."""
        known = self._documents.get(id) if type(id) is str else None
        return None if known is None else (unpack(known[1]), digest([known[1]]))

    def keep_document(self, table: str, document: Any) -> None:
        """What the host has answered."""
        packed = pack(document)
        if table not in self._checks or len(packed) > _DOCUMENT_BYTES:
            return
        self._make_room()
        self._documents[document["_id"]] = (table, packed)

    def keep_scan(self, key: bytes, table: str, rows: list[Any]) -> None:
        """What the host has answered."""
        if len(rows) > _ROWS_MAX or table not in self._checks:
            return
        self._make_room()
        for row in rows:
            self._documents[row["_id"]] = (table, pack(row))
        self._scans[key] = (table, [row["_id"] for row in rows])
        self._by_table.setdefault(table, set()).add(key)

    def _make_room(self) -> None:
        if len(self._scans) >= _SCANS_MAX or len(self._documents) >= _DOCUMENTS_MAX:
            self._scans.clear()
            self._by_table.clear()
            self._documents.clear()

    def patch(self, id: str, fields: Any) -> tuple[str, bytes] | None:
        """Do a patch here, if its outcome is sure to be the host's; gives what to set back should the call fail."""
        known = self._documents.get(id) if type(id) is str else None
        if known is None or not isinstance(fields, Mapping):
            return None
        table, packed = known
        check = self._checks.get(table)
        if check is None or any(
            [type(name) is not str or name[:1] == "_" or type(value) is CommitTimestamp for name, value in fields.items()]
        ):
            return None
        old = unpack(packed)
        merged = {name: value for name, value in {**old, **fields}.items() if value is not UNSET and name[:1] != "_"}
        try:
            new = check(merged)
            new["_id"], new["_creationTime"] = old["_id"], old["_creationTime"]
            after = pack(new)
        except (Mismatch, TypeError, ValueError, RecursionError):
            return None  # the host says what is wrong with it
        self._documents[id] = (table, after)
        if not self._indexed[table].isdisjoint(fields):
            self.forget_scans(table)
        return known

    def restore(self, id: str, before: tuple[str, bytes]) -> None:
        """The call that patched it has failed."""
        self._documents[id] = before

    def forget(self, id: Any) -> None:
        """Somebody else writes this document."""
        known = self._documents.pop(id, None) if type(id) is str else None
        if known is not None:
            self.forget_scans(known[0])

    def forget_scans(self, table: str) -> None:
        for key in self._by_table.pop(table, ()):
            self._scans.pop(key, None)
