"""The functions that clients call, and the one that loads the table."""

from collections import Counter
from typing import Any

from interlock import MutationCtx, Page, PaginationOptions, QueryCtx, Range, components, mutation, query
from interlock_sharded_counter import ShardedCounter

from .schema import FlightId

counter = ShardedCounter(components.sharded_counter, default_shards=4)
TOTAL = "flights"


@query
async def board(ctx: QueryCtx, origin: str, date: str, pagination_opts: PaginationOptions) -> Page[dict[str, Any]]:
    """The departures of one airport on one day, in the order of the schedule."""
    return await ctx.db.query("flights").index("by_origin_date", origin=origin, date=date).paginate(pagination_opts)


@query
async def worst(ctx: QueryCtx, carrier: str, count: int = 5) -> list[dict[str, Any]]:
    """A carrier's longest departure delays."""
    late = ctx.db.query("flights").index("by_carrier_delay", carrier=carrier, dep_delay=Range(gt=0))
    return await late.order("desc").take(count)


@query
async def total(ctx: QueryCtx, carrier: str | None = None) -> float:
    """How many flights: of one carrier, or of all."""
    return await counter.count(ctx, TOTAL if carrier is None else f"{TOTAL}/{carrier}")


@query
async def of_aircraft(ctx: QueryCtx, tail_number: str, count: int = 20) -> list[dict[str, Any]]:
    """Where one aircraft went."""
    return await ctx.db.query("flights").index("by_tail_number", tail_number=tail_number).take(count)


@mutation
async def report_delay(ctx: MutationCtx, flight: FlightId, minutes: int) -> None:
    """Say that a flight leaves so many minutes after its schedule."""
    await ctx.db.patch(flight, {"dep_delay": minutes})


@mutation(internal=True)
async def load(ctx: MutationCtx, rows: list[dict[str, Any]]) -> int:
    """Insert a batch, and count it in the same transaction."""
    for row in rows:
        await ctx.db.insert("flights", row)
    by_carrier = Counter(f"{TOTAL}/{row['carrier']}" for row in rows)
    await counter.add_many(ctx, {TOTAL: len(rows), **by_carrier})
    return len(rows)
