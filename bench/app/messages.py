"""A chat: a message comes in, and its sender is shown the newest fifty."""

from typing import Any

from interlock import MutationCtx, QueryCtx, mutation, query


@mutation
async def send(ctx: MutationCtx, author: str, body: str) -> list[dict[str, Any]]:
    await ctx.db.insert("messages", {"author": author, "body": body})
    return await ctx.db.query("messages").order("desc").take(50)


@query
async def newest(ctx: QueryCtx) -> list[dict[str, Any]]:
    return await ctx.db.query("messages").order("desc").take(50)


@mutation
async def fill(ctx: MutationCtx, count: int) -> None:
    for n in range(count):
        await ctx.db.insert(
            "messages", {"author": f"author {n % 100}", "body": f"message {n}: the quick brown fox jumps over the lazy dog"}
        )
