"""Turns: how a thousand sockets are served without making anybody else wait for all of them.

One commit can wake every connection at once. Each gets a turn, some tens of them in one go of the loop, and between two goes the loop
looks at the network: the answer to the next mutation does not stand behind the fan-out of the last.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

_TURNS_PER_GO = 80


class Turns:
    """Shared by all connections of a server."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._left = _TURNS_PER_GO
        self._is_counting = False
        self.go = 0
        """Which go of the loop this is."""

    def call_in_turn(self, callback: Callable[[], None]) -> None:
        """Call it when its turn comes: never now, but behind what the loop already has to do, like sending the answer that caused this."""
        self._waiting.append(callback)
        self._count()

    async def wait_turn(self) -> None:
        """Wait for a turn; no wait at all unless many others want one."""
        if self._left > 0 and not self._waiting:
            self._left -= 1
            self._count()
            return
        future = asyncio.get_running_loop().create_future()
        self.call_in_turn(lambda: None if future.done() else future.set_result(None))
        await future

    def _count(self) -> None:
        if not self._is_counting:
            self._is_counting = True
            asyncio.get_running_loop().call_soon(self._go)

    def _go(self) -> None:
        self._left = _TURNS_PER_GO
        self.go += 1
        while self._waiting and self._left > 0:
            self._left -= 1
            self._waiting.popleft()()
        self._is_counting = False
        if self._waiting or self._left < _TURNS_PER_GO:
            self._count()
