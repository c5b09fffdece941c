"""What goes to clients and comes from them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given

from interlock.errors import ValueRefused
from interlock.values import UNSET, CommitTimestamp, Int64, dumps, from_wire, loads, to_json, to_wire

from .strategies import TWO_53, exact, values, with_whole_ints

VECTORS: list[tuple[Any, str]] = [
    (None, "null"),
    (True, "true"),
    (False, "false"),
    (0.0, "0.0"),
    (-0.0, '{"$float":"AAAAAAAAAIA="}'),
    (1.0, "1.0"),
    (-1.5, "-1.5"),
    (1e21, "1e+21"),
    (5e-324, "5e-324"),
    (2.0**53, "9007199254740992.0"),
    (1.7976931348623157e308, "1.7976931348623157e+308"),
    (math.nan, '{"$float":"AAAAAAAA+H8="}'),
    (math.inf, '{"$float":"AAAAAAAA8H8="}'),
    (-math.inf, '{"$float":"AAAAAAAA8P8="}'),
    (Int64(0), '{"$integer":"AAAAAAAAAAA="}'),
    (Int64(1), '{"$integer":"AQAAAAAAAAA="}'),
    (Int64(-1), '{"$integer":"//////////8="}'),
    (Int64(255), '{"$integer":"/wAAAAAAAAA="}'),
    (Int64(1234567890123), '{"$integer":"ywT7cR8BAAA="}'),
    (Int64(2**63 - 1), '{"$integer":"/////////38="}'),
    (Int64(-(2**63)), '{"$integer":"AAAAAAAAAIA="}'),
    ("", '""'),
    ("hello", '"hello"'),
    ("é😀\0", '"é😀\\u0000"'),
    ("$integer", '"$integer"'),
    (b"", '{"$bytes":""}'),
    (b"\x00", '{"$bytes":"AA=="}'),
    (b"\x01\x02\xff", '{"$bytes":"AQL/"}'),
    (b"\xfb\xff\xfe", '{"$bytes":"+//+"}'),
    (b"\x00\xff", '{"$bytes":"AP8="}'),
    ([], "[]"),
    ([1.0, Int64(2), "x", None, [True]], '[1.0,{"$integer":"AgAAAAAAAAA="},"x",null,[true]]'),
    ({}, "{}"),
    ({"b": 1, "a": 2, "A": 3, "_id": "x"}, '{"A":3.0,"_id":"x","a":2.0,"b":1.0}'),
    ({"10": 1, "9": 2, "a b": 3}, '{"10":1.0,"9":2.0,"a b":3.0}'),
    ({"a": UNSET, "b": 1}, '{"b":1.0}'),
    ({"": 1}, '{"":1.0}'),
    ({"o": {"f": math.nan, "i": Int64(3)}}, '{"o":{"f":{"$float":"AAAAAAAA+H8="},"i":{"$integer":"AwAAAAAAAAA="}}}'),
    ({"_x": 1, "a b-c.d": 1}, '{"_x":1.0,"a b-c.d":1.0}'),
]


@pytest.mark.parametrize(("value", "text"), VECTORS, ids=[text for _, text in VECTORS])
def test_a_value_has_the_json_of_the_specification(value: Any, text: str) -> None:
    assert dumps(value).decode() == text
    assert dumps(loads(text)).decode() == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("5.0", 5),
        ("5e0", 5),
        ("1e+21", 1e21),
        ("9007199254740992", TWO_53),
        ("9007199254740993", 2.0**53),
        ("18446744073709551615", 2.0**64),
        ("100000000000000000000", 1e20),
        ("-9223372036854775809", -(2.0**63)),
        ("0.5", 0.5),
        ("-0.0", -0.0),
        ('{"_x":1,"a b-c.d":1}', {"_x": 1, "a b-c.d": 1}),
        ('{"$float":"AAAAAAAA8H8="}', math.inf),
    ],
)
def test_every_json_number_is_one_number(text: str, value: Any) -> None:
    assert exact(loads(text)) == exact(value)


@pytest.mark.parametrize(
    "text",
    [
        '{"$integer":"AQAAAAAAAA=="}',
        '{"$integer":5}',
        '{"$integer":"AQAAAAAAAAA=","x":1}',
        '{"$integer":"AQAAAAAAAAAA"}',
        '{"$float":"AAAAAAAA8D8="}',
        '{"$float":"AAAAAAAAAAA="}',
        '{"$float":"AAAA"}',
        '{"$bytes":"-_8="}',
        '{"$bytes":"AQI"}',
        '{"$bytes":"AQJ="}',
        '{"$bytes":"A Q=="}',
        '{"$bytes":null}',
        '{"$bytes":"é"}',
        '{"$set":[]}',
        '{"$map":[]}',
        '{"$foo":1}',
        '{"$undefined":null}',
        '{"$commitTs":null}',
        '{"$":1}',
        '{"a":1,"$b":2}',
        '{"é":1}',
        '{"a\\nb":1}',
        '{"a\\u007f":1}',
        json.dumps({"k" * 1_025: 1}),
        '"\\ud800"',
        '{"a":"\\udc00"}',
        "NaN",
        "Infinity",
        "[1",
        "",
        json.dumps([0] * 8_193),
        json.dumps({str(n): 0 for n in range(1_025)}),
        "[" * 65 + "]" * 65,
        '{"a":' * 65 + "1" + "}" * 65,
    ],
    ids=lambda text: text[:40],
)
def test_what_the_rules_do_not_allow_is_refused(text: str) -> None:
    with pytest.raises(ValueRefused):
        loads(text)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"k" * 1_024: 1}),
        json.dumps([0] * 8_192),
        json.dumps({str(n): 0 for n in range(1_024)}),
        "[" * 64 + "]" * 64,
        '{"a":' * 64 + "1" + "}" * 64,
    ],
    ids=lambda text: text[:40],
)
def test_the_largest_that_is_allowed_is_accepted(text: str) -> None:
    assert json.loads(dumps(loads(text))) == json.loads(text)


def test_a_refusal_names_the_place() -> None:
    with pytest.raises(ValueRefused) as caught:
        from_wire({"items": [{"price": 1}, {"price": {"$float": "AAAAAAAA8D8="}}]})
    assert caught.value.path == ".items[1].price"
    assert "must be $float with" in str(caught.value)
    with pytest.raises(ValueRefused) as caught:
        from_wire({"a b": {"$x": 1}}, "argument ")
    assert caught.value.path == "argument ['a b']"
    assert "the key '$x'" in str(caught.value)


def test_json_of_other_parsers_is_read_as_strictly() -> None:
    for obj in (math.nan, "\ud800", 10**400, b"x", (1,), {1: 2}):
        with pytest.raises(ValueRefused):
            from_wire(obj)


@given(values)
def test_a_value_comes_back_from_the_wire_with_whole_numbers_as_ints(value: Any) -> None:
    assert exact(loads(dumps(value))) == exact(with_whole_ints(value, TWO_53))
    assert exact(from_wire(to_wire(value))) == exact(with_whole_ints(value, TWO_53))


@given(values)
def test_equal_values_have_equal_encodings(value: Any) -> None:
    assert dumps(loads(dumps(value))) == dumps(value)


@given(values)
def test_the_wire_form_is_plain_json_whose_numbers_are_all_floats(value: Any) -> None:
    def check(part: Any) -> None:
        assert type(part) in (type(None), bool, float, str, list, dict)
        for inner in part.values() if type(part) is dict else part if type(part) is list else ():
            check(inner)

    check(to_wire(value))
    assert json.loads(json.dumps(to_wire(value), allow_nan=False)) == to_wire(value)


def test_the_placeholder_goes_out_as_its_token() -> None:
    assert dumps([CommitTimestamp()]) == b'[{"$commitTs":null}]'


@pytest.mark.parametrize("value", [TWO_53 + 1, "\ud800", {1: 2}, {"$a": 1}, {"é": 1}, [UNSET], UNSET, {1}, object(), 1j])
def test_what_is_no_value_is_not_sent(value: Any) -> None:
    with pytest.raises(ValueRefused):
        to_wire(value)
    with pytest.raises(ValueRefused):
        dumps({"a": [value]})


def test_a_value_that_holds_itself_is_not_sent() -> None:
    endless: dict[str, Any] = {}
    endless["a"] = endless
    with pytest.raises(ValueRefused, match="64 levels"):
        dumps(endless)


ALL = {"b": b"\xfb\xff\xfe", "f": 5, "i": Int64(5), "inf": math.inf, "minus": -math.inf, "nan": math.nan, "zero": -0.0}


@pytest.mark.parametrize(
    ("formats", "expected"),
    [
        (
            ("json", "convex_clean_json"),
            {"b": "+//+", "f": 5.0, "i": "5", "inf": "Infinity", "minus": "-Infinity", "nan": "NaN", "zero": -0.0},
        ),
        (("convex_encoded_json", "convex_json"), to_wire(ALL)),
        (
            ("export_json",),
            {
                "b": {"$bytes": "+//+"},
                "f": 5.0,
                "i": 5,
                "inf": {"$float": "AAAAAAAA8H8="},
                "minus": {"$float": "AAAAAAAA8P8="},
                "nan": {"$float": "AAAAAAAA+H8="},
                "zero": -0.0,
            },
        ),
    ],
)
def test_each_format_writes_what_json_lacks_in_its_way(formats: tuple[str, ...], expected: dict[str, Any]) -> None:
    for format in formats:
        rendered = to_json(ALL, format)
        assert json.dumps(rendered) == json.dumps(expected)
        assert type(rendered["f"]) is float


def test_a_format_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueRefused, match="export_json"):
        to_json(1, "xml")
