"""Randomness drawn in bulk is as good as when it is drawn one by one, and no process repeats another's."""

from __future__ import annotations

import os

import pytest

from interlock.functions.entropy import Entropy


@pytest.mark.one_isolation("inline", "no component runs: where the host's randomness is from")
def test_every_bit_is_random_and_nothing_comes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    entropy = Entropy()
    drawn = [entropy.getrandbits(64) for _ in range(2_000)]
    assert len(set(drawn)) == len(drawn)
    for bit in range(64):
        assert 700 < sum(number >> bit & 1 for number in drawn) < 1_300
    assert {entropy.getrandbits(1) for _ in range(100)} == {0, 1}
    assert max(entropy.getrandbits(5) for _ in range(500)) == 31
    assert entropy.getrandbits(0) == 0
    assert entropy.getrandbits(200) < 2**200
    with pytest.raises(ValueError):
        entropy.getrandbits(-1)


@pytest.mark.one_isolation("inline", "no component runs: where the host's randomness is from")
def test_the_system_is_asked_once_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    urandom = os.urandom

    def counted(size: int) -> bytes:
        asked.append(size)
        return urandom(size)

    entropy = Entropy()
    monkeypatch.setattr(os, "urandom", counted)
    entropy.getrandbits(64)
    asked.clear()
    for _ in range(512):
        entropy.getrandbits(64)
    assert asked == [4096]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.one_isolation("inline", "no component runs: where the host's randomness is from")
def test_a_forked_process_draws_anew() -> None:
    entropy = Entropy()
    entropy.getrandbits(64)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, entropy.getrandbits(64).to_bytes(8, "big"))
        os._exit(0)
    os.waitpid(child, 0)
    assert int.from_bytes(os.read(reader, 8), "big") != entropy.getrandbits(64)
    os.close(reader), os.close(writer)
