"""What a worker says in operations and steps, read: each part is what an honest SDK sends, or FrameError is raised."""

from __future__ import annotations

from typing import Any

from interlock.engine import Index, Interval
from interlock.limits import Limits
from interlock.sandbox.frames import NOTHING, SCAN_KEY_MAX, FrameError
from interlock.sdk.host import Bounds, Job, Scan, Target
from interlock.sdk.references import LABEL_MAX
from interlock.values import unpack

_NAME_MAX = 1_000
_KEPT_MAX, _KEPT_CHARS = 4_096, 500
"""How many scans of one instance are kept read, and how long each of them may be."""


def some(args: list[Any], count: int) -> list[Any]:
    if len(args) != count:
        raise FrameError("an operation with other arguments than it has")
    return args


def some_ids(args: list[Any]) -> list[Any]:
    """The only argument: what are to be ids."""
    [ids] = some(args, 1)
    if type(ids) is not list:
        raise FrameError("ids that are in no list")
    return ids


def a_name(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"a name is a string, not {type(value).__name__}")
    return value


def an_object(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise FrameError("arguments that are no object")
    return value


def a_scan(told: Any) -> Scan:
    if type(told) is not list or len(told) != 5:
        raise FrameError("a scan that is none")
    table, index, equal, bounds, descending = told
    if type(table) is not str or type(index) is not str or type(equal) is not list or type(descending) is not bool:
        raise FrameError("a scan that is none")
    pairs = []
    for pair in equal:
        if type(pair) is not list or len(pair) != 2 or type(pair[0]) is not str:
            raise FrameError("an equality that is none")
        pairs.append((pair[0], pair[1]))
    return Scan(table, index, tuple(pairs), _bounds(bounds) if bounds else None, descending)


def _bounds(told: Any) -> Bounds:
    if type(told) is not list or len(told) != 5:
        raise FrameError("a range that is none")
    field, lower, lower_inclusive, upper, upper_inclusive = told
    if type(field) is not str or type(lower_inclusive) is not bool or type(upper_inclusive) is not bool:
        raise FrameError("a range that is none")
    return Bounds(field, _bound(lower), lower_inclusive, _bound(upper), upper_inclusive)


def _bound(told: Any) -> tuple[Any] | None:
    if not told:
        return None
    if type(told) is not list or len(told) != 1:
        raise FrameError("a range that is none")
    return (told[0],)


def a_target(told: Any) -> Target:
    if type(told) is not list or len(told) != 7:
        raise FrameError("a function's name that is none")
    name, mount, handle, stale, limits, label, at_once = told
    if type(name) is not str or type(mount) is not str or type(handle) is not str or type(stale) is not bool or len(name) > _NAME_MAX:
        raise FrameError("a function's name that is none")
    if label is not None and (type(label) is not str or len(label) > LABEL_MAX):
        raise FrameError("a label that is none")
    if type(at_once) is not bool:
        raise FrameError("a call that is neither made at once nor not")
    if limits is not None and type(limits) is not dict:
        raise FrameError("limits that are none")
    try:
        return Target(name, mount, handle, stale, None if limits is None else Limits(**limits), label, at_once)
    except (TypeError, ValueError) as error:
        raise FrameError(f"limits that are none: {error}") from None


def job_as_told(job: Job) -> list[Any]:
    return [job.id, job.state, job.name, job.args, job.scheduled_time, job.error]


def how_many(count: Any) -> int | None:
    """Of a scan, as it was told: NOTHING stands for all. Raises FrameError."""
    if count is not None and type(count) is not int:
        raise FrameError("a count that is no number")
    return None if count == NOTHING else count


class ToldScan:
    """A scan of `count` rows at most, None of all. `interval` is what it covers of `index`, where it was met before."""

    __slots__ = ("count", "index", "interval", "scan")

    def __init__(self, scan: Scan, count: int | None) -> None:
        self.scan, self.count = scan, count
        self.index: Index | None = None
        self.interval: Interval | None = None


def a_told_scan(kept: dict[str, ToldScan], key: Any) -> ToldScan:
    """A scan and a count, as steps tell of them. `kept` are those that were read before."""
    if type(key) is not str:
        raise FrameError("a scan that is none")
    known = kept.get(key)
    if known is not None:
        return known
    if len(key) > SCAN_KEY_MAX:
        raise FrameError("a scan that is too long for a step")
    try:
        told = unpack(key.encode())
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, OverflowError):
        raise FrameError("a scan that cannot be read") from None
    if type(told) is not list or len(told) != 2:
        raise FrameError("a scan that is none")
    made = ToldScan(a_scan(told[0]), how_many(told[1]))
    if len(key) <= _KEPT_CHARS:
        if len(kept) >= _KEPT_MAX:
            kept.clear()
        kept[key] = made
    return made
