"""Section 2: functions."""

from typing import Any

from interlock import Change, MutationCtx, Page, PaginationOptions, QueryCtx, Range, components, mutation, query, trigger
from interlock_sharded_counter import ShardedCounter

from .schema import GameId, GuessId

counter = ShardedCounter(components.sharded_counter)
by_player = ShardedCounter(components.by_player)


@trigger("guesses")
async def count_player(ctx: MutationCtx, change: Change) -> None:
    if change.kind == "insert" and change.new is not None:
        await by_player.add(ctx, change.new["player"])


@mutation
async def new_game(ctx: MutationCtx, name: str) -> GameId:
    return await ctx.db.insert("games", {"name": name, "active": True})


@mutation
async def submit(ctx: MutationCtx, game: GameId, player: str, word: str, score: float) -> GuessId:
    """Record a guess."""
    await counter.add(ctx, "total")
    return await ctx.db.insert("guesses", {"game": game, "player": player, "word": word, "score": score})


@query
async def top(ctx: QueryCtx, game: GameId, count: int = 10) -> list[dict[str, Any]]:
    return await ctx.db.query("guesses").index("by_game_score", game=game).order("desc").take(count)


@query
async def reading(ctx: QueryCtx, game: GameId, pagination_opts: PaginationOptions) -> Page[str]:
    q = ctx.db.query("guesses")
    q = q.index("by_game_score", game=game, score=Range(gte=10, lt=20))
    q = q.order("desc")
    q = q.filter(lambda d: d["word"] != "x")
    first = await q.first()
    assert first is None or first["word"] != "x"
    page = await q.paginate(pagination_opts)
    return page.map(lambda row: row["word"])


@query
async def counted(ctx: QueryCtx, player: str) -> list[float]:
    return [await counter.count(ctx, "total"), await by_player.count(ctx, player)]


@mutation(internal=True)
async def wipe(ctx: MutationCtx, game: GameId) -> int:
    rows = await ctx.db.query("guesses").index("by_game_score", game=game).collect()
    for row in rows:
        await ctx.db.delete(row["_id"])
    return len(rows)


@mutation
async def wipe_later(ctx: MutationCtx, game: GameId) -> str:
    return await ctx.scheduler.run_after(5, wipe, game=game)


@mutation
async def fail(ctx: MutationCtx) -> None:
    key = ctx.env["EMBED_KEY"]
    raise RuntimeError(f"it went wrong with a key of {len(key)} letters")
