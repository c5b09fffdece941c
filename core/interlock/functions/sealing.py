"""Sealed texts: what is handed out to be handed back, and can neither be read nor made up. Page cursors and handles are such.

Equal contents give equal texts, in every process that has the secret: a cursor is part of a query's arguments.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

_TAG_BYTES = 16


class Seal:
    """Texts of one purpose under one secret. Authenticated first, and the tag is what the contents are encrypted with (SIV)."""

    __slots__ = ("_encrypting", "_signing")

    def __init__(self, secret: bytes, purpose: str) -> None:
        self._signing = hmac.digest(secret, b"sign " + purpose.encode(), "sha256")
        self._encrypting = hmac.digest(secret, b"encrypt " + purpose.encode(), "sha256")

    def close(self, contents: bytes) -> str:
        """The sealed text, safe in a URL."""
        tag = hmac.digest(self._signing, contents, "sha256")[:_TAG_BYTES]
        return base64.urlsafe_b64encode(tag + self._mask(tag, contents)).rstrip(b"=").decode()

    def open(self, text: str) -> bytes | None:
        """The contents, or None for a text that this seal has not made."""
        try:
            sealed = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError):
            return None
        tag = sealed[:_TAG_BYTES]
        contents = self._mask(tag, sealed[_TAG_BYTES:])
        genuine = hmac.compare_digest(tag, hmac.digest(self._signing, contents, "sha256")[:_TAG_BYTES])
        # One contents has one text: base64 leaves bits at the end that a decoder does not look at.
        return contents if genuine and self.close(contents) == text else None

    def _mask(self, tag: bytes, contents: bytes) -> bytes:
        stream = hashlib.shake_256(self._encrypting + tag).digest(len(contents))
        return (int.from_bytes(contents, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(contents), "big")
