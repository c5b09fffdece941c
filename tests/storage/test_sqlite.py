"""What only a storage on disk can meet: other processes, full and broken disks, files that are not its own."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.never_rests import never_rests_until

from interlock.errors import StorageUnavailable
from interlock.storage import sqlite, sqlite_file, wal_size
from interlock.storage.batch import Batch
from interlock.storage.protocol import CatalogChange, Commit, IndexRecord, Interval, NothingWritten, OutcomeUnknown, Row, Storage, Write
from interlock.storage.sqlite import SqliteStorage
from interlock.storage.sqlite_schema import Statement

TABLE, BY_ID, BY_KEY = 1, 2, 3
EVERYTHING = Interval(b"", None)
PROGRAMS = Path(__file__).parent / "programs"
Put = Callable[[str, bytes | None, bytes | None], Commit]
Catalog = Callable[[], Commit]
Check = Callable[[Storage], Awaitable[None]]
Start = Callable[..., "subprocess.Popen[str]"]


async def opened(directory: Path, *commits: Commit) -> SqliteStorage:
    storage = SqliteStorage(directory, synchronous="OFF")
    await storage.load()
    if commits:
        await storage.append(commits)
    return storage


class Watched:
    """The writer's connection: what it is told, in which thread. A statement that begins with a word in `fails` raises that."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.told: list[tuple[str, int]] = []
        self.fails: dict[str, Exception] = {}
        self.takes_s: dict[str, float] = {}

    @classmethod
    def of(cls, storage: SqliteStorage) -> Watched:
        assert storage._connection is not None
        watched = cls(storage._connection)
        storage._connection = watched  # type: ignore[assignment]
        return watched

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def execute(self, text: str, parameters: object = ()) -> sqlite3.Cursor:
        word = text.split()[0]
        self.told.append((word, threading.get_ident()))
        if word in self.fails:
            raise self.fails[word]
        time.sleep(self.takes_s.get(word, 0.0))
        return self._connection.execute(text, parameters)  # type: ignore[arg-type]

    def threads_of(self, word: str) -> list[int]:
        """In which threads it was told statements that begin like this. They are forgotten."""
        threads = [thread for said, thread in self.told if said == word]
        self.told = [(said, thread) for said, thread in self.told if said != word]
        return threads


async def refusal_of(directory: Path) -> str:
    """The message with which a storage does not open."""
    with pytest.raises(StorageUnavailable) as refusal:
        await SqliteStorage(directory).load()
    assert refusal.value.remedy
    return str(refusal.value)


# One process at a time.


async def test_a_second_process_is_refused_and_told_who_is_there(tmp_path: Path, start: Start) -> None:
    holder = start("hold.py", tmp_path)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    message = await refusal_of(tmp_path)
    assert f"pid {holder.pid}" in message
    assert str(tmp_path) in message
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    storage = await opened(tmp_path)
    later = start("hold.py", tmp_path).communicate("")[0]
    assert later.startswith("refused:")
    assert f"pid {os.getpid()}" in later
    await storage.close()
    assert start("hold.py", tmp_path).communicate("")[0] == "held\n"


@pytest.mark.skipif(os.name != "posix", reason="no such permissions here")
async def test_what_it_makes_is_read_by_its_owner_alone(tmp_path: Path, catalog: Catalog, put: Put) -> None:
    storage = await opened(tmp_path, catalog(), put("a", None, b"1"))
    with os.scandir(tmp_path) as files:
        modes = {file.name: file.stat().st_mode & 0o077 for file in files if file.name.startswith(sqlite_file.NAME)}
    assert len(modes) == 3 and not any(modes.values()), modes
    await storage.close()


async def test_a_second_storage_in_one_process_is_refused_and_the_first_keeps_its_lock(tmp_path: Path, start: Start) -> None:
    first = await opened(tmp_path)
    assert "this process" in await refusal_of(tmp_path)
    assert start("hold.py", tmp_path).communicate("")[0].startswith("refused:")
    await first.close()
    await (await opened(tmp_path)).close()


async def test_a_program_that_has_the_file_locked_is_named_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "_WAIT_FOR_OTHERS_S", 0.0)
    await (await opened(tmp_path)).close()
    shell = sqlite3.connect(tmp_path / "interlock.sqlite3", isolation_level=None)
    shell.execute("PRAGMA locking_mode = EXCLUSIVE")
    shell.execute("BEGIN EXCLUSIVE")
    message = await refusal_of(tmp_path)
    assert "locked by another program" in message
    shell.close()
    await (await opened(tmp_path)).close()


@pytest.mark.parametrize("commits", [1, 3], ids=["in the loop", "in the thread"])
async def test_a_write_that_meets_a_lock_says_that_nothing_was_written(
    tmp_path: Path, catalog: Catalog, put: Put, monkeypatch: pytest.MonkeyPatch, commits: int
) -> None:
    monkeypatch.setattr(sqlite, "_WAIT_FOR_LOCK_S", 0.0)
    storage = await opened(tmp_path, catalog())
    storage._sync_s = 0.0
    shell = sqlite3.connect(storage.file, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    batch = [put(f"i{n}", None, b"1") for n in range(commits)]
    with pytest.raises(NothingWritten, match="locked"):
        await storage.append(batch)
    assert (await storage.get(TABLE, ["i0"])).rows == []
    shell.execute("ROLLBACK")
    await storage.append([])
    await storage.append(batch)
    assert (await storage.get(TABLE, ["i0"])).at == batch[-1].ts
    shell.close()
    await storage.close()


async def test_a_write_waits_a_while_for_a_lock(tmp_path: Path, catalog: Catalog, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = await opened(tmp_path, catalog())
    shell = sqlite3.connect(storage.file, isolation_level=None, check_same_thread=False)
    shell.execute("BEGIN IMMEDIATE")
    # The lock goes while the writer waits for it: it asks, is refused, and asks again.
    monkeypatch.setattr("time.sleep", lambda _: shell.in_transaction and shell.execute("ROLLBACK"))
    await storage.append([put("a", None, b"1")])
    assert len((await storage.get(TABLE, ["a"])).rows) == 1
    shell.close()
    await storage.close()


async def test_another_program_may_read_and_copy_the_file_without_loosening_the_lock(
    tmp_path: Path, catalog: Catalog, start: Start
) -> None:
    storage = await opened(tmp_path / "data", catalog())
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    assert start("hold.py", tmp_path / "data").communicate("")[0].startswith("refused:")
    await storage.close()


# Full, read-only and broken disks.


async def test_a_full_disk_is_told_as_such_and_writing_goes_on_when_there_is_room(
    tmp_path: Path, catalog: Catalog, put: Put, check_consistent: Check
) -> None:
    storage = await opened(tmp_path, catalog())
    assert storage._connection is not None
    (pages,) = storage._connection.execute("PRAGMA page_count").fetchone()
    storage._connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    for batch in ([put("big", None, b"x" * 100_000)], [put("big", None, b"x" * 100_000), put("b", None, b"y")]):
        with pytest.raises(NothingWritten) as refusal:
            await storage.append(batch)
        assert str(storage.file) in refusal.value.reason
        assert "no space left" in refusal.value.reason
        assert "Free some space" in refusal.value.remedy
    change = CatalogChange(indexes=[IndexRecord(9, TABLE, "by_new", ("new",))], entries=((9, b"%09d" % n, "a") for n in range(9_000)))
    with pytest.raises(NothingWritten):
        await storage.redefine(change)
    await storage.append([])
    await storage.append([put("small", None, b"1")])
    storage._connection.execute("PRAGMA max_page_count = 1000000")
    await storage.append([put("big", None, b"x" * 100_000)])
    await check_consistent(storage)
    await storage.close()


def test_a_file_system_without_space_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=6m tmpfs "{tmp_path}"'
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if sys.platform != "linux" or shutil.which("unshare") is None or subprocess.run([*unshare, mount], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    command = f'{mount} && "{sys.executable}" "{PROGRAMS / "fill_disk.py"}" "{tmp_path}"'
    done = subprocess.run([*unshare, command], capture_output=True, text=True)
    assert done.stderr == ""
    full, kept = done.stdout.splitlines()
    assert "no space left" in full
    assert kept == "kept True True"


async def test_a_file_that_becomes_read_only_is_told_as_such(tmp_path: Path, catalog: Catalog, put: Put) -> None:
    storage = await opened(tmp_path, catalog())
    assert storage._connection is not None
    storage._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(NothingWritten, match="read-only"):
        await storage.append([put("a", None, b"1")])
    storage._connection.execute("PRAGMA query_only = OFF")
    await storage.append([put("a", None, b"1")])
    await storage.close()


async def test_a_commit_that_fails_on_the_disk_has_an_unknown_outcome_and_ends_all_writing(
    tmp_path: Path, start: Start, check_consistent: Check
) -> None:
    if sys.platform == "win32":
        pytest.skip("needs a limit on the size of files")
    output, errors = start("write_too_much.py", tmp_path).communicate()
    assert errors == ""
    first, second, kept = output.splitlines()
    assert first.startswith("unknown:")
    assert "IOERR" in first
    assert "in COMMIT" in first
    assert second == first
    assert kept == "1"
    storage = await opened(tmp_path)
    await check_consistent(storage)
    assert (await storage.get(TABLE, ["kept", "lost10"])).rows == [Row(b"", "kept", b"1")]
    await storage.close()


def fails_with(code: int, name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("simulated")
    error.sqlite_errorcode, error.sqlite_errorname = code, name
    return error


@pytest.mark.parametrize(
    ("code", "before_commit", "in_commit"),
    [
        (sqlite3.SQLITE_FULL, NothingWritten, NothingWritten),
        (sqlite3.SQLITE_BUSY, NothingWritten, NothingWritten),
        (sqlite3.SQLITE_READONLY, NothingWritten, OutcomeUnknown),
        (sqlite3.SQLITE_IOERR_WRITE, NothingWritten, OutcomeUnknown),
        (sqlite3.SQLITE_IOERR_FSYNC, NothingWritten, OutcomeUnknown),
        (sqlite3.SQLITE_IOERR_SHMSIZE, NothingWritten, OutcomeUnknown),
        (sqlite3.SQLITE_CORRUPT, NothingWritten, OutcomeUnknown),
        (sqlite3.SQLITE_CONSTRAINT, OutcomeUnknown, OutcomeUnknown),
        (sqlite3.SQLITE_ERROR, OutcomeUnknown, OutcomeUnknown),
    ],
)
async def test_an_error_before_commit_wrote_nothing_and_one_in_it_is_unknown_unless_surely_not(
    tmp_path: Path, catalog: Catalog, put: Put, code: int, before_commit: type[Exception], in_commit: type[Exception]
) -> None:
    for fail_at, expected in (("INSERT", before_commit), ("COMMIT", in_commit)):
        storage = await opened(tmp_path / fail_at, catalog())
        watched = Watched.of(storage)
        watched.fails[fail_at] = fails_with(code, "SQLITE_SIMULATED")
        with pytest.raises(expected):
            await storage.append([put("a", None, b"1")])
        watched.fails.clear()
        if expected is NothingWritten:
            await storage.append([put("b", None, b"1")])
            assert [row.id for row in (await storage.get(TABLE, ["a", "b"])).rows] == ["b"]
        else:
            with pytest.raises(OutcomeUnknown):
                await storage.append([])
        await storage.close()


def test_a_directory_that_cannot_be_written_is_told_as_such() -> None:
    if sys.platform == "win32":
        pytest.skip("needs the rights of POSIX")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        own = root / "data"
        subprocess.run([sys.executable, PROGRAMS / "hold.py", own], input="", text=True, check=True)
        for path in (own, *own.iterdir()):
            path.chmod(0o555 if path.is_dir() else 0o444)
        # Nobody but root may write what is read-only, so root asks as somebody else.
        user = ["65534"] if os.getuid() == 0 else []
        for directory in (own, own / "missing" / "deep"):
            done = subprocess.run([sys.executable, PROGRAMS / "hold.py", directory, *user], input="", capture_output=True, text=True)
            assert done.stdout.startswith(f"refused: {directory.parent if directory != own else own}"), done.stdout + done.stderr
            assert "cannot be written" in done.stdout
        own.chmod(0o755)


async def test_a_path_through_a_file_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = await refusal_of(tmp_path / "file" / "data")
    assert "cannot be written" in message
    assert str(tmp_path / "file") in message


# Files that are not ours, or not as they were.


async def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "interlock.sqlite3"
    file.write_bytes(b"This was a list of things to buy.\n" * 200)
    before = file.read_bytes()
    message = await refusal_of(tmp_path)
    assert str(file) in message
    assert "SQLITE_NOTADB" in message
    assert file.read_bytes() == before


async def test_a_database_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "interlock.sqlite3"
    with sqlite3.connect(file) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
    other.close()
    before = file.read_bytes()
    message = await refusal_of(tmp_path)
    assert "another program" in message
    assert file.read_bytes() == before


async def test_a_newer_format_is_refused_with_the_way_to_upgrade(tmp_path: Path) -> None:
    await (await opened(tmp_path)).close()
    newer = sqlite3.connect(tmp_path / "interlock.sqlite3")
    newer.execute("PRAGMA user_version = 7")
    newer.close()
    message = await refusal_of(tmp_path)
    assert "newer Interlock" in message
    assert "format 7" in message
    assert "pip install --upgrade interlock" in message


@pytest.mark.parametrize("is_begun", [False, True])
async def test_a_start_that_was_killed_while_it_made_the_file_is_begun_again(
    tmp_path: Path, catalog: Catalog, put: Put, check_consistent: Check, is_begun: bool
) -> None:
    file = tmp_path / "interlock.sqlite3"
    file.touch()
    if is_begun:
        begun = sqlite3.connect(file)
        begun.execute("PRAGMA auto_vacuum = INCREMENTAL")
        begun.execute("PRAGMA journal_mode = WAL")
        begun.close()
    storage = await opened(tmp_path, catalog(), put("a", None, b"1"))
    await check_consistent(storage)
    await storage.close()


@pytest.mark.parametrize("damage", ["documents", "sqlite_autoindex_documents_1", "cut off", "header"])
async def test_a_damaged_file_is_told_as_such(tmp_path: Path, catalog: Catalog, put: Put, damage: str) -> None:
    storage = await opened(tmp_path, catalog(), *(put(f"i{n:04}", None, b"x" * 1_000) for n in range(200)))
    await storage.close()
    file = storage.file
    data = bytearray(file.read_bytes())
    if "documents" in damage:
        connection = sqlite3.connect(file)
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (damage,)).fetchone()
        connection.close()
        data[(page - 1) * 4096 : page * 4096] = random.Random(1).randbytes(4096)
    elif damage == "cut off":
        del data[20 * 4096 :]
    else:
        data[:16] = b"SQLite format 4\x00"
    file.write_bytes(data)
    message = await refusal_of(tmp_path)
    assert "damaged" in message
    assert str(file) in message
    # Nothing is held after a refusal: the next attempt gets the same answer, not "in use".
    assert await refusal_of(tmp_path) == message


async def test_a_page_found_damaged_later_fails_the_read_and_no_other(tmp_path: Path, catalog: Catalog, put: Put) -> None:
    storage = await opened(tmp_path, catalog(), *(put(f"i{n:04}", None, b"%04d" % n * 100) for n in range(200)))
    await storage.close()
    data = bytearray(storage.file.read_bytes())
    leaf_of_a_table = 0x0D
    for at in range(0, len(data), 4096):
        if data[at] == leaf_of_a_table and b"0150" * 100 in data[at : at + 4096]:
            data[at : at + 4096] = bytes(4096)
    storage.file.write_bytes(data)
    storage = await opened(tmp_path)
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="damaged"):
            await storage.get(TABLE, ["i0150"])
        assert len((await storage.get(TABLE, ["i0001"])).rows) == 1
    await storage.append([put("new", None, b"1")])
    await storage.close()


# Killed.


@pytest.mark.parametrize("forgets", [False, True], ids=["whole log", "short log"])
async def test_whatever_was_answered_before_a_kill_is_there_and_nothing_half(
    tmp_path: Path, start: Start, check_consistent: Check, forgets: bool
) -> None:
    chance = random.Random(5)
    answered: list[int] = []
    for round in range(6):
        process = start("append.py", tmp_path, round, *["forget"] * forgets)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("loaded")
        for _ in range(chance.choice([0, 1, 7, 40, 120])):
            answered += map(int, process.stdout.readline().split())
        process.kill()
        for line in process.communicate()[0].splitlines(keepends=True):
            # A line may be cut off by the kill; a whole one was printed after its batch was answered.
            answered += map(int, line.split()) if line.endswith("\n") else []

        storage = SqliteStorage(tmp_path)
        boot = await storage.load()
        log = [commit.ts for commit in await storage.tail(0)]
        assert boot.newest == max([*log, 0])
        if forgets:
            oldest = log[0] if log else 0
            assert {ts for ts in answered if ts >= oldest} <= set(log)
            assert max([*answered, 0]) <= boot.newest
            documents = {row.id: row.doc for row in (await storage.scan(BY_ID, EVERYTHING, "asc", 10**9)).rows}
            entries = {row.key: row.id for row in (await storage.scan(BY_KEY, EVERYTHING, "asc", 10**9)).rows}
            assert entries == {doc.split(b" ")[1]: id for id, doc in documents.items()}
            assert [(table.count, table.size) for table in boot.tables] in ([], [(len(documents), sum(map(len, documents.values())))])
        else:
            assert set(answered) <= set(log)
            await check_consistent(storage)
        await storage.close()


async def test_a_kill_in_a_deploy_leaves_the_old_catalog(tmp_path: Path, catalog: Catalog, put: Put, check_consistent: Check) -> None:
    storage = await opened(tmp_path / "data", catalog(), put("a", None, b"1"))
    before = await storage.load()
    reached = asyncio.Event()

    def entries() -> object:
        for n in range(20_000):
            if n == 15_000:
                # What is on disk at this moment is what a kill would leave.
                shutil.copytree(tmp_path / "data", tmp_path / "killed")
                reached.set()
            yield 9, b"%09d" % n, "a"

    change = CatalogChange(indexes=[IndexRecord(9, TABLE, "by_new", ("new",))], dropped_indexes=[BY_KEY], entries=entries())  # type: ignore[arg-type]
    await storage.redefine(change)
    assert reached.is_set()
    await storage.close()
    killed = await opened(tmp_path / "killed")
    assert await killed.load() == before
    await check_consistent(killed)
    await killed.close()


# Kept small.


async def test_a_forgotten_log_gives_its_space_back(tmp_path: Path, catalog: Catalog, put: Put, check_consistent: Check) -> None:
    storage = await opened(tmp_path, catalog())
    doc = None
    for n in range(200):
        new = b"%04d" % n + b"x" * 60_000
        await storage.append([put("hot", doc, new)])
        doc = new
    middle = (await storage.tail(0))[100].ts
    await storage.close()
    full = storage.file.stat().st_size
    assert full > 200 * 60_000 * 0.9
    storage = await opened(tmp_path)
    await storage.forget(middle)
    assert min(commit.ts for commit in await storage.tail(0)) == middle
    newest = (await storage.load()).newest
    await storage.forget(newest + 1)
    assert [commit.ts for commit in await storage.tail(0)] == [newest]
    await storage.append([put("more", None, b"1")])
    await storage.close()
    assert storage.file.stat().st_size < 2 * 1024 * 1024
    storage = await opened(tmp_path)
    assert [row.id for row in (await storage.scan(BY_ID, EVERYTHING, "asc", 9)).rows] == ["hot", "more"]
    await storage.close()


@pytest.mark.parametrize("rows", [0, 100, 600], ids=["nobody", "short readings", "long readings"])
async def test_the_write_ahead_log_stays_small_while_others_read(
    tmp_path: Path, catalog: Catalog, put: Put, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(wal_size, "_LARGE_BYTES", 8 * 1024 * 1024)
    ids = [f"i{n:05}" for n in range(2_000)]
    storage = await opened(tmp_path, catalog(), *(put(id, None, b"000" * 150) for id in ids))
    wal = storage.file.with_name(storage.file.name + "-wal")

    async def read() -> None:
        while rows:
            await storage.get(TABLE, ids[:1])
            await storage.scan(BY_KEY, EVERYTHING, "asc", rows)
            await asyncio.sleep(0)

    reading = asyncio.ensure_future(read())
    largest = 0
    for n in range(30):
        await storage.append([put(id, b"%03d" % n * 150, b"%03d" % (n + 1) * 150) for id in ids[:: 1 + n % 3]])
        largest = max(largest, wal.stat().st_size)
    reading.cancel()
    await asyncio.wait([reading])
    # 30 batches write some 40 MB of pages, up to 2.5 MB each.
    assert largest < (16 if rows == 600 else 8) * 1024 * 1024
    await storage.close()
    assert not wal.exists()


@pytest.mark.parametrize(("meanwhile", "copies"), [("nothing", 1), ("a reading", 2), ("a failure", 0)])
async def test_a_log_that_is_due_is_copied_behind_the_next_batch(
    tmp_path: Path, catalog: Catalog, put: Put, meanwhile: str, copies: int
) -> None:
    """Once more where a reading kept it from being whole; and not behind a batch whose outcome is unknown."""
    storage = await opened(tmp_path, catalog())
    watched = Watched.of(storage)
    large = b"x" * wal_size.LIMIT_BYTES  # which it has twice: as a row, and in the log of commits
    await storage.append([put("a", None, large), put("b", None, b"1")])
    assert not watched.threads_of("PRAGMA"), "it is due from here on"
    reader = sqlite3.connect(storage.file, isolation_level=None)
    if meanwhile == "a reading":
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM documents").fetchall()
    appended = storage.append([put("c", None, b"1"), put("d", None, b"1")])
    if meanwhile == "a failure":
        watched.fails["COMMIT"] = fails_with(sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC")
        with pytest.raises(OutcomeUnknown):
            await appended
    else:
        await appended
    for _ in range(2):
        await storage._writer.submit(lambda: None)
    assert len(watched.threads_of("PRAGMA")) == copies
    reader.close()
    await storage.close()


async def test_a_document_of_a_kilobyte_or_two_needs_no_page_of_its_own(tmp_path: Path, catalog: Catalog, put: Put) -> None:
    """A tree by key has room for 1,002 bytes a row in its page of 4,096: of a longer one all but 489 goes into pages of its own."""
    storage = await opened(tmp_path, catalog())
    ids = [f"i{n:04}" for n in range(1_000)]
    random.Random(1).shuffle(ids)
    await storage.append([put(id, None, b"x" * 1_300) for id in ids])
    await storage.close()
    connection = sqlite3.connect(storage.file)
    connection.execute("DELETE FROM log")
    [(pages,)], [(free,)] = (connection.execute(f"PRAGMA {count}").fetchall() for count in ("page_count", "freelist_count"))
    connection.close()
    assert pages - free < 500


@pytest.mark.skipif(sys.platform != "linux", reason="looks at open files in /proc")
async def test_no_page_is_kept_twice_while_a_batch_is_written(tmp_path: Path, catalog: Catalog, put: Put) -> None:
    """What a statement changes SQLite keeps in a file until it is over, where part of the statement could be refused."""
    ids = [f"i{n:04}{'x' * 200}" for n in range(4_000)]  # so long that the keys take many pages too
    storage = await opened(tmp_path, catalog(), *(put(id, None, b"0" * 500) for id in ids[::2]))
    await storage.close()
    connection = sqlite_file.open_for_writing(storage.file, "OFF", 16 * 1024)

    def has_kept(statements: list[Statement]) -> bool:
        connection.execute("BEGIN")
        for text, parameters in statements:
            connection.execute(text, parameters)
        files = [str(file.readlink()) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
        connection.execute("ROLLBACK")
        return any("etilqs_" in file for file in files)

    commits = [put(id, b"0" * 500, b"1" * 600) for id in ids[::10]]
    commits += [put(id, None, b"1" * 600) for id in ids[1::10]] + [put(id, b"0" * 500, None) for id in ids[2::10]]
    statements = Batch(commits).statements
    assert len(statements) > 4
    assert not has_kept(statements)
    assert has_kept([(text.replace(" OR FAIL", ""), parameters) for text, parameters in statements]), "else the test could not fail"
    connection.close()


async def test_one_commit_is_written_in_the_loop_while_the_disk_is_quick_and_more_or_slower_ones_in_the_thread(
    tmp_path: Path, catalog: Catalog, put: Put
) -> None:
    storage = await opened(tmp_path, catalog())

    async def suspends(*commits: Commit) -> bool:
        append = asyncio.ensure_future(storage.append(commits))
        await asyncio.sleep(0)
        is_under_way = not append.done()
        await append
        return is_under_way

    storage._sync_s = 0.0
    assert not await suspends(put("a", None, b"1"))
    assert await suspends(put("b", None, b"1"), put("c", None, b"1"))
    storage._sync_s = 0.05
    assert await suspends(put("d", None, b"1"))
    assert (await storage.get(TABLE, ["a", "b", "c", "d"])).rows == [Row(b"", id, b"1") for id in "abcd"]
    await storage.close()


async def test_what_is_put_into_the_database_is_put_in_the_loop_unless_that_took_long(
    tmp_path: Path, catalog: Catalog, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_PUTS_ELSEWHERE", 2)
    storage = await opened(tmp_path, catalog())
    watched, here = Watched.of(storage), threading.get_ident()

    async def where(number: int) -> tuple[bool, bool]:
        """Whether two documents are put, and committed, in the loop's thread."""
        await storage.append([put(f"{letter}{number}", None, b"1") for letter in "ab"])
        return {thread == here for thread in watched.threads_of("INSERT")} == {True}, watched.threads_of("COMMIT") == [here]

    monkeypatch.setattr(sqlite, "_PUT_S", 60.0)
    assert [await where(n) for n in range(3)] == [(True, False)] * 3
    monkeypatch.setattr(sqlite, "_PUT_S", -1.0)
    assert [await where(n) for n in range(3, 7)] == [(True, False), (False, False), (False, False), (True, False)]
    for many in ([put(f"c{n}", None, b"1") for n in range(sqlite._PUT_PAGES)], [put(f"c{n}", b"1" * 1_000_000, None) for n in range(3)]):
        storage._puts_elsewhere = 0
        await storage.append(many)
        assert here not in [*watched.threads_of("INSERT"), *watched.threads_of("DELETE")]
    await storage.close()


async def test_what_took_long_in_the_thread_does_not_say_that_the_disk_is_slow(tmp_path: Path, catalog: Catalog, put: Put) -> None:
    """It may have waited for the interpreter."""
    storage = await opened(tmp_path, catalog())
    watched = Watched.of(storage)
    storage._sync_s = before = 0.0005
    watched.takes_s["COMMIT"] = 0.02
    await storage.append([put("a", None, b"1"), put("b", None, b"1")])
    assert storage._sync_s == before
    await storage.append([put("c", None, b"1")])
    assert storage._sync_s > before
    await storage.close()


async def test_a_batch_is_written_though_the_loop_never_rests(tmp_path: Path, catalog: Catalog, put: Put) -> None:
    storage = await opened(tmp_path, catalog())

    async def write() -> None:
        for n in range(5):
            await storage.append([put(f"a{n}", None, b"1"), put(f"b{n}", None, b"1")])
            await storage.append([put(f"c{n:02}{m:04}", None, b"1") for m in range(sqlite._PUT_PAGES)])

    writing = asyncio.ensure_future(write())
    await never_rests_until(writing)
    await writing
    await storage.close()


async def test_a_cancelled_append_is_still_written_and_seen(tmp_path: Path, catalog: Catalog, put: Put, check_consistent: Check) -> None:
    storage = await opened(tmp_path, catalog())
    batch = [put("a", None, b"1"), put("b", None, b"1")]
    waiting = asyncio.ensure_future(storage.append(batch))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    after = put("c", None, b"1")
    await storage.append([after])
    assert await storage.get(TABLE, ["a", "c"]) == ([Row(b"", "a", b"1"), Row(b"", "c", b"1")], after.ts)
    await check_consistent(storage)
    await storage.close()


async def test_appends_that_are_not_awaited_one_by_one_keep_their_order(
    tmp_path: Path, catalog: Catalog, put: Put, check_consistent: Check
) -> None:
    storage = await opened(tmp_path, catalog())
    batches = [[put("a", None if n == 0 else b"%d" % (n - 1), b"%d" % n)] * (1) for n in range(40)]
    await asyncio.gather(*(storage.append(batch) for batch in batches))
    assert [batch[0].ts for batch in batches] == sorted(batch[0].ts for batch in batches)
    assert (await storage.get(TABLE, ["a"])).rows == [Row(b"", "a", b"39")]
    await check_consistent(storage)
    await storage.close()


async def test_a_batch_of_many_kinds_of_rows_is_written_whole(tmp_path: Path, catalog: Catalog, put: Put, check_consistent: Check) -> None:
    storage = await opened(tmp_path, catalog())
    for rows in (1, 31, 32, 33, 100, 513, 1_700):
        ids = [f"i{n}" for n in range(rows)]
        await storage.append([put(id, None, b"1") for id in ids])
        await storage.append([put(id, b"1", b"22") for id in ids])
        await check_consistent(storage)
        await storage.append([put(id, b"22", None) for id in ids])
    await check_consistent(storage)
    [table] = (await storage.load()).tables
    assert (table.count, table.size) == (0, 0)
    await storage.close()


async def test_a_batch_with_much_to_log_is_logged_in_several_rows(tmp_path: Path, catalog: Catalog, check_consistent: Check) -> None:
    storage = await opened(tmp_path, catalog())
    commits = [Commit([Write(TABLE, f"i{n}", None, b"x" * 9_000_000)]) for n in range(5)]
    await storage.append(commits)
    assert [commit.ts for commit in (await storage.tail(commits[1].ts))] == [commit.ts for commit in commits[2:]]
    await storage.close()


async def test_a_closed_storage_writes_nothing_and_can_be_opened_again(tmp_path: Path, catalog: Catalog, put: Put) -> None:
    storage = await opened(tmp_path, catalog())
    await storage.close()
    with pytest.raises(NothingWritten, match="closed"):
        await storage.append([put("a", None, b"1"), put("b", None, b"1")])
    with pytest.raises(StorageUnavailable):
        await storage.get(TABLE, ["a"])
    await storage.load()
    await storage.append([put("a", None, b"1")])
    assert len((await storage.get(TABLE, ["a"])).rows) == 1
    await storage.close()
