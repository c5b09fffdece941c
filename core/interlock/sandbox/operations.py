"""What the open calls of one worker ask of the host: which of it is done, in whose time, and how it is answered.

Start at `Operations.begin`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from time import perf_counter, thread_time
from typing import Any

from interlock.errors import CallRefused
from interlock.sandbox.failures import add_frames, cleaned, make, tell
from interlock.sandbox.frames import OPERATIONS_MAX, FrameError
from interlock.sandbox.line import Line
from interlock.sandbox.opened import NO_TASKS, Opened
from interlock.sandbox.share import REST, Share, timed

STANDING = frozenset({"metrics"})
"""What a worker stands still for: it cannot wait behind calls that this worker would have to run first."""
_HELD_MAX = 64 * 1024 * 1024
"""Bytes of memory, about, that operations of one worker may hold while they wait for their turn."""
_CROSSING_SECONDS = 0.00006
"""What it takes the loop, about, to hear of an operation and to send its answer, beside what is measured."""
_STRETCH_SECONDS, _DEAF_SECONDS_MAX = 0.0001, 0.01
"""How long operations of a mount that rests are read at a time, and the longest that nothing is heard then."""
_ORIGIN = "__interlock_origin__"
"""The attribute of an error that says which worker raised it, and under which reference it is kept there."""


class Operations:
    """Those of one worker, whose name in errors is `worker`. `kill` ends it, with the reason and the call whose fault it is."""

    def __init__(self, worker: object, line: Line, kill: Callable[[str, Opened | None], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._worker, self._line, self._kill = worker, line, kill
        self.held = 0
        self._stretch = 0.0

    def begin(
        self,
        opened: Opened,
        operation: int,
        method: str,
        args: list[Any],
        running: Opened | None,
        steps: list[Any],
        size: int,
        began: float,
    ) -> None:
        """Do one, and before it these steps: a frame that holds so many bytes of memory, and began to be read then."""
        if operation in opened.tasks:
            raise FrameError("two operations of one number")
        if len(opened.tasks) >= OPERATIONS_MAX:
            raise FrameError(f"more than {OPERATIONS_MAX:,} operations at once")
        if self.held and self.held + size > _HELD_MAX:
            told = f"operations that hold more than {_HELD_MAX >> 20} MiB wait for their turn. Await some before you start others."
            refused = CallRefused(opened.label, told)
            if steps or opened.early:  # they are not to be forgotten by who catches that, and to hold them is what is refused
                opened.end.set_exception(refused)
            else:
                self._fail(opened, operation, refused, size)
            return
        if opened.early is not None:
            steps = opened.with_early(steps)
        self.held += size
        serving = self._serve(opened, operation, method, args, running, steps, size)
        share = opened.share
        if share is not None:
            self._give_way(share, began)
            serving = timed(serving, share.spend)
        task = self._loop.create_task(serving)
        if opened.tasks is NO_TASKS:
            opened.tasks = {}
        opened.tasks[operation] = task
        task.add_done_callback(partial(self._let_go, size))

    def take_early(self, opened: Opened, steps: list[Any], size: int, began: float) -> None:
        """A call that goes on has done these steps. What of them can be done now is done, in the time of whoever pays for it."""
        opened.add_early(steps, size)
        share = opened.share
        if share is None:
            opened.do_early()
            return
        self._give_way(share, began)
        began = thread_time()
        opened.do_early()
        share.spend(thread_time() - began)

    def _give_way(self, share: Share, began: float) -> None:
        """An operation has come, one of many perhaps: to read it took time, too."""
        took = perf_counter() - began
        share.spend(took + _CROSSING_SECONDS)
        self._stretch += took
        if self._stretch > _STRETCH_SECONDS and share.left:
            self._line.slow_down(min(max(REST * self._stretch, 0.001), _DEAF_SECONDS_MAX))
            self._stretch = 0.0

    def _let_go(self, size: int, _: object) -> None:
        self.held -= size

    def _fail(self, opened: Opened, operation: int, error: Exception, size: int) -> None:
        opened.keep_failure(operation, error, size)
        self._line.send(["err", operation, self._told(error)])

    async def _serve(
        self, opened: Opened, operation: int, method: str, args: list[Any], running: Opened | None, steps: list[Any], size: int
    ) -> None:
        answer: Any = None
        try:
            if method in STANDING:
                answer = await opened.answer(operation, method, args, running, steps)
            else:
                await opened.at_once.acquire()
                try:
                    if opened.waits_its_turn and opened.share is not None:
                        await opened.share.turn()
                    await self._line.wait_for_room()
                    answer = await opened.answer(operation, method, args, running, steps)
                finally:
                    opened.at_once.release()
        except FrameError as broken:
            self._kill(f"it broke the protocol: {cleaned(str(broken))}", opened)
            return
        except asyncio.CancelledError:
            if opened.end.done() or self._line.is_over:
                raise
            self._line.send(["err", operation, ["own", "CallRefused", ["", "it was cancelled."], "", []]])  # for who has dropped it
            return
        except Exception as error:
            self._fail(opened, operation, error, size)
            return
        finally:
            opened.tasks.pop(operation, None)
        self._line.send(["res", operation, answer])

    def _told(self, error: Exception) -> list[Any]:
        told = tell(error, [])
        origin = getattr(error, _ORIGIN, None)
        return ["known", origin[1], told] if origin is not None and origin[0] is self._worker else told


def failure_of(worker: object, opened: Opened, told: list[Any]) -> BaseException:
    """The error with which a call says that it has ended. Raises FrameError."""
    match told:
        case ["op", int(operation), list(frames), list(data)]:
            known = opened.failure(operation)
            error = make(data, opened.label, trusted=False) if known is None else known
            add_frames(error, frames)
            return error
        case ["raised", int(reference), list(data)]:
            made = make(data, opened.label, trusted=False)
            setattr(made, _ORIGIN, (worker, reference))
            return made
    raise FrameError("an error that is told in no known way")
