"""Which work starts next: by priority, then by turns between keys, then by when it was due, never more than the pool allows.

Only `start_due` starts anything. It counts what is running from the rows themselves, so nothing can drift; and whoever makes
room or brings work has it called after its own commit, so that nobody who enqueues waits for anybody.
"""

from __future__ import annotations

from typing import Any

from interlock import AppError, MutationCtx, QueryCtx, Range
from interlock_workpool.payloads import get_text

DEFAULT_PARALLELISM = 10
MOST_PARALLELISM = 200
STARTS, LOOKS = 64, 256  # in one transaction
GUARD_MS = 10_000.0  # how often running work is compared with its job
TURNS_KEPT = 32

Row = dict[str, Any]


async def settings_of(ctx: QueryCtx) -> Row:
    """The one row of settings, or what holds without it."""
    row = await ctx.db.query("settings").first()
    return row if row is not None else {"default_parallelism": DEFAULT_PARALLELISM, "paused": False}


def parallelism(settings: Row) -> int:
    """How many may run at once: what was set at run time, else what the code says."""
    limit: int = settings["max_parallelism" if "max_parallelism" in settings else "default_parallelism"]
    return limit


async def change_settings(ctx: MutationCtx, **fields: Any) -> None:
    """Change the one row of settings."""
    row = await settings_of(ctx)
    if "_id" in row:
        await ctx.db.patch(row["_id"], fields)
    else:
        await ctx.db.insert("settings", {**row, **fields})


def checked_parallelism(limit: int) -> int:
    """The number, if it may be a limit."""
    if not 0 <= limit <= MOST_PARALLELISM:
        message = f"max_parallelism must be from 0 (which pauses) to {MOST_PARALLELISM}, got {limit}"
        raise AppError({"code": "INVALID_PARALLELISM", "message": message})
    return limit


async def start_due(ctx: MutationCtx) -> None:
    """Start as much ready work as there is room for."""
    settings = await settings_of(ctx)
    if settings["paused"]:
        return
    running = await ctx.db.query("works").index("queue", state="running").count()
    room = parallelism(settings) - running
    if room <= 0:
        return
    turns = await _Turns.read(ctx)
    started = looked_at = 0
    is_all = False
    while started < min(room, STARTS) and looked_at < LOOKS:
        work = await turns.next_work(ctx)
        if work is None:
            is_all = True
            break
        looked_at += 1
        turns.note(work)
        if "serial" in work and await _is_busy(ctx, work["serial"]):
            await ctx.db.patch(work["_id"], {"state": "held"})
            continue
        await _start(ctx, work)
        started += 1
    if started and turns.guard <= ctx.now():
        turns.guard = ctx.now() + GUARD_MS
        await ctx.scheduler.run_at(turns.guard, "recover")
    await turns.write(ctx)
    if not is_all and started < room:
        await ctx.scheduler.run_after(0, "dispatch")


async def _start(ctx: MutationCtx, work: Row) -> None:
    attempt = work["attempts"] + 1
    call: Row = {"work_id": work["_id"], "attempt": attempt}
    if work["kind"] == "action":
        call |= {"handle": work["handle"], "timeout": work.get("timeout")}
        if isinstance(work["args"], str):
            call["args"] = work["args"]
        job = await ctx.scheduler.run_after(0, "run_action", **call)
    else:
        job = await ctx.scheduler.run_after(0, "run_transaction", **call)
    await ctx.db.patch(work["_id"], {"state": "running", "attempts": attempt, "job": job, "started": ctx.now()})


async def _is_busy(ctx: QueryCtx, serial: str) -> bool:
    return await ctx.db.query("works").index("serial", serial=serial, state="running").first() is not None


async def release_serial(ctx: MutationCtx, work: Row) -> None:
    """The next work of the same serial key need not be held any longer."""
    if "serial" in work:
        held = await ctx.db.query("works").index("serial", serial=work["serial"], state="held").first()
        if held is not None:
            await ctx.db.patch(held["_id"], {"state": "ready"})


async def arguments_of(ctx: QueryCtx, work: Row) -> str:
    """The arguments of a work, as text."""
    return await get_text(ctx, work, "args")


class _Turns:
    """Whose turn it is: for each priority the key that was served last. Keys are served in their order, round and round."""

    def __init__(self, row: Row | None) -> None:
        self._row = row
        self._last: dict[int, str] = {} if row is None else {rank: key for rank, key in row["served"]}
        self.guard: float = 0.0 if row is None else row["guard"]

    @classmethod
    async def read(cls, ctx: QueryCtx) -> _Turns:
        return cls(await ctx.db.query("turns").first())

    async def next_work(self, ctx: QueryCtx) -> Row | None:
        first = await ctx.db.query("works").index("queue", state="ready").first()
        if first is None or (last := self._last.get(first["rank"])) is None:
            return first
        following = await ctx.db.query("works").index("queue", state="ready", rank=first["rank"], key=Range(gt=last)).first()
        return first if following is None else following

    def note(self, work: Row) -> None:
        self._last.pop(work["rank"], None)
        self._last[work["rank"]] = work["key"]  # the one that was used last is the last

    async def write(self, ctx: MutationCtx) -> None:
        served = [[rank, key] for rank, key in self._last.items()][-TURNS_KEPT:]
        fields = {"served": served, "guard": self.guard}
        if self._row is None:
            if served or self.guard:
                await ctx.db.insert("turns", fields)
        else:
            await ctx.db.patch(self._row["_id"], fields)
