"""What the engine asks of a storage: small on purpose, one file a backend.

A storage keeps the newest version of each document, its index entries, and an append-only log of commits. It knows
table numbers, index numbers, key bytes and packed documents; what is in them is not its business.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from interlock.storage.commit import Commit as Commit
from interlock.storage.commit import Entry as Entry
from interlock.storage.commit import Write as Write
from interlock.storage.records import IndexRecord as IndexRecord
from interlock.storage.records import TableRecord as TableRecord

Order = Literal["asc", "desc"]


class Interval(NamedTuple):
    """Index keys from `start` up to, not including, `end`; None is unbounded."""

    start: bytes
    end: bytes | None


class Row(NamedTuple):
    """A document at its place in an index. `doc` is packed (values.pack)."""

    key: bytes
    id: str
    doc: bytes


class Read(NamedTuple):
    """Rows, all from one database snapshot, and `at`: the timestamp of the newest commit in that snapshot."""

    rows: list[Row]
    at: int


@dataclass(slots=True)
class Boot:
    """What a start needs: the newest timestamp, the catalog, the next free number (tables and indexes share one row of
    numbers), and settings kept with the data: small text values by name."""

    newest: int
    tables: list[TableRecord]
    indexes: list[IndexRecord]
    next_number: int
    facts: dict[str, str]


@dataclass(slots=True)
class CatalogChange:
    """A deploy: applied whole or not at all. `entries` fill new indexes, `documents` replace packed documents that only
    change their number form. Both may be as long as a table: they are read bit by bit, in the loop's thread."""

    tables: list[TableRecord] = field(default_factory=list)  # made, or changed by number
    dropped_tables: list[int] = field(default_factory=list)
    indexes: list[IndexRecord] = field(default_factory=list)  # made
    dropped_indexes: list[int] = field(default_factory=list)
    entries: Iterable[tuple[int, bytes, str]] = ()  # (index, key, id)
    documents: Iterable[tuple[int, str, bytes]] = ()  # (table, id, packed)
    facts: dict[str, str] = field(default_factory=dict)


class NothingWritten(Exception):
    """`append` surely wrote nothing: no space, locked, read-only. `reason` is for people, `remedy` says what to do."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason, remedy)
        self.reason, self.remedy = reason, remedy


class OutcomeUnknown(Exception):
    """`append` failed and it is not known whether the batch is on disk. The engine ends and recovers from storage."""


class Storage(Protocol):
    """One database. Timestamps are nanoseconds since the epoch, strictly increasing, given out by `append`."""

    async def load(self) -> Boot: ...

    async def get(self, table: int, ids: Sequence[str]) -> Read:
        """The documents that exist of `ids`, with their `by_id` keys left empty (b"")."""

    async def scan(self, index: int, interval: Interval, order: Order, limit: int) -> Read:
        """Up to `limit` rows of the interval in key order."""

    async def entries(self, index: int, after: bytes, limit: int) -> list[tuple[bytes, str]]:
        """Up to `limit` (key, id) above a key, in key order and without their documents: what it takes to fill memory at a start."""

    async def append(self, commits: Sequence[Commit]) -> None:
        """Write a batch, atomic and durable when it returns; sets each commit's `ts`. An empty batch is a probe: it writes
        a little, and syncs.

        Raises NothingWritten or OutcomeUnknown.
        """

    async def tail(self, after: int) -> list[Commit]:
        """The commits of the log with a timestamp above `after`, oldest first; of each write the old version may be left out."""

    async def redefine(self, change: CatalogChange) -> None:
        """Apply a deploy in one database transaction. Raises NothingWritten or OutcomeUnknown."""

    async def forget(self, before: int) -> None:
        """Drop the log below the timestamp `before`, and give its space back."""

    async def close(self) -> None: ...
