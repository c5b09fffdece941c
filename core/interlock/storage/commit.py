"""What one transaction writes, as engine and storage hand it to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from interlock.storage.records import IndexRecord, TableRecord


class Entry(NamedTuple):
    """What one write does to one index: the key that goes, the key that comes. Equal keys are left out by the engine."""

    index: int  # type: ignore[assignment]  # hides a method of tuple that nobody calls here
    old_key: bytes | None
    new_key: bytes | None


class Write:
    """One document's old and new packed version; None is absent."""

    __slots__ = ("entries", "id", "new", "old", "table")

    def __init__(self, table: int, id: str, old: bytes | None, new: bytes | None, entries: Sequence[Entry] = ()) -> None:
        self.table, self.id, self.old, self.new, self.entries = table, id, old, new, entries

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Write) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash((self.table, self.id))

    def __repr__(self) -> str:
        return f"Write{self._parts()!r}"

    def _parts(self) -> tuple[object, ...]:
        return (self.table, self.id, self.old, self.new, tuple(self.entries))


class Commit:
    """One transaction's writes. `append` sets `ts`, and before it writes anything calls `seal(ts)`, which fills commit
    timestamps into `writes`. `tables` and `indexes` are new ones."""

    __slots__ = ("indexes", "seal", "source", "tables", "ts", "writes")

    def __init__(
        self,
        writes: list[Write],
        tables: Sequence[TableRecord] = (),
        indexes: Sequence[IndexRecord] = (),
        source: str = "",
        ts: int = 0,
        seal: Callable[[int], None] | None = None,
    ) -> None:
        self.writes, self.tables, self.indexes, self.source, self.ts, self.seal = writes, tables, indexes, source, ts, seal

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Commit) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash((self.ts, self.source))

    def __repr__(self) -> str:
        return f"Commit{self._parts()!r}"

    def _parts(self) -> tuple[object, ...]:
        return (self.writes, list(self.tables), list(self.indexes), self.source, self.ts, self.seal)
