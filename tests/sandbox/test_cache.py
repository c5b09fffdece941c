"""What a worker remembers, and for how much of it there is room; what it makes of a patch, field by field, is what the check of the whole
document makes of it.
"""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any, Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock import UNSET, Schema, Table
from interlock.engine.document import patched
from interlock.sandbox.worker import cache as of_cache
from interlock.sandbox.worker.cache import Cache
from interlock.sandbox.worker.row import Row, row_of
from interlock.sdk.host import Scan
from interlock.values import encode_id, new_internal, pack, unpack
from interlock.values.checker import compile_validator

FIELDS = {"whole": int, "real": float, "either": int | float, "text": str, "maybe": str | None, "one": Literal[1] | float, "some": Any}
SCHEMA = Schema(rows=Table({**FIELDS, "many": list[int] | None}))
ID = encode_id(10_001, new_internal(Random(1), 1))
STORED = {
    "_creationTime": 1.0,
    "_id": ID,
    "either": 1,
    "many": [1],
    "maybe": None,
    "one": 2.5,
    "real": 1.5,
    "some": 1,
    "text": "a",
    "whole": 1,
}
DOCUMENTS = st.sampled_from([STORED, {**STORED, "many": None, "some": None}])
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**54), 2**54),
    st.floats(),
    st.sampled_from([0.0, -0.0, 1.0, 2.0**53, UNSET]),
    st.text(max_size=3),
    st.lists(st.integers(0, 3), max_size=2),
)


@given(st.lists(st.dictionaries(st.sampled_from([*STORED, "other"]), VALUES, max_size=3), min_size=1, max_size=3), DOCUMENTS)
def test_a_patch_by_its_fields_is_the_patch_by_the_whole_document(patches: list[dict[str, Any]], document: dict[str, Any]) -> None:
    cache = Cache(SCHEMA, set())
    cache.keep_document("rows", ID, document, 0)
    row = cache.row(ID)
    assert row is not None
    for fields in patches:
        by_the_whole = cache.patched(ID, Row(row.packed), fields)
        after = cache.patched(ID, row, fields)
        assert (after is None) == (by_the_whole is None)
        if after is not None and by_the_whole is not None:
            assert after.packed == by_the_whole.packed
            stored = list(unpack(after.packed).items())
            for _ in range(3):
                assert repr(list(after.fresh().items())) == repr(stored)
            row = after


@given(st.lists(st.dictionaries(st.sampled_from([*STORED, "other"]), VALUES, max_size=3), min_size=1, max_size=3), DOCUMENTS)
def test_a_patch_is_what_the_host_makes_of_it(patches: list[dict[str, Any]], document: dict[str, Any]) -> None:
    check = compile_validator(SCHEMA.declarations()["rows"].validator, lambda name: None)
    table: Any = SimpleNamespace(name="rows", check=check, declares_fields=True)
    cache = Cache(SCHEMA, set())
    cache.keep_document("rows", ID, document, 0)
    row = cache.row(ID)
    for fields in patches:
        assert row is not None
        after = cache.patched(ID, row, fields)
        if after is not None:  # else the host is asked
            old = unpack(row.packed)
            assert after.packed == pack({**patched(table, old, fields), "_id": ID, "_creationTime": old["_creationTime"]})
            row = after


def of_size(number: int, size: int) -> tuple[str, dict[str, Any]]:
    """A document of so many bytes, about, and its id."""
    id = encode_id(10_001, new_internal(Random(number), 1))
    return id, {**STORED, "_id": id, "text": "a" * size}


def test_a_document_of_many_kilobytes_is_remembered() -> None:
    cache = Cache(SCHEMA, set())
    id, document = of_size(1, 40_000)
    cache.keep_document("rows", id, document, 0)
    row = cache.row(id)
    assert row is not None and row.packed == pack(document)


def test_what_is_remembered_has_its_bound_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_cache, "_BYTES_MAX", 100_000)
    cache = Cache(SCHEMA, set())
    documents = [of_size(number, 30_000) for number in range(10)]
    for number, (id, document) in enumerate(documents):
        cache.keep_document("rows", id, document, 0)
        if number > 1:
            cache.forget(id)  # and takes no room
    assert [cache.row(id) is not None for id, _ in documents[:2]] == [True, True]
    for id, document in documents[2:5]:
        cache.keep_document("rows", id, document, 0)
    assert [cache.row(id) is not None for id, _ in documents[:5]] == [False, False, False, False, True]


def test_what_a_patch_adds_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_cache, "_BYTES_MAX", 50_000)
    cache = Cache(SCHEMA, set())
    cache.keep_document("rows", ID, STORED, 0)
    row = cache.row(ID)
    assert row is not None
    fields = {"text": "a" * 60_000}
    after = cache.patched(ID, row, fields)
    assert after is not None
    cache.put(1, {ID: (row, after, fields)})
    assert cache.row(ID) is after
    other, document = of_size(2, 10)
    cache.keep_document("rows", other, document, 0)
    assert cache.row(ID) is None and cache.row(other) is not None


def test_texts_of_many_bytes_take_the_room_of_these(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_cache, "_BYTES_MAX", 100_000)
    cache = Cache(SCHEMA, set())
    flat = {**STORED, "many": None, "some": None, "text": "\N{FACE WITH TEARS OF JOY}" * 12_000}
    ids = [encode_id(10_001, new_internal(Random(number), 1)) for number in range(4)]
    for id in ids:
        cache.keep_document("rows", id, {**flat, "_id": id}, 0)
    assert [cache.row(id) is not None for id in ids] == [False, False, False, True]


def added(cache: Cache) -> None:
    """A call has added the document, and the host has not said yet when that was."""
    cache.learn("rows", ID)
    cache.note_made("rows", ID, {name: value for name, value in STORED.items() if name[0] != "_"})


def test_what_a_call_has_added_is_remembered_once_the_host_has_said_when_it_was_made() -> None:
    cache = Cache(SCHEMA, set())
    added(cache)
    assert cache.row(ID) is None
    cache.keep_made([[ID, 1.0], ["never heard of", 1.0]])
    row = cache.row(ID)
    assert row is not None and row.packed == pack(STORED)


def test_what_was_written_since_it_was_added_is_not_remembered_as_it_was() -> None:
    cache = Cache(SCHEMA, set())
    added(cache)
    newer = {**STORED, "whole": 2}
    cache.keep_document("rows", ID, newer, cache.changes)  # shown to somebody else meanwhile
    cache.keep_made([[ID, 1.0]])
    row = cache.row(ID)
    assert row is not None and row.packed == pack(newer)
    cache = Cache(SCHEMA, set())
    added(cache)
    cache.forget(ID)
    cache.keep_made([[ID, 1.0]])
    assert cache.row(ID) is None


def test_what_is_added_anew_takes_the_place_of_what_a_run_before_has_added() -> None:
    cache = Cache(SCHEMA, set())
    added(cache)
    cache.note_made("rows", ID, None)
    cache.keep_made([[ID, 1.0]])
    assert cache.row(ID) is None


def test_what_calls_have_added_has_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_cache, "_MADE_MAX", 2)
    cache = Cache(SCHEMA, set())
    ids = [of_size(number, 1)[0] for number in range(3)]
    for id in ids:
        cache.learn("rows", id)
        cache.note_made("rows", id, {name: value for name, value in STORED.items() if name[0] != "_"})
    cache.keep_made([[id, 1.0] for id in ids])
    assert [cache.row(id) is not None for id in ids] == [False, False, True]


def patched_in(cache: Cache, fields: dict[str, Any]) -> Row:
    """What a call makes of the document, which it names by a number and leaves behind."""
    row = cache.row(ID)
    assert row is not None
    after = cache.patched(ID, row, fields)
    assert after is not None
    after.version = cache.next_version()
    cache.put(1, {ID: (row, after, fields)})
    return after


def test_versions_that_the_host_has_forgotten_are_told_by_digests() -> None:
    cache, scan = Cache(SCHEMA, set()), Scan("rows", "by_id", (), None, False)
    cache.keep_scan("key", scan, 1, {ID: row_of(STORED)}, 0)
    assert patched_in(cache, {"whole": 2}).get_step(ID) == ["get", ID, 1]
    known = cache.scanned("key")
    assert known is not None
    assert orjson.loads(orjson.dumps(known.told()))[2] == [ID, 1]
    late = row_of(STORED)
    late.version = cache.next_version()
    cache.forget_versions()
    row = cache.row(ID)
    assert row is not None and row.get_step(ID) != ["get", ID, 1]
    assert orjson.loads(orjson.dumps(known.told()))[2] == row.digest
    cache.put(2, {ID: (row, late, {})})
    assert cache.row(ID) is late and late.version == 0
    assert cache.keep_document("rows", ID, STORED, cache.changes, 2).version == 0  # told before that, and come after it
    assert patched_in(cache, {"whole": 3}).version == 3
