"""Results of an action, fetched again and again."""

from interlock import ActionCtx, action, components
from interlock_action_cache import ActionCache


@action(internal=True)
async def double(ctx: ActionCtx, n: int) -> int:
    return n * 2


doubles = ActionCache(components.action_cache, double, ttl=3600)


@action
async def fetch(ctx: ActionCtx, times: int) -> None:
    for n in range(times):
        assert await doubles.fetch(ctx, {"n": n % 100}) == n % 100 * 2
