"""engine.md section 10, "Values, ids, validators": cases 1 to 16."""

from __future__ import annotations

import base64
import math
import struct
import typing
from typing import Annotated, Any, Literal, NotRequired

import pytest
from tests.placed import placed

from interlock import (
    UNSET,
    ArgumentError,
    Component,
    DocumentNotFound,
    Id,
    Int64,
    LimitExceeded,
    MutationCtx,
    QueryCtx,
    Schema,
    SchemaError,
    Table,
)
from interlock.testing import TestBackend

from . import board
from .deployments import Deployment
from .wire import served

pytestmark = pytest.mark.usefixtures("both_isolations")


def writing(app: Component) -> Component:
    """With functions that do to its tables what they are told."""

    @app.mutation
    async def insert(ctx: MutationCtx, into: str, document: Any) -> str:
        return await ctx.db.insert(into, document)

    @app.mutation
    async def patch(ctx: MutationCtx, id: str, fields: Any) -> None:
        await ctx.db.patch(id, fields)

    @app.mutation
    async def delete(ctx: MutationCtx, id: str) -> None:
        await ctx.db.delete(id)

    @app.query
    async def get(ctx: QueryCtx, id: str) -> Any:
        return await ctx.db.get(id)

    @app.query
    async def count(ctx: QueryCtx) -> int:
        return await ctx.db.query("rows").count()

    return app


def free() -> Component:
    """An app without a schema."""
    app = writing(Component("app"))

    @app.mutation
    async def insert_unset(ctx: MutationCtx, is_in_a_list: bool) -> str:
        return await ctx.db.insert("rows", {"a": [UNSET] if is_in_a_list else UNSET, "b": 1})

    @app.mutation
    async def insert_named(ctx: MutationCtx, name: str) -> None:
        await ctx.db.insert("rows", {name: 1})

    @app.mutation
    async def insert_many(ctx: MutationCtx, elements: int = 0, fields: int = 0) -> None:
        await ctx.db.insert("rows", {"a": [0] * elements, "o": {f"f{n}": n for n in range(fields)}})

    @app.mutation
    async def insert_long_and_short(ctx: MutationCtx) -> str:
        try:
            await ctx.db.insert("rows", {"text": "x" * (1024 * 1024)})
        except LimitExceeded as error:
            await ctx.db.insert("rows", {"text": "short"})
            return error.limit
        return ""

    @app.query
    async def normalize(ctx: QueryCtx, table: str, text: str) -> str | None:
        return await ctx.db.normalize_id(table, text)

    return app


FREE = placed(free)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


async def insert(t: TestBackend, document: dict[str, Any], into: str = "rows") -> str:
    id: str = await t.mutation("insert", into=into, document=document)
    return id


async def test_001_a_whole_number_is_a_float_in_a_float_field_and_refused_in_an_int64_field() -> None:
    @placed
    def app() -> Component:
        app = writing(Component("app", schema=Schema(floats=Table({"n": float}), bigints=Table({"n": Int64}))))

        @app.query
        async def type_of_n(ctx: QueryCtx, id: str) -> str:
            row = await ctx.db.get(id)
            assert row is not None and row["n"] == 1
            return type(row["n"]).__name__

        return app

    async with TestBackend(app) as t:
        id = await insert(t, {"n": 1}, "floats")
        assert await t.query("type_of_n", id=id) == "float"
        with pytest.raises(SchemaError, match="Int64"):
            await insert(t, {"n": 1}, "bigints")


async def test_002_a_field_that_is_unset_is_dropped_and_unset_in_a_list_is_refused() -> None:
    async with TestBackend(FREE) as t:
        id = await t.mutation("insert_unset", is_in_a_list=False)
        assert (await t.query("get", id=id)).keys() == {"_id", "_creationTime", "b"}
        with pytest.raises(SchemaError):
            await t.mutation("insert_unset", is_in_a_list=True)
        assert await t.query("count") == 1


async def test_003_field_names_are_checked() -> None:
    async with TestBackend(FREE) as t:
        for name in ("$x", "_y", "é"):
            with pytest.raises(SchemaError):
                await t.mutation("insert_named", name=name)
        id = await insert(t, {"x": {"_y": 1}})
        assert (await t.query("get", id=id))["x"] == {"_y": 1}


async def test_004_a_list_has_at_most_8192_elements_and_an_object_at_most_1024_fields() -> None:
    async with TestBackend(FREE) as t:
        await t.mutation("insert_many", elements=8_192)
        with pytest.raises(SchemaError, match="8,192 elements"):
            await t.mutation("insert_many", elements=8_193)
        await t.mutation("insert_many", fields=1_024)
        with pytest.raises(SchemaError, match="1,024 fields"):
            await t.mutation("insert_many", fields=1_025)


async def test_005_a_document_is_nested_at_most_16_levels_itself_included() -> None:
    async with TestBackend(FREE) as t:
        await insert(t, {"a": nested(15)})
        with pytest.raises(LimitExceeded, match="document_depth"):
            await insert(t, {"a": nested(16)})


async def test_006_a_document_of_more_than_a_mebibyte_is_refused_and_the_transaction_goes_on() -> None:
    async with TestBackend(FREE) as t:
        assert await t.mutation("insert_long_and_short") == "document_bytes"
        assert [row["text"] for row in await t.run(lambda ctx: ctx.db.query("rows").collect())] == ["short"]


async def test_007_normalize_id_gives_back_ids_of_the_table_and_nothing_else() -> None:
    async with TestBackend(FREE) as t:
        user, post = await insert(t, {}, "users"), await insert(t, {}, "posts")
        await t.mutation("delete", id=user)

        async def normalize(text: str) -> Any:
            return await t.query("normalize", table="users", text=text)

        assert await normalize(post) is None
        assert await normalize("garbage") is None
        assert await normalize(user.upper()) is None
        assert await normalize(user) == user


async def test_008_a_deleted_document_reads_as_none_and_cannot_be_patched() -> None:
    async with TestBackend(FREE) as t:
        id = await insert(t, {})
        await t.mutation("delete", id=id)
        assert await t.query("get", id=id) is None
        with pytest.raises(DocumentNotFound):
            await t.mutation("patch", id=id, fields={"a": 1})


async def test_009_an_id_argument_is_accepted_when_its_document_is_gone() -> None:
    @placed
    def app() -> Component:
        app = writing(Component("app", schema=Schema(users=Table({}))))

        @app.query
        async def show(ctx: QueryCtx, user: Annotated[str, Id("users")]) -> str:
            return user

        return app

    async with TestBackend(app) as t:
        user = await insert(t, {}, "users")
        await t.mutation("delete", id=user)
        assert await t.query("show", user=user) == user


async def test_010_a_union_of_literals_takes_its_literals_alone() -> None:
    @placed
    def app() -> Component:
        app = Component("app")

        @app.query
        async def show(ctx: QueryCtx, value: Literal["a", 1]) -> Any:
            return value

        return app

    async with TestBackend(app) as t:
        assert await t.query("show", value="a") == "a"
        assert await t.query("show", value=1.0) == 1
        for value in (Int64(1), "b"):
            with pytest.raises(ArgumentError):
                await t.query("show", value=value)


async def test_011_an_optional_field_may_be_absent_and_not_null_and_no_other_may_be_there() -> None:
    @placed
    def app() -> Component:
        return writing(Component("app", schema=Schema(rows=Table({"o": {"a": NotRequired[str]}}))))

    async with TestBackend(app) as t:
        await insert(t, {"o": {}})
        await insert(t, {"o": {"a": "x"}})
        with pytest.raises(SchemaError, match=r"o\.a"):
            await insert(t, {"o": {"a": None}})
        with pytest.raises(SchemaError, match=r"\bb\b"):
            await insert(t, {"o": {"a": "x", "b": 1}})


async def test_012_a_record_takes_any_keys_and_checks_its_values() -> None:
    @placed
    def app() -> Component:
        return writing(Component("app", schema=Schema(rows=Table({"r": dict[str, float]}))))

    async with TestBackend(app) as t:
        await insert(t, {"r": {}})
        await insert(t, {"r": {"x y": 1}})
        with pytest.raises(SchemaError, match=r"r\.x"):
            await insert(t, {"r": {"x": "1"}})


async def test_013_minus_zero_is_not_the_literal_zero_and_nan_is_no_literal() -> None:
    @placed
    def app() -> Component:
        app = Component("app")

        @app.query
        async def show(ctx: QueryCtx, value: Literal[0]) -> Any:
            return value

        return app

    async with TestBackend(app) as t:
        assert await t.query("show", value=0.0) == 0
        with pytest.raises(ArgumentError):
            await t.query("show", value=-0.0)
    literal: Any = typing.Literal
    with pytest.raises(SchemaError):
        Table({"n": literal[math.nan]})


async def test_014_an_argument_of_a_type_without_values_refuses_every_call() -> None:
    """The original's empty union. Python's form of it is an Enum without members."""

    @placed
    def app() -> Component:
        from enum import Enum

        app = Component("app")
        nothing: Any = Enum("Nothing", [])

        @app.query
        async def show(ctx: QueryCtx, value: nothing) -> Any:
            return value

        return app

    async with TestBackend(app) as t:
        anything: list[Any] = [None, 1, "a", [], {}]
        for value in anything:
            with pytest.raises(ArgumentError):
                await t.query("show", value=value)


WIRE = {
    "int64": ({"$integer": "AQAAAAAAAAA="}, Int64(1)),
    "minus_zero": ({"$float": "AAAAAAAAAIA="}, -0.0),
    "bytes": ({"$bytes": "AP8="}, b"\x00\xff"),
}


async def test_015_values_that_json_lacks_travel_as_tokens() -> None:
    async with TestBackend(board.app) as t, served(t) as server:
        for wire, value in WIRE.values():
            assert await server.value("query", "board:echo", {"value": wire}) == wire
            got = await t.query("board:echo", value=value)
            assert (type(got), repr(got)) == (type(value), repr(value))


def float_token(value: float) -> Any:
    return {"$float": base64.b64encode(struct.pack("<d", value)).decode()}


EVERY_TYPE: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "whole": 1.0,
    "fraction": 0.1,
    "large": 1e300,
    "minus_zero": float_token(-0.0),
    "nan": float_token(math.nan),
    "inf": float_token(math.inf),
    "minus_inf": float_token(-math.inf),
    "int64": {"$integer": base64.b64encode(struct.pack("<q", -(2**63))).decode()},
    "string": "é\U0001f600\x00",
    "empty": "",
    "bytes": {"$bytes": "AP8="},
    "array": [None, [], {"$integer": "AQAAAAAAAAA="}],
    "object": {"": 1.0, "a b": {"_c": [{}]}},
}


async def test_016_every_type_of_value_comes_back_from_arguments_documents_results_and_the_disk(deployment: Deployment) -> None:
    """The original's case goes on through an export and an import; that is part of case 100."""
    async with deployment.start(board.app) as backend, served(backend) as server:
        assert await server.value("mutation", "board:store", {"value": EVERY_TYPE}) == EVERY_TYPE
        assert await server.value("query", "board:stored") == EVERY_TYPE
    async with deployment.start(board.app) as backend, served(backend) as server:
        assert await server.value("query", "board:stored") == EVERY_TYPE
