"""How a run goes on: a turn of its function, the record of what it did, the start of what it waits for, its end.

A turn and its record are one transaction. While a step is in progress no turn is taken; the last one that ends plans the next.
A report of a step carries the generation of the run: a cancel or a restart counts it up, and late reports are dropped.

Start at `take_turn`. Functions of the component are named by strings, because `component` imports this.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from interlock import (
    UNSET,
    AppError,
    DeadlineExceeded,
    FunctionNotFound,
    LimitExceeded,
    MutationCtx,
    QueryCtx,
    Range,
    Reference,
    components,
    from_text,
    reference,
    to_text,
)
from interlock_workflow.budgets import CALLBACK, FIRST, FIRST_STEPS, JOURNAL_MOST, STEPS_AT_ONCE, TURN
from interlock_workflow.errors import recorded_data, said_by
from interlock_workflow.tables import LIVE, Row
from interlock_workflow.texts import LONG, PAGE, checked, drop_texts, get_text, is_long, put_text

STALL_SECONDS, STALL_SECONDS_MAX = 10.0, 600.0
CANCELED = to_text({"type": "StepCanceled", "message": "Canceled"})


async def plan_turn(ctx: MutationCtx, workflow_id: str, generation: int, *, after: float = 0.0, **how: Any) -> None:
    """Let the function of a run go on after this transaction."""
    await ctx.scheduler.run_after(after, "turn", workflow_id=workflow_id, generation=generation, **how)


async def plan_turn_at_once(ctx: MutationCtx, workflow_id: str, generation: int) -> None:
    """Let it go on within this transaction, when the function that it began with has returned; if that does not fit, after it."""
    await ctx.scheduler.run_after(0, _TURN_AT_ONCE, workflow_id=workflow_id, generation=generation, most=FIRST_STEPS)


_TURN_AT_ONCE = reference("turn").options(at_once=True, limits=FIRST)


async def take_turn(ctx: MutationCtx, workflow: Row, *, most: int = STEPS_AT_ONCE, stalls: int = 0) -> None:
    """Run the function, and record what it did. What does not fit into one transaction is tried with fewer steps."""
    try:
        outcome = await _call(ctx, workflow, "now" if most else "apart", most)
    except FunctionNotFound as error:
        if error.name != workflow["handle"]:
            return await end(ctx, workflow, "failed", error=_facts(error))
        # The code that it belongs to is not deployed: it may be back later.
        pause = min(STALL_SECONDS * 2.0**stalls, STALL_SECONDS_MAX)
        await ctx.db.patch(workflow["_id"], {"stalled": f"There is no workflow {workflow['name']} in the code that runs now."})
        return await plan_turn(ctx, workflow["_id"], workflow["generation"], after=pause, stalls=stalls + 1)
    except (LimitExceeded, DeadlineExceeded) as error:
        if not most:
            much = "The results that a run has recorded are read whenever it goes on: keep what is large in a table or a file, "
            facts = {"type": type(error).__name__, "message": f"{error} {much}or begin anew with step.continue_as_new(…)."}
            return await end(ctx, workflow, "failed", error=to_text(facts))
        fewer = STEPS_AT_ONCE if most == FIRST_STEPS else 1 if most > 1 else 0
        return await plan_turn(ctx, workflow["_id"], workflow["generation"], most=fewer)
    except Exception as error:
        return await end(ctx, workflow, "failed", error=_facts(error))
    current = await ctx.db.get(workflow["_id"])
    if current is None:
        return None  # one of its own steps has removed it
    if current["generation"] != workflow["generation"] or current["state"] not in LIVE:
        # One of its own steps has canceled it: what was done before that stays done, also if the run is restarted.
        finished = [step for step in _steps_of(outcome) if "start" not in step]
        return await record(ctx, current, {"status": "canceled", "steps": finished, "version": outcome["version"]})
    if current["steps"] != workflow["steps"]:
        outcome["steps"] = _steps_of(outcome)
    return await record(ctx, current, outcome)


def _steps_of(outcome: Row) -> list[Row]:
    """The new steps one by one, also where the face has made a page of them."""
    steps: list[Row] = from_text(outcome.pop("page")) if "page" in outcome else outcome["steps"]
    return steps


async def _call(ctx: MutationCtx, workflow: Row, local: str, most: int) -> Row:
    turn = _turn_of(workflow["handle"])
    version = workflow.get("version")
    run: Row = {"workflow": workflow["_id"], "local": local, "most": most, "number": workflow["steps"], "version": version}
    outcome: Row
    if "waits" in workflow:
        waits = workflow["waits"]
        entries = await _entries(ctx, workflow, waits["since"])
        outcome = await ctx.run_mutation(turn, run={**run, "waits": waits["name"], "entries": entries})
        if outcome["status"] != "cold":
            return outcome
    run["seed"] = f"{workflow.get('seed', workflow['_id'])} {workflow['run']}"
    run |= await read_entries(ctx, workflow) if workflow["steps"] > workflow["base"] else {"pages": [], "entries": []}
    outcome = await ctx.run_mutation(turn, run={**run, "args": await get_text(ctx, workflow, "args")})
    return outcome


@lru_cache(1_000)
def _turn_of(handle: str) -> Reference:
    return reference(handle).options(limits=TURN)


async def read_entries(ctx: QueryCtx, workflow: Row) -> dict[str, Any]:
    """The recorded steps that count, as the face takes them. Raises AppError when there are too many."""
    counts = {"workflow": workflow["_id"], "number": Range(gte=workflow["base"])}
    pages: list[Row] = []
    size = 0
    async for page in ctx.db.query("pages").index("workflow", **counts):
        pages.append({"at": page["at"], "entries": page["entries"]})
        size = _checked_size(size + len(page["entries"]))
    entries = await _entries(ctx, workflow, workflow["base"], size)
    return {"pages": pages, "entries": entries}


async def _entries(ctx: QueryCtx, workflow: Row, since: int, size: int = 0) -> list[Row]:
    """The steps in rows of their own from a number on."""
    entries: list[Row] = []
    async for step in ctx.db.query("steps").index("workflow", workflow=workflow["_id"], number=Range(gte=since)):
        value, error = step.get("value"), step.get("error")
        entry = {name: step[name] for name in ("number", "key", "name", "kind", "digest", "at", "state")} | {"id": step["_id"]}
        if isinstance(value, str):
            entry["value"] = value
        if error is not None:
            entry["error"] = error
        entries.append(entry)
        size = _checked_size(size + sum(len(text) for text in (step["args"], value) if isinstance(text, str)))
    return entries


def _checked_size(size: int) -> int:
    if size > JOURNAL_MOST:
        message = f"the record of this run has more than {JOURNAL_MOST:,} characters. Begin anew in time: step.continue_as_new(…)."
        raise AppError({"code": "JOURNAL_TOO_LONG", "message": message})
    return size


async def recorded_steps(ctx: QueryCtx, workflow: Row) -> list[Row]:
    """The recorded steps that count, in order. One out of a page has the page as `page`."""
    counts = {"workflow": workflow["_id"], "number": Range(gte=workflow["base"])}
    found = await ctx.db.query("steps").index("workflow", **counts).collect()
    for page in await ctx.db.query("pages").index("workflow", **counts).collect():
        found += entries_of(page)
    return sorted(found, key=lambda step: int(step["number"]))


def entries_of(page: Row) -> list[Row]:
    """The steps of a page."""
    shared = {"workflow": page["workflow"], "at": page["at"], "ended": page["at"], "page": page}
    return [{**entry, **shared} for entry in from_text(page["entries"])]


# recording


async def record(ctx: MutationCtx, workflow: Row, outcome: Row) -> None:
    """Write down what a turn did, start what it waits for, and end or plan what follows."""
    number = workflow["steps"]
    waiting = workflow["open"]
    pooled: list[tuple[Row, Row]] = []
    if "page" in outcome:  # all of them, as most turns have it
        number += outcome["count"]
        await _insert_page(ctx, workflow["_id"], ctx.now(), number - 1, outcome["page"])
    page = _Page(ctx, workflow["_id"])
    for step in outcome.get("steps", ()):
        start = step.get("start")
        if start is None and len(step["args"]) + len(step.get("value", "")) <= LONG:
            await page.add({**step, "number": number})
        else:
            row = {name: step[name] for name in ("key", "name", "kind", "digest")}
            row |= {"workflow": workflow["_id"], "number": number, "at": ctx.now(), "args": step["args"], "state": "running"}
            if start is None:
                row |= {name: step[name] for name in ("state", "value", "error") if name in step}
                await insert_step(ctx, {**row, "ended": ctx.now()})
            elif step["kind"] in ("query", "mutation", "action") and "error" not in start:
                pooled.append((row, start))
                waiting += 1
            else:
                waiting += await _start(ctx, workflow, row, start)
        number += 1
    await page.write()
    if pooled:
        await _enqueue(ctx, workflow, pooled)
    status = outcome["status"]
    changes: Row = {}
    if number != workflow["steps"]:
        changes["steps"] = number
    if waiting != workflow["open"]:
        changes["open"] = waiting
    if "version" not in workflow:
        changes["version"] = outcome["version"]
    if "waits" in outcome:
        changes["waits"] = {"name": outcome["waits"], "since": workflow["steps"]}
    elif "waits" in workflow:
        changes["waits"] = UNSET
    if "stalled" in workflow:
        changes["stalled"] = UNSET
    if "begins" in workflow:
        changes["begins"] = UNSET
    if status == "done":
        await end(ctx, workflow, "completed", result=outcome["value"], changes=changes)
    elif status == "failed":
        await end(ctx, workflow, "failed", error=outcome["error"], changes=changes)
    elif status == "continued":
        if isinstance(workflow["args"], int):
            await drop_texts(ctx, workflow["_id"], "args")
        args = await put_text(ctx, workflow["_id"], "args", outcome["args"])
        changes |= {"args": args, "run": workflow["run"] + 1, "base": number, "steps": number}
        await ctx.db.patch(workflow["_id"], changes)
        await ctx.scheduler.run_after(0, "forget_steps", workflow_id=workflow["_id"], before=number)
        await plan_turn(ctx, workflow["_id"], workflow["generation"])
    else:
        if changes:
            await ctx.db.patch(workflow["_id"], changes)
        if not waiting and workflow["state"] == "running":
            await plan_turn(ctx, workflow["_id"], workflow["generation"])


class _Page:
    """Steps that are done already, gathered into one row."""

    def __init__(self, ctx: MutationCtx, workflow_id: str) -> None:
        self._ctx, self._workflow_id = ctx, workflow_id
        self._entries: list[Row] = []
        self._size = 0

    async def add(self, entry: Row) -> None:
        self._entries.append(entry)
        self._size += len(entry["args"]) + len(entry.get("value", ""))
        if self._size > PAGE:
            await self.write()

    async def write(self) -> None:
        if self._entries:
            await insert_page(self._ctx, self._workflow_id, self._ctx.now(), self._entries)
            self._entries, self._size = [], 0


async def insert_page(ctx: MutationCtx, workflow_id: str, at: float, entries: list[Row]) -> None:
    """Steps that are done, in one row."""
    await _insert_page(ctx, workflow_id, at, entries[-1]["number"], to_text(entries))


async def _insert_page(ctx: MutationCtx, workflow_id: str, at: float, last: int, text: str) -> None:
    await ctx.db.insert("pages", {"workflow": workflow_id, "number": last, "at": at, "entries": text})


async def insert_step(ctx: MutationCtx, row: Row) -> str:
    """A step; what is long of it is kept apart."""
    long = {field: row[field] for field in ("args", "value") if isinstance(row.get(field), str) and is_long(row[field])}
    if not long:
        return await ctx.db.insert("steps", row)
    id = await ctx.db.insert("steps", {**row, **dict.fromkeys(long, "")})
    await ctx.db.patch(id, {field: await put_text(ctx, id, field, text) for field, text in long.items()})
    return id


async def _enqueue(ctx: MutationCtx, workflow: Row, pooled: list[tuple[Row, Row]]) -> None:
    """Functions that run in the pool, and report to `step_done`."""
    done = await ctx.function_handle("step_done")
    config = await ctx.db.query("config").first()
    works = []
    for row, start in pooled:
        work: Row = {"kind": row["kind"], "args": from_text(row["args"]), "name": row["name"], "on_complete": done, **start}
        work["context"] = {"workflow": workflow["_id"], "number": row["number"], "generation": workflow["generation"]}
        works.append({**work, "keep_results": 0.0, "keep_failed": 0.0})
    sizing = {} if config is None else {"max_parallelism": config["max_parallelism"]}
    ids = await ctx.run_mutation(components.workpool.enqueue_batch, works=works, **sizing)
    for (row, _), id in zip(pooled, ids, strict=True):
        await insert_step(ctx, {**row, "work": id})


async def _start(ctx: MutationCtx, workflow: Row, row: Row, start: Row) -> bool:
    """A step that is no function; whether it is in progress."""
    if "error" in start:
        await insert_step(ctx, {**row, "state": "failed", "error": start["error"], "ended": ctx.now()})
        return False
    if row["kind"] == "event":
        return await _await_event(ctx, workflow, row, start)
    if row["kind"] == "sleep":
        place = {"workflow_id": workflow["_id"], "number": row["number"], "generation": workflow["generation"]}
        due = start.get("run_at", ctx.now()) + start["seconds"] * 1000.0
        row["job"] = await ctx.scheduler.run_at(due, "wake", **place)
    else:
        parent = {"workflow": workflow["_id"], "number": row["number"], "generation": workflow["generation"]}
        child = {"name": row["name"] if "name" not in start else start["name"], "handle": start["handle"], "parent": parent}
        row["child"] = await create(ctx, {**child, **({"version": start["version"]} if "version" in start else {})}, row["args"])
        if (wait_ms := start.get("run_at", 0.0) - ctx.now()) > 0:
            await plan_turn(ctx, row["child"], 0, after=wait_ms / 1000.0)
        else:
            await plan_turn_at_once(ctx, row["child"], 0)
    await insert_step(ctx, row)
    return True


async def create(ctx: MutationCtx, fields: Row, args: str) -> str:
    """A run that has not begun."""
    fresh = {"state": "running", "generation": 0, "run": 0, "base": 0, "steps": 0, "open": 0, "started": ctx.now()}
    id = await ctx.db.insert("workflows", {**fresh, **fields, "args": "" if is_long(args) else args})
    if is_long(args):
        await ctx.db.patch(id, {"args": await put_text(ctx, id, "args", checked("the arguments of a workflow", args))})
    return id


# events


async def _await_event(ctx: MutationCtx, workflow: Row, row: Row, start: Row) -> bool:
    if start["id"] is not None:
        id = await ctx.db.normalize_id("events", start["id"])
        event = None if id is None else await ctx.db.get(id)
        if event is None or event["workflow"] != workflow["_id"] or event["state"] == "taken" or "step" in event:
            facts = {"type": "UnknownEvent", "message": f"{start['id']} is no event of this workflow that can still be waited for"}
            await insert_step(ctx, {**row, "state": "failed", "error": to_text(facts), "ended": ctx.now()})
            return False
        row["event"] = event["_id"]
        if event["state"] == "created":
            step = await _wait_for_event(ctx, workflow, row, start)
            await ctx.db.patch(event["_id"], {"step": step})
            return True
    else:
        event = await ctx.db.query("events").index("workflow", workflow=workflow["_id"], name=start["name"], state="sent").first()
        if event is None:
            await _wait_for_event(ctx, workflow, row, start)
            return True
    await ctx.db.patch(event["_id"], {"state": "taken"})
    taken = {"event": event["_id"], "ended": ctx.now()}
    if "error" in event:
        await insert_step(ctx, {**row, **taken, "state": "failed", "error": event["error"]})
    else:
        if isinstance(event["value"], int):  # it is long, and stays where it is
            taken["held_by"] = event["_id"]
        await insert_step(ctx, {**row, **taken, "state": "success", "value": event["value"]})
    return False


async def _wait_for_event(ctx: MutationCtx, workflow: Row, row: Row, start: Row) -> str:
    if start["name"] is not None:
        row["awaits"] = start["name"]
    if start.get("timeout") is not None:
        place = {"workflow_id": workflow["_id"], "number": row["number"], "generation": workflow["generation"]}
        row["job"] = await ctx.scheduler.run_after(start["timeout"], "time_out", **place)
    return await insert_step(ctx, row)


async def deliver(ctx: MutationCtx, workflow: Row, event: Row) -> bool:
    """Give an event, `name` with `value` or `error`, to the step that waits for it longest; whether one does."""
    running = ctx.db.query("steps").index("state", workflow=workflow["_id"], state="running")
    async for step in running:
        if step.get("awaits") == event["name"]:
            await step_ended(ctx, workflow, step, event.get("value"), event.get("error"))
            return True
    return False


# ends


async def step_of(ctx: QueryCtx, workflow_id: str, number: int, generation: int) -> tuple[Row, Row] | None:
    """A run and its step that is in progress, if a report of this generation still counts."""
    workflow = await ctx.db.get(workflow_id)
    if workflow is None or workflow["generation"] != generation or workflow["state"] not in LIVE:
        return None
    step = await ctx.db.query("steps").index("workflow", workflow=workflow_id, number=number).first()
    return None if step is None or step["state"] != "running" else (workflow, step)


async def step_ended(ctx: MutationCtx, workflow: Row, step: Row, value: str | None, error: str | None) -> None:
    """A step that was in progress has ended; if it was the last one, the function goes on."""
    changes: Row = {"state": "success" if error is None else "failed", "ended": ctx.now()}
    if error is not None:
        changes["error"] = error
    else:
        changes["value"] = await put_text(ctx, step["_id"], "value", value or "null")
    await ctx.db.patch(step["_id"], changes)
    if "job" in step:
        await ctx.scheduler.cancel(step["job"])
    left = workflow["open"] - 1
    await ctx.db.patch(workflow["_id"], {"open": left})
    if not left and workflow["state"] == "running":
        await plan_turn_at_once(ctx, workflow["_id"], workflow["generation"])


async def end(
    ctx: MutationCtx, workflow: Row, state: str, *, result: str | None = None, error: str | None = None, changes: Row | None = None
) -> None:
    """A run has ended: whoever waits for it is told in the same transaction."""
    id, now = workflow["_id"], ctx.now()
    fields: Row = {**(changes or {}), "state": state, "ended": now, "open": 0}
    if result is not None:
        fields["result"] = await put_text(ctx, id, "result", result)
    if error is not None:
        fields["error"] = error
    if "keep_for" in workflow:
        fields["expires"] = now + workflow["keep_for"] * 1000.0
        await ctx.db.insert("expiries", {"at": fields["expires"], "workflow": id})
    await ctx.db.patch(id, fields)
    if "parent" in workflow:
        place = workflow["parent"]
        found = await step_of(ctx, place["workflow"], place["number"], place["generation"])
        if found is not None:
            told = CANCELED if state == "canceled" else error
            await step_ended(ctx, *found, result, None if state == "completed" else told)
    if "on_complete" in workflow:
        await _call_back(ctx, workflow, state, result, error)


async def _call_back(ctx: MutationCtx, workflow: Row, state: str, result: str | None, error: str | None) -> None:
    context = from_text(await get_text(ctx, workflow, "context"))
    told = outcome_of(state, result, error)
    try:
        target = reference(workflow["on_complete"]).options(limits=CALLBACK)
        await ctx.run_mutation(target, workflow_id=workflow["_id"], result=told, context=context)
    except Exception as raised:  # its writes are undone; the run has ended all the same
        ctx.log.error(f"on_complete of {workflow['name']} failed: {raised}")
        await ctx.db.patch(workflow["_id"], {"on_complete_error": f"{type(raised).__name__}: {said_by(raised)}"})


def outcome_of(state: str, result: str | None, error: str | None) -> Row:
    """How a run ended, as its callback gets it."""
    if state == "completed":
        return {"kind": "success", "return_value": from_text(result or "null")}
    if state == "failed":
        facts = from_text(error or "{}")
        return {"kind": "failed", "error": facts["message"], "error_type": facts["type"], "error_data": facts.get("data")}
    return {"kind": "canceled"}


async def cancel_run(ctx: MutationCtx, workflow: Row) -> None:
    """End a run as canceled, with what it waits for. An action that runs may finish; its result is dropped."""
    for step in await ctx.db.query("steps").index("state", workflow=workflow["_id"], state="running").collect():
        changes: Row = {"state": "canceled", "ended": ctx.now()}
        if "work" in step and not await ctx.run_mutation(components.workpool.cancel, work_id=step["work"]):
            changes |= await _unreported(ctx, step)
        await ctx.db.patch(step["_id"], changes)
        if "job" in step:
            await ctx.scheduler.cancel(step["job"])
        child = await ctx.db.get(step["child"]) if "child" in step else None
        if child is not None and child["state"] in LIVE:
            await cancel_run(ctx, child)
    canceled = {**workflow, "generation": workflow["generation"] + 1}
    await end(ctx, canceled, "canceled", changes={"generation": canceled["generation"]})


async def _unreported(ctx: MutationCtx, step: Row) -> Row:
    """What became of a step whose work has ended and has not been told of yet: it is done, and a restart must not do it again."""
    work = await ctx.run_query(components.workpool.status, work_id=step["work"])
    value, error = reported(work.get("result") or {"kind": "canceled"})
    if value is not None:
        return {"state": "success", "value": await put_text(ctx, step["_id"], "value", value)}
    return {} if error in (None, CANCELED) else {"state": "failed", "error": error}


def reported(result: Row) -> tuple[str | None, str | None]:
    """A result of the pool as the value or the error of a step."""
    if result["kind"] == "success":
        return to_text(result["return_value"]), None
    if result["kind"] == "failed":
        return None, to_text({"type": result["error_type"], "message": result["error"], "data": result["error_data"]})
    return None, CANCELED


async def delete_steps(ctx: MutationCtx, steps: list[Row]) -> None:
    """Remove steps, with the children and events that belong to them."""
    gone: dict[str, tuple[Row, set[int]]] = {}
    for step in steps:
        if "page" in step:
            gone.setdefault(step["page"]["_id"], (step["page"], set()))[1].add(step["number"])
            continue
        if isinstance(step["args"], int) or isinstance(step.get("value"), int):
            await ctx.scheduler.run_after(0, "forget_texts", owner=step["_id"])
        event = await ctx.db.get(step["event"]) if "event" in step else None
        if event is not None:
            await delete_event(ctx, event)
        child = await ctx.db.get(step["child"]) if "child" in step else None
        if child is not None:
            await delete_run(ctx, child)
        await ctx.db.delete(step["_id"])
    for id, (page, numbers) in gone.items():
        left = [entry for entry in from_text(page["entries"]) if entry["number"] not in numbers]
        if left:
            await ctx.db.patch(id, {"number": left[-1]["number"], "entries": to_text(left)})
        else:
            await ctx.db.delete(id)


async def delete_event(ctx: MutationCtx, event: Row) -> None:
    """Remove an event."""
    if isinstance(event.get("value"), int):
        await ctx.scheduler.run_after(0, "forget_texts", owner=event["_id"])
    await ctx.db.delete(event["_id"])


async def delete_run(ctx: MutationCtx, workflow: Row) -> None:
    """Remove a run. Its steps and events follow, in jobs if there are many."""
    if workflow["state"] in LIVE:
        await cancel_run(ctx, workflow)
    if any(isinstance(workflow.get(field), int) for field in ("args", "context", "result")):
        await ctx.scheduler.run_after(0, "forget_texts", owner=workflow["_id"])
    if "key" in workflow:
        for row in await ctx.db.query("keys").index("key", key=workflow["key"]).collect():
            await ctx.db.delete(row["_id"])
    if await ctx.db.get(workflow["_id"]) is not None:
        await ctx.db.delete(workflow["_id"])
    await forget_some(ctx, workflow["_id"])


async def forget_some(ctx: MutationCtx, workflow_id: str, before: int | None = None) -> None:
    """Remove steps and events of a run that is gone, or its steps before a number; the rest in another transaction."""
    numbers = {} if before is None else {"number": Range(lt=before)}
    steps = await ctx.db.query("steps").index("workflow", workflow=workflow_id, **numbers).take(FORGOTTEN_AT_ONCE)
    await delete_steps(ctx, steps)
    pages = await ctx.db.query("pages").index("workflow", workflow=workflow_id, **numbers).take(PAGES_FORGOTTEN_AT_ONCE)
    for page in pages:
        await ctx.db.delete(page["_id"])
    events: list[Row] = []
    if before is None:
        events = await ctx.db.query("events").index("workflow", workflow=workflow_id).take(FORGOTTEN_AT_ONCE)
        for event in events:
            await delete_event(ctx, event)
    if FORGOTTEN_AT_ONCE in (len(steps), len(events)) or len(pages) == PAGES_FORGOTTEN_AT_ONCE:
        await ctx.scheduler.run_after(0, "forget_steps", workflow_id=workflow_id, before=before)


FORGOTTEN_AT_ONCE, PAGES_FORGOTTEN_AT_ONCE = 100, 25  # of the longest: 5 MB and 2 MB, read twice


async def forget_texts_of(ctx: MutationCtx, owner: str) -> None:
    """Remove what was kept apart for a row that is gone, some in each transaction."""
    if not await drop_texts(ctx, owner):
        await ctx.scheduler.run_after(0, "forget_texts", owner=owner)


def _facts(error: Exception) -> str:
    facts: Row = {"type": type(error).__name__, "message": said_by(error)}
    if isinstance(error, AppError):
        data = error.data
        if isinstance(data, dict) and data.get("code") == "CHANGED_PAST":
            return to_text({"type": "ChangedPast", "message": data["message"]})
        facts["data"] = recorded_data(data)
        if isinstance(data, dict) and isinstance(data.get("message"), str):
            facts["message"] = data["message"][:10_000]
    return to_text(facts)
