"""Uses up what it is given, in every way that there is a share of."""

import asyncio
import re
from typing import Any

from interlock import ActionCtx, Change, Component, MutationCtx, QueryCtx, Schema, Table

component = Component(
    "spender",
    schema=Schema(rows=Table({"n": int}).index("by_n", "n"), texts=Table({"text": str}), watched=Table({"n": int})),
)
hoard: list[bytearray] = []


@component.query
async def echo(ctx: QueryCtx, value: Any = None) -> Any:
    return value


@component.query
async def repeat(ctx: QueryCtx, text: str, count: int) -> str:
    return text * count


@component.mutation
async def put_texts(ctx: MutationCtx, lengths: list[int]) -> None:
    for length in lengths:
        await ctx.db.insert("texts", {"text": "x" * length})


@component.mutation
async def fall(ctx: MutationCtx, number: int) -> None:
    import signal

    signal.raise_signal(signal.Signals(number))


@component.mutation
async def pid(ctx: MutationCtx) -> int:
    import os

    return os.getpid()


@component.query
async def burn(ctx: QueryCtx, rounds: int) -> None:
    for _ in range(rounds):
        pass


@component.action
async def burn_and_talk(ctx: ActionCtx, rounds: int, times: int, n: int) -> None:
    for time in range(times):
        for _ in range(rounds):
            pass
        await ctx.run_query(echo, value=[n, time])


@component.query
async def spin(ctx: QueryCtx, how: str) -> None:
    if how == "gathered":
        await asyncio.gather(deeper(), deeper())
    elif how == "caught":
        while True:
            try:
                await deeper()
            except BaseException:
                continue
    elif how == "regex":
        re.match(r"(a+)+$", "a" * 64 + "b")
    else:
        await deeper()


async def deeper() -> None:
    while True:
        pass


@component.action
async def spin_in_an_action(ctx: ActionCtx, how: str) -> None:
    if how == "regex":
        re.match(r"(a+)+$", "a" * 64 + "b")
    await deeper()


@component.mutation
async def keep(ctx: MutationCtx, mib: int) -> int:
    hoard.append(bytearray(mib << 20))
    return len(hoard)


@component.mutation
async def put(ctx: MutationCtx, n: int) -> None:
    await ctx.db.insert("rows", {"n": n})


@component.query
async def rows(ctx: QueryCtx) -> list[int]:
    return [row["n"] for row in await ctx.db.query("rows").index("by_n").collect()]


@component.query
async def read_and_say(ctx: QueryCtx, count: int) -> int:
    found = await ctx.db.query("rows").index("by_n").take(count)
    ctx.log.info("read %d", len(found))
    return len(found)


@component.query
async def talk(ctx: QueryCtx, lines: int) -> None:
    for line in range(lines):
        ctx.log.info("line %d", line)


@component.action
async def wait(ctx: ActionCtx) -> None:
    await asyncio.sleep(1_000)


@component.mutation
async def put_many(ctx: MutationCtx, count: int) -> int:
    """All at once, more than may wait at the host at a time."""
    await asyncio.gather(*[ctx.db.insert("rows", {"n": n}) for n in range(count)])
    return await ctx.db.query("rows").count()


@component.query
async def get_many(ctx: QueryCtx, count: int) -> list[Any]:
    return await asyncio.gather(*[ctx.db.get(f"none{n}") for n in range(count)])


@component.mutation
async def delete_one_by_one(ctx: MutationCtx, count: int, twice: bool = False) -> int:
    """Gives how many rows are left."""
    rows = await ctx.db.query("rows").take(count)
    for row in rows:
        await ctx.db.delete(row["_id"])
    if twice:
        await ctx.db.delete(rows[0]["_id"])
    return await ctx.db.query("rows").count()


@component.query
async def look(ctx: QueryCtx, id: str) -> Any:
    return await ctx.db.get(id)


@component.mutation
async def delete_by_id(ctx: MutationCtx, id: str) -> Any:
    """Without having read it. Gives what is left of it."""
    await ctx.db.delete(id)
    return await ctx.db.get(id)


@component.trigger("watched")
async def forbid(ctx: MutationCtx, change: Change) -> None:
    if change.new is None:
        raise TimeoutError("it is to stay")


@component.mutation
async def delete_watched(ctx: MutationCtx, id: str | None = None) -> str:
    """How a trigger answers, and what is left."""
    if id is None:
        return await ctx.db.insert("watched", {"n": 1})
    assert await ctx.db.get(id)
    try:
        await ctx.db.delete(id)
    except TimeoutError as error:
        return f"{error}, {await ctx.db.query('watched').count()}"
    return "deleted"


@component.mutation
async def read_beside_a_write(ctx: MutationCtx, id: str) -> Any:
    """What the reader found, who began first."""

    async def read() -> Any:
        return await ctx.db.get(id)

    async def write() -> None:
        await ctx.db.replace(id, {"n": -1})

    return (await asyncio.gather(read(), write()))[0]
