"""What mounts may write to the log of the server: against the plainest count of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.functions.log_volume import LogVolume
from interlock.limits import LIMITS

RATE = int(LIMITS["log_rate"].value)
pytestmark = pytest.mark.one_isolation("inline", "no component runs: what is counted of its lines")


@given(st.lists(st.tuples(st.floats(0, 40), st.integers(0, 2 * RATE)), max_size=60))
def test_in_no_time_a_mount_writes_more_than_its_share_of_it(steps: list[tuple[float, int]]) -> None:
    now = 0.0
    volume = LogVolume(lambda: now)
    written: list[tuple[float, int]] = []
    for number, (seconds, size) in enumerate(steps):
        now += seconds
        if volume.admits("a/b" if size % 2 else "a", size):
            written.append((now, size))
        assert volume.admits("", 1 << 40)
        for began, _ in written:
            assert sum(size for at, size in written if at >= began) <= RATE * (16 + now - began) + 1
        assert volume.admits(f"mount_{number}", 8 * RATE)


def test_what_is_left_out_is_told_once_a_minute_and_writing_goes_on_when_there_is_room() -> None:
    now = 0.0
    volume = LogVolume(lambda: now)
    assert volume.admits("a", 16 * RATE - 100)
    assert not volume.admits("a", 1)
    now += 2
    assert volume.admits("a", RATE) and not volume.admits("a", RATE)
