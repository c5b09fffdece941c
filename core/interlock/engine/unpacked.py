"""Documents that were read or written lately, unpacked: what is changed has mostly been read just before, and is read again soon.

They are kept by the bytes that they are stored as, so nothing that is kept is ever wrong; by the object and not by what is in it,
which would have to be read through for each new version. Flat ones only: a copy of them is made at once, where one of lists and
objects costs as much as to read the bytes anew.
"""

from __future__ import annotations

from typing import Any, Final

from interlock.values import unpack

_MOST = 1_024
_LONGEST: Final = 16_384


class Unpacked:
    """At most 2,048 documents of at most 16 KiB: those of the younger half, and those of the older that nobody has asked for since.

    By the `id` of their bytes, which is nobody else's while they are held here.
    """

    __slots__ = ("_older", "_younger")

    def __init__(self) -> None:
        self._younger: dict[int, Any] = {}  # the bytes and the document
        self._older: dict[int, Any] = {}

    def fresh(self, packed: bytes, keeps: bool) -> dict[str, Any]:
        """A copy for somebody who may change it. `keeps`: it is likely to be asked for again."""
        document: dict[str, Any]
        kept = self._younger.get(id(packed))
        if kept is not None:
            document = kept[1]
            return document.copy()
        kept = self._older.get(id(packed))
        if kept is not None:
            self._keep(packed, kept)
            document = kept[1]
            return document.copy()
        document = unpack(packed)
        if keeps and len(packed) <= _LONGEST and is_flat(document):
            self._keep(packed, (packed, document.copy()))
        return document

    def to_look_at(self, packed: bytes) -> dict[str, Any]:
        """The document, not to be changed: somebody else may have it too."""
        kept = self._younger.get(id(packed))
        if kept is None:
            kept = self._older.get(id(packed))
        document: dict[str, Any] = unpack(packed) if kept is None else kept[1]
        return document

    def changed(self, old: bytes, packed: bytes, document: dict[str, Any]) -> None:
        """A document was packed anew: if it was kept it still is, unless its fields are others."""
        older = self._older.pop(id(old), None)  # out of both: what was asked for again is the same object in either
        kept = self._younger.pop(id(old), older)
        if kept is None:
            return
        found: dict[str, Any] = kept[1]
        fields = len(found)
        if fields == len(document):
            found.update(document)  # in place: so its fields stay in the order that they are read in
            if fields == len(found) and len(packed) <= _LONGEST and is_flat(found):
                self._keep(packed, (packed, found))

    def _keep(self, packed: bytes, kept: Any) -> None:
        if len(self._younger) >= _MOST:
            self._older, self._younger = self._younger, {}
        self._younger[id(packed)] = kept


def is_flat(document: dict[str, Any]) -> bool:
    """Whether no field is a list or an object."""
    for value in document.values():
        kind = type(value)
        if kind is dict or kind is list:
            return False
    return True
