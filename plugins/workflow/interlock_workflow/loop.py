"""An event loop in which nothing but steps can be waited for.

A workflow's function runs in it until every task of it waits for a step; then the turn does the steps, and lets it run on. So
`gather`, `TaskGroup` and locks work, the order in which tasks run is always the same, and what would wait for the clock, a
thread or a socket is refused with what to write instead.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, Token, copy_context
from typing import Any, NoReturn

from interlock_workflow.errors import NotAStep

_CLOCK = "Write `await step.sleep(seconds)`, or give the step a timeout: with_options(timeout=…), await_event(timeout=…)."
_THREADS = "Do it in an action: `await step.run_action(ref, …)`."
_MOST = 1_000_000  # callbacks without a step: a function that spins


# Only what a workflow can meet is there, and with narrower signatures: type checkers are not to compare it.
_Loop: Any = asyncio.AbstractEventLoop


class TurnLoop(_Loop):  # type: ignore[misc]
    """Runs callbacks in the order in which they were put in, and never waits. `refused` is the first thing that it had to refuse.

    Its tasks may outlive whoever has it run: between `leave` and `enter` they hold nothing of his context.
    """

    def __init__(self) -> None:
        self._ready: deque[asyncio.Handle] = deque()
        self._tasks: list[tuple[asyncio.Task[Any], Context]] = []
        self._shown: list[tuple[Context, ContextVar[Any], Token[Any]]] = []
        self._raised: BaseException | None = None
        self.refused: NotAStep | None = None

    def run(self) -> None:
        """Until nothing is left to run."""
        self._within(self._drain)
        if self._raised is not None:
            raise self._raised

    def begin(self, coro: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """The first task."""
        task = self.create_task(coro, context=Context())
        self.enter()
        return task

    def enter(self) -> None:
        """Show the tasks the variables of this context."""
        here = copy_context()
        for _, context in self._tasks:
            self._shown += [(context, variable, context.run(variable.set, value)) for variable, value in here.items()]

    def leave(self) -> None:
        """Take the variables away again, and forget tasks that are done."""
        for context, variable, token in reversed(self._shown):
            context.run(variable.reset, token)
        self._shown.clear()
        self._tasks = [(task, context) for task, context in self._tasks if not task.done()]
        for task, _ in self._tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]

    def is_done(self) -> bool:
        """Whether no task is left."""
        return all([task.done() for task, _ in self._tasks])

    def close(self) -> None:
        """End every task that still waits, without letting it run on."""
        if self.is_done():
            self._ready.clear()
        else:
            self._within(self._end_tasks)

    def _drain(self) -> None:
        ready, left = self._ready, _MOST
        while ready and self._raised is None:
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()
            left -= 1
            if not left:
                raise self._refuse("the workflow runs on and on without a step", "Let it wait for one.")

    def _end_tasks(self) -> None:
        for task, _ in self._tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                coroutine: Any = task.get_coro()
                try:
                    coroutine.close()
                except BaseException:  # what it does while it is ended is nobody's concern
                    continue
        self._ready.clear()

    def _within(self, work: Callable[[], None]) -> None:
        """With this loop as the running one. The outer one waits meanwhile: it is in the middle of a callback."""
        outer = asyncio._get_running_loop()
        swap: Any = getattr(asyncio.tasks, "_swap_current_task", None) if sys.version_info >= (3, 14) else None
        task = swap(outer, None) if swap is not None and outer is not None else None
        asyncio._set_running_loop(self)
        try:
            work()
        finally:
            asyncio._set_running_loop(outer)
            if swap is not None and outer is not None:
                swap(outer, task)

    # what asyncio asks of a loop

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        context = options.pop("context", None)
        if context is None:
            context = copy_context()
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, context=context, **options)
        self._tasks.append((task, context))
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An error that nobody waits for. What is meant to end more than a task does so."""
        error = context.get("exception")
        if error is not None and not isinstance(error, Exception | asyncio.CancelledError | GeneratorExit):
            self._raised = error

    def _refuse(self, what: str, instead: str) -> NotAStep:
        error = NotAStep(f"{what}. {instead}")
        self.refused = self.refused or error
        return error

    def time(self) -> float:
        raise self._refuse("a workflow has no clock of the event loop", _CLOCK)

    def call_later(self, *_: Any, **__: Any) -> NoReturn:
        raise self._refuse("a workflow cannot wait for the clock (asyncio.sleep, asyncio.timeout, wait_for)", _CLOCK)

    def call_at(self, *_: Any, **__: Any) -> NoReturn:
        raise self._refuse("a workflow cannot wait for the clock (asyncio.sleep, asyncio.timeout, wait_for)", _CLOCK)

    def run_in_executor(self, *_: Any, **__: Any) -> NoReturn:
        raise self._refuse("a workflow cannot start a thread", _THREADS)

    def call_soon_threadsafe(self, *_: Any, **__: Any) -> NoReturn:
        raise self._refuse("a workflow cannot wait for a thread", _THREADS)

    async def create_connection(self, *_: Any, **__: Any) -> NoReturn:
        raise self._refuse("a workflow cannot open a socket", _THREADS)

    async def getaddrinfo(self, *_: Any, **__: Any) -> NoReturn:
        raise self._refuse("a workflow cannot open a socket", _THREADS)

    async def subprocess_exec(self, *_: Any, **__: Any) -> NoReturn:
        raise self._refuse("a workflow cannot start a process", _THREADS)

    async def subprocess_shell(self, *_: Any, **__: Any) -> NoReturn:
        raise self._refuse("a workflow cannot start a process", _THREADS)
