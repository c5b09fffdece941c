"""Whether the app is called for itself: what a component does unasked gives way to that."""

from __future__ import annotations

import math

_BUSY_SECONDS = 0.005
"""So long after a call of its own the app is taken to be called again."""


class OwnCalls:
    """Queries and mutations that somebody outside has asked for, no job: how many are open, and how many have ended so far."""

    def __init__(self) -> None:
        self.open = self.ended = 0
        self._seen, self._seen_s = 0, -math.inf

    def is_busy(self, now: float) -> bool:
        """Whether one is open, or was these milliseconds. `now` is in seconds, of the loop's clock."""
        if self.ended != self._seen:
            self._seen, self._seen_s = self.ended, now
        return self.open > 0 or now - self._seen_s < _BUSY_SECONDS
