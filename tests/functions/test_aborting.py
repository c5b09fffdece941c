"""Functions that raise what is meant to end more than a call: they end that call, and nobody else notices."""

from __future__ import annotations

import asyncio

import pytest
from tests.functions import rough
from tests.placed import replaced

from interlock import ActionCtx, FunctionAborted, MutationCtx
from interlock.testing import TestBackend

pytestmark = pytest.mark.usefixtures("both_isolations")
component = replaced(rough.component)


@pytest.mark.parametrize(
    "kind, name",
    [
        ("query", "leaves"),
        ("mutation", "writes_and_leaves"),
        ("mutation", "cancels"),
        ("mutation", "closes"),
        ("mutation", "closes_later"),
        ("mutation", "closes_plainly"),
        ("mutation", "is_closed"),
        ("action", "waits_for_what_it_cancelled"),
        ("action", "leaves_its_thread"),
    ],
)
async def test_it_ends_its_own_call_with_an_error_and_leaves_nothing(kind: str, name: str) -> None:
    async with TestBackend(component) as t:
        with pytest.raises(FunctionAborted, match=name):
            await getattr(t, kind)(name)
        assert await t.run(lambda ctx: ctx.db.query("rows").collect()) == []


async def test_a_job_that_does_fails_and_others_run() -> None:
    async with TestBackend(component) as t:
        job = await t.mutation("later")
        await t.advance(1)

        async def state_of(ctx: MutationCtx) -> str:
            found = await ctx.scheduler.get(job)
            return found.state if found is not None else "gone"

        assert await t.run(state_of) == "failed"
        assert await t.mutation("goes_on") == 1


async def test_a_cancellation_from_outside_still_passes() -> None:
    async with TestBackend(component) as t:

        async def waits(ctx: ActionCtx) -> None:
            await asyncio.Event().wait()

        task = asyncio.ensure_future(t.action(waits))
        for _ in range(20):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
