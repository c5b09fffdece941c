"""The validator language: its JSON, its text, and which validator takes more than another."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, NotRequired

import pytest
from hypothesis import given

from interlock.values import (
    CommitTimestamp,
    Id,
    Int64,
    describe,
    fits_unchanged,
    from_annotation,
    is_subset,
    may_have_path,
    object_of,
    parse_validator,
    union_of,
)

from .strategies import exact, validators

GameId = Annotated[str, Id("games")]


def of(annotation: Any) -> dict[str, Any]:
    return from_annotation(annotation, where="test")


@given(validators)
def test_a_validator_is_parsed_as_it_is_from_its_json(validator: Any) -> None:
    parsed = parse_validator(validator, where="test")
    again = parse_validator(json.loads(json.dumps(parsed)), where="test")
    assert exact(again) == exact(parsed)
    assert describe(parsed)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "string",
        {},
        {"type": "email"},
        {"type": ["string"]},
        {"type": "id"},
        {"type": "id", "tableName": "a b"},
        {"type": "literal"},
        {"type": "literal", "value": None},
        {"type": "literal", "value": [1]},
        {"type": "literal", "value": {"$float": "AAAAAAAA+H8="}},
        {"type": "literal", "value": {"$bytes": ""}},
        {"type": "literal", "value": 2**53 + 1},
        {"type": "literal", "value": "\ud800"},
        {"type": "array"},
        {"type": "array", "value": {"type": "email"}},
        {"type": "union", "value": {}},
        {"type": "object", "value": []},
        {"type": "object", "value": {"$a": {"fieldType": {"type": "any"}, "optional": False}}},
        {"type": "object", "value": {"a": {"type": "any"}}},
        {"type": "object", "value": {"a": {"fieldType": {"type": "any"}, "optional": 1}}},
        {"type": "object", "value": {str(n): {"fieldType": {"type": "any"}, "optional": False} for n in range(1_025)}},
        {"type": "record", "keys": {"type": "string"}, "values": {"type": "any"}},
        {"type": "record", "keys": {"type": "string"}, "values": {"fieldType": {"type": "any"}, "optional": True}},
        {"type": "record", "keys": {"type": "literal", "value": "a"}, "values": {"fieldType": {"type": "any"}, "optional": False}},
        {"type": "record", "keys": {"type": "number"}, "values": {"fieldType": {"type": "any"}, "optional": False}},
    ],
    ids=lambda data: json.dumps(data)[:60],
)
def test_json_that_is_no_validator_is_refused(data: Any) -> None:
    with pytest.raises(TypeError, match=r"^manifest of mailer\S*: "):
        parse_validator(data, where="manifest of mailer")


def test_a_validator_of_endless_depth_is_refused() -> None:
    data: Any = {"type": "any"}
    for _ in range(500):
        data = {"type": "array", "value": data}
    with pytest.raises(TypeError, match="64 levels"):
        parse_validator(data, where="manifest")


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (str, "str"),
        (int, "int"),
        (float, "float"),
        (Int64, "Int64"),
        (None, "None"),
        (bool, "bool"),
        (bytes, "bytes"),
        (Any, "Any"),
        (CommitTimestamp(), "CommitTimestamp()"),
        (GameId, 'Id("games")'),
        (list[float], "list[float]"),
        (dict[str, int], "dict[str, int]"),
        (Literal["a", "b", 1], 'Literal["a", "b", 1]'),
        (Literal['a"b\\'], 'Literal["a\\"b\\\\"]'),
        (str | None, "str | None"),
        (Literal["a"] | None, 'Literal["a"] | None'),
        ({"name": str, "score": NotRequired[float]}, '{"name": str, "score": NotRequired[float]}'),
        (list[GameId | None], 'list[Id("games") | None]'),
    ],
)
def test_a_validator_reads_as_its_annotation(annotation: Any, text: str) -> None:
    assert describe(of(annotation)) == text


SUBSETS: list[tuple[Any, Any]] = [
    (str, Any),
    ({"a": str}, Any),
    (GameId, str),
    (Literal["a"], str),
    (Literal[1], int),
    (Literal[1], float),
    (Literal[True], bool),
    (bool, Literal[True, False]),
    (bool, Literal[True, False] | None),
    (int, float),
    (int, int | None),
    (Int64, CommitTimestamp()),
    (str | None, str | None | int),
    (str | None, None | str),
    (Literal["a"], Literal["a", "b"]),
    (list[int], list[float]),
    (dict[str, int], dict[str, float]),
    (dict[GameId, int], dict[str, int]),
    ({"a": str}, {"a": str, "b": NotRequired[int]}),
    ({"a": str}, {"a": NotRequired[str]}),
    ({"a": str}, {"a": str | None}),
    ({"a": int, "b": NotRequired[int]}, dict[str, int]),
    ({}, dict[GameId, int]),
]
NOT_SUBSETS: list[tuple[Any, Any]] = [
    (Any, str),
    (str, GameId),
    (GameId, Annotated[str, Id("guesses")]),
    (float, int),
    (float, Int64),
    (Int64, float),
    (Literal[True], int),
    (str, Literal["a"]),
    (bool, Literal[True]),
    (str | None, str),
    (None, bytes),
    (CommitTimestamp(), Int64),
    (list[float], list[int]),
    ({"a": str}, {}),
    ({"a": NotRequired[str]}, {"a": str}),
    ({"a": str}, {"a": str, "b": int}),
    ({"a": str | None}, {"a": str}),
    ({"a": str}, dict[str, int]),
    ({"a": str}, dict[GameId, str]),
    (dict[str, int], dict[GameId, int]),
    (dict[str, int], {"a": int}),
    (list[int], dict[str, int]),
]


@pytest.mark.parametrize(("a", "b"), SUBSETS, ids=str)
def test_a_validator_that_takes_more_needs_no_look_at_stored_documents(a: Any, b: Any) -> None:
    assert is_subset(of(a), of(b))


@pytest.mark.parametrize(("a", "b"), NOT_SUBSETS, ids=str)
def test_a_validator_that_takes_less_does(a: Any, b: Any) -> None:
    assert not is_subset(of(a), of(b))
    assert not fits_unchanged(of(a), of(b))


@pytest.mark.parametrize(
    ("a", "b", "unchanged"),
    [
        (int, float, False),
        (int, Any, True),
        (float, Any, False),
        (int, int | None, True),
        (int, int | float, True),
        (float, int | float, False),
        (int | float, Any, True),
        (int | float, float | int | None, True),
        (Literal[1], float, False),
        (Literal[1], int, True),
        ({"a": list[int]}, {"a": list[float]}, False),
        ({"a": int}, dict[str, float], False),
        (str, str | None, True),
    ],
)
def test_a_number_that_would_change_its_form_is_noticed(a: Any, b: Any, unchanged: bool) -> None:
    assert is_subset(of(a), of(b))
    assert fits_unchanged(of(a), of(b)) is unchanged


def tagged(count: int, depth: int, *, is_reversed: bool) -> dict[str, Any]:
    """A union of so many objects with a tag each, whose other field is such a union again."""
    if not depth:
        return of(str)
    inner = tagged(count, depth - 1, is_reversed=is_reversed)
    tags = reversed(range(count)) if is_reversed else range(count)
    return union_of([object_of({"inner": (inner, False), "tag": (of(Literal[f"t{tag}"]), False)}) for tag in tags])


@pytest.mark.parametrize(("count", "depth", "is_found"), [(256, 1, True), (5, 3, True), (70, 2, False)])
def test_unions_in_unions_are_compared_as_far_as_that_takes_no_minutes(count: int, depth: int, is_found: bool) -> None:
    one, other = tagged(count, depth, is_reversed=False), tagged(count, depth, is_reversed=True)
    assert is_subset(one, other) is fits_unchanged(one, other) is is_found


@pytest.mark.parametrize(
    ("annotation", "path", "possible"),
    [
        ({"a": str}, "a", True),
        ({"a": str}, "b", False),
        ({"a": str}, "a.b", False),
        ({"a": {"b": int}}, "a.b", True),
        ({"a": {"b": int}}, "a.c", False),
        ({"a": Any}, "a.b.c", True),
        ({"a": NotRequired[dict[str, int]]}, "a", True),
        ({"a": dict[str, int]}, "a.b", False),
        ({"a": list[Any]}, "a.b", False),
        (Any, "a.b", True),
    ],
    ids=str,
)
def test_an_index_is_on_a_field_that_there_may_be(annotation: Any, path: str, possible: bool) -> None:
    assert may_have_path(of(annotation), path) is possible


def test_a_field_of_one_member_of_a_union_may_be_there() -> None:
    union = {"type": "union", "value": [of({"a": str}), of({"b": {"c": str}})]}
    assert may_have_path(union, "a")
    assert may_have_path(union, "b.c")
    assert not may_have_path(union, "c")
