"""A document as a worker believes it to be: the bytes that the host packs, and what is made of them, once, when it is first asked for."""

from __future__ import annotations

from typing import Any

import orjson

from interlock.sandbox.digests import digest
from interlock.values import unpack

_LONGEST = 4 * 1024
_fragment, _as_text = orjson.Fragment, orjson.dumps


class Row:
    """Never changed: who patches it makes another one. `packed` is the whole of it."""

    __slots__ = ("_digest", "_fields", "_is_wanted", "_step", "fits", "packed")

    def __init__(self, packed: bytes, fields: dict[str, Any] | None = None, fits: bool = False) -> None:
        """`fields` are the same document, if it is flat and at hand, in the order that reading the bytes would give. `fits`: its table's
        check has been over it.
        """
        self.packed, self.fits = packed, fits
        self._fields = fields
        self._is_wanted = False  # whether it was read before
        self._digest = ""
        self._step: Any = None

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
        document: dict[str, Any] = unpack(self.packed)
        if not self._is_wanted:
            self._is_wanted = True
        elif len(self.packed) <= _LONGEST and is_flat(document):
            self._fields = document.copy()
        return document

    def get_step(self, id: str) -> Any:
        """The step of a function that was shown it, as it is sent. `id` is its own."""
        if self._step is None:
            self._step = _fragment(b'["get","%b",%b]' % (id.encode(), _as_text(self.digest)))
        return self._step


def is_flat(document: dict[str, Any]) -> bool:
    """Whether a copy of it shares nothing that can be changed."""
    for value in document.values():
        kind = type(value)
        if kind is dict or kind is list:
            return False
    return True
