"""Running a function's code, slice by slice between its suspensions.

A function that never suspends is run in one step, without a task or a timer. Only when it does suspend is a timer armed.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from interlock.functions.call import Call, current
from interlock.functions.meter import aborted, check_cpu, out_of_time, overtime, payer_of
from interlock.functions.suspended import Suspended
from interlock.functions.watchdog import Overtime


def begin(coroutine: Coroutine[Any, Any, Any], call: Call) -> Any:
    """Run the first slice of a coroutine as part of `call`. Gives its result; or, if it has suspended, a `Suspended` to await."""
    outer = current.get()
    current.set(call)
    meter = call.execution.services.meter
    payer = call if call.cpu_max is not None else None if meter.running is not None else payer_of(call, meter)
    if payer is None:
        meter.come_back()
        try:
            pending = coroutine.send(None)
        except StopIteration as done:
            return done.value
        except GeneratorExit as error:
            raise aborted(call, error) from error
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
            raise out_of_time(payer) from None
        return done.value
    except BaseException as error:
        meter.stop(slice)
        if isinstance(error, Overtime):
            raise overtime(payer) from None
        if isinstance(error, GeneratorExit):
            raise aborted(call, error) from error
        raise
    finally:
        current.set(outer)
    meter.stop(slice)
    check_cpu(payer)
    return Suspended(coroutine, pending, call)


def at_once(function: Callable[[], Any], call: Call) -> Any:
    """Run a plain function as part of `call`: nothing in it can wait, so it is one slice."""
    outer = current.get()
    current.set(call)
    meter = call.execution.services.meter
    payer = payer_of(call, meter)
    if payer is None:
        meter.come_back()
        try:
            return function()
        except GeneratorExit as error:
            raise aborted(call, error) from error
        finally:
            meter.leave()
            current.set(outer)
    slice = meter.start(payer)
    try:
        result = function()
    except BaseException as error:
        meter.stop(slice)
        if isinstance(error, Overtime):
            raise overtime(payer) from None
        if isinstance(error, GeneratorExit):
            raise aborted(call, error) from error
        raise
    finally:
        current.set(outer)
    meter.stop(slice)
    check_cpu(payer)
    return result
