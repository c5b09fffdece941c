"""A host over plain lists: each read sorts all rows of the table and looks through them. Obviously right, and slow."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from interlock import UNSET
from interlock.errors import InvalidCursor, LimitExceeded
from interlock.sdk.host import Document, FunctionInfo, Job, Kind, Metrics, Scan, Target
from interlock.values import encode_keys

END = "end"


class FakeHost:
    """`calls` is what was asked of it beyond reads, `consumed` the ids of the rows that the function has looked at."""

    def __init__(self, kind: Kind = "mutation", *, component_path: str = "", rows_max: float = float("inf"), identity: Any = None) -> None:
        self.function = FunctionInfo("tests:function", kind, component_path)
        self.env: Mapping[str, Any] = {"KEY": "value"}
        self.random = random.Random(7)
        self.tables: dict[str, list[Document]] = {}
        self.indexes: dict[tuple[str, str], tuple[str, ...]] = {}
        self.journal: dict[int, str] = {}
        self.marks: dict[int, str] = {}
        self.consumed: list[str] = []
        self.fetched = 0
        self.whole_intervals = 0
        self.rows_max = rows_max
        self.lines: list[tuple[str, str]] = []
        self.calls: list[tuple[Any, ...]] = []
        self.identity_fields = identity

    def add(self, table: str, *documents: Document) -> None:
        rows = self.tables.setdefault(table, [])
        for document in documents:
            rows.append({"_id": f"{table}{len(rows):04}", "_creationTime": float(len(rows) + 1), **document})

    def rows(self, scan: Scan) -> list[tuple[bytes, Document]]:
        """Everything that the scan covers, in its order, each with its key."""
        fields = self.indexes.get((scan.table, scan.index), ())
        wanted = sorted(
            (encode_keys([*(_at(row, field) for field in fields), row["_creationTime"], row["_id"]]), row)
            for row in self.tables.get(scan.table, [])
            if all(encode_keys([_at(row, field)]) == encode_keys([value]) for field, value in scan.equal) and _in_bounds(row, scan)
        )
        return wanted[::-1] if scan.descending else wanted

    async def scan(self, scan: Scan, count: int | None) -> list[Document]:
        found = [dict(row) for _, row in self.rows(scan)][:count]
        self.consumed += [row["_id"] for row in found]
        return found

    async def first(self, scan: Scan) -> Document | None:
        rows = await self.scan(scan, 1)
        return rows[0] if rows else None

    async def count(self, scan: Scan) -> int:
        return len(self.rows(scan))

    async def open(self, scan: Scan, after: str | None, until: str | None) -> FakeCursor:
        return FakeCursor(self, scan, after, until)

    def page_end(self, ordinal: int) -> str | None:
        return self.journal.get(ordinal)

    def set_page_end(self, ordinal: int, mark: str) -> None:
        self.marks[ordinal] = mark

    def metrics(self) -> Metrics:
        return Metrics(used={"bytes_read": 0.0}, remaining={})

    def now(self) -> float:
        return 1234.5

    transaction = "0123456789abcdef"

    def uuid4(self) -> UUID:
        return UUID(int=self.random.getrandbits(128), version=4)

    def log(self, level: str, text: str) -> None:
        self.lines.append((level, text))

    async def get(self, id: str) -> Document | None:
        return next((dict(row) for rows in self.tables.values() for row in rows if row["_id"] == id), None)

    async def get_many(self, ids: Sequence[str]) -> list[Document | None]:
        return [await self.get(id) for id in ids]

    async def normalize_id(self, table: str, text: str) -> str | None:
        return text if text.startswith(table) else None

    async def insert(self, table: str, document: Mapping[str, Any]) -> str:
        self.add(table, dict(document))
        return str(self.tables[table][-1]["_id"])

    async def patch(self, id: str, fields: Mapping[str, Any]) -> None:
        self.calls.append(("patch", id, fields))

    async def replace(self, id: str, document: Mapping[str, Any]) -> None:
        self.calls.append(("replace", id, document))

    async def delete(self, id: str) -> None:
        self.calls.append(("delete", id))

    async def run(self, kind: Kind, target: Target, args: Mapping[str, Any]) -> Any:
        self.calls.append((kind, target, args))
        return None

    async def schedule(self, when_ms: float | None, after_s: float | None, target: Target, args: Mapping[str, Any]) -> str:
        self.calls.append(("schedule", when_ms, after_s, target, args))
        return "job"

    async def cancel(self, job_id: str) -> None:
        self.calls.append(("cancel", job_id))

    async def job(self, job_id: str) -> Job | None:
        return Job(job_id, "pending", "a:b", {}, 0.0)

    async def jobs(self, state: str | None) -> list[Job]:
        return [Job("1", "pending", "a:b", {}, 0.0)] if state in (None, "pending") else []

    async def identity(self) -> Mapping[str, Any] | None:
        fields: Mapping[str, Any] | None = self.identity_fields
        return fields

    async def function_handle(self, target: Target) -> str:
        return f"function://{target.mount}/{target.name}"

    async def revoke_handle(self, handle: str) -> None:
        self.calls.append(("revoke", handle))

    async def fetch(
        self, url: str, *, method: str, headers: Mapping[str, str] | None, body: bytes | str | None, timeout: float | None, whole: bool
    ) -> Any:
        self.calls.append(("fetch", url, method, headers, body, timeout))
        return None


class FakeCursor:
    """The rows of a scan in (after, until], as they are when it is opened."""

    def __init__(self, host: FakeHost, scan: Scan, after: str | None, until: str | None) -> None:
        self._host, self._print = host, repr(scan)
        start = self._place(after) if after is not None else None
        end = self._place(until) if until is not None else None
        self._until = until
        self.open_ended = until is None or end == END
        self._rows: list[tuple[bytes, Document]] = []
        for key, row in host.rows(scan):
            place = key.hex()
            behind_start = start is None or (start != END and (place < start if scan.descending else place > start))
            before_end = end is None or end == END or (place >= end if scan.descending else place <= end)
            if behind_start and before_end:
                self._rows.append((key, row))
        self._fetched = self._consumed = 0
        self.exhausted = self.stopped = False

    async def fetch(self, count: int) -> list[Document]:
        assert count > 0
        room = self._host.rows_max - len(self._host.consumed) - (self._fetched - self._consumed)
        rows = self._rows[self._fetched : self._fetched + int(min(count, room))]
        at_end = self._fetched + len(rows) == len(self._rows)
        if not rows and not at_end:
            raise LimitExceeded("documents_read", self._host.rows_max + 1, self._host.rows_max)
        self.exhausted = len(rows) < count and at_end
        self.stopped = len(rows) < count and not at_end
        self._fetched += len(rows)
        self._host.fetched += len(rows)
        return [dict(row) for _, row in rows]

    def consume(self, count: int) -> None:
        self._host.consumed += [row["_id"] for _, row in self._rows[self._consumed : self._consumed + count]]
        self._consumed += count
        assert self._consumed <= self._fetched, "more was looked at than fetched"
        if self.exhausted and self._consumed == self._fetched:
            self._host.whole_intervals += 1

    def mark(self, back: int = 0) -> str:
        if self.exhausted and self._consumed == self._fetched and back == 0:
            return self._until if self._until is not None else self._text(END)
        return self._text(self._rows[self._consumed - 1 - back][0].hex())

    def _text(self, place: str) -> str:
        return json.dumps([self._print, place])

    def _place(self, mark: str) -> str:
        try:
            fingerprint, place = json.loads(mark)
        except ValueError:
            raise InvalidCursor("", "it is none") from None
        if fingerprint != self._print:
            raise InvalidCursor("", "it is another query's")
        return str(place)


def _at(row: Document, path: str) -> Any:
    value: Any = row
    for name in path.split("."):
        value = value.get(name, UNSET) if isinstance(value, dict) else UNSET
    return value


def _in_bounds(row: Document, scan: Scan) -> bool:
    bounds = scan.bounds
    if bounds is None:
        return True
    key = encode_keys([_at(row, bounds.field)])
    if bounds.lower is not None:
        lower = encode_keys([bounds.lower[0]])
        if key < lower or (key == lower and not bounds.lower_inclusive):
            return False
    if bounds.upper is not None:
        upper = encode_keys([bounds.upper[0]])
        if key > upper or (key == upper and not bounds.upper_inclusive):
            return False
    return True
