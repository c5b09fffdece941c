"""What functions use of the CPU: whose slice of running code it is that runs now, and how long it may take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from interlock.errors import DeadlineExceeded, FunctionAborted
from interlock.functions.call import Call, Payer
from interlock.functions.watchdog import Watchdog, free_signal

_SAMPLE_SECONDS: Final = 0.02


class Slice:
    """What the meter knows of a running slice: the seconds of its own code up to `resumed`, and whether the engine works for it now."""

    __slots__ = ("above", "call", "cpu", "is_ours", "own", "resumed", "started")

    def __init__(self, call: Payer, above: Slice | None, now: float, cpu: float) -> None:
        self.call, self.above = call, above
        self.started = self.resumed = now
        self.cpu = cpu
        self.own = 0.0
        self.is_ours = False


class CpuMeter:
    """The CPU time that functions use themselves. What the engine does for them is not theirs: a worker would not be charged for it.

    Asking the system for CPU time is dear, so short slices count by the wall clock, which is never less. `running` is the
    slice that runs now, for the watchdog that ends one which does not come back.
    """

    def __init__(
        self,
        *,
        seconds: Callable[[], float] = time.perf_counter,
        cpu_seconds: Callable[[], float] = time.thread_time,
        tick_seconds: float | None = 0.1,
    ) -> None:
        self._seconds, self._cpu_seconds = seconds, cpu_seconds
        self._sampled = self._cpu = self._collecting = 0.0
        self._tick = tick_seconds
        self._watchdog: Watchdog | None = None
        self.is_watched = tick_seconds is None  # then nobody is to watch
        self.running: Slice | None = None

    def start(self, call: Payer) -> Slice:
        """A slice begins that `call` pays for."""
        now = self._seconds()
        if now - self._sampled > _SAMPLE_SECONDS:
            self._sampled, self._cpu = now, self._cpu_seconds()
        self.running = running = Slice(call, self.running, now, self._cpu)
        if not self.is_watched:
            self._watch()
        return running

    def stop(self, slice: Slice) -> None:
        """It has ended: its call is charged."""
        now = self._seconds()
        own = slice.own if slice.is_ours else slice.own + now - slice.resumed
        wall = now - slice.started
        if wall > _SAMPLE_SECONDS:
            own *= self._share(self._cpu_seconds() - slice.cpu, wall)
        slice.call.cpu += own
        above = self.running = slice.above
        if above is not None:
            above.own += own
            above.resumed = now

    def leave(self) -> None:
        """The function has asked for something: from here on the engine works."""
        running = self.running
        if running is not None and not running.is_ours:
            running.own += self._seconds() - running.resumed
            running.is_ours = True

    def come_back(self) -> None:
        """It goes on with its own code. What a slice did up to here, if it began in the middle of the engine's work, was not its own."""
        running = self.running
        if running is not None:
            running.resumed = self._seconds()
            running.is_ours = False

    def collection_began(self) -> None:
        """The collector goes through the objects of everybody, in the middle of whatever runs."""
        self._collecting = self._seconds()

    def collection_ended(self) -> None:
        """And what runs is not charged for it."""
        running = self.running
        if running is not None:
            running.resumed = self._seconds() - max(0.0, self._collecting - running.resumed)

    @staticmethod
    def _share(cpu: float, wall: float) -> float:
        """How much of the time that has passed was spent running."""
        return min(1.0, cpu / wall)

    @property
    def is_running(self) -> bool:
        return self.running is not None

    @property
    def is_interruptible(self) -> bool:
        return self.running is not None and not self.running.is_ours

    def overrun(self, cpu_seconds: Callable[[], float]) -> float:
        """By how many seconds the running slice is over what its call may use, by the CPU clock of the thread that it runs in."""
        running = self.running
        if running is None:
            return 0.0
        now = self._seconds()
        call, wall = running.call, now - running.started
        if call.cpu_max is None or wall <= 0:
            return 0.0
        own = running.own if running.is_ours else running.own + now - running.resumed
        if call.cpu + own > call.cpu_max:
            return call.cpu + own * self._share(cpu_seconds() - running.cpu, wall) - call.cpu_max
        return wall - call.wall_max if call.deadline_ms is not None else 0.0

    def _watch(self) -> None:
        self.is_watched = True
        if self._watchdog is not None:
            self._watchdog.call()
        elif self._tick is not None and (number := free_signal()) is not None:
            self._watchdog = Watchdog(self, number, self._tick)

    def close(self) -> None:
        if self._watchdog is not None:
            self._watchdog.close()
            self._watchdog = None
            self.is_watched = False


def payer_of(call: Call, meter: CpuMeter) -> Call | None:
    """Who is charged for a slice of `call`; None if it is part of a slice that is measured already."""
    if call.cpu_max is not None:
        return call
    if meter.running is not None:
        return None
    # It runs in a task of its own: somebody gathers calls.
    above = call.parent
    while above is not None and above.cpu_max is None:
        above = above.parent
    return above


def check_cpu(payer: Call) -> None:
    if payer.cpu_max is not None and payer.cpu > payer.cpu_max:
        raise out_of_time(payer)


def out_of_time(payer: Call) -> DeadlineExceeded:
    assert payer.cpu_max is not None
    return DeadlineExceeded(payer.callee.label, "CPU time", payer.cpu_max)


def overtime(payer: Call) -> DeadlineExceeded:
    """What the watchdog's interruption becomes."""
    if payer.cpu_max is not None and payer.cpu > payer.cpu_max:
        return out_of_time(payer)
    return DeadlineExceeded(payer.callee.label, "wall time", payer.wall_max)


def aborted(call: Call, error: GeneratorExit) -> FunctionAborted:
    """What a GeneratorExit of the author's own becomes. Only here can it be told from one of whoever drives the call and gives it up."""
    return FunctionAborted(call.callee.label, repr(error))
