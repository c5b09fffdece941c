"""A batch of commits as the statements that write it to SQLite.

Of a document or index entry that the batch writes several times, only the last version is written. All rows of one kind go in
one statement: each statement gives up the interpreter's lock and may have to wait milliseconds to get it back from a busy loop,
so a batch written row by row would take a hundred times as long (measured).

None of these statements can be refused half-way and be taken back alone: `OR FAIL`, and no column that is written has a constraint.
Else SQLite would first copy each page that they change to another file, a fifth of the writing. Whoever meets an error rolls back.

Byte strings are given as `bytearray`: for each `bytes` the sqlite3 module first looks for somebody who adapts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from interlock.storage import log_body, sqlite_schema
from interlock.storage.protocol import Commit
from interlock.storage.sqlite_schema import Statement

_PUT_DOCUMENTS = "INSERT OR FAIL INTO documents VALUES {rows} ON CONFLICT (table_number, id) DO UPDATE SET doc = excluded.doc"
_PUT_ENTRIES = "INSERT OR FAIL INTO entries VALUES {rows} ON CONFLICT (index_number, key) DO UPDATE SET id = excluded.id"
_DELETE_DOCUMENTS = "DELETE FROM documents WHERE table_number = ? AND id IN ({marks})"
_DELETE_ENTRIES = "DELETE FROM entries WHERE index_number = ? AND key IN ({marks})"
_ADD_SIZES = (
    "INSERT OR FAIL INTO sizes VALUES {rows} ON CONFLICT (table_number) DO UPDATE"
    " SET count = count + excluded.count, size = size + excluded.size"
)
_PUT_LOG = "INSERT INTO log VALUES (?, ?, ?)"

_LOG_BODY_BYTES = 16 * 1024 * 1024
_PAGE_BYTES = 4096


class Batch:
    """The statements, in the order in which they are run, and a guess at how many pages they touch."""

    __slots__ = ("pages", "statements")

    def __init__(self, commits: Sequence[Commit]) -> None:
        documents: dict[tuple[int, str], bytes | None] = {}
        entries: dict[tuple[int, bytes], str | None] = {}
        sizes: dict[int, list[int]] = {}
        self.statements: list[Statement] = []
        self.pages = 2
        for commit in commits:
            for write in commit.writes:
                table, id, old, new = write.table, write.id, write.old, write.new
                documents[table, id] = new
                if old is not None and len(old) > _PAGE_BYTES:
                    self.pages += len(old) // _PAGE_BYTES  # given back one by one
                size = (0 if new is None else len(new)) - (0 if old is None else len(old))
                count = (new is not None) - (old is not None)
                if size or count:
                    total = sizes.get(table)
                    if total is None:
                        sizes[table] = [count, size]
                    else:
                        total[0] += count
                        total[1] += size
                for index, old_key, new_key in write.entries:
                    if old_key is not None:
                        entries[index, old_key] = None
                    if new_key is not None:
                        entries[index, new_key] = id
            if commit.tables or commit.indexes:
                self._add_catalog(commit)
        self.pages += len(documents) + len(entries)
        self._add_documents(documents)
        self._add_entries(entries)
        self.statements += _rows(_ADD_SIZES, [x for table, (count, size) in sizes.items() if count or size for x in (table, count, size)])
        self._add_log(commits)
        if not commits:
            self.statements.append((sqlite_schema.PROBE, ()))

    def _add_catalog(self, commit: Commit) -> None:
        for table in commit.tables:
            self.statements += sqlite_schema.put_table(table)
        for index in commit.indexes:
            self.statements += sqlite_schema.put_index(index)

    def _add_documents(self, documents: dict[tuple[int, str], bytes | None]) -> None:
        puts: list[Any] = []
        deletes: dict[int, list[Any]] = {}
        for table, id in sorted(documents):  # in the order of the tree: neighbours share a page
            doc = documents[table, id]
            if doc is not None:
                puts += (table, id, bytearray(doc))
            else:
                deletes.setdefault(table, []).append(id)
        self.statements += _rows(_PUT_DOCUMENTS, puts)
        for table, ids in deletes.items():
            self.statements += _marks(_DELETE_DOCUMENTS, table, ids)

    def _add_entries(self, entries: dict[tuple[int, bytes], str | None]) -> None:
        puts: list[Any] = []
        deletes: dict[int, list[Any]] = {}
        for index, key in sorted(entries):
            id = entries[index, key]
            if id is not None:
                puts += (index, bytearray(key), id)
            else:
                deletes.setdefault(index, []).append(key)
        self.statements += _rows(_PUT_ENTRIES, puts)
        for index, keys in deletes.items():
            self.statements += _marks(_DELETE_ENTRIES, index, keys)

    def _add_log(self, commits: Sequence[Commit]) -> None:
        for group in _groups(commits):
            body = log_body.encode(group)
            self.pages += len(body) // _PAGE_BYTES
            self.statements.append((_PUT_LOG, (group[-1].ts, group[0].ts, bytearray(body))))


def put_entries(rows: Iterable[tuple[int, bytes, str]]) -> list[Statement]:
    """(index, key, id), of which no two have the same key."""
    return _rows(_PUT_ENTRIES, [value for row in rows for value in row])


def _rows(statement: str, parameters: list[Any]) -> list[Statement]:
    """Three parameters a row."""
    statements: list[Statement] = []
    at, rows = 0, len(parameters) // 3
    for size in _sizes(rows):
        statements.append((_with_rows(statement, size), parameters if size == rows else parameters[at * 3 : (at + size) * 3]))
        at += size
    return statements


def _marks(statement: str, number: int, values: list[Any]) -> list[Statement]:
    statements: list[Statement] = []
    at = 0
    for size in _sizes(len(values)):
        statements.append((_with_marks(statement, size), [number, *values[at : at + size]]))
        at += size
    return statements


def _groups(commits: Sequence[Commit]) -> Iterator[Sequence[Commit]]:
    """The commits in groups that make log rows of a bearable size."""
    start = total = 0
    for at, commit in enumerate(commits):
        total += sum([len(write.new) for write in commit.writes if write.new is not None])
        if total > _LOG_BODY_BYTES:
            yield commits[start : at + 1]
            start, total = at + 1, 0
    if start < len(commits):
        yield commits[start:]


def _sizes(rows: int) -> Iterable[int]:
    """`rows` as a sum of few numbers, out of a set that is small enough for all statements to stay prepared."""
    if rows <= 32:
        return (rows,) if rows else ()
    sizes = []
    for size in (256, 64, 32):
        sizes += [size] * (rows // size)
        rows %= size
    return [*sizes, rows] if rows else sizes


@lru_cache(maxsize=256)
def _with_rows(statement: str, rows: int) -> str:
    return statement.format(rows=", ".join(["(?, ?, ?)"] * rows))


@lru_cache(maxsize=256)
def _with_marks(statement: str, marks: int) -> str:
    return statement.format(marks=", ".join("?" * marks))
