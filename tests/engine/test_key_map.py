"""Ranges of an index in memory, against a sorted list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from interlock.engine.key_map import KeyMap

KEYS = [n.to_bytes(2, "big") for n in range(0, 16_000, 2)]  # several lists of a SortedList
HELD = KeyMap((key, key.hex()) for key in KEYS)
bounds = st.integers(0, 16_002).map(lambda n: n.to_bytes(2, "big"))


@given(start=bounds, end=st.none() | bounds, descending=st.booleans(), limit=st.none() | st.integers(1, 6) | st.integers(1, 8_500))
def test_a_range_is_the_keys_between_and_never_more_than_asked(
    start: bytes, end: bytes | None, descending: bool, limit: int | None
) -> None:
    between = sorted((key for key in KEYS if start <= key and (end is None or key < end)), reverse=descending)
    assert HELD.range(start, end, descending, limit) == [(key, key.hex()) for key in between[:limit]]
