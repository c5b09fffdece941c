"""Taking over what a worker did by itself: each read is read here, each write written here, before the call counts.

A worker may run a mutation on rows that it remembers. Whether they were right is decided here alone, by comparing what the
function was shown with what its transaction reads at its own snapshot. So the reads, the conflicts and the subscriptions of such
a call are those of one that asked for everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from interlock.engine.view import NOT_AT_HAND
from interlock.errors import DeadlineExceeded, InterlockError
from interlock.functions.call import IDLE
from interlock.functions.reading import find_index, interval_of
from interlock.functions.told import ToldScan, a_told_scan
from interlock.functions.transaction_host import TransactionHost
from interlock.sandbox.digests import known_digest
from interlock.sandbox.frames import FrameError
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
    itself: then it `asks` for everything. `seed` is that of the next run, where it is not to be drawn.
    """

    def __init__(self, mistakes: list[list[Any]], *, asks: bool = False, seed: int | None = None) -> None:
        super().__init__(mistakes)
        self.mistakes, self.asks, self.seed = mistakes, asks, seed
        self.number = 0


def replay(call: TransactionHost, steps: list[Any]) -> Awaitable[None] | None:
    """Do these steps in the transaction; gives what is to be waited for, if anything.

    Raises Stale where the function was shown something else; FrameError for what is no step. A run that was mistaken leaves no
    trace: what it read is not depended on, or the next would lose against whoever writes there meanwhile.
    """
    if len(steps) > _STEPS_MAX:
        raise FrameError(f"{len(steps):,} steps of one function")
    tx = call.tx
    tx.catch_up()
    tx.begin_guess()
    try:
        done = _at_hand(call, steps)
    except BaseException as error:
        tx.end_guess(is_right=not isinstance(error, Stale))
        raise
    if done < len(steps):
        return _go_on(call, steps, done)
    tx.end_guess(is_right=True)
    return None


def replays(call: TransactionHost, steps: list[Any]) -> bool:
    """Do these steps of a function that only reads, if it would be shown the same now and nothing has to be waited for; else nothing."""
    tx = call.tx
    tx.catch_up()
    tx.begin_guess()
    is_right = False
    try:
        is_right = _at_hand(call, steps) == len(steps)
    finally:
        tx.end_guess(is_right=is_right)
    return is_right


def _at_hand(call: TransactionHost, steps: list[Any]) -> int:
    """Do them as far as nothing has to be waited for and the function was right. Gives how many are done."""
    if call.state != IDLE or call.untold is not None:
        return 0
    done = 0
    for step in steps:
        if done == _STEPS_A_TURN - 1 or type(step) is not list or len(step) != 3:
            break
        name, told, last = step
        if type(told) is not str:
            break
        if name == "scan":
            rows = _scanned_at_hand(call, a_told_scan(call.callee.scope.scans, told))
            if rows is None or known_digest(rows) != last:
                break
        elif name == "get":
            packed = _gotten_at_hand(call, told)
            if packed is None or known_digest([packed]) != last:
                break
        elif name != "patch" or type(last) is not dict:
            break
        else:
            try:
                if not call.patch_at_hand(told, last):
                    break
            except InterlockError:
                raise Stale([[["get", told], None]], asks=True) from None
        done += 1
    return done


async def _go_on(call: TransactionHost, steps: list[Any], done: int) -> None:
    """The rest of them, one by one."""
    is_right = True
    try:
        await _replay(call, steps, done)
    except Stale:
        is_right = False
        raise
    finally:
        call.tx.end_guess(is_right=is_right)


async def _replay(call: TransactionHost, steps: list[Any], done: int) -> None:
    changed: set[str] = {step[1] for step in steps[:done] if step[0] == "patch"}
    for number, step in enumerate(steps[done:], done + 1):
        if number % _STEPS_A_TURN == 0:
            await asyncio.sleep(0)  # what is read from memory waits for nothing, and others are to have their turn
            if call.is_stopped:
                raise DeadlineExceeded(call.callee.label, "wall time", call.wall_max)
        if type(step) is not list or len(step) != 3:
            raise FrameError("a step that is none")
        name, told, last = step
        if name == "scan" and type(last) is str:
            scan = a_told_scan(call.callee.scope.scans, told)
            if call.untold is not None:
                await call.keep_up()
            rows = await _scanned(call, scan)
            if rows is None or known_digest(rows) != last:
                right = None if rows is None or len(rows) > _ROWS_MAX else [scan.scan.table, [unpack(row) for row in rows]]
                raise Stale([[step, right], *await _mistakes(call, steps[number:], changed)])
        elif name == "patch" and type(told) is str and type(last) is dict:
            try:
                await call.patch(told, last)
            except InterlockError:
                raise Stale([[["get", told], None]], asks=True) from None
            changed.add(told)
        elif name == "insert" and type(told) is str and type(last) is dict:
            try:
                await call.insert_as(told, last)
            except InterlockError:
                raise Stale([], asks=True) from None
        elif name == "delete" and type(told) is str:
            try:
                await call.delete(told)
            except InterlockError:
                raise Stale([[["get", told], None]], asks=True) from None
            changed.add(told)
        elif name == "get" and type(told) is str and type(last) is str:
            if call.untold is not None:
                await call.keep_up()
            packed = await _gotten(call, told)
            if packed is None or known_digest([packed]) != last:
                raise Stale(await _mistakes(call, steps[number - 1 :], changed))
        elif name == "again":
            raise Stale([])
        else:
            raise FrameError("a step that is none")


async def _mistakes(call: TransactionHost, steps: list[Any], changed: set[str]) -> list[list[Any]]:
    """All documents that the function was shown otherwise than they are: so that it need not run again for each.

    Nothing depends on what is read for this. One that it has changed is no longer what it was shown anyway.
    """
    found: list[list[Any]] = []
    seen = set(changed)
    for step in steps:
        if type(step) is not list or len(step) != 3 or type(step[1]) is not str:
            continue
        name, id, shown = step
        if id in seen or name == "scan":
            continue
        seen.add(id)
        table = call.table_of(id) if name == "get" else None
        packed = await call.tx.newest_packed(table, id) if table is not None else None
        if table is not None and packed is not None:
            if known_digest([packed]) != shown:
                found.append([step, [table.name, unpack(packed)]])
        elif name == "get":
            found.append([step, None])
    return found


async def _scanned(call: TransactionHost, told: ToldScan) -> list[bytes] | None:
    """What the transaction reads there; None where that is refused, which the function has to meet itself."""
    scan = told.scan
    try:
        index = find_index(call.tx, call.callee.scope.path, scan)
        if index is None:
            return None
        return await call.tx.scan_packed(index, interval_of(index, scan), scan.descending, _room(call, told.count))
    except InterlockError:
        return None


def _scanned_at_hand(call: TransactionHost, told: ToldScan) -> list[bytes] | None:
    """The same where nothing has to be waited for; else None too."""
    scan, tx = told.scan, call.tx
    try:
        index = find_index(tx, call.callee.scope.path, scan)
        if index is None:
            return None
        interval = told.interval
        if interval is None or told.index is not index:
            interval = told.interval = interval_of(index, scan)
            told.index = index
        return tx.scan_packed_at_hand(index, interval, scan.descending, _room(call, told.count))
    except InterlockError:
        return None


def _room(call: TransactionHost, count: int | None) -> int:
    """How many rows are read at most: one more than may be, so that the limit is met without holding the whole table."""
    budget = call.tx.budget
    room = max(0, budget.maximum.documents_read - budget.used.documents_read) + 1
    return room if count is None or count > room else count


async def _gotten(call: TransactionHost, id: str) -> bytes | None:
    try:
        table = call.table_of(id)
        return None if table is None else await call.tx.get_packed(table, id)
    except InterlockError:
        return None


def _gotten_at_hand(call: TransactionHost, id: str) -> bytes | None:
    """The same where nothing has to be waited for; else None too."""
    try:
        table = call.table_of(id)
        packed = None if table is None else call.tx.get_packed_at_hand(table, id)
        return None if packed is NOT_AT_HAND else packed
    except InterlockError:
        return None
