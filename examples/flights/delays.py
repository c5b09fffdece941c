"""The carriers by their delays: an aggregate over the table of flights, one tree a carrier, in which a flight's key is its delay.

It is attached to the table when that has been filled, by jobs, while flights are reported. So a flight is not put in when it is
loaded, and a report puts in what is not there yet.
"""

from typing import TypedDict

from interlock import AppError, Change, MutationCtx, QueryCtx, components, mutation, query, trigger
from interlock_aggregate import Bound, Bounds, Query, TableAggregate

from .flights import total
from .schema import FlightId

delays = TableAggregate(
    components.delays,
    "flights",
    namespace=lambda flight: flight["carrier"],
    sort_key=lambda flight: flight["dep_delay"],
    sum_value=lambda flight: flight["dep_delay"] or 0,
)
upkeep = delays.runner(batch_size=500)

LEFT = Bounds(lower=Bound(None, inclusive=False))  # not those that were cancelled: their key is None


class Standing(TypedDict):
    """A carrier among the others. Minutes; of the flights that left."""

    rank: int
    carrier: str
    flights: int
    cancelled: int
    total_delay: int
    mean_delay: float
    median_delay: float


class Place(TypedDict):
    """A flight among those of its carrier that left: 1 is the longest delay."""

    rank: int
    flights: int


class Ranked(TypedDict):
    """How much of the table the leaderboard knows."""

    flights: int
    of: int
    is_done: bool
    error: str | None  # why it has stopped before its end


@trigger("flights")
async def follow(ctx: MutationCtx, changes: list[Change]) -> None:
    """Whoever writes."""
    await delays.on_change_idempotent(ctx, [change for change in changes if change.kind != "insert"])


@mutation(internal=True)
async def rank_all(ctx: MutationCtx) -> None:
    """Put every flight of the table into the leaderboard, by jobs."""
    await delays.attach(ctx)


@query
async def leaderboard(ctx: QueryCtx) -> list[Standing]:
    """The carriers, the most punctual first: by their mean delay."""
    carriers = [carrier async for carrier in delays.iter_namespaces(ctx)]
    flying = [Query(LEFT, carrier) for carrier in carriers]
    loaded = dict(zip(carriers, await delays.count_batch(ctx, [Query(None, carrier) for carrier in carriers]), strict=True))
    left = dict(zip(carriers, await delays.count_batch(ctx, flying), strict=True))
    minutes = dict(zip(carriers, await delays.sum_batch(ctx, flying), strict=True))
    order = sorted((minutes[carrier] / left[carrier], carrier) for carrier in carriers if left[carrier])
    # The median is the mean of the two in the middle, which are one and the same where the number is odd.
    middles = [Query(offset, LEFT, carrier) for _, carrier in order for offset in ((left[carrier] - 1) // 2, left[carrier] // 2)]
    keys = [item.key for item in await delays.at_batch(ctx, middles)]
    return [
        Standing(
            rank=at + 1,
            carrier=carrier,
            flights=left[carrier],
            cancelled=loaded[carrier] - left[carrier],
            total_delay=int(minutes[carrier]),
            mean_delay=mean_delay,
            median_delay=(keys[2 * at] + keys[2 * at + 1]) / 2,
        )
        for at, (mean_delay, carrier) in enumerate(order)
    ]


@query
async def place(ctx: QueryCtx, flight: FlightId) -> Place | None:
    """Where a flight stands among its carrier's delays, without a look at the others; None for a cancelled one."""
    row = await ctx.db.get(flight)
    if row is None:
        raise AppError({"code": "NoSuchFlight", "flight": flight})
    if row["dep_delay"] is None:
        return None
    return {
        "rank": await delays.index_of_doc(ctx, row, order="desc") + 1,
        "flights": await delays.count(ctx, namespace=row["carrier"], bounds=LEFT),
    }


@query
async def ranked(ctx: QueryCtx) -> Ranked:
    """How far the leaderboard has come with the flights that were there when it began."""
    progress = await delays.progress(ctx, "attach")
    return {
        "flights": 0 if progress is None else progress.rows,
        "of": await total(ctx),
        "is_done": progress is not None and progress.state == "done",
        "error": None if progress is None else progress.error,
    }


@mutation(internal=True)
async def verify(ctx: MutationCtx) -> None:
    """Look, by jobs, whether table and leaderboard agree."""
    await delays.verify(ctx)


@query
async def differences(ctx: QueryCtx) -> int | None:
    """What the last look has found; None while it goes on."""
    progress = await delays.progress(ctx, "verify")
    return progress.differences if progress is not None and progress.state == "done" else None
