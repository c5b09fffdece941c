"""The documents as one run of a call sees them: what its worker remembers, what it was shown of that, and what it has written itself.

All of it is a guess. Whatever the run does by it becomes a step, which the host does again before the call counts.

Start at `View.row` and `View.rows`. Knows no frame and no context.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

from interlock.sandbox.frames import DEPTH_MAX, EARLY_LENGTH_MAX, MADE_MAX
from interlock.sandbox.long_values import LONG, length_of
from interlock.sandbox.worker.cache import SCAN_ROWS_MAX, Cache
from interlock.sandbox.worker.row import Row, row_of
from interlock.sdk.host import Document, Scan

_MADE_LENGTH = 4_096


class View:
    """What one run goes by. `steps` is what it did by itself, and the host has not been told.

    `told` are those that it was told of since it last answered, `early_room` the bytes in which it may still be told of more before it is
    asked, and `length` characters that were written by either.
    """

    __slots__ = (
        "_base",
        "_cache",
        "_doubts",
        "_handed_on",
        "_inserted",
        "_made",
        "_patched",
        "_read",
        "_there",
        "_written",
        "early_room",
        "length",
        "steps",
        "told",
    )

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._doubts = cache.doubts
        self._read: dict[str, Row] = {}  # documents as it was shown them
        self._patched: dict[str, tuple[Row, Row, Iterable[str]]] = {}  # what it has patched by itself: before, after, fields
        self._base: Row | None = None  # what the last patch was done to
        self._handed_on: list[str] | None = None
        self._inserted: set[str] | None = None  # tables that it has added to by itself
        self._there: set[str] | None = None  # documents that it was shown, but that are not remembered
        self._written: set[str] | None = None  # documents that others than patches of its own have changed
        self.steps: list[Any] = []
        self.told = self.length = self._made = 0
        self.early_room = EARLY_LENGTH_MAX

    def take_steps(self) -> list[Any]:
        """What the host is to do before anything else of this call."""
        steps, self.steps = self.steps, []
        self.told = self.length = 0
        return steps

    def take_early(self, length: int) -> None:
        """The host was told of the steps, in so many bytes. It is to do them meanwhile, and answers nothing."""
        self.told += len(self.steps)
        self.steps = []
        self.early_room -= length

    # reading

    def row(self, id: str) -> Row | None:
        """What is known of a document, noted as read; None where the host is to be asked."""
        if self.has_written(id):
            return None
        patched = self._patched.get(id)
        row = patched[1] if patched is not None else self._cache.row(id)
        if row is not None:
            if patched is None:
                self._read[id] = row
            self.steps.append(row.get_step(id))
        return row

    def rows_of(self, ids: Sequence[Any]) -> list[Row | None]:
        """The same of several."""
        return [self.row(id) if type(id) is str else None for id in ids]

    def rows(self, scan: Scan, key: Any) -> list[Row] | None:
        """What a scan is known to find, noted as read; None where the host is to be asked."""
        if self._inserted is not None and scan.table in self._inserted:
            return None
        cache = self._cache
        known = cache.scanned(key)
        if known is None or (self._written is not None and not self._written.isdisjoint(known.ids)):
            return None
        rows, patched, read = known.rows, self._patched, self._read
        if not patched:
            for place, id in enumerate(known.ids):
                read[id] = rows[place]
            self.steps.append(known.told())
            return rows
        if cache.moves(scan.table, patched):
            return None
        rows = rows.copy()
        for place, id in enumerate(known.ids):
            if id in patched:
                rows[place] = patched[id][1]
            else:
                read[id] = rows[place]
        self.steps.append(known.told_of(rows))
        return rows

    def show(self, table: str, id: str, document: dict[str, Any], since: int, version: int) -> Document:
        """It is shown a document that the host has told of, or what is known of it by now, to go on with: a step as any other."""
        told = self._cache.keep_document(table, id, document, since, version)
        row = self._cache.row(id) or told
        self._read[id] = row
        self.steps.append(row.get_step(id))
        return document if row is told else row.fresh()

    def keep(self, table: str, id: str, document: dict[str, Any], since: int) -> None:
        """The host has read a document for it."""
        if not self.has_changed(id):
            self._read[id] = self._cache.keep_document(table, id, document, since)

    def keep_rows(self, key: Any, scan: Scan, most: int, found: list[dict[str, Any]], since: int) -> None:
        """The host has made a scan for it."""
        if len(found) > SCAN_ROWS_MAX:
            if self._there is None:
                self._there = set()
            self._there.update([row["_id"] for row in found])
            self._cache.learn(scan.table, found[0]["_id"])
            return
        rows = {row["_id"]: row_of(row) for row in found}
        if (self._written is None or self._written.isdisjoint(rows)) and self._patched.keys().isdisjoint(rows):
            self._read.update(rows)
            self._cache.keep_scan(key, scan, most, rows, since)

    # writing

    def insert(self, table: str, document: dict[str, Any], chance: Random, ms: int) -> str | None:
        """Add a document; its id, or None where the host is to do it."""
        length = length_of(document, DEPTH_MAX)
        made = None if length > LONG else self._cache.inserted(table, document, chance, ms)
        if made is None:
            return None
        id, new = made
        self.write(id)
        if self._inserted is None:
            self._inserted = set()
        self._inserted.add(table)
        self._made += 1
        self._cache.note_made(table, id, new if self._made <= MADE_MAX and length <= _MADE_LENGTH else None)
        self.steps.append(["insert", id, new])
        self.length += length
        return id

    def patch(self, id: str, fields: Any) -> dict[Any, Any] | None:
        """Change a document, no step yet: the fields as they are sent, or None where only the host knows what comes of it."""
        if self.has_written(id):
            self._cache.forget(id)
            return None
        patched = self._patched.get(id)
        known = patched[1] if patched is not None else self._read.get(id)
        if known is None:
            known = self._cache.row(id)
        if known is not None:
            said = dict(fields) if type(fields) is dict or isinstance(fields, Mapping) else None
            length = 0 if said is None else length_of(said, DEPTH_MAX)
            after = None if said is None or length > LONG else self._cache.patched(id, known, said)
            if after is not None and said is not None:
                self.length += length
                self._base = known
                if patched is None:
                    self._patched[id] = (known, after, said)
                    if id not in self._read:
                        self._read[id] = known
                else:
                    self._patched[id] = (patched[0], after, {*patched[2], *said})
                return said
            self._cache.forget(id)
        self.write(id)
        return None

    def note_patch(self, id: str, said: dict[Any, Any]) -> None:
        """The last patch is a step. What comes of it has a number, by which the host knows it too, if it is done to the same there."""
        base = self._base
        version = self._patched[id][1].version = self._cache.next_version()
        self.steps.append(["patch", id, said, version, "" if base is None else base.version or base.digest])

    def delete(self, id: str) -> bool:
        """Delete a document that is known to be there. False where the host is to do it, and where a trigger may raise."""
        if self.has_written(id) or not self._is_there(id) or not self._cache.triggers_nothing(id):
            return False
        self._patched.pop(id, None)
        self._cache.forget(id)
        self.write(id)
        self.steps.append(["delete", id, ""])
        return True

    def _is_there(self, id: str) -> bool:
        return id in self._read or self._cache.row(id) is not None or (self._there is not None and id in self._there)

    def write(self, id: str) -> None:
        """This document is changed, and nothing is known of it from here on."""
        if self._written is None:
            self._written = set()
        self._written.add(id)

    def has_written(self, id: str) -> bool:
        return self._written is not None and id in self._written

    def has_changed(self, id: str) -> bool:
        return self.has_written(id) or id in self._patched

    # what others believe

    @property
    def is_overtaken(self) -> bool:
        """Whether the worker believes something else by now of what was read."""
        cache = self._cache
        for id, row in self._read.items():
            known = cache.row(id)
            if known is not None and known is not row and known.packed != row.packed:
                return True
        return False

    @property
    def is_outdated(self) -> bool:
        """Whether what it was shown is no longer what the worker believes."""
        return self._cache.doubts != self._doubts or self.is_overtaken

    def take_patched(self) -> dict[str, tuple[Row, Row, Iterable[str]]]:
        """What it has patched since this was last asked."""
        patched, self._patched = self._patched, {}
        return patched

    def hand_on(self, patched: Mapping[str, tuple[Row, Row, Iterable[str]]]) -> None:
        """Others go by these patches from here on, and it reads them as they do."""
        if self._handed_on is None:
            self._handed_on = []
        for id, (_, after, _) in patched.items():
            self._read[id] = after
            self._handed_on.append(id)

    def undo(self) -> None:
        """It has failed: what it handed on never was."""
        if self._handed_on is not None:
            for id in self._handed_on:
                self._cache.forget(id)
