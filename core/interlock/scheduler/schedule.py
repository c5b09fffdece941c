"""The schedule that a declared cron has."""

from __future__ import annotations

from interlock.sdk.declarations import CronDeclaration
from interlock.sdk.schedule import CronExpression, Interval, Schedule

_FIELDS = 5


def schedule_of(cron: CronDeclaration) -> Schedule:
    """The schedule that a cron declares. Raises ValueError with what is wrong."""
    if (cron.every is None) == (cron.cron is None):
        raise ValueError("give it exactly one of every=<seconds> and cron=<five fields>")
    if cron.catch_up not in ("skip", "once", "all"):
        raise ValueError(f'catch_up must be "skip", "once" or "all", got {cron.catch_up!r}')
    if cron.every is not None:
        return Interval(cron.every)
    assert cron.cron is not None
    if len(cron.cron.split()) != _FIELDS:
        raise ValueError(f"a cron expression has five fields (minute hour day month weekday), got {cron.cron!r}")
    return CronExpression(cron.cron, cron.timezone)
