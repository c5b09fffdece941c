"""Randomness that nobody can guess, drawn from the system many bytes at a time: a system call for each transaction is dear."""

from __future__ import annotations

import os
import random
from struct import Struct

_BYTES_AT_ONCE = 4096
_split = Struct(f">{_BYTES_AT_ONCE // 8}Q").unpack


class _Store:
    """Numbers of 64 bits that were drawn and not used yet."""

    def __init__(self) -> None:
        self.words: list[int] = []

    def forget(self) -> None:
        self.words = []


STORE = _Store()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=STORE.forget)  # else parent and child would have the same


class Entropy(random.SystemRandom):
    """`SystemRandom` with a store, which all of a process share. What was drawn is used once. For one thread at a time."""

    def getrandbits(self, k: int, /) -> int:
        """A number of `k` bits, each of them random."""
        if not 0 < k <= 64:
            return super().getrandbits(k)
        words = STORE.words
        if not words:
            words.extend(_split(os.urandom(_BYTES_AT_ONCE)))
        return words.pop() >> (64 - k)
