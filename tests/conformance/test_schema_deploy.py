"""engine.md section 10, "Schema deploy": cases 31 to 36."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, NotRequired

import pytest

from interlock import Backend, Component, MutationCtx, QueryError, Schema, SchemaError, Table

from .conftest import WriteApp
from .deployments import Deployment, ask

pytestmark = pytest.mark.one_isolation("inline", "the app's own functions; what components do is in test_components, both ways")

NOTES = """
import asyncio
from typing import Any

from interlock import MutationCtx, QueryCtx, mutation, query

has_written, may_end = asyncio.Event(), asyncio.Event()


@mutation
async def add(ctx: MutationCtx, n: Any) -> str:
    return await ctx.db.insert("notes", {"n": n})


@mutation
async def add_slowly(ctx: MutationCtx, n: Any) -> None:
    await ctx.db.insert("notes", {"n": n})
    has_written.set()
    await may_end.wait()


@query
async def all_slowly(ctx: QueryCtx) -> list[Any]:
    has_written.set()
    await may_end.wait()
    return [row["n"] for row in await ctx.db.query("notes").collect()]


@query
async def all(ctx: QueryCtx) -> list[Any]:
    return [row["n"] for row in await ctx.db.query("notes").collect()]


@query
async def by_index(ctx: QueryCtx, index: str) -> list[Any]:
    return [row["n"] for row in await ctx.db.query("notes").index(index).collect()]
"""


def schema(n: str, *indexes: str) -> str:
    declared = "".join(f'.index("{index}", "n")' for index in indexes)
    return f'from interlock import Schema, Table\n\nschema = Schema(notes=Table({{"n": {n}}}){declared})\n'


async def test_031_a_deploy_that_stored_documents_do_not_fit_is_refused_and_the_old_code_goes_on(write_app: WriteApp) -> None:
    async with Backend(write_app({"notes": NOTES, "schema": schema("str")}), data=":memory:") as backend:
        id = await backend.mutation("notes:add", n="x")
        write_app({"notes": NOTES.replace('[row["n"] for', '["new" for'), "schema": schema("float")})
        with pytest.raises(SchemaError) as refused:
            await backend.reload()
        assert (refused.value.table, refused.value.id, refused.value.field) == ("notes", id, "n")
        assert await backend.query("notes:all") == ["x"]
        await backend.mutation("notes:add", n="y")
        with pytest.raises(SchemaError):
            await backend.mutation("notes:add", n=1)
        assert await backend.query("notes:all") == ["x", "y"]


async def test_032_a_new_field_may_be_optional_and_a_required_one_needs_an_empty_table(deployment: Deployment) -> None:
    """That no document is read for the first, as the original promises, does not show from outside."""

    def app(*, strict: dict[str, Any]) -> Component:
        app = Component("app", schema=Schema(notes=Table(strict), empty=Table(strict)))

        @app.mutation
        async def add(ctx: MutationCtx) -> None:
            await ctx.db.insert("notes", {"n": 1})

        return app

    async with deployment.start(app(strict={"n": int})) as backend:
        await ask(backend, "add")
    async with deployment.start(app(strict={"n": int, "text": NotRequired[str]})):
        pass
    with pytest.raises(SchemaError) as refused:
        async with deployment.start(app(strict={"n": int, "text": str})):
            pass
    assert (refused.value.table, refused.value.field) == ("notes", "text")


async def test_033_a_write_that_only_the_old_schema_allows_does_not_get_past_a_deploy(write_app: WriteApp) -> None:
    """The original lets the write through and fails the deploy; it checks data for a while, with the old schema still active.

    Here commits wait for the deploy, which takes one moment: a mutation that began before it runs again after it, and meets the
    new schema. Either way no stored document ever violates the active schema.
    """
    folder = write_app({"notes": NOTES, "schema": schema("str | float")})
    async with Backend(folder, data=":memory:") as backend:
        await backend.mutation("notes:add", n=1)
        notes = sys.modules["conformance_app.notes"]
        writing = asyncio.ensure_future(backend.mutation("notes:add_slowly", n="x"))
        await notes.has_written.wait()
        write_app({"schema": schema("float")})
        await backend.reload()
        notes.may_end.set()
        with pytest.raises(SchemaError):
            await writing
        assert await backend.query("notes:all") == [1]


@pytest.mark.parametrize("is_watched", [False, True], ids=["asked once", "watched"])
async def test_a_query_that_a_deploy_comes_in_between_is_answered(write_app: WriteApp, is_watched: bool) -> None:
    """Asked once by the code that it began with; who watches is shown what the new code says, and nothing else."""
    async with Backend(write_app({"notes": NOTES, "schema": schema("int")}), data=":memory:") as backend:
        await backend.mutation("notes:add", n=1)
        notes = sys.modules["conformance_app.notes"]
        asked = anext(backend.subscribe("notes:all_slowly")) if is_watched else backend.query("notes:all_slowly")
        asking = asyncio.ensure_future(asked)  # type: ignore[arg-type]
        await notes.has_written.wait()
        await backend.mutation("notes:add", n=2)
        write_app({"notes": NOTES.replace("    await may_end.wait()\n    return [row", "    return [-row"), "schema": schema("int", "new")})
        await backend.reload()
        notes.may_end.set()
        assert await asking == ([-1] if is_watched else [1])


async def test_034_one_deploy_changes_an_index_for_another(write_app: WriteApp) -> None:
    async with Backend(write_app({"notes": NOTES, "schema": schema("int", "old")}), data=":memory:") as backend:
        for n in (3, 1, 2):
            await backend.mutation("notes:add", n=n)
        assert await backend.query("notes:by_index", index="old") == [1, 2, 3]
        write_app({"schema": schema("int", "new")})
        await backend.reload()
        assert await backend.query("notes:by_index", index="new") == [1, 2, 3]
        with pytest.raises(QueryError, match="IndexNotFound"):
            await backend.query("notes:by_index", index="old")


async def test_035_a_staged_index_is_filled_without_holding_up_the_deploy(write_app: WriteApp) -> None:
    """A deploy with one returns at once; reading by it is refused; the deploy after that, without the flag, makes it usable."""
    staged = schema("int", "by_n").replace('"by_n", "n"', '"by_n", "n", staged=True')
    async with Backend(write_app({"notes": NOTES, "schema": schema("int")}), data=":memory:") as backend:
        for n in (3, 1, 2):
            await backend.mutation("notes:add", n=n)
        write_app({"schema": staged})
        await backend.reload()
        assert list(backend.engine.staging.filled.values()) == [""], "nothing is filled when the deploy is done"
        with pytest.raises(QueryError, match=r"IndexStaged: .*staged=True"):
            await backend.query("notes:by_index", index="by_n")
        await backend.mutation("notes:add", n=0)
        write_app({"schema": schema("int", "by_n")})
        await backend.reload()
        assert await backend.query("notes:by_index", index="by_n") == [0, 1, 2, 3]

        write_app({"schema": staged})
        await backend.reload()
        with pytest.raises(QueryError, match="IndexStaged"):
            await backend.query("notes:by_index", index="by_n")
        await backend.mutation("notes:add", n=-1)
        write_app({"schema": schema("int", "by_n")})
        await backend.reload()
        assert await backend.query("notes:by_index", index="by_n") == [-1, 0, 1, 2, 3]


def test_036_indexes_that_cannot_be_are_refused_where_they_are_declared() -> None:
    columns = {"a": int, **{f"f{n}": int for n in range(17)}}
    for fields in (["a", "_creationTime"], ["_id"], [f"f{n}" for n in range(17)]):
        with pytest.raises(SchemaError):
            Table(columns).index("by_them", *fields)
    with pytest.raises(SchemaError, match="same fields"):
        Table(columns).index("one", "a", "f0").index("two", "a", "f0")
    Table(columns).index("by_them", *(f"f{n}" for n in range(16)))
