"""Durable functions: what a function has done is recorded step by step, and after a restart it goes on from there.

The functions belong to the app, which gives handles of them; here is the record, and what waits: for steps in the pool
(a child component), for times, for events, for other runs. How a run goes on is in `progress`.
"""

from __future__ import annotations

from typing import Any, Literal

from interlock import (
    UNSET,
    AppError,
    Component,
    InvalidCursor,
    Job,
    MutationCtx,
    Page,
    PaginationOptions,
    QueryCtx,
    Range,
    Schema,
    components,
    from_text,
    to_text,
)
from interlock_workflow import progress
from interlock_workflow.budgets import FIRST_STEPS, STEPS_AT_ONCE
from interlock_workflow.progress import (
    cancel_run,
    create,
    deliver,
    entries_of,
    plan_turn,
    plan_turn_at_once,
    recorded_steps,
    step_ended,
    step_of,
    take_turn,
)
from interlock_workflow.tables import ENDED, LIVE, Row, config, events, expiries, keys, pages, steps, workflows
from interlock_workflow.texts import checked, drop_texts, get_text, put_text, texts

SWEPT_AT_ONCE = 64
COPIED_MOST = 2_000
STEPS_LISTED_MOST = 1_000
END = "end"
HOUR = 3_600.0
MENDED = ("turn", "wake", "time_out")
MENDED_EVERY, MENDED_FOR_MS = 300.0, 3_600_000.0
MENDED_AT_ONCE = 250
MENDED_MOST, UNBEGUN_MS = 1_000, 60_000.0
State = Literal["running", "paused", "completed", "failed", "canceled"]

component = Component(
    "workflow",
    schema=Schema(workflows=workflows, keys=keys, expiries=expiries, pages=pages, steps=steps, events=events, texts=texts, config=config),
)
component.use("workpool")


# beginning


@component.mutation
async def start(
    ctx: MutationCtx,
    name: str,
    handle: str,
    args: str = "{}",
    version: int | None = None,
    on_complete: str | None = None,
    context: Any = None,
    key: str | None = None,
    keep_for: float | None = None,
    run_at: float | None = None,
    max_parallelism: int | None = None,
    at_once: bool = True,
    begins: bool = False,
) -> str:
    """Begin a run of the function behind `handle`, and give its id; with a `key`, that of the run of this key if there is one.

    `args` is text (`interlock.to_text`). The function runs in this transaction, when the function that it began with has
    returned and if there is room; otherwise, and not `at_once`, after it, or at `run_at`, in ms. With `begins` the caller plans
    `begin` himself: one crossing less.
    """
    if key is not None:
        known = await ctx.db.query("keys").index("key", key=key).first()
        if known is not None:
            return str(known["workflow"])
    if max_parallelism is not None:
        await _configure(ctx, max_parallelism)
    fields: Row = {"name": name, "handle": handle}
    if begins:
        fields["begins"] = True
    given = {"version": version, "on_complete": on_complete, "key": key, "keep_for": keep_for}
    fields |= {field: value for field, value in given.items() if value is not None}
    long_context = None
    if on_complete is not None:
        long_context = checked("the context of a workflow", to_text(context))
        fields["context"] = long_context if len(long_context) <= 8_000 else ""
    id = await create(ctx, fields, args)
    if key is not None:
        await ctx.db.insert("keys", {"key": key, "workflow": id})
    if long_context is not None and not fields["context"]:
        await ctx.db.patch(id, {"context": await put_text(ctx, id, "context", long_context)})
    if begins:
        return id
    if run_at is None and at_once:
        await plan_turn_at_once(ctx, id, 0)
    else:
        await plan_turn(ctx, id, 0, after=0.0 if run_at is None else max(0.0, run_at - ctx.now()) / 1000.0)
    return id


async def _configure(ctx: MutationCtx, max_parallelism: int) -> None:
    row = await ctx.db.query("config").first()
    if row is None:
        await ctx.db.insert("config", {"max_parallelism": max_parallelism})
    elif row["max_parallelism"] != max_parallelism:
        await ctx.db.patch(row["_id"], {"max_parallelism": max_parallelism})


@component.mutation
async def begin(ctx: MutationCtx, workflow_id: str) -> None:
    """The first turn of a run that was started with `begins`: to be called at once, in the transaction of the start."""
    workflow = await ctx.db.get(workflow_id)
    if workflow is not None and "begins" in workflow and workflow["state"] == "running":
        await take_turn(ctx, workflow, most=FIRST_STEPS)


# going on


@component.mutation(internal=True)
async def turn(ctx: MutationCtx, workflow_id: str, generation: int, most: int = STEPS_AT_ONCE, stalls: int = 0) -> None:
    """Let the function of a run go on, if it waits for nothing."""
    workflow = await ctx.db.get(workflow_id)
    if workflow is None or workflow["generation"] != generation or workflow["state"] != "running" or workflow["open"]:
        return
    await take_turn(ctx, workflow, most=most, stalls=stalls)


@component.mutation(internal=True)
async def step_done(ctx: MutationCtx, work_id: str, context: Any, result: Any) -> None:
    """The pool's report of a step."""
    found = await step_of(ctx, context["workflow"], context["number"], context["generation"])
    if found is not None:
        await step_ended(ctx, *found, *progress.reported(result))


@component.mutation(internal=True)
async def wake(ctx: MutationCtx, workflow_id: str, number: int, generation: int) -> None:
    """The end of a sleep."""
    found = await step_of(ctx, workflow_id, number, generation)
    if found is not None:
        workflow, step = found
        await step_ended(ctx, workflow, {name: value for name, value in step.items() if name != "job"}, "null", None)


@component.mutation(internal=True)
async def time_out(ctx: MutationCtx, workflow_id: str, number: int, generation: int) -> None:
    """No event has come in time."""
    found = await step_of(ctx, workflow_id, number, generation)
    if found is not None:
        workflow, step = found
        facts = {"type": "StepTimeout", "message": f"no event {step['name']} came in time"}
        if "event" in step:  # one by id can be waited for again
            await ctx.db.patch(step["event"], {"step": UNSET})
        await step_ended(ctx, workflow, {name: value for name, value in step.items() if name != "job"}, None, to_text(facts))


@component.mutation(internal=True)
async def mend(ctx: MutationCtx, until: float | None = None, mended: int = 0) -> None:
    """Look after jobs of runs that have failed, as when a worker crashed over them: their run goes on, and says what was wrong.

    One that fails again and again is planned once each time. Those that were planned before `until` (now) are looked after, the
    first `mended` of them already; some in this transaction, and the rest in further ones.
    """
    until = ctx.now() if until is None else until
    failed: dict[tuple[Any, ...], Job] = {}
    for job in await ctx.scheduler.list("failed"):
        name = job.name.rpartition("/")[2]
        if name in MENDED and until - MENDED_FOR_MS <= job.scheduled_time < until:
            failed[name, job.args["workflow_id"], job.args["generation"], job.args.get("number")] = job
    for (name, *_), job in list(failed.items())[mended : mended + MENDED_AT_ONCE]:
        workflow = await ctx.db.get(job.args["workflow_id"])
        if workflow is None or workflow["generation"] != job.args["generation"] or workflow["state"] not in LIVE:
            continue
        if name != "turn":
            await ctx.scheduler.run_after(0, name, **job.args)
        elif workflow["state"] == "running" and not workflow["open"]:
            await ctx.db.patch(workflow["_id"], {"stalled": f"Its last turn failed: {job.error}"[:10_000]})
            await plan_turn(ctx, workflow["_id"], workflow["generation"])
    if len(failed) > mended + MENDED_AT_ONCE:
        await ctx.scheduler.run_after(0, mend, until=until, mended=mended + MENDED_AT_ONCE)
        return
    # The jobs of those that have not begun are their caller's: why they failed is told there.
    running = ctx.db.query("workflows").index("state", state="running").order("desc")
    unbegun = [row for row in await running.take(MENDED_MOST) if "begins" in row and row["started"] < ctx.now() - UNBEGUN_MS]
    for workflow in unbegun[:MENDED_AT_ONCE]:
        await ctx.db.patch(workflow["_id"], {"begins": UNSET, "stalled": "The job of its first turn has failed, or was canceled."})
        await plan_turn(ctx, workflow["_id"], workflow["generation"])
    if len(unbegun) > MENDED_AT_ONCE:
        await ctx.scheduler.run_after(0, mend, until=until, mended=len(failed))


component.cron("mend", every=MENDED_EVERY)(mend)


# events


@component.mutation
async def create_event(ctx: MutationCtx, workflow_id: str, name: str) -> str:
    """An event of its own, to be sent and waited for by its id."""
    workflow = await _find(ctx, workflow_id)
    if workflow["state"] not in LIVE:
        raise _ended(workflow)
    return await ctx.db.insert("events", {"workflow": workflow_id, "name": name, "state": "created"})


@component.mutation
async def send_event(
    ctx: MutationCtx,
    workflow_id: str | None = None,
    name: str | None = None,
    event_id: str | None = None,
    value: str = "null",
    error: str | None = None,
) -> bool:
    """Send an event by the run and its name, or by its id; `value` and `error` are texts. False for a run that has ended.

    An event that nobody waits for is kept, and taken in the order of sending.
    """
    if event_id is not None:
        return await _send_by_id(ctx, event_id, value, error)
    if workflow_id is None or name is None:
        raise AppError({"code": "INVALID", "message": "an event is sent by workflow_id and name, or by event_id"})
    workflow = await _find(ctx, workflow_id)
    if workflow["state"] not in LIVE:
        return False
    text = checked("what an event carries", value)
    carried: Row = {"name": name, "value": text} if error is None else {"name": name, "error": error}
    if not await deliver(ctx, workflow, carried):
        await _put_event(ctx, {"workflow": workflow_id, "state": "sent", **carried})
    return True


async def _send_by_id(ctx: MutationCtx, event_id: str, value: str, error: str | None) -> bool:
    id = await ctx.db.normalize_id("events", event_id)
    event = None if id is None else await ctx.db.get(id)
    if event is None:
        raise AppError({"code": "NOT_FOUND", "message": f"there is no event {event_id}"})
    if event["state"] != "created":
        raise AppError({"code": "ALREADY_SENT", "message": f"event {event['name']} was sent already"})
    workflow = await ctx.db.get(event["workflow"])
    if workflow is None or workflow["state"] not in LIVE:
        return False
    if "step" not in event:
        text = checked("what an event carries", value)
        carried = {"value": await put_text(ctx, event["_id"], "value", text)} if error is None else {"error": error}
        await ctx.db.patch(event["_id"], {"state": "sent", **carried})
        return True
    await ctx.db.patch(event["_id"], {"state": "taken"})
    step = await ctx.db.get(event["step"])
    if step is not None and step["state"] == "running":
        await step_ended(ctx, workflow, step, value, error)
    return True


async def _put_event(ctx: MutationCtx, event: Row) -> None:
    text = event.get("value", "")
    if len(text) <= 8_000:
        await ctx.db.insert("events", event)
        return
    id = await ctx.db.insert("events", {**event, "value": ""})
    await ctx.db.patch(id, {"value": await put_text(ctx, id, "value", text)})


# stopping, and beginning again


@component.mutation
async def cancel(ctx: MutationCtx, workflow_id: str) -> None:
    """End a run, and the runs that it has started. Raises ENDED."""
    workflow = await _find(ctx, workflow_id)
    if workflow["state"] not in LIVE:
        raise _ended(workflow)
    await cancel_run(ctx, workflow)


@component.mutation
async def pause(ctx: MutationCtx, workflow_id: str) -> None:
    """Let a run do nothing further until `resume`. Steps in progress go on and are recorded."""
    workflow = await _find(ctx, workflow_id)
    if workflow["state"] not in LIVE:
        raise _ended(workflow)
    await ctx.db.patch(workflow_id, {"state": "paused"})


@component.mutation
async def resume(ctx: MutationCtx, workflow_id: str) -> None:
    """Let a paused run go on; one that is not paused is looked at anew."""
    workflow = await _find(ctx, workflow_id)
    if workflow["state"] not in LIVE:
        raise _ended(workflow)
    await ctx.db.patch(workflow_id, {"state": "running"})
    if not workflow["open"]:
        await plan_turn(ctx, workflow_id, workflow["generation"])


@component.mutation
async def restart(
    ctx: MutationCtx,
    workflow_id: str,
    from_step: int | str | None = None,
    handle: str | None = None,
    version: int | None = None,
) -> None:
    """Run a run that has ended again: what is recorded before `from_step`, a number or the last step of a name, is not done again.

    Without `from_step` everything that is recorded stays, but for what was cut off by a cancel.
    """
    workflow = await _find(ctx, workflow_id)
    if workflow["state"] in LIVE:
        raise AppError({"code": "STILL_RUNNING", "message": f"workflow {workflow_id} is still running: cancel it first"})
    recorded = await recorded_steps(ctx, workflow)
    dropped, number = await _from(ctx, workflow, recorded, from_step)
    await progress.delete_steps(ctx, dropped)
    if isinstance(workflow.get("result"), int):
        await drop_texts(ctx, workflow_id, "result")
    changes: Row = dict.fromkeys(("ended", "result", "error", "expires", "on_complete_error", "waits"), UNSET)
    changes |= {"state": "running", "generation": workflow["generation"] + 1, "open": 0, "steps": number}
    changes |= {field: value for field, value in (("handle", handle), ("version", version)) if value is not None}
    await ctx.db.patch(workflow_id, changes)
    await plan_turn(ctx, workflow_id, changes["generation"])


@component.mutation
async def fork(ctx: MutationCtx, workflow_id: str, from_step: int | str | None = None) -> str:
    """A new run with the same arguments, and with what is recorded before `from_step`. The old one stays as it is."""
    workflow = await _find(ctx, workflow_id)
    recorded = await recorded_steps(ctx, workflow)
    dropped, number = await _from(ctx, workflow, recorded, from_step)
    left_out = {step["number"] for step in dropped}
    kept = [step for step in recorded if step["number"] not in left_out and step["state"] in ("success", "failed")]
    if len(kept) > COPIED_MOST:
        raise AppError({"code": "TOO_LARGE", "message": f"a fork copies at most {COPIED_MOST:,} steps, this run has {len(kept):,}"})
    fields: Row = {name: workflow[name] for name in ("name", "handle", "version", "keep_for", "run", "base") if name in workflow}
    fields["seed"] = workflow.get("seed", workflow_id)
    id = await create(ctx, fields, await get_text(ctx, workflow, "args"))
    entries: list[Row] = []
    for step in kept:
        if "page" in step:
            told = ("number", "key", "name", "kind", "args", "state", "value", "error")
            entries.append({**{name: step[name] for name in told if name in step}, "digest": ""})
            is_last = step is kept[-1] or kept[kept.index(step) + 1].get("page") is not step["page"]
            if is_last:
                await progress.insert_page(ctx, id, step["at"], entries)
                entries = []
            continue
        copied: Row = {
            name: value for name, value in step.items() if name[0] != "_" and name not in ("child", "event", "held_by", "work", "job")
        }
        for name in ("args", "value"):
            if name in step:
                copied[name] = await get_text(ctx, step, name)
        # Not compared: arguments may name the run, which is another one now.
        await progress.insert_step(ctx, {**copied, "digest": "", "workflow": id})
    await ctx.db.patch(id, {"steps": number})
    await plan_turn(ctx, id, 0)
    return id


async def _from(ctx: MutationCtx, workflow: Row, recorded: list[Row], from_step: int | str | None) -> tuple[list[Row], int]:
    """Which steps are to be done again, and the number of the next one. Those from before the run began anew are gone."""
    base: int = workflow["base"]
    after = recorded[-1]["number"] + 1 if recorded else base
    if from_step is None:
        return [step for step in recorded if step["state"] in ("canceled", "running")], after
    if isinstance(from_step, str):
        named = [step["number"] for step in recorded if from_step in (step["name"], step["key"])]
        if not named:
            known = ", ".join(dict.fromkeys(step["name"] for step in recorded)) or "none"
            raise AppError({"code": "UNKNOWN_STEP", "message": f"no step {from_step!r} is recorded; there are: {known}"})
        first = named[-1]
    else:
        first = from_step
    if first < 0:
        raise AppError({"code": "UNKNOWN_STEP", "message": f"steps are numbered from 0, got {first}"})
    if recorded and first > after:
        ctx.log.warning(f"nothing is recorded from step {first} on: there are {after}")
    dropped = [step for step in recorded if step["number"] >= first or step["state"] in ("canceled", "running")]
    return dropped, max(base, min(first, after))


@component.mutation
async def cleanup(ctx: MutationCtx, workflow_id: str, force: bool = False) -> bool:
    """Remove a run with all that belongs to it. False if there is none, or if it is still running and not `force`d."""
    id = await ctx.db.normalize_id("workflows", workflow_id)
    if id is None:
        raise AppError({"code": "NOT_FOUND", "message": f"{workflow_id!r} is no id of a workflow"})
    workflow = await ctx.db.get(id)
    if workflow is None or (workflow["state"] in LIVE and not force):
        return False
    await progress.delete_run(ctx, workflow)
    return True


@component.mutation(internal=True)
async def forget_steps(ctx: MutationCtx, workflow_id: str, before: int | None = None) -> None:
    """Remove the rest of a run that is gone, or the steps before a number."""
    await progress.forget_some(ctx, workflow_id, before)


@component.mutation(internal=True)
async def forget_texts(ctx: MutationCtx, owner: str) -> None:
    """Remove what was kept apart for a row that is gone."""
    await progress.forget_texts_of(ctx, owner)


@component.mutation(internal=True)
async def sweep(ctx: MutationCtx) -> None:
    """Remove runs that have been kept long enough."""
    rows = await ctx.db.query("expiries").index("at", at=Range(lte=ctx.now())).take(SWEPT_AT_ONCE)
    swept = 0
    for row in rows:
        await ctx.db.delete(row["_id"])
        workflow = await ctx.db.get(row["workflow"])
        if workflow is not None and workflow["state"] in ENDED and workflow.get("expires", ctx.now()) <= ctx.now():
            await progress.delete_run(ctx, workflow)
        swept += 1
        metrics = ctx.metrics()
        if any(4 * metrics.used[name] > metrics.remaining[name] for name in ("bytes_read", "documents_read", "functions_scheduled")):
            break
    if swept < len(rows) or len(rows) == SWEPT_AT_ONCE:
        await ctx.scheduler.run_after(0, sweep)


component.cron("sweep", every=HOUR)(sweep)


# looking


@component.query
async def get_status(ctx: QueryCtx, workflow_id: str) -> dict[str, Any]:
    """What is known of a run, with the steps in progress. Raises NOT_FOUND."""
    workflow = await _find(ctx, workflow_id)
    running: list[Row] = []
    if workflow["open"]:
        running = await ctx.db.query("steps").index("state", workflow=workflow_id, state="running").take(100)
    found = _public(workflow)
    if "result" in workflow:
        found["result"] = from_text(await get_text(ctx, workflow, "result"))
    return {**found, "running": [_public_step(step) for step in running]}


@component.query(name="list")
async def list_workflows(
    ctx: QueryCtx,
    pagination_opts: PaginationOptions,
    name: str | None = None,
    state: State | None = None,
    key_prefix: str | None = None,
    order: Literal["asc", "desc"] = "asc",
) -> Page[dict[str, Any]]:
    """Runs, a page at a time: all, of a name, in a state, or whose key begins with something."""
    if key_prefix is not None:
        found = ctx.db.query("keys").index("key", key=Range(gte=key_prefix, lt=key_prefix + "\U0010ffff")).order(order)
        keyed = await found.paginate(pagination_opts)
        rows = [await ctx.db.get(row["workflow"]) for row in keyed.page]
        fitting = [row for row in rows if row is not None and name in (None, row["name"]) and state in (None, row["state"])]
        return Page([_public(row) for row in fitting], keyed.is_done, keyed.continue_cursor)
    query = ctx.db.query("workflows")
    if name is not None:
        query = query.index("name", name=name) if state is None else query.index("name", name=name, state=state)
    elif state is not None:
        query = query.index("state", state=state)
    page = await query.order(order).paginate(pagination_opts)
    return page.map(_public)


@component.query
async def find(ctx: QueryCtx, key: str) -> str | None:
    """The id of the run of a key."""
    row = await ctx.db.query("keys").index("key", key=key).first()
    return None if row is None else row["workflow"]


@component.query
async def list_steps(
    ctx: QueryCtx, workflow_id: str, pagination_opts: PaginationOptions, order: Literal["asc", "desc"] = "asc"
) -> Page[dict[str, Any]]:
    """The recorded steps of a run, a page at a time, with arguments and results."""
    if pagination_opts.cursor == END:
        return Page([], True, END)
    most = max(1, min(pagination_opts.num_items, STEPS_LISTED_MOST))
    is_descending = order == "desc"
    bound = _number_at(pagination_opts.cursor)
    found = await _steps_from(ctx, workflow_id, bound, is_descending, most + 1)
    shown = []
    for step in found[:most]:
        public = _public_step(step)
        public["args"] = from_text(await get_text(ctx, step, "args"))
        if "value" in step:
            public["result"] = from_text(await get_text(ctx, step, "value"))
        shown.append(public)
    if len(found) > most:
        return Page(shown, False, str(found[most]["number"]))
    return Page(shown, True, END)


async def _steps_from(ctx: QueryCtx, workflow_id: str, bound: int | None, is_descending: bool, most: int) -> list[Row]:
    """Steps from a number on, upwards or downwards. A page is found by the number of its last step."""
    order: Literal["asc", "desc"] = "desc" if is_descending else "asc"
    up = {} if bound is None else {"number": Range(gte=bound)}
    down = {} if bound is None else {"number": Range(lte=bound)}
    single = await ctx.db.query("steps").index("workflow", workflow=workflow_id, **(down if is_descending else up)).order(order).take(most)
    paged = await ctx.db.query("pages").index("workflow", workflow=workflow_id, **(down if is_descending else up)).order(order).take(most)
    if is_descending and bound is not None:  # and the page in which the bound lies
        around = await ctx.db.query("pages").index("workflow", workflow=workflow_id, number=Range(gt=bound)).first()
        paged += [] if around is None else [around]
    found = single + [entry for page in paged for entry in entries_of(page)]
    fitting = [step for step in found if bound is None or (step["number"] <= bound if is_descending else step["number"] >= bound)]
    return sorted(fitting, key=lambda step: int(step["number"]), reverse=is_descending)[:most]


def _number_at(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not cursor.isdecimal():
        raise InvalidCursor("steps", "this is no cursor of a page of steps. Start from the first page, with cursor None.")
    return int(cursor)


@component.query
async def step_value(ctx: QueryCtx, step_id: str) -> str:
    """The text of a result that is kept apart."""
    step = await ctx.db.get(step_id)
    return "null" if step is None or "value" not in step else await get_text(ctx, step, "value")


@component.query
async def history(ctx: QueryCtx, workflow_id: str) -> dict[str, Any]:
    """The whole record of a run, to be replayed by a test."""
    workflow = await _find(ctx, workflow_id)
    entries = []
    for step in await recorded_steps(ctx, workflow):
        entry: Row = {name: step[name] for name in ("number", "key", "name", "kind", "digest", "at", "state", "error") if name in step}
        if "value" in step:
            entry["value"] = await get_text(ctx, step, "value")
        entries.append({**entry, "args": await get_text(ctx, step, "args")})
    facts: Row = {name: workflow[name] for name in ("name", "version", "state", "run", "started", "error") if name in workflow}
    facts["seed"] = workflow.get("seed", workflow_id)
    if "result" in workflow:
        facts["result"] = await get_text(ctx, workflow, "result")
    return {"id": workflow_id, **facts, "args": await get_text(ctx, workflow, "args"), "steps": entries}


# the pool


@component.mutation
async def resize_pool(ctx: MutationCtx, max_parallelism: int | None) -> None:
    """How many steps may run at once in the pool, whatever the code says; None: as the code says. 0 pauses."""
    await ctx.run_mutation(components.workpool.resize, max_parallelism=max_parallelism)


@component.mutation
async def pause_pool(ctx: MutationCtx) -> None:
    """Start no steps in the pool until `resume_pool`."""
    await ctx.run_mutation(components.workpool.pause)


@component.mutation
async def resume_pool(ctx: MutationCtx) -> None:
    """Start steps again."""
    await ctx.run_mutation(components.workpool.resume)


@component.query
async def pool_report(ctx: QueryCtx) -> dict[str, Any]:
    """What the pool does now, and its settings."""
    report: Row = await ctx.run_query(components.workpool.report)
    return {**report, **await ctx.run_query(components.workpool.get_settings)}


async def _find(ctx: QueryCtx, workflow_id: str) -> Row:
    id = await ctx.db.normalize_id("workflows", workflow_id)
    workflow = None if id is None else await ctx.db.get(id)
    if workflow is None:
        raise AppError({"code": "NOT_FOUND", "message": f"there is no workflow {workflow_id}"})
    return workflow


def _ended(workflow: Row) -> AppError:
    return AppError({"code": "ENDED", "message": f"workflow {workflow['_id']} has ended: it is {workflow['state']}"})


def _public(workflow: Row) -> Row:
    names = ("name", "state", "version", "generation", "steps", "started", "ended", "key", "on_complete_error", "stalled")
    found = {"id": workflow["_id"], **{name: workflow[name] for name in names if name in workflow}}
    found["args"] = from_text(workflow["args"]) if isinstance(workflow["args"], str) else None  # long ones are in the history
    if "error" in workflow:
        found["error"] = from_text(workflow["error"])
    if "parent" in workflow:
        found["parent"] = workflow["parent"]["workflow"]
    return found


def _public_step(step: Row) -> Row:
    names = ("number", "key", "name", "kind", "state", "at", "ended", "child", "event")
    found = {name: step[name] for name in names if name in step}
    if "error" in step:
        found["error"] = from_text(step["error"])
    return found
