"""Write sets: what a transaction would do, with a journal that takes back what a dropped layer did.

Writes are kept in one place, the journal beside them: a layer is a mark in the journal, folding it forgets the mark, dropping it
plays the journal back. So a read never has to look through layers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from interlock.engine.catalog import Table, id_key
from interlock.storage.protocol import Entry, Write
from interlock.values import COMMIT_TS_TOKEN, encode_key

Move = tuple[int, bytes | None, bytes | None]
"""An index, and the key of a document in it before and after."""
_MISSING: Any = object()


class Pending:
    """What would be done to one document: first old version, last new one, and the index keys that change."""

    __slots__ = ("id", "keys", "new", "old", "table")

    def __init__(
        self, table: Table, id: str, old: bytes | None, new: bytes | None, keys: dict[int, tuple[bytes | None, bytes | None]]
    ) -> None:
        self.table, self.id, self.old, self.new, self.keys = table, id, old, new, keys


class WriteSet:
    """Documents by id, and by index the keys that come (with the id that they lead to) or go (with None)."""

    __slots__ = ("_journal", "_layers", "documents", "keys")

    def __init__(self) -> None:
        self.documents: dict[str, Pending] = {}
        self.keys: dict[int, dict[bytes, str | None]] = {}
        self._journal: list[Callable[[], object]] = []
        self._layers = 0

    def put(self, table: Table, id: str, packed: bytes | None, new: bytes | None, moves: list[Move]) -> None:
        """One more version of a document, that was `packed` until now."""
        journal = self._journal if self._layers else None
        pending = self.documents.get(id)
        if pending is None:
            pending = self.documents[id] = Pending(table, id, packed, new, {})
            if journal is not None:
                journal.append(lambda: self._forget(id))
        else:
            if journal is not None:
                journal.append(_restorer(pending, pending.new, dict(pending.keys)))
            pending.new = new
        for number, old_key, new_key in moves:
            keys = self.keys.get(number)
            if keys is None:
                keys = self.keys[number] = {}
            if journal is not None:
                journal.append(_keys_restorer(keys, old_key, new_key))
            if old_key is not None:
                keys[old_key] = None
            if new_key is not None:
                keys[new_key] = id
            first = pending.keys.get(number)
            pending.keys[number] = (old_key if first is None else first[0], new_key)

    def _forget(self, id: str) -> None:
        del self.documents[id]

    def adopt(self, other: WriteSet) -> None:
        """Take over what another one would do, to other documents. That one stays as it is."""
        for id, pending in other.documents.items():
            self.documents[id] = Pending(pending.table, id, pending.old, pending.new, dict(pending.keys))
        for number, keys in other.keys.items():
            known = self.keys.get(number)
            if known is None:
                known = self.keys[number] = {}
            known.update(keys)

    def begin_layer(self) -> int:
        """What is written from here on can be dropped together. Gives the mark that says where it began."""
        self._layers += 1
        return len(self._journal)

    def fold_layer(self) -> None:
        """The newest layer's writes become the writes of the layer below."""
        self._layers -= 1
        if not self._layers:
            self._journal.clear()

    def drop_layer(self, mark: int) -> None:
        """Undo what was written since the mark."""
        self._layers -= 1
        journal = self._journal
        while len(journal) > mark:
            journal.pop()()

    def undo(self, step: Callable[[], object]) -> None:
        """What else is to be undone when the open layer is dropped. At once with its writes, in reverse order."""
        if self._layers:
            self._journal.append(step)

    def writes(self) -> list[Write]:
        """The same as storage and log take it."""
        writes = []
        for pending in self.documents.values():
            if pending.old != pending.new:
                keys = pending.keys
                entries = [Entry(number, old, new) for number, (old, new) in keys.items() if old != new] if keys else ()
                writes.append(Write(pending.table.number, pending.id, pending.old, pending.new, entries))
        return writes

    def tables_with_commit_ts(self) -> list[Table]:
        """Tables of documents that carry the placeholder of the commit timestamp."""
        tables = []
        for pending in self.documents.values():
            new = pending.new
            # Most bytes hold no "$" at all, which is sooner seen.
            # `find`: with bytes on its left, `in` first tries them as a number, and that costs an exception.
            if new is not None and 36 in new and new.find(COMMIT_TS_TOKEN) >= 0 and pending.table not in tables:
                tables.append(pending.table)
        return tables


def index_moves(
    table: Table, id: str, old: dict[str, Any] | None, new: dict[str, Any] | None, changed: Collection[str] | None
) -> list[Move]:
    """The keys that change with a document. `changed` are the top-level fields that may differ; None is all."""
    moves: list[Move] = []
    old_tail = new_tail = b""
    for index in table.maintained:
        if changed is not None and (not index.roots or index.roots.isdisjoint(changed)):
            continue
        if not old_tail and old is not None:
            old_tail = encode_key(old["_creationTime"]) + id_key(id)
        if not new_tail and new is not None:
            new_tail = encode_key(new["_creationTime"]) + id_key(id)
        old_key = None if old is None else index.prefix_of(old) + old_tail
        new_key = None if new is None else index.prefix_of(new) + new_tail
        if old_key != new_key:
            moves.append((index.number, old_key, new_key))
    return moves


def _restorer(pending: Pending, new: bytes | None, keys: dict[int, tuple[bytes | None, bytes | None]]) -> Callable[[], None]:
    def restore() -> None:
        pending.new, pending.keys = new, keys

    return restore


def _keys_restorer(keys: dict[bytes, str | None], *changed: bytes | None) -> Callable[[], None]:
    before = [(key, keys.get(key, _MISSING)) for key in changed if key is not None]

    def restore() -> None:
        for key, id in before:
            if id is _MISSING:
                keys.pop(key, None)
            else:
                keys[key] = id

    return restore
