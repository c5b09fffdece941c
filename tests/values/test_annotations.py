"""What authors write becomes the validator that they mean, or an error that says what to write."""

import enum
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, NewType, NotRequired, Optional, Required, TypedDict, TypeVar, Union

import pydantic
import pytest
import typing_extensions

from interlock.values import CommitTimestamp, Id, Int64, describe, fields_from, from_annotation

T = TypeVar("T")
GameId = Annotated[str, Id("games")]
UserName = NewType("UserName", str)


class Color(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Point(TypedDict):
    x: float
    label: NotRequired[str]


class Partial(TypedDict, total=False):
    x: float
    label: Required[str]


class Larger(Partial):
    game: GameId
    inner: list["Point"]


class ReadOnlyPoint(TypedDict):
    x: typing_extensions.ReadOnly[float]
    y: NotRequired[typing_extensions.ReadOnly[float]]


class Tree(TypedDict):
    children: "list[Tree]"


class Lost(TypedDict):
    x: "Nowhere"  # type: ignore[name-defined]  # noqa: F821


class Leaf(pydantic.BaseModel):
    size: int


class Model(pydantic.BaseModel):
    name: str
    game: GameId
    nickname: str | None = None
    tags: list[str] = pydantic.Field(default_factory=list)
    leaf: Leaf
    count: Int64
    at: Annotated[Int64, CommitTimestamp()]
    maybe: GameId | None


class Numbers(pydantic.RootModel[list[int]]):
    pass


class Later(pydantic.BaseModel):
    other: "DefinedBelow"


class DefinedBelow(pydantic.BaseModel):
    size: int


class Money:
    __interlock_validator__ = {"type": "object", "value": {"cents": {"fieldType": {"type": "bigint"}, "optional": False}}}


class Box(Generic[T]):
    @classmethod
    def __interlock_validator__(cls, item: Any = Any) -> dict[str, Any]:
        return {"type": "array", "value": from_annotation(item, where="Box")}


class Percent:
    __interlock_validator__ = {"type": "number"}

    def __repr__(self) -> str:
        return "Percent()"


def text(annotation: Any) -> str:
    return describe(from_annotation(annotation, where="test"))


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (None, {"type": "null"}),
        (type(None), {"type": "null"}),
        (bool, {"type": "boolean"}),
        (str, {"type": "string"}),
        (int, {"type": "number", "integer": True}),
        (float, {"type": "number"}),
        (bytes, {"type": "bytes"}),
        (Int64, {"type": "bigint"}),
        (Any, {"type": "any"}),
        (object, {"type": "any"}),
        (CommitTimestamp(), {"type": "commitTs"}),
        (CommitTimestamp, {"type": "commitTs"}),
        (GameId, {"type": "id", "tableName": "games"}),
        (Id("games"), {"type": "id", "tableName": "games"}),
        (list, {"type": "array", "value": {"type": "any"}}),
        (list[str], {"type": "array", "value": {"type": "string"}}),
        (dict, {"type": "record", "keys": {"type": "string"}, "values": {"fieldType": {"type": "any"}, "optional": False}}),
        (
            dict[GameId, int],
            {
                "type": "record",
                "keys": {"type": "id", "tableName": "games"},
                "values": {"fieldType": {"type": "number", "integer": True}, "optional": False},
            },
        ),
        (Literal["a"], {"type": "literal", "value": "a"}),
        (Literal["a", None], {"type": "union", "value": [{"type": "literal", "value": "a"}, {"type": "null"}]}),
        (str | None, {"type": "union", "value": [{"type": "string"}, {"type": "null"}]}),
        (
            {"a": {"b": NotRequired[int]}},
            {
                "type": "object",
                "value": {
                    "a": {
                        "fieldType": {
                            "type": "object",
                            "value": {"b": {"fieldType": {"type": "number", "integer": True}, "optional": True}},
                        },
                        "optional": False,
                    }
                },
            },
        ),
    ],
    ids=str,
)
def test_an_annotation_has_the_json_of_the_language(annotation: Any, expected: dict[str, Any]) -> None:
    assert from_annotation(annotation, where="test") == expected


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Optional[str], "str | None"),  # noqa: UP045
        (Union[str, int, None], "str | int | None"),  # noqa: UP007
        (Union[str, Union[int, None]], "str | int | None"),  # noqa: UP007
        (str | Any, "Any"),
        (Literal["a", "b"] | Literal["c"], 'Literal["a", "b", "c"]'),
        (Literal[1, True, 0, False], "Literal[1, True, 0, False]"),
        (Literal[Color.RED], 'Literal["red"]'),
        (Color, 'Literal["red", "blue"]'),
        (CommitTimestamp() | None, "CommitTimestamp() | None"),
        (None | CommitTimestamp(), "None | CommitTimestamp()"),
        (Annotated[Int64, CommitTimestamp()], "CommitTimestamp()"),
        (Annotated[str, "a word"], "str"),
        (list[GameId | None], 'list[Id("games") | None]'),
        (Sequence[str], "list[str]"),
        (Mapping[str, float], "dict[str, float]"),
        (dict[UserName, int], "dict[str, int]"),
        (dict[str | GameId, int], 'dict[str | Id("games"), int]'),
        (UserName, "str"),
        (T, "Any"),
        (typing_extensions.TypeAliasType("Alias", list[str]), "list[str]"),
        (Point, '{"x": float, "label": NotRequired[str]}'),
        (Partial, '{"x": NotRequired[float], "label": str}'),
        (Larger, '{"x": NotRequired[float], "label": str, "game": Id("games"), "inner": list[{"x": float, "label": NotRequired[str]}]}'),
        (ReadOnlyPoint, '{"x": float, "y": NotRequired[float]}'),
        (
            Model,
            '{"name": str, "game": Id("games"), "nickname": NotRequired[str | None], "tags": NotRequired[list[str]], '
            '"leaf": {"size": int}, "count": Int64, "at": CommitTimestamp(), "maybe": Id("games") | None}',
        ),
        (Numbers, "list[int]"),
        (Later, '{"other": {"size": int}}'),
        (list[Leaf | None], 'list[{"size": int} | None]'),
        ({"a": NotRequired[Annotated[str, Id("games")]]}, '{"a": NotRequired[Id("games")]}'),
        ({"a": Annotated[NotRequired[str], Id("games")]}, '{"a": NotRequired[Id("games")]}'),
        (Money, '{"cents": Int64}'),
        (list[Money], 'list[{"cents": Int64}]'),
        (Box, "list[Any]"),
        (Box[str], "list[str]"),
        (Box[Box[int]], "list[list[int]]"),
        (Annotated[float, Percent()], "float"),
        ({}, "{}"),
    ],
    ids=str,
)
def test_an_annotation_means_what_a_reader_would_expect(annotation: Any, expected: str) -> None:
    assert text(annotation) == expected


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        (set[str], r"guesses:submit, argument x: set\[str\] is no type of a value; write list\[…\]"),
        (tuple[int, ...], r"write list\[…\]"),
        (tuple, r"tuple is no type of a value; write list\[…\]"),
        (complex, "complex is no type of a value"),
        (Exception, "Exception is no type of a value; there are bool"),
        (dict[int, str], "the keys of a dict are str or ids, not int"),
        (dict[Literal["a"], str], "TypedDict"),
        (dict[str | None, str], r"not str \| None"),
        (NotRequired[str], "belongs around the type of a field"),
        (list[NotRequired[str]], r"argument x\[…\]: .* belongs around"),
        (Annotated[int, Id("games")], r'Id\("games"\) marks a str, not int'),
        (Annotated[str, Id("no table")], "names no table"),
        (Literal[b"x"], "b'x' cannot be a literal"),
        (Literal[2**60], "cannot be a literal"),
        (Tree, r"argument x.children\[…\]: Tree holds itself"),
        (Lost, "Lost names a type that cannot be found: .*Nowhere"),
        ({"a": {"b": set}}, r"argument x\.a\.b: set is no type"),
        ({"$a": str}, r"'\$a' cannot be a field"),
        ({1: str}, "1 cannot be a field"),
        ("str", "'str' is a string here"),
        (list["str"], "'str' is a string here"),
        ({str(n): str for n in range(1_025)}, "1,025 fields"),
        (5, "5 is no type of a value"),
    ],
    ids=str,
)
def test_what_is_no_annotation_is_refused_with_the_place_and_what_to_write(annotation: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says) as caught:
        from_annotation(annotation, where="guesses:submit, argument x")
    assert str(caught.value).startswith("guesses:submit, argument x")


def test_each_answer_is_fresh() -> None:
    from_annotation(Money, where="test")["value"].clear()
    from_annotation(list, where="test")["value"]["type"] = "string"
    assert text(Money) == '{"cents": Int64}'
    assert text(list) == "list[Any]"


def test_a_table_is_declared_by_a_dict_a_typeddict_or_a_model() -> None:
    assert describe(fields_from({"name": str, "active": bool})) == '{"name": str, "active": bool}'
    assert describe(fields_from(Point)) == '{"x": float, "label": NotRequired[str]}'
    assert describe(fields_from(Leaf)) == '{"size": int}'


def test_the_system_fields_may_be_declared_and_are_left_out() -> None:
    class Game(TypedDict):
        _id: str
        _creationTime: float
        name: str

    assert describe(fields_from(Game)) == '{"name": str}'


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (str, "the fields are a dict of annotations, a TypedDict or a pydantic model class, not str"),
        ([str], "a dict of annotations"),
        (Numbers, "no fields of its own"),
        ({"a b": str}, "'a b' cannot be a field"),
        ({"_a": str}, "the system's"),
        ({"_": str}, "'_' cannot be a field"),
        ({"a" * 65: str}, "at most 64"),
        ({"a": set}, r"Table\.a: set is no type"),
    ],
    ids=str,
)
def test_what_cannot_declare_a_table_is_refused(fields: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        fields_from(fields)


@pytest.mark.parametrize("annotation", [list[int, str], dict[str], dict[str, int, int], [int], enum.Flag("Color", "RED BLUE")])  # type: ignore[type-arg,misc]
def test_what_would_be_read_as_something_else_is_refused_with_its_place(annotation: Any) -> None:
    with pytest.raises(TypeError, match=r"^f\.x: "):
        from_annotation(annotation, where="f.x")


def test_the_old_spellings_without_brackets_are_of_anything() -> None:
    assert from_annotation(typing.List, where="f") == from_annotation(list, where="f")  # noqa: UP006
    assert from_annotation(typing.Dict, where="f") == from_annotation(dict, where="f")  # noqa: UP006


def test_a_generic_typeddict_is_not_read_without_its_parameter() -> None:
    class Pair(TypedDict, Generic[T]):
        first: T

    with pytest.raises(TypeError, match="brackets"):
        from_annotation(Pair[int], where="f")
