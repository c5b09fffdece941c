"""Tasks that are there before they are needed: most requests are served without one of their own.

Code that is run here sees what it would see in a task: `asyncio.current_task()` is one, so `asyncio.timeout` and `TaskGroup` work, and
context variables that it sets are its own. What waits for the disk or for a component's worker (`Waited`) is driven by hand, and goes on
in the callback that brings the news. Only what waits for anything else goes on in the task itself, and then another one is made ready.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any

from interlock.engine.resumed import Resumed
from interlock.engine.waited import Waited
from interlock.functions.call import current
from interlock.server.started import Started

Rest = Coroutine[Any, Any, None]
_READY_MAX = 256
_over: Any = object()
_failed: Any = object()


class SpareTask:
    """Those of one server. Its methods belong to the loop's thread."""

    __slots__ = ("_is_closed", "_ready")

    def __init__(self) -> None:
        self._ready: list[_Spare] = []
        self._is_closed = False

    def run(self, begin: Callable[[], Rest | None]) -> asyncio.Task[None] | None:
        """Call `begin` as if in a task, and then what it gives. The task is given where that waits. Outside of any task."""
        ready = self._ready
        spare = ready.pop() if ready else None
        if spare is None or spare.task.done():
            spare = _Spare(self)
        return spare.begin(begin)

    def take_back(self, spare: _Spare) -> None:
        """Nothing of what it was for is left in it."""
        if self._is_closed or len(self._ready) >= _READY_MAX:
            spare.task.cancel()
        else:
            self._ready.append(spare)

    def close(self) -> None:
        """Let go of them; what has gone on in one ends by itself."""
        self._is_closed = True
        ready, self._ready = self._ready, []
        for spare in ready:
            spare.task.cancel()


class _Spare:
    """One task, with its context, and what is driven by hand as if in it."""

    __slots__ = ("_before", "_context", "_driven", "_hand", "_loop", "_owner", "_rest", "_waits", "task")

    def __init__(self, owner: SpareTask) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._context: Context = copy_context()
        self._context.run(current.set, None)  # as every call leaves it
        self._before = self._context.copy()
        self._rest: Rest | None = None
        self._driven: Any = None  # as an iterator
        self._waits: Waited[Any] | None = None
        self._hand = _Hand(self, self._loop.create_future())
        self.task: asyncio.Task[None] = asyncio.Task(Started(self._hand.take()), loop=self._loop, name="call", context=self._context)

    def begin(self, begin: Callable[[], Rest | None]) -> asyncio.Task[None] | None:
        loop, task = self._loop, self.task
        _enter_task(loop, task)
        try:
            waits = self._context.run(self._first, begin)
        finally:
            _leave_task(loop, task)
        return self._park(waits)

    def wake(self) -> None:
        """What it waits for is done. Outside of any task."""
        waits = self._waits
        if waits is None:
            return  # it has gone on in its task, or is already over
        self._waits = waits.parked = None
        loop, task = self._loop, self.task
        _enter_task(loop, task)
        try:
            pending = self._context.run(self._next)
        finally:
            _leave_task(loop, task)
        self._park(pending)

    def _first(self, begin: Callable[[], Rest | None]) -> Any:
        self._rest = begin()
        if self._rest is None:
            return _over
        self._driven = self._rest.__await__()
        return self._next()

    def _next(self) -> Any:
        """Drive it on. Gives what it waits for, or that it is over."""
        try:
            pending = next(self._driven, _over)  # an end that is met by C costs no traceback
        except BaseException as error:
            self._rest = _raise(error)  # the task tells of it
            return _failed
        if pending is _over:
            self._rest = self._driven = None
        return pending

    def _park(self, pending: Any) -> asyncio.Task[None] | None:
        task = self.task
        if pending is _over:
            if self._context == self._before and not task.cancelling() and not self._hand.is_woken:
                self._owner.take_back(self)
            else:
                task.cancel()  # what was left in it, or is on its way to it, is nobody else's business
            return None
        if type(pending) is Waited:
            self._waits = pending
            pending.parked = self.wake
            if pending.done():
                self._loop.call_soon(self.wake)
        else:
            rest, self._rest, self._driven = self._rest, None, None
            assert rest is not None, "it has not ended"
            self._hand.give(rest if pending is _failed else Resumed(rest, pending))
        return task

    def unpark(self) -> Any:
        """What is left of it, for the task itself to go on with; None where nothing is."""
        rest, waits = self._rest, self._waits
        self._rest = self._driven = self._waits = None
        if rest is None or waits is None:
            return None
        waits.parked = None
        return Resumed(rest, waits)


async def _raise(error: BaseException) -> None:
    raise error


class _Hand:
    """How a task that has begun gets its work."""

    __slots__ = ("_given", "_rest", "_spare")

    def __init__(self, spare: _Spare, given: asyncio.Future[None]) -> None:
        self._spare: _Spare | None = spare
        self._given = given
        self._rest: Any = None

    @property
    def is_woken(self) -> bool:
        """Whether its task goes on: it was told to end, even if whoever did has taken that back since."""
        return self._given.done()

    def give(self, rest: Any) -> None:
        self._rest = rest
        if not self._given.done():
            self._given.set_result(None)

    async def take(self) -> None:
        is_canceled = False
        try:
            await self._given
        except asyncio.CancelledError:
            is_canceled = True
        if is_canceled:
            task = asyncio.current_task()
            if self._rest is None and self._spare is not None:
                self._rest = self._spare.unpark()
            self._spare = None  # which holds this
            if self._rest is None or task is None:
                return
            # Meant for the work, which is given this way when it waits again.
            task.uncancel()
            task.cancel()
        self._spare = None
        assert self._rest is not None, "nobody wakes it without"
        await self._rest
