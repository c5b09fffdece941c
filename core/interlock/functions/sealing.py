"""Sealed texts: what is handed out to be handed back, and can neither be read nor made up. Page cursors and handles are such.

Equal contents give equal texts, in every process that has the secret: a cursor is part of a query's arguments. So the cipher
is AES-SIV (RFC 5297), which is made to be safe without a nonce.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV


class Seal:
    """Texts of one purpose under one secret: those of another purpose are none of its own."""

    __slots__ = ("_key", "_known_cipher")

    def __init__(self, secret: bytes, purpose: str) -> None:
        self._key = hmac.digest(secret, b"seal " + purpose.encode(), "sha512")
        self._known_cipher: AESSIV | None = None

    @property
    def _cipher(self) -> AESSIV:
        """Made when first used: the library takes 10 MB, and many servers seal nothing."""
        if self._known_cipher is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESSIV

            self._known_cipher = AESSIV(self._key)
        return self._known_cipher

    def close(self, contents: bytes) -> str:
        """The sealed text, safe in a URL. `contents` is not empty."""
        return base64.urlsafe_b64encode(self._cipher.encrypt(contents, None)).rstrip(b"=").decode()

    def open(self, text: str) -> bytes | None:
        """The contents, or None for a text that this seal has not made."""
        from cryptography.exceptions import InvalidTag

        try:
            sealed = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), b"-_", validate=True)
            contents = self._cipher.decrypt(sealed, None)
        except (binascii.Error, UnicodeEncodeError, InvalidTag, ValueError):
            return None
        # One contents has one text: base64 leaves bits at the end that a decoder does not look at.
        return contents if self.close(contents) == text else None
