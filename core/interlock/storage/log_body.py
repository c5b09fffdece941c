"""How a batch of commits is written in the log: four bytes of length, a JSON header of that length, then all byte strings in a row.

The header holds the commits with the length of each byte string in its place; so encoding is one call of orjson and one join.
Of a document only the new version is written: the old one is in an earlier row, and nobody reads the log backwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from interlock.storage.protocol import Commit, Entry, IndexRecord, TableRecord, Write


def encode(commits: Iterable[Commit]) -> bytes:
    """The commits without what only the engine knows of them (`seal`)."""
    header: list[Any] = []
    strings: list[bytes] = [b"", b""]
    keep = strings.append
    for commit in commits:
        writes: list[Any] = []
        for write in commit.writes:
            new = write.new
            line: list[Any] = [write.table, write.id, None]
            if new is not None:
                keep(new)
                line[2] = len(new)
            for index, old_key, new_key in write.entries:
                if old_key is not None:
                    keep(old_key)
                if new_key is not None:
                    keep(new_key)
                line += (index, None if old_key is None else len(old_key), None if new_key is None else len(new_key))
            writes.append(line)
        line = [commit.ts, commit.source, writes]
        if commit.tables or commit.indexes:
            line.append([[table.number, table.component, table.name, table.validator] for table in commit.tables])
            line.append([[index.number, index.table, index.name, index.fields] for index in commit.indexes])
        header.append(line)
    strings[1] = orjson.dumps(header)
    strings[0] = len(strings[1]).to_bytes(4, "big")
    return b"".join(strings)


def decode(body: bytes) -> list[Commit]:
    """The commits as they were encoded."""
    end = 4 + int.from_bytes(body[:4], "big")
    strings = _Strings(body, end)
    commits = []
    for ts, source, lines, *catalog in orjson.loads(body[4:end]):
        writes = []
        for table, id, new, *entries in lines:
            write = Write(table, id, None, strings.take(new))
            write.entries = tuple(
                Entry(entries[at], strings.take(entries[at + 1]), strings.take(entries[at + 2])) for at in range(0, len(entries), 3)
            )
            writes.append(write)
        tables, indexes = catalog or ((), ())
        commits.append(
            Commit(
                writes,
                [TableRecord(*table) for table in tables],
                [IndexRecord(number, table, name, tuple(fields)) for number, table, name, fields in indexes],
                source,
                ts,
            )
        )
    return commits


class _Strings:
    """The byte strings behind the header, taken one after another."""

    def __init__(self, body: bytes, start: int) -> None:
        self._body, self._at = body, start

    def take(self, length: int | None) -> bytes | None:
        if length is None:
            return None
        start, self._at = self._at, self._at + length
        return self._body[start : self._at]
