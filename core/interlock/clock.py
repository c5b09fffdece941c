"""Time as a parameter: whoever waits or asks for the time is given a `Clock`.

`SystemClock` is the real one. `interlock.testing` has one that moves only when told to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """What `Clock.call_at` gives back."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """The time of day, and waiting for it. Milliseconds since the epoch, as a float."""

    def now_ms(self) -> float: ...

    def call_at(self, when_ms: float, callback: Callable[[], None]) -> Timer: ...

    async def wait_until(self, when_ms: float) -> None: ...


class SystemClock:
    """The machine's clock. Waiting goes by the loop's monotonic clock, so a clock that is set back delays nothing."""

    def now_ms(self) -> float:
        return time.time() * 1000.0

    def call_at(self, when_ms: float, callback: Callable[[], None]) -> Timer:
        delay_ms = max(0.0, when_ms - self.now_ms())
        return asyncio.get_running_loop().call_later(delay_ms / 1000.0, callback)

    async def wait_until(self, when_ms: float) -> None:
        await asyncio.sleep(max(0.0, when_ms - self.now_ms()) / 1000.0)
