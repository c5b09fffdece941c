"""A rate limit of one key that is never reached."""

from interlock import MutationCtx, components, mutation
from interlock_rate_limiter import RateLimiter, TokenBucket

limits = RateLimiter(components.rate_limiter, {"use": TokenBucket(rate=1e9, period=1, capacity=1e9)})


@mutation
async def use(ctx: MutationCtx) -> bool:
    return (await limits.limit(ctx, "use")).ok
