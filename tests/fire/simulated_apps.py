"""The apps of the simulations: small ones, in which a broken promise shows."""

from __future__ import annotations

from typing import Any

from interlock import ActionCtx, AppError, Component, MutationCtx, QueryCtx, Schema, Table

bank = Component("bank", schema=Schema(accounts=Table({"name": str, "balance": int}).index("by_name", "name")))


async def _account(ctx: QueryCtx, name: str) -> dict[str, Any]:
    row = await ctx.db.query("accounts").index("by_name", name=name).unique()
    if row is None:
        raise AppError(f"there is no account of {name}")
    return row


@bank.mutation
async def open_accounts(ctx: MutationCtx, names: list[str], balance: int) -> None:
    for name in names:
        await ctx.db.insert("accounts", {"name": name, "balance": balance})


@bank.mutation(internal=True)
async def deposit(ctx: MutationCtx, name: str, amount: int) -> int:
    account = await _account(ctx, name)
    await ctx.db.patch(account["_id"], {"balance": account["balance"] + amount})
    return int(account["balance"] + amount)


@bank.mutation
async def transfer(ctx: MutationCtx, giver: str, taker: str, amount: int) -> None:
    """The taker's deposit is a sub-transaction, and the giver is looked at only after it."""
    await ctx.run_mutation(deposit, name=taker, amount=amount)
    account = await _account(ctx, giver)
    if account["balance"] < amount:
        raise AppError("too little")
    await ctx.db.patch(account["_id"], {"balance": account["balance"] - amount})


@bank.mutation
async def transfer_if_possible(ctx: MutationCtx, giver: str, taker: str, amount: int) -> bool:
    """A transfer that fails is undone, and no more than that is."""
    try:
        await ctx.run_mutation(transfer, giver=giver, taker=taker, amount=amount)
    except AppError:
        return False
    return True


@bank.mutation
async def transfer_later(ctx: MutationCtx, giver: str, taker: str, amount: int, seconds: float) -> None:
    await ctx.scheduler.run_after(seconds, transfer_if_possible, giver=giver, taker=taker, amount=amount)


@bank.query
async def balances(ctx: QueryCtx) -> dict[str, int]:
    return {row["name"]: row["balance"] async for row in ctx.db.query("accounts").index("by_name")}


errands = Component(
    "errands",
    schema=Schema(
        done=Table({"errand": int, "kind": str}).index("by_errand", "errand"),
        ticks=Table({"at": float}),
    ),
)


@errands.mutation(internal=True)
async def do(ctx: MutationCtx, errand: int, kind: str) -> None:
    await ctx.db.insert("done", {"errand": errand, "kind": kind})


@errands.action(internal=True)
async def do_outside(ctx: ActionCtx, errand: int) -> None:
    await ctx.run_mutation(do, errand=errand, kind="action")


@errands.mutation
async def plan(ctx: MutationCtx, errand: int, seconds: float, kind: str) -> str:
    """An errand, and one that is planned in vain: its sub-transaction is dropped."""
    try:
        await ctx.run_mutation(plan_and_fail, errand=errand)
    except AppError:
        pass
    if kind == "action":
        return await ctx.scheduler.run_after(seconds, do_outside, errand=errand)
    return await ctx.scheduler.run_after(seconds, do, errand=errand, kind="mutation")


@errands.mutation(internal=True)
async def plan_and_fail(ctx: MutationCtx, errand: int) -> None:
    await ctx.scheduler.run_after(0, do, errand=errand, kind="in vain")
    raise AppError("no")


@errands.mutation
async def cancel(ctx: MutationCtx, job: str) -> bool:
    """Whether it was in time."""
    known = await ctx.scheduler.get(job)
    if known is None or known.state != "pending":
        return False
    await ctx.scheduler.cancel(job)
    return True


@errands.query
async def whats_done(ctx: QueryCtx) -> list[list[Any]]:
    return [[row["errand"], row["kind"]] async for row in ctx.db.query("done")]


@errands.query
async def states(ctx: QueryCtx) -> list[list[Any]]:
    return [[job.id, job.state] for job in await ctx.scheduler.list() if job.name != "tick"]


@errands.mutation(internal=True)
async def tick(ctx: MutationCtx) -> None:
    await ctx.db.insert("ticks", {"at": ctx.now()})


@errands.query
async def ticks(ctx: QueryCtx) -> list[float]:
    return [row["at"] async for row in ctx.db.query("ticks")]


errands.cron("ticking", every=2.0)(tick)

feed = Component("feed", schema=Schema(messages=Table({"room": str, "n": int, "text": str}).index("by_room", "room", "n")))


@feed.mutation
async def send(ctx: MutationCtx, room: str, text: str) -> int:
    last = await ctx.db.query("messages").index("by_room", room=room).order("desc").first()
    n = 1 if last is None else last["n"] + 1
    await ctx.db.insert("messages", {"room": room, "n": n, "text": text})
    return int(n)


@feed.mutation
async def rewrite(ctx: MutationCtx, room: str, text: str) -> None:
    row = await ctx.db.query("messages").index("by_room", room=room).first()
    if row is not None:
        await ctx.db.patch(row["_id"], {"text": text})


@feed.query
async def newest(ctx: QueryCtx, room: str, count: int) -> list[int]:
    rows = await ctx.db.query("messages").index("by_room", room=room).order("desc").take(count)
    return [row["n"] for row in rows]


@feed.query
async def size(ctx: QueryCtx, room: str) -> int:
    return await ctx.db.query("messages").index("by_room", room=room).count()


@feed.query
async def rooms(ctx: QueryCtx, names: list[str]) -> dict[str, int]:
    """Through sub-queries, side by side with nothing else."""
    return {name: await ctx.run_query(size, room=name) for name in names}
