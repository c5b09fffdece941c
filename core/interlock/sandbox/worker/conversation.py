"""One call's side of the channel: what it asks the host, what it only says, and for how long its code has run.

Operations are sent in the order in which they begin, each with the steps that are to be done before it; more than the host takes at
once are kept back here.

Start at `Conversation.ask`. Knows no document.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from interlock.errors import CallRefused, LimitExceeded
from interlock.limits import LIMITS
from interlock.sandbox.frames import OPERATIONS_MAX, TooLong
from interlock.sandbox.worker.asked import Asked
from interlock.sandbox.worker.operation import Operation
from interlock.sandbox.worker.view import View
from interlock.sdk.host import FunctionInfo
from interlock.sdk.tally import Tally

if TYPE_CHECKING:
    from interlock.sandbox.worker.running import Worker

_WRITES = frozenset({"insert", "patch", "replace"})
_LOGS_MAX, _LOG_CHARS_MAX = 400, int(LIMITS["log_line_bytes"].value) + 1
_monotonic = time.monotonic


class Conversation(Tally):
    """`number` is the name of the call on the channel. What is done by its `view` alone goes to the host as steps."""

    __slots__ = (
        "_consumed",
        "_has_asked",
        "_kept_back",
        "_logs",
        "_spent",
        "_told",
        "_waiting",
        "_worker",
        "function",
        "has_rested",
        "is_ended",
        "number",
        "since",
        "view",
    )

    def __init__(self, worker: Worker, number: int, function: FunctionInfo, view: View, since: float) -> None:
        super().__init__()
        self._worker, self.number, self.function, self.view = worker, number, function, view
        self.since = since  # when its code began to run that runs now
        self._spent = self._told = 0.0
        self.has_rested = self._has_asked = self.is_ended = False
        self._waiting = self._logs = 0
        self._kept_back: deque[list[Any]] | None = None
        self._consumed: dict[int, int] | None = None

    @property
    def label(self) -> str:
        function = self.function
        return f"{function.component_path}/{function.name}" if function.component_path else function.name

    # asked

    def ask(self, method: str, *args: Any, keep: Callable[[Any], None] | None = None) -> Awaitable[Any]:
        """An operation of this call; its result, when the host has answered. `keep` is told it first."""
        worker = self._worker
        if self.is_ended:
            ended: asyncio.Future[Any] = worker.loop.create_future()
            ended.set_exception(self._ended())
            ended.exception()  # whoever started it may not wait for it
            return ended
        if method != "show":
            self._has_asked = True
        if self._consumed is not None:
            self.tell_consumed()
        number = worker.take_number()
        future = Asked(loop=worker.loop)
        future.call, future.operation = self, number
        worker.asked[number] = (future, self, keep)
        running = worker.running()
        others = 0 if running is self or running is None else running.number
        self._waiting += 1
        if self._waiting > OPERATIONS_MAX:
            if self._kept_back is None:
                self._kept_back = deque()
            self._kept_back.append(["op", self.number, number, method, others, list(args), [], 0])
        else:
            steps = self.view.take_steps()
            try:
                worker.send(["op", self.number, number, method, others, list(args), steps, self.take_spent()], args)
            except (TooLong, MemoryError) as refused:
                self.view.steps = steps
                self._waiting -= 1
                del worker.asked[number]
                future.set_exception(_too_long(method, refused.args[0]) if isinstance(refused, TooLong) else refused)
        return future

    def ask_now(self, method: str, *args: Any) -> Any:
        """The same where there is no await: the worker stands still until the answer is there."""
        worker = self._worker
        if self.is_ended:
            raise self._ended()
        self._has_asked = True
        if self._consumed is not None:
            self.tell_consumed()
        number = worker.take_number()
        worker.send(["op", self.number, number, method, 0, list(args), self.view.take_steps(), self.take_spent()])
        frame = worker.channel.wait_for("res", number)
        if frame[0] == "err":
            raise worker.failure(frame[2])
        return frame[2]

    def _ended(self) -> CallRefused:
        return CallRefused(self.label, "its context was used after the call had ended. Await everything that it starts.")

    def drop(self, operation: int) -> None:
        """Nobody waits for it any more. What has not begun is not done, and what waits is let go of."""
        if self.is_ended:
            return
        for frame in self._kept_back or ():
            if frame[2] == operation:
                self._kept_back.remove(frame)  # type: ignore[union-attr]
                del self._worker.asked[operation]
                self._waiting -= 1
                return
        self._worker.send(["drop", self.number, operation])

    def answered(self) -> None:
        """One of its operations is done."""
        self._waiting -= 1
        if self._kept_back and not self.is_ended:
            frame = self._kept_back.popleft()
            self._worker.send(frame, frame[5])

    # asked, once it is awaited

    def _effect(self, name: str, method: str, *args: Any) -> Awaitable[Any]:
        """An operation that changes something, which the host does."""
        self.note_effect(name)
        return Operation(partial(self._begin_effect, method, *args))

    def _begin_effect(self, method: str, *args: Any) -> Awaitable[Any]:
        self.unbegun -= 1
        return self.ask(method, *args)

    # said

    def log(self, level: str, text: str) -> None:
        self._logs += 1
        self._has_asked = True
        if self._logs <= _LOGS_MAX:  # beyond what the host keeps
            self._worker.send(["log", self.number, level, text[:_LOG_CHARS_MAX]])

    def set_page_end(self, ordinal: int, mark: str) -> None:
        self._has_asked = True
        self._worker.send(["page", self.number, ordinal, mark])

    def consume(self, cursor: int, count: int) -> None:
        """Told before anything else is asked: a loop over rows is not to send a frame for each."""
        if self._consumed is None:
            self._consumed = {}
        self._consumed[cursor] = self._consumed.get(cursor, 0) + count

    def tell_consumed(self) -> None:
        consumed, self._consumed = self._consumed, None
        if consumed is not None:
            for cursor, count in consumed.items():
                self._worker.send(["use", self.number, cursor, count])

    # how long it runs

    def take_spent(self) -> float:
        """For how many seconds its code has run since this was last asked, in the middle of that."""
        now = _monotonic()
        self._spent += now - self.since
        self.since = now
        # What runs in tasks that it has made is counted by the timer alone.
        spent = max(self._spent, self.cpu)
        told, self._told = self._told, spent
        return int((spent - told) * 1e6) / 1e6  # a short number, for less than `round` takes

    def rests(self) -> None:
        """It waits for something."""
        self.has_rested = True
        self._spent += _monotonic() - self.since


def _too_long(method: str, length: int) -> LimitExceeded:
    limit = "document_bytes" if method in _WRITES else "argument_bytes"
    return LimitExceeded(limit, length, int(LIMITS[limit].value))
