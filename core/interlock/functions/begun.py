"""A call that was sent off before its turn among the operations of its caller, so that what is gathered crosses together."""

from __future__ import annotations

from interlock.functions.served import Remembers, Served
from interlock.sandbox.pool import Pool
from interlock.sandbox.process import Process


class BegunCall:
    """A call that runs in its worker before its turn has come."""

    def __init__(self, pool: Pool, process: Process, served: Served) -> None:
        self._pool, self.process, self.served = pool, process, served
        self._is_open = True

    def serves(self, remembers: Remembers) -> bool:
        """Whether it goes on as a call is to that goes by its memory like this. One that asks for everything serves any."""
        return not self.process.is_over and (self.served.remembers is remembers or self.served.remembers is False)

    def take(self) -> None:
        """Its turn has come: somebody waits for its end."""
        self._is_open = False
        self._pool.calls_open -= 1

    def give_up(self) -> None:
        """Its turn never came. Nothing, where it did."""
        if self._is_open:
            self.take()
            self.process.give_up(self.served)
