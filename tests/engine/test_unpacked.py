"""Documents that are kept unpacked are what would be read, to the order of their fields, and nobody changes another's."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.engine import unpacked as module
from interlock.engine.unpacked import Unpacked
from interlock.values import CommitTimestamp, Int64, pack, unpack

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.just(CommitTimestamp()),
)
documents = st.dictionaries(st.sampled_from("abcdef"), st.one_of(scalars, st.lists(scalars, max_size=2)), max_size=6)


@given(versions=st.lists(documents, min_size=1, max_size=8), keeps=st.lists(st.booleans(), min_size=8, max_size=8))
def test_what_is_kept_is_what_would_be_read(versions: list[dict[str, Any]], keeps: list[bool]) -> None:
    """Model: `unpack`. Method: each version is read twice and then becomes the next one; readers spoil what they were given."""
    kept = Unpacked()
    for at, (document, keep) in enumerate(zip(versions, keeps, strict=False)):
        packed = pack(document)
        if at:
            kept.changed(pack(versions[at - 1]), packed, document)
        for _ in range(2):
            read = kept.fresh(packed, keep)
            expected = unpack(packed)
            assert pack(read) == packed
            assert [(name, type(value)) for name, value in read.items()] == [(name, type(value)) for name, value in expected.items()]
            read.clear()
            read["spoilt"] = True


def test_what_was_asked_for_again_when_it_was_old_is_not_changed_behind_its_bytes() -> None:
    kept = Unpacked()
    old, new = pack({"n": 1}), pack({"n": 2})
    kept.fresh(old, True)
    for number in range(module._MOST):
        kept.fresh(pack({"_id": number}), True)
    kept.fresh(old, True)
    kept.changed(old, new, {"n": 2})
    assert kept.fresh(new, True) == {"n": 2}
    assert kept.fresh(old, True) == {"n": 1}  # as a run reads it that has lost, and begins again


@given(seed=st.integers(0, 2**32))
@settings(max_examples=5, deadline=None)
def test_whatever_is_read_and_changed_the_bytes_say_what_is_given(seed: int) -> None:
    """Model: the documents. Method: more than are kept, which come back to what they were, and changes that do not all stand."""
    chance, kept = random.Random(seed), Unpacked()
    documents = [{"id": number, "n": 0} for number in range(module._MOST + chance.randrange(module._MOST))]
    for _ in range(12 * module._MOST):
        document = chance.choice(documents[: chance.choice((20, len(documents)))])
        packed = pack(document)
        assert kept.fresh(packed, True) == document
        if chance.random() < 0.4:
            changed = {**document, "n": chance.randrange(3)}
            kept.changed(packed, pack(changed), changed)
            if chance.random() < 0.5:
                document.update(changed)


def test_it_stays_small() -> None:
    kept = Unpacked()
    for number in range(10 * module._MOST):
        kept.fresh(pack({"_id": number}), True)
        kept.fresh(pack({"_id": number, "long": "x" * module._LONGEST}), True)
    assert len(kept._younger) <= module._MOST
    assert len(kept._older) <= module._MOST
    assert max(len(packed) for packed, _ in kept._younger.values()) <= module._LONGEST
