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
from interlock.sandbox.frames import STEPS_MAX, FrameError
from interlock.sandbox.versions import Versions
from interlock.values import unpack

_ROWS_MAX = 64
_AGAIN = ["again", None, None]
_STEPS_A_TURN = 500
"""About two milliseconds. Whoever commits between two turns makes a call that reads there run again."""
_NO_VERSIONS = Versions()


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


def replay(call: TransactionHost, steps: list[Any], versions: Versions, *, goes_on: bool) -> Awaitable[None] | None:
    """Do these steps in the transaction; gives what is to be waited for, if anything. `versions` are those of the worker. `goes_on` where
    `replay_early` has done some before.

    Raises Stale where the function was shown something else; FrameError for what is no step. A run that was mistaken leaves no
    trace: what it read is not depended on, or the next would lose against whoever writes there meanwhile.
    """
    if len(steps) > STEPS_MAX:
        raise FrameError(f"{len(steps):,} steps of one function")
    done = replay_early(call, steps, versions, goes_on=goes_on)
    if done < len(steps):
        return _go_on(call, steps, versions, done)
    call.tx.end_guess(is_right=True)
    return None


def replay_early(call: TransactionHost, steps: list[Any], versions: Versions, *, goes_on: bool) -> int:
    """Do these steps as far as nothing has to be waited for and the function was right, which may still run. Gives how many are done.

    Raises Stale where a write is refused. Otherwise it is still a guess what was read: `replay` goes on, or the guess is ended.
    """
    tx = call.tx
    tx.catch_up()
    if not goes_on:
        tx.begin_guess()
    try:
        return _at_hand(call, steps, versions)
    except BaseException as error:
        tx.end_guess(is_right=not isinstance(error, Stale))
        raise


def replays(call: TransactionHost, steps: list[Any]) -> bool:
    """Do these steps of a function that only reads, and that `settled` has given, if it would be shown the same now and nothing has to be
    waited for; else nothing.
    """
    tx = call.tx
    tx.catch_up()
    tx.begin_guess()
    is_right = False
    try:
        is_right = _at_hand(call, steps, _NO_VERSIONS) == len(steps)
    finally:
        tx.end_guess(is_right=is_right)
    return is_right


def settled(steps: list[Any], versions: Versions) -> list[Any] | None:
    """The same steps of a function that only reads, to be done at any later time: with digests where they name versions. None where one of
    these is not known.
    """
    found = []
    for step in steps:
        name, told, seen = step
        if type(seen) is not str:
            packed = versions.packed(told, seen) if name == "get" else versions.packed(seen[0], seen[1])
            if packed is None:
                return None
            step = [name, told, known_digest([packed])]
        found.append(step)
    return found


def _at_hand(call: TransactionHost, steps: list[Any], versions: Versions) -> int:
    """Do them as far as nothing has to be waited for and the function was right. Gives how many are done."""
    if call.state != IDLE or call.untold is not None:
        return 0
    done = 0
    for step in steps:
        if done == _STEPS_A_TURN - 1 or not _is_step(step):
            break
        name, told, last = step[0], step[1], step[2]
        if name == "scan":
            rows = _scanned_at_hand(call, a_told_scan(call.callee.scope.scans, told))
            if rows is None or not _are_as_seen(rows, last, versions):
                break
        elif name == "get":
            packed = _gotten_at_hand(call, told)
            if packed is None or not _is_as_seen(packed, told, last, versions):
                break
        elif name != "patch" or type(last) is not dict:
            break
        else:
            has_base = len(step) == 5 and _has_base(call.packed_at_hand(told), step, versions)
            try:
                if not call.patch_at_hand(told, last):
                    break
            except InterlockError:
                raise Stale([[["get", told], None]], asks=True) from None
            if has_base:
                _note_version(call, step, versions)
        done += 1
    return done


def _is_step(step: Any) -> bool:
    return type(step) is list and (len(step) == 3 or (len(step) == 5 and step[0] == "patch")) and type(step[1]) is str


def _is_as_seen(packed: bytes, id: str, seen: Any, versions: Versions) -> bool:
    """Whether a document is what a function saw, which is told by the number of a version or by a digest."""
    if type(seen) is int:
        return packed == versions.packed(id, seen)
    return type(seen) is str and known_digest([packed]) == seen


def _are_as_seen(rows: list[bytes], seen: Any, versions: Versions) -> bool:
    """The same of what a scan finds. Of one row alone a version may be told, with the row's id."""
    if type(seen) is list:
        return len(rows) == 1 and len(seen) == 2 and type(seen[0]) is str and _is_as_seen(rows[0], seen[0], seen[1], versions)
    return type(seen) is str and known_digest(rows) == seen


def _has_base(packed: Any, step: list[Any], versions: Versions) -> bool:
    """Whether a patch is about to be done to what the worker has done it to, so that what comes of it has the worker's number."""
    return packed is not None and packed is not NOT_AT_HAND and type(step[3]) is int and _is_as_seen(packed, step[1], step[4], versions)


def _note_version(call: TransactionHost, step: list[Any], versions: Versions) -> None:
    packed = call.packed_at_hand(step[1])
    if packed is not None and packed is not NOT_AT_HAND:
        versions.note(step[1], step[3], packed)


async def _go_on(call: TransactionHost, steps: list[Any], versions: Versions, done: int) -> None:
    """The rest of them, one by one."""
    is_right = True
    try:
        await _replay(call, steps, versions, done)
    except Stale:
        is_right = False
        raise
    finally:
        call.tx.end_guess(is_right=is_right)


async def _replay(call: TransactionHost, steps: list[Any], versions: Versions, done: int) -> None:
    changed: set[str] = {step[1] for step in steps[:done] if step[0] == "patch"}
    found: dict[str, bytes] = {}  # what was read just now
    for number, step in enumerate(steps[done:], done + 1):
        if number % _STEPS_A_TURN == 0:
            await asyncio.sleep(0)  # what is read from memory waits for nothing, and others are to have their turn
            if call.is_stopped:
                raise DeadlineExceeded(call.callee.label, "wall time", call.wall_max)
        if type(step) is list and step == _AGAIN:
            raise Stale([])
        if not _is_step(step):
            raise FrameError("a step that is none")
        name, told, last = step[0], step[1], step[2]
        if name == "scan":
            scan = a_told_scan(call.callee.scope.scans, told)
            if call.untold is not None:
                await call.keep_up()
            rows = await _scanned(call, scan)
            if rows is None or not _are_as_seen(rows, last, versions):
                right = None if rows is None or len(rows) > _ROWS_MAX else [scan.scan.table, [unpack(row) for row in rows]]
                raise Stale([[step, right], *await _mistakes(call, steps[number:], versions, changed)])
        elif name == "patch" and type(last) is dict:
            has_base = len(step) == 5 and _has_base(found.get(told) or await call.packed(told), step, versions)
            found.pop(told, None)
            try:
                await call.patch(told, last)
            except InterlockError:
                raise Stale([[["get", told], None]], asks=True) from None
            changed.add(told)
            if has_base:
                _note_version(call, step, versions)
        elif name == "insert" and type(last) is dict:
            try:
                await call.insert_as(told, last)
            except InterlockError:
                raise Stale([], asks=True) from None
        elif name == "delete":
            try:
                await call.delete(told)
            except InterlockError:
                raise Stale([[["get", told], None]], asks=True) from None
            changed.add(told)
        elif name == "get":
            if call.untold is not None:
                await call.keep_up()
            packed = await _gotten(call, told)
            if packed is None or not _is_as_seen(packed, told, last, versions):
                raise Stale(await _mistakes(call, steps[number - 1 :], versions, changed))
            found[told] = packed
        else:
            raise FrameError("a step that is none")


async def _mistakes(call: TransactionHost, steps: list[Any], versions: Versions, changed: set[str]) -> list[list[Any]]:
    """All documents that the function was shown otherwise than they are: so that it need not run again for each.

    Nothing depends on what is read for this. One that it has changed is no longer what it was shown anyway.
    """
    found: list[list[Any]] = []
    doubtful: list[list[Any]] = []
    looked_at = set(changed)
    for step in steps:
        if _is_step(step) and step[0] != "scan" and step[1] not in looked_at:
            looked_at.add(step[1])
            if step[0] == "get":
                doubtful.append(step)
    newest = call.tx.look()
    try:
        for step in doubtful:
            id = step[1]
            table = call.table_of(id)
            packed = await newest.packed(table, id) if table is not None else None
            if table is None or packed is None:
                found.append([step, None])
            elif not _is_as_seen(packed, id, step[2], versions):
                found.append([step, [table.name, unpack(packed)]])
    finally:
        call.tx.end_look(newest)
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
