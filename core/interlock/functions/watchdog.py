"""Stopping a function that does not come back: `while True: pass` would hold up every other call of the process.

A thread looks at how long the running slice has used the CPU. For one that is over its limit it trips a signal of the main
thread, which Python answers between two instructions; only if these are the author's does `Overtime` rise there. So our own
code is never interrupted halfway. Code that stays in C, or that runs in a task of the author's, is not reached; a sandbox is
what ends anything.
"""

from __future__ import annotations

import _thread
import gc
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

_HOME = Path(__file__).parent
_OWN = str(_HOME.parent) + "/"
_READY = (str(_HOME / "slices.py"), str(_HOME / "suspended.py"), str(_HOME.parent / "sdk") + "/")
_LIBRARIES = str(Path(threading.__file__).parent) + "/"
_QUIET_TICKS = 50
_PATIENCE_SECONDS = 1.0
"""How long over its limit a slice has to be before it is interrupted in a library too."""
_RETRY_SECONDS = 0.002


class Overtime(BaseException):
    """Rises in a function that has used up its CPU time. No `Exception`: a function that catches those is to end too."""


class Watched(Protocol):
    """What the thread looks at. `overrun` says by how many seconds the running slice is over its limit, by the CPU clock of its thread."""

    is_watched: bool

    @property
    def is_running(self) -> bool: ...

    @property
    def is_interruptible(self) -> bool:
        """Whether the function's own code runs, not the engine's."""

    def overrun(self, cpu_seconds: Callable[[], float]) -> float: ...

    def collection_began(self) -> None: ...

    def collection_ended(self) -> None: ...


class Watchdog:
    """The thread, and the handler of its signal. It sleeps while nothing runs."""

    def __init__(self, watched: Watched, signal_number: int, tick_seconds: float) -> None:
        self._watched, self._signal, self._tick = watched, signal_number, tick_seconds
        self._closing = threading.Event()
        self._is_collecting = False
        self._called = threading.Event()
        self._cpu_seconds = _cpu_clock_of_this_thread()
        gc.callbacks.append(self._notice_collection)
        self._handler_before = signal.signal(signal_number, self._between_instructions)
        self._thread = threading.Thread(target=self._watch, name="interlock-watchdog", daemon=True)
        self._thread.start()

    def call(self) -> None:
        """Something runs again."""
        self._called.set()

    def close(self) -> None:
        self._closing.set()
        self._called.set()
        self._thread.join()
        gc.callbacks.remove(self._notice_collection)
        if threading.current_thread() is threading.main_thread():
            signal.signal(self._signal, self._handler_before)

    def _watch(self) -> None:
        watched = self._watched
        quiet = 0
        pause = self._tick
        while not self._closing.wait(pause):
            pause = self._tick
            if watched.overrun(self._cpu_seconds) > 0:
                _thread.interrupt_main(self._signal)  # type: ignore[arg-type]
                pause = _RETRY_SECONDS  # it may just have been in our own code
            quiet = 0 if watched.is_running else quiet + 1
            if quiet > _QUIET_TICKS:
                quiet = 0
                self._called.clear()
                watched.is_watched = False
                # Looked at again: what began in between has seen that somebody watches, and called nobody.
                if not watched.is_running and not self._closing.is_set():
                    self._called.wait()
                watched.is_watched = True

    def _notice_collection(self, phase: str, _: dict[str, int]) -> None:
        """It runs finalizers of anybody's objects in the middle of a function: they are not interrupted, and it is not charged."""
        if phase == "start":
            self._watched.collection_began()
            self._is_collecting = True
        else:
            self._watched.collection_ended()
            self._is_collecting = False

    def _between_instructions(self, signal_number: int, frame: FrameType | None) -> Any:
        overrun = self._watched.overrun(time.thread_time) if self._watched.is_interruptible and not self._is_collecting else 0.0
        if overrun > 0 and frame is not None and _expects_errors(frame) and (not _is_library(frame) or overrun > _PATIENCE_SECONDS):
            raise Overtime


def free_signal() -> int | None:
    """A signal that nobody uses, if this thread can be reached by one: only the main thread can."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGRTMAX"):
        return None
    # The lowest of the real-time signals belong to the C library.
    numbers = range(signal.SIGRTMAX - 1, signal.SIGRTMIN + 4, -1)
    return next((number for number in numbers if signal.getsignal(number) in (signal.SIG_DFL, None)), None)


def _cpu_clock_of_this_thread() -> Callable[[], float]:
    clock = time.pthread_getcpuclockid(threading.get_ident())
    return lambda: time.clock_gettime(clock)


def _expects_errors(frame: FrameType) -> bool:
    """Whether an exception may rise in this frame: it is not ours, and the next of ours below it expects the author's errors."""
    below: FrameType | None = frame
    while below is not None:
        file = below.f_code.co_filename
        if file.startswith(_OWN):
            return below is not frame and file.startswith(_READY)
        below = below.f_back
    return False


def _is_library(frame: FrameType) -> bool:
    """Whether it is code that others rely on too: it may be a finalizer that has nothing to do with the function, or hold a lock."""
    file = frame.f_code.co_filename
    return file.startswith((_LIBRARIES, "<frozen")) or "site-packages" in file
