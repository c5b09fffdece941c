"""What is left to a call of time, its own and that of those that wait for it, and who is charged for what it uses."""

from __future__ import annotations

import math

from interlock.clock import SystemClock
from interlock.errors import DeadlineExceeded
from interlock.functions.call import Call
from interlock.limits import Limits

_LATER_MS = 3.0
"""How much later than here a deadline passes in the worker: the caller is answered by the host."""


def cpu_left(call: Call) -> float | None:
    """The CPU seconds that are left to a call: its own limit, or the nearest above it."""
    above: Call | None = call
    while above is not None and above.cpu_max is None:
        above = above.parent
    return None if above is None or above.cpu_max is None else max(0.0, above.cpu_max - above.cpu)


def lowered(cpu_left: float | None, limits: Limits | None) -> float | None:
    """The same for a call that is given limits of its own."""
    if limits is None or limits.cpu is None:
        return cpu_left
    return limits.cpu if cpu_left is None else min(cpu_left, limits.cpu)


def charge(call: Call, seconds: float) -> DeadlineExceeded | None:
    """Count CPU time for a call and for those that wait for it. Gives the error of the nearest that has used up its own."""
    over = None
    above: Call | None = call
    while above is not None:
        if above.cpu_max is not None:
            above.cpu += seconds
            if above.cpu > above.cpu_max and over is None:
                over = DeadlineExceeded(above.callee.label, "CPU time", above.cpu_max)
        above = above.parent
    return over


def over_at(call: Call) -> float | None:
    """When a worker is to stop it: at the nearest deadline of those that wait for it, in ms; None where time is not the machine's."""
    if not isinstance(call.execution.services.clock, SystemClock):
        return None
    nearest = math.inf
    above: Call | None = call
    while above is not None:
        if above.deadline_ms is not None and above.deadline_ms < nearest:
            nearest = above.deadline_ms
        above = above.parent
    return None if nearest == math.inf else nearest + _LATER_MS
