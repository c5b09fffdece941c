"""Deadlines of calls that wait: one timer of the loop for all, since nearly every call ends long before its own.

Start at `Deadlines.add`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

from interlock.clock import Clock, SystemClock, Timer

_monotonic = time.monotonic


class Deadlines:
    """Those of one backend. To set its clock back delays nothing, as with its timers: they are kept in seconds of a monotonic one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._is_real = isinstance(clock, SystemClock)  # in virtual time a timer that is left is an event
        self._waiting: dict[Any, tuple[float, Callable[[], None]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._rings_s = math.inf

    def add(self, key: Any, when_ms: float, passed: Callable[[], None]) -> Timer | None:
        """Have `passed` called at that time of the clock, unless `key` is dropped before. A timer that it gives is to be cancelled."""
        if not self._is_real:
            return self._clock.call_at(when_ms, passed)
        at_s: float = _monotonic() + (when_ms - self._clock.now_ms()) / 1000.0
        self._waiting[key] = (at_s, passed)
        if at_s < self._rings_s:
            self._arm(at_s)
        return None

    def drop(self, key: Any) -> None:
        """It is over before its deadline. The timer stays: the next call would need it again."""
        self._waiting.pop(key, None)

    def close(self) -> None:
        """Nobody is told of anything any more."""
        self._waiting.clear()
        self._disarm()

    def _arm(self, at_s: float) -> None:
        self._disarm()
        self._rings_s = at_s
        self._timer = asyncio.get_running_loop().call_later(max(0.0, at_s - _monotonic()), self._ring)

    def _disarm(self) -> None:
        timer, self._timer = self._timer, None
        self._rings_s = math.inf
        if timer is not None:
            timer.cancel()

    def _ring(self) -> None:
        self._disarm()
        now_s: float = _monotonic()
        due: list[tuple[float, int, Any]] = []
        earliest_s = math.inf
        for key, (at_s, _) in self._waiting.items():
            if at_s <= now_s:
                due.append((at_s, len(due), key))
            elif at_s < earliest_s:
                earliest_s = at_s
        if earliest_s < math.inf:
            self._arm(earliest_s)
        due.sort()
        for _, _, key in due:
            known = self._waiting.pop(key, None)
            if known is not None:  # one that has passed may have ended another
                known[1]()
