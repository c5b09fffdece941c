"""Taking over what a worker did by itself: each read is read here, each write written here, before the call counts.

A worker may run a mutation on rows that it remembers. Whether they were right is decided here alone, by comparing what the
function was shown with what its transaction reads at its own snapshot. So the reads, the conflicts and the subscriptions of such
a call are those of one that asked for everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from interlock.errors import DeadlineExceeded, InterlockError
from interlock.functions.host import TransactionHost
from interlock.functions.reading import find_index, interval_of
from interlock.sandbox.digests import digest
from interlock.sandbox.frames import FrameError
from interlock.sdk.host import Scan

_STEPS_MAX = 50_000
"""Above what the limits of a transaction let a function read and write."""
_STEPS_A_TURN = 64


class Stale(Exception):
    """A worker was mistaken about what it remembered, in this `step`: the call runs again, and asks."""

    def __init__(self, step: list[Any]) -> None:
        super().__init__(step)
        self.step = step


async def replay(call: TransactionHost, steps: list[Any], scan_of: Callable[[Any], Scan]) -> None:
    """Do these steps in the transaction. Raises Stale where the function was shown something else; FrameError for what is no step."""
    tx = call.tx
    tx.catch_up()
    if len(steps) > _STEPS_MAX:
        raise FrameError(f"{len(steps):,} steps of one function")
    for number, step in enumerate(steps, 1):
        if number % _STEPS_A_TURN == 0:
            await asyncio.sleep(0)  # what is read from memory waits for nothing, and others are to have their turn
            if call.is_stopped:
                raise DeadlineExceeded(call.callee.label, "wall time", call.wall_max)
        if type(step) is not list or not 3 <= len(step) <= 4:
            raise FrameError("a step that is none")
        name, told, last = step[0], step[1], step[-1]
        if len(step) == 4:
            count = step[2]
            if name != "scan" or not (count is None or type(count) is int) or type(last) is not str:
                raise FrameError("a step that is none")
            rows = await _scanned(call, scan_of(told), count)
            if rows is None or digest(rows) != last:
                raise Stale(step)
        elif name == "patch" and type(told) is str and type(last) is dict:
            try:
                await call.patch(told, last)
            except InterlockError:
                raise Stale(["get", told]) from None
        elif name == "get" and type(told) is str and type(last) is str:
            packed = await _gotten(call, told)
            if packed is None or digest([packed]) != last:
                raise Stale(step)
        else:
            raise FrameError("a step that is none")


async def _scanned(call: TransactionHost, scan: Scan, count: int | None) -> list[bytes] | None:
    """What the transaction reads there; None where that is refused, which the function has to meet itself."""
    tx = call.tx
    try:
        index = find_index(tx, call.callee.scope.path, scan)
        if index is None:
            return None
        room = max(0, tx.budget.maximum.documents_read - tx.budget.used.documents_read) + 1
        if count is None or count > room:
            count = room
        return await tx.scan_packed(index, interval_of(index, scan), scan.descending, count)
    except InterlockError:
        return None


async def _gotten(call: TransactionHost, id: str) -> bytes | None:
    try:
        table = call.table_of(id)
        return None if table is None else await call.tx.get_packed(table, id)
    except InterlockError:
        return None
