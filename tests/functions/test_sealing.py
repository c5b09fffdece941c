from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.functions.sealing import Seal

SEAL = Seal(b"secret", "tests")


@given(st.binary(max_size=200))
@pytest.mark.one_isolation("inline", "no component runs: what the host seals")
def test_what_is_sealed_opens_and_says_nothing(contents: bytes) -> None:
    text = SEAL.close(contents)
    assert SEAL.open(text) == contents
    assert SEAL.close(contents) == text
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert len(contents) < 4 or contents.hex() not in text


@given(st.binary(max_size=40), st.integers(0, 10_000), st.sampled_from("ABCXYZabcxyz019-_="))
@pytest.mark.one_isolation("inline", "no component runs: what the host seals")
def test_a_text_that_was_changed_does_not_open(contents: bytes, at: int, letter: str) -> None:
    text = SEAL.close(contents)
    at %= len(text)
    changed = text[:at] + letter + text[at + 1 :]
    assert (SEAL.open(changed) is None) == (changed != text)
    assert SEAL.open(text + letter) is None


@given(st.text(max_size=60))
@pytest.mark.one_isolation("inline", "no component runs: what the host seals")
def test_garbage_does_not_open(text: str) -> None:
    assert SEAL.open(text) is None


@pytest.mark.one_isolation("inline", "no component runs: what the host seals")
def test_secrets_and_purposes_are_kept_apart() -> None:
    text = SEAL.close(b"contents")
    assert Seal(b"secret", "other").open(text) is None
    assert Seal(b"other", "tests").open(text) is None
