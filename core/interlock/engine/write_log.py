"""The write log: commits in the order in which this node learned of them, as far back as a snapshot may need.

A place is a commit's number in that order. Two marks move along it: `validated`, the newest commit that stands here, and
`durable`, the newest on disk. The log answers what an older snapshot saw, and whether anything after a snapshot touched
what was read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final

from interlock.engine.catalog import Catalog, Index, Table
from interlock.engine.read_set import ReadSet
from interlock.storage.protocol import Commit, Interval, Write
from interlock.values import unpack

_NO_NAMES: Final[frozenset[tuple[str, str]]] = frozenset()


class LogEntry:
    """One place in the order: a commit, or the undoing of commits that storage refused."""

    __slots__ = ("_index_of", "_keys", "commit", "ids", "names", "new_tables", "place", "source", "span_indexes", "writes")

    def __init__(
        self,
        place: int,
        writes: Sequence[Write],
        source: str,
        commit: Commit | None,
        new_tables: Sequence[Table],
        index_of: Callable[[int], Index | None],
    ) -> None:
        self.place, self.writes, self.source, self.commit = place, writes, source, commit
        self.ids: dict[str, Write] = {writes[0].id: writes[0]} if len(writes) == 1 else {write.id: write for write in writes}
        self.new_tables = new_tables
        self.names = frozenset([(table.component, table.name) for table in new_tables]) if new_tables else _NO_NAMES
        self.span_indexes: dict[int, list[Interval]] = {}
        self._keys: dict[int, list[bytes]] = {}
        self._index_of = index_of

    @property
    def ts(self) -> int:
        return self.commit.ts if self.commit is not None else 0

    def keys(self, index: int) -> list[bytes]:
        """The keys, old and new, that the writes have in an index. Made when first asked for: mostly nobody asks."""
        keys = self._keys.get(index)
        if keys is None:
            keys = self._keys[index] = self._make_keys(index)
        return keys

    def stored_writes(self, table: int) -> list[Write]:
        """The writes to a table as storage has them, where the commit is on disk."""
        assert self.commit is not None
        return [write for write in self.commit.writes if write.table == table]

    def forget_keys(self) -> None:
        """The writes have changed: their commit timestamp is filled in."""
        self._keys.clear()

    def _make_keys(self, number: int) -> list[bytes]:
        index = self._index_of(number)
        if index is None:
            return []
        keys: list[bytes] = []
        for write in self.writes:
            if write.table != index.table.number:
                continue
            changed = next((entry for entry in write.entries if entry.index == number), None)
            if changed is not None:
                keys.extend(key for key in (changed.old_key, changed.new_key) if key is not None)
            else:  # the key stayed; the document under it did not
                packed = write.new if write.new is not None else write.old
                if packed is not None:
                    keys.append(index.key_of(unpack(packed)))
        return keys

    def spans(self, index: int) -> Iterable[Interval]:
        """Where keys lie that are not known before the commit has its timestamp."""
        return self.span_indexes.get(index, ())


class Correction:
    """How rows as of one place look at another: packed documents by id, and for each index the id at a key; None is absent."""

    __slots__ = ("documents", "entries")

    def __init__(self) -> None:
        self.documents: dict[str, bytes | None] = {}
        self.entries: dict[int, dict[bytes, str | None]] = {}

    def undo(self, writes: Sequence[Write]) -> None:
        for write in writes:
            self.documents[write.id] = write.old
            for index, old_key, new_key in write.entries:
                entries = self.entries.setdefault(index, {})
                if new_key is not None:
                    entries[new_key] = None
                if old_key is not None:
                    entries[old_key] = write.id

    def redo(self, writes: Sequence[Write]) -> None:
        for write in writes:
            self.documents[write.id] = write.new
            for index, old_key, new_key in write.entries:
                entries = self.entries.setdefault(index, {})
                if old_key is not None:
                    entries[old_key] = None
                if new_key is not None:
                    entries[new_key] = write.id


class WriteLog:
    """The order of commits since the oldest snapshot in use. `floor` is the oldest place that a snapshot may have."""

    def __init__(self, catalog: Catalog, newest_ts: int) -> None:
        self.entries: deque[LogEntry] = deque()
        self.validated = 0
        self.durable = 0
        self.durable_ts = newest_ts
        self.floor = 0
        self._floor_ts = newest_ts
        self._pins: dict[int, int] = {}
        self._catalog = catalog
        self._index_of = catalog.by_index.get
        self._kept_at = 0, 0, 0
        self._kept: dict[int, Correction | None] = {}

    # snapshots

    def pin(self, place: int) -> None:
        """Keep what a snapshot at `place` needs until it is unpinned as often."""
        pins = self._pins
        pins[place] = pins.get(place, 0) + 1

    def unpin(self, place: int) -> None:
        count = self._pins[place] - 1
        if count:
            self._pins[place] = count
        else:
            del self._pins[place]

    def trim(self) -> None:
        """Let go of what no snapshot needs."""
        floor = min(self.durable, min(self._pins, default=self.durable))
        if floor <= self.floor:
            return
        self.floor = floor
        entries = self.entries
        touched: set[int] = set()
        while entries and entries[0].place <= floor:
            entry = entries.popleft()
            self._floor_ts = entry.ts or self._floor_ts
            touched.update(write.table for write in entry.writes)
        for number in touched:
            table = self._catalog.by_number.get(number)
            if table is not None:
                recent = table.recent
                while recent and recent[0][0] <= floor:
                    recent.popleft()

    # the order

    def append(self, writes: Sequence[Write], source: str, commit: Commit | None, new_tables: Sequence[Table] = ()) -> LogEntry:
        """The next place in the order, applied to the tables in memory."""
        self.validated = place = self.validated + 1
        entry = LogEntry(place, writes, source, commit, new_tables, self._index_of)
        self.entries.append(entry)
        tables = self._catalog.by_number
        if len(writes) == 1:
            write = writes[0]
            table = tables[write.table]
            table.recent.append((place, writes))
            table.last_place = place
            if table.memory is not None:
                table.memory.apply(write)
            self._count(table, write)
            return entry
        by_table: dict[int, list[Write]] = {}
        for write in writes:
            by_table.setdefault(write.table, []).append(write)
        for number, written in by_table.items():
            table = tables[number]
            table.recent.append((place, written))
            table.last_place = place
            for write in written:
                if table.memory is not None:
                    table.memory.apply(write)
                self._count(table, write)
        return entry

    @staticmethod
    def _count(table: Table, write: Write) -> None:
        old, new = write.old, write.new
        table.count += (new is not None) - (old is not None)
        table.size += (len(new) if new is not None else 0) - (len(old) if old is not None else 0)

    def after(self, place: int) -> list[LogEntry]:
        """The entries above a place, oldest first."""
        # From the new end: the log may be long where an old snapshot is kept, and few entries are asked for.
        newer = list(islice(reversed(self.entries), max(0, self.validated - place)))
        newer.reverse()
        return newer

    def find_conflict(self, read_set: ReadSet, snapshot: int) -> LogEntry | None:
        """The first entry above the snapshot that touched what was read."""
        if snapshot == self.validated or read_set.is_empty:
            return None
        for entry in self.after(snapshot):
            if read_set.is_touched_by(entry):
                return entry
        return None

    # versions

    def place_at(self, ts: int) -> int:
        """The newest place whose commit is on disk at the timestamp `ts`; -1 if the log does not reach back so far."""
        if ts < self._floor_ts:
            return -1
        for entry in reversed(self.entries):
            if entry.commit is None:
                if entry.place <= self.durable:
                    return entry.place
            elif 0 < entry.commit.ts <= ts:
                return entry.place
        return self.floor

    def ts_at(self, place: int) -> int:
        """The timestamp of the newest commit at or before a place."""
        if place >= self.durable:
            return self.durable_ts
        return next((entry.ts for entry in reversed(self.entries) if entry.place <= place and entry.ts), self._floor_ts)

    def document_at(self, table: Table, id: str, place: int, newest: bytes | None) -> bytes | None:
        """A document as of a place, given its newest version."""
        for at, writes in reversed(table.recent):
            if at <= place:
                break
            for write in writes:
                if write.id == id:
                    newest = write.old
        return newest

    def memory_correction(self, table: Table, place: int) -> Correction | None:
        """What turns rows in memory, the newest ones, into rows of the snapshot `place`. Not to be changed: it is kept.

        A batch that becomes durable wakes many queries, which are all run at its place, beside mutations that are ahead of it.
        """
        made_at = self.validated, self.durable, place
        if self._kept_at != made_at:
            self._kept_at = made_at
            self._kept.clear()
        if table.number not in self._kept:
            self._kept[table.number] = self.correction(table, self.validated, place, is_stored=False)
        return self._kept[table.number]

    def correction(self, table: Table, rows_at: int, place: int, *, is_stored: bool) -> Correction | None:
        """What turns rows read at `rows_at`, from storage or from memory, into rows of the snapshot `place`."""
        if not table.recent or rows_at == place:
            return None
        correction = Correction()
        if place < rows_at:
            for at, writes in reversed(table.recent):
                if at <= place:
                    break
                if at <= rows_at:
                    # Storage has the commit timestamp in its rows before the log hears of it.
                    unsealed = table.unsealed.get(at) if is_stored else None
                    correction.undo(writes if unsealed is None else unsealed.stored_writes(table.number))
        else:
            for at, writes in table.recent:
                if rows_at < at <= place:
                    correction.redo(writes)
        return correction if correction.documents else None
