"""How much a mount may write to the server's log over time. The limits of an execution say nothing of one who has many of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from interlock.limits import LIMITS

logger = structlog.get_logger("interlock.functions")
_RATE = LIMITS["log_rate"].value
_AT_ONCE = _RATE * 16
_LINE = 100
"""What a line takes beside its text, about."""
_TOLD_SECONDS = 60.0


class LogVolume:
    """Of all mounts of one backend: what `admits` lets through is at most `log_rate` characters a second of each, and of its children
    together; and of one that was quiet, what it did not write in the last 16 seconds.

    `clock` gives seconds.
    """

    __slots__ = ("_clock", "_left", "_told")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}  # characters, and when that was
        self._told: dict[str, float] = {}

    def admits(self, component_path: str, characters: int) -> bool:
        """Whether so much may be written for a component; if so, it counts. What is left out is told once a minute. The app may all."""
        mount = component_path.partition("/")[0]
        if not mount:
            return True
        now = self._clock()
        left, at = self._left.get(mount, (_AT_ONCE, now))
        left = min(_AT_ONCE, left + (now - at) * _RATE)
        size = characters + _LINE
        if size <= left:
            self._left[mount] = left - size, now
            return True
        self._left[mount] = left, now
        if now - self._told.get(mount, now - _TOLD_SECONDS) >= _TOLD_SECONDS:
            self._told[mount] = now
            with suppress(Exception):
                logger.warning("it writes too much: log lines are dropped", component=mount, bytes_a_second=int(_RATE))
        return False
