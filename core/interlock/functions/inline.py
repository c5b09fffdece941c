"""Functions that run in this process: the app's own, and those of mounts that say isolation="inline"."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import CoroutineType
from typing import Any

from interlock.functions.call import current
from interlock.functions.host import CallHost
from interlock.functions.slices import check_cpu, drive
from interlock.limits import LIMITS
from interlock.sdk.contexts import ActionCtx, MutationCtx, QueryCtx
from interlock.sdk.conversion import lower
from interlock.sdk.host import Host
from interlock.sdk.triggers import Change

_CONTEXTS: dict[str, Callable[[Host], Any]] = {"query": QueryCtx, "mutation": MutationCtx, "action": ActionCtx}


class InlineRunner:
    """Calls the Python function itself, in the loop's own thread; a plain `def` action in a thread of a pool."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None

    async def run(self, call: CallHost) -> Any:
        callee = call.callee
        handler = callee.handler
        assert handler is not None, "only a sealed component has functions without code here"
        context = _CONTEXTS[callee.kind](call)
        args = call.args if callee.makes_arguments is None else callee.makes_arguments(call.args)
        if callee.is_trigger:
            args = {"change": Change(**args)}
            handler = partial(_with_change, handler)
        if not callee.declaration.plain:
            made = handler(context, **args)
        elif callee.kind == "action":
            made = self._in_thread(partial(handler, context, **args))
        else:
            made = self._at_once(call, partial(handler, context, **args))
        if type(made) is CoroutineType:
            return lower(await drive(made, call))
        return lower(await drive(_await(made), call) if hasattr(made, "__await__") else made)

    @staticmethod
    def _at_once(call: CallHost, function: Callable[[], Any]) -> Any:
        """A plain function: nothing in it can wait, so it is one slice."""
        meter = call.execution.services.meter
        outer = current.get()
        current.set(call)
        started = meter.start()
        try:
            result = function()
        finally:
            current.set(outer)
        check_cpu(call, meter.spent(started))
        return result

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(int(LIMITS["jobs_running"].value), "interlock-action")
        context = contextvars.copy_context()
        result = await asyncio.get_running_loop().run_in_executor(self._threads, context.run, function)
        return await result if hasattr(result, "__await__") else result

    def close(self) -> None:
        """Let go of the threads. One that is still running ends with its function."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _with_change(handler: Callable[[Any, Change], Any], context: Any, change: Change) -> Any:
    return handler(context, change)
