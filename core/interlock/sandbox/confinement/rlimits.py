"""Second layer and fair shares: what one worker process may use up. setrlimit(2)."""

from __future__ import annotations

import math
import resource

from interlock.sandbox.plan import Plan

_LAST_SECONDS = 1  # between the signal that a process may catch and the one that it may not


def _lower(what: int, soft: int, hard: int | None = None) -> None:
    _, ceiling = resource.getrlimit(what)
    wanted = soft if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        wanted = min(wanted, ceiling)
    resource.setrlimit(what, (min(soft, wanted), wanted))


def address_space() -> int:
    """Bytes of address space of this process now. Linux."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 (one read, before every lock-down)
        return int(file.read().split()[0]) * resource.getpagesize()


def limit_process(plan: Plan, *, size_now: int | None) -> None:
    """Set the shares that the plan gives: memory and CPU.

    `size_now` is the address space that every worker starts with; None where it is not known, and memory has no limit then.
    """
    if plan.memory is not None and size_now is not None:
        _lower(resource.RLIMIT_AS, size_now + plan.memory)
    if plan.cpu is not None:
        seconds = max(1, math.ceil(plan.cpu))
        _lower(resource.RLIMIT_CPU, seconds, seconds + _LAST_SECONDS)


def limit(plan: Plan, *, size_now: int | None) -> None:
    """The shares, and nothing at all of what a component has no use for: files written, processes, dumps, locked memory, queues.

    Where native code is loaded, threads are left to the call filter: libraries that find none at hand wait for them for ever.
    """
    limit_process(plan, size_now=size_now)
    for name in ("RLIMIT_CORE", "RLIMIT_FSIZE", "RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE", "RLIMIT_NPROC", "RLIMIT_SIGPENDING"):
        if hasattr(resource, name) and (plan.is_sealed or name != "RLIMIT_NPROC"):
            _lower(getattr(resource, name), 0)


def limit_descriptors(count: int) -> None:
    """No descriptor with a number of `count` or more can be made from now on."""
    _lower(resource.RLIMIT_NOFILE, count)
