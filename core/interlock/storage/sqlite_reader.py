"""Reading SQLite in the loop's own thread, each read from one database snapshot.

Short reads share one connection and its snapshot, until `Readers.refresh` lets the next read enter the newest one. A read that
is long enough to give the loop a turn takes the connection along, and others go on with another.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from interlock.errors import StorageUnavailable
from interlock.storage import sqlite_schema
from interlock.storage.sqlite_failures import read_failure

_FETCH_ROWS = 32
_ROWS_A_TURN = 256
_BYTES_A_TURN = 1024 * 1024
_SPARES_KEPT = 2


class Readers:
    """The connections that read one file."""

    def __init__(self, file: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        self._file, self._connect = file, connect
        self._shared: _Reader | None = None
        self._spare: list[_Reader] = []
        self._all: set[_Reader] = set()
        self._is_open = False
        self._is_in_a_hurry = False

    def open(self) -> None:
        self._is_open = True

    def read(self) -> Reading:
        """`with readers.read() as reading:` is one snapshot. Errors of SQLite come out as StorageUnavailable."""
        return Reading(self)

    def refresh(self) -> None:
        """Let the next read enter the newest snapshot. One that nobody leaves would keep the write-ahead log growing."""
        reader = self._shared
        if reader is not None and reader.is_inside and not self._leave(reader):
            self._shared = None
            self._discard(reader)

    async def drain(self) -> None:
        """Let the long readings that are under way end at once, each in the next turn that it gets."""
        self._is_in_a_hurry = True
        try:
            while len(self._all) > len(self._spare) + (self._shared is not None):  # noqa: ASYNC110
                # Each of them stands in the loop's queue already, so a turn or two will do.
                await asyncio.sleep(0)
        finally:
            self._is_in_a_hurry = False

    def close(self) -> None:
        self._is_open = False
        for reader in self._all:
            reader.connection.close()
        self._all.clear()
        self._spare.clear()
        self._shared = None

    def failure(self, error: sqlite3.Error) -> Exception:
        return read_failure(self._file, error)

    def take(self) -> _Reader:
        """The shared connection, inside a snapshot."""
        if not self._is_open:
            raise StorageUnavailable(f"{self._file} is closed.", "Open it again.")
        reader = self._shared
        if reader is None:
            reader = self._shared = self._spare.pop() if self._spare else self._open()
        if not reader.is_inside:
            try:
                reader.enter()
            except sqlite3.Error:
                self._shared = None
                self._discard(reader)
                raise
        return reader

    def part_with(self, reader: _Reader) -> bool:
        """The reading that has this connection keeps it for itself over turns of the loop. False: it shall not take any more turns."""
        if self._is_in_a_hurry:
            return False
        if reader is self._shared:
            self._shared = None
        return True

    def give_back(self, reader: _Reader, *, is_sound: bool) -> None:
        """A reading has ended. The shared connection stays in its snapshot for the next one."""
        if reader is self._shared and is_sound:
            return
        if reader is self._shared:
            self._shared = None
        if is_sound and len(self._spare) < _SPARES_KEPT and self._leave(reader):
            self._spare.append(reader)
        else:
            self._discard(reader)

    def _open(self) -> _Reader:
        reader = _Reader(self._connect())
        self._all.add(reader)
        return reader

    def _leave(self, reader: _Reader) -> bool:
        try:
            reader.leave()
        except sqlite3.Error:
            return False
        return True

    def _discard(self, reader: _Reader) -> None:
        self._all.discard(reader)
        reader.connection.close()


class Reading:
    """One snapshot in use. `at` is the newest commit in it."""

    __slots__ = ("_bytes", "_reader", "_readers", "_rows", "at")

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._rows = self._bytes = 0

    def __enter__(self) -> Reading:
        try:
            self._reader = self._readers.take()
        except sqlite3.Error as error:
            raise self._readers.failure(error) from error
        self.at = self._reader.at
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._readers.give_back(self._reader, is_sound=not isinstance(error, sqlite3.Error))
        if isinstance(error, sqlite3.Error):
            raise self._readers.failure(error) from error

    def one(self, text: str, parameters: tuple[Any, ...]) -> Any:
        """The first row, or None."""
        rows = self._reader.connection.execute(text, parameters).fetchall()
        return rows[0] if rows else None

    async def all(self, text: str, parameters: tuple[Any, ...]) -> list[Any]:
        """The rows, of which the last column is the long one. Gives the loop a turn now and then if there are many."""
        cursor = self._reader.connection.execute(text, parameters)
        try:
            rows = fetched = cursor.fetchmany(_FETCH_ROWS)
            while len(fetched) == _FETCH_ROWS:
                await self.pause(_FETCH_ROWS, sum(len(row[-1]) for row in fetched))
                fetched = cursor.fetchmany(_FETCH_ROWS)
                rows += fetched
        finally:
            # A statement that is not at its end keeps its snapshot, whatever becomes of the connection.
            cursor.close()
        return rows

    async def pause(self, rows: int, size: int) -> None:
        """Count what was read, and give the loop a turn when it was much."""
        self._rows += rows
        self._bytes += size
        if self._rows >= _ROWS_A_TURN or self._bytes >= _BYTES_A_TURN:
            self._rows = self._bytes = 0
            if self._readers.part_with(self._reader):
                await asyncio.sleep(0)


class _Reader:
    """A connection and the snapshot that it is in."""

    __slots__ = ("at", "connection", "is_inside")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.is_inside = False
        self.at = 0

    def enter(self) -> None:
        self.connection.execute("BEGIN")
        self.is_inside = True
        # This first look is what takes the snapshot, so the timestamp and all rows after it belong together.
        (self.at,) = self.connection.execute(sqlite_schema.NEWEST).fetchone()

    def leave(self) -> None:
        self.is_inside = False
        self.connection.execute("COMMIT")
