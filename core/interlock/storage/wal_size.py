"""How far the write-ahead log has grown, so that it is copied into the database in time and can start over.

SQLite tells only those who copy it. But its file tells too: with `journal_size_limit` at LIMIT_BYTES a log that starts over
is cut to that length, so a longer file has just grown to where it ends.
"""

from __future__ import annotations

import os
from pathlib import Path

LIMIT_BYTES = 4 * 1024 * 1024
_LARGE_BYTES = 4 * LIMIT_BYTES


class WalSize:
    """Looked at after each write, told of each copy."""

    def __init__(self, database: Path) -> None:
        self._file = os.fspath(database) + "-wal"
        self._size = 0
        self._size_copied = 0
        self._size_pressed = 0

    def look(self) -> None:
        try:
            size = os.stat(self._file).st_size  # noqa: PTH116
        except FileNotFoundError:
            size = 0
        if size < self._size:
            self._size_copied = self._size_pressed = 0
        self._size = size

    @property
    def is_due(self) -> bool:
        """It has grown by the limit since it started over, or since a copy after which it could not."""
        return self._size > self._size_copied + LIMIT_BYTES

    def copied(self) -> None:
        self._size_copied = self._size

    @property
    def is_pressing(self) -> bool:
        """It has been copied again and again and could not start over: readings must make room."""
        return self._size > max(_LARGE_BYTES, 2 * self._size_pressed)

    def pressed(self) -> None:
        """Room was made. If that did not help, somebody outside is reading; then there is no use in pressing often."""
        self._size_pressed = self._size
