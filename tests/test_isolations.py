"""No test of a component's function runs one way only by oversight: the collection refuses it, and names it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests import isolations


def item(room: str, *, isolation: str | None = None, marked: tuple[str, ...] | None = None) -> pytest.Item:
    marker = None if marked is None else SimpleNamespace(args=marked)
    made: dict[str, Any] = {"nodeid": f"{room}::test_it", "path": Path(__file__).parent / room / "test_it.py"}
    if isolation is not None:
        made["callspec"] = SimpleNamespace(params={"both_isolations": isolation})
    return cast("pytest.Item", SimpleNamespace(get_closest_marker=lambda name: marker, **made))


REASON = "the clock is the host's"


@pytest.mark.parametrize(
    ("found", "is_stray"),
    [
        (item("functions"), True),
        (item("functions", isolation="sandbox"), False),
        (item("functions", marked=("inline", REASON)), False),
        (item("functions", marked=("inline", "because")), True),
        (item("functions", marked=("inline",)), True),
        (item("functions", marked=("nowhere", REASON)), True),
        (item("values"), False),
    ],
)
def test_who_runs_one_way_only_says_why(found: pytest.Item, is_stray: bool) -> None:
    assert (isolations.strays([found]) == [found.nodeid]) == is_stray


def test_who_says_why_runs_that_way_alone() -> None:
    marked = [item("functions", isolation=isolation, marked=("inline", REASON)) for isolation in ("inline", "sandbox")]
    unmarked = [item("functions", isolation=isolation) for isolation in ("inline", "sandbox")]
    assert isolations.sorted_out([*marked, *unmarked]) == ([marked[0], *unmarked], [marked[1]])


def test_all_that_is_collected_here_keeps_to_it(request: pytest.FixtureRequest) -> None:
    assert isolations.strays(request.session.items) == []


def test_every_room_runs_both_ways_or_says_why_not() -> None:
    rooms = {path.name for path in Path(__file__).parent.iterdir() if path.is_dir() and any(path.rglob("test_*.py"))}
    assert isolations.BOTH_WAYS | isolations.ONE_WAY.keys() == rooms
    assert isolations.BOTH_WAYS.isdisjoint(isolations.ONE_WAY)
