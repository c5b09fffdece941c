"""Notes by name, and functions that give and take whatever they are given."""

import asyncio
from typing import Any

from interlock import ActionCtx, AppError, MutationCtx, QueryCtx, action, mutation, query


@query
async def read(ctx: QueryCtx, name: str) -> int:
    note = await ctx.db.query("notes").index("by_name", name=name).unique()
    return 0 if note is None else int(note["value"])


@query
async def everything(ctx: QueryCtx) -> list[dict[str, Any]]:
    return await ctx.db.query("notes").collect()


@query
async def long(ctx: QueryCtx, name: str, size: int) -> str:
    """A text that is another one after each `add` to the name."""
    note = await ctx.db.query("notes").index("by_name", name=name).unique()
    return f"{0 if note is None else note['value']}" + "x" * size


@mutation
async def add(ctx: MutationCtx, name: str) -> int:
    note = await ctx.db.query("notes").index("by_name", name=name).unique()
    if note is None:
        await ctx.db.insert("notes", {"name": name, "value": 1})
        return 1
    await ctx.db.patch(note["_id"], {"value": note["value"] + 1})
    return int(note["value"]) + 1


@mutation
async def write(ctx: MutationCtx, name: str, size: int) -> int:
    """`add`, with a new text of some size."""
    value = await add(ctx, name)
    note = await ctx.db.query("notes").index("by_name", name=name).unique()
    assert note is not None
    await ctx.db.patch(note["_id"], {"text": f"{value:09}" * (size // 9)})
    return value


@mutation
async def plan(ctx: MutationCtx, name: str, seconds: float) -> str:
    """`add`, later."""
    return await ctx.scheduler.run_after(seconds, add, name=name)


@mutation
async def take(ctx: MutationCtx, value: Any) -> None:
    """Anything, and nothing is done with it."""


@mutation
async def fail(ctx: MutationCtx, value: Any) -> None:
    raise AppError(value)


@action
async def wait(ctx: ActionCtx, seconds: float) -> None:
    await asyncio.sleep(min(seconds, 1.0))
