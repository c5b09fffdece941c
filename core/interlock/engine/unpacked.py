"""Documents that were read or written lately, unpacked: what is changed has mostly been read just before, and is read again soon.

They are kept by the bytes that they are stored as, so nothing that is kept is ever wrong. Flat ones only: a copy of them is
made at once, where one of lists and objects costs as much as to read the bytes anew.
"""

from __future__ import annotations

from typing import Any

from interlock.values import unpack

_MOST = 1_024
_LONGEST = 8_192


class Unpacked:
    """At most 2,048 documents of at most 8 KiB: those of the younger half, and those of the older that nobody has asked for since."""

    __slots__ = ("_older", "_younger")

    def __init__(self) -> None:
        self._younger: dict[bytes, dict[str, Any]] = {}
        self._older: dict[bytes, dict[str, Any]] = {}

    def fresh(self, packed: bytes, keeps: bool) -> dict[str, Any]:
        """A copy for somebody who may change it. `keeps`: it is likely to be asked for again."""
        document: dict[str, Any] | None = self._younger.get(packed)
        if document is not None:
            return document.copy()
        document = self._older.get(packed)
        if document is not None:
            self._keep(packed, document)
            return document.copy()
        document = unpack(packed)
        if keeps and len(packed) <= _LONGEST and is_flat(document):
            self._keep(packed, document.copy())
        return document

    def to_look_at(self, packed: bytes) -> dict[str, Any]:
        """The document, not to be changed: somebody else may have it too."""
        document: dict[str, Any] | None = self._younger.get(packed)
        if document is None:
            document = self._older.get(packed)
        return unpack(packed) if document is None else document

    def changed(self, old: bytes, packed: bytes, document: dict[str, Any]) -> None:
        """A document was packed anew: if it was kept it still is, unless its fields are others."""
        older = self._older.pop(old, None)  # out of both: what was asked for again is the same object in either
        kept = self._younger.pop(old, older)
        if kept is None:
            return
        fields = len(kept)
        if fields == len(document):
            kept.update(document)  # in place: so its fields stay in the order that they are read in
            if fields == len(kept) and len(packed) <= _LONGEST and is_flat(kept):
                self._keep(packed, kept)

    def _keep(self, packed: bytes, document: dict[str, Any]) -> None:
        if len(self._younger) >= _MOST:
            self._older, self._younger = self._younger, {}
        self._younger[packed] = document


def is_flat(document: dict[str, Any]) -> bool:
    """Whether no field is a list or an object."""
    for value in document.values():
        kind = type(value)
        if kind is dict or kind is list:
            return False
    return True
