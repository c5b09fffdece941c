"""A task that is there before it is needed: a request that never waits is served without one of its own.

Code that is run here sees what it would see in a task: `asyncio.current_task()` is one, so `asyncio.timeout` and `TaskGroup` work, and
context variables that it sets are its own. Only what has to wait goes on in the task itself, and then another one is made ready.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any

from interlock.functions.call import current

Rest = Coroutine[Any, Any, None]


class SpareTask:
    """One for all connections of a server. Its methods belong to the loop's thread."""

    __slots__ = ("_before", "_context", "_hand", "_is_closed", "_loop", "_task")

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    def run(self, begin: Callable[[], Rest | None]) -> asyncio.Task[None] | None:
        """Call `begin` as if in a task; what it gives is left to do, and goes on in the task, which is given. Outside of any task."""
        task = self._task
        if task is None or task.done():
            task = self._make()
        _enter_task(self._loop, task)
        try:
            rest = self._context.run(begin)
        finally:
            _leave_task(self._loop, task)
        if rest is not None:
            self._task = None
            self._hand.give(rest)
            return task
        if self._context != self._before or task.cancelling():
            self._drop()  # what was left in it is nobody else's business
        return None

    def close(self) -> None:
        """Let go of it; what has gone on in one ends by itself."""
        self._drop()

    def _drop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    def _make(self) -> asyncio.Task[None]:
        self._loop = asyncio.get_running_loop()
        self._context: Context = copy_context()
        self._context.run(current.set, None)  # as every call leaves it
        self._before = self._context.copy()
        self._hand = _Hand(self._loop.create_future())
        self._task = asyncio.Task(self._hand.take(), loop=self._loop, name="call", context=self._context)
        return self._task


class _Hand:
    """How a task that has begun gets its work."""

    __slots__ = ("_given", "_rest")

    def __init__(self, given: asyncio.Future[None]) -> None:
        self._given = given
        self._rest: Rest | None = None

    def give(self, rest: Rest) -> None:
        self._rest = rest
        if not self._given.done():
            self._given.set_result(None)

    async def take(self) -> None:
        try:
            await self._given
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._rest is None or task is None:
                return
            # Meant for the work, which is given this way when it waits again.
            task.uncancel()
            task.cancel()
        assert self._rest is not None, "nobody wakes it without"
        await self._rest
