"""The functions that clients call, and the one that loads the table."""

from collections import Counter
from typing import Any, TypedDict

from interlock import AppError, MutationCtx, Page, PaginationOptions, QueryCtx, Range, components, mutation, query
from interlock_sharded_counter import ShardedCounter

from .schema import FlightId

counter = ShardedCounter(components.sharded_counter, default_shards=4)
TOTAL = "flights"

LATE = 15  # from so many minutes on, a departure counts as delayed
EARLIEST, LATEST = -120, 7 * 24 * 60  # minutes: what is reported beyond is taken for a mistake
DAY = 24 * 60


class CarrierDay(TypedDict):
    """One carrier's day. The mean is of the flights that left; None if none did."""

    flights: int
    cancelled: int
    late: int
    mean_delay: float | None


@query
async def board(ctx: QueryCtx, origin: str, date: str, pagination_opts: PaginationOptions) -> Page[dict[str, Any]]:
    """The departures of one airport on one day, in the order of the schedule."""
    return await ctx.db.query("flights").index("by_origin_date", origin=origin, date=date).paginate(pagination_opts)


@query
async def worst(ctx: QueryCtx, carrier: str, count: int = 5) -> list[dict[str, Any]]:
    """A carrier's longest departure delays, the longest first."""
    late = ctx.db.query("flights").index("by_carrier_delay", carrier=carrier, dep_delay=Range(gt=0))
    return await late.order("desc").take(count)


@query
async def carrier_day(ctx: QueryCtx, carrier: str, date: str) -> CarrierDay:
    """How a carrier did on one day."""
    rows = await ctx.db.query("flights").index("by_carrier_date", carrier=carrier, date=date).collect()
    delays = [row["dep_delay"] for row in rows if row["dep_delay"] is not None]
    return {
        "flights": len(rows),
        "cancelled": len(rows) - len(delays),
        "late": sum(delay >= LATE for delay in delays),
        "mean_delay": sum(delays) / len(delays) if delays else None,
    }


@query
async def of_aircraft(ctx: QueryCtx, tail_number: str, since: str = "", count: int = 20) -> list[dict[str, Any]]:
    """Where one aircraft went, from a day on."""
    return await ctx.db.query("flights").index("by_tail_number", tail_number=tail_number, date=Range(gte=since)).take(count)


@query
async def total(ctx: QueryCtx, carrier: str | None = None) -> int:
    """How many flights: of one carrier, or of all."""
    return int(await counter.count(ctx, TOTAL if carrier is None else f"{TOTAL}/{carrier}"))


@mutation
async def report_delay(ctx: MutationCtx, flight: FlightId, minutes: int) -> None:
    """Say that a flight leaves so many minutes after its schedule; before it, if negative. A cancelled one leaves after all."""
    row = await ctx.db.get(flight)
    if row is None:
        raise AppError({"code": "NoSuchFlight", "flight": flight})
    if not EARLIEST <= minutes <= LATEST:
        raise AppError({"code": "ImplausibleDelay", "minutes": minutes, "from": EARLIEST, "to": LATEST})
    await ctx.db.patch(flight, {"dep_time": later(row["sched_dep_time"], minutes), "dep_delay": minutes})


@mutation(internal=True)
async def load(ctx: MutationCtx, rows: list[dict[str, Any]]) -> int:
    """Insert a batch, and count it in the same transaction."""
    for row in rows:
        await ctx.db.insert("flights", row)
    by_carrier = Counter(f"{TOTAL}/{row['carrier']}" for row in rows)
    await counter.add_many(ctx, {TOTAL: len(rows), **by_carrier})
    return len(rows)


def later(time: int, minutes: int) -> int:
    """A time of day so many minutes later, in the form of the source: from 1 to 2400."""
    hours, rest = divmod(time, 100)
    at = (hours * 60 + rest + minutes - 1) % DAY + 1
    return at // 60 * 100 + at % 60
