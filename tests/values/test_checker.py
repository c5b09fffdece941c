"""Checking values: what comes back, what is refused and where."""

from __future__ import annotations

import enum
import math
from collections import OrderedDict
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.errors import LimitExceeded
from interlock.limits import LIMITS
from interlock.values import (
    UNSET,
    CommitTimestamp,
    Id,
    Int64,
    Mismatch,
    compile_validator,
    encode_id,
    fits_unchanged,
    from_annotation,
    is_subset,
    parse_validator,
)

from .strategies import TABLES, TWO_53, NoFit, exact, interpret, validators, values, values_for

GAME = encode_id(10_001, bytes(16))
GUESS = encode_id(10_002, bytes(16))
GameId = Annotated[str, Id("games")]


def check(annotation: Any, value: Any) -> Any:
    return compile_validator(from_annotation(annotation, where="test"), TABLES.get)(value)


def refusal(annotation: Any, value: Any) -> tuple[str, str, str]:
    with pytest.raises(Mismatch) as caught:
        check(annotation, value)
    return caught.value.path, caught.value.expected, caught.value.got


# Against the rules


@given(st.data(), validators)
def test_a_checker_does_what_the_rules_say(data: st.DataObject, validator: Any) -> None:
    value = data.draw(values_for(validator) | values)
    checked = compile_validator(validator, TABLES.get)
    try:
        expected = interpret(validator, value)
    except NoFit:
        with pytest.raises(Mismatch):
            checked(value)
    else:
        assert exact(checked(value)) == exact(expected)


@given(st.data(), validators)
def test_what_comes_back_shares_no_container_with_what_was_given_and_fits_again(data: st.DataObject, validator: Any) -> None:
    value = data.draw(values_for(validator))
    checked = compile_validator(validator, TABLES.get)
    try:
        result = checked(value)
    except Mismatch:
        return

    def containers(part: Any) -> list[int]:
        if isinstance(part, dict):
            return [id(part), *(inner for item in part.values() for inner in containers(item))]
        return [id(part), *(inner for item in part for inner in containers(item))] if isinstance(part, list) else []

    assert not set(containers(result)) & set(containers(value))
    assert exact(checked(result)) == exact(result)


@given(st.data(), validators, validators)
def test_a_subset_accepts_nothing_that_the_wider_one_refuses(data: st.DataObject, a: Any, b: Any) -> None:
    if is_subset(a, b):
        try:
            fitting = compile_validator(a, TABLES.get)(data.draw(values_for(a)))
        except Mismatch:
            return
        result = compile_validator(b, TABLES.get)(fitting)
        if fits_unchanged(a, b):
            assert exact(result) == exact(fitting)


@given(validators)
def test_every_validator_is_a_subset_of_itself_and_of_any(validator: Any) -> None:
    validator = parse_validator(validator, where="test")
    assert is_subset(validator, validator)
    assert fits_unchanged(validator, validator)
    assert is_subset(validator, {"type": "any"})


# Numbers


@pytest.mark.parametrize(
    ("annotation", "value", "result"),
    [
        (float, 5, 5.0),
        (float, 5.5, 5.5),
        (float, TWO_53, float(TWO_53)),
        (float, math.inf, math.inf),
        (float, math.nan, math.nan),
        (float, -0.0, -0.0),
        (int, 5, 5),
        (int, 5.0, 5),
        (int, -(2.0**53), -TWO_53),
        (Any, 5.0, 5),
        (Any, 5, 5),
        (Any, 0.0, 0),
        (Any, -0.0, -0.0),
        (Any, 5.5, 5.5),
        (Any, 2.0**53, 2.0**53),
        (Any, 2.0**53 - 1, TWO_53 - 1),
        (Any, {"a": [5.0]}, {"a": [5]}),
        (Any, math.inf, math.inf),
        (int | float, 5.0, 5),
        (float | int, 5, 5),
        (float | int, 5.5, 5.5),
        (float | int, 1e300, 1e300),
        (float | int, -0.0, -0.0),
        (float | None, 5, 5.0),
        (int | str, 5.0, 5),
        (Literal[1], 1.0, 1),
        (Literal[1], 1, 1),
        (Literal[0], 0.0, 0),
        (Int64, Int64(5), Int64(5)),
        (float | Int64, Int64(5), Int64(5)),
        (float | Int64, 5, 5.0),
    ],
)
def test_a_number_comes_back_in_the_form_that_the_annotation_says(annotation: Any, value: Any, result: Any) -> None:
    assert exact(check(annotation, value)) == exact(result)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 5.5),
        (int, math.nan),
        (int, math.inf),
        (int, 2.0**54),
        (int, TWO_53 + 1),
        (float, TWO_53 + 1),
        (Any, TWO_53 + 1),
        (Any, -TWO_53 - 1),
        (int | float, TWO_53 + 1),
        (int, True),
        (float, False),
        (int, Int64(5)),
        (float, Int64(5)),
        (int, "5"),
        (Int64, 5),
        (Int64, 5.0),
        (bool, 1),
        (bool, 0.0),
        (Literal[0], -0.0),
        (Literal[0], False),
        (Literal[1], True),
        (Literal[True], 1),
        (Literal[1], Int64(1)),
        (Literal[1], 1.5),
    ],
)
def test_a_number_of_another_kind_is_refused(annotation: Any, value: Any) -> None:
    assert refusal(annotation, value)[0] == ""


def test_a_bare_int_beyond_2_53_is_told_about_int64() -> None:
    for annotation in (int, float, Any):
        assert "Int64" in refusal(annotation, TWO_53 + 1)[1]


# Conformance cases of the specification


def test_a_union_of_literals_takes_each_of_them() -> None:
    annotation = Literal["a", 1]
    assert check(annotation, "a") == "a"
    assert check(annotation, 1.0) == 1
    assert refusal(annotation, Int64(1)) == ("", 'Literal["a", 1]', "Int64(1)")
    assert refusal(annotation, "b") == ("", 'Literal["a", 1]', "'b'")


def test_an_optional_field_may_be_absent_but_not_null() -> None:
    annotation = {"a": NotRequired[str]}
    assert check(annotation, {}) == {}
    assert check(annotation, {"a": "x"}) == {"a": "x"}
    assert check(annotation, {"a": UNSET}) == {}
    assert refusal(annotation, {"a": None}) == (".a", "str", "None")
    path, expected, got = refusal(annotation, {"a": "x", "b": 1})
    assert (path, got) == (".b", "1")
    assert "no such field" in expected


def test_a_nullable_field_may_be_null_but_not_absent() -> None:
    annotation = {"a": str | None}
    assert check(annotation, {"a": None}) == {"a": None}
    assert refusal(annotation, {}) == (".a", "str | None", "nothing")
    assert refusal(annotation, {"a": UNSET})[0] == ".a"


def test_a_record_takes_any_keys() -> None:
    annotation = dict[str, float]
    assert check(annotation, {}) == {}
    assert check(annotation, {"x y": 1, "gone": UNSET}) == {"x y": 1.0}
    assert refusal(annotation, {"x": "1"}) == (".x", "float", "'1'")
    assert refusal(annotation, {"x y": "1"})[0] == "['x y']"
    assert exact(check(dict, {"a": 5.0, "gone": UNSET, "b": {"c": UNSET}})) == exact({"a": 5, "b": {}})
    assert refusal(dict, [1])[1] == "dict[str, Any]"


def test_an_empty_union_takes_nothing() -> None:
    checked = compile_validator({"type": "union", "value": []}, TABLES.get)
    for value in (None, 1, "x", {}, []):
        with pytest.raises(Mismatch, match="Never"):
            checked(value)


def test_an_id_belongs_to_its_table() -> None:
    assert check(GameId, GAME) == GAME
    assert refusal(GameId, GUESS) == ("", 'Id("games")', f"'{GUESS}', an id of another table")
    assert refusal(GameId, "foo") == ("", 'Id("games")', "'foo', no id")
    assert refusal(GameId, GAME.upper())[2].endswith("no id")
    assert refusal(GameId, 5) == ("", 'Id("games")', "5")
    assert refusal(Annotated[str, Id("nowhere")], GAME)[2].endswith("another table")
    assert refusal(Annotated[str, Id("nowhere")], "foo")[2].endswith("no id")


def test_a_table_that_comes_later_is_known_from_then_on() -> None:
    numbers: dict[str, int] = {}
    checked = compile_validator({"type": "id", "tableName": "games"}, numbers.get)
    with pytest.raises(Mismatch):
        checked(GAME)
    numbers["games"] = 10_001
    assert checked(GAME) == GAME


def test_the_keys_of_a_record_may_be_ids() -> None:
    annotation = dict[Annotated[str, Id("games")], bool]
    assert check(annotation, {GAME: True}) == {GAME: True}
    assert refusal(annotation, {GUESS: True})[0] == f".{GUESS}"


def test_a_commit_timestamp_is_an_int64_or_the_placeholder() -> None:
    annotation = {"at": CommitTimestamp()}
    assert check(annotation, {"at": CommitTimestamp()}) == {"at": CommitTimestamp()}
    assert check(annotation, {"at": Int64(5)}) == {"at": Int64(5)}
    assert refusal(annotation, {"at": 5}) == (".at", "CommitTimestamp()", "5")
    assert check(Any, [CommitTimestamp()]) == [CommitTimestamp()]


# Places


def test_a_refusal_names_the_way_to_the_value() -> None:
    item = {"price": float, "tags": list[str]}
    annotation = {"items": list[item]}  # type: ignore[valid-type]
    fine = {"price": 1, "tags": ["x"]}
    assert refusal(annotation, {"items": [fine, fine, {"price": "x", "tags": []}]}) == (".items[2].price", "float", "'x'")
    assert refusal(annotation, {"items": [{"price": 1, "tags": ["a", "b", 3]}]}) == (".items[0].tags[2]", "str", "3")
    assert refusal(annotation, {"items": 5})[0] == ".items"
    assert refusal(list[bool], [True, 1])[0] == "[1]"
    assert refusal(dict[str, list[int]], {"a b": [0.5]})[0] == "['a b'][0]"


def test_a_misspelt_field_is_told_the_right_name() -> None:
    assert refusal({"name": str}, {"nmae": "x"}) == (".name", "str (there is 'nmae')", "nothing")
    assert "did you mean name?" in refusal({"name": str}, {"name": "y", "nmae": "x"})[1]
    assert "there are none" in refusal({}, {"a": 1})[1]
    assert refusal({"name": str}, {"name": "y", 5: "x"})[0] == "[5]"


class Circle(TypedDict):
    kind: Literal["circle"]
    radius: float


class Square(TypedDict):
    kind: Literal["square"]
    side: float


def test_a_tagged_union_is_about_the_member_that_the_tag_names() -> None:
    shape = Circle | Square
    assert check(shape, {"kind": "square", "side": 2}) == {"kind": "square", "side": 2.0}
    assert refusal(shape, {"kind": "square", "side": "x"}) == (".side", "float", "'x'")
    assert refusal(shape, {"kind": "square", "radius": 2})[0] == ".side"
    assert refusal(shape, {"kind": "round"}) == (".kind", 'Literal["circle", "square"]', "'round'")
    assert refusal(shape, {}) == (".kind", 'Literal["circle", "square"]', "nothing")
    assert refusal(list[shape | None], [None, {"kind": 5}])[0] == "[1].kind"


def test_a_union_is_about_the_closest_member() -> None:
    by_name, by_number = {"name": str}, {"number": float, "unit": str}
    union = from_annotation(by_name, where=""), from_annotation(by_number, where="")
    checked = compile_validator({"type": "union", "value": list(union)}, TABLES.get)
    for value, path in (({"name": 5}, ".name"), ({"number": 1, "unit": 2}, ".unit"), ({"number": [], "unit": "m"}, ".number")):
        with pytest.raises(Mismatch) as caught:
            checked(value)
        assert caught.value.path == path
    with pytest.raises(Mismatch) as caught:
        checked(5)
    assert caught.value.expected == '{"name": str} | {"number": float, "unit": str}'


def test_a_union_names_all_its_members_where_none_was_meant() -> None:
    assert refusal(GameId | None, "foo") == ("", 'Id("games") | None', "'foo', no id")
    assert refusal(str | int, None) == ("", "str | int", "None")
    assert refusal(list[str] | None, ["x", 5]) == ("[1]", "str", "5")
    assert refusal(list[str] | list[int], ["x", None]) == ("[1]", "str", "None")
    assert refusal(list[str] | list[int], [None]) == ("[0]", "str | int", "None")


def test_long_values_and_validators_are_cut() -> None:
    _, expected, got = refusal({f"field{n}": str for n in range(100)}, "x" * 100_000)
    assert len(expected) < 320
    assert len(got) < 100
    assert len(refusal(int, b"x" * 100_000)[2]) < 100
    assert "bits" in refusal(int, 10**10_000)[2]


# What is no value


@pytest.mark.parametrize(
    ("annotation", "value", "path"),
    [
        (Any, {"a": [{1}]}, ".a[0]"),
        (Any, object(), ""),
        (Any, {"a": {"$b": 1}}, ".a"),
        (Any, {"a": {"é": 1}}, ".a"),
        (Any, {"a": {1: 1}}, ".a"),
        (Any, [UNSET], "[0]"),
        (Any, "\ud800", ""),
        (str, "a\udc00", ""),
        (list[str], ["a", "\ud800"], "[1]"),
        ({"a": str}, {"a": "\ud800"}, ".a"),
        ({"a": NotRequired[str]}, {"a": "\ud800"}, ".a"),
        (str | None, "\ud800", ""),
        (dict[str, int], {"$a": 1}, ""),
        (dict[str, int], {"é": 1}, ""),
        (dict[str, int], {1: 1}, ""),
        (dict[str, int], {str(n): n for n in range(1_025)}, ""),
        (Any, {str(n): n for n in range(1_025)}, ""),
        (list[int], [1] * 8_193, ""),
        (list, [1] * 8_193, ""),
        (list[int], [1, UNSET], "[1]"),
        (str, UNSET, ""),
    ],
)
def test_what_is_no_value_is_refused_at_its_place(annotation: Any, value: Any, path: str) -> None:
    assert refusal(annotation, value)[0] == path


def test_the_largest_values_fit() -> None:
    assert len(check(list[int], [1] * 8_192)) == 8_192
    assert len(check(dict[str, int], {str(n): n for n in range(1_024)})) == 1_024


def test_nesting_counts_from_the_root_of_the_value() -> None:
    value: Any = 1
    for _ in range(63):
        value = [value]
    assert check({"a": Any}, {"a": value}) == {"a": value}
    assert "64 levels" in refusal({"a": Any}, {"a": [value]})[1]
    endless: list[Any] = []
    endless.append(endless)
    assert "64 levels" in refusal(Any, endless)[1]


def test_a_validator_that_is_too_deep_is_refused_when_compiled() -> None:
    validator: Any = {"type": "null"}
    for _ in range(64):
        validator = {"type": "array", "value": validator}
    compile_validator(validator, TABLES.get)
    with pytest.raises(TypeError, match="64 levels"):
        compile_validator({"type": "array", "value": validator}, TABLES.get)


def test_instances_of_subclasses_become_what_they_extend() -> None:
    class Color(enum.StrEnum):
        RED = "red"

    class Size(enum.IntEnum):
        BIG = 3

    class Double(float):
        pass

    assert exact(check(str, Color.RED)) == exact("red")
    assert exact(check(Literal["red"], Color.RED)) == exact("red")
    assert exact(check(Literal["red", "blue"], Color.RED)) == exact("red")
    assert exact(check(Color, "red")) == exact("red")
    assert exact(check(int, Size.BIG)) == exact(3)
    assert exact(check(float, Size.BIG)) == exact(3.0)
    assert exact(check(Literal[3], Size.BIG)) == exact(3)
    assert exact(check(float, Double(2.5))) == exact(2.5)
    assert exact(check(int | float, Double(2.0))) == exact(2)
    assert exact(check(list[int], (1, 2))) == exact([1, 2])
    assert exact(check(list[int] | None, (1, 2))) == exact([1, 2])
    assert exact(check({"a": int}, OrderedDict(a=1))) == exact({"a": 1})
    assert exact(check(dict[str, int], {Color.RED: 1})) == exact({"red": 1})
    assert exact(check(Any, {Color.RED: (Size.BIG,)})) == exact({"red": [3]})
    assert exact(check(bytes, bytearray(b"x"))) == exact(b"x")
    assert exact(check(bytes | None, bytearray(b"x"))) == exact(b"x")


def test_a_key_error_of_the_catalog_is_not_taken_for_a_missing_field() -> None:
    def broken(table: str) -> int:
        raise KeyError(table)

    checked = compile_validator(from_annotation({"game": GameId}, where="test"), broken)
    with pytest.raises(KeyError):
        checked({"game": GAME})


def test_members_of_unions_are_not_tried_without_end() -> None:
    """Ten kilobytes, and a hundred kinds of objects that each of its items could be: that would be a million tries."""
    kinds = [{"type": "object", "value": {f"k{number}": {"fieldType": {"type": "string"}, "optional": False}}} for number in range(99)]
    each = {"type": "union", "value": [*kinds, {"type": "object", "value": {}}]}
    validator = parse_validator({"type": "array", "value": each}, where="test")
    checked = compile_validator(validator, lambda table: None)
    most = int(LIMITS["union_tries"].value) // 99
    assert checked([{}] * (most // 20)) == [{}] * (most // 20)
    with pytest.raises(LimitExceeded, match="union_tries"):
        checked([{}] * (most + 1))
    assert checked([{}]) == [{}]
