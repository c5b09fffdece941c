"""Second layer and fair shares: what one worker process may use up. setrlimit(2)."""

from __future__ import annotations

import math
import resource

from interlock.sandbox.confinement.steps import Step, take
from interlock.sandbox.plan import Plan

_LAST_SECONDS = 1  # between the signal that a process may catch and the one that it may not


def _lowered(what: int, soft: int, hard: int | None = None) -> Step:
    _, ceiling = resource.getrlimit(what)
    wanted = soft if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        wanted = min(wanted, ceiling)
    return Step("setrlimit", resource.setrlimit, (what, (min(soft, wanted), wanted)))


def address_space() -> int:
    """Bytes of address space of this process now. Linux."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 (one read, before every lock-down)
        return int(file.read().split()[0]) * resource.getpagesize()


def share_steps(plan: Plan, *, size_now: int | None) -> list[Step]:
    """The shares that the plan gives: memory and CPU.

    `size_now` is the address space that every worker starts with; None where it is not known, and memory has no limit then.
    """
    steps = []
    if plan.memory is not None and size_now is not None:
        steps.append(_lowered(resource.RLIMIT_AS, size_now + plan.memory))
    if plan.cpu is not None:
        seconds = max(1, math.ceil(plan.cpu))
        steps.append(_lowered(resource.RLIMIT_CPU, seconds, seconds + _LAST_SECONDS))
    return steps


def steps(plan: Plan, *, size_now: int | None) -> list[Step]:
    """The shares, and nothing at all of what a component has no use for: files written, processes, dumps, locked memory, queues.

    Where native code is loaded, threads are left to the call filter: libraries that find none at hand wait for them for ever.
    """
    found = share_steps(plan, size_now=size_now)
    for name in ("RLIMIT_CORE", "RLIMIT_FSIZE", "RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE", "RLIMIT_NPROC", "RLIMIT_SIGPENDING"):
        if hasattr(resource, name) and (plan.is_sealed or name != "RLIMIT_NPROC"):
            found.append(_lowered(getattr(resource, name), 0))
    return found


def limit(plan: Plan, *, size_now: int | None) -> None:
    """Go through `steps`."""
    take(steps(plan, size_now=size_now))


def descriptor_steps(count: int) -> list[Step]:
    """No descriptor with a number of `count` or more can be made from now on."""
    return [_lowered(resource.RLIMIT_NOFILE, count)]


def limit_descriptors(count: int) -> None:
    """Go through `descriptor_steps`."""
    take(descriptor_steps(count))
