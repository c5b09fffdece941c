"""A place in which workflows run: functions that note what they did, in tables or in memory, and some that fail."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

from interlock import ActionCtx, AppError, Component, MutationCtx, QueryCtx, Schema, Table, components
from interlock.testing import TestBackend
from interlock_workflow import StepInfo, WorkflowManager, WorkflowStatus, WorkflowStep

Isolation = Literal["inline", "sandbox"]


ISOLATION: list[Isolation] = ["inline"]
"""How the mounts run: the last one. The fixture `isolation` puts in another."""


class Bench(TestBackend):
    """A backend whose mounts run as the test's parameter says."""

    __test__ = False

    def __init__(self, component: Component, **options: Any) -> None:
        super().__init__(component, **{"isolation": ISOLATION[-1], **options})


class OutOfStock(AppError):
    """An author's own error."""


class Lab:
    """A component with a mount of workflows. `define` makes a workflow of it before it is opened."""

    def __init__(self, **options: Any) -> None:
        self.log: list[Any] = []
        self.failures: Counter[str] = Counter()
        self.gates: dict[str, asyncio.Event] = {}
        self.running = self.most_running = 0
        tables = {"done": Table({"what": Any}).index("what", "what"), "ended": Table({"id": str, "result": Any, "context": Any})}
        self.component = lab = Component("lab", schema=Schema(**tables))
        lab.use("workflow", isolation="inline")
        self.workflows = WorkflowManager(components.workflow, mutation=lab.mutation, **options)

        @lab.mutation
        async def write(ctx: MutationCtx, what: Any, fail: bool = False) -> int:
            await ctx.db.insert("done", {"what": what})
            if fail:
                raise OutOfStock({"left": 0, "message": f"no {what}"})
            return await ctx.db.query("done").count()

        @lab.query
        async def count(ctx: QueryCtx) -> int:
            return await ctx.db.query("done").count()

        @lab.action
        async def act(ctx: ActionCtx, name: str, gate: bool = False) -> str:
            self.log.append(name)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            try:
                if gate:
                    await self.gates.setdefault(name, asyncio.Event()).wait()
                if self.failures[name] > 0:
                    self.failures[name] -= 1
                    raise AppError({"code": "NOT_NOW", "message": f"{name} failed"})
                return f"did {name}"
            finally:
                self.running -= 1

        @lab.mutation
        async def ended(ctx: MutationCtx, workflow_id: str, result: dict[str, Any], context: Any) -> None:
            await ctx.db.insert("ended", {"id": workflow_id, "result": result, "context": context})
            if context == "raise":
                raise AppError("callback failed")
            if context == "clean":
                assert await self.workflows.cleanup(ctx, workflow_id)

        self.write, self.count, self.act, self.ended = write, count, act, ended

    def define(self, handler: Any = None, **options: Any) -> Any:
        """Make a workflow."""
        return self.workflows.define(handler) if handler is not None else self.workflows.define(**options)


async def do(t: TestBackend, operation: Callable[[MutationCtx], Any]) -> Any:
    """Something of the face, whose answer need be no value."""
    found: list[Any] = []

    async def run(ctx: MutationCtx) -> None:
        found[:] = [await operation(ctx)]

    await t.run(run)
    return found[0]


async def start(t: TestBackend, lab: Lab, workflow: Any, /, *, options: dict[str, Any] | None = None, **args: Any) -> str:
    """Begin a run, and let it go as far as it can without waiting."""
    id: str = await do(t, lambda ctx: lab.workflows.start(ctx, workflow, args, **(options or {})))
    await t.finish_in_progress()
    return id


async def status(t: TestBackend, lab: Lab, id: str) -> WorkflowStatus:
    found: WorkflowStatus = await do(t, lambda ctx: lab.workflows.status(ctx, id))
    return found


async def steps(t: TestBackend, lab: Lab, id: str) -> list[StepInfo]:
    page = await do(t, lambda ctx: lab.workflows.list_steps(ctx, id))
    found: list[StepInfo] = page.page
    return found


async def done(t: TestBackend) -> list[Any]:
    """What mutations wrote, in order."""
    return [row["what"] for row in await t.run(lambda ctx: ctx.db.query("done").collect())]


async def callbacks(t: TestBackend) -> list[tuple[str, Any]]:
    return [(row["result"]["kind"], row["context"]) for row in await t.run(lambda ctx: ctx.db.query("ended").collect())]


async def until(condition: Callable[[], bool]) -> None:
    """Let everything run until something holds that does not wait for an action at its gate. Workers take a moment of real time."""
    for _ in range(5_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to hold")


__all__ = [
    "ISOLATION",
    "Bench",
    "Isolation",
    "Lab",
    "OutOfStock",
    "WorkflowStep",
    "callbacks",
    "do",
    "done",
    "start",
    "status",
    "steps",
    "until",
]
