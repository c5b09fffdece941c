"""Migrations: a function over every document of a table, in batches, each a transaction with the record of how far it is.

A migration is a row. While it is `in_progress` one job of this component, the worker, does a batch and plans the next; a row whose
`run` is another than the worker's own tells that worker to stop. What is done with a document is the app's: the batch function,
made by `define` of the face, is called by its handle.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from interlock import (
    UNSET,
    AppError,
    ArgumentError,
    Component,
    DeadlineExceeded,
    LimitExceeded,
    Limits,
    MutationCtx,
    QueryCtx,
    Range,
    Schema,
    Table,
    reference,
)

Row = dict[str, Any]
State = Literal["unknown", "in_progress", "success", "failed", "canceled", "paused"]
RESUME = "resume"
BATCH = Limits(deadline=10.0, cpu=0.4, documents_read=28_000, bytes_read=14 << 20, documents_written=14_000, bytes_written=13 << 20)
BATCH_MOST = 28_000  # documents: what a batch may read
BATCH_SECONDS = 0.25  # what an adaptive batch is meant to take
LARGEST_ADAPTED = 1_000
SHARE_MOST = 0.4  # of any limit, for an adaptive batch
GROWTH = 2.0
CLEARED_AT_ONCE = 100
STATUSES_MOST = 1_000
TEXT_MOST = 10_000

migrations = (
    Table(
        {
            "name": str,
            "handle": str,
            "state": State,
            "run": int,  # counted up by whoever starts, stops or resets it
            "cursor": str | None,
            "is_done": bool,
            "processed": int,
            "skipped": int,
            "batch_size": int,
            "is_fixed": bool,  # a size that was asked for is lowered by limits alone
            "delay": float,
            "on_error": Literal["stop", "skip"],
            "next": list[dict[str, str]],
            "reset_next": bool,
            "job": NotRequired[str],
            "error": NotRequired[str],
            "traceback": NotRequired[str],
            "failed_id": NotRequired[str],
            "total": NotRequired[int],
            "latest_start": float,
            "latest_end": NotRequired[float],
            "began": float,  # since when the rate is measured, and what had been processed then
            "began_at": int,
            "batch_began": float,
            "batch_took": NotRequired[float],
        }
    )
    .index("name", "name")
    .index("state", "state")
)
dead_letters = Table({"name": str, "id": str, "error": str, "cursor": str | None}).index("name", "name")

component = Component("migrations", schema=Schema(migrations=migrations, dead_letters=dead_letters))


class Member(TypedDict):
    """A migration of a series."""

    name: str
    handle: str


# starting


@component.mutation
async def migrate(
    ctx: MutationCtx,
    name: str,
    handle: str,
    cursor: str | None = RESUME,
    batch_size: int | None = None,
    one_batch_only: bool = False,
    next: list[Member] | None = None,
    dry_run: bool = False,
    reset: bool = False,
    delay: float | None = None,
    on_error: Literal["stop", "skip"] | None = None,
) -> dict[str, Any]:
    """Start or go on: one batch now, the rest in jobs. Gives the status; a batch that fails is a status too.

    `cursor`: "resume", or null for the first document. `next` are the migrations of the series behind it; null keeps those that it
    has. A dry run does one batch and raises `DRY_RUN` with the status and a sample, so that nothing of it is kept.
    """
    if batch_size is not None and not 1 <= batch_size <= BATCH_MOST:
        message = f"batch_size must be from 1 to {BATCH_MOST:,}, got {batch_size}"
        raise AppError({"code": "INVALID_BATCH_SIZE", "message": message})
    if delay is not None and not 0 <= delay < float("inf"):
        raise AppError({"code": "INVALID_DELAY", "message": f"the delay between batches must be 0 seconds or more, got {delay}"})
    if not handle.startswith("function://"):
        raise AppError({"code": "INVALID_HANDLE", "message": f"{handle!r} is no handle: make one with ctx.function_handle(ref)"})
    row = await _find(ctx, name)
    if row is not None and await _is_running(ctx, row) and not reset:
        return _status(row)
    try:
        about = await ctx.run_mutation(reference(handle), mode="about")
    except ArgumentError as error:
        message = f"{name} is no migration: make it with @migrations.define ({error})"
        raise AppError({"code": "NO_MIGRATION", "message": message}) from error
    changes: Row = {"handle": handle, "error": UNSET, "traceback": UNSET, "failed_id": UNSET}
    if next is not None:
        changes |= {"next": [dict(member) for member in next], "reset_next": reset}
    if batch_size is not None:
        changes |= {"batch_size": batch_size, "is_fixed": True}
    elif row is None or reset or not row["is_fixed"]:
        changes |= {"batch_size": about["batch_size"], "is_fixed": about["is_fixed"]}
    if delay is not None:
        changes["delay"] = delay
    if on_error is not None or reset or (row is not None and not row["batch_size"]):
        changes["on_error"] = on_error or about["on_error"]
    if row is not None and "job" in row:
        await ctx.scheduler.cancel(row["job"])
        changes["job"] = UNSET
    is_new = row is None
    if row is None:
        row = await _insert(ctx, name, handle, on_error or about["on_error"])
    if reset or cursor != RESUME:
        changes |= {"cursor": None if cursor == RESUME else cursor, "is_done": False, "processed": 0, "skipped": 0, "latest_end": UNSET}
        changes["latest_start"] = ctx.now()
        if not is_new:
            await _forget_letters(ctx, name)
    restarted = {**row, **changes}
    changes |= {
        "run": row["run"] + 1,
        "began": ctx.now(),
        "began_at": restarted["processed"],
        "batch_began": ctx.now(),
        "batch_took": UNSET,
    }
    row = await _patch(ctx, row, changes)
    answer: Row = {}
    if row["is_done"]:
        row = await _patch(ctx, row, {"state": "success"})
        if not one_batch_only:
            await _start_next(ctx, row)
    else:
        row = await _patch(ctx, row, {"state": "in_progress"})
        if not one_batch_only and not dry_run:
            await ctx.scheduler.run_after(0, measure, name=name, run=row["run"])
        row, answer = await _do_batch(ctx, row, dry_run=dry_run, one_batch_only=one_batch_only)
        if cursor not in (RESUME, None) and row.get("error", "").startswith("InvalidCursor"):
            raise AppError({"code": "INVALID_CURSOR", "message": f"{name}: {cursor!r} is no cursor of its range. Nothing has changed."})
    if dry_run:
        raise AppError({"code": "DRY_RUN", "status": _status(row), "sample": answer.get("sample", [])})
    return _status(row)


async def _insert(ctx: MutationCtx, name: str, handle: str, on_error: str) -> Row:
    fields: Row = {
        "name": name,
        "handle": handle,
        "state": "unknown",
        "run": 0,
        "cursor": None,
        "is_done": False,
        "processed": 0,
        "skipped": 0,
        "batch_size": 0,  # it has yet to begin
        "is_fixed": False,
        "delay": 0.0,
        "on_error": on_error,
        "next": [],
        "reset_next": False,
        "latest_start": ctx.now(),
        "began": ctx.now(),
        "began_at": 0,
        "batch_began": ctx.now(),
    }
    return {"_id": await ctx.db.insert("migrations", fields), **fields}


async def _start_next(ctx: MutationCtx, row: Row) -> None:
    """Start the first of the series that is not done, or with a reset the very next; it takes the rest along.

    It is in progress from here on, though its first batch is a job's: so it can be stopped.
    """
    resets = row["reset_next"]
    for at, member in enumerate(row["next"]):
        known = await _find(ctx, member["name"])
        if known is None:
            known = await _insert(ctx, member["name"], member["handle"], "stop")
        elif not resets and known["is_done"]:
            continue
        changes: Row = {"handle": member["handle"], "next": row["next"][at + 1 :], "reset_next": resets}
        if resets:
            changes |= {"cursor": None, "is_done": False, "processed": 0, "skipped": 0, "latest_start": ctx.now(), "latest_end": UNSET}
            await _forget_letters(ctx, member["name"])
        elif await _is_running(ctx, known):
            return
        if "job" in known:
            await ctx.scheduler.cancel(known["job"])
        run = known["run"] + 1
        job = await ctx.scheduler.run_after(0, begin_member, name=member["name"], run=run)
        await _patch(ctx, known, {**changes, "state": "in_progress", "run": run, "job": job})
        if resets:  # this once: who runs a member again that is done does not begin the others anew
            await ctx.db.patch(row["_id"], {"reset_next": False})
        return


@component.mutation(internal=True)
async def begin_member(ctx: MutationCtx, name: str, run: int) -> None:
    """The next of a series, whose turn has come."""
    row = await _find(ctx, name)
    if row is None or row["run"] != run or row["state"] != "in_progress":
        return
    await _patch(ctx, row, {"state": "unknown", "job": UNSET})
    await migrate(ctx, name, row["handle"], next=row["next"], reset=row["reset_next"])


# a batch


@component.mutation(internal=True)
async def work(ctx: MutationCtx, name: str, run: int) -> None:
    """The worker: one batch, and the plan of the next."""
    row = await _find(ctx, name)
    if row is None or row["run"] != run or row["state"] != "in_progress":
        return
    if not row["is_fixed"] and "batch_took" not in row:
        row = {**row, "batch_took": max(0.0, ctx.now() - row["batch_began"]) / 1000.0}
    await _do_batch(ctx, {**row, "batch_began": ctx.now()}, dry_run=False, one_batch_only=False)


async def _do_batch(ctx: MutationCtx, row: Row, *, dry_run: bool, one_batch_only: bool) -> tuple[Row, Row]:
    """The row after one batch, and what the batch function said. Its failure is undone and noted."""
    size = row["batch_size"] if row["is_fixed"] else _adapted(row)
    before = _shares_used(ctx)
    given: Row = {"mode": "batch", "cursor": row["cursor"], "batch_size": size, "dry_run": dry_run, "on_error": row["on_error"]}
    try:
        answer: Row = await ctx.run_mutation(reference(row["handle"]).options(limits=BATCH), **given)
    except Exception as error:
        if isinstance(error, LimitExceeded | DeadlineExceeded) and size > 1:
            ctx.log.info(f"{row['name']}: a batch of {size} is too much ({error}); trying {size // 2}")
            row = await _plan(ctx, row, {"batch_size": size // 2, "batch_took": 0.0}, one_batch_only or dry_run)
            return row, {}
        return await _fail(ctx, row, error), {}
    for letter in answer["failed"]:
        await ctx.db.insert("dead_letters", {"name": row["name"], "cursor": row["cursor"], **letter})
    share = max(after - used for used, after in zip(before, _shares_used(ctx), strict=True))
    changes: Row = {
        "cursor": None if answer["is_done"] else answer["continue_cursor"],
        "is_done": answer["is_done"],
        "processed": row["processed"] + answer["processed"],
        "skipped": row["skipped"] + len(answer["failed"]),
        "batch_size": size if row["is_fixed"] or share <= SHARE_MOST else max(1, int(size * SHARE_MOST / share)),
        "batch_began": row["batch_began"],
        "batch_took": UNSET if share <= SHARE_MOST else BATCH_SECONDS,  # a size that a limit has lowered does not grow again at once
    }
    if dry_run and answer["failed"]:  # its dead letters are not kept
        changes |= {"error": answer["failed"][0]["error"], "failed_id": answer["failed"][0]["id"]}
    if not answer["is_done"]:
        return await _plan(ctx, row, changes, one_batch_only or dry_run), answer
    row = await _patch(ctx, row, {**changes, "state": "success", "latest_end": ctx.now(), "job": UNSET})
    if not one_batch_only and not dry_run:
        await _start_next(ctx, row)
    return row, answer


async def _plan(ctx: MutationCtx, row: Row, changes: Row, one_batch_only: bool) -> Row:
    """The row with these changes, and the job of the next batch."""
    if one_batch_only:
        return await _patch(ctx, row, {**changes, "state": "unknown", "job": UNSET})
    job = await ctx.scheduler.run_after(row["delay"], work, name=row["name"], run=row["run"])
    return await _patch(ctx, row, {**changes, "state": "in_progress", "job": job})


async def _fail(ctx: MutationCtx, row: Row, error: Exception) -> Row:
    """Note why a batch failed. The series ends here, and is remembered."""
    changes: Row = {"state": "failed", "error": f"{type(error).__name__}: {error}"[:TEXT_MOST], "latest_end": ctx.now(), "job": UNSET}
    if isinstance(error, AppError) and isinstance(error.data, dict) and error.data.get("code") == "MIGRATE_ONE_FAILED":
        facts = error.data
        changes |= {"error": facts["error"][:TEXT_MOST], "traceback": facts["traceback"][-TEXT_MOST:], "failed_id": facts["id"]}
    return await _patch(ctx, row, changes)


def _adapted(row: Row) -> int:
    """The size of the next batch: so that it takes about `BATCH_SECONDS`, at most twice and at least half of the last one.

    What the last one took is counted from its begin to that of the next, waiting included: a backend under load gets small batches.
    """
    size: int = row["batch_size"]
    if "batch_took" not in row or row["processed"] == row["began_at"]:
        return size
    took = row["batch_took"] - row["delay"]
    factor = GROWTH if took <= 0 else min(GROWTH, max(1 / GROWTH, BATCH_SECONDS / took))
    return max(1, min(int(size * factor), max(LARGEST_ADAPTED, size)))


def _shares_used(ctx: MutationCtx) -> list[float]:
    """Of the limits of the transaction, how much of each is used."""
    metrics = ctx.metrics()
    counted = ("documents_read", "bytes_read", "documents_written", "bytes_written", "functions_scheduled", "intervals_read")
    return [metrics.used[name] / ((metrics.used[name] + metrics.remaining[name]) or 1) for name in counted]


@component.mutation(internal=True)
async def measure(ctx: MutationCtx, name: str, run: int) -> None:
    """Count what there is to do, in a transaction of its own: the count depends on the whole table, and a batch must not."""
    row = await _find(ctx, name)
    if row is None or row["run"] != run:
        return
    try:
        total = await ctx.run_mutation(reference(row["handle"]).options(limits=BATCH), mode="count")
    except Exception as error:
        ctx.log.info(f"{name}: the documents cannot be counted: {error}")
        return
    await _patch(ctx, row, {"total": total})


# stopping


@component.mutation
async def cancel(ctx: MutationCtx, name: str) -> dict[str, Any]:
    """Stop after the batch that is running. It goes on with a `migrate` without cursor. Raises `UNKNOWN_MIGRATION`."""
    return await _stop(ctx, await _known(ctx, name), "canceled")


@component.mutation
async def pause(ctx: MutationCtx, name: str) -> dict[str, Any]:
    """Stop until `resume`. Raises `UNKNOWN_MIGRATION`."""
    return await _stop(ctx, await _known(ctx, name), "paused")


@component.mutation
async def resume(ctx: MutationCtx, name: str) -> dict[str, Any]:
    """Go on with one that was paused, canceled or has failed, and its series. Of others the status."""
    row = await _known(ctx, name)
    state = await _state(ctx, row)
    if state not in ("paused", "canceled", "failed"):
        return _status({**row, "state": state})
    return await migrate(ctx, name, row["handle"])


@component.mutation
async def cancel_all(ctx: MutationCtx, since: float = 0.0) -> list[dict[str, Any]]:
    """Cancel those in progress that were begun since a time: 100 at once, the rest in jobs."""
    running = ctx.db.query("migrations").index("state", state="in_progress").filter(lambda row: row["latest_start"] >= since)
    rows = await running.take(CLEARED_AT_ONCE)
    if len(rows) == CLEARED_AT_ONCE:
        await ctx.scheduler.run_after(0, cancel_all, since=since)
    return [await _stop(ctx, row, "canceled") for row in rows]


async def _stop(ctx: MutationCtx, row: Row, state: State) -> Row:
    if row["state"] not in ("in_progress", "paused"):
        return _status(row)
    if "job" in row:
        await ctx.scheduler.cancel(row["job"])
    return _status(await _patch(ctx, row, {"state": state, "run": row["run"] + 1, "job": UNSET, "latest_end": ctx.now()}))


@component.mutation
async def clear_all(ctx: MutationCtx, before: float | None = None) -> int:
    """Forget migrations that are not in progress and were made before a time, or until now: 100 at once, the rest in jobs."""
    newest = await ctx.db.query("migrations").order("desc").first() if before is None else None
    until = before if before is not None else newest["_creationTime"] if newest is not None else 0.0
    query = ctx.db.query("migrations").index("by_creation_time", _creationTime=Range(lte=until))
    rows = await query.filter(lambda row: row["state"] != "in_progress").take(CLEARED_AT_ONCE)
    for row in rows:
        await _forget_letters(ctx, row["name"])
        await ctx.db.delete(row["_id"])
    if len(rows) == CLEARED_AT_ONCE:
        await ctx.scheduler.run_after(0, clear_all, before=until)
    return len(rows)


@component.mutation(internal=True)
async def forget_letters(ctx: MutationCtx, name: str, before: float) -> None:
    """Remove the dead letters of an earlier run, some in each transaction."""
    letters = ctx.db.query("dead_letters").index("name", name=name).filter(lambda row: row["_creationTime"] < before)
    rows = await letters.take(CLEARED_AT_ONCE * 10)
    for row in rows:
        await ctx.db.delete(row["_id"])
    if len(rows) == CLEARED_AT_ONCE * 10:
        await ctx.scheduler.run_after(0, forget_letters, name=name, before=before)


async def _forget_letters(ctx: MutationCtx, name: str) -> None:
    rows = await ctx.db.query("dead_letters").index("name", name=name).take(CLEARED_AT_ONCE + 1)
    for row in rows[:CLEARED_AT_ONCE]:
        await ctx.db.delete(row["_id"])
    if len(rows) > CLEARED_AT_ONCE:
        await ctx.scheduler.run_after(0, forget_letters, name=name, before=ctx.now())


# looking


@component.query
async def get_status(ctx: QueryCtx, names: list[str] | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """The statuses of these, in their order, or of the newest `limit`. One that never ran is `unknown`."""
    if names is None:
        if not 1 <= limit <= STATUSES_MOST:
            raise AppError({"code": "INVALID_LIMIT", "message": f"limit must be from 1 to {STATUSES_MOST}, got {limit}"})
        rows = await ctx.db.query("migrations").order("desc").take(limit)
        return [_status({**row, "state": await _state(ctx, row)}) for row in rows]
    found: list[Row] = []
    for name in names:
        row = await _find(ctx, name)
        found.append({**UNKNOWN, "name": name} if row is None else _status({**row, "state": await _state(ctx, row)}))
    return found


@component.query(name="dead_letters")
async def list_dead_letters(ctx: QueryCtx, name: str, limit: int = 100) -> list[dict[str, Any]]:
    """The documents that a migration with `on_error="skip"` has left out: id and error."""
    rows = await ctx.db.query("dead_letters").index("name", name=name).take(limit)
    return [{"id": row["id"], "error": row["error"]} for row in rows]


async def _find(ctx: QueryCtx, name: str) -> Row | None:
    return await ctx.db.query("migrations").index("name", name=name).first()


async def _known(ctx: QueryCtx, name: str) -> Row:
    row = await _find(ctx, name)
    if row is None:
        raise AppError({"code": "UNKNOWN_MIGRATION", "message": f"no migration {name} has been run here"})
    return row


async def _state(ctx: QueryCtx, row: Row) -> State:
    """The state as it is: a worker whose job has ended otherwise than by itself is not in progress."""
    state: State = row["state"]
    if state != "in_progress" or "job" not in row:
        return state
    job = await ctx.scheduler.get(row["job"])
    if job is None or job.state == "failed":
        return "failed"
    return "canceled" if job.state == "canceled" else state


async def _is_running(ctx: QueryCtx, row: Row) -> bool:
    return await _state(ctx, row) == "in_progress"


UNKNOWN: Row = {
    "cursor": None,
    "processed": 0,
    "is_done": False,
    "error": None,
    "state": "unknown",
    "latest_start": None,
    "latest_end": None,
    "batch_size": None,
    "next": [],
    "failed_id": None,
    "traceback": None,
    "skipped": 0,
    "estimated_total": None,
    "rate": None,
    "estimated_end": None,
}


def _status(row: Row) -> Row:
    """A row as its status: `rate` in documents a second since it was last started, `estimated_end` in ms since the epoch."""
    total = max(row["total"], row["processed"]) if "total" in row else None
    took = (row["batch_began"] - row["began"]) / 1000.0
    rate = (row["processed"] - row["began_at"]) / took if took > 0 and row["processed"] > row["began_at"] else None
    end = None
    if rate is not None and total is not None and row["state"] == "in_progress":
        end = row["batch_began"] + (total - row["processed"]) / rate * 1000.0
    return {
        "name": row["name"],
        "cursor": row["cursor"],
        "processed": row["processed"],
        "is_done": row["is_done"],
        "error": row.get("error"),
        "state": row["state"],
        "latest_start": row["latest_start"],
        "latest_end": row.get("latest_end"),
        "batch_size": row["batch_size"],
        "next": [member["name"] for member in row["next"]],
        "failed_id": row.get("failed_id"),
        "traceback": row.get("traceback"),
        "skipped": row["skipped"],
        "estimated_total": total,
        "rate": rate,
        "estimated_end": end,
    }


async def _patch(ctx: MutationCtx, row: Row, changes: Row) -> Row:
    """The row with these changes, stored too."""
    await ctx.db.patch(row["_id"], changes)
    return {name: value for name, value in {**row, **changes}.items() if value is not UNSET}
