"""Words that players propose. Each is looked up first, again and again if that fails, and is then the next to be guessed by the others."""

from typing import Any, Literal, TypedDict

from interlock import AppError, MutationCtx, QueryCtx, components, mutation, query
from interlock_action_retrier import ActionRetrier

from . import vectors
from .embeddings import survey
from .limits import limits
from .players import joined
from .schema import PlayerId

SHORTEST, LONGEST = 3, 16  # letters

retrier = ActionRetrier(components.action_retrier, initial_backoff=1, max_failures=5)


class Chosen(TypedDict):
    """A word to be guessed, and who proposed it, if somebody did."""

    word: str
    proposer: PlayerId | None


class Proposal(TypedDict):
    word: str
    state: Literal["checking", "ready", "used", "unknown", "failed"]


@mutation
async def propose(ctx: MutationCtx, word: str) -> None:
    """Propose a word. Once it is known to lie somewhere, a later round is about it."""
    player = (await joined(ctx))["_id"]
    await limits.limit(ctx, "propose", key=player, throws=True)
    word = word.strip().lower()
    if not (word.isascii() and word.isalpha() and SHORTEST <= len(word) <= LONGEST):
        raise AppError({"code": "NoWord", "message": f"Propose one word, of {SHORTEST} to {LONGEST} letters from a to z."})
    if word in vectors.targets() or await ctx.db.query("proposals").index("by_word", word=word).first() is not None:
        raise AppError({"code": "KnownWord", "message": "That one is here already."})
    run = await retrier.run(ctx, survey, {"text": word}, on_complete=checked)
    await ctx.db.insert("proposals", {"word": word, "player": player, "state": "checking", "run": run})


@mutation(internal=True)
async def checked(ctx: MutationCtx, run_id: str, result: dict[str, Any]) -> None:
    """A proposal was looked up, or could not be after several attempts."""
    proposal = await ctx.db.query("proposals").index("by_run", run=run_id).unique()
    assert proposal is not None
    state = "failed" if result["kind"] != "success" else "unknown" if result["return_value"] is None else "ready"
    await ctx.db.patch(proposal["_id"], {"state": state})


@query
async def proposed(ctx: QueryCtx, count: int = 5) -> list[Proposal]:
    """What who calls has proposed, the newest first."""
    identity = await ctx.auth.identity()
    if identity is None:
        return []
    rows = await ctx.db.query("proposals").index("by_player", player=identity.subject).order("desc").take(min(count, 50))
    return [{"word": row["word"], "state": row["state"]} for row in rows]


@mutation(internal=True)
async def choose(ctx: MutationCtx) -> Chosen:
    """The oldest word that was proposed; without one, one of the game's own that has not been chosen for as long as possible."""
    proposal = await ctx.db.query("proposals").index("by_state", state="ready").first()
    if proposal is not None:
        await ctx.db.patch(proposal["_id"], {"state": "used"})
        return {"word": proposal["word"], "proposer": proposal["player"]}
    words = vectors.targets()
    rounds = await ctx.db.query("rounds").order("desc").take(len(words) - 1)
    used = {round["word"] for round in rounds}
    return {"word": ctx.random.choice([word for word in words if word not in used]), "proposer": None}
