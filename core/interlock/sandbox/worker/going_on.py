"""A call that waits: its coroutine as something to await, which counts for how long each of its parts runs.

Not compiled: a compiled coroutine that is thrown an error forgets where that was raised, unless it is told.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine, Generator
from types import CoroutineType
from typing import Any, NamedTuple

from interlock.sandbox.worker.host import OVER, WorkerHost

_monotonic = time.monotonic


class Told(NamedTuple):
    """What a coroutine waits for that has suspended once already."""

    pending: Any


class _GoOn:
    """The coroutine of a call, begun or not."""

    __slots__ = ("_coroutine", "_host", "_told")

    def __init__(self, host: WorkerHost, coroutine: Coroutine[Any, Any, Any], told: Told | None) -> None:
        self._host, self._coroutine, self._told = host, coroutine, told

    def __await__(self) -> Generator[Any, Any, None]:
        host, coroutine, told = self._host, self._coroutine, self._told
        error: BaseException | None = None
        sent: Any = None
        while True:
            if told is not None:
                error = None
                try:
                    sent = yield told.pending
                except BaseException as thrown:
                    error = thrown
            host.since = _monotonic()
            told = Told(coroutine.send(sent) if error is None else _throw(coroutine, error))
            host = host.latest or host  # it may have started over
            if told.pending is OVER:
                return
            host.rests()


async def go_on(host: WorkerHost, coroutine: Coroutine[Any, Any, Any], told: Told | None) -> None:
    await _GoOn(host, coroutine, told)


def _throw(coroutine: Coroutine[Any, Any, Any], error: BaseException) -> Any:
    if type(coroutine) is CoroutineType:
        return coroutine.throw(error)
    return coroutine.throw(type(error), error, error.__traceback__)
