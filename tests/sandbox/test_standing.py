"""Where a worker stands among all processes, by what it has run: by looks at one that only notes where it is put."""

from __future__ import annotations

import pytest

from interlock.sandbox.standing import Conduct, Standing
from interlock.sandbox.zygote import BEHIND, IN_TURN, LAST


class Noted:
    """A process that can be put anywhere; where nobody is privileged, only further back."""

    def __init__(self, *, is_privileged: bool = True) -> None:
        self.place, self.moves, self._is_privileged = IN_TURN, 0, is_privileged

    def stand(self, place: int) -> bool:
        if place < self.place and not self._is_privileged:
            return False
        self.place = place
        self.moves += 1
        return True


def standing(noted: Noted, conduct: Conduct, now: float = 0.0) -> Standing:
    return Standing(noted, conduct, now)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("silent", "longest", "place"),
    [
        (0.0, 0.0, IN_TURN),
        (0.01, 0.09, IN_TURN),
        (0.02, 0.02, BEHIND),
        (0.11, 0.11, LAST),
        (0.0, 0.2, BEHIND),  # it says something all the time
        (0.0, 1.1, LAST),
    ],
)
def test_it_goes_back_by_how_long_it_was_silent_and_by_how_long_a_call_has_run(silent: float, longest: float, place: int) -> None:
    noted = Noted()
    standing(noted, Conduct()).look(silent, longest, now=0.0)
    assert noted.place == place


def test_who_says_something_comes_to_its_turn_again() -> None:
    noted = Noted()
    stood = standing(noted, Conduct())
    stood.look(0.05, 0.05, now=0.0)
    assert noted.place == BEHIND
    stood.look(0.0, 0.05, now=0.02)
    assert noted.place == IN_TURN
    stood.look(0.0, 0.05, now=0.04)
    assert noted.moves == 2, "and is left alone there"


def test_after_one_that_stood_last_the_next_stand_one_place_further_back_for_a_while() -> None:
    conduct = Conduct()
    standing(Noted(), conduct).look(0.2, 0.2, now=100.0)
    following, other = Noted(), Noted()
    stood = standing(following, conduct, now=101.0)
    standing(other, Conduct(), now=101.0)
    assert (following.place, other.place) == (BEHIND, IN_TURN)
    stood.look(0.02, 0.02, now=102.0)
    assert following.place == LAST
    stood.rest(now=103.0)
    assert following.place == BEHIND
    stood.rest(now=111.0)
    assert following.place == BEHIND, "it has stood last since"
    stood.rest(now=112.5)
    assert following.place == IN_TURN
    assert not stood.is_stuck


def test_an_import_may_take_long_in_turn_and_is_never_last() -> None:
    conduct, noted = Conduct(), Noted()
    stood = standing(noted, conduct)
    stood.look_at_loading(0.9, now=1.0)
    assert noted.place == IN_TURN
    stood.look_at_loading(9.0, now=9.0)
    assert noted.place == BEHIND
    conduct.remember(10.0, loading=True)  # it did not end
    following = Noted()
    stood = standing(following, conduct, now=69.0)
    assert following.place == BEHIND
    stood.look_at_loading(9.0, now=69.5)
    assert following.place == BEHIND
    assert conduct.first(now=70.5) == IN_TURN


def test_where_it_cannot_be_brought_back_that_is_tried_once() -> None:
    noted = Noted(is_privileged=False)
    stood = standing(noted, Conduct())
    stood.look(0.05, 0.05, now=0.0)
    stood.rest(now=0.1)
    assert stood.is_stuck
    assert noted.place == BEHIND
    stood.look(0.0, 0.0, now=0.2)
    stood.look(0.2, 0.2, now=0.4)
    assert noted.place == LAST, "further back it can go"
    assert noted.moves == 2
