"""What a function was shown of rows, in short: how the host tells whether that is what it finds itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

_AS_THEY_ARE = 400
"""So many bytes are told and compared in less time than a digest of them takes to make, on each side."""
_KEPT, _KEPT_BYTES_MOST = 2_048, 8_192
"""Of how many documents the host remembers the digests, and the longest of these."""


def digest(packed: Sequence[bytes]) -> str:
    """Of the packed documents of a scan, in their order: themselves, where they are short."""
    rows = packed[0] if len(packed) == 1 else b"\0".join(packed)
    return rows.decode() if len(rows) <= _AS_THEY_ARE else _made(rows)


def known_digest(packed: Sequence[bytes]) -> str:
    """The same, remembered for a while: one call after another is shown the same few documents."""
    if len(packed) != 1 or not _AS_THEY_ARE < len(packed[0]) <= _KEPT_BYTES_MOST:
        return digest(packed)
    return _kept(packed[0])


def _made(rows: bytes) -> str:
    made = _none.copy()  # cheaper than to make one with a size of its own
    made.update(rows)
    return made.hexdigest()


_none = blake2b(digest_size=16)
_kept = lru_cache(_KEPT)(_made)
