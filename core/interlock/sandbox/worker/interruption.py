"""A function that does not come back is interrupted where it is: its caller then learns which line that was, and the worker stays.

A timer of the worker's own CPU time ticks while it runs. Each tick counts for the call whose code runs now, and when that is over
its CPU time or its deadline, `Overtime` rises between two instructions of the component; never in code of the SDK, which others
rely on. It is no boundary: code that takes the signal away, or stays in C, is ended by the host, from outside.

Start at `listen`.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Collection
from types import FrameType
from typing import Any, Protocol

TICK_SECONDS = 0.01
_process_time, _monotonic = time.process_time, time.monotonic
_ASYNCIO = "asyncio/"


class Overtime(BaseException):
    """Rises in a function that is over its time. No `Exception`: a function that catches those is to end too."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(what, seconds)
        self.what, self.seconds = what, seconds


class Timed(Protocol):
    """A call with its limits: CPU seconds, and the moment of the monotonic clock when it has to be over."""

    cpu: float
    cpu_max: float | None
    over_at: float | None
    is_ended: bool


class Interruption:
    """The handler. `running` gives the call whose code runs; `own` is the folder of the SDK, `files` are those of the component."""

    def __init__(self, running: Callable[[], Timed | None], own: str) -> None:
        self._running, self._own = running, own
        self._looked = 0.0
        self.files: Collection[str] = ()

    def listen(self) -> None:
        """Take the signal of the timer. What is forked from this process takes it too."""
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGPROF, self._tick)

    def watch(self) -> None:
        """From now on. Once a process, since timers are not inherited. Needs `listen`."""
        if not hasattr(signal, "setitimer"):
            return
        self._looked = _process_time()
        signal.setitimer(signal.ITIMER_PROF, TICK_SECONDS, TICK_SECONDS)

    def _tick(self, number: int, frame: FrameType | None) -> Any:
        looked, self._looked = self._looked, _process_time()
        call = self._running()
        if call is None or call.is_ended:
            return
        call.cpu += self._looked - looked
        if call.cpu_max is not None and call.cpu > call.cpu_max:
            over = Overtime("CPU time", call.cpu_max)
        elif call.over_at is not None and _monotonic() > call.over_at:
            over = Overtime("wall time", 0.0)
        else:
            return
        if self._expects_errors(frame):
            raise over

    def _expects_errors(self, frame: FrameType | None) -> bool:
        """Whether it is code of the component, or of a library that it called; what is above the SDK's own is the SDK's."""
        while frame is not None:
            file = frame.f_code.co_filename
            if file in self.files:
                return True
            if file.startswith(self._own) or _ASYNCIO in file:
                return False
            frame = frame.f_back
        return False
