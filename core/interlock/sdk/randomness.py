"""A `random.Random` that costs little to seed: a function mostly draws one number, or none.

To seed Python's generator (Mersenne Twister) takes 6 µs, a tenth of a whole mutation. So the first 512 bits are a hash of the seed;
who draws more goes on with Python's own generator, with that seed.
"""

from __future__ import annotations

import random
from hashlib import blake2b
from typing import Any

_BITS = 512
_DOUBLE_BITS = 53


class Drawn(random.Random):
    """The same numbers for the same `seed`, a whole number of at most 64 bits; without one it is seeded by the system."""

    _left = _BITS
    """How many bits have not been drawn; less than none where Python's generator has taken over."""

    def __new__(cls, seed: int | None = None) -> Drawn:
        return super().__new__(cls)

    def __init__(self, seed: int | None = None) -> None:
        self.gauss_next = None
        self._seed = seed
        if seed is None:
            _go_on(self)
        else:
            self._block = int.from_bytes(blake2b(seed.to_bytes(8, "little")).digest(), "little")

    def getrandbits(self, k: int, /) -> int:
        if not 0 <= k <= self._left:
            return _go_on(self).getrandbits(k)
        block = self._block
        self._left -= k
        self._block = block >> k
        return block & ((1 << k) - 1)

    def random(self) -> float:
        return self.getrandbits(_DOUBLE_BITS) * 2.0**-_DOUBLE_BITS

    def seed(self, a: Any = None, version: int = 2) -> None:
        _go_on(self).seed(a, version)

    def getstate(self) -> tuple[Any, ...]:
        return _go_on(self).getstate()

    def setstate(self, state: tuple[Any, ...]) -> None:
        _go_on(self).setstate(state)


def name_of(number: int) -> str:
    """The name of the transaction that was given this number."""
    return "%016x" % number  # noqa: UP031 - in half the time that an f-string takes


def _go_on(drawn: Drawn) -> random.Random:
    """It is Python's own generator from here on. No more than that, once it is."""
    if drawn._left >= 0:
        drawn._left = -1
        drawn.__class__ = random.Random  # type: ignore[assignment]
        drawn.seed(drawn._seed)
    return drawn
