"""A mutation that somebody calls again and again, alone and with the same arguments: its worker has run the next call before it is made.

Between two calls of one caller a worker has nothing to do; to wake it, to wait until it has run and to come back with cold caches is
most of what a lone call takes. So when a call has ended like the one before it, the worker is sent the next one, and runs it while that is
written to disk. When it is made, the host does its log (`replay`) as it does those of all calls, and nobody waits for the worker. What is
not made leaves no trace, nor does what has come to depend on the time, on the transaction's name, or on something that the host would have
to be asked.

Start at `Foresight.take`.
"""

from __future__ import annotations

import random

from interlock.functions.call import Execution, drawn
from interlock.functions.entropy import Entropy
from interlock.functions.served import Served
from interlock.sandbox.frames import SEED
from interlock.sandbox.process import AHEAD_BYTES_MAX, Process

CPU_MAX = 0.02
"""CPU seconds that a call may take ahead."""
_CHEAP = 0.005
"""So much that a call took for the next to be run ahead: whoever else comes may have to wait for that."""


class ForeseenCall:
    """One that runs in its worker, or has been run."""

    __slots__ = ("key", "process", "seed", "served")

    def __init__(self, key: bytes, seed: int, process: Process, served: Served) -> None:
        self.key, self.seed, self.process, self.served = key, seed, process, served

    @property
    def is_over(self) -> bool:
        return self.served.end.done()

    @property
    def is_ready(self) -> bool:
        """Whether it has run, and as it would run now."""
        end = self.served.end
        return end.done() and end.exception() is None and not self.served.looked_at & ~SEED

    def draws_alike(self, execution: Execution) -> bool:
        """Whether its seed is that of the call which is made now, where the same is to come out in another run of the program. That call's
        numbers are drawn then, foreseen or not.
        """
        entropy = execution.services.entropy
        if type(entropy) is Entropy:
            return True
        state = entropy.getstate()
        if drawn(entropy) == self.seed:
            return execution.number is not None
        entropy.setstate(state)
        self.give_up()
        return False

    def give_up(self) -> None:
        """Nobody makes it."""
        if not self.is_over:
            self.process.give_up(self.served)


def _next_drawn(entropy: random.Random) -> int:
    """What the next call will draw, where that can be told; where it cannot, any will do."""
    if type(entropy) is Entropy:
        return drawn(entropy)  # type: ignore[no-any-return]
    state = entropy.getstate()
    seed: int = drawn(entropy)
    entropy.setstate(state)
    return seed


class Foresight:
    """The next call of one instance, if it is foreseen. `around` are the bytes around its seed as it is sent, once they were written."""

    def __init__(self) -> None:
        self.around: tuple[bytes, bytes] | None = None
        self._last: bytes | None = None
        self._next: ForeseenCall | None = None

    def take(self, key: bytes | None) -> ForeseenCall | None:
        """A mutation is called: what was foreseen, if it is this. It may run still, and may not hold. Without a key it is another one."""
        foreseen, self._next = self._next, None
        if foreseen is None or (key is not None and foreseen.key == key):
            return foreseen
        foreseen.give_up()
        return None

    def expects(self, key: bytes | None, process: Process, served: Served, entropy: random.Random) -> bool:
        """A mutation has ended well: whether the same comes once more, as far as can be seen, and may be run ahead."""
        last, self._last = self._last, key
        if key is None or last != key:
            self.around = None
            return False
        if served.looked_at & ~SEED or served.operations or served.notes or self._next is not None or not process.is_free:
            return False
        if served.length > AHEAD_BYTES_MAX:
            return False
        return served.cpu < _CHEAP or type(entropy) is not Entropy  # what is to be reproduced does not hang on the time that it took

    def foresee(self, key: bytes, process: Process, served: Served, entropy: random.Random) -> None:
        """Have the next one run."""
        assert self.around is not None, "it was written"
        seed = _next_drawn(entropy)
        self._next = ForeseenCall(key, seed, process, served)
        process.begin_ahead(served, self.around, seed)
