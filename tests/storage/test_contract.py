"""What every storage does, the one in memory and the one on disk."""

from __future__ import annotations

import asyncio
import tempfile
from bisect import insort
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.storage.protocol import CatalogChange, Commit, Entry, IndexRecord, Interval, Row, Storage, TableRecord, Write

TABLE, BY_ID, BY_KEY = 1, 2, 3
EVERYTHING = Interval(b"", None)
Put = Callable[[str, bytes | None, bytes | None], Commit]
Check = Callable[[Storage], Awaitable[None]]


def id_key(id: str) -> bytes:
    return b"\x10" + id.encode() + b"\x00"


async def test_an_empty_storage_has_nothing(disk: Any) -> None:
    storage = disk.storage()
    boot = await storage.load()
    assert (boot.newest, boot.tables, boot.indexes, boot.facts) == (0, [], [], {})
    assert boot.next_number >= 1
    assert await storage.get(TABLE, ["a"]) == ([], 0)
    assert await storage.scan(BY_KEY, EVERYTHING, "asc", 10) == ([], 0)
    assert await storage.tail(0) == []
    await storage.close()


async def test_a_commit_can_be_read_at_its_timestamp(disk: Any, catalog: Callable[[], Commit], put: Put) -> None:
    storage = disk.storage()
    await storage.load()
    first, second = put("a", None, b"old"), put("b", None, b"other")
    await storage.append([catalog(), first, second])
    assert await storage.get(TABLE, ["b", "missing", "a"]) == ([Row(b"", "b", b"other"), Row(b"", "a", b"old")], second.ts)
    third = put("a", b"old", b"new")
    await storage.append([third])
    assert await storage.get(TABLE, ["a"]) == ([Row(b"", "a", b"new")], third.ts)
    assert await storage.scan(BY_KEY, EVERYTHING, "asc", 10) == ([Row(b"ka", "a", b"new"), Row(b"kb", "b", b"other")], third.ts)
    fourth = put("a", b"new", None)
    await storage.append([fourth])
    assert await storage.get(TABLE, ["a"]) == ([], fourth.ts)
    assert await storage.scan(BY_KEY, EVERYTHING, "desc", 10) == ([Row(b"kb", "b", b"other")], fourth.ts)
    await storage.close()


async def test_a_second_engine_finds_what_the_first_has_appended(disk: Any, catalog: Callable[[], Commit], put: Put) -> None:
    first = disk.storage()
    await first.load()
    made, written = catalog(), put("a", None, b"12345")
    await first.append([made, written])
    await first.redefine(CatalogChange(facts={"deploy": "7"}))
    await first.close()

    second = disk.storage()
    boot = await second.load()
    assert boot.newest == written.ts
    assert boot.tables == [TableRecord(TABLE, "", "things", '{"type":"any"}', count=1, size=5)]
    assert boot.indexes == made.indexes
    assert boot.next_number == 4
    assert boot.facts == {"deploy": "7"}
    assert (await second.get(TABLE, ["a"])).rows == [Row(b"", "a", b"12345")]
    commits = await second.tail(0)
    assert [commit.ts for commit in commits] == [made.ts, written.ts]
    assert commits[0].tables == made.tables
    assert commits[0].indexes == made.indexes
    [write] = commits[1].writes
    assert (write.table, write.id, write.old, write.new, list(write.entries)) == (TABLE, "a", None, b"12345", [Entry(BY_KEY, None, b"ka")])
    assert (commits[1].source, commits[1].seal) == ("things:put", None)
    await second.close()


async def test_the_tail_begins_after_the_given_timestamp_also_inside_a_batch(disk: Any, catalog: Callable[[], Commit], put: Put) -> None:
    storage = disk.storage()
    await storage.load()
    commits = [catalog(), put("a", None, b"1"), put("b", None, b"1"), put("c", None, b"1")]
    await storage.append(commits[:3])
    await storage.append(commits[3:])
    for at, commit in enumerate(commits):
        assert [later.ts for later in await storage.tail(commit.ts)] == [later.ts for later in commits[at + 1 :]]
    await storage.close()


async def test_timestamps_rise_within_a_batch_with_a_clock_set_back_and_after_a_restart(
    disk: Any, put: Put, catalog: Callable[[], Commit]
) -> None:
    storage = disk.storage()
    await storage.load()
    disk.now_ns = 5_000
    first, second, third = catalog(), put("a", None, b"1"), put("b", None, b"1")
    await storage.append([first, second])
    assert (first.ts, second.ts) == (5_000, 5_001)
    disk.now_ns = 10
    await storage.append([third])
    assert third.ts == 5_002
    await storage.close()
    storage = disk.storage()
    await storage.load()
    fourth, fifth = put("c", None, b"1"), put("d", None, b"1")
    await storage.append([fourth])
    disk.now_ns = 9_000
    await storage.append([fifth])
    assert (fourth.ts, fifth.ts) == (5_003, 9_000)
    await storage.close()


async def test_what_seal_fills_in_is_what_is_written(disk: Any, catalog: Callable[[], Commit]) -> None:
    storage = disk.storage()
    await storage.load()
    commit = Commit([Write(TABLE, "a", None, b"placeholder", (Entry(BY_KEY, None, b"last"),))])

    def seal(ts: int) -> None:
        commit.writes[0].new = b"at %d" % ts
        commit.writes[0].entries = (Entry(BY_KEY, None, b"key %d" % ts),)

    commit.seal = seal
    await storage.append([catalog(), commit])
    doc = b"at %d" % commit.ts
    assert (await storage.scan(BY_KEY, EVERYTHING, "asc", 9)).rows == [Row(b"key %d" % commit.ts, "a", doc)]
    [boot_table] = (await storage.load()).tables
    assert boot_table.size == len(doc)
    assert (await storage.tail(0))[1].writes[0].new == doc
    await storage.close()


async def test_only_the_last_version_of_a_batch_stays_but_the_log_has_each(
    disk: Any, catalog: Callable[[], Commit], put: Put, check_consistent: Check
) -> None:
    storage = disk.storage()
    await storage.load()
    commits = [put("a", None, b"0")] + [put("a", b"%d" % n, b"%d" % (n + 1)) for n in range(99)]
    gone = [put("b", None, b"x"), put("b", b"x", None), put("c", None, b"x"), put("c", b"x", None), put("c", None, b"y")]
    await storage.append([catalog(), *commits, *gone])
    assert (await storage.get(TABLE, ["a", "b", "c"])).rows == [Row(b"", "a", b"99"), Row(b"", "c", b"y")]
    assert len(await storage.tail(0)) == 106
    await check_consistent(storage)
    await storage.close()


async def test_an_empty_append_adds_no_commit(disk: Any, catalog: Callable[[], Commit]) -> None:
    storage = disk.storage()
    await storage.load()
    commit = catalog()
    await storage.append([commit])
    await storage.append([])
    assert (await storage.load()).newest == commit.ts
    assert len(await storage.tail(0)) == 1
    await storage.close()


async def test_later_changes_to_a_commit_do_not_reach_what_was_written(disk: Any, catalog: Callable[[], Commit], put: Put) -> None:
    storage = disk.storage()
    await storage.load()
    commit = put("a", None, b"1")
    await storage.append([catalog(), commit])
    commit.writes[0].new = b"changed"
    commit.writes.clear()
    assert (await storage.tail(0))[1].writes[0].new == b"1"
    (await storage.load()).tables[0].name = "changed"
    assert (await storage.load()).tables[0].name == "things"
    await storage.close()


async def test_a_deploy_makes_changes_fills_and_drops(disk: Any, catalog: Callable[[], Commit], put: Put) -> None:
    storage = disk.storage()
    await storage.load()
    await storage.append([catalog(), put("a", None, b"1"), put("b", None, b"22"), put("c", None, b"3")])
    newest = (await storage.load()).newest
    await storage.redefine(
        CatalogChange(
            tables=[TableRecord(TABLE, "moved", "things", "checked", count=77, size=77), TableRecord(10, "", "others")],
            indexes=[IndexRecord(4, TABLE, "by_new", ("new",)), IndexRecord(11, 10, "by_id", ("_id",))],
            dropped_indexes=[BY_KEY],
            entries=((4, key, id) for key, id in ((b"z", "a"), (b"y", "b"), (b"x", "c"))),
            documents=iter([(TABLE, "a", b"1.0"), (TABLE, "never", b"was")]),
            facts={"app": "v2", "other": ""},
        )
    )
    boot = await storage.load()
    assert boot.newest == newest
    assert boot.tables == [TableRecord(TABLE, "moved", "things", "checked", 3, 6), TableRecord(10, "", "others")]
    assert [index.number for index in boot.indexes] == [BY_ID, 4, 11]
    assert boot.next_number == 12
    assert boot.facts == {"app": "v2", "other": ""}
    assert (await storage.scan(4, EVERYTHING, "asc", 9)).rows == [Row(b"x", "c", b"3"), Row(b"y", "b", b"22"), Row(b"z", "a", b"1.0")]
    assert (await storage.scan(BY_KEY, EVERYTHING, "asc", 9)).rows == []
    assert (await storage.get(TABLE, ["never"])).rows == []
    await storage.append([Commit([Write(10, "o", None, b"o")])])

    await storage.redefine(CatalogChange(dropped_tables=[TABLE], facts={"app": "v3"}))
    boot = await storage.load()
    assert boot.tables == [TableRecord(10, "", "others", count=1, size=1)]
    assert boot.indexes == [IndexRecord(11, 10, "by_id", ("_id",))]
    assert boot.next_number == 12
    assert boot.facts == {"app": "v3", "other": ""}
    assert (await storage.get(TABLE, ["a"])).rows == []
    assert (await storage.scan(4, EVERYTHING, "asc", 9)).rows == []
    await storage.close()


async def test_a_deploy_whose_rows_fail_on_the_way_changes_nothing(
    disk: Any, catalog: Callable[[], Commit], put: Put, check_consistent: Check
) -> None:
    storage = disk.storage()
    await storage.load()
    await storage.append([catalog(), put("a", None, b"1")])
    before = await storage.load()

    def rows() -> Iterator[tuple[int, bytes, str]]:
        for n in range(5_000):
            yield 4, b"%d" % n, "a"
        raise LookupError("no such field")

    change = CatalogChange(indexes=[IndexRecord(4, TABLE, "by_new", ("new",))], dropped_indexes=[BY_KEY], entries=rows(), facts={"x": "y"})
    with pytest.raises(LookupError):
        await storage.redefine(change)
    assert await storage.load() == before
    await storage.append([put("b", None, b"1")])
    await check_consistent(storage)
    await storage.close()


async def test_the_log_is_forgotten_up_to_a_timestamp_but_the_documents_stay(disk: Any, catalog: Callable[[], Commit], put: Put) -> None:
    storage = disk.storage()
    await storage.load()
    commits = [catalog(), *(put(f"i{n}", None, b"1") for n in range(20))]
    for commit in commits:
        await storage.append([commit])
    await storage.forget(commits[10].ts)
    assert [commit.ts for commit in await storage.tail(0)] == [commit.ts for commit in commits[10:]]
    assert (await storage.load()).newest == commits[-1].ts
    assert len((await storage.scan(BY_ID, EVERYTHING, "asc", 99)).rows) == 20
    await storage.forget(commits[-1].ts + 1_000_000)
    await storage.close()
    storage = disk.storage()
    disk.now_ns = 1
    assert (await storage.load()).newest == commits[-1].ts
    last = put("last", None, b"1")
    await storage.append([last])
    assert last.ts == commits[-1].ts + 1
    await storage.close()


async def test_a_scan_of_many_rows_is_of_one_snapshot_while_others_append(disk: Any, catalog: Callable[[], Commit], put: Put) -> None:
    storage = disk.storage()
    await storage.load()
    ids = [f"i{n:05}" for n in range(3_000)]
    await storage.append([catalog(), *(put(id, None, b"0") for id in ids)])
    at = (await storage.load()).newest
    scan = asyncio.ensure_future(storage.scan(BY_KEY, EVERYTHING, "asc", 10_000))
    get = asyncio.ensure_future(storage.get(TABLE, ids))
    await asyncio.sleep(0)
    for n in range(5):
        await storage.append([put(id, b"%d" % n, b"%d" % (n + 1)) for id in ids[::100]])
        newest = (await storage.load()).newest
        assert await storage.get(TABLE, ids[:1]) == ([Row(b"", ids[0], b"%d" % (n + 1))], newest)
    for read in (await scan, await get):
        assert read.at == at
        assert [row.id for row in read.rows] == ids
        assert {row.doc for row in read.rows} == {b"0"}
    await storage.close()


# Against dictionaries: random batches, deploys, restarts, then every way of reading.

Key = st.binary(max_size=3)
ids = st.sampled_from(["a", "aa", "b", "ba", "z0", "z1"])
writes = st.tuples(st.sampled_from([1, 4]), ids, st.none() | st.binary(max_size=4), st.none() | Key)
steps = st.one_of(
    st.tuples(st.just("append"), st.lists(st.lists(writes, max_size=4), max_size=5)),
    st.tuples(st.just("append"), st.lists(st.lists(writes, min_size=1, max_size=2), min_size=1, max_size=1)),
    st.tuples(st.just("reopen"), st.none()),
    st.tuples(st.just("forget"), st.integers(0, 10)),
    st.tuples(st.just("refill"), st.none()),
)
bounds = st.one_of(
    Key, st.builds(lambda id, end: id_key(id)[:end], ids, st.integers(0, 5)), st.builds(lambda id, more: id_key(id) + more, ids, Key)
)
intervals = st.builds(Interval, bounds, st.none() | bounds)
scans = st.tuples(st.sampled_from([2, 3, 5, 6]), intervals, st.sampled_from(["asc", "desc"]), st.integers(0, 7))


class Model:
    """Tables 1 and 4; by_id 2 and 5, an index of any key 3 and 6."""

    def __init__(self) -> None:
        self.documents: dict[int, dict[str, bytes]] = {1: {}, 4: {}}
        self.keys: dict[int, dict[str, bytes]] = {3: {}, 6: {}}
        self.log: list[Commit] = []

    def commit(self, writes: list[tuple[int, str, bytes | None, bytes | None]]) -> Commit:
        made = []
        for table, id, new, key in writes:
            documents, keys = self.documents[table], self.keys[table + 2]
            old, old_key = documents.get(id), keys.get(id)
            # Unique as in the engine, where each key ends in its id.
            new_key = None if new is None or key is None else key + id_key(id)
            made.append(Write(table, id, old, new, [Entry(table + 2, old_key, new_key)] if old_key != new_key else []))
            for values, value in ((documents, new), (keys, new_key)):
                if value is None:
                    values.pop(id, None)
                else:
                    values[id] = value
        return Commit(made, source="model")

    def scan(self, index: int, interval: Interval, order: Literal["asc", "desc"], limit: int) -> list[Row]:
        table = 1 if index in (2, 3) else 4
        keys = self.keys[index] if index in (3, 6) else {id: id_key(id) for id in self.documents[table]}
        rows: list[Row] = []
        for id, key in keys.items():
            if interval.start <= key and (interval.end is None or key < interval.end):
                insort(rows, Row(key, id, self.documents[table][id]))
        return (rows if order == "asc" else rows[::-1])[:limit]


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(steps, max_size=8), scans=st.lists(scans, max_size=6))
def test_a_storage_answers_like_dictionaries(make_disk: Callable[[Path], Any], steps: list[tuple[str, Any]], scans: list[Any]) -> None:
    async def run(directory: Path) -> None:
        disk, model = make_disk(directory), Model()
        storage: Storage = disk.storage()
        await storage.load()
        tables = [TableRecord(1, "", "one"), TableRecord(4, "part", "two")]
        indexes = [
            IndexRecord(table + more, table, name, fields)
            for table in (1, 4)
            for more, name, fields in ((1, "by_id", ("_id",)), (2, "by_key", ("key",)))
        ]
        await storage.redefine(CatalogChange(tables=tables, indexes=indexes))
        for kind, what in steps:
            if kind == "append":
                commits = [model.commit(writes) for writes in what]
                await storage.append(commits)
                model.log += commits
            elif kind == "reopen":
                await storage.close()
                storage = disk.storage()
                await storage.load()
            elif kind == "forget" and model.log:
                before = model.log[min(what, len(model.log) - 1)].ts
                await storage.forget(before)
            elif kind == "refill":
                await storage.redefine(CatalogChange(dropped_indexes=[3]))
                entries = [(3, key, id) for id, key in model.keys[3].items()]
                await storage.redefine(CatalogChange(indexes=[indexes[1]], entries=entries))
            boot = await storage.load()
            newest = model.log[-1].ts if model.log else 0
            assert boot.newest == newest
            for table in boot.tables:
                own = model.documents[table.number]
                assert (table.count, table.size) == (len(own), sum(map(len, own.values())))
                read = await storage.get(table.number, sorted(own))
                assert read == ([Row(b"", id, own[id]) for id in sorted(own)], newest)
            for scan in scans:
                assert await storage.scan(*scan) == (model.scan(*scan), newest)
            tail = await storage.tail(0)
            assert [commit.ts for commit in tail] == [commit.ts for commit in model.log][len(model.log) - len(tail) :]
            for kept, commit in zip(tail[::-1], model.log[::-1], strict=False):
                for write, made in zip(kept.writes, commit.writes, strict=True):
                    assert write.old in (None, made.old)
                    write.old = made.old
                assert kept == Commit(
                    [Write(w.table, w.id, w.old, w.new, tuple(w.entries)) for w in commit.writes], [], [], "model", commit.ts
                )
        await storage.close()

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(Path(directory)))
