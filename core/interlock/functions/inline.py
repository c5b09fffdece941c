"""Functions that run in this process: the app's own, and those of mounts that say isolation="inline"."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import CoroutineType
from typing import Any

from interlock.engine.made import Made
from interlock.functions.action_threads import ActionThreads
from interlock.functions.call_host import CallHost
from interlock.functions.scope import Callee
from interlock.functions.slices import at_once, begin
from interlock.functions.suspended import Suspended
from interlock.functions.transaction_host import TransactionHost
from interlock.limits import Limits
from interlock.sdk.contexts import ActionCtx, MutationCtx, QueryCtx
from interlock.sdk.triggers import told

_CONTEXTS: dict[str, Callable[[Any], Any]] = {"query": QueryCtx, "mutation": MutationCtx, "action": ActionCtx}


class InlineRunner:
    """Calls the Python function itself, in the loop's own thread; a plain `def` action in a thread of a pool."""

    def __init__(self) -> None:
        self._threads: ActionThreads | None = None

    def begin(self, caller: TransactionHost, callee: Callee, args: Mapping[str, Any], limits: Limits | None) -> None:
        """What runs in this process has nothing to cross."""

    def start(self, call: CallHost) -> Made[Any] | Awaitable[Any]:
        callee = call.callee
        handler = callee.handler
        assert handler is not None, "only a sealed component has functions without code here"
        context = _CONTEXTS[callee.kind](call)
        args = call.args if callee.makes_arguments is None else callee.makes_arguments(call.args)
        made: Any
        if callee.declaration.plain:
            function = partial(handler, context, **args)
            made = self._in_thread(function) if callee.kind == "action" else at_once(function, call)
        else:
            made = handler(context, told(args)) if callee.is_trigger else handler(context, **args)
        is_coroutine = type(made) is CoroutineType
        if not is_coroutine and hasattr(made, "__await__"):
            is_coroutine, made = True, made if hasattr(made, "send") else _await(made)
        if is_coroutine:
            made = begin(made, call)
            if type(made) is Suspended:
                return _end(made, callee)
        return Made(callee.lower_result(made))

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        if self._threads is None:
            self._threads = ActionThreads()
        context = contextvars.copy_context()
        result = await asyncio.get_running_loop().run_in_executor(self._threads, context.run, function)
        return await result if hasattr(result, "__await__") else result

    def close(self) -> None:
        """Let go of the threads. One that is still running ends with its function."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None


async def _end(suspended: Suspended, callee: Callee) -> Any:
    return callee.lower_result(await suspended)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
