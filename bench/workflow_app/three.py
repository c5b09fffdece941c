"""A workflow of three steps, each of which writes."""

from interlock import MutationCtx, QueryCtx, components, mutation, query
from interlock_workflow import WorkflowManager, WorkflowStep

workflows = WorkflowManager(components.workflow)


@mutation(internal=True)
async def one(ctx: MutationCtx, n: int) -> int:
    await ctx.db.insert("done", {"n": n})
    return n + 1


@workflows.define
async def three(step: WorkflowStep, n: int) -> int:
    for _ in range(3):
        n = await step.run_mutation(one, n=n)
    return n


@mutation
async def start(ctx: MutationCtx, n: int) -> str:
    return await workflows.start(ctx, three, {"n": n})


@query
async def result(ctx: QueryCtx, id: str) -> int | None:
    status = await workflows.status(ctx, id)
    assert status.type in ("in_progress", "completed"), status.error
    return status.result


@query
async def done(ctx: QueryCtx) -> int:
    return await ctx.db.query("done").count()
