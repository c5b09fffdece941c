"""What stands for the rows that a function was shown."""

from __future__ import annotations

import pytest

from interlock.sandbox import digests
from interlock.sandbox.digests import digest, known_digest

SIZES = (0, 1, digests._AS_THEY_ARE, digests._AS_THEY_ARE + 1, digests._KEPT_BYTES_MOST, digests._KEPT_BYTES_MOST + 1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [0, 1, 2])
def test_what_is_remembered_is_what_is_made(size: int, count: int) -> None:
    rows = [b"%d" % number + b"x" * size for number in range(count)]
    changed = [row[:-1] + b"y" for row in rows]
    for _ in range(2):
        assert known_digest(rows) == digest(rows)
        assert known_digest(changed) == digest(changed)
    assert count == 0 or digest(rows) != digest(changed)


def test_only_so_much_is_remembered() -> None:
    digests._kept.cache_clear()
    for number in range(digests._KEPT + 10):
        known_digest([b"%06d" % number * 100])
    assert digests._kept.cache_info().currsize == digests._KEPT
    digests._kept.cache_clear()
    known_digest([b"x" * (digests._KEPT_BYTES_MOST + 1)])
    known_digest([b"x" * digests._AS_THEY_ARE])
    known_digest([b"x" * 300, b"x" * 300])
    assert digests._kept.cache_info().currsize == 0
