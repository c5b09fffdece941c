"""Cursors: a scan that is read bit by bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interlock.engine.catalog import Index
from interlock.engine.document import Document
from interlock.engine.view import consumed
from interlock.storage.protocol import Interval
from interlock.values import unpack

if TYPE_CHECKING:
    from interlock.engine.transaction import Transaction


class TransactionCursor:
    """A scan that is read bit by bit: what was fetched and not consumed is not depended on, and costs nothing."""

    def __init__(self, transaction: Transaction, index: Index, interval: Interval, descending: bool) -> None:
        self._transaction, self._index, self._interval, self._descending = transaction, index, interval, descending
        self._rest = interval
        self._fetched: list[tuple[bytes, int]] = []
        self._at = 0
        self._recorded: Interval | None = None
        self.exhausted = False

    async def fetch(self, count: int) -> list[tuple[bytes, Document]]:
        """The next `count` rows as (key, fresh document)."""
        if self.exhausted:
            return []
        transaction = self._transaction
        transaction.unseen += 1
        try:
            rows, self.exhausted = await transaction.view.rows(
                self._index, self._rest, self._descending, count, transaction.budget.bytes_left
            )
        finally:
            transaction.unseen -= 1
        transaction.unseen += len(rows)
        if rows:
            last = rows[-1][0]
            self._rest = Interval(self._interval.start, last) if self._descending else Interval(last + b"\x00", self._interval.end)
        self._fetched.extend((key, len(packed)) for key, packed in rows)
        if self.exhausted and self._at == len(self._fetched) and transaction.records:
            transaction.record(self._index, self._interval)
        return [(key, unpack(packed)) for key, packed in rows]

    def consume(self, count: int) -> None:
        """The caller has looked at `count` more of the fetched rows."""
        taken = self._fetched[self._at : self._at + count]
        self._at += len(taken)
        if not taken:
            return
        self._transaction.unseen -= len(taken)
        is_all = self.exhausted and self._at == len(self._fetched)
        self._depend_on(self._interval if is_all else consumed(self._interval, taken[-1][0], self._descending))
        self._transaction.budget.read_many(len(taken), sum(size for _, size in taken))

    def depend_on_next(self) -> None:
        """The caller is told that a row follows, though not which: it depends on it without having read it."""
        if self._at < len(self._fetched):
            self._depend_on(consumed(self._interval, self._fetched[self._at][0], self._descending))

    def _depend_on(self, grown: Interval) -> None:
        transaction = self._transaction
        if not transaction.records:
            return
        if self._recorded is None:
            transaction.record(self._index, grown)
        else:
            # It contains what this cursor recorded before, which can go: a long iteration stays one interval.
            transaction.read_set.grow(self._index.number, self._recorded, grown)
        self._recorded = grown

    @property
    def last_key(self) -> bytes | None:
        """The key of the last consumed row."""
        return self._fetched[self._at - 1][0] if self._at else None

    def key_back(self, back: int) -> bytes | None:
        """The key of the row consumed `back` rows before the last one."""
        at = self._at - 1 - back
        return self._fetched[at][0] if at >= 0 else None

    @property
    def is_drained(self) -> bool:
        """Nothing follows what was consumed."""
        return self.exhausted and self._at == len(self._fetched)
