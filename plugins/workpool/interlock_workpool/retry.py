"""When something that failed is tried again: attempts, growing pauses, and chance, so that not all come back at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import NotRequired, TypedDict

SECOND, MINUTE, HOUR, DAY, WEEK = 1.0, 60.0, 3_600.0, 86_400.0, 604_800.0


class Policy(TypedDict):
    """A `Retry` as it crosses and is stored."""

    max_attempts: int
    initial_backoff: float
    base: float
    max_backoff: NotRequired[float]
    jitter: float


@dataclass(frozen=True, slots=True)
class Retry:
    """At most `max_attempts` attempts in all. Before attempt n + 1 it waits `initial_backoff · base^(n − 1)` seconds, at most
    `max_backoff`, times a random number between 1 − `jitter` and 1 + `jitter`."""

    max_attempts: int = 5
    initial_backoff: float = 0.25
    base: float = 2.0
    max_backoff: float | None = None
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if isinstance(self.max_attempts, bool) or not isinstance(self.max_attempts, int) or self.max_attempts < 1:
            raise ValueError(f"max_attempts must be a whole number from 1, got {self.max_attempts!r}")
        for name, least in (("initial_backoff", 0.0), ("base", 1.0), ("max_backoff", 0.0), ("jitter", 0.0)):
            number = getattr(self, name)
            if name == "max_backoff" and number is None:
                continue
            if isinstance(number, bool) or not isinstance(number, int | float) or not least <= number < float("inf"):
                raise ValueError(f"{name} must be a number from {least:g}, got {number!r}")
        if self.jitter > 1:
            raise ValueError(f"jitter must be from 0 to 1, got {self.jitter!r}")

    def to_policy(self) -> Policy:
        """As it crosses and is stored."""
        policy = Policy(
            max_attempts=self.max_attempts, initial_backoff=float(self.initial_backoff), base=float(self.base), jitter=float(self.jitter)
        )
        if self.max_backoff is not None:
            policy["max_backoff"] = float(self.max_backoff)
        return policy


def delay_after(policy: Policy, attempts: int, random: Random) -> float:
    """Seconds to wait after so many attempts, all of which failed."""
    try:
        delay = policy["initial_backoff"] * policy["base"] ** (attempts - 1)
    except OverflowError:
        delay = float("inf")
    delay = min(delay, policy.get("max_backoff", WEEK * 52))
    return delay * (1 - policy["jitter"] + 2 * policy["jitter"] * random.random())
