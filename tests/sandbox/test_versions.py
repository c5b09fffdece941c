"""Versions are known by their numbers as long as they are the newest, and their bytes are compared."""

from __future__ import annotations

from interlock.functions.replay import settled
from interlock.sandbox.digests import digest
from interlock.sandbox.versions import Versions

LONG, OTHER = b"a" * 1_000, b"b" * 1_000


def test_the_newest_version_of_a_document_is_known_by_its_number() -> None:
    versions = Versions()
    versions.note("a", 1, LONG)
    versions.note("b", 2, OTHER)
    assert (versions.packed("a", 1), versions.packed("b", 2)) == (LONG, OTHER)
    assert versions.packed("a", 2) is None and versions.packed("never heard of", 1) is None
    versions.note("a", 3, OTHER)
    assert versions.packed("a", 1) is None and versions.packed("a", 3) == OTHER


def test_a_patch_that_changes_nothing_leaves_the_number_before_it() -> None:
    versions = Versions()
    versions.note("a", 1, LONG)
    versions.note("a", 2, LONG)
    assert versions.packed("a", 1) == versions.packed("a", 2) == LONG


def test_what_is_told_once_more_has_the_number_that_it_had() -> None:
    versions = Versions()
    assert versions.show("a", 1, LONG) == 1
    assert versions.show("a", 2, LONG) == 1
    assert versions.show("a", 3, OTHER) == 3
    assert versions.packed("a", 1) is None and versions.packed("a", 3) == OTHER


def test_there_is_room_for_so_much_and_what_was_forgotten_is_said() -> None:
    versions = Versions()
    for number in range(1, 800):
        versions.note(f"{number}", number, b"a" * 50_000)
        assert versions.packed(f"{number}", number) is not None
    assert versions.is_cleared
    assert versions.packed("1", 1) is None
    versions.note("long", 1_000, b"a" * 100_000)
    assert versions.packed("long", 1_000) is None


def test_an_answer_is_kept_with_digests_as_another_worker_has_other_numbers() -> None:
    versions = Versions()
    versions.note("a", 1, LONG)
    steps = [["get", "a", 1], ["scan", "its text", ["a", 1]], ["scan", "its text", "a digest"]]
    assert settled(steps, versions) == [
        ["get", "a", digest([LONG])],
        ["scan", "its text", digest([LONG])],
        ["scan", "its text", "a digest"],
    ]
    assert settled([["get", "a", 2]], versions) is None
