"""Storages to test, each with its disk: what a second storage finds after the first one has gone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from interlock.storage.memory import MemoryStorage
from interlock.storage.protocol import Commit, Entry, IndexRecord, Interval, Storage, TableRecord, Write
from interlock.storage.sqlite import SqliteStorage

EVERYTHING = Interval(b"", None)
PROGRAMS = Path(__file__).parent / "programs"


class Disk(Protocol):
    """`now_ns` is the clock that its storages go by."""

    now_ns: int

    def storage(self) -> Storage: ...


class MemoryDisk:
    def __init__(self, _: Path) -> None:
        self.now_ns = 1_000
        self._storage = MemoryStorage(clock_ns=lambda: self.now_ns)

    def storage(self) -> Storage:
        return self._storage


class SqliteDisk:
    def __init__(self, path: Path) -> None:
        self.now_ns = 1_000
        self._path = path

    def storage(self) -> Storage:
        return SqliteStorage(self._path / "data", clock_ns=lambda: self.now_ns, synchronous="OFF")


@pytest.fixture(params=[MemoryDisk, SqliteDisk], ids=["memory", "sqlite"], scope="session")
def make_disk(request: pytest.FixtureRequest) -> Callable[[Path], Disk]:
    disk: Callable[[Path], Disk] = request.param
    return disk


@pytest.fixture
def disk(make_disk: Callable[[Path], Disk], tmp_path: Path) -> Disk:
    return make_disk(tmp_path)


CheckConsistent = Callable[..., Awaitable[None]]


@pytest.fixture(scope="session")
def check_consistent() -> CheckConsistent:
    """Documents, entries, counts and the whole log of a storage agree, or AssertionError."""

    async def check(storage: Storage) -> None:
        boot = await storage.load()
        commits = await storage.tail(0)
        assert [commit.ts for commit in commits] == sorted({commit.ts for commit in commits})
        assert boot.newest == (commits[-1].ts if commits else 0)
        documents: dict[tuple[int, str], bytes] = {}
        entries: dict[tuple[int, bytes], str] = {}
        for commit in commits:
            for write in commit.writes:
                old = documents.pop((write.table, write.id), None)
                assert write.old in (None, old)
                if write.new is not None:
                    documents[write.table, write.id] = write.new
                for index, old_key, new_key in write.entries:
                    if old_key is not None:
                        assert entries.pop((index, old_key)) == write.id
                    if new_key is not None:
                        entries[index, new_key] = write.id
        for table in boot.tables:
            own = {id: doc for (number, id), doc in documents.items() if number == table.number}
            assert (table.count, table.size) == (len(own), sum(map(len, own.values())))
            for record in boot.indexes:
                if record.table != table.number:
                    continue
                read = await storage.scan(record.number, EVERYTHING, "asc", 10**9)
                assert read.at == boot.newest
                if record.fields == ("_id",):
                    assert {row.id: row.doc for row in read.rows} == own
                else:
                    expected = {key: id for (number, key), id in entries.items() if number == record.number}
                    assert {row.key: row.id for row in read.rows} == expected
                    assert all(row.doc == own[row.id] for row in read.rows)

    return check


TABLE, BY_ID, BY_KEY = 1, 2, 3


@pytest.fixture(scope="session")
def catalog() -> Callable[[], Commit]:
    """A commit that makes table 1 with the index by id, 2, and an index of its own, 3."""
    return lambda: Commit(
        [],
        tables=[TableRecord(TABLE, "", "things", '{"type":"any"}')],
        indexes=[IndexRecord(BY_ID, TABLE, "by_id", ("_id",)), IndexRecord(BY_KEY, TABLE, "by_key", ("a.b", "c"))],
    )


@pytest.fixture(scope="session")
def put() -> Callable[..., Commit]:
    """A commit that writes one document of table 1, and its key in index 3: the id itself."""

    def put(id: str, old: bytes | None, new: bytes | None) -> Commit:
        key = b"k" + id.encode()
        entries = () if (old is None) == (new is None) else (Entry(BY_KEY, None if old is None else key, None if new is None else key),)
        return Commit([Write(TABLE, id, old, new, entries)], source="things:put")

    return put


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts one of `programs/`; whatever still runs at the end of the test is killed."""
    running: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, str(PROGRAMS / program), *map(str, arguments)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()
