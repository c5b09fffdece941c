"""Whose turn it is: fairness between instances, without an engine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.scheduler.lane import Lane, Rounds


def lanes(**ready: int) -> dict[str, Lane]:
    made = {path: Lane(path, 0) for path in ready}
    for path, count in ready.items():
        made[path].add([{"_id": f"{path}{at}"} for at in range(count)])
    return made


def rounds(slots: int, made: dict[str, Lane]) -> Rounds:
    rounds = Rounds(slots)
    rounds.set_lanes(made)
    return rounds


def taken(rounds: Rounds, most: int = 1_000) -> list[str]:
    """Jobs that are taken and begun, and then wait."""
    found: list[str] = []
    while len(found) < most and (turn := rounds.take()) is not None:
        rounds.has_begun(turn[0])
        found.append(turn[1]["_id"])
    return found


def begun(rounds: Rounds, is_busy: bool = False, now: float = 0.0) -> list[str]:
    """Jobs that are taken, and keep the process busy."""
    found: list[str] = []
    while (turn := rounds.take(is_busy, now)) is not None:
        found.append(turn[1]["_id"])
    return found


@pytest.mark.one_isolation("inline", "no component runs: whose turn is next")
def test_instances_take_turns() -> None:
    assert taken(rounds(10, lanes(a=3, b=3, c=1))) == ["a0", "b0", "c0", "a1", "b1", "a2", "b2"]


@pytest.mark.one_isolation("inline", "no component runs: whose turn is next")
def test_there_are_no_more_than_the_slots() -> None:
    made = lanes(a=100)
    turns = rounds(8, made)
    assert len(taken(turns)) == 8
    assert turns.take() is None
    turns.give_back(made["a"])
    assert len(taken(turns)) == 1


@pytest.mark.one_isolation("inline", "no component runs: whose turn is next")
def test_a_slot_is_kept_for_every_instance_that_runs_none() -> None:
    made = lanes(a=100, b=0, c=0)
    turns = rounds(8, made)
    assert len(taken(turns)) == 6
    made["b"].add([{"_id": "b0"}, {"_id": "b1"}])
    assert taken(turns) == ["b0"]  # the last one is kept for c


@pytest.mark.one_isolation("inline", "no component runs: whose turn is next")
def test_at_most_half_of_the_slots_are_kept() -> None:
    made = lanes(a=100, **{f"idle{at}": 0 for at in range(50)})
    assert len(taken(rounds(8, made))) == 4


@pytest.mark.one_isolation("inline", "no component runs: whose turn is next")
def test_of_one_mount_a_few_jobs_are_begun_at_a_time_whatever_slots_there_are() -> None:
    made = lanes(**{"a": 100, "a/child": 100, "b": 1})
    turns = rounds(64, made)
    found = begun(turns)
    assert len(found) == 16 + 1 and "b0" in found
    turns.has_begun(made["a"])
    assert len(begun(turns)) == 1


@pytest.mark.one_isolation("inline", "no component runs: whose turn is next")
def test_while_the_app_is_busy_with_its_own_they_are_fewer() -> None:
    made = lanes(a=100, b=100)
    assert begun(rounds(64, made), is_busy=True) == ["a0", "b0", "a1", "b1"]


@pytest.mark.one_isolation("inline", "no component runs: whose turn is next")
def test_the_jobs_of_the_app_itself_have_no_such_bound() -> None:
    assert len(begun(rounds(64, lanes(**{"": 100})), is_busy=True)) == 64


@pytest.mark.one_isolation("inline", "no component runs: whose turn is next")
def test_a_mount_that_floods_rests_while_the_app_is_busy() -> None:
    made = lanes(a=100, **{"a/child": 100})
    for lane in made.values():
        lane.floods = True
    turns = rounds(64, made)
    assert begun(turns, is_busy=True, now=1.0) == ["a0"]
    turns.has_begun(made["a"])
    turns.give_back(made["a"], now=1.002, took=0.002)
    assert begun(turns, is_busy=True, now=1.019) == []
    assert begun(turns, is_busy=True, now=1.021) == ["a/child0"]
    turns.has_begun(made["a/child"])
    turns.give_back(made["a/child"], now=2.0, took=1.0)
    assert begun(turns, is_busy=True, now=2.11) == ["a1"]  # no rest is longer than a tenth of a second
    turns.has_begun(made["a"])
    turns.give_back(made["a"], now=3.0, took=0.01)
    assert len(begun(turns, is_busy=False, now=3.0)) == 16  # nobody is kept waiting for


@pytest.mark.one_isolation("inline", "no component runs: whose turn is next")
def test_a_job_that_was_taken_is_not_taken_twice() -> None:
    lane = Lane("a", 0)
    lane.add([{"_id": "1"}, {"_id": "2"}])
    lane.ready.popleft()
    lane.add([{"_id": "1"}, {"_id": "2"}, {"_id": "3"}])
    assert [row["_id"] for row in lane.ready] == ["2", "3"]


@given(counts=st.lists(st.integers(0, 30), min_size=1, max_size=6), slots=st.integers(1, 12), ends=st.data())
@pytest.mark.one_isolation("inline", "no component runs: whose turn is next")
def test_every_job_gets_its_turn_and_nobody_waits_for_ever(counts: list[int], slots: int, ends: st.DataObject) -> None:
    """Whatever ends when: all jobs run, never more at once than there are slots, those of one instance in order."""
    made = lanes(**{f"i{at}": count for at, count in enumerate(counts)})
    turns = rounds(slots, made)
    running: list[Lane] = []
    ran: dict[str, list[str]] = {path: [] for path in made}
    while any(lane.ready for lane in made.values()):
        while (turn := turns.take()) is not None:
            turns.has_begun(turn[0])
            running.append(turn[0])
            ran[turn[0].path].append(turn[1]["_id"])
        assert 0 < len(running) <= slots
        turns.give_back(running.pop(ends.draw(st.integers(0, len(running) - 1))))
    assert ran == {path: [f"{path}{at}" for at in range(count)] for path, count in zip(made, counts, strict=True)}
