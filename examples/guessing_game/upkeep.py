"""Guesses and players from before there were counters and leaderboards: `interlock migrate upkeep:backfill`."""

from typing import Any

from interlock import UNSET, MutationCtx, QueryCtx, components, query
from interlock_migrations import Migrations

from .standings import PLAYERS, counters, counts_of, players_by_total, settle

migrations = Migrations(components.migrations)


@migrations.define("guesses", range=lambda guesses: guesses.index("by_counted", {"counted": UNSET}))
async def count_guesses(ctx: MutationCtx, guess: dict[str, Any]) -> dict[str, Any]:
    """Count a guess, and let it matter. Marked in the same transaction, so none is counted twice however often this runs."""
    await counters.add_many(ctx, counts_of(guess))
    await settle(ctx, guess["round"], guess["player"])
    return {"counted": True}


@migrations.define("players", range=lambda players: players.index("by_counted", {"counted": UNSET}))
async def count_players(ctx: MutationCtx, player: dict[str, Any]) -> dict[str, Any]:
    """Give a player a place, also one without guesses."""
    await counters.inc(ctx, PLAYERS)
    await players_by_total.insert_if_does_not_exist(ctx, player)
    return {"counted": True}


backfill = migrations.runner(count_guesses, count_players)


@query
async def progress(ctx: QueryCtx) -> list[str]:
    """How both are getting on; live."""
    return [status.state for status in await migrations.get_status(ctx, [count_guesses, count_players])]
