"""Guesses: how near a word is, what it is worth, and who is ahead."""

from typing import Any, TypedDict

from interlock import ActionCtx, AppError, Identity, MutationCtx, QueryCtx, action, mutation, query

from . import vectors
from .embeddings import kept
from .limits import limits
from .players import joined, name_of, player_of
from .rounds import THE_WORD, newest_round, open_round, word_found
from .standings import GUESSES, PLAYERS, counters, counts_of, entries_by_score, of_player, of_round
from .vectors import Vector

LONGEST = 24  # letters


class Outcome(TypedDict):
    """What became of a guess: its score, the player's place in the round and whether it is the player's best so far."""

    word: str
    score: int
    rank: int
    is_best: bool
    is_repeated: bool


class Shown(TypedDict):
    """A guess as it is shown. Others' words are not told before the round is over."""

    id: str
    player: str
    name: str
    word: str | None
    score: int
    at: float


class Mine(TypedDict):
    word: str
    score: int


class Totals(TypedDict):
    guesses: int
    players: int
    of_round: int
    mine: int


@action
async def guess(ctx: ActionCtx, word: str) -> Outcome:
    """Look up where a word lies, and submit it."""
    player = await player_of(ctx)
    word = word.strip().lower()
    if not 0 < len(word) <= LONGEST or not word.isalpha():
        raise AppError({"code": "NoWord", "message": f"Guess one word, of 1 to {LONGEST} letters."})
    try:
        vector = await kept.fetch(ctx, {"model": vectors.model().name, "text": word})
    except AppError:
        await limits.limit(ctx, "guess", key=player, throws=True)  # looking up is not for nothing
        raise
    outcome: Outcome = await ctx.run_mutation(submit, word=word, vector=vector)
    return outcome


@mutation(internal=True)
async def submit(ctx: MutationCtx, word: str, vector: Vector) -> Outcome:
    """Record a guess of who calls: limit, counts, guess, best, places and points in one transaction."""
    id = (await joined(ctx))["_id"]
    await limits.limit(ctx, "guess", key=id, throws=True)
    round = await open_round(ctx)
    if round is None:
        raise AppError({"code": "NoRound", "message": "No word is to be guessed just now."})
    if round["proposer"] == id:
        raise AppError({"code": "OwnWord", "message": "You proposed this word. It is for the others."})
    before = await ctx.db.query("guesses").index("by_word", round=round["_id"], player=id, word=word).first()
    if before is None:
        score = score_of(word, vector, round)
        made = {"round": round["_id"], "player": id, "word": word, "score": score, "at": ctx.now(), "counted": True}
        await counters.add_many(ctx, counts_of(made))
        await ctx.db.insert("guesses", made)
        if score == THE_WORD:
            await word_found(ctx, round)
    else:
        score = before["score"]
    entry = await ctx.db.query("entries").index("by_player", round=round["_id"], player=id).unique()
    assert entry is not None
    rank = await entries_by_score.index_of_doc(ctx, entry, order="desc") + 1
    return {"word": word, "score": score, "rank": rank, "is_best": entry["word"] == word, "is_repeated": before is not None}


def score_of(word: str, vector: Vector, round: dict[str, Any]) -> int:
    """1000 for the word itself, else by how many of the common words are nearer: some 70 less for each time that they are twice as many."""
    if word == round["word"]:
        return THE_WORD
    nearness = vectors.nearness(vectors.similarity(vector, round["vector"]), round["scale"])
    return min(THE_WORD - 1, int(THE_WORD * nearness))


@query
async def recent(ctx: QueryCtx, count: int = 12) -> list[Shown]:
    """The newest guesses of the round, whoever made them."""
    round = await newest_round(ctx)
    if round is None:
        return []
    identity = await ctx.auth.identity()
    rows = await ctx.db.query("guesses").index("by_round", round=round["_id"]).order("desc").take(min(count, 100))
    names = {player: await name_of(ctx, player) for player in sorted({row["player"] for row in rows})}
    return [
        {
            "id": row["_id"],
            "player": row["player"],
            "name": names[row["player"]],
            "word": row["word"] if is_told(round, row, identity) else None,
            "score": row["score"],
            "at": row["at"],
        }
        for row in rows
    ]


@query
async def mine(ctx: QueryCtx, count: int = 20) -> list[Mine]:
    """What who calls has guessed in the round, the best first."""
    round, identity = await newest_round(ctx), await ctx.auth.identity()
    if round is None or identity is None:
        return []
    rows = ctx.db.query("guesses").index("by_score", round=round["_id"], player=identity.subject)
    return [{"word": row["word"], "score": row["score"]} for row in await rows.order("desc").take(min(count, 100))]


@query
async def totals(ctx: QueryCtx) -> Totals:
    """How many guesses and players there are."""
    round, identity = await newest_round(ctx), await ctx.auth.identity()
    names = [
        GUESSES,
        PLAYERS,
        None if round is None else of_round(round["_id"]),
        None if identity is None else of_player(identity.subject),
    ]
    guesses, players, here, own = [0 if name is None else int(await counters.count(ctx, name)) for name in names]
    return {"guesses": guesses, "players": players, "of_round": here, "mine": own}


def is_told(round: dict[str, Any], guess: dict[str, Any], identity: Identity | None) -> bool:
    return round["state"] == "announced" or (identity is not None and identity.subject == guess["player"])
