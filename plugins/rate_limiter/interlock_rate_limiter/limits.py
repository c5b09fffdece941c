"""The kinds of limits: what an author writes, and how it crosses into the component."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NotRequired, TypedDict

SECOND, MINUTE, HOUR, DAY, WEEK = 1.0, 60.0, 3_600.0, 86_400.0, 604_800.0
SHARDS_MOST = 1_000
LARGEST = 1e30
HOLDERS_MOST = 8_000  # in one document: a list has at most 8,192 elements


class Config(TypedDict):
    """A limit as it crosses. `period` is in seconds, `start` in ms since the epoch."""

    kind: Literal["token bucket", "fixed window", "sliding window", "concurrency"]
    rate: NotRequired[float]
    period: float
    capacity: NotRequired[float]
    max_reserved: NotRequired[float]
    shards: NotRequired[int]
    start: NotRequired[float]
    deferred: NotRequired[bool]


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """`rate` tokens flow in every `period` seconds, evenly, up to `capacity` (default: `rate`).

    Reservations may go `max_reserved` below zero; None is without end, 0 is none. `shards`: over how many rows it is spread.
    `deferred`: what is taken is written a moment later, by a job, so that no caller waits for another and a burst may take too much.
    """

    rate: float
    period: float | timedelta
    _: KW_ONLY
    capacity: float | None = None
    max_reserved: float | None = None
    shards: int = 1
    deferred: bool = False

    def __post_init__(self) -> None:
        _check_rated(self)

    def to_config(self) -> Config:
        """As it crosses."""
        return _with_options(Config(kind="token bucket", rate=float(self.rate), period=seconds(self.period)), self)


@dataclass(frozen=True, slots=True)
class FixedWindow:
    """`rate` tokens are given at the start of each window of `period` seconds; unused ones stay, up to `capacity` (default: `rate`).

    Windows are aligned to `start` (a datetime, or ms since the epoch); without it, every name and key has a phase of its own.
    """

    rate: float
    period: float | timedelta
    _: KW_ONLY
    capacity: float | None = None
    max_reserved: float | None = None
    shards: int = 1
    start: float | datetime | None = None
    deferred: bool = False

    def __post_init__(self) -> None:
        _check_rated(self)
        if isinstance(self.start, datetime):
            if self.start.tzinfo is None:
                raise ValueError(f"start takes a datetime with a time zone, got {self.start.isoformat()}")
        elif self.start is not None:
            _check_number("start", self.start, -math.inf, "a finite number")

    def to_config(self) -> Config:
        """As it crosses."""
        config = _with_options(Config(kind="fixed window", rate=float(self.rate), period=seconds(self.period)), self)
        if self.start is not None:
            config["start"] = self.start.timestamp() * 1000 if isinstance(self.start, datetime) else float(self.start)
        return config


@dataclass(frozen=True, slots=True)
class SlidingWindow:
    """At most `rate` in *any* `period` seconds, wherever they begin. What happens within a 64th of a period counts as one moment."""

    rate: float
    period: float | timedelta
    _: KW_ONLY
    max_reserved: float | None = None

    def __post_init__(self) -> None:
        _check_rated(self)

    @property
    def capacity(self) -> float:
        return self.rate

    def to_config(self) -> Config:
        """As it crosses."""
        config = Config(kind="sliding window", rate=float(self.rate), period=seconds(self.period))
        if self.max_reserved is not None:
            config["max_reserved"] = float(self.max_reserved)
        return config


@dataclass(frozen=True, slots=True)
class ConcurrencyLimit:
    """At most `capacity` at once. Who is let in gives back what it holds; what is not given back ends after `period` seconds."""

    capacity: int
    period: float | timedelta = MINUTE

    def __post_init__(self) -> None:
        if isinstance(self.capacity, bool) or not isinstance(self.capacity, int) or not 1 <= self.capacity <= HOLDERS_MOST:
            raise ValueError(f"capacity must be a whole number from 1 to {HOLDERS_MOST:,}, got {self.capacity!r}")
        _check_number("period", seconds(self.period), 0)

    def to_config(self) -> Config:
        """As it crosses."""
        return Config(kind="concurrency", capacity=float(self.capacity), period=seconds(self.period))


Limit = TokenBucket | FixedWindow | SlidingWindow | ConcurrencyLimit


def from_config(config: Config) -> Limit:
    """The limit that crossed. Raises ValueError for one that cannot be."""
    kind, period = config["kind"], config["period"]
    if kind == "concurrency":
        capacity = config.get("capacity", 1.0)
        return ConcurrencyLimit(int(capacity) if capacity == int(capacity) else -1, period)
    rate, reserved = config.get("rate", 0.0), config.get("max_reserved")
    if kind == "sliding window":
        return SlidingWindow(rate, period, max_reserved=reserved)
    shards, deferred = config.get("shards", 1), config.get("deferred", False)
    if kind == "token bucket":
        return TokenBucket(rate, period, capacity=config.get("capacity"), max_reserved=reserved, shards=shards, deferred=deferred)
    return FixedWindow(
        rate, period, capacity=config.get("capacity"), max_reserved=reserved, shards=shards, start=config.get("start"), deferred=deferred
    )


def seconds(duration: float | timedelta) -> float:
    """A duration as float seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else float(duration)


def _with_options(config: Config, limit: TokenBucket | FixedWindow) -> Config:
    if limit.capacity is not None:
        config["capacity"] = float(limit.capacity)
    if limit.max_reserved is not None:
        config["max_reserved"] = float(limit.max_reserved)
    if limit.shards != 1:
        config["shards"] = limit.shards
    if limit.deferred:
        config["deferred"] = True
    return config


def _check_rated(limit: TokenBucket | FixedWindow | SlidingWindow) -> None:
    _check_number("rate", limit.rate, 0)
    _check_number("period", limit.period.total_seconds() if isinstance(limit.period, timedelta) else limit.period, 0)
    if limit.capacity is not None:
        _check_number("capacity", limit.capacity, 0)
    if limit.max_reserved is not None and (isinstance(limit.max_reserved, bool) or limit.max_reserved != 0):
        _check_number("max_reserved", limit.max_reserved, 0, "0 or a finite number above it")
    if not isinstance(limit, SlidingWindow) and (
        isinstance(limit.shards, bool) or not isinstance(limit.shards, int) or not 1 <= limit.shards <= SHARDS_MOST
    ):
        raise ValueError(f"shards must be a whole number from 1 to {SHARDS_MOST:,}, got {limit.shards!r}")
    if not isinstance(limit, SlidingWindow) and limit.deferred and limit.shards != 1:
        raise ValueError("a deferred limit has no shards: its callers do not meet anyway")


def _check_number(name: str, value: Any, above: float, allowed: str = "a finite number above 0") -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not above < value < math.inf:
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    if abs(value) > LARGEST or 0 < abs(value) < 1 / LARGEST:
        raise ValueError(f"{name} is too large or too small to reckon with: it must be from {1 / LARGEST:g} to {LARGEST:g}")
