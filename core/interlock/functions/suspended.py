"""A function that waits: each of its slices between two suspensions is measured, and at its deadline it is told to end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import suppress
from typing import Any

from interlock.clock import Timer
from interlock.errors import DeadlineExceeded
from interlock.functions.call import Call, current
from interlock.functions.meter import aborted, check_cpu, overtime, payer_of
from interlock.functions.watchdog import Overtime

_GRACE_MS = 1_000.0


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
            self._timer = services.deadlines.add(self, call.deadline_ms, self._stop)
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
                payer = payer_of(call, meter)
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
                        check_cpu(payer)
                    return done.value
                except BaseException as error:
                    if slice is not None:
                        meter.stop(slice)
                    if payer is not None and isinstance(error, Overtime):
                        raise overtime(payer) from None
                    if heard:
                        break
                    if isinstance(error, GeneratorExit) and not isinstance(thrown, GeneratorExit):
                        raise aborted(call, error) from error
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
            if call.deadline_ms is not None:
                services.deadlines.drop(self)
            if self._timer is not None:
                self._timer.cancel()
        raise DeadlineExceeded(call.callee.label, "wall time", call.wall_max)

    def _charge(self, payer: Call) -> None:
        try:
            check_cpu(payer)
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
