"""Keys of entries. Both halves of the package use them."""

from __future__ import annotations

import hashlib

KEY_MOST = 1_024  # bytes; longer ones are kept by their hash


def key_of(text: str) -> str:
    """The key of arguments, given as their text: that text, or where it is long its SHA-256."""
    encoded = text.encode()
    return text if len(encoded) <= KEY_MOST else "#" + hashlib.sha256(encoded).hexdigest()
