"""Values in, values out, and every way to fail."""

import asyncio
import json
from typing import Any

from interlock import ActionCtx, AppError, MutationCtx, QueryCtx, action, mutation, query


def _fail(how: str, data: Any) -> None:
    match how:
        case "data":
            raise AppError(data)
        case "plain":
            raise ValueError("plainly wrong")


@query
async def echo(ctx: QueryCtx, value: Any = None) -> Any:
    return value


@action
async def echo_action(ctx: ActionCtx, value: Any = None, wait: float = 0) -> Any:
    if wait:
        await asyncio.sleep(wait)
    return value


@query
async def fail_query(ctx: QueryCtx, how: str, data: Any = None) -> None:
    _fail(how, data)


@mutation
async def fail_mutation(ctx: MutationCtx, how: str, data: Any = None) -> None:
    await ctx.db.insert("counters", {"name": "never", "value": 1.0})
    _fail(how, data)


@action
async def fail_action(ctx: ActionCtx, how: str, data: Any = None) -> None:
    _fail(how, data)


@query
async def typed(ctx: QueryCtx, n: int) -> int:
    return n


@query
async def wrong_result(ctx: QueryCtx) -> int:
    result: int = json.loads('"text"')
    return result


@query
async def big(ctx: QueryCtx, size: int, letter: str = "x") -> str:
    return letter * size


@query
async def whoami(ctx: QueryCtx) -> Any:
    identity = await ctx.auth.identity()
    return None if identity is None else dict(identity)


@mutation
async def whoami_mutation(ctx: MutationCtx) -> str | None:
    identity = await ctx.auth.identity()
    return None if identity is None else identity.subject
