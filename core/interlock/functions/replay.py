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
from interlock.values import unpack

_STEPS_MAX = 50_000
"""Above what the limits of a transaction let a function read and write."""
_ROWS_MAX = 64
_STEPS_A_TURN = 500
"""About two milliseconds. Whoever commits between two turns makes a call that reads there run again."""


class Stale(Exception):
    """A worker was mistaken about what it remembered: the call runs again.

    `mistakes` are the steps that went wrong, each with its table's name and what is right, a document or rows, where that is told; none
    where the worker has noticed by itself. `number` is that of the run. Where the host refuses something, the function is to meet that
    itself: then it `asks` for everything.
    """

    def __init__(self, mistakes: list[list[Any]], *, asks: bool = False) -> None:
        super().__init__(mistakes)
        self.mistakes, self.asks = mistakes, asks
        self.number = 0


async def replay(call: TransactionHost, steps: list[Any], scan_of: Callable[[Any], Scan]) -> None:
    """Do these steps in the transaction. Raises Stale where the function was shown something else; FrameError for what is no step.

    A run that was mistaken leaves no trace: what it read is not depended on, or the next would lose against whoever writes there
    meanwhile.
    """
    tx = call.tx
    tx.catch_up()
    tx.begin_guess()
    is_right = True
    try:
        await _replay(call, steps, scan_of)
    except Stale:
        is_right = False
        raise
    finally:
        tx.end_guess(is_right=is_right)


async def _replay(call: TransactionHost, steps: list[Any], scan_of: Callable[[Any], Scan]) -> None:
    if len(steps) > _STEPS_MAX:
        raise FrameError(f"{len(steps):,} steps of one function")
    patched: set[str] = set()
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
            scan = scan_of(told)
            if call.untold is not None:
                await call.keep_up()
            rows = await _scanned(call, scan, count)
            if rows is None or digest(rows) != last:
                right = None if rows is None or len(rows) > _ROWS_MAX else [scan.table, [unpack(row) for row in rows]]
                raise Stale([[step, right], *await _mistakes(call, steps[number:], patched)])
        elif name == "patch" and type(told) is str and type(last) is dict:
            try:
                await call.patch(told, last)
            except InterlockError:
                raise Stale([[["get", told], None]], asks=True) from None
            patched.add(told)
        elif name == "insert" and type(told) is str and type(last) is dict:
            try:
                await call.insert_as(told, last)
            except InterlockError:
                raise Stale([], asks=True) from None
        elif name == "get" and type(told) is str and type(last) is str:
            if call.untold is not None:
                await call.keep_up()
            packed = await _gotten(call, told)
            if packed is None or digest([packed]) != last:
                raise Stale(await _mistakes(call, steps[number - 1 :], patched))
        elif name == "again":
            raise Stale([])
        else:
            raise FrameError("a step that is none")


async def _mistakes(call: TransactionHost, steps: list[Any], patched: set[str]) -> list[list[Any]]:
    """All documents that the function was shown otherwise than they are: so that it need not run again for each.

    Nothing depends on what is read for this. One that it has patched is no longer what it was shown anyway.
    """
    found: list[list[Any]] = []
    seen = set(patched)
    for step in steps:
        if type(step) is not list or len(step) != 3 or type(step[1]) is not str:
            continue
        name, id, shown = step
        if id in seen:
            continue
        seen.add(id)
        table = call.table_of(id) if name == "get" else None
        packed = await call.tx.newest_packed(table, id) if table is not None else None
        if table is not None and packed is not None:
            if digest([packed]) != shown:
                found.append([step, [table.name, unpack(packed)]])
        elif name == "get":
            found.append([step, None])
    return found


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
