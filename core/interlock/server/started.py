"""A coroutine that has begun before its task has.

Not compiled: it is a coroutine of Python's own kind.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any


class Started(Coroutine[Any, Any, None]):
    """What it first waits for is what its task waits for first. A task that is told to end before its first step ends without a word to
    a coroutine that has not begun; this one is told.
    """

    __slots__ = ("_coroutine", "_pending")

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self._pending = coroutine.send(None)

    def send(self, value: None, /) -> Any:
        pending, self._pending = self._pending, None
        return self._coroutine.send(value) if pending is None else pending

    def throw(self, *raised: Any) -> Any:
        self._pending = None
        return self._coroutine.throw(*raised)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Any:
        return self._coroutine.__await__()
