"""Runs that wait in memory: their functions go on where they stood, instead of being replayed from the start.

A run that is left waiting at the end of a turn gets a name that is used once, and that the component writes down in the
transaction of the turn. Who comes with the name gets the run, and nobody after him. So what is in memory is what the record says:
the name of a turn that was undone is in no record, and that of one whose transaction was repeated is the one of the last attempt. A
run that is not here, as after a restart or when others needed the room, is replayed; and so is one of few steps, where that costs
little: each replay also looks whether the function still does what it has done.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Hashable
from itertools import count

from interlock_workflow.turn import Turn

RUNS_MOST = 500
BYTES_EACH, BYTES_MOST = 2 << 20, 16 << 20  # of texts that they were given: more is left to the limits that hold for replays
STEPS_FEWEST, STEPS_MOST = 16, 10_000
NAP_SECONDS = 60.0  # nobody is kept in memory for a longer sleep


class Waiting:
    """Turns by their names, at most so many and of so many bytes. The one that was put in first goes first."""

    def __init__(self) -> None:
        self._turns: dict[str, tuple[Hashable, Turn]] = {}
        self._bytes = 0
        self._process = os.urandom(8).hex()  # names are those of this process
        self._names = count()

    def keep(self, owner: Hashable, turn: Turn) -> str | None:
        """The name under which it waits; None if it is not kept: then it is closed. Only the same `owner`, its code, gets it back."""
        if turn.size > BYTES_EACH or not STEPS_FEWEST <= turn.count <= STEPS_MOST or turn.nap() > NAP_SECONDS:
            turn.close()
            return None
        name = f"{self._process}{next(self._names):x}"
        self._turns[name] = owner, turn
        self._bytes += turn.size
        while len(self._turns) > RUNS_MOST or self._bytes > BYTES_MOST:
            self._take(next(iter(self._turns))).close()
        return name

    def take(self, owner: Hashable, name: str, workflow_id: str, number: int) -> Turn | None:
        """The turn of this name, if it is here and the record is as it left it: then it is its to go on."""
        if name not in self._turns:
            return None
        kept, turn = self._turns[name][0], self._take(name)
        if kept is owner and turn.workflow_id == workflow_id and turn.number == number:
            return turn
        turn.close()
        return None

    def clear(self) -> None:
        """Forget all."""
        while self._turns:
            self._take(next(iter(self._turns))).close()

    def _take(self, name: str) -> Turn:
        turn = self._turns.pop(name)[1]
        self._bytes -= turn.size
        return turn


WAITING = Waiting()
"""Those of this process."""


atexit.register(WAITING.clear)  # not by the garbage collector: what functions do while they are ended is nobody's concern


def _begin_anew() -> None:
    WAITING.__init__()  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
