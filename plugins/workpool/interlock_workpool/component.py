"""A durable queue of actions, mutations and queries: a cap on how many run at once, retries, and a callback at the end.

A work is a row. It is `ready`, `waiting` for its time, `held` behind another one of its serial key, or `running`; then it has
`succeeded`, `failed` or was `canceled`, and stays readable for a while. What starts is decided in `dispatch`.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from interlock import (
    UNSET,
    ActionCtx,
    AppError,
    Component,
    Limits,
    MutationCtx,
    Page,
    PaginationOptions,
    QueryCtx,
    Range,
    Schema,
    Table,
    from_text,
    reference,
    to_text,
)
from interlock_workpool import dispatch as dispatching
from interlock_workpool.dispatch import Row, arguments_of, release_serial, settings_of, start_due
from interlock_workpool.errors import said_by
from interlock_workpool.payloads import checked, drop_texts, get_text, payloads, put_text
from interlock_workpool.retry import DAY, HOUR, WEEK, Policy, delay_after

Kind = Literal["query", "mutation", "action"]
OutcomeKind = Literal["success", "failed", "canceled"]
OPEN = ("ready", "waiting", "held", "running")
ENDED = ("succeeded", "failed", "canceled")
CANCELED_AT_ONCE = 64
SWEPT_AT_ONCE = 64
REPORTED_MOST, REPORTED_AT_ONCE = 5_000, 250
MENDED_EVERY, MENDED_FOR_MS, MENDED_AT_ONCE = 300.0, 3_600_000.0, 250
ACTION_SECONDS = 590.0  # so that its end can still be noted within the time of an action
TRANSACTION = Limits(deadline=12.0, cpu=0.9, documents_read=30_000, bytes_read=14 << 20, documents_written=14_000, bytes_written=12 << 20)

works = (
    Table(
        {
            "state": Literal["ready", "waiting", "held", "running", "succeeded", "failed", "canceled"],
            "kind": Kind,
            "handle": str,
            "name": str,
            "args": str | int,
            "rank": int,  # the smallest first: the priority with its sign changed
            "key": str,
            "due": float,
            "attempts": int,  # begun so far
            "retry": NotRequired[Policy],
            "timeout": NotRequired[float],
            "serial": NotRequired[str],
            "dedupe": NotRequired[str],  # while it has not ended
            "deduped": NotRequired[str],  # the same of one that has failed: it can be put in again
            "on_complete": NotRequired[str],
            "context": NotRequired[str | int],
            "exclude": NotRequired[list[OutcomeKind]],
            "keep_results": float,
            "keep_failed": float,
            "job": NotRequired[str],
            "cancel": NotRequired[bool],
            "started": NotRequired[float],
            "ended": NotRequired[float],
            "expires": NotRequired[float],
            "result": NotRequired[str | int],
            "error": NotRequired[str | int],
            "on_complete_error": NotRequired[str],
        }
    )
    .index("queue", "state", "rank", "key", "due")
    .index("serial", "serial", "state", "rank", "due")
    .index("dedupe", "dedupe")
    .index("ended", "ended")
    .index("expires", "expires")
)
settings = Table({"default_parallelism": int, "max_parallelism": NotRequired[int], "paused": bool})
turns = Table({"served": list[list[Any]], "guard": float})

component = Component("workpool", schema=Schema(works=works, payloads=payloads, settings=settings, turns=turns))


class Work(TypedDict):
    """What is to be done. Times are ms since the epoch, durations seconds."""

    handle: str
    kind: Kind
    args: NotRequired[dict[str, Any]]
    name: NotRequired[str]
    run_at: NotRequired[float]
    priority: NotRequired[int]
    key: NotRequired[str]
    serial_key: NotRequired[str]
    dedupe_key: NotRequired[str]
    retry: NotRequired[Policy]
    timeout: NotRequired[float]
    on_complete: NotRequired[str]
    context: NotRequired[Any]
    on_complete_exclude: NotRequired[list[OutcomeKind]]
    keep_results: NotRequired[float]
    keep_failed: NotRequired[float]


class Outcome(TypedDict):
    """What an attempt came to: `value` and `error` are texts."""

    kind: Literal["success", "failed"]
    value: NotRequired[str]
    error: NotRequired[str]


# putting in


@component.mutation
async def enqueue(ctx: MutationCtx, work: Work, max_parallelism: int | None = None) -> str:
    """Put in one work, and give its id; with a `dedupe_key`, that of the work of this key which has not ended."""
    return (await enqueue_batch(ctx, [work], max_parallelism))[0]


@component.mutation
async def enqueue_batch(ctx: MutationCtx, works: list[Work], max_parallelism: int | None = None) -> list[str]:
    """Put in several. `max_parallelism` is what the code says: it holds until another is set at run time."""
    if max_parallelism is not None and (await settings_of(ctx))["default_parallelism"] != max_parallelism:
        await dispatching.change_settings(ctx, default_parallelism=dispatching.checked_parallelism(max_parallelism))
    ids: list[str] = []
    is_ready = False
    for work in works:
        id, is_due = await _put(ctx, work)
        ids.append(id)
        is_ready = is_ready or is_due
    if is_ready:
        await ctx.scheduler.run_after(0, dispatch)
    return ids


async def _put(ctx: MutationCtx, work: Work) -> tuple[str, bool]:
    """Its id, and whether it can start now."""
    dedupe = work.get("dedupe_key")
    if dedupe is not None:
        known = await ctx.db.query("works").index("dedupe", dedupe=dedupe).first()
        if known is not None:
            return known["_id"], False
    if "retry" in work and work["kind"] != "action":
        raise AppError({"code": "NO_RETRY", "message": f"a {work['kind']} is not retried: it would fail the same way again"})
    if "timeout" in work and not work["timeout"] > 0:
        raise AppError({"code": "INVALID_TIMEOUT", "message": f"timeout must be more than 0 seconds, got {work['timeout']}"})
    due = max(work.get("run_at", 0.0), ctx.now())
    is_due = due <= ctx.now()
    args = checked("the arguments", to_text(work.get("args", {})))
    context = checked("the context", to_text(work.get("context")))
    row: Row = {
        "state": "ready" if is_due else "waiting",
        "kind": work["kind"],
        "handle": work["handle"],
        "name": work.get("name", ""),
        "args": args,
        "rank": -work.get("priority", 0),
        "key": work.get("key", ""),
        "due": due,
        "attempts": 0,
        "keep_results": work.get("keep_results", DAY),
        "keep_failed": work.get("keep_failed", WEEK),
        "dedupe": UNSET if dedupe is None else dedupe,
        "serial": work.get("serial_key", UNSET),
    }
    row |= {name: work[name] for name in ("retry", "timeout") if name in work}
    if "on_complete" in work:
        row |= {"on_complete": work["on_complete"], "context": context, "exclude": work.get("on_complete_exclude", [])}
    long = {name: row.pop(name) for name in ("args", "context") if len(row.get(name, "")) > 8_000}
    id = await ctx.db.insert("works", {**row, **dict.fromkeys(long, "")} if long else row)
    changes: Row = {name: await put_text(ctx, id, name, text) for name, text in long.items()}
    if not is_due:
        changes["job"] = await ctx.scheduler.run_at(due, promote, work_id=id)
    if changes:
        await ctx.db.patch(id, changes)
    return id, is_due


@component.mutation(internal=True)
async def promote(ctx: MutationCtx, work_id: str) -> None:
    """The time of a waiting work has come."""
    work = await ctx.db.get(work_id)
    if work is not None and work["state"] == "waiting" and work["due"] <= ctx.now():
        await ctx.db.patch(work_id, {"state": "ready"})
        await start_due(ctx)


@component.mutation(internal=True)
async def dispatch(ctx: MutationCtx) -> None:
    """Start what there is room for."""
    await start_due(ctx)


@component.mutation(internal=True)
async def mend(ctx: MutationCtx, until: float | None = None, mended: int = 0) -> None:
    """Plan again what has failed of the jobs that start work, as when a worker crashed over one.

    One that fails again and again is planned once each time. Those that were planned before `until` (now) are looked after, the
    first `mended` of them already; some in this transaction, and the rest in further ones.
    """
    until = ctx.now() if until is None else until
    failed = [job for job in await ctx.scheduler.list("failed") if until - MENDED_FOR_MS <= job.scheduled_time < until]
    late = list(dict.fromkeys([job.args["work_id"] for job in failed if job.name.rpartition("/")[2] == "promote"]))
    for work_id in late[mended : mended + MENDED_AT_ONCE]:
        await ctx.scheduler.run_after(0, promote, work_id=work_id)
    if len(late) > mended + MENDED_AT_ONCE:
        await ctx.scheduler.run_after(0, mend, until=until, mended=mended + MENDED_AT_ONCE)
    elif failed:
        await ctx.scheduler.run_after(0, dispatch)


component.cron("mend", every=MENDED_EVERY)(mend)


# running


@component.action(internal=True)
async def run_action(
    ctx: ActionCtx, work_id: str, attempt: int, handle: str, timeout: float | None = None, args: str | None = None
) -> None:
    """One attempt of an action."""
    try:
        text = args if args is not None else await ctx.run_query(args_of, work_id=work_id)
        target = reference(handle).options(limits=Limits(deadline=min(timeout or ACTION_SECONDS, ACTION_SECONDS)))
        outcome = _success(await ctx.run_action(target, **from_text(text)))
    except Exception as error:
        outcome = _failure(error)
    await ctx.run_mutation(finish_action, work_id=work_id, attempt=attempt, outcome=outcome)


@component.query(internal=True)
async def args_of(ctx: QueryCtx, work_id: str) -> str:
    """The arguments of a work, as text; those of none if it is gone."""
    work = await ctx.db.get(work_id)
    return "{}" if work is None else await arguments_of(ctx, work)


@component.mutation(internal=True)
async def finish_action(ctx: MutationCtx, work_id: str, attempt: int, outcome: Outcome) -> None:
    """What an attempt of an action came to. A report of another attempt than the one that runs is dropped."""
    work = await ctx.db.get(work_id)
    if work is None or work["state"] != "running" or work["attempts"] != attempt:
        return
    ended = await _end_attempt(ctx, work, outcome)
    await start_due(ctx)
    if ended:
        await _call_back(ctx, work_id)


@component.mutation(internal=True)
async def run_transaction(ctx: MutationCtx, work_id: str, attempt: int) -> None:
    """A query or mutation, and the record of its outcome, in one transaction: what it wrote stands exactly once, or not at all."""
    work = await ctx.db.get(work_id)
    if work is None or work["state"] != "running" or work["attempts"] != attempt:
        return
    if work.get("cancel"):  # since it was given its place
        await _end(ctx, work, "canceled")
        await ctx.scheduler.run_after(0, complete, work_id=work_id)
        await ctx.scheduler.run_after(0, dispatch)
        return
    args = from_text(await arguments_of(ctx, work))
    limits = TRANSACTION if "timeout" not in work else Limits(**{**vars(TRANSACTION), "deadline": min(work["timeout"], 12.0)})
    target = reference(work["handle"]).options(limits=limits)
    try:
        outcome = _success(await (ctx.run_query(target, **args) if work["kind"] == "query" else ctx.run_mutation(target, **args)))
    except Exception as error:
        outcome = _failure(error)
    await _end_attempt(ctx, work, outcome)
    await ctx.scheduler.run_after(0, complete, work_id=work_id)
    await ctx.scheduler.run_after(0, dispatch)


@component.mutation(internal=True)
async def recover(ctx: MutationCtx) -> None:
    """Find attempts whose job has ended without a report: its process ended, or somebody canceled it."""
    running = await ctx.db.query("works").index("queue", state="running").collect()
    left = 0
    for work in running:
        job = await ctx.scheduler.get(work["job"])
        if job is not None and job.state in ("pending", "running"):
            left += 1
            continue
        state = "is gone" if job is None else job.state
        error = {"type": "Lost", "message": (job.error if job is not None else None) or f"its job {state}, and it has not reported"}
        if await _end_attempt(ctx, work, Outcome(kind="failed", error=to_text(error))):
            await ctx.scheduler.run_after(0, complete, work_id=work["_id"])
    if left:
        guard = ctx.now() + dispatching.GUARD_MS
        await ctx.scheduler.run_at(guard, recover)
        for row in await ctx.db.query("turns").take(1):
            await ctx.db.patch(row["_id"], {"guard": guard})
    await start_due(ctx)


def _success(value: Any) -> Outcome:
    text = to_text(value)
    try:
        return Outcome(kind="success", value=checked("the result", text))
    except AppError as error:
        return _failure(error, may_retry=False)  # to try again would not make it smaller


def _failure(error: Exception, *, may_retry: bool = True) -> Outcome:
    facts: Row = {"type": type(error).__name__, "message": said_by(error)}
    if isinstance(error, AppError):
        data = error.data
        if isinstance(data, dict):
            facts |= {
                "message": str(data.get("message", facts["message"]))[:10_000],
                "retry": may_retry and data.get("code") != "NonRetryable",
            }
        text = to_text({**facts, "data": data})
        if len(text.encode()) <= 500_000:
            return Outcome(kind="failed", error=text)
    return Outcome(kind="failed", error=to_text(facts))


async def _end_attempt(ctx: MutationCtx, work: Row, outcome: Outcome) -> bool:
    """Whether the work has ended with it. If not, it waits for another attempt."""
    policy = work.get("retry")
    may_retry = outcome["kind"] == "failed" and policy is not None and work["attempts"] < policy["max_attempts"]
    if may_retry and from_text(outcome["error"]).get("retry", True):
        assert policy is not None
        if not work.get("cancel"):
            due = ctx.now() + delay_after(policy, work["attempts"], ctx.random) * 1000.0
            job = await ctx.scheduler.run_at(due, promote, work_id=work["_id"])
            await ctx.db.patch(work["_id"], {"state": "waiting", "due": due, "job": job, "error": outcome["error"]})
            await release_serial(ctx, work)
            return False
        await _end(ctx, work, "canceled")
    elif outcome["kind"] == "success":
        await _end(ctx, work, "succeeded", result=await put_text(ctx, work["_id"], "result", outcome["value"]))
    else:
        await _end(ctx, work, "failed", error=await put_text(ctx, work["_id"], "error", outcome["error"]))
    return True


async def _end(ctx: MutationCtx, work: Row, state: str, **fields: Any) -> None:
    now = ctx.now()
    keep = work["keep_failed"] if state == "failed" else work["keep_results"]
    if state == "failed" and "dedupe" in work:
        fields["deduped"] = work["dedupe"]
    changes = {"state": state, "ended": now, "expires": now + keep * 1000.0, "dedupe": UNSET, "error": UNSET, **fields}
    await ctx.db.patch(work["_id"], changes)
    await release_serial(ctx, work)


@component.mutation(internal=True)
async def complete(ctx: MutationCtx, work_id: str) -> None:
    """Tell whoever waits for a work that it has ended, and forget it if nobody wants to read it."""
    await _call_back(ctx, work_id)


async def _call_back(ctx: MutationCtx, work_id: str) -> None:
    work = await ctx.db.get(work_id)
    if work is None or work["state"] in OPEN:
        return
    handle = work.get("on_complete")
    if handle is not None and _outcome_kind(work) not in work.get("exclude", ()):
        context = from_text(await get_text(ctx, work, "context"))
        result = await _result_of(ctx, work)
        target = reference(handle).options(limits=TRANSACTION)
        try:
            await ctx.run_mutation(target, work_id=work_id, context=context, result=result)
        except Exception as error:  # its writes are undone; the work has ended all the same
            ctx.log.error(f"on_complete of {work['name'] or work_id} failed: {error}")
            await ctx.db.patch(work_id, {"on_complete_error": f"{type(error).__name__}: {said_by(error)}"})
    if work["expires"] <= ctx.now():
        await _delete(ctx, work)


def _outcome_kind(work: Row) -> OutcomeKind:
    kinds: dict[str, OutcomeKind] = {"succeeded": "success", "failed": "failed", "canceled": "canceled"}
    return kinds[work["state"]]


async def _result_of(ctx: QueryCtx, work: Row) -> Row:
    """The outcome of a work that has ended, as its callback gets it."""
    kind = _outcome_kind(work)
    if kind == "success":
        return {"kind": kind, "return_value": from_text(await get_text(ctx, work, "result"))}
    if kind == "failed":
        error = from_text(await get_text(ctx, work, "error"))
        return {"kind": kind, "error": error["message"], "error_type": error["type"], "error_data": error.get("data")}
    return {"kind": kind}


async def _delete(ctx: MutationCtx, work: Row) -> None:
    if any(isinstance(work.get(field), int) for field in ("args", "context", "result", "error")):
        await ctx.scheduler.run_after(0, forget_texts, work_id=work["_id"])
    if await ctx.db.get(work["_id"]) is not None:  # the callback may have discarded it
        await ctx.db.delete(work["_id"])


@component.mutation(internal=True)
async def forget_texts(ctx: MutationCtx, work_id: str) -> None:
    """Remove what was kept apart for a work that is gone, some in each transaction."""
    if not await drop_texts(ctx, work_id):
        await ctx.scheduler.run_after(0, forget_texts, work_id=work_id)


# stopping


@component.mutation
async def cancel(ctx: MutationCtx, work_id: str) -> bool:
    """Whether it had not ended. What waits ends as canceled; what runs may finish, but is not tried again.

    A query or mutation runs when its transaction does: until then it ends as canceled.
    """
    work = await _find(ctx, work_id)
    return work is not None and await _cancel(ctx, work)


@component.mutation
async def cancel_all(ctx: MutationCtx, before: float | None = None, limit: int = CANCELED_AT_ONCE) -> int:
    """Cancel all that was put in until now, or `before` a time, some in this transaction and the rest in jobs. Gives how many at once."""
    if limit < 1:
        raise AppError({"code": "INVALID_LIMIT", "message": f"limit must be 1 or more, got {limit}"})
    newest = await ctx.db.query("works").order("desc").first() if before is None else None
    until = before if before is not None else newest["_creationTime"] if newest is not None else 0.0
    found: list[Row] = []
    for state in OPEN:
        works = ctx.db.query("works").index("queue", state=state)
        found += await works.filter(lambda work: work["_creationTime"] <= until and not work.get("cancel")).take(limit + 1 - len(found))
    for work in found[:limit]:
        await _cancel(ctx, work)
    if len(found) > limit:
        await ctx.scheduler.run_after(0, cancel_all, before=until, limit=limit)
    return len(found[:limit])


async def _cancel(ctx: MutationCtx, work: Row) -> bool:
    if work["state"] not in OPEN:
        return False
    if work["state"] == "running":
        await ctx.db.patch(work["_id"], {"cancel": True})
        return True
    if work["state"] == "waiting" and "job" in work:
        await ctx.scheduler.cancel(work["job"])
    await _end(ctx, work, "canceled")
    await ctx.scheduler.run_after(0, complete, work_id=work["_id"])
    return True


@component.mutation
async def pause(ctx: MutationCtx) -> None:
    """Start nothing until `resume`. What runs goes on."""
    await dispatching.change_settings(ctx, paused=True)


@component.mutation
async def resume(ctx: MutationCtx) -> None:
    """Start again."""
    await dispatching.change_settings(ctx, paused=False)
    await ctx.scheduler.run_after(0, dispatch)


@component.mutation
async def resize(ctx: MutationCtx, max_parallelism: int | None) -> None:
    """How many may run at once, whatever the code says, until it is set again; None: as the code says. 0 pauses."""
    limit = UNSET if max_parallelism is None else dispatching.checked_parallelism(max_parallelism)
    await dispatching.change_settings(ctx, max_parallelism=limit)
    await ctx.scheduler.run_after(0, dispatch)


# looking


@component.query
async def status(ctx: QueryCtx, work_id: str) -> dict[str, Any]:
    """What is known of a work: `state` is pending, running or finished; one that is gone is finished."""
    work = await _find(ctx, work_id)
    return {"state": "finished"} if work is None else await _status(ctx, work)


@component.query
async def status_batch(ctx: QueryCtx, work_ids: list[str]) -> list[dict[str, Any]]:
    """The same of several, in their order."""
    return [await status(ctx, work_id) for work_id in work_ids]


@component.query
async def get_settings(ctx: QueryCtx) -> dict[str, Any]:
    """`max_parallelism` as it holds, `default_parallelism` as the code says, and whether it is `paused`."""
    row = await settings_of(ctx)
    return {"max_parallelism": dispatching.parallelism(row), "default_parallelism": row["default_parallelism"], "paused": row["paused"]}


@component.query(name="list")
async def list_works(
    ctx: QueryCtx,
    state: Literal["ready", "waiting", "held", "running", "succeeded", "failed", "canceled"],
    pagination_opts: PaginationOptions,
) -> Page[dict[str, Any]]:
    """The works in one state, a page at a time. Those that failed are the dead letters."""
    page = await ctx.db.query("works").index("queue", state=state).paginate(pagination_opts)
    return Page([{"id": row["_id"], **await _status(ctx, row)} for row in page.page], page.is_done, page.continue_cursor)


@component.query
async def report(ctx: QueryCtx, since: float = 0.0) -> dict[str, Any]:
    """What ended since a time and is still kept (the newest 5,000, or as many as a query may read), and what is open now."""
    counts, retries, seen = dict.fromkeys(ENDED, 0), 0, 0
    ended = ctx.db.query("works").index("ended", ended=Range(gte=since)).order("desc")
    page = await ended.paginate(PaginationOptions(num_items=REPORTED_AT_ONCE))
    while True:
        for row in page.page:
            counts[row["state"]] += 1
            retries += max(0, row["attempts"] - 1)
        seen += len(page.page)
        metrics = ctx.metrics()
        if page.is_done or seen >= REPORTED_MOST or metrics.used["bytes_read"] > metrics.remaining["bytes_read"]:
            break
        page = await ended.paginate(PaginationOptions(num_items=REPORTED_AT_ONCE, cursor=page.continue_cursor))
    completed = counts["succeeded"] + counts["failed"] + retries
    open_now = {state: await ctx.db.query("works").index("queue", state=state).count() for state in OPEN}
    return {
        "completed": completed,
        **counts,
        "retries": retries,
        "running": open_now["running"],
        "backlog": open_now["ready"] + open_now["held"] + open_now["waiting"],
        **failure_rates(completed, counts["failed"], retries),
    }


def failure_rates(completed: int, failed: int, retries: int) -> dict[str, float]:
    """Of all attempts, how many failed; and of all works, how many did."""
    works = completed - retries
    return {
        "failure_rate": round((failed + retries) / completed, 4) if completed else 0.0,
        "permanent_failure_rate": round(failed / works, 4) if works else 0.0,
    }


async def _find(ctx: QueryCtx, work_id: str) -> Row | None:
    id = await ctx.db.normalize_id("works", work_id)
    return None if id is None else await ctx.db.get(id)


async def _status(ctx: QueryCtx, work: Row) -> Row:
    is_running = work["state"] == "running"
    found: Row = {
        "state": "finished" if work["state"] in ENDED else "running" if is_running else "pending",
        "previous_attempts": work["attempts"] - is_running,
        "name": work["name"],
        "kind": work["kind"],
        "detail": work["state"],
        "priority": -work["rank"],
        "due": work["due"],
    }
    if work["state"] in ENDED:
        found |= {"ended": work["ended"], "result": await _result_of(ctx, work)}
    if "on_complete_error" in work:
        found["on_complete_error"] = work["on_complete_error"]
    return found


# dead letters


@component.mutation
async def redrive(ctx: MutationCtx, work_id: str) -> bool:
    """Put a failed work in again, with all its attempts; whether there was one."""
    work = await _find(ctx, work_id)
    if work is None or work["state"] != "failed":
        return False
    dedupe = work.get("deduped", UNSET)
    if isinstance(dedupe, str) and (other := await ctx.db.query("works").index("dedupe", dedupe=dedupe).first()) is not None:
        message = f"work {other['_id']} of the same dedupe_key {dedupe!r} has not ended: wait for it, or cancel it first"
        raise AppError({"code": "DEDUPED", "message": message, "work": other["_id"]})
    await drop_texts(ctx, work_id, "error")
    again = {"state": "ready", "attempts": 0, "due": ctx.now(), "ended": UNSET, "expires": UNSET, "error": UNSET, "cancel": UNSET}
    again |= {"dedupe": dedupe, "deduped": UNSET}
    await ctx.db.patch(work_id, again)
    await ctx.scheduler.run_after(0, dispatch)
    return True


@component.mutation
async def discard(ctx: MutationCtx, work_id: str) -> bool:
    """Forget a work that has ended; whether there was one."""
    work = await _find(ctx, work_id)
    if work is None or work["state"] in OPEN:
        return False
    await _delete(ctx, work)
    return True


@component.mutation(internal=True)
async def sweep(ctx: MutationCtx) -> None:
    """Forget what has been kept long enough."""
    rows = await ctx.db.query("works").index("expires", expires=Range(gte=0.0, lte=ctx.now())).take(SWEPT_AT_ONCE)
    for row in rows:
        await _delete(ctx, row)
    if len(rows) == SWEPT_AT_ONCE:
        await ctx.scheduler.run_after(0, sweep)


component.cron("sweep", every=HOUR)(sweep)
