"""A component that fetches what it is told to, and tells what came of it. Installed by a test, with the permissions that it needs."""

import asyncio
from typing import Any

from interlock import ActionCtx, Component, QueryCtx

component = Component("courier", env={"API_KEY": str | None}, permissions=PERMISSIONS)  # type: ignore[name-defined]  # noqa: F821


@component.action
async def get(ctx: ActionCtx, url: str, **options: Any) -> dict[str, Any]:
    response = await ctx.fetch(url, **options)
    return {"status": response.status, "headers": dict(response.headers), "body": response.body}


@component.action
async def size(ctx: ActionCtx, url: str) -> int:
    return len((await ctx.fetch(url)).body)


@component.action
async def with_key(ctx: ActionCtx, url: str, header: str = "authorization", before: str = "Bearer ", after: str = "") -> Any:
    key = ctx.env["API_KEY"]
    return (await ctx.fetch(url, headers={header: f"{before}{key}{after}"})).json()


@component.action
async def basic(ctx: ActionCtx, url: str) -> Any:
    from base64 import b64encode

    token = b64encode(f"me:{ctx.env['API_KEY']}".encode()).decode()
    return (await ctx.fetch(url, headers={"Authorization": f"Basic {token}"})).json()


@component.query
async def key(ctx: QueryCtx) -> str | None:
    return ctx.env["API_KEY"]


@component.action
async def lines(ctx: ActionCtx, url: str) -> list[str]:
    async with ctx.fetch(url) as response:
        return [line async for line in response.lines()]


@component.action
async def pieces(ctx: ActionCtx, url: str, stop_after: int = 1_000_000) -> list[int]:
    found = []
    async with ctx.fetch(url) as response:
        async for piece in response:
            found.append(len(piece))
            if len(found) == stop_after:
                break
    return found


@component.action
async def left_open(ctx: ActionCtx, url: str) -> int:
    response = await ctx.fetch(url).__aenter__()
    return response.status


@component.action
async def together(ctx: ActionCtx, urls: list[str]) -> list[int]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ctx.fetch(url)) for url in urls]
    return [task.result().status for task in tasks]


@component.action
async def caught(ctx: ActionCtx, url: str) -> str:
    try:
        await ctx.fetch(url, timeout=0.2)
    except Exception as error:
        return type(error).__name__
    return "nothing"


@component.action
async def given_up(ctx: ActionCtx, url: str, then: str) -> int:
    """Waits for the first for a short time."""
    try:
        async with asyncio.timeout(0.1):
            return (await ctx.fetch(url)).status
    except TimeoutError:
        return (await ctx.fetch(then, timeout=5)).status


@component.action
async def not_awaited(ctx: ActionCtx, url: str) -> str:
    """It has begun, and nobody waits for it."""
    left = asyncio.ensure_future(ctx.fetch(url))
    await asyncio.sleep(0.1)
    assert not left.done()
    return "done"
