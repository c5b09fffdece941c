"""A mount's share of the loop's time, for what its actions ask: while the app is called for itself, a twentieth.

What an operation costs the host is measured, the transactions that it begins included, and is rested for nineteen times as long. A little
of that may be owed (a leaky bucket, as the GCRA of ITU-T I.371). Start at `Share.turn`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from time import thread_time
from types import coroutine
from typing import Any

REST, _REST_SECONDS_MAX = 19, 2.0
_OWED_SECONDS = 0.1
"""Rest that is put off: about 5 ms of work are done at once, which is all that most actions ask for."""
_SHORTEST_SECONDS = 0.001
"""A timer for less may come at once."""
_LOOK_SECONDS = 0.01
"""How often it is looked, at least, whether the app is still called."""


class Share:
    """Until when the operations of one mount rest. `is_busy` says whether the app is called, at a time of the loop's clock in seconds."""

    def __init__(self, is_busy: Callable[[float], bool]) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_busy = is_busy
        self._rests_until = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def left(self) -> float:
        """How many seconds it has to rest; 0.0 while nobody calls the app."""
        now = self._loop.time()
        return max(0.0, self._rests_until - _OWED_SECONDS - now) if self._is_busy(now) else 0.0

    def spend(self, seconds: float) -> None:
        """The loop was busy for it for so long. That counts while the app is called."""
        now = self._loop.time()
        if self._is_busy(now):
            self._rests_until = min(max(self._rests_until, now) + REST * seconds, now + _OWED_SECONDS + _REST_SECONDS_MAX)

    async def turn(self) -> None:
        """Wait until an operation may be done: one after the other, in their order."""
        if not self._waiting and not self.left:
            return
        mine = self._loop.create_future()
        self._waiting.append(mine)
        if len(self._waiting) == 1:
            self._look()
        await mine

    def _look(self) -> None:
        """Let the first go on if it may. The next one is looked at when it is known what that has cost."""
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft()  # it was cancelled
        left = self.left
        if self._waiting and not left:
            self._waiting.popleft().set_result(None)
        if self._waiting:
            self._loop.call_later(min(max(left, _SHORTEST_SECONDS), _LOOK_SECONDS), self._look)


async def timed(work: Coroutine[Any, Any, None], spend: Callable[[float], None]) -> None:
    """Await it, and say of each of its steps how many seconds of CPU time it took."""
    await _timed(work, spend)


@coroutine
def _timed(work: Coroutine[Any, Any, None], spend: Callable[[float], None]) -> Generator[Any, Any, None]:
    step: Callable[[Any], Any] = work.send
    given: Any = None
    while True:
        began = thread_time()
        try:
            waits_for = step(given)
        except StopIteration:
            return
        finally:
            spend(thread_time() - began)
        try:
            step, given = work.send, (yield waits_for)
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:
            step, given = work.throw, error
