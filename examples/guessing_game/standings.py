"""What follows from the guesses, and is written with each of them: the best of each player, points, places and counts.

A guess fires `settle`, which keeps the player's entry in the round; an entry fires the round's leaderboard and `add_up`, which moves
the player's points; and those fire the leaderboard of all. All of it is the one transaction of the guess.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, TypedDict

from interlock import Change, MutationCtx, QueryCtx, components, trigger
from interlock_aggregate import Item, TableAggregate
from interlock_sharded_counter import ShardedCounter

counters = ShardedCounter(components.sharded_counter, default_shards=4)
GUESSES = "guesses"
PLAYERS = "players"

# The earlier of two equals is the better.
players_by_total = TableAggregate(
    components.global_leaderboard,
    "players",
    sort_key=lambda player: (player["total"], -player["_creationTime"]),
    sum_value=lambda player: player["total"],
)
entries_by_score = TableAggregate(
    components.round_leaderboard,
    "entries",
    namespace=lambda entry: entry["round"],
    sort_key=lambda entry: (entry["score"], -entry["at"]),
    sum_value=lambda entry: entry["score"],
)


class Ranked(TypedDict):
    """A line of a leaderboard. `word` is None where it is not told yet."""

    rank: int
    player: str
    name: str
    score: int
    word: str | None


def counts_of(guess: dict[str, Any]) -> dict[str, float]:
    """The counters that a guess adds to."""
    return {GUESSES: 1, of_round(guess["round"]): 1, of_player(guess["player"]): 1}


def of_round(round: str) -> str:
    return f"{GUESSES} of round {round}"


def of_player(player: str) -> str:
    return f"{GUESSES} of player {player}"


# following


@trigger("guesses")
async def settle_guess(ctx: MutationCtx, change: Change) -> None:
    places = {(guess["round"], guess["player"]) for guess in (change.old, change.new) if guess is not None}
    for round, player in sorted(places):
        await settle(ctx, round, player)


async def settle(ctx: MutationCtx, round: str, player: str) -> None:
    """Make a player's entry in a round what the guesses say: the best of them, and of equals the first."""
    mine = ctx.db.query("guesses").index("by_score", round=round, player=player)
    highest = await mine.order("desc").first()
    entry = await ctx.db.query("entries").index("by_player", round=round, player=player).unique()
    if highest is None:
        if entry is not None:
            await ctx.db.delete(entry["_id"])
        return
    best = await ctx.db.query("guesses").index("by_score", round=round, player=player, score=highest["score"]).first()
    assert best is not None
    found = {"word": best["word"], "score": best["score"], "at": best["at"]}
    if entry is None:
        await ctx.db.insert("entries", {"round": round, "player": player, **found})
    else:
        await ctx.db.patch(entry["_id"], found)


trigger("entries")(entries_by_score.on_change_idempotent)


@trigger("entries")
async def add_up(ctx: MutationCtx, change: Change) -> None:
    """Points are the sum of a player's entries, moved by what an entry has changed."""
    for entry, sign in ((change.old, -1), (change.new, 1)):
        player = None if entry is None else await ctx.db.get(entry["player"])
        if entry is not None and player is not None:
            await ctx.db.patch(player["_id"], {"total": max(0, player["total"] + sign * entry["score"])})


trigger("players")(players_by_total.on_change_idempotent)


# reading


async def top_players(ctx: QueryCtx, count: int) -> list[Ranked]:
    page = await players_by_total.paginate(ctx, order="desc", page_size=count)
    players = await _documents(ctx, page.page)
    return [
        {"rank": place, "player": player["_id"], "name": player["name"], "score": player["total"], "word": None}
        for place, player in enumerate(players, 1)
    ]


async def top_entries(ctx: QueryCtx, round: str, count: int, *, words: bool) -> list[Ranked]:
    page = await entries_by_score.paginate(ctx, order="desc", page_size=count, namespace=round)
    entries = await _documents(ctx, page.page)
    players = await asyncio.gather(*(ctx.db.get(entry["player"]) for entry in entries))
    return [
        {
            "rank": place,
            "player": entry["player"],
            "name": "somebody" if player is None else player["name"],
            "score": entry["score"],
            "word": entry["word"] if words else None,
        }
        for place, (entry, player) in enumerate(zip(entries, players, strict=True), 1)
    ]


async def _documents(ctx: QueryCtx, items: Sequence[Item]) -> list[dict[str, Any]]:
    found = await asyncio.gather(*(ctx.db.get(item.id) for item in items))
    return [document for document in found if document is not None]
