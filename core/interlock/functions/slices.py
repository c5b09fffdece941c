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
from interlock.errors import DeadlineExceeded, FunctionAborted
from interlock.functions.call import Call, current
from interlock.functions.watchdog import Overtime, Watchdog, free_signal

_SAMPLE_SECONDS = 0.02
_GRACE_MS = 1_000.0


class Slice:
    """What the meter knows of a running slice: the seconds of its own code up to `resumed`, and whether the engine works for it now."""

    __slots__ = ("above", "call", "cpu", "is_ours", "own", "resumed", "started")

    def __init__(self, call: Call, above: Slice | None, now: float, cpu: float) -> None:
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
        self._sampled = self._cpu = 0.0
        self._tick = tick_seconds
        self._watchdog: Watchdog | None = None
        self.is_watched = tick_seconds is None  # then nobody is to watch
        self.running: Slice | None = None

    def start(self, call: Call) -> Slice:
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

    @staticmethod
    def _share(cpu: float, wall: float) -> float:
        """How much of the time that has passed was spent running."""
        return min(1.0, cpu / wall)

    @property
    def is_running(self) -> bool:
        return self.running is not None

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


def _check(payer: Call) -> None:
    if payer.cpu_max is not None and payer.cpu > payer.cpu_max:
        raise _out_of_time(payer)


def _out_of_time(payer: Call) -> DeadlineExceeded:
    assert payer.cpu_max is not None
    return DeadlineExceeded(payer.callee.label, "CPU time", payer.cpu_max)


def _overtime(payer: Call) -> DeadlineExceeded:
    """What the watchdog's interruption becomes."""
    if payer.cpu_max is not None and payer.cpu > payer.cpu_max:
        return _out_of_time(payer)
    return DeadlineExceeded(payer.callee.label, "wall time", payer.wall_max)


def _aborted(call: Call, error: GeneratorExit) -> FunctionAborted:
    """What a GeneratorExit of the author's own becomes. Only here can it be told from one of whoever drives the call and gives it up."""
    return FunctionAborted(call.callee.label, repr(error))


def begin(coroutine: Coroutine[Any, Any, Any], call: Call) -> Any:
    """Run the first slice of a coroutine as part of `call`. Gives its result; or, if it has suspended, a `Suspended` to await."""
    outer = current.get()
    current.set(call)
    meter = call.execution.services.meter
    payer = call if call.cpu_max is not None else _payer(call, meter)
    if payer is None:
        meter.come_back()
        try:
            pending = coroutine.send(None)
        except StopIteration as done:
            return done.value
        except GeneratorExit as error:
            raise _aborted(call, error) from error
        finally:
            meter.leave()
            current.set(outer)
        return Suspended(coroutine, pending, call)
    slice = meter.start(payer)
    try:
        pending = coroutine.send(None)
    except StopIteration as done:
        meter.stop(slice)
        if payer.cpu_max is not None and payer.cpu > payer.cpu_max:
            raise _out_of_time(payer) from None
        return done.value
    except BaseException as error:
        meter.stop(slice)
        if isinstance(error, Overtime):
            raise _overtime(payer) from None
        if isinstance(error, GeneratorExit):
            raise _aborted(call, error) from error
        raise
    finally:
        current.set(outer)
    meter.stop(slice)
    _check(payer)
    return Suspended(coroutine, pending, call)


def at_once(function: Callable[[], Any], call: Call) -> Any:
    """Run a plain function as part of `call`: nothing in it can wait, so it is one slice."""
    outer = current.get()
    current.set(call)
    meter = call.execution.services.meter
    payer = _payer(call, meter)
    if payer is None:
        meter.come_back()
        try:
            return function()
        except GeneratorExit as error:
            raise _aborted(call, error) from error
        finally:
            meter.leave()
            current.set(outer)
    slice = meter.start(payer)
    try:
        result = function()
    except BaseException as error:
        meter.stop(slice)
        if isinstance(error, Overtime):
            raise _overtime(payer) from None
        if isinstance(error, GeneratorExit):
            raise _aborted(call, error) from error
        raise
    finally:
        current.set(outer)
    meter.stop(slice)
    _check(payer)
    return result


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
                    call.is_stopped = True
                    if heard > 1:
                        with suppress(RuntimeError):  # it may refuse that too
                            coroutine.close()
                        break
                    thrown = asyncio.CancelledError()
                outer = current.get()
                current.set(call)
                payer = _payer(call, meter)
                slice = meter.start(payer) if payer is not None else None
                if payer is None:
                    meter.come_back()
                try:
                    self._pending = coroutine.send(sent) if thrown is None else coroutine.throw(thrown)
                except StopIteration as done:
                    if slice is not None:
                        meter.stop(slice)
                    if heard:
                        break
                    if payer is not None:
                        _check(payer)
                    return done.value
                except BaseException as error:
                    if slice is not None:
                        meter.stop(slice)
                    if payer is not None and isinstance(error, Overtime):
                        raise _overtime(payer) from None
                    if heard:
                        break
                    if isinstance(error, GeneratorExit) and not isinstance(thrown, GeneratorExit):
                        raise _aborted(call, error) from error
                    raise
                finally:
                    if payer is None:
                        meter.leave()
                    current.set(outer)
                if slice is not None:
                    meter.stop(slice)
                if payer is not None and not heard:
                    self._charge(payer)
        finally:
            if self._timer is not None:
                self._timer.cancel()
        raise DeadlineExceeded(call.callee.label, "wall time", call.wall_max)

    def _charge(self, payer: Call) -> None:
        try:
            _check(payer)
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
