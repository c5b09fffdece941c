"""Counters in shards: a counter is the sum of several rows, so that writers who pick different rows never meet.

A writer touches one row, an exact reader all of them, an estimate a few. Every row of a name counts, whatever its shard
number: the number of shards only says where adds go that name no shard.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

from interlock import UNSET, AppError, Component, InvalidCursor, MutationCtx, Page, PaginationOptions, QueryCtx, Range, Schema, Table

DEFAULT_SHARDS = 16
EXACT = 2**53  # up to here every whole number is a float too, so integers stay exact
PAGE_MOST = 1_000
END = "end"

Number = int | float

counters = Table(
    {
        "name": str,
        "shard": int,
        "value": Number,
        # What the row got above its equal part when an integer did not divide evenly. Estimates leave it out.
        "excess": NotRequired[float],
        # Until this time (ms) a rebalance is known to be planned, so adds need not look.
        "planned": NotRequired[float],
    }
).index("name", "name", "shard")
plans = Table({"name": str, "shards": int, "at": float}).index("name", "name")

component = Component("sharded_counter", schema=Schema(counters=counters, plans=plans))


class Addition(TypedDict):
    """One element of `add_many`: the arguments of `add`."""

    name: str
    count: Number
    shard: NotRequired[int]
    shards: NotRequired[int]


@component.mutation
async def add(
    ctx: MutationCtx,
    name: str,
    count: Number,
    shard: int | None = None,
    shards: int | None = None,
    rebalance_every: float | None = None,
) -> int:
    """Add to one shard, the given one or a random one of `shards`, and return which.

    With `rebalance_every`, a rebalance is planned within so many seconds.
    """
    size = _checked_shards(shards)
    if shard is None:
        shard = ctx.random.randrange(size)
    elif shard < 0:
        raise AppError({"code": "InvalidShard", "message": f"shard must be 0 or more, got {shard}"})
    row = await ctx.db.query("counters").index("name", name=name, shard=shard).first()
    fields: dict[str, Any] = {"value": _sum([row["value"] if row is not None else 0, count])}
    if rebalance_every is not None and (row is None or row.get("planned", 0) <= ctx.now()):
        fields["planned"] = await _plan(ctx, name, size, rebalance_every)
    if row is None:
        await ctx.db.insert("counters", {"name": name, "shard": shard, **fields})
    else:
        await ctx.db.patch(row["_id"], fields)
    return shard


@component.mutation
async def add_many(ctx: MutationCtx, additions: list[Addition], rebalance_every: float | None = None) -> list[int]:
    """Add to many counters in one call, and return the shards, in order."""
    return [await add(ctx, a["name"], a["count"], a.get("shard"), a.get("shards"), rebalance_every) for a in additions]


@component.query
async def count(ctx: QueryCtx, name: str) -> Number:
    """The exact value: the sum over every row of the name."""
    return _total(await ctx.db.query("counters").index("name", name=name).collect())


@component.query
async def estimate_count(ctx: QueryCtx, name: str, read_from_shards: int | None = None, shards: int | None = None) -> Number:
    """What `read_from_shards` random ones of `shards` shards let expect. The mean over all choices is the exact value."""
    size = _checked_shards(shards)
    reads = min(max(read_from_shards or 1, 1), size)
    if reads == size:
        rows = await ctx.db.query("counters").index("name", name=name, shard=Range(gte=0, lt=size)).collect()
    else:
        chosen = ctx.random.sample(range(size), reads)
        found = await asyncio.gather(*[ctx.db.query("counters").index("name", name=name, shard=shard).first() for shard in chosen])
        rows = [row for row in found if row is not None]
    parts = [row["value"] - row.get("excess", 0) for row in rows]
    return _sum(parts) * size / reads


@component.mutation
async def rebalance(ctx: MutationCtx, name: str, shards: int | None = None) -> None:
    """Give each of `shards` shards an equal part, and delete every other row. Reads and writes all rows."""
    size = _checked_shards(shards)
    rows = await ctx.db.query("counters").index("name", name=name).collect()
    if not rows:
        return
    kept = {row["shard"]: row["_id"] for row in rows if 0 <= row["shard"] < size}
    for shard, (value, excess) in enumerate(_parts(_total(rows), size)):
        if shard in kept:
            await ctx.db.patch(kept[shard], {"value": value, "excess": excess or UNSET, "planned": UNSET})
        else:
            await ctx.db.insert("counters", {"name": name, "shard": shard, "value": value, "excess": excess or UNSET})
    for row in rows:
        if row["shard"] not in kept:
            await ctx.db.delete(row["_id"])


@component.mutation
async def reset(ctx: MutationCtx, name: str) -> None:
    """Delete the counter, and what is planned for it. An unknown name is fine."""
    for table in ("counters", "plans"):
        for row in await ctx.db.query(table).index("name", name=name).collect():
            await ctx.db.delete(row["_id"])


@component.query
async def names(ctx: QueryCtx, pagination_opts: PaginationOptions, prefix: str = "") -> Page[str]:
    """The names that begin with `prefix`, in order, a page at a time. Reads one row a name, however many shards it has."""
    pagination_opts.check("counters")
    until = _until(prefix, pagination_opts.end_cursor)
    most = PAGE_MOST if pagination_opts.end_cursor is not None else min(pagination_opts.num_items, PAGE_MOST)
    if pagination_opts.cursor == END:
        return Page([], True, END)
    rest = Range(gte=prefix, **until) if pagination_opts.cursor is None else Range(gt=_name_at(pagination_opts.cursor), **until)
    page: list[str] = []
    while len(page) < most:
        row = await ctx.db.query("counters").index("name", name=rest).first()
        if row is None:
            end = pagination_opts.end_cursor or END
            return Page(page, end == END, end)
        page.append(row["name"])
        rest = Range(gt=row["name"], **until)
    return Page(page, False, ">" + page[-1])


@component.mutation(internal=True)
async def rebalance_as_planned(ctx: MutationCtx, plan_id: str) -> None:
    """The job behind `rebalance_every`. A plan that a reset has removed is not carried out."""
    plan = await ctx.db.get(plan_id)
    if plan is not None:
        await ctx.db.delete(plan_id)
        await rebalance(ctx, plan["name"], plan["shards"])


async def _plan(ctx: MutationCtx, name: str, size: int, every: float) -> float:
    """When the next rebalance of the counter is, planned now if there was none."""
    if not every > 0:
        raise AppError({"code": "InvalidPeriod", "message": f"rebalance_every must be more than 0 seconds, got {every}"})
    plan = await ctx.db.query("plans").index("name", name=name).first()
    if plan is not None:
        await ctx.db.patch(plan["_id"], {"shards": size})
        return float(plan["at"])
    at = ctx.now() + every * 1000
    plan_id = await ctx.db.insert("plans", {"name": name, "shards": size, "at": at})
    await ctx.scheduler.run_after(every, rebalance_as_planned, plan_id=plan_id)
    return at


def _checked_shards(shards: int | None) -> int:
    if shards is None:
        return DEFAULT_SHARDS
    if shards < 1:
        raise AppError({"code": "InvalidShards", "message": f"shards must be 1 or more, got {shards}"})
    return shards


def _sum(numbers: Sequence[Number]) -> Number:
    """Whole numbers are added exactly, and become floats only where they no longer can be exact."""
    for number in numbers:
        if not isinstance(number, int):
            break
    else:
        total: Number = sum(numbers)
        return total if abs(total) <= EXACT else float(total)
    try:
        total = math.fsum(numbers)
    except (OverflowError, ValueError):  # a sum beyond the largest float, or an infinity among the numbers
        total = math.inf
    if not math.isfinite(total):
        raise AppError({"code": "InvalidCount", "message": "a counter holds finite numbers only"})
    return total


def _total(rows: Sequence[dict[str, Any]]) -> Number:
    return _sum([row["value"] for row in rows])


def _parts(total: Number, size: int) -> list[tuple[Number, float]]:
    """Equal parts as (value, excess): whole ones for a whole total, the first of them one larger."""
    if isinstance(total, float):
        return [(total / size, 0.0)] * size
    whole, larger = divmod(total, size)
    return [(whole + 1, 1 - larger / size) if shard < larger else (whole, -larger / size) for shard in range(size)]


def _until(prefix: str, end_cursor: str | None) -> dict[str, str]:
    """The upper end of a range of names."""
    if end_cursor is not None and end_cursor != END:
        return {"lte": _name_at(end_cursor)}
    after = _after_prefix(prefix)
    return {} if after is None else {"lt": after}


def _after_prefix(prefix: str) -> str | None:
    """The smallest string above all that begin with the prefix; None if there is none. Strings are ordered by code point."""
    for length in range(len(prefix), 0, -1):
        point = ord(prefix[length - 1])
        if point < 0x10FFFF:
            return prefix[: length - 1] + chr(0xE000 if point == 0xD7FF else point + 1)  # surrogates are no characters
    return None


def _name_at(cursor: str) -> str:
    if cursor[:1] != ">":
        raise InvalidCursor("counters", "this is no cursor of a page of names. Start from the first page, with cursor None.")
    return cursor[1:]
