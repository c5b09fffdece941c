"""What a transaction has used of its limits, and how a call below it may be given less."""

from __future__ import annotations

from typing import Final

from interlock.errors import LimitExceeded
from interlock.limits import LIMITS, Limits

COUNTED = (
    "documents_read",
    "bytes_read",
    "intervals_read",
    "documents_written",
    "bytes_written",
    "functions_scheduled",
    "scheduled_bytes",
)


class Counts:
    """One number for each counted limit. They begin on the class: a transaction is made for every call."""

    documents_read: int = 0
    bytes_read: int = 0
    intervals_read: int = 0
    documents_written: int = 0
    bytes_written: int = 0
    functions_scheduled: int = 0
    scheduled_bytes: int = 0

    def is_over(self, more: Counts, maximum: Counts) -> bool:
        """Whether with so much more it would be over any of these."""
        return (
            self.documents_read + more.documents_read > maximum.documents_read
            or self.bytes_read + more.bytes_read > maximum.bytes_read
            or self.intervals_read + more.intervals_read > maximum.intervals_read
            or self.documents_written + more.documents_written > maximum.documents_written
            or self.bytes_written + more.bytes_written > maximum.bytes_written
            or self.functions_scheduled + more.functions_scheduled > maximum.functions_scheduled
            or self.scheduled_bytes + more.scheduled_bytes > maximum.scheduled_bytes
        )

    def as_dict(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in COUNTED}


def _in_force() -> Counts:
    counts = Counts()
    for name in COUNTED:
        setattr(counts, name, int(LIMITS[name].value))
    return counts


_IN_FORCE: Final = _in_force()
_LENGTH_FREE: Final = 2_048
"""Bytes that both ends of an interval may have for nothing. They are kept until the transaction ends, or its subscription."""


class Budget:
    """`used` and `maximum` of a transaction. What is over its maximum raises LimitExceeded, and stays counted."""

    __slots__ = ("maximum", "used")

    def __init__(self, limits: Limits | None = None) -> None:
        self.used = Counts()
        self.maximum = _IN_FORCE
        if limits is not None:
            self.lower(limits)

    @property
    def bytes_left(self) -> int:
        """How many bytes may still be read; below 0 when that was passed already."""
        return self.maximum.bytes_read - self.used.bytes_read

    def read(self, size: int) -> None:
        used, maximum = self.used, self.maximum
        used.documents_read += 1
        used.bytes_read += size
        if used.documents_read > maximum.documents_read:
            raise LimitExceeded("documents_read", used.documents_read, maximum.documents_read)
        if used.bytes_read > maximum.bytes_read:
            raise LimitExceeded("bytes_read", used.bytes_read, maximum.bytes_read)

    def read_many(self, documents: int, size: int) -> None:
        self.used.documents_read += documents - 1
        self.read(size)

    def allow_reads(self, ids: int) -> None:
        """Raise LimitExceeded for more ids than documents may be read: to look for those that are not there takes time, too."""
        if ids > self.maximum.documents_read:
            raise LimitExceeded("documents_read", ids, self.maximum.documents_read)

    def read_interval(self, length: int = 0) -> None:
        """One more range of an index, the bytes of whose ends are many or not, or one more id. Long ones count as what is read."""
        used, maximum = self.used, self.maximum
        used.intervals_read += 1
        if length > _LENGTH_FREE:
            used.bytes_read += length
            if used.bytes_read > maximum.bytes_read:
                raise LimitExceeded("bytes_read", used.bytes_read, maximum.bytes_read)
        if used.intervals_read > maximum.intervals_read:
            raise LimitExceeded("intervals_read", used.intervals_read, maximum.intervals_read)

    def wrote(self, size: int) -> None:
        used, maximum = self.used, self.maximum
        used.documents_written += 1
        used.bytes_written += size
        if used.documents_written > maximum.documents_written:
            raise LimitExceeded("documents_written", used.documents_written, maximum.documents_written)
        if used.bytes_written > maximum.bytes_written:
            raise LimitExceeded("bytes_written", used.bytes_written, maximum.bytes_written)

    def scheduled(self, size: int) -> None:
        used, maximum = self.used, self.maximum
        used.functions_scheduled += 1
        used.scheduled_bytes += size
        if used.functions_scheduled > maximum.functions_scheduled:
            raise LimitExceeded("functions_scheduled", used.functions_scheduled, maximum.functions_scheduled)
        if used.scheduled_bytes > maximum.scheduled_bytes:
            raise LimitExceeded("scheduled_bytes", used.scheduled_bytes, maximum.scheduled_bytes)

    def reads(self) -> tuple[int, int, int]:
        """What has been read so far, for `give_back`."""
        used = self.used
        return used.documents_read, used.bytes_read, used.intervals_read

    def give_back(self, reads: tuple[int, int, int]) -> None:
        """What was read since then does not count: it is read again."""
        used = self.used
        used.documents_read, used.bytes_read, used.intervals_read = reads

    def lower(self, limits: Limits) -> Counts:
        """Give a call a budget of its own, at most what remains; returns what `restore` takes to undo it."""
        before = self.maximum
        self.maximum = Counts()
        for name in COUNTED:
            share, most = getattr(limits, name), getattr(before, name)
            setattr(self.maximum, name, most if share is None else min(most, getattr(self.used, name) + share))
        return before

    def restore(self, maximum: Counts) -> None:
        self.maximum = maximum
