"""What a worker means by the number of a version: documents as the host has told of them, or as a patch of the worker's has left them.

A function that saw a version says its number, and the host has the bytes of it at hand: nobody has to take a digest of them. Who is
known by no number any more is told by a digest again.
"""

from __future__ import annotations

_DOCUMENTS_MAX, _BYTES_MAX, _LONGEST = 20_000, 32 << 20, 64 * 1024
_Known = tuple[bytes, int, int]


class Versions:
    """Those of one worker: of each document the newest, with its number and the one before that, if that was the same document."""

    __slots__ = ("_bytes", "_known", "is_cleared")

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._bytes = 0
        self.is_cleared = False  # and the worker is to be told

    def note(self, id: str, number: int, packed: bytes) -> None:
        """This is the version of this number."""
        size = len(packed)
        if size > _LONGEST:
            return
        before = 0
        known = self._known.get(id)
        if known is not None:
            if known[0] == packed:
                before = known[1]  # by a patch that has changed nothing
            size -= len(known[0])
        elif len(self._known) >= _DOCUMENTS_MAX or self._bytes >= _BYTES_MAX:
            self._known.clear()
            self._bytes = 0
            self.is_cleared = True
        self._bytes += size
        self._known[id] = (packed, number, before)

    def show(self, id: str, number: int, packed: bytes) -> int:
        """It is told of this version: under its number, if it has one, or else under this one."""
        known = self._known.get(id)
        if known is not None and known[0] == packed:
            return known[1]
        self.note(id, number, packed)
        return number

    def packed(self, id: str, number: int) -> bytes | None:
        """The version of this number, where it is known."""
        known = self._known.get(id)
        return known[0] if known is not None and (known[1] == number or known[2] == number) else None
