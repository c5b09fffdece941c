"""Keys sort as values do, and say themselves where they end."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.errors import ValueRefused
from interlock.values import UNSET, CommitTimestamp, Int64, after_values, decode_key, encode_id, encode_key, encode_keys

from .strategies import TWO_53, exact, floats, int64s, ints, place, scalars, texts, values, values_and_placeholders

VECTORS: list[tuple[Any, str]] = [
    (UNSET, "01"),
    (None, "03"),
    (Int64(-(2**63)), "048000000000000000"),
    (Int64(-(2**31) - 1), "04ffffffff7fffffff"),
    (Int64(-32_769), "05ffff7fff"),
    (Int64(-129), "06ff7f"),
    (Int64(-128), "0780"),
    (Int64(-1), "07ff"),
    (Int64(0), "08"),
    (Int64(1), "0901"),
    (Int64(127), "097f"),
    (Int64(128), "0a0080"),
    (Int64(32_768), "0b00008000"),
    (Int64(2**31), "0c0000000080000000"),
    (Int64(2**63 - 1), "0c7fffffffffffffff"),
    (-math.inf, "0d000fffffffffffff"),
    (-1.5, "0d4007ffffffffffff"),
    (-0.0, "0d7fffffffffffffff"),
    (0.0, "0d8000000000000000"),
    (1.0, "0dbff0000000000000"),
    (1.5, "0dbff8000000000000"),
    (math.inf, "0dfff0000000000000"),
    (math.nan, "0dfff8000000000000"),
    (False, "0e"),
    (True, "0f"),
    ("", "1000"),
    ("a", "106100"),
    ("a\0b", "106100ff6200"),
    ("é", "10c3a900"),
    (b"", "1100"),
    (b"\x00\xff", "1100ffff00"),
    ([], "1200"),
    ([Int64(1), "a"], "12090110610000"),
    ({}, "1500"),
    ({"a": None}, "1561000300"),
    ({"": Int64(1)}, "1500ff090100"),
    ([[]], "12120000"),
]


@pytest.mark.parametrize(("value", "key"), VECTORS, ids=[key for _, key in VECTORS])
def test_a_value_has_the_key_of_the_specification(value: Any, key: str) -> None:
    assert encode_key(value).hex() == key
    assert encode_keys([value]).hex() == key
    decoded, end = decode_key(bytes.fromhex(key))
    assert (exact(decoded), end) == (exact(value), len(key) // 2)


def test_an_index_key_is_its_values_then_the_id() -> None:
    text = "j5700000000000000000000000001qv0"
    assert encode_keys((1.0, UNSET, text)).hex() == "0dbff0000000000000" + "01" + "10" + text.encode().hex() + "00"
    assert text == encode_id(10_001, bytes(16))


def test_rows_of_every_type_are_in_the_order_of_the_conformance_case() -> None:
    rows = [UNSET, None, Int64(1), 0.5, False, True, "", "a", b"", [], {}]
    assert sorted(reversed(rows), key=encode_key) == rows


def test_objects_compare_by_their_sorted_pairs() -> None:
    rows = [{}, {"": 1}, {"a": 1}, {"a": 1, "b": 0}, {"a": 1, "b": 1}, {"a": 2}, {"b": 0}]
    assert sorted(reversed(rows), key=encode_key) == rows
    assert encode_key({"b": 1, "a": 2}) == encode_key({"a": 2, "b": 1})


def test_text_sorts_by_code_point() -> None:
    assert encode_key("\uffff") < encode_key("😀")


@given(st.lists(values_and_placeholders | st.just(UNSET), min_size=2, max_size=6))
def test_the_order_of_keys_is_the_order_of_values(several: list[Any]) -> None:
    for one in several:
        for other in several:
            mine, theirs = place(one), place(other)
            assert (encode_key(one) < encode_key(other)) == (mine < theirs)
            assert (encode_key(one) == encode_key(other)) == (mine == theirs)


@given(floats | ints, floats | ints)
def test_the_order_of_number_keys_is_the_order_of_numbers(one: float, other: float) -> None:
    assert (encode_key(one) < encode_key(other)) == (place(one) < place(other))


@given(int64s, int64s)
def test_the_order_of_int64_keys_is_the_order_of_integers(one: Int64, other: Int64) -> None:
    assert (encode_key(one) < encode_key(other)) == (int(one) < int(other))


@given(st.lists(texts, max_size=3), st.lists(texts, max_size=3))
def test_the_order_of_index_keys_is_the_order_of_their_columns(one: list[str], other: list[str]) -> None:
    assert (encode_keys(one) < encode_keys(other)) == ([list(map(ord, text)) for text in one] < [list(map(ord, text)) for text in other])


@given(ints)
def test_equal_numbers_have_equal_keys(number: int) -> None:
    assert encode_key(number) == encode_key(float(number))


@given(st.lists(values | st.just(UNSET), max_size=5))
def test_a_key_of_several_values_decodes_to_them_one_by_one(several: list[Any]) -> None:
    key = encode_keys(several)
    assert key == b"".join(map(encode_key, several))
    at, decoded = 0, []
    while at < len(key):
        value, at = decode_key(key, at)
        decoded.append(value)
    assert [encode_key(value) for value in decoded] == [encode_key(value) for value in several]


@given(scalars.filter(lambda value: type(value) is not int))
def test_a_scalar_decodes_to_itself(value: Any) -> None:
    assert exact(decode_key(encode_key(value))[0]) == exact(value)


@given(st.binary(max_size=12))
def test_bytes_that_are_no_key_are_refused(raw: bytes) -> None:
    """Whatever is accepted is what the encoder would have written."""
    try:
        value, end = decode_key(raw)
    except ValueError:
        return
    assert encode_key(value) == raw[:end]


@pytest.mark.parametrize("key", ["", "02", "0d00", "1061", "12", "1561", "0900", "0a0001", "10ff00"])
def test_a_key_that_is_cut_short_or_not_canonical_is_refused(key: str) -> None:
    with pytest.raises(ValueError):
        decode_key(bytes.fromhex(key))


def test_fields_that_are_unset_are_not_in_the_key_of_an_object() -> None:
    assert encode_key({"a": UNSET, "b": 1}) == encode_key({"b": 1})


def test_a_placeholder_sorts_as_the_largest_int64() -> None:
    assert encode_key(CommitTimestamp()) == encode_key(Int64(2**63 - 1))


def test_subclasses_have_the_key_of_the_type_they_extend() -> None:
    class Name(str):
        pass

    assert encode_key(Name("a")) == encode_key("a")
    assert encode_key(("a", 1)) == encode_key(["a", 1])


@pytest.mark.parametrize("value", [TWO_53 + 1, -TWO_53 - 1, "\ud800", ["\ud800"], {1: 2}, {"$a": 1}, [UNSET], {1}, object()])
def test_what_is_no_value_has_no_key(value: Any) -> None:
    with pytest.raises(ValueRefused):
        encode_key(value)
    with pytest.raises(ValueRefused):
        encode_keys([value])


def test_a_list_that_holds_itself_has_no_key() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueRefused, match="64 levels"):
        encode_key(endless)


@pytest.mark.parametrize("value", ["", "a", b"", b"\x01", ["a"], {"a": "b"}, 1.5, -2, Int64(255), None, True, UNSET])
def test_after_values_ends_behind_all_that_follow_and_before_a_text_that_goes_on(value: Any) -> None:
    key = encode_key(value)
    end = after_values(key)
    assert end is not None
    for following in ("", "\0", "\xff", b"\xff", [], {}, float("inf"), None, UNSET):
        assert key < encode_keys([value, following]) < end
    longer = {str: "\0", bytes: b"\0"}.get(type(value))
    if longer is not None:
        assert encode_keys([value + longer, 1]) > end


def test_after_no_values_there_is_no_end() -> None:
    assert after_values(b"") is None
