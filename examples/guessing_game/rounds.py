"""A round: a word is chosen, guessed at until midnight or until somebody has it, and told, with who came nearest.

One run of the workflow `play` leads through it. It sleeps most of the time, holds nothing in memory, and goes on after a restart
where it was.
"""

from typing import Any, TypedDict

from interlock import AppError, MutationCtx, QueryCtx, components, mutation, query
from interlock_workflow import DAY, Event, Retry, StepTimeout, WorkflowManager, WorkflowStep

from .embeddings import Target, survey
from .hints import begin_hints, end_hints, hint_of
from .players import name_of
from .schema import Place, PlayerId, RoundId
from .standings import Ranked, entries_by_score, top_entries
from .words import Chosen, choose

THE_WORD = 1000  # the score of the word itself

GRACE = 30  # seconds for the others, once somebody has found the word
COUNTING = 3  # seconds between the end of a round and its results
PAUSE = 20  # seconds between the results and the next word
LATER = 60  # seconds between a round that failed and the next one
SHORTEST = 3600  # seconds: a round that begins just before midnight lasts until the next one
PODIUM = 3

workflows = WorkflowManager(components.workflow)
found = Event("found", str)


class Round(TypedDict):
    """A round as it is shown. Its word is not told before the results are."""

    id: str
    number: int
    state: str
    opened: float
    closes: float
    found: float | None
    word: str | None
    proposer: str | None
    proposed_by: str | None
    hint: str | None
    results: list[Place]


# leading through a round


@workflows.define(retry=Retry(max_attempts=5))
async def play(step: WorkflowStep, number: int) -> str:
    """One round, from the choice of its word to the results."""
    chosen: Chosen = await step.run_mutation(choose)
    target: Target = await step.run_action(survey, text=chosen["word"])
    closes = closing_time(step.now())
    round = await step.run_mutation(
        begin, number=number, target=target, proposer=chosen["proposer"], closes=closes, workflow=step.workflow_id
    )
    try:
        await step.await_event(found, timeout=(closes - step.now()) / 1000)
        await step.sleep(GRACE)
    except StepTimeout:
        pass
    await step.run_mutation(close, round=round)
    await step.sleep(COUNTING)
    await step.run_mutation(announce, round=round)
    return chosen["word"]


def closing_time(now: float) -> float:
    """The next midnight (UTC) that is far enough away."""
    midnight = (now // (DAY * 1000) + 1) * DAY * 1000
    return midnight if midnight - now >= SHORTEST * 1000 else midnight + DAY * 1000


@mutation
async def ensure(ctx: MutationCtx) -> None:
    """See to it that there is a round, or will be. Everybody may ask; one run a number answers all."""
    if await newest_round(ctx) is None:
        await start(ctx, 1, after=0)


async def start(ctx: MutationCtx, number: int, *, after: float) -> None:
    await workflows.start(
        ctx, play, {"number": number}, key=f"round {number}", run_after=after, keep_for=7 * DAY, on_complete=ended, context=number
    )


@mutation(internal=True)
async def begin(ctx: MutationCtx, number: int, target: Target, proposer: PlayerId | None, closes: float, workflow: str) -> RoundId:
    times = {"opened": ctx.now(), "closes": closes, "found": None}
    round = {"number": number, **target, "proposer": proposer, "state": "open", "workflow": workflow, "told": [], **times}
    id = await ctx.db.insert("rounds", round)
    await begin_hints(ctx, id)
    return id


async def word_found(ctx: MutationCtx, round: dict[str, Any]) -> None:
    """Somebody has guessed the word: the first time, the round comes to its end."""
    if round["found"] is None:
        await ctx.db.patch(round["_id"], {"found": ctx.now(), "closes": ctx.now() + GRACE * 1000})
        await workflows.send_event(ctx, found, workflow_id=round["workflow"], value=round["word"])


@mutation(internal=True)
async def close(ctx: MutationCtx, round: RoundId) -> None:
    """From here on nobody's guess counts."""
    await ctx.db.patch(round, {"state": "closed", "closes": ctx.now()})
    await end_hints(ctx, round)


@mutation(internal=True)
async def announce(ctx: MutationCtx, round: RoundId) -> None:
    """Tell the word and who came nearest."""
    places = await top_entries(ctx, round, PODIUM, words=True)
    results = [{"player": place["name"], "word": place["word"], "score": place["score"]} for place in places]
    await ctx.db.patch(round, {"state": "announced", "results": results})


@mutation(internal=True)
async def ended(ctx: MutationCtx, workflow_id: str, result: dict[str, Any], context: int) -> None:
    """Whatever became of a round, there is another."""
    if result["kind"] == "success":
        await start(ctx, context + 1, after=PAUSE)
        return
    ctx.log.error(f"round {context} has failed: {result}")
    round = await newest_round(ctx)
    if round is not None and round["state"] == "open":
        await close(ctx, round["_id"])
    if round is not None and round["state"] != "announced":
        await announce(ctx, round["_id"])
    await start(ctx, context + 1, after=LATER)


# looking


async def newest_round(ctx: QueryCtx) -> dict[str, Any] | None:
    return await ctx.db.query("rounds").index("by_number").order("desc").first()


async def open_round(ctx: QueryCtx) -> dict[str, Any] | None:
    return await ctx.db.query("rounds").index("by_state", state="open").first()


@query
async def current(ctx: QueryCtx) -> Round | None:
    """The round that is on, or else the last one."""
    round = await newest_round(ctx)
    return None if round is None else await shown(ctx, round)


@query
async def past(ctx: QueryCtx, count: int = 5) -> list[Round]:
    """Rounds whose results are told, the newest first."""
    rounds = await ctx.db.query("rounds").index("by_state", state="announced").order("desc").take(min(count, 50))
    return [await shown(ctx, round) for round in rounds]


@query
async def leaders(ctx: QueryCtx, round: RoundId, count: int = 10) -> list[Ranked]:
    """Who is nearest in a round. Words are told with its results."""
    document = await ctx.db.get(round)
    if document is None:
        raise AppError({"code": "NoRound", "message": "There is no such round."})
    return await top_entries(ctx, round, min(count, 100), words=document["state"] == "announced")


@query
async def place(ctx: QueryCtx, round: RoundId) -> int | None:
    """The place of who calls in a round, 1 for the best."""
    identity = await ctx.auth.identity()
    if identity is None:
        return None
    entry = await ctx.db.query("entries").index("by_player", round=round, player=identity.subject).unique()
    return None if entry is None else await entries_by_score.index_of_doc(ctx, entry, order="desc") + 1


async def shown(ctx: QueryCtx, round: dict[str, Any]) -> Round:
    return {
        "id": round["_id"],
        "number": round["number"],
        "state": round["state"],
        "opened": round["opened"],
        "closes": round["closes"],
        "found": round["found"],
        "word": round["word"] if round["state"] == "announced" else None,
        "proposer": round["proposer"],
        "proposed_by": None if round["proposer"] is None else await name_of(ctx, round["proposer"]),
        "hint": hint_of(round["word"], round["told"]),
        "results": round.get("results", []),
    }
