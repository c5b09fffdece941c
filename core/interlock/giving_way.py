"""How threads come to the interpreter beside a loop that never rests.

Such a loop lets go of the interpreter again and again, for a moment each time. A thread that waits for it is woken each time,
comes too late, and begins anew to wait for the 5 ms after which it would be given it: it may wait for ever. So the loop stands still
for a moment now and then, as long as there is work in threads of which none comes to its end.
"""

from __future__ import annotations

import asyncio
import time

_FIRST_S = 0.001
_MOMENT_S = 0.0001


class GivingWay:
    """For the threads of one kind of work: `begins` and `ends` are called in the loop's thread. While there is work the loop looks whether
    some has ended: after a millisecond, and twice as seldom each time, as far as `most_s`.
    """

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self.open = 0
        self._ended = 0
        self._look: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def begins(self, loop: asyncio.AbstractEventLoop) -> None:
        """Work was given to a thread."""
        self.open += 1
        if self._look is None or self._loop is not loop:  # one that is over never looks again
            self._loop = loop
            self._look = loop.call_later(_FIRST_S, self._look_after, loop, _FIRST_S, self._ended, time.perf_counter(), time.thread_time())

    def ends(self) -> None:
        """Some of it has ended."""
        self.open -= 1
        self._ended += 1

    def stop(self) -> None:
        """Nobody looks any more."""
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _look_after(self, loop: asyncio.AbstractEventLoop, after: float, ended: int, since: float, cpu: float) -> None:
        """Stand still if nothing has ended since then, and the loop was hardly ever at rest."""
        self._look = None
        if not self.open:
            return
        now, cpu_now = time.perf_counter(), time.thread_time()
        if self._ended != ended:
            after = _FIRST_S
        else:
            after = min(2 * after, self._most_s)
            if cpu_now - cpu > (now - since) / 2:
                time.sleep(_MOMENT_S)
        self._look = loop.call_later(after, self._look_after, loop, after, self._ended, now, cpu_now)
