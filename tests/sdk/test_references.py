"""References: names of functions, in every way in which they may be written."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from interlock import ComponentReference, FunctionNotFound, Limits, Reference, components, reference
from interlock.sdk.host import Target
from interlock.sdk.references import as_target, mount_name


def test_components_are_attributes_that_nothing_is_looked_up_for() -> None:
    assert as_target(components.leaderboard.count) == Target(name="count", mount="leaderboard")
    assert as_target(components["leaderboard"]["count"]) == Target(name="count", mount="leaderboard")
    assert as_target(components.leaderboard.options) == Target(name="options", mount="leaderboard")
    assert mount_name(components.leaderboard) == "leaderboard"
    for name in ("__wrapped__", "__len__", "__path__"):
        assert not hasattr(components, name)
        assert not hasattr(components.leaderboard, name)


def test_references_compare_by_path_and_name() -> None:
    assert components.a.add == components.a.add
    assert components.a.add != components.b.add
    assert components.a.add != components.a.count
    assert components.a.add != reference("add")
    assert components.a.add == components.a.add.options(stale=True)
    assert reference("m:f") == reference("m:f")
    assert reference("function://x") != reference("m:f")
    assert components.a == components.a
    assert components.a != components.b
    assert {components.a.add, components.a.add, components.a.add.options(name="x"), components.a.count} == {
        components.a.add,
        components.a.count,
    }
    assert len({components.a, components.a, components.b}) == 2
    assert components.a.add != "add"


def test_strings_are_names_or_handles() -> None:
    assert as_target("guesses:submit") == Target(name="guesses:submit") == as_target(reference("guesses:submit"))
    assert as_target("function://abc") == Target(name="", handle="function://abc") == as_target(reference("function://abc"))
    for nothing in ("", 5, None):
        with pytest.raises(TypeError):
            reference(nothing)  # type: ignore[arg-type]


def test_options_travel_with_the_call_and_the_last_one_said_counts() -> None:
    limits = Limits(documents_read=5)
    ref = components.a.add.options(stale=True, limits=limits).options(name="twice").options(stale=False)
    assert as_target(ref) == Target(name="add", mount="a", stale=False, limits=limits, label="twice")
    assert as_target(reference("m:f").options(name="x")).label == "x"
    assert as_target(reference("m:f").options(name="x" * 1_000)).label == "x" * 1_000
    with pytest.raises(ValueError, match="at most 1,000 characters, not of 1,001"):
        reference("m:f").options(name="x" * 1_001)


def test_what_is_no_reference_says_so() -> None:
    def function() -> None: ...

    with pytest.raises(FunctionNotFound, match=r"function.*@query"):
        as_target(function)  # type: ignore[arg-type]
    with pytest.raises(FunctionNotFound, match=r"It is a mount; name a function of it: components.a.<function>"):
        as_target(components.a)  # type: ignore[arg-type]


def test_references_print_as_they_are_written() -> None:
    assert repr(components) == "components"
    assert repr(components.a) == "components.a"
    assert repr(components.a.add) == "components.a.add"
    assert repr(reference("m:f").options(stale=True)) == "reference('m:f').options(stale=True)"


def test_references_may_be_copied() -> None:
    for ref in (components.a.add, reference("m:f"), components.a.add.options(stale=True)):
        assert pickle.loads(pickle.dumps(ref)) == ref == copy.deepcopy(ref)
        assert isinstance(ref, Reference)
    mount = components.a
    assert pickle.loads(pickle.dumps(mount)) == mount == copy.deepcopy(mount)
    assert isinstance(mount, ComponentReference)


@pytest.mark.parametrize("options", [{"limits": 5}, {"limits": {"documents_read": 1}}, {"stale": "yes"}, {"name": 5}])
def test_options_that_are_none_are_refused_where_they_are_written(options: Any) -> None:
    with pytest.raises(TypeError, match="options"):
        reference("m:f").options(**options)
