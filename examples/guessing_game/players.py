"""Guests: they say a name, and are given a token."""

from typing import Any, TypedDict

from interlock import ActionCtx, AppError, MutationCtx, QueryCtx, action, mutation, query

from . import tokens
from .limits import limits
from .schema import PlayerId
from .standings import PLAYERS, Ranked, counters, players_by_total, top_players

LONGEST = 20  # letters of a name


class Joined(TypedDict):
    player: str
    token: str


class Me(TypedDict):
    """A player, and the place among all players, 1 for the best."""

    player: str
    name: str
    total: int
    rank: int


@action
async def join(ctx: ActionCtx, name: str) -> Joined:
    """Take a guest in. The token is for the client's `setAuth`; it holds for a week."""
    player = await ctx.run_mutation(enroll, name=name)
    return {"player": player, "token": tokens.issue(player, name)}


@mutation(internal=True)
async def enroll(ctx: MutationCtx, name: str) -> PlayerId:
    name = " ".join(name.split())
    if not 0 < len(name) <= LONGEST or not name.isprintable():
        raise AppError({"code": "NoName", "message": f"A name has 1 to {LONGEST} letters."})
    await limits.limit(ctx, "join", throws=True)
    await counters.inc(ctx, PLAYERS)
    return await ctx.db.insert("players", {"name": name, "total": 0, "counted": True})


async def player_of(ctx: QueryCtx | ActionCtx) -> str:
    """Who calls. Raises for somebody who has not joined."""
    identity = await ctx.auth.identity()
    if identity is None:
        raise AppError({"code": "NotJoined", "message": "Say who you are first."})
    return identity.subject


async def joined(ctx: QueryCtx) -> dict[str, Any]:
    """The player who calls. Raises for somebody who has not joined."""
    player = await ctx.db.get(await player_of(ctx))
    if player is None:
        raise AppError({"code": "NotJoined", "message": "Say who you are first."})
    return player


async def name_of(ctx: QueryCtx, player: str) -> str:
    found = await ctx.db.get(player)
    return "somebody" if found is None else str(found["name"])


@query
async def me(ctx: QueryCtx) -> Me | None:
    """Who calls, if somebody who has joined."""
    identity = await ctx.auth.identity()
    if identity is None:
        return None
    player = await ctx.db.get(identity.subject)
    if player is None:
        return None
    rank = await players_by_total.index_of_doc(ctx, player, order="desc") + 1
    return {"player": player["_id"], "name": player["name"], "total": player["total"], "rank": rank}


@query
async def best(ctx: QueryCtx, count: int = 10) -> list[Ranked]:
    """The players with the most points of all rounds."""
    return await top_players(ctx, min(count, 100))
