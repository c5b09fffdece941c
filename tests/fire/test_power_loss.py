"""The power goes: everything after the last sync may be gone, in part, in another order, or half. Nothing that was answered is lost."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from interlock.engine import Engine, EngineSettings, Interval, TableSpec, Transaction
from interlock.errors import StorageUnavailable
from interlock.storage import sqlite_file, wal_size
from interlock.storage.protocol import Storage
from interlock.storage.sqlite import SqliteStorage

from .faulty_storage import Faults, memory_disk
from .histories import seeds_of
from .recording_vfs import Recording, find_library, recording

EVERYTHING = Interval(b"", None)
ROWS = TableSpec("", "rows", indexes={"by_n": ("n",)})
LIVES, LOSSES_A_LIFE = 4, 12
Synchronous = Literal["FULL", "NORMAL", "OFF"]


class Lost(AssertionError):
    """What was answered is not there, or what is there does not fit together."""


async def work(engine: Engine, chance: random.Random, answered: Callable[[int], None], commits: int) -> None:
    """Clients that write rows, and look at them, at the same time; each answer is told with the timestamp that it rests on."""

    async def change(tx: Transaction, seed: int) -> None:
        own = random.Random(seed)
        table = tx.table("", "rows")
        assert table is not None
        rows = await tx.scan(table.indexes["by_n"], EVERYTHING, own.random() < 0.5, own.choice((1, 3)))
        for row in rows:
            match own.randrange(3):
                case 0:
                    await tx.patch(table, row["_id"], {"n": own.randrange(1000)})
                case 1:
                    await tx.delete(table, row["_id"])
        for _ in range(own.choice((1, 2, 12))):
            tx.insert(table, {"n": own.randrange(1000), "text": "x" * own.choice((3, 60, 5000))})

    async def look(tx: Transaction) -> int:
        table = tx.table("", "rows")
        assert table is not None
        return len(await tx.scan(table.indexes["by_n"], EVERYTHING, False, 3))

    async def client() -> None:
        for _ in range(commits):
            seed = chance.getrandbits(32)
            ts = (await engine.mutate(lambda tx, seed=seed: change(tx, seed), label="change")).ts  # type: ignore[misc]
            if not ts:
                raise Lost("a commit was answered before storage had given it its timestamp")
            answered(ts)
            if chance.random() < 0.3:
                answered((await engine.query(look)).ts)
            if chance.random() < 0.3:
                answered((await engine.mutate(look, label="look")).ts)

    await asyncio.gather(*(client() for _ in range(3)))


async def live(directory: Path, chance: random.Random, recorded: Recording, synchronous: Synchronous, history_seconds: float) -> None:
    """From a start to an end. What is there at the start has perhaps been seen by somebody, so it must stay as well."""
    settings = EngineSettings(history_seconds=history_seconds)
    engine = Engine(SqliteStorage(directory, synchronous=synchronous), seed=chance.getrandbits(32), settings=settings)
    await engine.open()
    recorded.promise(engine.durable_ts)
    await engine.deploy([ROWS])
    for _ in range(chance.randint(1, 3)):
        await work(engine, chance, recorded.promise, chance.randint(1, 8))
        if chance.random() < 0.3:
            await engine.forget_history()
    await engine.close()


def materialize(directory: Path, files: dict[str, bytes]) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory


async def check_disk(directory: Path, promised: set[int], *, has_whole_log: bool) -> int:
    """Open what is left; gives the newest commit in it. Of the commits that were promised none is missing, not in the middle either."""
    storage = SqliteStorage(directory, synchronous="OFF")
    try:
        boot = await storage.load()
    except StorageUnavailable as error:
        raise Lost(f"it cannot be opened: {error}") from error
    try:
        if promised and boot.newest < max(promised):
            raise Lost(f"{max(promised)} was answered, and the newest commit is {boot.newest}")
        if has_whole_log and (lost := promised - {commit.ts for commit in await storage.tail(0)}):
            raise Lost(f"the commits {sorted(lost)} were answered, and are not there")
        await _check_rows(storage, has_whole_log)
        with sqlite3.connect(directory / "interlock.sqlite3") as connection:
            if (found := connection.execute("PRAGMA integrity_check").fetchall()) != [("ok",)]:
                raise Lost(f"the file is damaged: {found[:3]}")
    finally:
        await storage.close()
    return boot.newest


async def _check_rows(storage: Storage, has_whole_log: bool) -> None:
    """Documents, entries and sizes fit together, and are what the commits of the log make."""
    boot = await storage.load()
    made: dict[str, bytes] = {}
    for commit in await storage.tail(0):
        for write in commit.writes:
            if write.new is None:
                made.pop(write.id, None)
            else:
                made[write.id] = write.new
    for table in boot.tables:
        indexes = {index.name: index for index in boot.indexes if index.table == table.number}
        stored = {row.id: row.doc for row in (await storage.scan(indexes["by_id"].number, EVERYTHING, "asc", 10**6)).rows}
        by_n = await storage.scan(indexes["by_n"].number, EVERYTHING, "asc", 10**6)
        if {row.id: row.doc for row in by_n.rows} != stored or len(by_n.rows) != len(stored):
            raise Lost("an index and its table differ")
        if (table.count, table.size) != (len(stored), sum(map(len, stored.values()))):
            raise Lost("a table's size is not what it was counted to be")
        if has_whole_log and stored != made:
            raise Lost("the documents are not what the commits make")


async def torture(directory: Path, seed: int, synchronous: Synchronous = "FULL", *, keeps_log: bool = True) -> int:
    """Some lives, each cut off by a power loss, and at many other places to see what that would have left. Gives how many there were."""
    library = find_library()
    chance = random.Random(seed)
    here, there = directory / "here", directory / "there"
    here.mkdir(parents=True)
    losses = 0
    must_be_there: set[int] = set()
    earlier: Recording | None = None
    for life in range(LIVES):
        with recording(library, here, earlier) as recorded:
            begin = len(recorded.events)
            await live(here, chance, recorded, synchronous, 10_000.0 if keeps_log else 0.0)
        assert len(recorded.events) > begin + 30, "nothing was recorded"
        files: dict[str, bytes] = {}
        promised: set[int] = set()
        for _ in range(LOSSES_A_LIFE):
            count = chance.randint(begin, len(recorded.events))
            files, promised = recorded.disk_after(count, chance)
            promised |= must_be_there
            losses += 1
            try:
                await check_disk(materialize(there, files), promised, has_whole_log=keeps_log)
            except Lost as lost:
                raise Lost(f"seed {seed}, life {life}, after {count} of {len(recorded.events)} events: {lost}") from lost
        if chance.random() < 0.5:
            # It was only killed: what it had not synced is there, until the power goes in the next life.
            files, earlier = recorded.killed_after(chance.randint(begin, len(recorded.events)))
        else:
            must_be_there, earlier = promised, None
        materialize(here, files)
    return losses


needs_library = pytest.mark.skipif(
    find_library() is None, reason="Python's sqlite3 has its library built in, so nothing can be put between"
)


@pytest.fixture
def short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The write-ahead log is copied into the database, and starts over, every few commits."""
    monkeypatch.setattr(wal_size, "LIMIT_BYTES", 64 * 1024)
    monkeypatch.setattr(wal_size, "_LARGE_BYTES", 256 * 1024)
    monkeypatch.setattr(sqlite_file, "LIMIT_BYTES", 64 * 1024)


@needs_library
@pytest.mark.parametrize("seed", seeds_of(6))
async def test_nothing_answered_is_lost_by_a_power_loss(tmp_path: Path, short_log: None, seed: int) -> None:
    assert await torture(tmp_path, seed) == LIVES * LOSSES_A_LIFE


@needs_library
@pytest.mark.parametrize("seed", seeds_of(3))
async def test_nothing_answered_is_lost_while_the_log_is_forgotten(tmp_path: Path, short_log: None, seed: int) -> None:
    assert await torture(tmp_path, seed, keeps_log=False) == LIVES * LOSSES_A_LIFE


@needs_library
@pytest.mark.parametrize("synchronous", ["NORMAL", "OFF"])
async def test_a_storage_that_does_not_sync_before_it_answers_is_found_out(tmp_path: Path, short_log: None, synchronous: Any) -> None:
    with pytest.raises(Lost):
        for seed in range(10):
            await torture(tmp_path / str(seed), seed, synchronous)


async def lose_power_after_a_kill(directory: Path) -> None:
    """Killed between writing a commit and syncing it; started again, which finds the commit; and then the power goes."""
    chance = random.Random(0)
    here = directory / "here"
    here.mkdir()
    with recording(find_library(), here) as recorded:
        await live(here, chance, recorded, "FULL", 10_000.0)
    synced = [at for at, event in enumerate(recorded.events) if event.what == "sync" and event.file.endswith("-wal")]
    for at in chance.sample(synced[2:], 10):
        files, rest = recorded.killed_after(at)
        with recording(find_library(), materialize(here, files), rest):
            storage = SqliteStorage(here)
            rest.promise((await storage.load()).newest)
            seen = len(rest.events)
            await storage.close()
        for _ in range(5):
            left, promised = rest.disk_after(seen, chance)
            await check_disk(materialize(directory / "there", left), promised, has_whole_log=True)


@needs_library
async def test_what_a_start_has_found_is_not_lost_by_a_power_loss_right_after_it(
    tmp_path: Path, short_log: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed process leaves commits that only the system's memory holds, and whoever reads them is answered from them."""
    (tmp_path / "settled").mkdir()
    await lose_power_after_a_kill(tmp_path / "settled")
    monkeypatch.setattr(sqlite_file, "_settle", lambda _: None)
    (tmp_path / "not settled").mkdir()
    with pytest.raises(Lost):
        await lose_power_after_a_kill(tmp_path / "not settled")


@pytest.mark.parametrize("seed", seeds_of(3))
async def test_a_write_ahead_log_that_breaks_off_anywhere_has_everything_up_to_there(tmp_path: Path, seed: int) -> None:
    """The same from outside, with any build of SQLite: a copy of the files, whose log is cut off, or goes on with nothing or anything."""
    chance = random.Random(seed)
    here = tmp_path / "here"
    log = here / "interlock.sqlite3-wal"
    synced: list[tuple[int, int]] = []
    engine = Engine(SqliteStorage(here), seed=seed)
    await engine.open()
    await engine.deploy([ROWS])
    await work(engine, chance, lambda ts: synced.append((log.stat().st_size, ts)), 20)
    files = {path.name: path.read_bytes() for path in here.iterdir() if path.name.endswith(("sqlite3", "-wal"))}
    await engine.close()
    whole = files[log.name]
    assert synced[0][0] < synced[-1][0] == len(whole), "it did not start over meanwhile"
    for _ in range(40):
        cut = chance.choice((chance.randrange(len(whole)), chance.choice(synced)[0]))
        rest = chance.choice((b"", bytes(len(whole) - cut), chance.randbytes(len(whole) - cut)))
        promised = {ts for size, ts in synced if size <= cut}
        disk = materialize(tmp_path / "there", {**files, log.name: whole[:cut] + rest})
        assert await check_disk(disk, promised, has_whole_log=True) <= synced[-1][1]


@pytest.mark.parametrize("seed", seeds_of(5))
async def test_a_batch_that_is_torn_between_its_commits_loses_nothing_that_was_answered(seed: int) -> None:
    chance = random.Random(seed)
    answered: list[int] = []
    disk = memory_disk(chance, Faults(delay=8), time.time_ns)
    for _ in range(10):
        storage = disk.mount()
        engine = Engine(storage, seed=chance.getrandbits(32))
        await engine.open()
        await engine.deploy([ROWS])
        working = asyncio.ensure_future(work(engine, chance, answered.append, 20))
        for _ in range(chance.randint(0, 200)):
            await asyncio.sleep(0)
        await disk.crash()
        await asyncio.wait([working])
        await _check_rows(storage.inner, True)
        assert {commit.ts for commit in await storage.inner.tail(0)} >= set(answered) - {0}
    assert len(answered) > 50
