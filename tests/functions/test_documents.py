"""What is written: which tables and fields are refused, how a patch merges, and whose the values are."""

from __future__ import annotations

from typing import Any

import pytest
from tests.placed import placed

from interlock import UNSET, Component, DocumentNotFound, MutationCtx, QueryCtx, Schema, SchemaError, Table

from .rooms import running

pytestmark = pytest.mark.usefixtures("both_isolations")


def component() -> Component:
    return Component("app", schema=Schema(notes=Table({"n": int}).index("by_n", "n"), log=Table({"text": str})))


def writer() -> Component:
    app = component()

    @app.mutation
    async def insert(ctx: MutationCtx, table: str, document: Any) -> str:
        return await ctx.db.insert(table, document)

    @app.mutation
    async def change(ctx: MutationCtx, id: str, how: str, document: Any = None, unset: list[str] | None = None) -> None:
        if how == "delete":
            await ctx.db.delete(id)
        elif how == "patch":
            await ctx.db.patch(id, {**document, **dict.fromkeys(unset or [], UNSET)})
        else:
            await ctx.db.replace(id, document)

    @app.query
    async def get(ctx: QueryCtx, id: str) -> Any:
        return await ctx.db.get(id)

    return app


writer_component = placed(writer)


async def test_system_tables_and_foreign_names_are_refused() -> None:
    async with running(writer_component) as rooms:
        for table, document in (
            ("_requests", {}),
            ("no name", {}),
            ("notes", {"n": 1, "_id": "x"}),
            ("notes", {"n": "one"}),
        ):
            with pytest.raises(SchemaError):
                await rooms.mutation("insert", table=table, document=document)
        with pytest.raises(SchemaError, match="system's"):
            await rooms.mutation("insert", table="_jobs", document={})


async def test_ids_that_are_not_there_are_not_found() -> None:
    async with running(writer_component) as rooms:
        gone = await rooms.mutation("insert", table="notes", document={"n": 1})
        await rooms.mutation("change", id=gone, how="delete")
        for id in (gone, "nonsense", ""):
            assert await rooms.query("get", id=id) is None
            for how in ("patch", "replace", "delete"):
                with pytest.raises(DocumentNotFound):
                    await rooms.mutation("change", id=id, how=how, document={"n": 1})


async def test_patch_merges_and_unset_removes() -> None:
    async with running(writer_component) as rooms:
        id = await rooms.mutation("insert", table="free", document={"a": {"b": 0, "c": 2}, "x": 1})
        await rooms.mutation("change", id=id, how="patch", document={"a": {"b": 1}}, unset=["x"])
        row = await rooms.query("get", id=id)
        assert {name: value for name, value in row.items() if name[0] != "_"} == {"a": {"b": 1}}
        await rooms.mutation("change", id=id, how="replace", document={"y": 1})
        replaced = await rooms.query("get", id=id)
        assert replaced == {"y": 1, "_id": id, "_creationTime": row["_creationTime"]}


async def test_documents_are_copies() -> None:
    @placed
    def app() -> Component:
        app = component()

        @app.mutation
        async def tamper(ctx: MutationCtx) -> Any:
            given = {"list": [1]}
            id = await ctx.db.insert("free", given)
            given["list"].append(2)
            first = await ctx.db.get(id)
            assert first is not None
            first["list"].append(3)
            return (await ctx.db.get(id) or {})["list"]

        return app

    async with running(app) as rooms:
        assert await rooms.mutation("tamper") == [1]
