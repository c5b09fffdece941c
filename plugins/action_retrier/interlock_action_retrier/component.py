"""Runs of actions. A run is a row, and keeps one job: its next attempt, or the one that goes on.

An attempt calls the action and reports. One that cannot report, because its process ended, is found by the heartbeat, a job that is
planned while runs are in progress, and counts as a failure.

Start at `attempt`.
"""

from __future__ import annotations

import logging
from typing import Any, Literal, NotRequired, TypedDict

from interlock import (
    UNSET,
    ActionCtx,
    AppError,
    Component,
    Limits,
    MutationCtx,
    QueryCtx,
    Range,
    Schema,
    Table,
    from_text,
    reference,
    to_text,
)

Row = dict[str, Any]
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
IN_PROGRESS = "in_progress"

BEAT_MS = 10_000.0
BEATEN_AT_ONCE = 500
BACKOFF_MOST = 365 * 86_400.0  # seconds: jobs have a horizon
ATTEMPT = Limits(deadline=590.0)  # so that its end can still be noted within the time of an action
CALLBACK = Limits(deadline=12.0, cpu=0.9, documents_read=30_000, bytes_read=14 << 20, documents_written=14_000, bytes_written=12 << 20)
KEPT_MS = 7 * 86_400_000.0
REMOVED_AT_ONCE = 1_024
TEXT_MOST = 900_000  # characters of arguments and results: a document holds 1 MiB
ERROR_MOST = 10_000


class Options(TypedDict):
    """After failure number n of at most `max_failures` it waits initial_backoff · base^(n − 1) seconds, at most `max_backoff`, times a
    random number between 0.5 and 1.5."""

    initial_backoff: float
    base: float
    max_failures: int
    max_backoff: NotRequired[float]
    log_level: NotRequired[Level]


class Result(TypedDict):
    """How a run ended."""

    kind: Literal["success", "failed", "canceled"]
    return_value: NotRequired[Any]
    error: NotRequired[str]
    error_data: NotRequired[Any]


class Status(TypedDict):
    """A run as it stands. Times are ms since the epoch."""

    state: Literal["in_progress", "completed"]
    failures: int
    next_attempt: float | None
    last_error: str | None
    result: Result | None


runs = (
    Table(
        {
            "function": str,  # for people
            "handle": str,
            "args": str,
            "options": Options,
            "on_complete": NotRequired[str],
            "state": Literal["in_progress", "success", "failed", "canceled"],
            "failures": int,
            "due": float,  # of the attempt that comes or goes on
            "job": str,
            "value": NotRequired[str],
            "error": NotRequired[str],  # of the last failure
            "error_data": NotRequired[str],
            "ended": NotRequired[float],
        }
    )
    .index("due", "state", "due")
    .index("ended", "ended")
)
heart = Table({"beat": float, "job": str})

component = Component("action_retrier", schema=Schema(runs=runs, heart=heart))


# beginning


@component.mutation
async def start(
    ctx: MutationCtx,
    handle: str,
    options: Options,
    args: dict[str, Any] | None = None,
    function: str = "",
    on_complete: str | None = None,
    run_at: float | None = None,
) -> str:
    """Begin a run, now or at a time (ms since the epoch), and give its id."""
    _check(options)
    text = to_text(args or {})
    if len(text) > TEXT_MOST:
        raise AppError({"code": "TOO_LARGE", "message": f"the arguments of a run are {TEXT_MOST:,} characters of JSON at most"})
    await _check_call(ctx, handle, args or {})
    due = ctx.now() if run_at is None else max(run_at, ctx.now())
    row: Row = {
        "function": function,
        "handle": handle,
        "args": text,
        "options": options,
        "on_complete": UNSET if on_complete is None else on_complete,
        "state": IN_PROGRESS,
        "failures": 0,
        "due": due,
        "job": "",
    }
    id = await ctx.db.insert("runs", row)
    await ctx.db.patch(id, {"job": await ctx.scheduler.run_at(due, attempt, run_id=id, number=1)})
    await _see_to_a_beat(ctx, due)
    _log(ctx, row, "DEBUG", f"run {id} of {function} begins")
    return id


def _check(options: Options) -> None:
    for name, least in (("initial_backoff", 0.0), ("base", 1.0), ("max_failures", 0), ("max_backoff", 0.0)):
        if name in options and not least <= options[name] < float("inf"):  # type: ignore[literal-required]
            message = f"{name} must be a number from {least:g}, got {options[name]!r}"  # type: ignore[literal-required]
            raise AppError({"code": "INVALID_OPTIONS", "message": message})


async def _check_call(ctx: MutationCtx, handle: str, args: Row) -> None:
    """Refuse a function that could not be called like this: it is planned in a sub-transaction that is always undone."""
    try:
        await ctx.run_mutation(rehearse, handle=handle, args=args)
    except AppError as error:
        if error.data != "rehearsed":
            raise


@component.mutation(internal=True)
async def rehearse(ctx: MutationCtx, handle: str, args: dict[str, Any]) -> None:
    """Plan a call, and undo it."""
    await ctx.scheduler.run_after(0, reference(handle), **args)
    raise AppError("rehearsed")


# attempts


class Call(TypedDict):
    """What an attempt calls."""

    handle: str
    args: str


@component.action(internal=True)
async def attempt(ctx: ActionCtx, run_id: str, number: int) -> None:
    """Call the action once, and report."""
    call = await ctx.run_query(call_of, run_id=run_id, number=number)
    if call is None:
        return
    try:
        value = await ctx.run_action(reference(call["handle"]).options(limits=ATTEMPT), **from_text(call["args"]))
    except Exception as error:
        # File names bring lone surrogates, which no document can hold.
        facts: Row = {"error": str(error)[:ERROR_MOST].encode(errors="backslashreplace").decode() or type(error).__name__}
        if isinstance(error, AppError) and len(data := to_text(error.data)) <= TEXT_MOST // 4:
            facts["error_data"] = data
        await ctx.run_mutation(report_failure, run_id=run_id, number=number, **facts)
    else:
        await ctx.run_mutation(report_success, run_id=run_id, number=number, value=to_text(value))


@component.query(internal=True)
async def call_of(ctx: QueryCtx, run_id: str, number: int) -> Call | None:
    """What this attempt is to call; None if it is no longer wanted."""
    row = await _wanted(ctx, run_id, number)
    return None if row is None else Call(handle=row["handle"], args=row["args"])


@component.mutation(internal=True)
async def report_success(ctx: MutationCtx, run_id: str, number: int, value: str) -> None:
    """The action has returned. The result of another attempt than the current one is dropped."""
    row = await _wanted(ctx, run_id, number)
    if row is None:
        return
    if len(value) > TEXT_MOST:  # to try again would not make it smaller
        await _end(ctx, row, "failed", error=f"the result has {len(value):,} characters of JSON; {TEXT_MOST:,} can be kept")
    else:
        await _end(ctx, row, "success", value=value)


@component.mutation(internal=True)
async def report_failure(ctx: MutationCtx, run_id: str, number: int, error: str, error_data: str | None = None) -> None:
    """The action has raised."""
    row = await _wanted(ctx, run_id, number)
    if row is not None:
        await _fail(ctx, row, error, error_data)


async def _wanted(ctx: QueryCtx, run_id: str, number: int) -> Row | None:
    row = await ctx.db.get(run_id)
    return row if row is not None and row["state"] == IN_PROGRESS and row["failures"] + 1 == number else None


async def _fail(ctx: MutationCtx, row: Row, error: str, error_data: str | None = None) -> None:
    failures = row["failures"] + 1
    told: Row = {"failures": failures, "error": error, "error_data": UNSET if error_data is None else error_data}
    if failures > row["options"]["max_failures"]:
        await _end(ctx, row, "failed", **told)
        return
    delay = delay_after(row["options"], failures) * (0.5 + ctx.random.random())
    due = ctx.now() + delay * 1000.0
    _log(ctx, row, "INFO", f"run {row['_id']} of {row['function']} failed, and is tried again in {delay:.3g} s: {error}")
    job = await ctx.scheduler.run_at(due, attempt, run_id=row["_id"], number=failures + 1)
    await ctx.db.patch(row["_id"], {**told, "due": due, "job": job})
    await _see_to_a_beat(ctx, due)


def delay_after(options: Options, failures: int) -> float:
    """Seconds to wait after so many failures, before chance has its part."""
    try:
        delay = options["initial_backoff"] * options["base"] ** (failures - 1)
    except OverflowError:
        delay = BACKOFF_MOST
    return min(delay, options.get("max_backoff", BACKOFF_MOST), BACKOFF_MOST)


async def _end(ctx: MutationCtx, row: Row, state: str, **fields: Any) -> None:
    """The run is over, and whoever waits for it is told."""
    ended = {**row, **fields, "state": state, "ended": ctx.now()}
    level: Level = "WARNING" if state == "failed" else "DEBUG"
    _log(ctx, row, level, f"run {row['_id']} of {row['function']} ended: {state}")
    await ctx.db.patch(row["_id"], {"state": state, "ended": ctx.now(), **fields})
    if "on_complete" in row:
        target = reference(row["on_complete"]).options(limits=CALLBACK)
        try:
            await ctx.run_mutation(target, run_id=row["_id"], result=_result(ended))
        except Exception as error:  # its writes are undone; the run has ended all the same
            ctx.log.error(f"on_complete of run {row['_id']} of {row['function']} failed: {error}")


def _log(ctx: MutationCtx, row: Row, level: Level, text: str) -> None:
    names = logging.getLevelNamesMapping()
    if names[level] >= names[row["options"].get("log_level", "INFO")]:
        getattr(ctx.log, level.lower())(text)


# looking


@component.query
async def status(ctx: QueryCtx, run_id: str) -> Status:
    """What is known of a run."""
    row = await _existing(ctx, run_id)
    is_open = row["state"] == IN_PROGRESS
    job = await ctx.scheduler.get(row["job"]) if is_open else None
    return Status(
        state="in_progress" if is_open else "completed",
        failures=row["failures"],
        next_attempt=row["due"] if job is not None and job.state == "pending" else None,
        last_error=row.get("error"),
        result=None if is_open else _result(row),
    )


def _result(row: Row) -> Result:
    if row["state"] == "success":
        return Result(kind="success", return_value=from_text(row["value"]))
    if row["state"] == "failed":
        failed = Result(kind="failed", error=row["error"])
        if isinstance(data := row.get("error_data", UNSET), str):
            failed["error_data"] = from_text(data)
        return failed
    return Result(kind="canceled")


# stopping and forgetting


@component.mutation
async def cancel(ctx: MutationCtx, run_id: str) -> bool:
    """End a run now; whether it was in progress. What an attempt that goes on will return is dropped."""
    row = await _find(ctx, run_id)
    if row is None or row["state"] != IN_PROGRESS:
        return False
    await ctx.scheduler.cancel(row["job"])
    await _end(ctx, row, "canceled")
    return True


@component.mutation
async def cleanup(ctx: MutationCtx, run_id: str) -> None:
    """Forget a run that has ended."""
    row = await _existing(ctx, run_id)
    if row["state"] == IN_PROGRESS:
        raise AppError({"code": "RUN_IN_PROGRESS", "message": f"run {run_id} is in progress: cancel it first"})
    await ctx.db.delete(row["_id"])


@component.mutation(internal=True)
async def remove_old(ctx: MutationCtx) -> None:
    """Forget runs that ended a week ago."""
    rows = await ctx.db.query("runs").index("ended", ended=Range(gt=0.0, lte=ctx.now() - KEPT_MS)).take(REMOVED_AT_ONCE)
    for row in rows:
        await ctx.db.delete(row["_id"])
    if len(rows) == REMOVED_AT_ONCE:
        await ctx.scheduler.run_after(0, remove_old)
    first = await ctx.db.query("runs").index("due", state=IN_PROGRESS).first()
    if first is not None:
        await _see_to_a_beat(ctx, first["due"])


component.cron("remove_old", every=86_400.0)(remove_old)


async def _find(ctx: QueryCtx, run_id: str) -> Row | None:
    id = await ctx.db.normalize_id("runs", run_id)
    return None if id is None else await ctx.db.get(id)


async def _existing(ctx: QueryCtx, run_id: str) -> Row:
    row = await _find(ctx, run_id)
    if row is None:
        raise AppError({"code": "RUN_NOT_FOUND", "message": f"there is no run {run_id!r}, or no longer: they are kept for a week"})
    return row


# attempts that do not report


async def _see_to_a_beat(ctx: MutationCtx, due: float) -> None:
    """Have the heart beat some time after `due`, unless it does so before long anyway."""
    row = await ctx.db.query("heart").first()
    now = ctx.now()
    if row is not None:
        if now - 2 * BEAT_MS < row["beat"] <= max(due, now) + 2 * BEAT_MS:
            return
        await ctx.scheduler.cancel(row["job"])
        await ctx.db.delete(row["_id"])
    beat = max(due, now) + BEAT_MS * (0.5 + ctx.random.random())
    await ctx.db.insert("heart", {"beat": beat, "job": await ctx.scheduler.run_at(beat, heartbeat, beat=beat)})


@component.mutation(internal=True)
async def heartbeat(ctx: MutationCtx, beat: float) -> None:
    """Find attempts whose job has ended without a report, and come again while runs are in progress."""
    row = await ctx.db.query("heart").first()
    if row is None or row["beat"] != beat:
        return
    await ctx.db.delete(row["_id"])
    begun = ctx.db.query("runs").index("due", state=IN_PROGRESS, due=Range(lte=ctx.now()))
    for run in await begun.take(BEATEN_AT_ONCE):
        job = await ctx.scheduler.get(run["job"])
        if job is None:
            await _fail(ctx, run, "the job of its attempt is gone, and it has not reported")
        elif job.state == "canceled":
            await _end(ctx, run, "canceled")
        elif job.state not in ("pending", "running"):
            await _fail(ctx, run, job.error or "its attempt has ended without a report")
    first = await ctx.db.query("runs").index("due", state=IN_PROGRESS).first()
    if first is not None:
        await _see_to_a_beat(ctx, first["due"])
