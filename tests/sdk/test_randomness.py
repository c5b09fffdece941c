"""The generator of a call: cheap to seed, and otherwise a `random.Random` like any other."""

from __future__ import annotations

import copy
import pickle
import random
import statistics

from hypothesis import given
from hypothesis import strategies as st

from interlock.sdk.randomness import Drawn

seeds = st.integers(0, 2**64 - 1)
draws = st.lists(st.integers(0, 700), max_size=12)


@given(seeds, draws)
def test_one_seed_gives_one_series_of_numbers_in_range(seed: int, bits: list[int]) -> None:
    one, other = Drawn(seed), Drawn(seed)
    for k in bits:
        drawn = one.getrandbits(k)
        assert drawn == other.getrandbits(k)
        assert 0 <= drawn < 2**k
    assert one.random() == other.random()


@given(seeds, draws, st.data())
def test_a_state_that_is_put_back_gives_the_same_again(seed: int, bits: list[int], data: st.DataObject) -> None:
    drawn = Drawn(seed)
    for k in bits:
        drawn.getrandbits(k)
    state = drawn.getstate()
    series = [drawn.random() for _ in range(5)]
    twin = data.draw(st.sampled_from([Drawn(1), random.Random(1)]))
    twin.setstate(state)
    assert [twin.random() for _ in range(5)] == series
    drawn.seed(5)
    assert drawn.random() == random.Random(5).random()


def test_methods_that_were_bound_before_go_on_drawing() -> None:
    drawn = Drawn(3)
    number, bits = drawn.random, drawn.getrandbits
    series = [number() for _ in range(40)] + [float(bits(64)) for _ in range(40)]
    assert len(set(series)) == len(series)
    assert type(drawn) is random.Random, "it has gone on with Python's own"
    before = drawn.getstate()
    number()
    assert drawn.getstate() != before


def test_copies_draw_the_same() -> None:
    drawn = Drawn(9)
    drawn.random()
    for twin in (copy.copy(drawn), copy.deepcopy(drawn), pickle.loads(pickle.dumps(drawn))):
        assert twin.getstate() == drawn.getstate()
    assert Drawn().random() != Drawn().random()


def test_first_numbers_are_spread_evenly() -> None:
    first = [Drawn(seed) for seed in range(4_000)]
    chosen = [drawn.randrange(16) for drawn in first]
    assert {chosen.count(one) > 180 for one in range(16)} == {True}
    for numbers in ([drawn.random() for drawn in first], [drawn.gauss(0.5, 0.28) for drawn in first]):
        assert abs(statistics.fmean(numbers) - 0.5) < 0.025
    assert sorted(Drawn(2).sample(range(400), 400)) == list(range(400))
