"""Cron arithmetic against a model that asks every single minute whether it matches."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.scheduler.schedule import schedule_of
from interlock.sdk.declarations import CronDeclaration
from interlock.sdk.schedule import CronExpression, Interval, Schedule

# Days around a change of the clocks: forward and back, north and south, one of half an hour, and none at all.
CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29)),
    ("Europe/Berlin", datetime(2026, 10, 25)),
    ("America/New_York", datetime(2026, 3, 8)),
    ("America/New_York", datetime(2026, 11, 1)),
    ("Australia/Lord_Howe", datetime(2026, 4, 5)),
    ("Australia/Lord_Howe", datetime(2026, 10, 4)),
    ("UTC", datetime(2026, 6, 1)),
    ("Asia/Kathmandu", datetime(2026, 6, 1)),
]

minutes = st.sampled_from(["0", "30", "15,45", "59", "*/15", "*/7"])
hours = st.sampled_from(["*", "0", "1", "2", "3", "1,2", "2-4", "*/2", "23"])
days = st.sampled_from(["*", "1", "5", "29", "*/2"])
weekdays = st.sampled_from(["*", "*", "0", "1-5", "0,6"])


def at(moment: datetime) -> float:
    return moment.timestamp() * 1000


def matches(field: str, value: int, low: int) -> bool:
    for part in field.split(","):
        numbers, _, step = part.partition("/")
        first, last = (low, 99) if numbers == "*" else (int(numbers.split("-")[0]), int(numbers.split("-")[-1]))
        if first <= value <= last and (value - first) % int(step or 1) == 0:
            return True
    return False


def wall_matches(expression: str, wall: datetime) -> bool:
    minute, hour, day, month, weekday = expression.split()
    of_month, of_week = matches(day, wall.day, 1), matches(weekday, wall.isoweekday() % 7, 0)
    # Where both days are given, either will do.
    days_match = of_month and of_week if day == "*" or weekday == "*" else of_month or of_week
    return matches(minute, wall.minute, 0) and matches(hour, wall.hour, 0) and matches(month, wall.month, 1) and days_match


def every_time(expression: str, zone: str, start: datetime, end: datetime) -> list[float]:
    """The model: walk through the real minutes, and through the wall minutes that the clock leaps over."""
    tz = ZoneInfo(zone)
    found = []
    moment = start
    previous = (start - timedelta(minutes=1)).astimezone(tz).replace(tzinfo=None)
    while moment < end:
        local = moment.astimezone(tz)
        wall = local.replace(tzinfo=None, fold=0)
        leapt = [previous + timedelta(minutes=n) for n in range(1, int((wall - previous).total_seconds() / 60))]
        names_hours = expression.split()[1] != "*"
        if (wall_matches(expression, wall) and not (names_hours and local.fold)) or (
            names_hours and any(wall_matches(expression, skipped) for skipped in leapt)
        ):
            found.append(at(moment))
        previous = wall
        moment += timedelta(minutes=1)
    return found


def times(schedule: Schedule, start: float, end: float) -> list[float]:
    found = []
    time = schedule.after(start)
    while time < end:
        found.append(time)
        time = schedule.after(time)
    return found


@settings(max_examples=40, deadline=None)
@given(change=st.sampled_from(CHANGES), minute=minutes, hour=hours, day=days, weekday=weekdays, offset=st.integers(0, 1439))
@pytest.mark.one_isolation("inline", "no component runs: when a cron is due")
def test_a_cron_expression_names_the_same_times_as_asking_every_minute(
    change: tuple[str, datetime], minute: str, hour: str, day: str, weekday: str, offset: int
) -> None:
    zone, date = change
    expression = f"{minute} {hour} {day} * {weekday}"
    start = (date - timedelta(days=1)).replace(tzinfo=UTC) + timedelta(minutes=offset)
    end = start + timedelta(hours=30)
    expected = every_time(expression, zone, start, end)
    assert times(CronExpression(expression, zone), at(start) - 1, at(end)) == expected


@pytest.mark.one_isolation("inline", "no component runs: when a cron is due")
def test_a_daily_time_that_the_clock_leaps_over_runs_at_the_jump() -> None:
    schedule = CronExpression("30 2 * * *", "Europe/Berlin")
    before = at(datetime(2026, 3, 28, 12, tzinfo=UTC))
    assert times(schedule, before, before + 3 * 86_400_000) == [
        at(datetime(2026, 3, 29, 1, 0, tzinfo=UTC)),  # 03:00 in Berlin, the moment of the jump
        at(datetime(2026, 3, 30, 0, 30, tzinfo=UTC)),
        at(datetime(2026, 3, 31, 0, 30, tzinfo=UTC)),
    ]


@pytest.mark.one_isolation("inline", "no component runs: when a cron is due")
def test_a_daily_time_that_the_clock_repeats_runs_once() -> None:
    schedule = CronExpression("30 2 * * *", "Europe/Berlin")
    before = at(datetime(2026, 10, 24, 12, tzinfo=UTC))
    assert times(schedule, before, before + 2 * 86_400_000) == [
        at(datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        at(datetime(2026, 10, 26, 1, 30, tzinfo=UTC)),
    ]


@pytest.mark.parametrize("day", [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)])
@pytest.mark.one_isolation("inline", "no component runs: when a cron is due")
def test_every_quarter_of_an_hour_stays_so_when_the_clock_changes(day: datetime) -> None:
    found = times(CronExpression("*/15 * * * *", "Europe/Berlin"), at(day), at(day) + 86_400_000)
    assert {later - earlier for earlier, later in itertools.pairwise(found)} == {15 * 60_000.0}


@pytest.mark.one_isolation("inline", "no component runs: when a cron is due")
def test_a_rare_date_is_found_years_ahead() -> None:
    schedule = CronExpression("0 0 29 2 *")
    assert schedule.after(at(datetime(2026, 1, 1, tzinfo=UTC))) == at(datetime(2028, 2, 29, tzinfo=UTC))


@pytest.mark.one_isolation("inline", "no component runs: when a cron is due")
def test_a_new_interval_runs_at_once_and_a_new_expression_at_its_next_time() -> None:
    now = at(datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC))
    assert Interval(60).first(now) == now
    assert CronExpression("* * * * *").first(now) == now + 30_000


@given(
    seconds=st.floats(0.001, 1e6),
    start=st.floats(0, 4e12),
    passed=st.floats(0, 1e9),
)
@pytest.mark.one_isolation("inline", "no component runs: when a cron is due")
def test_going_on_from_an_interval_keeps_its_grid_and_is_later(seconds: float, start: float, passed: float) -> None:
    schedule = Interval(seconds)
    following = schedule.after_all(start, start + passed)
    assert start + passed < following <= start + passed + 2 * seconds * 1000
    steps = (following - start) / (seconds * 1000)
    assert abs(steps - round(steps)) < 1e-3 or seconds < 1


@pytest.mark.one_isolation("inline", "no component runs: when a cron is due")
def test_going_on_before_the_next_time_keeps_it() -> None:
    assert Interval(60).after_all(10_000, 9_999) == 10_000
    daily = CronExpression("0 3 * * *")
    three = at(datetime(2026, 1, 1, 3, tzinfo=UTC))
    assert daily.after_all(three, three - 1) == three
    assert daily.after_all(three, three) == three + 86_400_000


@pytest.mark.one_isolation("inline", "no component runs: when a cron is due")
def test_six_fields_begin_with_the_second() -> None:
    start, berlin = at(datetime(2026, 2, 27, 22, 59, 50, tzinfo=UTC)), "Europe/Berlin"
    assert times(CronExpression("*/20 * * * * *"), start, start + 70_000) == [start + passed for passed in (10_000, 30_000, 50_000)]
    assert CronExpression("30 15 9 * * *", berlin).after(start) == at(datetime(2026, 2, 28, 8, 15, 30, tzinfo=UTC))
    # On the day that has 2:30 twice, it comes once.
    twice = CronExpression("15 30 2 * * *", berlin)
    first = twice.after(at(datetime(2026, 10, 24, 23, tzinfo=UTC)))
    assert first == at(datetime(2026, 10, 25, 0, 30, 15, tzinfo=UTC))
    assert twice.after(first) == at(datetime(2026, 10, 26, 1, 30, 15, tzinfo=UTC))


@pytest.mark.one_isolation("inline", "no component runs: when a cron is due")
def test_the_last_day_of_a_month_is_l() -> None:
    last = CronExpression("0 0 L * *")
    found, moment = [], at(datetime(2027, 12, 31, tzinfo=UTC))
    for _ in range(4):
        moment = last.after(moment)
        found.append(datetime.fromtimestamp(moment / 1000, UTC).strftime("%m-%d"))
    assert found == ["01-31", "02-29", "03-31", "04-30"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"every": 0}, "above 0"),
        ({"every": float("inf")}, "above 0"),
        ({}, "exactly one"),
        ({"every": 1, "cron": "* * * * *"}, "exactly one"),
        ({"cron": "* * * *"}, "five fields"),
        ({"cron": "* * * * * *"}, "five fields"),
        ({"cron": "@daily"}, "five fields"),
        ({"cron": "61 * * * *"}, "is no cron expression"),
        ({"cron": "x * * * *"}, "is no cron expression"),
        ({"cron": "R * * * *"}, "no fixed times"),
        ({"cron": "0 0 31 2 *"}, "never comes"),
        ({"cron": "* * * * *", "timezone": "Mars/Olympus"}, "no time zone 'Mars/Olympus'"),
        ({"cron": "* * * * *", "timezone": "../etc/passwd"}, "no time zone"),
        ({"every": 1, "catch_up": "never"}, "catch_up must be"),
    ],
)
@pytest.mark.one_isolation("inline", "no component runs: when a cron is due")
def test_a_cron_that_cannot_be_is_refused_with_the_reason(wrong: dict[str, object], says: str) -> None:
    given_fields: dict[str, object] = {"every": None, "cron": None, "timezone": "UTC", "catch_up": "once", **wrong}
    with pytest.raises(ValueError, match=says):
        schedule_of(CronDeclaration(name="x", args={}, function="f", **given_fields))  # type: ignore[arg-type]
