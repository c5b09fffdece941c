"""What is long is written in parts, and comes out as if it were not."""

from __future__ import annotations

import json
import mmap
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from tests.values.strategies import exact, values

from interlock.sandbox import long_values
from interlock.sandbox.frames import decode, encode
from interlock.sandbox.long_values import length_of, load_long, pack_long
from interlock.values import pack


@pytest.fixture
def all_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_values, "LONG", 2)
    monkeypatch.setattr(long_values, "_ITEMS", 2)


@given(value=values)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_value_has_the_same_bytes_in_parts(all_is_long: None, value: Any) -> None:
    assert bytes(pack_long(value, 200)) == pack(value)


@pytest.mark.parametrize(
    "value",
    [
        "x" * 100_000 + "\n\u2028\U0001f600" * 30_000,
        b"\x00\xff" * 100_000,
        ["x" * 1_000] * 200,
        [1.5, float("nan"), -0.0] * 50_000,
        {"b": "y" * 70_000, "a": [["z" * 40_000] * 3], "c": None},
        [[["x" * 66_000]], (), {}],
    ],
)
def test_a_long_value_crosses_as_it_is(value: Any) -> None:
    sent = json.loads(json.dumps(value)) if isinstance(value, list) and isinstance(value[-1], dict) else value  # a tuple crosses as a list
    assert exact(decode(encode(["ret", 1, value], value)[4:])) == exact(["ret", 1, sent])


def test_what_is_no_value_is_found_in_a_long_one_as_well() -> None:
    frame = decode(encode(["ret", 1, ["x" * 100_000, {1: 2}, object]], ["x" * 100_000, {1: 2}, object])[4:])
    assert frame[2][0] == "x" * 100_000
    assert [repr(item) for item in frame[2][1:]] == ["{1: 2}", "<class 'object'>"]


def test_the_items_of_a_list_count_for_how_long_it_is() -> None:
    assert length_of([1, 2.5, None, "four", [b"5"]], 3) == 5 + 4 + 1 + 1


@given(value=values)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_where_there_is_no_memory_for_orjson_another_parser_reads_the_same(monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    def full(*args: Any, **options: Any) -> Any:
        raise OSError("no memory")

    body = pack(value)
    expected = load_long(body)
    with monkeypatch.context() as patched:
        patched.setattr(mmap, "mmap", full)
        assert exact(load_long(body)) == exact(expected)
