"""Crons as rows: each knows when it is due next, and keeps one job, its timer, that comes at that time.

The timer starts the function as a job of its own, and plans the next timer in the same transaction. What a row says is enough to
make a timer again: `check` does so for rows whose timer was lost.

Start at `tick`.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from interlock import UNSET, AppError, Component, MutationCtx, Page, PaginationOptions, QueryCtx, Range, Schema, Table, reference
from interlock_crons.schedules import ScheduleFields, times_of

Row = dict[str, Any]
Missed = Literal["skip", "run_once"]
Outcome = Literal["success", "failed", "canceled"]

FAR_MS = 365 * 86_400_000.0  # a timer further off than this is planned in steps: jobs have a horizon
LATE_MS = 60_000.0  # a time that comes later than this was missed
LOST_MS = 30_000.0  # a timer that is later than this is looked for
CHECKED_EVERY = 600.0  # seconds
CHECKED_AT_ONCE = 500
ERROR_MOST = 10_000  # characters

crons = (
    Table(
        {
            "name": NotRequired[str],
            "function": str,  # for people
            "handle": str,
            "args": dict[str, Any],
            "schedule": ScheduleFields,
            "missed": Missed,
            "next": float,
            "timer": str,
            "execution": NotRequired[str],  # the job of the last run, until its outcome is noted
            "last_run": NotRequired[float],
            "last_outcome": NotRequired[Outcome],
            "last_error": NotRequired[str],
            "runs": int,
            "skipped": int,
        }
    )
    .index("name", "name")
    .index("next", "next")
    .index("execution", "execution")
)

component = Component("crons", schema=Schema(crons=crons))


class Info(TypedDict):
    """A cron as it is told. Times are ms since the epoch."""

    id: str
    name: str | None
    function: str
    handle: str
    args: dict[str, Any]
    schedule: ScheduleFields
    missed: Missed
    next_run: float
    last_run: float | None
    last_outcome: Outcome | None
    last_error: str | None
    is_running: bool
    runs: int
    skipped: int


# making and changing


@component.mutation
async def register(
    ctx: MutationCtx,
    schedule: ScheduleFields,
    handle: str,
    args: dict[str, Any] | None = None,
    name: str | None = None,
    function: str = "",
    missed: Missed = "run_once",
) -> str:
    """Make a cron, and give its id. Its first run is at the first time of the schedule after now."""
    times = _checked(schedule)
    if name is not None and await ctx.db.query("crons").index("name", name=name).first() is not None:
        raise AppError({"code": "CRON_EXISTS", "message": f"there is a cron {name!r} already: update it, or delete it first", "name": name})
    await _check_call(ctx, handle, args or {})
    due = times.after(ctx.now())
    row: Row = {
        "name": UNSET if name is None else name,
        "function": function,
        "handle": handle,
        "args": args or {},
        "schedule": schedule,
        "missed": missed,
        "next": due,
        "timer": "",
        "runs": 0,
        "skipped": 0,
    }
    id = await ctx.db.insert("crons", row)
    await ctx.db.patch(id, {"timer": await _plan(ctx, id, due)})
    return id


@component.mutation
async def update(
    ctx: MutationCtx,
    id: str | None = None,
    name: str | None = None,
    schedule: ScheduleFields | None = None,
    handle: str | None = None,
    function: str = "",
    args: dict[str, Any] | None = None,
    missed: Missed | None = None,
) -> None:
    """Change what is given, and keep the rest. With another schedule the next run is at its first time after now."""
    row = await _existing(ctx, id, name)
    changes: Row = {}
    if handle is not None or args is not None:
        changes = {"handle": row["handle"] if handle is None else handle, "args": row["args"] if args is None else args}
        await _check_call(ctx, **changes)
        if handle is not None:
            changes["function"] = function
    if missed is not None:
        changes["missed"] = missed
    if schedule is not None and schedule != row["schedule"]:
        due = _checked(schedule).after(ctx.now())
        await ctx.scheduler.cancel(row["timer"])
        changes |= {"schedule": schedule, "next": due, "timer": await _plan(ctx, row["_id"], due)}
    await ctx.db.patch(row["_id"], changes)


@component.mutation
async def delete(ctx: MutationCtx, id: str | None = None, name: str | None = None) -> None:
    """Remove a cron, with its timer and a run that has not begun."""
    row = await _existing(ctx, id, name)
    await ctx.scheduler.cancel(row["timer"])
    if "execution" in row:
        job = await ctx.scheduler.get(row["execution"])
        if job is not None and job.state == "pending":
            await ctx.scheduler.cancel(row["execution"])
    await ctx.db.delete(row["_id"])


@component.mutation
async def run_now(ctx: MutationCtx, id: str | None = None, name: str | None = None) -> bool:
    """Run it once more, now; False, and nothing is done, if it runs already. The next run stays when it is."""
    row = await _existing(ctx, id, name)
    state = await _last(ctx, row)
    if state["is_running"]:
        return False
    await ctx.db.patch(row["_id"], {**_noted(state), **await _run(ctx, row)})
    return True


# looking


@component.query
async def get(ctx: QueryCtx, id: str | None = None, name: str | None = None) -> Info | None:
    """One cron, or None."""
    row = await _find(ctx, id, name)
    return None if row is None else await _info(ctx, row)


@component.query(name="list")
async def list_crons(ctx: QueryCtx, pagination_opts: PaginationOptions) -> Page[Info]:
    """All crons in the order in which they were made, a page at a time."""
    page = await ctx.db.query("crons").paginate(pagination_opts)
    return Page([await _info(ctx, row) for row in page.page], page.is_done, page.continue_cursor)


async def _info(ctx: QueryCtx, row: Row) -> Info:
    state = await _last(ctx, row)
    return Info(
        id=row["_id"],
        name=row.get("name"),
        function=row["function"],
        handle=row["handle"],
        args=row["args"],
        schedule=row["schedule"],
        missed=row["missed"],
        next_run=row["next"],
        last_run=row.get("last_run"),
        last_outcome=state["outcome"],
        last_error=state["error"],
        is_running=state["is_running"],
        runs=row["runs"],
        skipped=row["skipped"],
    )


# running


@component.mutation(internal=True)
async def tick(ctx: MutationCtx, cron_id: str) -> None:
    """The timer of a cron. One that is early, because the time is far off or the clock was set back, is planned again."""
    row = await ctx.db.get(cron_id)
    if row is not None:
        await _tick(ctx, row)


async def _tick(ctx: MutationCtx, row: Row) -> None:
    now, due, changes = ctx.now(), row["next"], {}
    if due <= now:
        times = times_of(row["schedule"])
        following = times.after_all(due, now)  # from the time that was due, not from now: nothing drifts
        state = await _last(ctx, row)
        is_missed = now - due > LATE_MS or times.after(due) <= now
        if state["is_running"] or (is_missed and row["missed"] == "skip"):
            changes = {"skipped": row["skipped"] + 1}
        else:
            changes = {**_noted(state), **await _run(ctx, row)}
        due = changes["next"] = following
    await ctx.db.patch(row["_id"], {**changes, "timer": await _plan(ctx, row["_id"], due)})


async def _plan(ctx: MutationCtx, id: str, due: float) -> str:
    return await ctx.scheduler.run_at(min(due, ctx.now() + FAR_MS), tick, cron_id=id)


async def _run(ctx: MutationCtx, row: Row) -> Row:
    """Start the function, in a job of its own. Gives what changes in the row."""
    changes = {"last_run": ctx.now(), "runs": row["runs"] + 1}
    try:
        return {**changes, "execution": await ctx.scheduler.run_after(0, reference(row["handle"]), **row["args"])}
    except Exception as error:  # it is there no longer, or takes other arguments now; the cron goes on, and says so
        ctx.log.error(f"cron {row.get('name', row['_id'])}: {row['function'] or 'its function'} cannot be run: {error}")
        told = f"{type(error).__name__}: {error}"[:ERROR_MOST]
        return {**changes, "execution": UNSET, "last_outcome": "failed", "last_error": told}


class Last(TypedDict):
    """Of the last run that has ended, its outcome; and whether there is one that has not."""

    is_running: bool
    outcome: Outcome | None
    error: str | None


async def _last(ctx: QueryCtx, row: Row) -> Last:
    known = Last(is_running=False, outcome=row.get("last_outcome"), error=row.get("last_error"))
    if "execution" not in row:
        return known
    job = await ctx.scheduler.get(row["execution"])
    if job is None:
        return Last(is_running=False, outcome="failed", error="its job is gone, and has left no outcome")
    if job.state == "pending" or job.state == "running":
        return {**known, "is_running": True}
    return Last(is_running=False, outcome=job.state, error=None if job.error is None else job.error[:ERROR_MOST])


def _noted(state: Last) -> Row:
    """The row's fields of an outcome, once it is known."""
    return {
        "execution": UNSET,
        "last_outcome": UNSET if state["outcome"] is None else state["outcome"],
        "last_error": UNSET if state["error"] is None else state["error"],
    }


@component.mutation(internal=True)
async def check(ctx: MutationCtx, since: float = 0.0) -> None:
    """Give a timer to every cron that has lost its own, and note outcomes before their jobs are forgotten."""
    late = ctx.db.query("crons").index("next", next=Range(gt=since, lt=ctx.now() - LOST_MS))
    rows = await late.take(CHECKED_AT_ONCE)
    for row in rows:
        timer = await ctx.scheduler.get(row["timer"])
        if timer is None or timer.state not in ("pending", "running"):
            ctx.log.warning(f"cron {row.get('name', row['_id'])} had lost its timer")
            await _tick(ctx, row)
    if since == 0.0:
        for row in await ctx.db.query("crons").index("execution", execution=Range(gte="")).take(CHECKED_AT_ONCE):
            current = await ctx.db.get(row["_id"])
            state = await _last(ctx, current) if current is not None else None
            if state is not None and not state["is_running"]:
                await ctx.db.patch(row["_id"], _noted(state))
    if len(rows) == CHECKED_AT_ONCE:
        await ctx.scheduler.run_after(0, check, since=rows[-1]["next"])


component.cron("check", every=CHECKED_EVERY)(check)


# the rest


def _checked(schedule: ScheduleFields) -> Any:
    try:
        return times_of(schedule)
    except ValueError as error:
        raise AppError({"code": "INVALID_SCHEDULE", "message": str(error)}) from None


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


async def _find(ctx: QueryCtx, id: str | None, name: str | None) -> Row | None:
    if (id is None) == (name is None):
        raise AppError({"code": "ID_OR_NAME", "message": "say which cron by its id or by its name"})
    if name is not None:
        return await ctx.db.query("crons").index("name", name=name).first()
    found = await ctx.db.normalize_id("crons", id or "")
    return None if found is None else await ctx.db.get(found)


async def _existing(ctx: QueryCtx, id: str | None, name: str | None) -> Row:
    row = await _find(ctx, id, name)
    if row is None:
        raise AppError({"code": "CRON_NOT_FOUND", "message": f"there is no cron {name if id is None else id!r}"})
    return row
