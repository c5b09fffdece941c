"""Function handles: capabilities that can be given on, kept, and taken back."""

from __future__ import annotations

from typing import Any

import pytest
from tests.placed import placed

from interlock import (
    ActionCtx,
    ArgumentError,
    CallRefused,
    Component,
    FunctionNotFound,
    MutationCtx,
    PermissionDenied,
    QueryCtx,
    Schema,
    Table,
    WrongFunctionKind,
    components,
    reference,
)
from interlock.errors import FunctionHandleNotFound
from interlock.mounting import build_tree

from .rooms import running

pytestmark = pytest.mark.usefixtures("both_isolations")


def keeper() -> Component:
    """A component that is given handles, and calls by them."""
    made = Component("keeper", schema=Schema(kept=Table({"handle": str})))

    @made.mutation
    async def keep(ctx: MutationCtx, handle: str) -> None:
        await ctx.db.insert("kept", {"handle": handle})

    @made.mutation
    async def call(ctx: MutationCtx, handle: str, n: int) -> Any:
        return await ctx.run_mutation(handle, n=n)

    @made.mutation
    async def plan(ctx: MutationCtx, handle: str) -> str:
        return await ctx.scheduler.run_after(5, handle, n=1)

    @made.mutation
    async def revoke(ctx: MutationCtx, handle: str) -> None:
        await ctx.revoke_handle(handle)

    @made.query
    async def own(ctx: QueryCtx) -> str:
        return await ctx.function_handle("keep")

    return made


def app(*, with_target: bool = True) -> Component:
    made = Component("app", schema=Schema(notes=Table({"n": int})))
    made.use(placed(keeper), isolation="inline")

    if with_target:

        @made.mutation(internal=True)
        async def add(ctx: MutationCtx, n: int) -> list[Any]:
            await ctx.db.insert("notes", {"n": n})
            return [ctx.function.component_path, await ctx._host.identity()]

    @made.query
    async def handle(ctx: QueryCtx, name: str = "add") -> str:
        return await ctx.function_handle(name)

    @made.query
    async def childs_handle(ctx: QueryCtx) -> str:
        return await ctx.function_handle(components.keeper.keep)

    @made.query
    async def again(ctx: QueryCtx, handle: str) -> str:
        return await ctx.function_handle(handle)

    @made.query
    async def ask(ctx: QueryCtx, handle: str) -> Any:
        return await ctx.run_query(handle, n=1)

    @made.mutation
    async def give(ctx: MutationCtx, handle: str, name: str, args: dict[str, Any]) -> Any:
        return await ctx.run_mutation(components.keeper[name], handle=handle, **args)

    @made.mutation
    async def revoke(ctx: MutationCtx, handle: str, fail: bool = False) -> None:
        await ctx.revoke_handle(reference(handle).target.handle)
        if fail:
            raise ValueError

    @made.query
    async def revoke_in_a_query(ctx: QueryCtx, handle: str) -> None:
        await ctx.revoke_handle(handle)

    @made.action
    async def act(ctx: ActionCtx) -> list[Any]:
        handle = await ctx.function_handle("add")
        result = await ctx.run_mutation(handle, n=3)
        await ctx.revoke_handle(handle)
        return [handle, result]

    return made


ADA = {"subject": "ada", "tokenIdentifier": "x|ada"}


async def test_whoever_holds_a_handle_may_call_even_what_is_internal() -> None:
    async with running(app()) as rooms:
        handle = await rooms.query("handle")
        assert handle.startswith("function://")
        assert "add" not in handle
        # It runs as the app, and no identity came through the component.
        answer = await rooms.client("mutation", "give", {"handle": handle, "name": "call", "args": {"n": 4}}, identity=ADA)
        assert answer.value == ["", None]
        assert await rooms.values("notes") == [4]
        with pytest.raises(ArgumentError):
            await rooms.mutation("give", handle=handle, name="call", args={"n": "four"})
        with pytest.raises(WrongFunctionKind):
            await rooms.query("ask", handle=handle)
        job = await rooms.mutation("give", handle=handle, name="plan", args={})
        assert job


async def test_handles_are_stable_and_nobody_can_make_one_up() -> None:
    made = app()
    async with running(made) as rooms:
        handle = await rooms.query("handle")
        assert await rooms.query("handle") == handle
        assert await rooms.query("again", handle=handle) == handle
        own, childs = await rooms.query("own", component_path="keeper"), await rooms.query("childs_handle")
        assert own == childs != handle
        for forged in ("function://", "function://add", handle[:-1], handle + "A", handle.swapcase().replace("FUNCTION", "function")):
            with pytest.raises(FunctionHandleNotFound):
                await rooms.query("again", handle=forged)
        with pytest.raises(FunctionNotFound):
            await rooms.query("handle", name="nothing")
        storage = rooms.engine.storage
    async with running(made, storage=storage) as rooms:
        assert await rooms.query("handle") == handle


async def test_a_handle_works_again_when_its_function_is_back() -> None:
    async with running(app()) as rooms:
        handle = await rooms.query("handle")
        args = {"handle": handle, "name": "call", "args": {"n": 1}}
        rooms.dispatcher.adopt(build_tree(app(with_target=False), env={}, isolation="inline"))
        with pytest.raises(FunctionHandleNotFound):
            await rooms.ask("mutation", "give", args)
        rooms.dispatcher.adopt(build_tree(app(), env={}, isolation="inline"))
        await rooms.ask("mutation", "give", args)


async def test_a_revoked_handle_is_gone_and_a_new_one_is_another() -> None:
    async with running(app()) as rooms:
        first = await rooms.query("handle")
        with pytest.raises(ValueError):
            await rooms.mutation("revoke", handle=first, fail=True)
        assert await rooms.query("handle") == first  # undone with the mutation
        await rooms.mutation("revoke", handle=first)
        with pytest.raises(FunctionHandleNotFound):
            await rooms.mutation("give", handle=first, name="call", args={"n": 1})
        with pytest.raises(FunctionHandleNotFound):
            await rooms.mutation("revoke", handle=first)
        second = await rooms.query("handle")
        assert second != first
        await rooms.mutation("give", handle=second, name="call", args={"n": 1})
        await rooms.mutation("revoke", handle=second)
        assert await rooms.query("handle") not in (first, second)


async def test_only_the_owner_or_one_above_it_revokes() -> None:
    async with running(app()) as rooms:
        handle = await rooms.query("handle")
        with pytest.raises(PermissionDenied):
            await rooms.mutation("give", handle=handle, name="revoke", args={})
        own = await rooms.query("own", component_path="keeper")
        await rooms.mutation("revoke", handle=own)  # the app, for its child
        with pytest.raises(CallRefused):
            await rooms.query("revoke_in_a_query", handle=handle)


async def test_actions_make_use_and_end_handles() -> None:
    async with running(app()) as rooms:
        handle, result = await rooms.action("act")
        assert result == ["", None]
        with pytest.raises(FunctionHandleNotFound):
            await rooms.query("again", handle=handle)


async def test_the_handle_itself_is_not_told_in_errors() -> None:
    async with running(app()) as rooms:
        handle = await rooms.query("handle")
        await rooms.mutation("revoke", handle=handle)
        with pytest.raises(FunctionHandleNotFound) as gone:
            await rooms.query("again", handle=handle)
        assert handle not in str(gone.value)
        assert gone.value.code == "FunctionHandleNotFound"
