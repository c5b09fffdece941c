"""The task of a call that has not waited yet: most never do, and so have none until their code asks which one it is in.

`asyncio.timeout` and `TaskGroup` ask. What is left of the call when it first waits goes on in the same task, so that who has asked is
answered the same for as long as it runs. Not compiled: it is made of coroutines that are canceled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

_task_of_loop = asyncio.tasks.current_task


class LentTask:
    """A task that waits for something to do."""

    __slots__ = ("_context", "_given", "_loop", "_rest", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        self._loop, self._context = loop, context
        self._given: asyncio.Future[None] = loop.create_future()
        self._rest: Coroutine[Any, Any, None] | None = None
        self.task: asyncio.Task[None] = asyncio.Task(self._go_on(), loop=loop, context=context)

    def give(self, rest: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """What is left to do. Gives the task in which it is done."""
        if self.task.cancelling():  # by itself, before it has begun: it would end without what is left
            other = self._loop.create_task(rest, context=self._context)
            self._loop.call_soon(other.cancel)
            return other
        self._rest = rest
        if not self._given.done():
            self._given.set_result(None)
        return self.task

    def drop(self) -> None:
        """Nothing is."""
        self.task.cancel()

    async def _go_on(self) -> None:
        try:
            await self._given
        except asyncio.CancelledError:
            if self._rest is None:
                return
            # Meant for the rest, which is given this way when it waits again.
            self.task.uncancel()
            self.task.cancel()
        assert self._rest is not None, "nobody wakes it without"
        await self._rest


def lend_tasks(lend: Callable[[], asyncio.Task[None] | None]) -> None:
    """From here on, whoever asks for its task and is in none gets what `lend` gives."""

    def current_task(loop: asyncio.AbstractEventLoop | None = None) -> asyncio.Task[Any] | None:
        task = _task_of_loop(loop)
        return lend() if task is None else task

    asyncio.tasks.current_task = asyncio.current_task = current_task
