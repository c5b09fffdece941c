"""Three letters at once, then one every two seconds."""

from interlock import MutationCtx, QueryCtx, components, mutation
from interlock_rate_limiter import RateLimiter, TokenBucket

limits = RateLimiter(components.rate_limiter, {"send": TokenBucket(rate=3, period=6)})


async def key_of(ctx: QueryCtx, sent: str | None) -> str | None:
    return sent


get_rate_limit, get_server_time = limits.client_api("send", key=key_of)


@mutation
async def send(ctx: MutationCtx, user: str) -> None:
    await limits.limit(ctx, "send", key=user, throws=True)
