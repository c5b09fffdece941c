"""In a query or mutation nothing waits but for what the context gives: sleeping, timers, locks that are held are refused.

Timers of asyncio's own, as those of `asyncio.timeout` and `wait_for`, go on as always: what they end is a wait for the host. No
boundary, a help, as `determinism` is; patched once, in the zygote.

Start at `install`; the timers of the loop are refused in `loop`.
"""

from __future__ import annotations

import _queue
import _thread
import asyncio
import asyncio.tasks
import select
import selectors
import threading
import time
from collections.abc import Callable
from typing import Any

from interlock.errors import PermissionDenied
from interlock.sandbox.refusals import RefusedInSandbox, refuse_selecting
from interlock.sandbox.worker.determinism import replace_methods, shown

_REMEDY = "Nothing waits in a query or mutation: plan what comes later, ctx.scheduler.run_after(seconds, ref), or sleep in an action."


def refuse_waiting(what: str) -> None:
    """Raises PermissionDenied where the code that runs is of a query or mutation."""
    still = shown()
    if still is not None:
        raise PermissionDenied(f"{still.label} calls {what}", _REMEDY)


def install() -> None:
    """Patch the standard library, once a process."""
    _patch_sleeping()
    _patch_locks()
    _patch_queues()
    _patch_polling()


def _patch_sleeping() -> None:
    real_sleep, real_wait, real_condition = time.sleep, asyncio.sleep, threading.Condition.wait

    def sleep(seconds: float, /) -> None:
        refuse_waiting("time.sleep")
        real_sleep(seconds)

    async def wait(delay: float, result: Any = None) -> Any:
        if delay > 0:
            refuse_waiting("asyncio.sleep")
        return await real_wait(delay, result)

    def wait_for_notice(self: threading.Condition, timeout: float | None = None) -> bool:
        if timeout is not None and timeout > 0:  # as events and queues do
            refuse_waiting("a wait with a timeout of threading")
        return real_condition(self, timeout)

    threading.Condition.wait = wait_for_notice  # type: ignore[method-assign]
    time.sleep = sleep  # type: ignore[assignment]
    asyncio.sleep = asyncio.tasks.sleep = wait


def _patch_locks() -> None:
    """Where there is no other thread, nobody lets go of a lock while this one waits for it."""
    kind: Any = type(_thread.allocate_lock())
    real, is_held, threads = kind.acquire, kind.locked, _thread._count

    def acquire(self: Any, blocking: bool = True, timeout: float = -1) -> Any:
        if blocking and timeout and is_held(self) and not threads():
            refuse_waiting("acquire of a lock that is held")
        return real(self, blocking, timeout)

    def enter(self: Any) -> Any:
        return acquire(self)

    replace_methods(kind, {"acquire": acquire, "acquire_lock": acquire, "__enter__": enter})


def _patch_queues() -> None:
    kind: Any = _queue.SimpleQueue  # the others wait by a condition
    real, is_empty, threads = kind.get, kind.empty, _thread._count

    def get(self: Any, block: bool = True, timeout: float | None = None) -> Any:
        if block and timeout != 0 and is_empty(self) and not threads():
            refuse_waiting("get of an empty queue")
        return real(self, block, timeout)

    replace_methods(kind, {"get": get})


def _patch_polling() -> None:
    """The channel of the worker has the real `poll`. The kernel refuses a sandboxed worker all others, in queries and actions alike."""
    refused: Any = _refused_wait("select.select", select.select)
    select.select = refused
    selectors.SelectSelector._select = staticmethod(refused)  # type: ignore[attr-defined]
    kinds: list[Any] = [type(getattr(select, name)()) for name in ("poll", "devpoll") if hasattr(select, name)]
    kinds += [kind for kind in (getattr(select, "epoll", None),) if kind is not None]
    for kind in kinds:
        kind.poll = _refused_wait(f"select.{kind.__name__}.poll", kind.poll)
    waits_by_epoll: Any = getattr(selectors, "EpollSelector", None)
    if waits_by_epoll is not None:
        waits_by_epoll._selector_cls = staticmethod(_told_of("select.epoll", waits_by_epoll._selector_cls))


def _refused_wait(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    told = _told_of(name, real)

    def wait(*args: Any, **kwargs: Any) -> Any:
        refuse_waiting(name)
        return told(*args, **kwargs)

    wait.__name__ = real.__name__
    return wait


def _told_of(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """The same, and where the kernel refuses it, that is said in words."""

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return real(*args, **kwargs)
        except RefusedInSandbox:
            raise
        except PermissionError:
            refuse_selecting(name)

    return call
