"""The arithmetic of limits: plain functions of a state, a limit and a time. Both halves of the package use them.

`now` and `ts` are milliseconds since the epoch. A shard is a limit of its own, with an equal part of everything; several shards
decide together by adding up what they hold.
"""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from interlock_rate_limiter.limits import FixedWindow, SlidingWindow, TokenBucket, seconds

# Times near 2^41 ms are 0.0002 ms apart, so a moment that was computed may come out this much early.
TIME_GRAIN_MS = 1e-3
SLOTS = 64


@dataclass(frozen=True, slots=True)
class Calculation:
    """What is left (negative: what is missing) as of `ts` (ms), and after how many seconds it is zero again."""

    value: float
    ts: float
    retry_after: float | None
    window_start: float | None


def calculate_rate_limit(
    state: Mapping[str, Any] | Any | None, config: TokenBucket | FixedWindow, now: float, count: float = 0
) -> Calculation:
    """What would be left of a limit if `count` were taken at `now` (ms). Pure: for clients that predict an answer.

    `state` is what `get_value` gives, or a dict with `value` and `ts`; None is a limit that nobody has used.
    """
    capacity, period = _capacity(config), seconds(config.period) * 1000
    if state is None:
        value: float = capacity
        start = _start(config) if isinstance(config, FixedWindow) else now
        # A start that is to come is aligned back by whole periods.
        ts = now - random.random() * period if start is None else min(start, now - (now - start) % period)
    else:
        value, ts = (state["value"], state["ts"]) if isinstance(state, Mapping) else (state.value, state.ts)
    after = refilled(Held(value, ts), config, now)
    left = after.value - count
    wait = None
    if left < 0:
        if isinstance(config, TokenBucket):
            wait = (after.ts - now - left * period / config.rate) / 1000
        else:
            wait = (after.ts + _whole_windows(-left / config.rate) * period - now) / 1000
    return Calculation(left, after.ts, wait, ts if isinstance(config, FixedWindow) else None)


class Held(NamedTuple):
    """What a row holds: so many tokens as of `ts`."""

    value: float
    ts: float


def part_of(limit: TokenBucket | FixedWindow) -> TokenBucket | FixedWindow:
    """One shard of a limit, as a limit of its own."""
    if limit.shards == 1:
        return limit
    rate, capacity = limit.rate / limit.shards, _capacity(limit) / limit.shards
    if isinstance(limit, TokenBucket):
        return TokenBucket(rate, limit.period, capacity=capacity)
    return FixedWindow(rate, limit.period, capacity=capacity, start=limit.start)


def fresh(limit: TokenBucket | FixedWindow, name: str, key: str | None) -> Held:
    """The state of a limit that nobody has used. Its windows begin where this name and key always have them begin."""
    if isinstance(limit, TokenBucket):
        return Held(_capacity(limit), 0.0)
    start, period = _start(limit), seconds(limit.period) * 1000
    phase = math.floor(zlib.crc32(f"{name}\0{key or ''}".encode()) / 2**32 * period) if start is None else start % period
    return Held(_capacity(limit), phase)


def refilled(held: Held, limit: TokenBucket | FixedWindow, now: float) -> Held:
    """The state at `now`. A clock that stepped back stands still until it has caught up."""
    return Held(*Flow(limit).refilled(held.value, held.ts, now))


class Flow:
    """How a limit fills up, worked out once: for what is asked again and again. A state is its value and its `ts`."""

    __slots__ = ("capacity", "is_even", "period", "rate")

    def __init__(self, limit: TokenBucket | FixedWindow) -> None:
        self.capacity, self.rate, self.period = _capacity(limit), limit.rate, seconds(limit.period) * 1000
        self.is_even = isinstance(limit, TokenBucket)

    def refilled(self, value: float, ts: float, now: float) -> tuple[float, float]:
        """The state at `now`, as `refilled` says."""
        if self.is_even:
            if now > ts:
                value += (now - ts) / self.period * self.rate
                ts = now
        else:
            windows = math.floor((now - ts + TIME_GRAIN_MS) / self.period)
            if windows > 0:
                value += self.rate * windows
                ts += windows * self.period
        return (value if value < self.capacity else self.capacity), ts

    def full_at(self, value: float, ts: float) -> float:
        """When (ms) a row says no more than no row would."""
        periods = (self.capacity - value) / self.rate
        return ts + (periods if self.is_even else _whole_windows(periods)) * self.period


def tolerance(limit: TokenBucket | FixedWindow) -> float:
    """How much may be missing for it to be a rounding error."""
    flow = limit.rate * TIME_GRAIN_MS / (seconds(limit.period) * 1000) if isinstance(limit, TokenBucket) else 0.0
    return flow + 1e-9 * (_capacity(limit) + limit.rate)


def wait_for(held: Sequence[Held], part: TokenBucket | FixedWindow, need: float, now: float) -> float:
    """After how many seconds shards that were refilled at `now` hold `need` tokens together; each is one `part` of the limit.

    They fill up at one rate, so those that hold the most stop first. `need` is at most what all can hold.
    """
    capacity, period = _capacity(part), seconds(part.period) * 1000
    values = sorted((state.value for state in held), reverse=True)
    total, filling, passed = sum(values), len(values), 0.0
    for value in values:
        until_full = (capacity - value) / part.rate
        if total + filling * part.rate * (until_full - passed) >= need or filling == 1:
            passed += (need - total) / (filling * part.rate)
            break
        total += filling * part.rate * (until_full - passed)
        passed, filling = until_full, filling - 1
    ts = max(state.ts for state in held)
    periods = passed if isinstance(part, TokenBucket) else _whole_windows(passed)
    return max(ts + periods * period - now, 0.0) / 1000


def on_whole_ms(value: float, ts: float, limit: object) -> tuple[float, float]:
    """The same state of a bucket, told as of the moment at which it had a whole number of tokens, up to 1 ms later.

    Browsers' timers count whole milliseconds. The official hook sets one for when it may go on, and stays where it is if that comes
    a fraction too early.
    """
    if not isinstance(limit, TokenBucket) or ts == 0:
        return value, ts
    whole = math.floor(value + 1e-9)
    since = max(value - whole, 0.0) * seconds(limit.period) * 1000 / limit.rate
    return float(whole), float(math.ceil(ts - since - TIME_GRAIN_MS))


class Event(NamedTuple):
    """So much happened, or will, at a time (ms)."""

    ts: float
    amount: float


def still_counting(events: Sequence[Event], limit: SlidingWindow, now: float) -> list[Event]:
    """The events within the window that ends at `now`, and those to come."""
    period = seconds(limit.period) * 1000
    return [event for event in events if event.ts + period > now + TIME_GRAIN_MS]


def slides_open_at(events: Sequence[Event], limit: SlidingWindow, count: float, now: float) -> float:
    """The first time (ms) at which `count` more fits, after all events that came before."""
    total = math.fsum(event.amount for event in events)
    period, slack = seconds(limit.period) * 1000, 1e-9 * limit.rate
    opens = now
    for event in events:
        if total + count <= limit.rate + slack:
            break
        total -= event.amount
        opens = max(opens, event.ts + period)
    return opens


def with_event(events: Sequence[Event], limit: SlidingWindow, ts: float, count: float) -> list[Event]:
    """The events and one more. Those of one slot become one, at the last of their times, so that none is forgotten early."""
    slot = seconds(limit.period) * 1000 / SLOTS
    same = [event for event in events if math.floor(event.ts / slot) == math.floor(ts / slot)]
    others = [event for event in events if event not in same]
    merged = Event(max([ts, *(event.ts for event in same)]), count + math.fsum(event.amount for event in same))
    return sorted([*others, merged])


def _capacity(limit: TokenBucket | FixedWindow) -> float:
    return limit.rate if limit.capacity is None else limit.capacity


def _start(limit: TokenBucket | FixedWindow) -> float | None:
    return limit.to_config().get("start")


def _whole_windows(periods: float) -> int:
    return math.ceil(periods - 1e-9)
