"""When a cron runs. Both halves of the package use it."""

from __future__ import annotations

from typing import Literal, TypedDict

from interlock import CronExpression, Interval

SHORTEST = 1.0  # seconds between two runs


class IntervalFields(TypedDict):
    """Every so many seconds, the first time after as many."""

    kind: Literal["interval"]
    seconds: float


class CronFields(TypedDict):
    """Times on the wall clock of a time zone, as a cron expression names them."""

    kind: Literal["cron"]
    spec: str
    tz: str


ScheduleFields = IntervalFields | CronFields


def times_of(fields: ScheduleFields) -> Interval | CronExpression:
    """The times of a schedule as it crosses and is stored. Raises ValueError with what is wrong."""
    if fields["kind"] == "cron":
        return CronExpression(fields["spec"], fields["tz"])
    if not fields["seconds"] >= SHORTEST:
        raise ValueError(f"a cron runs every {SHORTEST:g} second at most, not every {fields['seconds']:g} s")
    return Interval(fields["seconds"])
