from hypothesis import given
from hypothesis import strategies as st

from interlock.engine.interval_index import IntervalIndex
from interlock.storage.protocol import Interval

keys = st.binary(max_size=2)
intervals = st.builds(Interval, keys, st.none() | keys)


@given(st.lists(st.tuples(st.booleans(), intervals, st.integers(0, 3)), max_size=120), keys, intervals)
def test_it_finds_what_a_plain_list_of_intervals_finds(steps: list[tuple[bool, Interval, int]], key: bytes, span: Interval) -> None:
    """Model: a set of (interval, item)."""
    index: IntervalIndex[int] = IntervalIndex()
    model: set[tuple[Interval, int]] = set()
    for is_added, interval, item in steps:
        if is_added:
            index.add(interval, item)
            model.add((interval, item))
        else:
            index.remove(interval, item)
            model.discard((interval, item))
    hit = {item for (start, end), item in model if start <= key and (end is None or key < end)}
    found: dict[int, None] = {}
    index.find_containing(key, found)
    assert set(found) == hit
    touched = {item for (start, end), item in model if (span.end is None or start < span.end) and (end is None or span.start < end)}
    over: dict[int, None] = {}
    index.find_overlapping(span, over)
    assert set(over) == touched
    assert len(index) == len({interval for interval, _ in model})


def test_intervals_that_nobody_looks_at_any_more_are_let_go_of() -> None:
    index: IntervalIndex[int] = IntervalIndex()
    for n in range(10_000):
        index.add(Interval(b"%d" % n, None), n)
        index.remove(Interval(b"%d" % n, None), n)
    assert len(index) == 0
    assert len(index._nodes) < 100
