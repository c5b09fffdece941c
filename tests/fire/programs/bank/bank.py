"""What clients call. Each call has a tag, which stands in the rows that it wrote: so what was done, and how often, can be told later."""

import asyncio
from typing import Any

from interlock import ActionCtx, AppError, CommitTimestamp, MutationCtx, QueryCtx, action, mutation, query

Rows = list[dict[str, Any]]


@mutation
async def open_accounts(ctx: MutationCtx, count: int, balance: int) -> None:
    if await ctx.db.query("accounts").first() is None:
        for number in range(count):
            await ctx.db.insert("accounts", {"number": number, "balance": balance})


@mutation
async def transfer(ctx: MutationCtx, tag: str, source: int, target: int, amount: int) -> int:
    """Gives the new balance of the source."""
    await _change(ctx, source, -amount)
    left = await ctx.run_mutation(withdraw, source=source, amount=amount)
    await ctx.db.insert("transfers", {"tag": tag, "source": source, "target": target, "amount": amount})
    await _change(ctx, target, amount)
    return int(left)


@mutation(internal=True)
async def withdraw(ctx: MutationCtx, source: int, amount: int) -> int:
    """Raises when there was not enough; the transfer is undone with it."""
    account = await ctx.db.query("accounts").index("by_number", number=source).unique()
    if account is None or account["balance"] < 0:
        raise AppError("not enough")
    return int(account["balance"])


@mutation
async def add(ctx: MutationCtx, tag: str) -> int:
    """The next number."""
    value = await _count(ctx, "additions")
    await ctx.db.insert("additions", {"tag": tag, "value": value, "at": CommitTimestamp()})
    return value


@mutation
async def plan(ctx: MutationCtx, tag: str, kind: str, seconds: float) -> str:
    """Plan a mutation or an action; gives the job's id."""
    await ctx.db.insert("plans", {"tag": tag, "kind": kind})
    return await ctx.scheduler.run_after(seconds, run_mutation if kind == "mutation" else run_action, tag=tag)


@mutation(internal=True)
async def run_mutation(ctx: MutationCtx, tag: str) -> None:
    await _count(ctx, "jobs")
    await ctx.db.insert("runs", {"tag": tag, "step": "run"})


@action(internal=True)
async def run_action(ctx: ActionCtx, tag: str) -> None:
    await ctx.run_mutation(mark, tag=tag, step="begin")
    await asyncio.sleep(0.03)
    await ctx.run_mutation(mark, tag=tag, step="end")


@mutation(internal=True)
async def mark(ctx: MutationCtx, tag: str, step: str) -> None:
    await ctx.db.insert("runs", {"tag": tag, "step": step})


@query
async def money(ctx: QueryCtx) -> dict[str, Any]:
    """Balances, and the transfers that led to them."""
    transfers = await ctx.db.query("transfers").collect()
    return {
        "balances": [row["balance"] async for row in ctx.db.query("accounts").index("by_number")],
        "transfers": [[row["tag"], row["source"], row["target"], row["amount"]] for row in transfers],
    }


@query
async def numbers(ctx: QueryCtx) -> dict[str, Any]:
    """All additions in the order of their commits, and the counters."""
    return {
        "additions": [[row["tag"], row["value"]] async for row in ctx.db.query("additions").index("by_at")],
        "counters": {row["name"]: row["value"] async for row in ctx.db.query("counters")},
    }


@query
async def jobs(ctx: QueryCtx) -> dict[str, Any]:
    """Every job as it was planned, as it ran, and in its state."""
    return {
        "plans": [[row["tag"], row["kind"]] async for row in ctx.db.query("plans")],
        "runs": [[row["tag"], row["step"]] async for row in ctx.db.query("runs")],
        "states": [[job.args["tag"], job.state, job.error] for job in await ctx.scheduler.list()],
    }


async def _change(ctx: MutationCtx, number: int, amount: int) -> None:
    account = await ctx.db.query("accounts").index("by_number", number=number).unique()
    if account is None:
        raise AppError("no such account")
    await ctx.db.patch(account["_id"], {"balance": account["balance"] + amount})


async def _count(ctx: MutationCtx, name: str) -> int:
    counter = await ctx.db.query("counters").index("by_name", name=name).unique()
    if counter is None:
        await ctx.db.insert("counters", {"name": name, "value": 1})
        return 1
    await ctx.db.patch(counter["_id"], {"value": counter["value"] + 1})
    return int(counter["value"]) + 1
