"""Limits on how often something may happen. The component itself is in `component`, behind the boundary."""

from interlock_rate_limiter.arithmetic import Calculation, calculate_rate_limit
from interlock_rate_limiter.client import Ask, RateLimiter, Status, Value
from interlock_rate_limiter.errors import RateLimited
from interlock_rate_limiter.limits import DAY, HOUR, MINUTE, SECOND, WEEK, ConcurrencyLimit, FixedWindow, Limit, SlidingWindow, TokenBucket

__all__ = [
    "DAY",
    "HOUR",
    "MINUTE",
    "SECOND",
    "WEEK",
    "Ask",
    "Calculation",
    "ConcurrencyLimit",
    "FixedWindow",
    "Limit",
    "RateLimited",
    "RateLimiter",
    "SlidingWindow",
    "Status",
    "TokenBucket",
    "Value",
    "calculate_rate_limit",
]
