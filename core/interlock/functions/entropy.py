"""Randomness that nobody can guess, drawn from the system many bytes at a time: a system call for each transaction is dear."""

from __future__ import annotations

import os
import random

_BYTES_AT_ONCE = 4096
_WORD = 8


class _Store:
    """Bytes that were drawn and not used yet."""

    def __init__(self) -> None:
        self.bytes, self.at = b"", 0

    def forget(self) -> None:
        self.bytes, self.at = b"", 0


_store = _Store()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_store.forget)  # else parent and child would have the same


class Entropy(random.SystemRandom):
    """`SystemRandom` with a store, which all of a process share. What was drawn is used once. For one thread at a time."""

    def getrandbits(self, k: int, /) -> int:
        """A number of `k` bits, each of them random."""
        if not 0 < k <= _WORD * 8:
            return super().getrandbits(k)
        store = _store
        if store.at == len(store.bytes):
            store.bytes, store.at = os.urandom(_BYTES_AT_ONCE), 0
        start = store.at
        store.at = end = start + _WORD
        return int.from_bytes(store.bytes[start:end], "big") >> (_WORD * 8 - k)
