"""A clock that moves only when told to."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable


class VirtualTimer:
    """A callback that waits for its time."""

    __slots__ = ("_callback", "when_ms")

    def __init__(self, when_ms: float, callback: Callable[[], None]) -> None:
        self.when_ms = when_ms
        self._callback: Callable[[], None] | None = callback

    @property
    def is_done(self) -> bool:
        return self._callback is None

    def cancel(self) -> None:
        self._callback = None

    def fire(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class VirtualClock:
    """Implements `interlock.clock.Clock`. Time stands still between calls of `move_to`."""

    def __init__(self, start_ms: float) -> None:
        self._now_ms = start_ms
        self._timers: list[tuple[float, int, VirtualTimer]] = []
        self._order = itertools.count()

    def now_ms(self) -> float:
        return self._now_ms

    def call_at(self, when_ms: float, callback: Callable[[], None]) -> VirtualTimer:
        timer = VirtualTimer(when_ms, callback)
        if when_ms <= self._now_ms:
            asyncio.get_running_loop().call_soon(timer.fire)
        else:
            heapq.heappush(self._timers, (when_ms, next(self._order), timer))
        return timer

    async def wait_until(self, when_ms: float) -> None:
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def reach() -> None:
            if not reached.done():
                reached.set_result(None)

        timer = self.call_at(when_ms, reach)
        try:
            await reached
        finally:
            timer.cancel()

    def next_timer_ms(self) -> float | None:
        """When the next callback is due."""
        while self._timers and self._timers[0][2].is_done:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def move_to(self, when_ms: float) -> None:
        """Let time pass, and fire what is due on the way, in the order of time."""
        while (due_ms := self.next_timer_ms()) is not None and due_ms <= when_ms:
            self._now_ms = max(self._now_ms, due_ms)
            heapq.heappop(self._timers)[2].fire()
        self._now_ms = max(self._now_ms, when_ms)
