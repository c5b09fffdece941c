"""engine.md section 10, "Values, ids, validators": cases 1 to 16."""

from __future__ import annotations

import base64
import enum
import math
import struct
import typing
from typing import Annotated, Any, Literal, NotRequired

import pytest

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

pytestmark = pytest.mark.one_isolation("inline", "the app's own functions; what components do is in test_components, both ways")


def table(**fields: Any) -> Component:
    """An app with one table, `rows`."""
    return Component("app", schema=Schema(rows=Table(fields)))


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


async def insert(t: TestBackend, document: dict[str, Any], into: str = "rows") -> str:
    id: str = await t.run(lambda ctx: ctx.db.insert(into, document))
    return id


async def test_001_a_whole_number_is_a_float_in_a_float_field_and_refused_in_an_int64_field() -> None:
    app = Component("app", schema=Schema(floats=Table({"n": float}), bigints=Table({"n": Int64})))

    @app.query
    async def type_of_n(ctx: QueryCtx, id: str) -> str:
        row = await ctx.db.get(id)
        assert row is not None and row["n"] == 1
        return type(row["n"]).__name__

    async with TestBackend(app) as t:
        id = await insert(t, {"n": 1}, "floats")
        assert await t.query("type_of_n", id=id) == "float"
        with pytest.raises(SchemaError, match="Int64"):
            await insert(t, {"n": 1}, "bigints")


async def test_002_a_field_that_is_unset_is_dropped_and_unset_in_a_list_is_refused() -> None:
    async with TestBackend(Component("app")) as t:
        id = await insert(t, {"a": UNSET, "b": 1})
        assert (await t.run(lambda ctx: ctx.db.get(id))).keys() == {"_id", "_creationTime", "b"}
        with pytest.raises(SchemaError):
            await insert(t, {"a": [UNSET]})
        assert await t.run(lambda ctx: ctx.db.query("rows").count()) == 1


async def test_003_field_names_are_checked() -> None:
    async with TestBackend(Component("app")) as t:
        for document in ({"$x": 1}, {"_y": 1}, {"é": 1}):
            with pytest.raises(SchemaError):
                await insert(t, document)
        id = await insert(t, {"x": {"_y": 1}})
        assert (await t.run(lambda ctx: ctx.db.get(id)))["x"] == {"_y": 1}


async def test_004_a_list_has_at_most_8192_elements_and_an_object_at_most_1024_fields() -> None:
    async with TestBackend(Component("app")) as t:
        await insert(t, {"a": [0] * 8_192})
        with pytest.raises(SchemaError, match="8,192 elements"):
            await insert(t, {"a": [0] * 8_193})
        await insert(t, {"o": {f"f{n}": n for n in range(1_024)}})
        with pytest.raises(SchemaError, match="1,024 fields"):
            await insert(t, {"o": {f"f{n}": n for n in range(1_025)}})


async def test_005_a_document_is_nested_at_most_16_levels_itself_included() -> None:
    async with TestBackend(Component("app")) as t:
        await insert(t, {"a": nested(15)})
        with pytest.raises(LimitExceeded, match="document_depth"):
            await insert(t, {"a": nested(16)})


async def test_006_a_document_of_more_than_a_mebibyte_is_refused_and_the_transaction_goes_on() -> None:
    async def write_both(ctx: MutationCtx) -> None:
        with pytest.raises(LimitExceeded, match="document_bytes"):
            await ctx.db.insert("rows", {"text": "x" * (1024 * 1024)})
        await ctx.db.insert("rows", {"text": "short"})

    async with TestBackend(Component("app")) as t:
        await t.run(write_both)
        assert [row["text"] for row in await t.run(lambda ctx: ctx.db.query("rows").collect())] == ["short"]


async def test_007_normalize_id_gives_back_ids_of_the_table_and_nothing_else() -> None:
    async with TestBackend(Component("app")) as t:
        user, post = await insert(t, {}, "users"), await insert(t, {}, "posts")
        await t.run(lambda ctx: ctx.db.delete(user))

        async def normalize(text: str) -> Any:
            return await t.run(lambda ctx: ctx.db.normalize_id("users", text))

        assert await normalize(post) is None
        assert await normalize("garbage") is None
        assert await normalize(user.upper()) is None
        assert await normalize(user) == user


async def test_008_a_deleted_document_reads_as_none_and_cannot_be_patched() -> None:
    async with TestBackend(Component("app")) as t:
        id = await insert(t, {})
        await t.run(lambda ctx: ctx.db.delete(id))
        assert await t.run(lambda ctx: ctx.db.get(id)) is None
        with pytest.raises(DocumentNotFound):
            await t.run(lambda ctx: ctx.db.patch(id, {"a": 1}))


async def test_009_an_id_argument_is_accepted_when_its_document_is_gone() -> None:
    app = Component("app", schema=Schema(users=Table({})))

    @app.query
    async def show(ctx: QueryCtx, user: Annotated[str, Id("users")]) -> str:
        return user

    async with TestBackend(app) as t:
        user = await insert(t, {}, "users")
        await t.run(lambda ctx: ctx.db.delete(user))
        assert await t.query("show", user=user) == user


async def test_010_a_union_of_literals_takes_its_literals_alone() -> None:
    app = Component("app")

    @app.query
    async def show(ctx: QueryCtx, value: Literal["a", 1]) -> Any:
        return value

    async with TestBackend(app) as t:
        assert await t.query("show", value="a") == "a"
        assert await t.query("show", value=1.0) == 1
        for value in (Int64(1), "b"):
            with pytest.raises(ArgumentError):
                await t.query("show", value=value)


async def test_011_an_optional_field_may_be_absent_and_not_null_and_no_other_may_be_there() -> None:
    async with TestBackend(table(o={"a": NotRequired[str]})) as t:
        await insert(t, {"o": {}})
        await insert(t, {"o": {"a": "x"}})
        with pytest.raises(SchemaError, match=r"o\.a"):
            await insert(t, {"o": {"a": None}})
        with pytest.raises(SchemaError, match=r"\bb\b"):
            await insert(t, {"o": {"a": "x", "b": 1}})


async def test_012_a_record_takes_any_keys_and_checks_its_values() -> None:
    async with TestBackend(table(r=dict[str, float])) as t:
        await insert(t, {"r": {}})
        await insert(t, {"r": {"x y": 1}})
        with pytest.raises(SchemaError, match=r"r\.x"):
            await insert(t, {"r": {"x": "1"}})


async def test_013_minus_zero_is_not_the_literal_zero_and_nan_is_no_literal() -> None:
    literal: Any = typing.Literal
    app = Component("app")

    @app.query
    async def show(ctx: QueryCtx, value: Literal[0]) -> Any:
        return value

    async with TestBackend(app) as t:
        assert await t.query("show", value=0.0) == 0
        with pytest.raises(ArgumentError):
            await t.query("show", value=-0.0)
    with pytest.raises(SchemaError):
        Table({"n": literal[math.nan]})


async def test_014_an_argument_of_a_type_without_values_refuses_every_call() -> None:
    """The original's empty union. Python's form of it is an Enum without members."""

    class Nothing(enum.Enum):
        pass

    app = Component("app")

    @app.query
    async def show(ctx: QueryCtx, value: Nothing) -> Any:
        return value

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
