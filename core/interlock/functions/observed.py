"""A top-level call, told to observers: each attempt begins, and ends when it has committed, was undone, or lost and is run again."""

from __future__ import annotations

import time

from interlock.errors import WriteConflict
from interlock.functions.call import Call
from interlock.functions.caller import Caller
from interlock.functions.scope import Callee
from interlock.functions.services import Services
from interlock.hooks import Call as ObservedCall
from interlock.hooks import Outcome


class Observed:
    """Made where `services.observers` is there. `parent` is the action that has made the call, if one has."""

    def __init__(self, services: Services, callee: Callee, caller: Caller, parent: Call | None) -> None:
        assert services.observers is not None
        self._hooks = services.observers
        self._call = ObservedCall(callee.info, caller.request_id, caller.source if parent is None else "function", depth_below(parent))
        self._label = callee.label
        self._started: float | None = None

    def start(self) -> None:
        """An attempt begins; the one before, if there was one, has lost."""
        if self._started is not None:
            lost = WriteConflict(self._label, "", (), "another mutation")
            lost.runs_again = True
            self.finish(lost)
        self._started = time.perf_counter()
        self._hooks.call_started(self._call)

    def finish(self, error: BaseException | None, commit_ts: int | None = None) -> None:
        """The attempt has ended."""
        if self._started is None:
            return
        duration_ms, self._started = (time.perf_counter() - self._started) * 1000.0, None
        self._hooks.call_finished(self._call, Outcome(duration_ms, error, commit_ts))


def depth_below(parent: Call | None) -> int:
    """How deep a call of `parent` is."""
    return parent.depth + 1 if parent is not None else 0
