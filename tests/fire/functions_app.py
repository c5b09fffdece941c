"""An app whose functions run programs: what the fire does to functions, triggers, components and jobs.

A program is a list of steps, each a list; a function gives back what its steps did and saw, in the same form with the values
read. Keys say by their first letter how they are stored:

    d  a list in one document
    r  a list as rows in the order of their commit timestamps; a trigger appends each value to the list `t` of that key as well
    b  the same, with a trigger that takes lists: it is told of several at once
    c  a list in a component, reached through its functions alone
    g  a register
"""

from __future__ import annotations

import asyncio
from typing import Any

from interlock import AppError, Change, CommitTimestamp, Component, MutationCtx, QueryCtx, Schema, Table, components

Steps = list[Any]
_TABLES = {"r": "rows", "b": "batches"}

cellar = Component("cellar", schema=Schema(bottles=Table({"key": str, "n": int, "value": int}).index("by_key_n", "key", "n")))


@cellar.mutation
async def put(ctx: MutationCtx, key: str, value: int) -> int:
    last = await ctx.db.query("bottles").index("by_key_n", key=key).order("desc").first()
    n = 0 if last is None else last["n"] + 1
    await ctx.db.insert("bottles", {"key": key, "n": n, "value": value})
    return n


@cellar.query
async def see(ctx: QueryCtx, key: str) -> list[int]:
    return [row["value"] async for row in ctx.db.query("bottles").index("by_key_n", key=key)]


fire = Component(
    "fire",
    schema=Schema(
        lists=Table({"key": str, "values": list[int]}).index("by_key", "key"),
        rows=Table({"key": str, "value": int, "at": CommitTimestamp()}).index("by_key_at", "key", "at"),
        batches=Table({"key": str, "value": int, "at": CommitTimestamp()}).index("by_key_at", "key", "at"),
        tellings=Table({"count": int}),
        registers=Table({"key": str, "value": int}).index("by_key", "key"),
        results=Table({"job": str, "steps": list[Any]}).index("by_job", "job"),
    ),
)
fire.use(cellar, isolation="inline")


@fire.trigger("rows")
async def on_row(ctx: MutationCtx, change: Any) -> None:
    await _append_to_document(ctx, "t" + change.new["key"], change.new["value"])


@fire.trigger("batches")
async def on_batch(ctx: MutationCtx, changes: list[Change]) -> None:
    rows = [change.new for change in changes if change.new is not None]
    for key in dict.fromkeys(row["key"] for row in rows):
        await _append_to_document(ctx, "t" + key, *(row["value"] for row in rows if row["key"] == key))
    await ctx.db.insert("tellings", {"count": len(changes)})


@fire.mutation
async def play(ctx: MutationCtx, program: Steps) -> Steps:
    """Run a program; `refuse` in it raises, with what was seen so far."""
    done: Steps = []
    await _play(ctx, program, done)
    return done


@fire.mutation(internal=True)
async def play_job(ctx: MutationCtx, job: str, program: Steps) -> None:
    """The same, planned: what it saw is kept beside what it did."""
    done: Steps = []
    await _play(ctx, program, done)
    await ctx.db.insert("results", {"job": job, "steps": done})


@fire.query
async def look(ctx: QueryCtx, program: Steps) -> Steps:
    """Read only."""
    done: Steps = []
    for what, key, *_ in program:
        done.append([what, key, await (_get(ctx, key) if what == "get" else _read(ctx, key))])
    return done


@fire.query
async def results(ctx: QueryCtx) -> list[Any]:
    """What all jobs have done."""
    return [[row["job"], row["steps"]] async for row in ctx.db.query("results")]


@fire.query
async def told_together(ctx: QueryCtx) -> list[int]:
    """Of how many changes at once the trigger that takes lists was told, each time."""
    return [row["count"] async for row in ctx.db.query("tellings")]


@fire.query
async def unfinished(ctx: QueryCtx) -> int:
    """How many jobs have still to run."""
    return len([job for job in await ctx.scheduler.list() if job.state in ("pending", "running")])


@fire.query
async def failures(ctx: QueryCtx) -> list[Any]:
    """The jobs that have failed, and why."""
    return [[job.args["job"], job.error] for job in await ctx.scheduler.list("failed")]


async def _play(ctx: MutationCtx, program: Steps, done: Steps) -> None:
    for step in program:
        what = step[0]
        if what == "pause":
            for _ in range(step[1]):
                await asyncio.sleep(0)
        elif what == "append":
            await _append(ctx, step[1], step[2])
            done.append(step)
        elif what == "read":
            done.append(["read", step[1], await _read(ctx, step[1])])
        elif what == "get":
            done.append(["get", step[1], await _get(ctx, step[1])])
        elif what == "put":
            await _put(ctx, step[1], step[2])
            done.append(step)
        elif what == "gather":
            lists = await asyncio.gather(*(_read(ctx, key) for key in step[1]))
            done += [["read", key, values] for key, values in zip(step[1], lists, strict=True)]
        elif what == "plan":
            await ctx.scheduler.run_after(step[1], play_job, job=step[2], program=step[3])
            done.append(step)
        elif what == "refuse":
            raise AppError(done)
        else:
            await _below(ctx, what, step[1], done)


async def _below(ctx: MutationCtx, what: str, program: Steps, done: Steps) -> None:
    """A sub-transaction: folded, or dropped because it raises."""
    try:
        inner = await ctx.run_mutation(play, program=[*program, ["refuse"]] if what == "drop" else program)
    except AppError as error:
        done.append(["drop", error.data])
    else:
        done.append(["fold", inner])


async def _append(ctx: MutationCtx, key: str, value: int) -> None:
    if key[0] == "c":
        await ctx.run_mutation(components.cellar.put, key=key, value=value)
    elif key[0] in _TABLES:
        await ctx.db.insert(_TABLES[key[0]], {"key": key, "value": value, "at": CommitTimestamp()})
    else:
        await _append_to_document(ctx, key, value)


async def _append_to_document(ctx: MutationCtx, key: str, *values: int) -> None:
    row = await ctx.db.query("lists").index("by_key", key=key).unique()
    if row is None:
        await ctx.db.insert("lists", {"key": key, "values": list(values)})
    else:
        await ctx.db.patch(row["_id"], {"values": [*row["values"], *values]})


async def _read(ctx: QueryCtx, key: str) -> list[int]:
    if key[0] == "c":
        values: list[int] = await ctx.run_query(components.cellar.see, key=key)
        return values
    if key[0] in _TABLES:
        return [row["value"] async for row in ctx.db.query(_TABLES[key[0]]).index("by_key_at", key=key)]
    row = await ctx.db.query("lists").index("by_key", key=key).unique()
    return [] if row is None else list(row["values"])


async def _get(ctx: QueryCtx, key: str) -> int | None:
    row = await ctx.db.query("registers").index("by_key", key=key).unique()
    return None if row is None else int(row["value"])


async def _put(ctx: MutationCtx, key: str, value: int) -> None:
    row = await ctx.db.query("registers").index("by_key", key=key).unique()
    if row is None:
        await ctx.db.insert("registers", {"key": key, "value": value})
    else:
        await ctx.db.patch(row["_id"], {"value": value})
