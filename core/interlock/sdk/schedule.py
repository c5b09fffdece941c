"""When a cron comes next: arithmetic only, in milliseconds since the epoch. Imported by those who use it: it needs croniter.

An interval goes on from its first time. A cron expression is read on the wall clock of its time zone: where it names
hours, each wall time runs once a day, at the jump when the clock leaps over it, at the first of the two when the clock
repeats it; where the hour is `*`, every matching moment runs, so that `*/15 * * * *` comes every 15 real minutes.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from croniter import CroniterBadCronError, CroniterBadDateError, croniter

_FIELDS = (5, 6)


class Schedule(Protocol):
    """The times of one cron. `text` is the same for two schedules that have the same times."""

    @property
    def text(self) -> str: ...

    def first(self, now_ms: float) -> float:
        """The first time of a cron that is new at `now_ms`."""

    def after(self, time_ms: float) -> float:
        """The time that follows one of the schedule's times."""

    def after_all(self, time_ms: float, until_ms: float) -> float:
        """Going on from a time of the schedule, the first one later than `until_ms`."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Every so many seconds, the first time at once. Raises ValueError unless they are a number above 0."""

    seconds: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise ValueError(f"every must be a number of seconds above 0, got {self.seconds!r}")

    @property
    def text(self) -> str:
        return f"every {self.seconds:g} s"

    def first(self, now_ms: float) -> float:
        return now_ms

    def after(self, time_ms: float) -> float:
        return time_ms + self.seconds * 1000

    def after_all(self, time_ms: float, until_ms: float) -> float:
        if until_ms < time_ms:
            return time_ms
        period = self.seconds * 1000
        following = time_ms + (math.floor((until_ms - time_ms) / period) + 1) * period
        return following if following > until_ms else following + period  # the division may round up


@dataclass(frozen=True, slots=True)
class CronExpression:
    """Times on the wall clock of a time zone, in five fields: minute, hour, day of the month (`L` is the last), month, weekday
    (0 and 7 are Sunday). In six, the first is the second. Raises ValueError with what is wrong.
    """

    expression: str
    timezone: str = "UTC"
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)
    _is_every_hour: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_zone", _zone(self.timezone))
        object.__setattr__(self, "_is_every_hour", _check(self.expression))

    @property
    def text(self) -> str:
        return f"{' '.join(self.expression.split())} {self.timezone}"

    def first(self, now_ms: float) -> float:
        return self.after(now_ms)

    def after(self, time_ms: float) -> float:
        at = math.floor(time_ms / 1000)
        while True:
            found = self._in_real_time(at) if self._is_every_hour else self._by_the_wall(at)
            if found * 1000 > time_ms:
                return found * 1000.0
            at = found

    def after_all(self, time_ms: float, until_ms: float) -> float:
        return self.after(until_ms) if until_ms >= time_ms else time_ms

    def _by_the_wall(self, at: int) -> int:
        """Each matching wall time once. Seconds since the epoch, later than `at`."""
        wall = _utc(at + self._offset(at))
        while True:
            wall = _next(self.expression, wall)
            first, second = (int(wall.replace(tzinfo=self._zone, fold=fold).timestamp()) for fold in (0, 1))
            # A wall time that the clock leaps over lies, read with the offset after the jump, before the jump.
            found = first if first <= second else self._jump(second, first)
            if found > at:
                return found

    def _in_real_time(self, at: int) -> int:
        """Every moment at which the wall clock matches."""
        offset = self._offset(at)
        while True:
            found = _epoch(_next(self.expression, _utc(at + offset))) - offset
            if self._offset(found) == offset:
                return found
            jump = self._jump(at, found)
            at, offset = jump - 1, self._offset(jump)

    def _offset(self, at: int) -> int:
        offset = datetime.fromtimestamp(at, self._zone).utcoffset()
        assert offset is not None
        return int(offset.total_seconds())

    def _jump(self, low: int, high: int) -> int:
        """The first second of the offset that holds at `high`; another one holds at `low`."""
        offset = self._offset(high)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._offset(middle) == offset else (middle, high)
        return high


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}; names are like Europe/Berlin or UTC") from None


def _check(expression: str) -> bool:
    """Whether the hour is left open; refuses what is no cron expression."""
    fields = expression.split()
    if len(fields) not in _FIELDS:
        raise ValueError(
            f"a cron expression has five fields (minute hour day month weekday), or six with the second first, got {expression!r}"
        )
    if any(re.match(r"[RrHh]\b", part) for field in fields for part in re.split("[,/]", field)):
        raise ValueError(f"{expression!r}: random and hashed fields have no fixed times")
    try:
        parsed = croniter(expression, datetime(2000, 1, 1), second_at_beginning=True)
        parsed.get_next(datetime)
    except CroniterBadDateError:
        raise ValueError(f"{expression!r} names a day that never comes") from None
    except (CroniterBadCronError, ValueError, KeyError) as error:
        raise ValueError(f"{expression!r} is no cron expression: {error}") from None
    return bool(parsed.expanded[1] == ["*"])


def _next(expression: str, wall: datetime) -> datetime:
    found: datetime = croniter(expression, wall, second_at_beginning=True).get_next(datetime)
    return found


def _utc(seconds: int) -> datetime:
    """A wall time as a naive datetime; years beyond `fromtimestamp` included."""
    return datetime(1970, 1, 1) + timedelta(seconds=seconds)


def _epoch(wall: datetime) -> int:
    return int(wall.replace(tzinfo=UTC).timestamp())
