"""Deferred limits: what is taken of them is a row that nobody else touches, and a job folds many of them in at once.

So callers of one limit never wait for each other, and what a burst takes before the job has run is not seen by it: the value then
goes below zero, and nobody is let through until it has recovered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

from interlock import AppError, CommitTimestamp, MutationCtx, Table
from interlock_rate_limiter.arithmetic import Held, fresh, refilled
from interlock_rate_limiter.limits import Config, FixedWindow, TokenBucket, from_config
from interlock_rate_limiter.rows import Rows

FOLDED_AT_ONCE = 512
KEY_MOST = 4_096  # characters, so that as many as are folded at once fit into a transaction

pending_updates = Table({"update": dict[str, Any], "updated_at": CommitTimestamp()}).index("updated_at", "updated_at")
workers = Table({"is_awake": bool})  # one row: whether a job is planned


class Update(TypedDict):
    """What is to become of a limit."""

    kind: Literal["consume", "refund", "reset"]
    name: str
    config: Config
    key: NotRequired[str | None]
    count: NotRequired[float]
    ts: NotRequired[float]


async def put(ctx: MutationCtx, updates: Sequence[Update]) -> None:
    """Queue updates, and see to it that they are folded in."""
    for update in updates:
        if len(update.get("key") or "") > KEY_MOST:
            message = f"rate limit {update['name']!r}: a key of a deferred limit has at most {KEY_MOST:,} characters"
            raise AppError({"code": "KeyTooLong", "message": message})
        row = {"update": {"ts": ctx.now(), **update}, "updated_at": CommitTimestamp()}
        await ctx.db.insert("pending_updates", row)
    worker = await ctx.db.query("workers").unique()
    if worker is None:
        await ctx.db.insert("workers", {"is_awake": True})
    elif worker["is_awake"]:
        return
    else:
        await ctx.db.patch(worker["_id"], {"is_awake": True})
    await ctx.scheduler.run_after(0, "apply_updates")


async def sleep(ctx: MutationCtx) -> None:
    """No job is planned any more: whoever queues an update next plans one."""
    worker = await ctx.db.query("workers").unique()
    if worker is not None:
        await ctx.db.patch(worker["_id"], {"is_awake": False})


async def fold(ctx: MutationCtx, waiting: Sequence[Mapping[str, Any]]) -> None:
    """Write what these updates make of their limits, each limit once, and remove them."""
    rows = Rows(ctx)
    states: dict[tuple[str, str | None], Held] = {}
    limits: dict[tuple[str, str | None], TokenBucket | FixedWindow] = {}
    for row in waiting:
        update = row["update"]
        name, key = update["name"], update.get("key")
        limit = from_config(update["config"])
        assert isinstance(limit, TokenBucket | FixedWindow)
        limits[name, key] = limit
        if (name, key) not in states:
            stored = await rows.one(name, key, 0)
            states[name, key] = fresh(limit, name, key) if stored is None else Held(stored["value"], stored["ts"])
        states[name, key] = after(states[name, key], update, limit)
        await ctx.db.delete(row["_id"])
    for (name, key), state in states.items():
        rows.put_state(name, key, 0, limits[name, key], state)
    await rows.write()


def after(state: Held, update: Mapping[str, Any], limit: TokenBucket | FixedWindow) -> Held:
    """The state after an update, at its own time unless that has passed: time does not run back behind what is stored."""
    name, key, ts = update["name"], update.get("key"), float(update["ts"])
    if update["kind"] == "reset":
        return refilled(fresh(limit, name, key), limit, max(ts, state.ts))
    value, at = refilled(state, limit, ts)
    count = update.get("count", 1)
    if update["kind"] == "consume":
        return Held(value - count, at)
    capacity = limit.rate if limit.capacity is None else limit.capacity
    return Held(min(value + count, capacity), at)
