"""A mutation that has its place among the commits, and is answered when that is on disk."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from interlock.engine.engine import Placed
from interlock.functions.caller import Answer
from interlock.functions.running_mutation import RunningMutation

if TYPE_CHECKING:
    from interlock.functions.dispatcher import Dispatcher


class Standing:
    """Given by `Dispatcher.begin_mutation`; `answer` or `again` is to be called once."""

    __slots__ = ("_dispatcher", "_placed", "_running")

    def __init__(self, dispatcher: Dispatcher, running: RunningMutation, placed: Placed[Any]) -> None:
        self._dispatcher, self._running, self._placed = dispatcher, running, placed

    @property
    def place(self) -> int:
        """Its place in the order of commits, for `Committer.when_durable`."""
        return self._placed.entry.place

    def answer(self, error: BaseException | None) -> Answer:
        """What is answered, or raised, now that its commit is on disk, or is not for the reason `error`."""
        running, dispatcher = self._running, self._dispatcher
        dispatcher.own_calls.open -= 1
        dispatcher.own_calls.ended += 1
        if error is None:
            return running.answer(self._placed.outcome())
        if not isinstance(error, Exception):
            raise error
        running.failed(error)
        crossed = dispatcher.to_outside(error, running.callee, running.caller)
        raise error if crossed is None else crossed

    def again(self) -> Awaitable[Answer]:
        """Run it again, as its commit was taken back before it was written."""
        running = self._running
        return self._dispatcher.end(running, running.services.engine.again(running.run, running.callee.label, running.deadline_ms))
