"""Storage bytes, copies and sizes."""

from __future__ import annotations

import enum
import math
from collections import OrderedDict
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.errors import ValueRefused
from interlock.values import COMMIT_TS_TOKEN, UNSET, CommitTimestamp, Int64, dumps, fill_commit_ts, normalize, pack, size_of, unpack

from .strategies import TWO_53, documents, exact, values, values_and_placeholders


@given(values_and_placeholders)
def test_a_value_comes_back_from_its_bytes_to_the_last_bit(value: Any) -> None:
    assert exact(unpack(pack(value))) == exact(value)


@given(documents)
def test_equal_documents_have_equal_bytes_whatever_the_order_of_their_fields(document: dict[str, Any]) -> None:
    assert pack(dict(reversed(document.items()))) == pack(document)


@given(values)
def test_plain_json_reads_what_has_no_tokens(value: Any) -> None:
    packed = pack(value)
    if b'{"$' not in packed:
        assert exact(orjson.loads(packed)) == exact(value)


def test_ints_and_floats_keep_their_form() -> None:
    assert pack({"b": 5, "a": 5.0}) == b'{"a":5.0,"b":5}'


@pytest.mark.parametrize("text", ['{"$integer":"x"}', '{"$', COMMIT_TS_TOKEN.decode(), "null"])
def test_a_string_that_looks_like_a_token_stays_a_string(text: str) -> None:
    document = {"a": text, "b": [text], "c": CommitTimestamp()}
    assert exact(unpack(pack(document))) == exact(document)
    filled = unpack(fill_commit_ts(pack(document), 7))
    assert exact(filled) == exact({"a": text, "b": [text], "c": Int64(7)})


def test_special_floats_beside_a_null_are_kept() -> None:
    document = {"a": None, "b": [math.nan, {"c": -math.inf}], "d": -0.0}
    assert exact(unpack(pack(document))) == exact(document)


def test_unset_fields_of_a_patch_can_be_carried() -> None:
    assert unpack(pack({"a": UNSET, "b": [1]})) == {"a": UNSET, "b": [1]}


@given(values_and_placeholders, st.integers(0, 2**63 - 1))
def test_filling_replaces_every_placeholder_and_nothing_else(value: Any, ts: int) -> None:
    def filled(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: filled(item) for name, item in part.items()}
        if isinstance(part, list):
            return [filled(item) for item in part]
        return Int64(ts) if isinstance(part, CommitTimestamp) else part

    assert exact(unpack(fill_commit_ts(pack(value), ts))) == exact(filled(value))
    assert fill_commit_ts(dumps(value), ts) == dumps(filled(value))


def test_what_is_no_value_is_not_packed() -> None:
    for value in (object(), {1: 2}, {1}, "\ud800"):
        with pytest.raises(TypeError):
            pack(value)


@given(values_and_placeholders)
def test_a_legal_value_is_copied_as_it_is_and_shares_nothing(value: Any) -> None:
    copy = normalize(value)
    assert exact(copy) == exact(value)

    def containers(part: Any) -> list[int]:
        if isinstance(part, dict):
            return [id(part), *(inner for item in part.values() for inner in containers(item))]
        return [id(part), *(inner for item in part for inner in containers(item))] if isinstance(part, list) else []

    assert not set(containers(copy)) & set(containers(value))


def test_tuples_become_lists_and_unset_fields_go() -> None:
    assert normalize({"a": (1, (2,)), "b": UNSET, "c": {"d": UNSET}}) == {"a": [1, [2]], "c": {}}


def test_instances_of_subclasses_become_what_they_extend() -> None:
    class Color(enum.StrEnum):
        RED = "red"

    class Size(enum.IntEnum):
        BIG = 3

    class Double(float):
        pass

    copy = normalize({"a": Color.RED, "b": OrderedDict(c=Size.BIG), "d": Double(2.5), "e": bytearray(b"x"), Color.RED: 1})
    assert exact(copy) == exact({"a": "red", "b": {"c": 3}, "d": 2.5, "e": b"x", "red": 1})
    assert type(copy["b"]) is dict
    assert pack(copy) == b'{"a":"red","b":{"c":3},"d":2.5,"e":{"$bytes":"eA=="},"red":1}'
    assert dumps({Color.RED: 1}) == b'{"red":1.0}'


@pytest.mark.parametrize(
    ("value", "path", "says"),
    [
        ({"a": [1, {1, 2}]}, ".a[1]", "{1, 2}"),
        ({"a": {"b": TWO_53 + 1}}, ".a.b", "Int64"),
        ({"a b": "\ud800"}, "['a b']", "surrogate"),
        ({"x": {"$a": 1}}, ".x", "'$a'"),
        ({"x": {"é": 1}}, ".x", "'é'"),
        ({"x": {1: 1}}, ".x", "the key 1"),
        ({"x": {None: 1}}, ".x", "the key None"),
        ({"x": {"k" * 1_025: 1}}, ".x", "1,024"),
        ([UNSET], "[0]", "UNSET"),
        ({"x": [0] * 8_193}, ".x", "8,193"),
        ({"x": {str(n): 0 for n in range(1_025)}}, ".x", "1,025"),
        (UNSET, "", "UNSET"),
        (1j, "", "1j"),
        ({"big": 10**400}, ".big", "1,329 bits"),
    ],
)
def test_what_is_no_value_is_refused_with_its_place(value: Any, path: str, says: str) -> None:
    with pytest.raises(ValueRefused) as caught:
        normalize(value)
    assert caught.value.path == path
    assert says in caught.value.reason
    with pytest.raises(ValueRefused) as caught:
        normalize(value, "fields")
    assert caught.value.path == "fields" + path


def test_nesting_of_64_levels_is_the_most() -> None:
    value: Any = 1
    for _ in range(64):
        value = [value]
    assert normalize(value) == value
    with pytest.raises(ValueRefused, match="64 levels"):
        normalize([value])
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueRefused, match="64 levels"):
        normalize(endless)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (None, 1),
        (True, 1),
        (5, 9),
        (5.5, 9),
        (Int64(1), 9),
        (CommitTimestamp(), 9),
        ({}, 2),
        ({"a": None}, 5),
        ({"a": 1.0}, 13),
        ({"a": "xy"}, 8),
        ([True, Int64(1)], 12),
        ({"_id": "x" * 32, "_creationTime": 1.5}, 63),
        ("é😀", 8),
        ([1.0, None], 12),
        ({"a": 1.0, "bc": "x"}, 19),
        (b"abc", 5),
        ({"a": {"b": [1, "x"]}}, 22),
    ],
)
def test_sizes_are_those_of_the_specification(value: Any, size: int) -> None:
    assert size_of(value) == size


@given(values)
def test_sizes_follow_the_rules(value: Any) -> None:
    def model(part: Any) -> int:
        if part is None or isinstance(part, bool):
            return 1
        if isinstance(part, int | float):
            return 9
        if isinstance(part, str):
            return 2 + len(part.encode())
        if isinstance(part, bytes):
            return 2 + len(part)
        if isinstance(part, list):
            return 2 + sum(map(model, part))
        return 2 + sum(len(name) + 1 + model(item) for name, item in part.items())

    assert size_of(value) == model(value)
