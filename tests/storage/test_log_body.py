"""The log's encoding of commits: exact, whatever is in them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from interlock.storage.log_body import decode, encode
from interlock.storage.protocol import Commit, Entry, IndexRecord, TableRecord, Write

numbers = st.integers(0, 2**31)
images = st.none() | st.binary(max_size=30)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
entries = st.lists(st.builds(Entry, numbers, images, images), max_size=3).map(tuple)
writes = st.lists(st.builds(Write, numbers, texts, images, images, entries), max_size=4)
tables = st.lists(st.builds(TableRecord, numbers, texts, texts, texts), max_size=2)
indexes = st.lists(st.builds(IndexRecord, numbers, numbers, texts, st.lists(texts, max_size=3).map(tuple)), max_size=2)
commits = st.lists(st.builds(Commit, writes, tables, indexes, texts, st.integers(0, 2**63 - 1)), max_size=5)


@given(commits)
def test_commits_come_back_as_they_were_but_for_the_old_versions(commits: list[Commit]) -> None:
    decoded = decode(encode(commits))
    for commit in commits:
        for write in commit.writes:
            write.old = None
    assert decoded == commits
