"""A document as a worker believes it to be: the bytes that the host packs, and what is made of them, once, when it is first asked for."""

from __future__ import annotations

from typing import Any

import orjson

from interlock.sandbox.digests import digest
from interlock.values import pack, unpack

_LONGEST = 4 * 1024
_fragment, _as_text = orjson.Fragment, orjson.dumps


class Row:
    """Never changed: who patches it makes another one. `size` is about how many bytes it has. `version` is its number, by which the host
    knows it too; 0 is none.
    """

    __slots__ = ("_digest", "_fields", "_is_wanted", "_packed", "_step", "fits", "size", "version")

    def __init__(self, packed: bytes | None, fields: dict[str, Any] | None = None, fits: bool = False, size: int = 0) -> None:
        """`fields` are the same document, if it is flat and at hand, in the order that reading the bytes would give; where there are no
        bytes yet, `size` goes with them. `fits`: its table's check has been over it.
        """
        self._packed, self.fits = packed, fits
        self.size = size if packed is None else len(packed)
        self._fields = fields
        self._is_wanted = False  # whether it was read before
        self._digest = ""
        self._step: Any = None
        self.version = 0

    @property
    def packed(self) -> bytes:
        """The whole of it."""
        packed = self._packed
        if packed is None:
            packed = self._packed = pack(self._fields)
            if len(packed) > _LONGEST:
                self._fields = None
        return packed

    @property
    def digest(self) -> str:
        """What the host compares."""
        if not self._digest:
            self._digest = digest([self.packed])
        return self._digest

    def fresh(self) -> dict[str, Any]:
        """The document, for a function to do with what it likes."""
        fields = self._fields
        if fields is not None:
            return fields.copy()
        packed = self.packed
        document: dict[str, Any] = unpack(packed)
        if not self._is_wanted:
            self._is_wanted = True
        elif len(packed) <= _LONGEST and size_if_flat(document) >= 0:
            self._fields = document.copy()
        return document

    def get_step(self, id: str) -> Any:
        """The step of a function that was shown it, as it is sent. `id` is its own."""
        if self.version:
            return ["get", id, self.version]
        if self._step is None:
            self._step = _fragment(b'["get","%b",%b]' % (id.encode(), _as_text(self.digest)))
        return self._step

    def forget_version(self) -> None:
        """The host no longer knows it by that."""
        self.version = 0


def row_of(document: dict[str, Any]) -> Row:
    """A document that the host has told, as a row; its bytes are made when they are needed. The document may be changed afterwards."""
    size = size_if_flat(document)
    return Row(pack(document)) if size < 0 else Row(None, document.copy(), size=size)


def size_if_flat(document: dict[str, Any]) -> int:
    """About how many bytes it has, if a copy of it shares nothing that can be changed; else -1."""
    size = 0
    for value in document.values():
        kind = type(value)
        if kind is dict or kind is list:
            return -1
        if kind is str:
            size += len(value) if value.isascii() else 4 * len(value)
        elif kind is bytes:
            size += len(value)
        size += 24
    return size
