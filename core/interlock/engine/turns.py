"""Turns: how a mutation that keeps losing gets through.

After a few losses a mutation takes a turn. What its last run read is reserved: commits that would touch it wait, all
others pass. Turns are numbered and wait for earlier ones only, so two of them never wait for each other. A holder that
reads elsewhere and loses again reserves more, at last everything for a short while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from interlock.engine.read_set import Changes, ReadSet


class Turn:
    """One mutation's place in the queue. Lower numbers go first."""

    __slots__ = ("done", "label", "number", "reserved", "reserves_all")

    def __init__(self, number: int, label: str) -> None:
        self.number, self.label = number, label
        self.reserved = ReadSet()
        self.reserves_all = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def holds_up(self, changes: Changes) -> bool:
        return self.reserves_all or self.reserved.is_touched_by(changes)


class Turns:
    """The turns that are waiting or running."""

    def __init__(self) -> None:
        self.active: dict[int, Turn] = {}
        self._next = 1

    def take(self, label: str) -> Turn:
        turn = Turn(self._next, label)
        self._next += 1
        self.active[turn.number] = turn
        return turn

    def end(self, turn: Turn) -> None:
        self.active.pop(turn.number, None)
        if not turn.done.done():
            turn.done.set_result(None)

    def before(self, turn: Turn | None) -> Iterable[Turn]:
        """The earlier turns, the latest of them first: when that is done, most of those before it are."""
        if not self.active:
            return ()
        return [other for other in reversed(self.active.values()) if turn is None or other.number < turn.number]

    def holding_up(self, changes: Changes, turn: Turn | None) -> Turn | None:
        """The last earlier turn whose reservation the changes would touch."""
        return next((other for other in self.before(turn) if other.holds_up(changes)), None)

    def ahead_of(self, turn: Turn) -> Turn | None:
        """The last earlier turn that reads what this one reads: running before it is done would most likely be in vain."""
        return next(
            (other for other in self.before(turn) if other.reserves_all or turn.reserves_all or other.reserved.meets(turn.reserved)), None
        )
