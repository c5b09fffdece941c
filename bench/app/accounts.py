"""Transfers between accounts: what leaves one comes to another."""

from typing import Any

from interlock import AppError, MutationCtx, QueryCtx, mutation, query


async def _account(ctx: QueryCtx, number: int) -> dict[str, Any]:
    row = await ctx.db.query("accounts").index("by_number", number=number).unique()
    if row is None:
        raise AppError("no such account")
    return row


@mutation
async def open_all(ctx: MutationCtx, count: int, balance: int) -> None:
    for number in range(count):
        await ctx.db.insert("accounts", {"number": number, "balance": balance})


@mutation
async def transfer(ctx: MutationCtx, source: int, target: int, amount: int) -> int:
    giver, taker = await _account(ctx, source), await _account(ctx, target)
    if giver["balance"] < amount:
        raise AppError("not enough money")
    await ctx.db.patch(giver["_id"], {"balance": giver["balance"] - amount})
    await ctx.db.patch(taker["_id"], {"balance": taker["balance"] + amount})
    left: int = giver["balance"] - amount
    return left


@query
async def total(ctx: QueryCtx) -> int:
    return sum([row["balance"] async for row in ctx.db.query("accounts")])
