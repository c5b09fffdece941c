"""The types that Python lacks."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from interlock.errors import ValueRefused
from interlock.values import UNSET, CommitTimestamp, Id, Int64, Unset, is_identifier


@pytest.mark.parametrize("number", [0, 1, -1, 2**63 - 1, -(2**63)])
def test_an_int64_is_an_int_of_its_own_type(number: int) -> None:
    wrapped = Int64(number)
    assert wrapped == number
    assert repr(wrapped) == f"Int64({number})"
    assert f"{wrapped}" == str(wrapped) == str(number)
    assert type(pickle.loads(pickle.dumps(wrapped))) is Int64


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_an_int64_has_64_bits(number: int) -> None:
    with pytest.raises(ValueRefused, match="64 bits"):
        Int64(number)


@pytest.mark.parametrize("number", [1.0, "1", None])
def test_an_int64_is_made_of_whole_numbers(number: Any) -> None:
    with pytest.raises(TypeError):
        Int64(number)


def test_unset_is_one_and_false() -> None:
    assert not UNSET
    assert repr(UNSET) == "UNSET"
    assert Unset() is UNSET
    assert copy.deepcopy(UNSET) is pickle.loads(pickle.dumps(UNSET)) is UNSET


def test_the_placeholder_is_one() -> None:
    placeholder = CommitTimestamp()
    assert placeholder is CommitTimestamp()
    assert copy.deepcopy(placeholder) is pickle.loads(pickle.dumps(placeholder)) is placeholder


def test_an_id_marker_names_its_table() -> None:
    assert Id("games").table == "games"
    assert Id("games") == Id("games") != Id("guesses")


@pytest.mark.parametrize("name", ["a", "_a", "A1", "a" * 64, "__a"])
def test_an_identifier_may_name_things(name: str) -> None:
    assert is_identifier(name)


@pytest.mark.parametrize("name", ["", "_", "___", "1a", "a b", "a-b", "é", "a" * 65, "a\n", "$a"])
def test_other_text_may_not_name_things(name: str) -> None:
    assert not is_identifier(name)
