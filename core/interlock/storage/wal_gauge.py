"""How far the write-ahead log has grown since it was last copied into the database.

SQLite says so only when it copies. Between two copies the pages that batches touch are guessed, and each copy corrects the guess.
"""

from __future__ import annotations


class WalGauge:
    """Tells when a copy is due."""

    def __init__(self, due_pages: int) -> None:
        self._due_pages = due_pages
        self._guessed = 0
        self._frames_before = 0
        self._pages_a_guess = 1.0

    def grew(self, pages: int) -> None:
        self._guessed += pages

    @property
    def is_due(self) -> bool:
        return self._guessed * self._pages_a_guess >= self._due_pages

    @property
    def frames(self) -> int:
        """How many there were at the last copy."""
        return self._frames_before

    def copied(self, frames: int) -> None:
        """`frames` are in the log, which has started over since the last copy if they are fewer than then."""
        grown = frames - self._frames_before if frames >= self._frames_before else frames
        if self._guessed:
            self._pages_a_guess = min(4.0, max(1 / 64, grown / self._guessed))
        self._guessed, self._frames_before = 0, frames

    def started_over(self) -> None:
        """The next write will be at the beginning of the log."""
        self._frames_before = 0
