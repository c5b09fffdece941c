"""A component whose functions do the same most times, and now and then something else that nobody could foresee."""

from __future__ import annotations

import asyncio
from typing import Any

from interlock import (
    AppError,
    Change,
    CommitTimestamp,
    Component,
    MutationCtx,
    PaginationOptions,
    QueryCtx,
    Range,
    Schema,
    Table,
    components,
    reference,
)

child = Component("child", schema=Schema(marks=Table({"of": str, "n": float}).index("by_of", "of")))
component = Component(
    "repeated",
    schema=Schema(
        counts=Table({"name": str, "value": float, "rest": float, "at": Any}).index("by_name", "name").index("by_rest", "rest", "name"),
        watched=Table({"name": str}),
        changes=Table({"kind": str}),
    ),
    env={"UNIT": str | None},
)
component.use(child)


@child.mutation
async def mark(ctx: MutationCtx, of: str) -> float:
    row = await ctx.db.query("marks").index("by_of", of=of).first()
    if row is None:
        await ctx.db.insert("marks", {"of": of, "n": 1})
        return 1.0
    await ctx.db.patch(row["_id"], {"n": row["n"] + 1})
    return float(row["n"] + 1)


@child.query
async def marked(ctx: QueryCtx, of: str) -> float | None:
    row = await ctx.db.query("marks").index("by_of", of=of).first()
    return None if row is None else row["n"]


@component.trigger("watched")
async def note(ctx: MutationCtx, change: Change) -> None:
    await ctx.db.insert("changes", {"kind": change.kind})


async def _row(ctx: Any, name: str) -> Any:
    return await ctx.db.query("counts").index("by_name", name=name).first()


@component.mutation
async def bump(ctx: MutationCtx, name: str) -> float:
    row = await _row(ctx, name)
    if row is None:
        await ctx.db.insert("counts", {"name": name, "value": 1, "rest": 1, "at": None})
        return 1.0
    value = float(row["value"] + 1)
    await ctx.db.patch(row["_id"], {"value": value, "rest": value % 3} if value % 4 == 0 else {"value": value})
    return value


HOWS = [
    "log",
    "measure",
    "gather",
    "page",
    "call-child",
    "call-own",
    "call-handle",
    "schedule",
    "raise",
    "now",
    "draw",
    "unit",
    "transaction",
    "insert",
    "delete",
    "replace",
    "trigger",
    "stamp",
]


@component.mutation
async def bump_and(ctx: MutationCtx, name: str, how: str) -> Any:
    """Every third time more than that."""
    value = await bump(ctx, name)
    if value % 3:
        return value
    row = await _row(ctx, name)
    match how:
        case "log":
            ctx.log.info(f"{name} is {value}")
        case "measure":
            used = ctx.metrics().used
            return [used["documents_read"], used["documents_written"]]
        case "gather":
            return [len(rows) for rows in await asyncio.gather(*[ctx.db.query(table).collect() for table in ("counts", "watched")])]
        case "page":
            return len((await ctx.db.query("counts").paginate(PaginationOptions(1))).page)
        case "call-child":
            return await ctx.run_mutation(components.child.mark, of=name)
        case "call-own":
            return [await ctx.run_mutation(bump, name="a"), await ctx.run_query(get, name="a")]
        case "call-handle":
            return await ctx.run_mutation(reference(await ctx.function_handle(bump)), name="a")
        case "schedule":
            await ctx.scheduler.run_after(1, bump, name=name)
        case "raise":
            raise AppError(value)
        case "now":
            return ctx.now()
        case "draw":
            return 0 <= ctx.random.random() < 1
        case "unit":
            return ctx.env["UNIT"]
        case "transaction":
            return len(ctx.transaction) >= 16
        case "insert":
            await ctx.db.insert("counts", {"name": "new", "value": value, "rest": 0, "at": None})
        case "delete":
            await ctx.db.delete(row["_id"])
        case "replace":
            await ctx.db.replace(row["_id"], {"name": name, "value": value + 10, "rest": 1, "at": None})
        case "trigger":
            await ctx.db.insert("watched", {"name": name})
        case "stamp":
            await ctx.db.patch(row["_id"], {"at": CommitTimestamp()})
    return value


@component.mutation
async def bump_range(ctx: MutationCtx, low: float) -> int:
    rows = await ctx.db.query("counts").index("by_rest", rest=Range(gte=low)).collect()
    for row in rows:
        await ctx.db.patch(row["_id"], {"value": row["value"] + 1})
    return len(rows)


@component.mutation
async def draw_and(ctx: MutationCtx, name: str, how: str) -> Any:
    return [ctx.random.random(), await bump_and(ctx, name, how), ctx.random.random()]


@component.query
async def get(ctx: QueryCtx, name: str) -> Any:
    row = await _row(ctx, name)
    return row and [row["value"], row["rest"], row["at"] is None]


@component.query
async def get_twice(ctx: QueryCtx, name: str) -> Any:
    row = await _row(ctx, name)
    return row and await ctx.db.get(row["_id"]) == row


@component.query
async def refuse_odd(ctx: QueryCtx, name: str) -> Any:
    row = await _row(ctx, name)
    if row is not None and row["value"] % 2:
        raise AppError(row["value"])
    return row and row["value"]


@component.query
async def look_if_odd(ctx: QueryCtx, name: str) -> Any:
    row = await _row(ctx, name)
    return row and row["value"] % 2 and [ctx.now(), ctx.env["UNIT"], 0 <= ctx.random.random() < 1]


@component.query
async def ask_below(ctx: QueryCtx, name: str) -> Any:
    return [await ctx.run_query(get, name=name), await ctx.run_query(components.child.marked, of=name)]


@component.query
async def page(ctx: QueryCtx, name: str) -> Any:
    return [row["value"] for row in (await ctx.db.query("counts").index("by_name", name=name).paginate(PaginationOptions(2))).page]


@component.query
async def top(ctx: QueryCtx, name: str) -> Any:
    rows = await ctx.db.query("counts").index("by_rest", rest=Range(gte=len(name) - 1)).order("desc").take(2)
    return [[row["name"], row["value"]] for row in rows]


@component.query
async def everything(ctx: QueryCtx) -> Any:
    tables = [await ctx.db.query(table).collect() for table in ("counts", "watched", "changes")]
    left_out = ("_creationTime", "at")  # each says when
    return [[{name: value for name, value in row.items() if name not in left_out} for row in rows] for rows in tables]
