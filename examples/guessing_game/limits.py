"""How often guests may do what. A refused call is told when it will work, and the page counts down to it."""

from interlock import components
from interlock_rate_limiter import HOUR, MINUTE, FixedWindow, RateLimiter, TokenBucket

limits = RateLimiter(
    components.rate_limiter,
    {
        "join": TokenBucket(rate=30, period=MINUTE, capacity=10),  # all guests together
        "guess": TokenBucket(rate=30, period=MINUTE, capacity=5),  # each player
        "propose": FixedWindow(rate=5, period=HOUR),  # each player
    },
)
