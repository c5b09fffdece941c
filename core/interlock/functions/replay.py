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
    """A worker was mistaken about what it remembered: the call runs again, and asks."""


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
        match step:
            case ["scan", told, None | int() as count, str(shown)]:
                scan = scan_of(told)
                try:
                    index = find_index(tx, call.callee.scope.path, scan)
                    if index is None:
                        raise Stale
                    room = max(0, tx.budget.maximum.documents_read - tx.budget.used.documents_read) + 1
                    if count is None or count > room:
                        count = room
                    rows = await tx.scan_packed(index, interval_of(index, scan), scan.descending, count)
                except InterlockError:
                    raise Stale from None  # the function has to meet it where it reads
                if digest(rows) != shown:
                    raise Stale
            case ["get", str(id), str(shown)]:
                table = call.table_of(id)
                try:
                    packed = None if table is None else await tx.get_packed(table, id)
                except InterlockError:
                    raise Stale from None
                if packed is None or digest([packed]) != shown:
                    raise Stale
            case ["patch", str(id), dict(fields)]:
                try:
                    await call.patch(id, fields)
                except InterlockError:
                    raise Stale from None
            case _:
                raise FrameError("a step that is none")
