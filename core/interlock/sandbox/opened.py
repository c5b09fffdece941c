"""One open call on a worker, as the host keeps it: who waits for its end, what it may cost, what of it is still to be done."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from interlock.engine.waited import Waited
from interlock.sandbox.failures import let_go_of_frames
from interlock.sandbox.frames import DEPTH_MAX, EARLY_BYTES_MAX, STEPS_MAX, FrameError, memory_of
from interlock.sandbox.long_values import length_of
from interlock.sandbox.share import Share

_AT_ONCE = 64
"""Operations of one call that are done side by side; the others wait. Of one call only: its sub-calls may be what they wait for."""
_FAILURES_MAX = 1_024
"""Errors of operations that are kept for one call, the newest: a worker keeps half of them, and tells anew what it has forgotten."""
_TRACED_BYTES = 16 * 1024
"""How much may lie in the arguments of such an error, and in its frames."""


NO_TASKS: dict[int, asyncio.Task[None]] = {}
"""Of all calls that have asked for nothing: never added to."""


class Opened:
    """A call by its `number` on the channel. Who runs it says how its operations are answered (`answer`) and its notes are taken.

    `end` is its result as the worker sends it, or its error. `steps` are what the function did by itself since it last asked for
    something, and what is to be done before its end counts; `looked_at` are bits of what it has looked at besides (frames.TIME, …), and
    `body` is the frame which said so, its begin if it is long. `cpu` are the CPU seconds that it has used so far. Who sends it off before
    anybody has made it says that it `is_ahead`: it is closed when it has ended, and given up where it asks or says anything. `early` are
    steps that were told before the call asked for something or ended, and are still to be done.
    """

    def __init__(self, label: str, cpu_max: float | None, end: Waited[Any]) -> None:
        self.label, self.cpu_max, self.end = label, cpu_max, end
        self.cpu = self.share_at = 0.0
        self.number = self.notes = self.operations = self.looked_at = 0
        self.has_answered = self.is_ahead = False
        self.steps: list[Any] = []
        self.early: list[Any] | None = None
        self._early_bytes = 0
        self.body = b""
        self.tasks = NO_TASKS  # most calls ask for nothing
        self._failures: dict[int, BaseException] | None = None
        self._at_once: asyncio.Semaphore | None = None

    @property
    def length(self) -> int:
        """How many bytes of memory its end takes, about, or more than anybody keeps. Counted when it is asked for, which is seldom."""
        return memory_of(self.body)

    @property
    def at_once(self) -> asyncio.Semaphore:
        """Made when something is asked for: most calls ask for nothing."""
        if self._at_once is None:
            self._at_once = asyncio.Semaphore(_AT_ONCE)
        return self._at_once

    def keep_failure(self, operation: int, error: BaseException, size: int) -> None:
        """An operation has failed, which was told in so many bytes: the function may fail with the same error. Where that holds much, the
        worker tells it anew.
        """
        length = length_of(error.args, DEPTH_MAX)
        if not 0 <= length <= _TRACED_BYTES:
            return
        if size > _TRACED_BYTES:
            let_go_of_frames(error)
        if self._failures is None:
            self._failures = {}
        elif len(self._failures) >= _FAILURES_MAX:
            del self._failures[next(iter(self._failures))]
        self._failures[operation] = error

    def failure(self, operation: int) -> BaseException | None:
        """The error of an operation, if it is known."""
        return None if self._failures is None else self._failures.get(operation)

    @property
    def share(self) -> Share | None:
        """What pays for the host's time, if anything."""
        raise NotImplementedError

    @property
    def waits_its_turn(self) -> bool:
        """Whether what it asks for waits while that rests."""
        raise NotImplementedError

    def answer(self, operation: int, method: str, args: list[Any], running: Opened | None, steps: list[Any]) -> Coroutine[Any, Any, Any]:
        """The coroutine that does these steps and one operation. Raises FrameError for what no honest worker asks for."""
        raise NotImplementedError

    def add_early(self, steps: list[Any], size: int) -> None:
        """More of them, which take so many bytes of memory, about. Raises FrameError for more than an honest worker tells of."""
        if not self.early:
            self.early, self._early_bytes = [], 0
        self.early += steps
        self._early_bytes += size
        if len(self.early) > STEPS_MAX or self._early_bytes > EARLY_BYTES_MAX:
            raise FrameError("more early steps than a function has")

    def do_early(self) -> None:
        """Do as many of the early steps as can be done now."""
        raise NotImplementedError

    def with_early(self, steps: list[Any]) -> list[Any]:
        """These steps, and before them the early ones that are left."""
        early, self.early = self.early, None
        return [*early, *steps] if early else steps

    def drop(self, operation: int, task: asyncio.Task[None]) -> None:
        """Cancel the operation that `task` does, where it waits for something. Its steps are done."""
        raise NotImplementedError

    def note(self, frame: list[Any]) -> None:
        """Something that needs no answer: a log line, rows that were looked at, the end of a page."""
        raise NotImplementedError

    def note_at_end(self, frame: list[Any]) -> None:
        """The same of a call that is over, and whose function has not ended yet."""
        raise NotImplementedError
