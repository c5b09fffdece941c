"""Rests between large transactions of a component that acts unasked: one of them is one turn of the loop, in which nobody is answered.

What a component's action asks for, and its jobs, give way so; what the app's own functions call in it does not, and neither does the app.
Start at `LargeWrites.take`.
"""

from __future__ import annotations

import asyncio

from interlock.functions.own_calls import OwnCalls

_LARGE = 64
"""So many documents written at once keep the loop for about as long as a call of the app takes."""
_REST, _REST_SECONDS_MAX = 9, 2.0
_LOOK_SECONDS = 0.005
"""As long as the app counts as busy after a call: who looks now and then how far a migration is holds it up no longer than that."""


class LargeWrites:
    """Of each mount, until when it rests: nine times as long as its last large transaction took, while the app is called for itself."""

    def __init__(self, own_calls: OwnCalls) -> None:
        self._own_calls = own_calls
        self._rests_until: dict[str, float] = {}

    async def take(self, mount: str) -> float:
        """Wait while the mount is to rest; gives when its transaction begins, in seconds of the loop's clock."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        while (left := self._rests_until.get(mount, 0.0) - now) > 0 and self._own_calls.is_busy(now):
            await asyncio.sleep(min(left, _LOOK_SECONDS))
            now = loop.time()
        return now

    def ended(self, mount: str, began: float, written: int) -> None:
        """A transaction of so many documents has ended, well or not."""
        if written >= _LARGE:
            now = asyncio.get_running_loop().time()
            self._rests_until[mount] = now + min(_REST * (now - began), _REST_SECONDS_MAX)
