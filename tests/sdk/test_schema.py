"""Tables and indexes, and everything about them that is refused where it is declared."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pydantic
import pytest

from interlock import CommitTimestamp, Id, Schema, SchemaError, Table
from interlock.sdk.declarations import TableDeclaration


class Task(TypedDict):
    title: str
    state: dict[str, Any]
    note: NotRequired[str]


class Model(pydantic.BaseModel):
    title: str
    note: str | None = None


def test_a_table_is_declared_by_a_dict_a_typeddict_or_a_model() -> None:
    by_dict = Table(
        {"title": str, "state": {"kind": Literal["done", "open"]}, "at": CommitTimestamp(), "owner": Annotated[str, Id("users")]}
    )
    by_dict.index("by_kind", "state.kind", "title")
    declared = by_dict.declaration()
    assert declared.indexes == {"by_kind": ("state.kind", "title")}
    assert declared.validator["value"]["owner"] == {"fieldType": {"type": "id", "tableName": "users"}, "optional": False}
    assert declared.validator["value"]["at"]["fieldType"] == {"type": "commitTs"}
    assert TableDeclaration.from_json(declared.to_json()) == declared

    assert Table(Task).declaration().validator["value"]["note"] == {"fieldType": {"type": "string"}, "optional": True}
    assert Table(Model).index("by_note", "note").declaration().validator["value"]["note"]["optional"]


def test_index_gives_the_table_itself() -> None:
    table = Table({"a": str})
    assert table.index("by_a", "a") is table


REFUSED_INDEXES: list[tuple[str, tuple[Any, ...], str]] = [
    ("by_id", ("a",), "has it already"),
    ("by_creation_time", ("a",), "has it already"),
    ("_mine", ("a",), "begin with an underscore"),
    ("1st", ("a",), "no digit first"),
    ("x" * 65, ("a",), "at most 64"),
    ("___", ("a",), "letters"),
    ("by-a", ("a",), "letters"),
    ("é", ("a",), "ASCII"),
    ("empty", (), "no fields"),
    ("many", tuple(f"f{n}" for n in range(17)), "17 fields; at most 16"),
    ("twice", ("a", "b", "a"), "'a' twice"),
    ("own_id", ("a", "_id"), "not name _id"),
    ("own_time", ("a", "_creationTime"), "not name _creationTime"),
    ("system", ("_other",), "begins with an underscore"),
    ("gap", ("a..b",), "no path"),
    ("blank", ("",), "no path"),
    ("dollar", ("d.$x",), "no path"),
    ("number", (5,), "not 5"),
    ("missing", ("nothing",), "no document of this table can have the field 'nothing'"),
    ("deeper", ("a.b",), "can have the field 'a.b'"),
    ("in_record", ("r.key",), "can have the field 'r.key'"),
    ("taken", ("b",), "declared twice, over"),
    ("same", ("a",), "same fields as 'taken'"),
]


@pytest.mark.parametrize(("name", "fields", "said"), REFUSED_INDEXES, ids=[name for name, _, _ in REFUSED_INDEXES])
def test_an_index_is_refused_where_it_is_declared(name: str, fields: tuple[Any, ...], said: str) -> None:
    table = Table({"a": str, "b": str, "d": Any, "r": dict[str, str], **{f"f{n}": str for n in range(17)}}).index("taken", "a")
    with pytest.raises(SchemaError, match=said) as refusal:
        table.index(name, *fields)
    assert repr(name) in str(refusal.value)
    assert table.declaration().indexes == {"taken": ("a",)}


def test_indexes_may_lead_into_objects_unions_and_any() -> None:
    table = Table({"state": {"kind": str}, "any": Any, "either": Literal["x"] | None})
    table.index("one", "state.kind").index("two", "any.deep.er").index("three", "either").index("four", "either", "any")
    assert len(table.declaration().indexes) == 4


def test_a_table_has_at_most_64_indexes() -> None:
    table = Table({f"f{n}": str for n in range(65)})
    for n in range(64):
        table.index(f"by_{n}", f"f{n}")
    with pytest.raises(SchemaError, match="at most 64"):
        table.index("by_64", "f64")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"_mine": str}, "_mine"),
        ({"a b": str}, "a b"),
        ({"é": str}, "é"),
        ({"x" * 65: str}, "64"),
        ({"a": set[str]}, "set"),
        ({5: str}, "5"),
        (str, "str"),
        (5, "5"),
        ([str], "str"),
    ],
)
def test_fields_that_no_document_can_have_are_refused(fields: Any, said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        Table(fields)


def test_a_schema_is_its_tables() -> None:
    games, guesses = Table({"name": str}), Table({"game": str})
    schema = Schema(games=games, guesses=guesses)
    assert schema.strict
    assert schema.tables == {"games": games, "guesses": guesses}
    assert schema.declarations()["games"] == games.declaration()
    assert not Schema(strict=False).strict


def test_names_that_no_table_may_have_are_refused() -> None:
    for name in ("_jobs", "a b", "x" * 65, "1a", "___"):
        with pytest.raises(SchemaError, match="a table's name"):
            Schema(**{name: Table({})})  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match=r'table "games": that is no Table but dict; write games=Table'):
        Schema(games={"name": str})  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="the schema's setting"):
        Schema(strict=Table({}))  # type: ignore[arg-type]
