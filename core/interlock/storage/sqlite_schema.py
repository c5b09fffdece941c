"""The tables of `interlock.sqlite3`, format 1, and the statements that keep its catalog.

meta        next_number; probes, which empty appends count up
facts       settings kept with the data
tables, indexes, sizes    the catalog; how many documents a table has and how many bytes
documents   the newest version of each document. A table with row ids: a row of a kilobyte or two shares its page with others
entries     (index, key) → document; the index by `_id` has none
log         commits, one row a batch, by the timestamp of its last commit. The newest row is never deleted, so the
            newest timestamp is always the largest one here

What every batch writes has no constraints but its keys: see batch.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from interlock.storage.protocol import IndexRecord, TableRecord

# "Ilok": how we know our own file.
APPLICATION_ID = 0x496C6F6B
FORMAT = 1

CREATE = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE tables (number INTEGER PRIMARY KEY, component TEXT NOT NULL, name TEXT NOT NULL, validator TEXT NOT NULL)",
    "CREATE TABLE indexes (number INTEGER PRIMARY KEY, table_number INTEGER NOT NULL, name TEXT NOT NULL, fields TEXT NOT NULL)",
    "CREATE TABLE sizes (table_number INTEGER PRIMARY KEY, count INTEGER, size INTEGER)",
    "CREATE TABLE documents (table_number INTEGER, id TEXT, doc BLOB, UNIQUE (table_number, id))",
    "CREATE TABLE entries (index_number INTEGER, key BLOB, id TEXT, PRIMARY KEY (index_number, key)) WITHOUT ROWID",
    "CREATE TABLE log (last INTEGER PRIMARY KEY, first INTEGER NOT NULL, body BLOB NOT NULL)",
    "INSERT INTO meta VALUES ('next_number', 1), ('probes', 0)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {FORMAT}",
)

# One look into every tree, also into the index of the documents: a file whose first pages are damaged is told at the start, not in
# the middle of a day.
LOOK = (
    "SELECT * FROM facts",
    "SELECT * FROM sizes LIMIT 1",
    "SELECT length(doc) FROM documents LIMIT 1",
    "SELECT table_number FROM documents LIMIT 1",
    "SELECT length(key) FROM entries LIMIT 1",
    "SELECT first FROM log LIMIT 1",
)

NEWEST = "SELECT coalesce(max(last), 0) FROM log"
PROBE = "UPDATE meta SET value = value + 1 WHERE name = 'probes'"

Statement = tuple[str, Sequence[Any]]


def put_table(record: TableRecord) -> list[Statement]:
    """A table made or changed. Its size is left as it was counted."""
    return [
        (
            "INSERT INTO tables VALUES (?, ?, ?, ?) ON CONFLICT (number) DO UPDATE "
            "SET component = excluded.component, name = excluded.name, validator = excluded.validator",
            (record.number, record.component, record.name, record.validator),
        ),
        _use_number(record.number),
    ]


def put_index(record: IndexRecord) -> list[Statement]:
    """An index made."""
    fields = json.dumps(record.fields)
    return [("INSERT INTO indexes VALUES (?, ?, ?, ?)", (record.number, record.table, record.name, fields)), _use_number(record.number)]


def drop_index(number: int) -> list[Statement]:
    return [("DELETE FROM entries WHERE index_number = ?", (number,)), ("DELETE FROM indexes WHERE number = ?", (number,))]


def drop_table(number: int) -> list[Statement]:
    """A table with its documents, its indexes and their entries."""
    return [
        ("DELETE FROM entries WHERE index_number IN (SELECT number FROM indexes WHERE table_number = ?)", (number,)),
        ("DELETE FROM indexes WHERE table_number = ?", (number,)),
        ("DELETE FROM documents WHERE table_number = ?", (number,)),
        ("DELETE FROM sizes WHERE table_number = ?", (number,)),
        ("DELETE FROM tables WHERE number = ?", (number,)),
    ]


def put_fact(name: str, value: str) -> Statement:
    return "INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value)


def count_again(table: int) -> Statement:
    """Only the bytes can have changed, and only where there are documents."""
    return (
        "UPDATE sizes SET size = (SELECT sum(length(doc)) FROM documents WHERE table_number = ?1) WHERE table_number = ?1 AND count > 0",
        (table,),
    )


def _use_number(number: int) -> Statement:
    return "UPDATE meta SET value = max(value, ?) WHERE name = 'next_number'", (number + 1,)


def to_index(number: int, table: int, name: str, fields: str) -> IndexRecord:
    return IndexRecord(number, table, name, tuple(json.loads(fields)))
