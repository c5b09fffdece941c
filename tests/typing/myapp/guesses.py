"""Section 2: a functions module."""

from typing import Any

from interlock import MutationCtx, QueryCtx, components, mutation, query, trigger
from interlock_aggregate import TableAggregate
from interlock_rate_limiter import MINUTE, RateLimited, RateLimiter, TokenBucket
from interlock_sharded_counter import ShardedCounter

from .schema import GameId, GuessId

counter = ShardedCounter(components.sharded_counter)
limits = RateLimiter(components.rate_limiter, {"guess": TokenBucket(rate=100, period=MINUTE, shards=10)})
leaderboard = TableAggregate(
    components.leaderboard,
    "guesses",
    namespace=lambda d: d["game"],
    sort_key=lambda d: d["score"],
    sum_value=lambda d: d["score"],
)
trigger("guesses")(leaderboard.on_change)


@mutation
async def submit(ctx: MutationCtx, game: GameId, player: str, word: str, score: float) -> GuessId:
    """Record a guess."""
    await limits.limit(ctx, "guess", key=player, throws=True)
    await counter.add(ctx, "total")
    return await ctx.db.insert("guesses", {"game": game, "player": player, "word": word, "score": score})


@query
async def top(ctx: QueryCtx, game: GameId, count: int = 10) -> list[dict[str, Any]]:
    return await ctx.db.query("guesses").index("by_game_score", game=game).order("desc").take(count)


@mutation(internal=True)
async def wipe(ctx: MutationCtx, game: GameId) -> int:
    rows = await ctx.db.query("guesses").index("by_game_score", game=game).collect()
    for row in rows:
        await ctx.db.delete(row["_id"])
    return len(rows)


@mutation
async def careful(ctx: MutationCtx, player: str) -> float | None:
    try:
        await limits.limit(ctx, "guess", key=player, throws=True)
    except RateLimited as error:
        return error.retry_after
    return None
