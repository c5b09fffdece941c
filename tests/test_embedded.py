"""A backend embedded in a program: what holds for its callers and subscribers, whatever becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from interlock import (
    Backend,
    CallRefused,
    Component,
    LimitExceeded,
    MountError,
    MutationCtx,
    QueryCtx,
    Schema,
    SchemaError,
    StorageUnavailable,
    Table,
    reference,
)
from interlock.engine import EngineSettings
from interlock.errors import FunctionHandleNotFound
from interlock.limits import Limits
from interlock.storage.memory import MemoryStorage
from interlock.storage.protocol import Commit


def notes() -> Component:
    component = Component("notes", schema=Schema(notes=Table({"n": int})))

    @component.mutation
    async def add(ctx: MutationCtx, n: int = 1) -> str:
        return await ctx.db.insert("notes", {"n": n})

    @component.query
    async def count(ctx: QueryCtx) -> int:
        return await ctx.db.query("notes").count()

    @component.mutation
    async def odd(ctx: MutationCtx) -> None:
        fields: Any = {1: 2}
        await ctx.db.insert("notes", fields)

    @component.query
    async def handle(ctx: QueryCtx) -> str:
        return await ctx.function_handle(count)

    @component.mutation
    async def revoke(ctx: MutationCtx) -> None:
        handle: Any = 5
        await ctx.revoke_handle(handle)

    return component


class LosingStorage(MemoryStorage):
    """Memory whose next write ends without saying how."""

    is_lost = False

    async def append(self, commits: Any) -> Any:
        if self.is_lost and any(isinstance(commit, Commit) for commit in commits):
            raise OSError("the disk is gone")
        return await super().append(commits)


async def follow(results: AsyncIterator[Any], seen: asyncio.Queue[Any]) -> None:
    async for result in results:
        seen.put_nowait(result)


async def test_a_subscriber_is_told_when_the_backend_is_closed() -> None:
    seen: asyncio.Queue[Any] = asyncio.Queue()
    async with Backend(notes(), data=":memory:") as backend:
        following = asyncio.create_task(follow(backend.subscribe("count"), seen))
        assert await seen.get() == 0
        await backend.mutation("add")
        assert await seen.get() == 1
    with pytest.raises(StorageUnavailable, match="not open"):
        await asyncio.wait_for(following, 5)


async def test_when_it_is_not_known_what_is_on_disk_every_call_raises_and_subscribers_are_told() -> None:
    storage = LosingStorage()
    seen: asyncio.Queue[Any] = asyncio.Queue()
    async with Backend(notes(), storage=storage) as backend:
        following = asyncio.create_task(follow(backend.subscribe("count"), seen))
        assert await seen.get() == 0
        storage.is_lost = True
        for call in (backend.mutation, backend.mutation, backend.query):
            with pytest.raises(StorageUnavailable, match="not known"):
                await call("add" if call == backend.mutation else "count")
        with pytest.raises(StorageUnavailable, match="not known"):
            await asyncio.wait_for(following, 5)


async def test_options_of_a_reference_count_for_the_embedding_program_too() -> None:
    add = reference("add")
    async with Backend(notes(), data=":memory:") as backend:
        with pytest.raises(LimitExceeded, match="documents_written"):
            await backend.mutation(add.options(limits=Limits(documents_written=0)))
        await backend.mutation(add.options(limits=Limits(documents_written=1)))


async def test_a_handle_is_called_and_not_subscribed_to() -> None:
    async with Backend(notes(), data=":memory:") as backend:
        handle = await backend.query("handle")
        assert await backend.query(handle) == 0
        with pytest.raises(CallRefused, match="handle"):
            await anext(aiter(backend.subscribe(handle)))
        with pytest.raises(FunctionHandleNotFound):
            await backend.mutation("revoke")


async def test_a_field_without_a_name_is_refused() -> None:
    async with Backend(notes(), data=":memory:") as backend:
        with pytest.raises(SchemaError, match="a field's name is a string"):
            await backend.mutation("odd")


async def test_the_environment_sets_the_window_of_the_log_and_the_memory_for_tables() -> None:
    env = {"INTERLOCK_HISTORY_SECONDS": "60.5", "INTERLOCK_MEMORY_BYTES": "0"}
    async with Backend(notes(), data=":memory:", env=env) as backend:
        assert backend.engine.settings == EngineSettings(memory_bytes=0, history_seconds=60.5)
        await backend.mutation("add")
        assert await backend.query("count") == 1
    async with Backend(notes(), data=":memory:", env={"INTERLOCK_MEMORY_BYTES": ""}) as backend:
        assert backend.engine.settings == EngineSettings()
    for wrong in ("much", "-1", "nan", "inf"):
        with pytest.raises(MountError, match="INTERLOCK_MEMORY_BYTES"):
            await Backend(notes(), data=":memory:", env={"INTERLOCK_MEMORY_BYTES": wrong}).open()
