"""What is called in the transaction that plans it: when, within what, and what becomes of it when that cannot be."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from tests.placed import placed

from interlock import ActionCtx, AppError, Component, Limits, MutationCtx, QueryCtx, Schema, Table, reference
from interlock.testing import TestBackend


def diary() -> Component:
    """Notes what ran. "twice" fails at first, "many" writes much."""
    component = Component("diary", schema=Schema(entries=Table({"text": str})))
    at_once = reference("write").options(at_once=True)
    tried: list[str] = []

    @component.mutation
    async def write(ctx: MutationCtx, text: str) -> None:
        tried.append(text)
        if text == "twice" and tried.count(text) == 1:
            raise AppError("not at first")
        if text == "all":
            text = " ".join([row["text"] async for row in ctx.db.query("entries")])
        if text == "many":
            for _ in range(20):
                await ctx.db.insert("entries", {"text": "one of many"})
        if text == "again":
            await ctx.scheduler.run_after(0, at_once, text="the second")
        await ctx.db.insert("entries", {"text": text})

    @component.mutation
    async def plan(ctx: MutationCtx, text: str, count: int = 1, fail: bool = False, cancel: bool = False, seconds: float = 0) -> list[str]:
        few = at_once.options(limits=Limits(documents_written=10))
        ids = [await ctx.scheduler.run_after(seconds, few, text=text) for _ in range(count)]
        if cancel:
            for id in ids:
                await ctx.scheduler.cancel(id)
        await ctx.db.insert("entries", {"text": "planned"})
        if fail:
            raise AppError("undone")
        return ids

    @component.mutation
    async def plan_in_vain(ctx: MutationCtx) -> None:
        try:
            await ctx.run_mutation("plan", text="never", fail=True)
        except AppError:
            await ctx.run_mutation("plan", text="of the call below")

    @component.action
    async def act(ctx: ActionCtx) -> None:
        await ctx.scheduler.run_after(0, at_once, text="of an action")

    @component.query
    async def texts(ctx: QueryCtx) -> list[str]:
        return [row["text"] async for row in ctx.db.query("entries")]

    @component.query
    async def state(ctx: QueryCtx, id: str) -> str | None:
        job = await ctx.scheduler.get(id)
        return None if job is None else job.state

    return component


@pytest.mark.usefixtures("both_isolations")
async def test_it_runs_when_the_function_has_returned_in_the_same_transaction_and_no_job_is_left() -> None:
    async with TestBackend(placed(diary)) as t:
        [id] = await t.mutation("plan", text="all")
        assert await t.query("texts") == ["planned", "planned"]  # what it read: all that the function has written
        assert await t.query("state", id=id) is None
        assert await t.finish_scheduled() == []


@pytest.mark.usefixtures("both_isolations")
async def test_one_that_fails_there_is_undone_and_runs_as_any_other_job() -> None:
    async with TestBackend(placed(diary)) as t:
        [id] = await t.mutation("plan", text="twice")
        assert [job.id for job in await t.finish_in_progress()] == [id]
        assert (await t.query("texts"), await t.query("state", id=id)) == (["planned", "twice"], "success")


@pytest.mark.usefixtures("both_isolations")
async def test_one_that_needs_more_than_its_limits_runs_after_the_transaction() -> None:
    async with TestBackend(placed(diary)) as t:
        await t.mutation("plan", text="many")
        assert await t.query("texts") == ["planned"]
        await t.finish_in_progress()
        assert len(await t.query("texts")) == 22


@pytest.mark.usefixtures("both_isolations")
async def test_what_is_undone_cancelled_or_planned_for_later_does_not_run_at_once() -> None:
    async with TestBackend(placed(diary)) as t:
        await t.mutation("plan_in_vain")
        assert await t.query("texts") == ["planned", "of the call below"]
        [cancelled] = await t.mutation("plan", text="cancelled", cancel=True)
        [later] = await t.mutation("plan", text="later", seconds=5)
        assert [await t.query("state", id=id) for id in (cancelled, later)] == [None, "pending"]
        await t.advance(5)
        assert (await t.query("texts"))[2:] == ["planned", "planned", "later"]


@pytest.mark.usefixtures("both_isolations")
async def test_a_transaction_is_made_longer_by_a_few_and_by_none_that_they_plan() -> None:
    async with TestBackend(placed(diary)) as t:
        ids = await t.mutation("plan", text="x", count=20)
        assert [job.id for job in await t.finish_in_progress()] == ids[16:]
        assert [await t.query("state", id=id) for id in ids] == [None] * 16 + ["success"] * 4
        await t.mutation("plan", text="again")
        assert len(await t.finish_in_progress()) == 1
        assert (await t.query("texts"))[-3:] == ["planned", "again", "the second"]


@pytest.mark.usefixtures("both_isolations")
async def test_an_action_plans_it_as_any_other_job() -> None:
    async with TestBackend(placed(diary)) as t:
        await t.action("act")
        assert await t.query("texts") == []
        await t.finish_in_progress()
        assert await t.query("texts") == ["of an action"]


@pytest.mark.one_isolation("inline", "the app's own functions: a component is told no identity")
async def test_it_has_no_identity_as_no_job_has_one(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("from interlock import App\n\napp = App()\n")
    (tmp_path / "seeing.py").write_text(
        dedent(
            """
            from interlock import MutationCtx, QueryCtx, mutation, query

            @mutation
            async def see(ctx: MutationCtx):
                identity = await ctx.auth.identity()
                await ctx.db.insert("seen", {"subject": None if identity is None else identity.subject})

            @mutation
            async def plan(ctx: MutationCtx):
                await ctx.run_mutation(see)
                await ctx.scheduler.run_after(0, see.options(at_once=True))

            @query
            async def seen(ctx: QueryCtx):
                return [row["subject"] async for row in ctx.db.query("seen")]
            """
        )
    )
    async with TestBackend(tmp_path) as t:
        await t.with_identity(subject="ada").mutation("seeing:plan")
        assert await t.query("seeing:seen") == ["ada", None]
