"""The process that `test_crashes` kills: runs of a workflow on a file. With `end` it goes on to the end, and prints what is there."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from typing import Any

from interlock import ActionCtx, Backend, Component, MutationCtx, QueryCtx, Schema, Table, components
from interlock_workflow import Retry, WorkflowManager, WorkflowStep
from interlock_workpool import dispatch

dispatch.GUARD_MS = 300.0  # an attempt that was cut off is found sooner than in production
RUNS = 20

schema = Schema(writes=Table({"run": int, "what": str}).index("run", "run", "what"), ends=Table({"run": int}))
lab = Component("lab", schema=schema)
isolation: Any = sys.argv[2]
lab.use("workflow", isolation=isolation)
workflows = WorkflowManager(components.workflow, mutation=lab.mutation)


@lab.mutation
async def write(ctx: MutationCtx, run: int, what: str) -> None:
    await ctx.db.insert("writes", {"run": run, "what": what})


@lab.action
async def act(ctx: ActionCtx, run: int) -> None:
    await asyncio.sleep(0.02)


@lab.mutation
async def ended(ctx: MutationCtx, workflow_id: str, result: dict[str, object], context: int) -> None:
    await ctx.db.insert("ends", {"run": context})


@workflows.define
async def flow(step: WorkflowStep, run: int) -> None:
    patient = step.with_options(retry=Retry(max_attempts=20, initial_backoff=0.05))
    await step.run_mutation(write, run=run, what="first")
    await patient.run_action(act, run=run)
    await asyncio.gather(
        step.with_options(inline=False).run_mutation(write, run=run, what="apart"),
        patient.run_action(act, run=run),
        step.sleep(0.1),
    )
    await step.run_mutation(write, run=run, what="third")
    await patient.run_action(act, run=run)
    await step.run_mutation(write, run=run, what="last")


@lab.mutation
async def begin(ctx: MutationCtx, run: int) -> str:
    return await workflows.start(ctx, flow, {"run": run}, key=f"run {run}", on_complete=ended, context=run)


@lab.query
async def facts(ctx: QueryCtx) -> dict[str, object]:
    runs = (await workflows.list(ctx)).page
    writes = Counter((row["run"], row["what"]) for row in await ctx.db.query("writes").collect())
    return {
        "runs": len(runs),
        "states": dict(Counter(run.type for run in runs)),
        "writes": {str(times): count for times, count in Counter(writes.values()).items()},
        "callbacks": await ctx.db.query("ends").count(),
    }


async def main(data: str, to_the_end: bool) -> None:
    async with Backend(lab, data=data) as backend:
        print("open", flush=True)
        for run in range(RUNS):
            await backend.mutation("begin", run=run)
        while True:
            found = await backend.query("facts")
            if to_the_end and found["states"] == {"completed": RUNS}:
                print(json.dumps(found), flush=True)
                return
            await asyncio.sleep(0.1)


asyncio.run(main(sys.argv[1], len(sys.argv) > 3))
