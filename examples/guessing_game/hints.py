"""A letter of the word every few minutes: a cron of each round's own, made when it begins and removed when it ends or enough is told."""

from interlock import MutationCtx, components, mutation
from interlock_crons import CronNotFound, Crons, Every

from .schema import RoundId

EVERY = 300  # seconds

crons = Crons(components.crons)


async def begin_hints(ctx: MutationCtx, round: RoundId) -> None:
    await crons.register(ctx, Every(EVERY), tell, {"round": round}, name=_name(round))


async def end_hints(ctx: MutationCtx, round: RoundId) -> None:
    try:
        await crons.delete(ctx, name=_name(round))
    except CronNotFound:
        pass  # all that may be told was told


@mutation(internal=True)
async def tell(ctx: MutationCtx, round: RoundId) -> None:
    """Tell one more letter, until half of the word is told."""
    document = await ctx.db.get(round)
    assert document is not None
    word, told = document["word"], document["told"]
    if len(told) < len(word) // 2:
        told = sorted([*told, ctx.random.choice([place for place in range(len(word)) if place not in told])])
        await ctx.db.patch(round, {"told": told})
    if len(told) >= len(word) // 2:
        await end_hints(ctx, round)


def hint_of(word: str, told: list[int]) -> str | None:
    """The word with the letters that are told, None before the first: `_ c _ _ n` for ocean."""
    return " ".join(letter if place in told else "_" for place, letter in enumerate(word)) if told else None


def _name(round: RoundId) -> str:
    return f"hints of round {round}"
