"""Running a function's code, slice by slice between its suspensions: whose slice it is, and how long it may take.

A function that never suspends is run in one step, without a task or a timer. Only when it does suspend is a timer armed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any

from interlock.clock import Timer
from interlock.errors import DeadlineExceeded
from interlock.functions.call import Call, current
from interlock.functions.watchdog import Overtime, Watchdog, free_signal

_SAMPLE_SECONDS = 0.02
_GRACE_MS = 1_000.0
Slice = tuple[float, float, Call]
"""When it began, the CPU time of the thread at a moment shortly before, and whose it is."""


class CpuMeter:
    """The CPU time of a slice. Asking the system for it is dear, so short slices count by the wall clock, which is never less.

    `running` is the slice that runs now, for the watchdog that ends one which does not come back.
    """

    def __init__(self, *, tick_seconds: float = 0.1) -> None:
        self._sampled = self._cpu = 0.0
        self._tick = tick_seconds
        self._watchdog: Watchdog | None = None
        self.is_watched = False
        self.running: Slice | None = None

    def start(self, call: Call) -> Slice:
        now = time.perf_counter()
        if now - self._sampled > _SAMPLE_SECONDS:
            self._sampled, self._cpu = now, time.thread_time()
        self.running = started = (now, self._cpu, call)
        if not self.is_watched:
            self._watch()
        return started

    def spent(self, started: Slice) -> float:
        """Seconds since `started`, at most this much too high: what was used between the sample and the start."""
        wall = time.perf_counter() - started[0]
        return wall if wall <= _SAMPLE_SECONDS else min(wall, time.thread_time() - started[1])

    @property
    def is_running(self) -> bool:
        return self.running is not None

    def over_limit(self, cpu_seconds: Callable[[], float]) -> bool:
        """Whether the running slice has used more than its call may, by the clock of the thread that it runs in."""
        running = self.running
        if running is None:
            return False
        started, sampled, call = running
        maximum = call.cpu_max
        if maximum is None or call.cpu + time.perf_counter() - started <= maximum:
            return False
        return call.cpu + cpu_seconds() - sampled > maximum

    def _watch(self) -> None:
        self.is_watched = True
        if self._watchdog is not None:
            self._watchdog.call()
        elif (number := free_signal()) is not None:
            self._watchdog = Watchdog(self, number, self._tick)

    def close(self) -> None:
        if self._watchdog is not None:
            self._watchdog.close()
            self._watchdog = None
            self.is_watched = False


def check_cpu(payer: Call, seconds: float) -> None:
    """Charge a slice to the call that pays for it."""
    payer.cpu += seconds
    maximum = payer.cpu_max
    if maximum is not None and payer.cpu > maximum:
        raise DeadlineExceeded(payer.callee.label, "CPU time", maximum)


def _payer(call: Call, meter: CpuMeter) -> Call | None:
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


def begin(coroutine: Coroutine[Any, Any, Any], call: Call) -> Any:
    """Run the first slice of a coroutine as part of `call`. Gives its result; or, if it has suspended, a `Suspended` to await."""
    outer = current.get()
    current.set(call)
    meter = call.execution.services.meter
    above = meter.running
    payer = _payer(call, meter)
    if payer is None:
        try:
            pending = coroutine.send(None)
        except StopIteration as done:
            return done.value
        finally:
            current.set(outer)
        return Suspended(coroutine, pending, call)
    started = meter.start(payer)
    try:
        pending = coroutine.send(None)
    except StopIteration as done:
        check_cpu(payer, meter.spent(started))
        return done.value
    except BaseException as error:
        payer.cpu += meter.spent(started)
        if isinstance(error, Overtime):
            raise _overtime(payer) from None
        raise
    finally:
        meter.running = above
        current.set(outer)
    check_cpu(payer, meter.spent(started))
    return Suspended(coroutine, pending, call)


def at_once(function: Callable[[], Any], call: Call) -> Any:
    """Run a plain function as part of `call`: nothing in it can wait, so it is one slice."""
    outer = current.get()
    current.set(call)
    meter = call.execution.services.meter
    above = meter.running
    payer = _payer(call, meter)
    if payer is None:
        try:
            return function()
        finally:
            current.set(outer)
    started = meter.start(payer)
    try:
        result = function()
    except BaseException as error:
        payer.cpu += meter.spent(started)
        if isinstance(error, Overtime):
            raise _overtime(payer) from None
        raise
    finally:
        meter.running = above
        current.set(outer)
    check_cpu(payer, meter.spent(started))
    return result


def _overtime(payer: Call) -> DeadlineExceeded:
    """What the watchdog's interruption becomes."""
    return DeadlineExceeded(payer.callee.label, "CPU time", payer.cpu_max or 0.0)


class Suspended:
    """A coroutine that has suspended once: what it waits for goes on to whoever awaits this, and each of its slices is measured.

    At its deadline it is cancelled, as a task would be; if it has not ended a while later, it is closed.
    """

    __slots__ = ("_call", "_coroutine", "_pending", "_stops", "_timer")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], pending: Any, call: Call) -> None:
        self._coroutine, self._pending, self._call = coroutine, pending, call
        self._stops = 0  # how often it was told to end
        self._timer: Timer | None = None

    def __await__(self) -> Generator[Any, Any, Any]:
        call, coroutine = self._call, self._coroutine
        services = call.execution.services
        meter = services.meter
        if call.deadline_ms is not None:
            self._timer = services.clock.call_at(call.deadline_ms, self._stop)
        heard = 0
        try:
            while True:
                thrown: BaseException | None = None
                sent: Any = None
                try:
                    sent = yield self._pending
                except BaseException as error:
                    thrown = error
                if self._stops > heard:
                    heard = self._stops
                    if heard > 1:
                        with suppress(RuntimeError):  # it may refuse that too
                            coroutine.close()
                        break
                    thrown = asyncio.CancelledError()
                outer = current.get()
                current.set(call)
                above = meter.running
                payer = _payer(call, meter)
                started = meter.start(payer) if payer is not None else None
                try:
                    self._pending = coroutine.send(sent) if thrown is None else coroutine.throw(thrown)
                except StopIteration as done:
                    if heard:
                        break
                    if payer is not None and started is not None:
                        check_cpu(payer, meter.spent(started))
                    return done.value
                except BaseException as error:
                    if payer is not None and started is not None:
                        payer.cpu += meter.spent(started)
                        if isinstance(error, Overtime):
                            raise _overtime(payer) from None
                    if heard:
                        break
                    raise
                finally:
                    meter.running = above
                    current.set(outer)
                if payer is not None and started is not None and not heard:
                    self._charge(payer, meter.spent(started))
        finally:
            if self._timer is not None:
                self._timer.cancel()
        raise DeadlineExceeded(call.callee.label, "wall time", call.wall_max)

    def _charge(self, payer: Call, seconds: float) -> None:
        try:
            check_cpu(payer, seconds)
        except DeadlineExceeded:
            if self._pending is not None:
                self._pending.cancel()  # tasks that it has gathered end with it
            self._coroutine.close()
            raise

    def _stop(self) -> None:
        """The deadline has passed: whatever is waited for is given up."""
        clock = self._call.execution.services.clock
        self._stops += 1
        self._timer = clock.call_at(clock.now_ms() + _GRACE_MS, self._stop)
        if self._pending is not None:
            self._pending.cancel()
