"""Disks, files and clocks that fail under a real server: what callers are told meanwhile, and what is there when the cause is gone."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from interlock.cli.exits import Exit

from .server import PATIENCE_S, PROGRAMS, Server

WALL, TIMEPIECE = PROGRAMS / "wall", PROGRAMS / "timepiece"
_TEXT = 60_000

Do = Callable[[], Awaitable[None]]


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def refusal(app: Path, data: Path, **options: Any) -> str:
    """What a server says that does not start."""
    server = Server(app, data, **options)
    await server.start()
    with suppress(AssertionError):
        await server.serving()
        server.kill()
    assert await server.ended() == Exit.STORAGE, server.text
    return server.text


# A batch that cannot be written. The cause comes and goes while the server runs.


class Trouble:
    """One way to keep a running server from writing, and what it then says."""

    def __init__(self, server: Server, says: str, begin: Do, end: Do) -> None:
        self.server, self.says, self.begin, self.end = server, says, begin, end


UNSHARE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")


def can_mount(mount: str) -> bool:
    return (
        sys.platform == "linux"
        and shutil.which("unshare") is not None
        and not subprocess.run([*UNSHARE, mount], capture_output=True).returncode
    )


@asynccontextmanager
async def full_disk(data: Path) -> AsyncIterator[Trouble]:
    mount = f'mount -t tmpfs -o size=12m tmpfs "{data.parent}"'
    if not can_mount(mount):
        pytest.skip("needs the right to mount a small file system")
    served = f'"{sys.executable}" -m interlock.cli serve "{WALL}" --port 0 --data "{data}"'
    async with Server(WALL, data, command=(*UNSHARE, f"{mount} && exec {served}", "sh")) as server:
        ballast = Path(f"/proc/{server.pid}/root{data.parent}/ballast")

        def fill() -> None:
            with suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)

        yield Trouble(server, "no space left", partial(asyncio.to_thread, fill), partial(asyncio.to_thread, ballast.unlink))


@asynccontextmanager
async def locked(data: Path) -> AsyncIterator[Trouble]:
    async with Server(WALL, data) as server:
        shell = sqlite3.connect(data / "interlock.sqlite3", isolation_level=None)

        async def lock() -> None:
            shell.execute("BEGIN IMMEDIATE")

        async def unlock() -> None:
            shell.execute("ROLLBACK")

        yield Trouble(server, "another program holds it locked", lock, unlock)
        shell.close()


@asynccontextmanager
async def read_only(data: Path) -> AsyncIterator[Trouble]:
    async with Server.handled(WALL, data) as server:

        async def close() -> None:
            assert await server.told("readonly") == "done"

        async def open() -> None:
            assert await server.told("writable") == "done"

        yield Trouble(server, "read-only", close, open)


@pytest.mark.parametrize("trouble_of", [full_disk, locked, read_only])
async def test_while_nothing_can_be_written_callers_are_told_queries_go_on_and_nothing_is_lost(
    tmp_path: Path, trouble_of: Callable[[Path], Any]
) -> None:
    data = tmp_path / "disk" / "data"
    data.parent.mkdir()
    async with trouble_of(data) as trouble, httpx.AsyncClient(timeout=PATIENCE_S) as client:
        server: Server = trouble.server

        async def write(name: str) -> httpx.Response:
            body = {"path": "wall:write", "args": {"name": name, "size": _TEXT}, "format": "json"}
            return await client.post(f"{server.url}/api/mutation", json=body)

        written = 0
        while written < 5:
            assert (await write("a")).json()["status"] == "success"
            written += 1
        planned = {f"in {seconds} s": float(seconds) for seconds in (2, 4, 8, 16, 32)}
        for name, seconds in planned.items():
            await server.call("mutation", "wall:plan", name=name, seconds=seconds)
        all_planned = monotonic()

        await trouble.begin()
        answers: list[httpx.Response] = []
        async with asyncio.timeout(PATIENCE_S):
            while not any(answer.status_code == 503 for answer in answers):
                # The log has room of its own for a while, and each caller is in some batch.
                answers += await asyncio.gather(*(write("a") for _ in range(4)))
        written += sum(answer.status_code == 200 for answer in answers)
        for answer in answers:
            if answer.status_code != 200:
                assert answer.status_code == 503
                assert answer.json()["code"] == "StorageUnavailable"
                assert trouble.says in answer.json()["message"]
        for attempt in range(20):
            began = monotonic()
            refused = await asyncio.gather(*(write("b") for _ in range(10)))
            assert {answer.status_code for answer in refused} == {503}
            if monotonic() - began < 0.9:
                break
            assert attempt < 19, "refused at once: a try would have waited for the lock alone longer, every time"
        assert await server.query("wall:read", name="a") == written
        assert await server.query("wall:read", name="b") == 0
        [later, *_] = [name for name in planned if await server.query("wall:read", name=name) == 0]  # not done before it began
        await asyncio.sleep(max(0.0, all_planned + planned[later] - monotonic()) + 0.2)  # it is due, and cannot run
        assert await server.query("wall:read", name=later) == 0

        await trouble.end()

        async def is_back() -> bool:
            return (await write("c")).status_code == 200

        await until(is_back)
        assert (await write("a")).json()["value"] == written + 1

        async def has_run() -> bool:
            return bool(await server.query("wall:read", name=later) == 1)

        await until(has_run)
        assert "storage_is_back" in server.text
        assert await server.query("wall:read", name="b") == 0
        notes = await server.query("wall:everything")
        assert all(note["text"] == f"{note['value']:09.0f}" * (_TEXT // 9) for note in notes if "text" in note)
        if trouble_of is not full_disk:  # which is gone with its process
            assert await server.end(signal.SIGTERM) == 0
            async with Server(WALL, data) as again:
                assert await again.query("wall:read", name="a") == written + 1
                assert await again.query("wall:read", name=later) == 1


@pytest.mark.parametrize(
    ("spoil", "says"), [("cat /dev/zero > ballast; sync", "no space left"), ("mount -o remount,ro .", "cannot be written")]
)
async def test_a_start_on_a_disk_that_cannot_be_written_is_refused_and_the_next_one_finds_all(
    tmp_path: Path, store: Path, spoil: str, says: str
) -> None:
    kept, disk = tmp_path / "kept", tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=12m tmpfs "{disk}"'
    if not can_mount(mount):
        pytest.skip("needs the right to mount a small file system")
    await filled(kept, store)
    serve = f'"{sys.executable}" -m interlock.cli serve "{WALL}" --port 0 --data "{disk}/kept"'
    script = f'{mount} && cp -r "{kept}" "{disk}" && cd "{disk}" && ({spoil}) 2>/dev/null; cd / && exec {serve}'
    said = await refusal(WALL, disk, command=(*UNSHARE, script, "sh"))
    assert says in said
    assert str(disk) in said
    again = script.replace(spoil, f"{spoil}; mount -o remount,rw . && rm -f ballast")
    async with Server(WALL, disk, command=(*UNSHARE, again, "sh")) as server:
        assert len(await server.query("wall:everything")) == 40
        assert await server.call("mutation", "wall:add", name="new") == 1


# Files that are not as they were.


async def filled(data: Path, store: Path) -> None:
    """A database of some notes, each on pages of its own, behind a server that ended well. It is made once, in `store`."""
    if not (store / "data").exists():
        async with Server(WALL, store / "data") as server:
            for number in range(40):
                await server.call("mutation", "wall:write", name=f"n{number}", size=_TEXT)
            assert await server.end(signal.SIGTERM) == 0
    shutil.copytree(store / "data", data)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


async def test_a_file_of_a_newer_format_is_refused_and_left_as_it_is(tmp_path: Path, store: Path) -> None:
    data = tmp_path / "data"
    await filled(data, store)
    file = data / "interlock.sqlite3"

    def set_format(number: int) -> None:
        with sqlite3.connect(file) as connection:
            connection.execute(f"PRAGMA user_version = {number}")
        connection.close()

    with sqlite3.connect(file) as connection:
        (format,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    set_format(99)
    before = file.read_bytes()
    said = await refusal(WALL, data)
    assert "newer Interlock" in said
    assert "format 99" in said
    assert "pip install --upgrade interlock" in said
    assert file.read_bytes() == before
    set_format(format)
    async with Server(WALL, data) as server:
        assert len(await server.query("wall:everything")) == 40


async def test_a_damaged_file_is_refused_at_the_start_and_a_copy_put_back_is_whole(tmp_path: Path, store: Path) -> None:
    data = tmp_path / "data"
    await filled(data, store)
    file = data / "interlock.sqlite3"
    copy = shutil.copy(file, tmp_path / "copy")
    raw = bytearray(file.read_bytes())
    with sqlite3.connect(file) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'documents'").fetchone()
    connection.close()
    raw[(page - 1) * 4096 : page * 4096] = random.Random(1).randbytes(4096)
    file.write_bytes(raw)
    before = file.read_bytes()
    for _ in range(2):
        said = await refusal(WALL, data)
        assert "damaged" in said
        assert str(file) in said
        assert ".recover" in said
    assert file.read_bytes() == before
    shutil.copy(copy, file)
    async with Server(WALL, data) as server:
        assert len(await server.query("wall:everything")) == 40


async def test_a_page_that_is_damaged_is_told_to_those_who_read_it_and_to_nobody_else(tmp_path: Path, store: Path) -> None:
    data = tmp_path / "data"
    await filled(data, store)
    file = data / "interlock.sqlite3"
    copy = shutil.copy(file, tmp_path / "copy")
    connection = sqlite3.connect(file)
    ids = [id for (id,) in connection.execute("SELECT id FROM documents WHERE length(doc) > 50000 ORDER BY id")]
    connection.close()
    raw = bytearray(file.read_bytes())
    leaves = [
        at
        for id in ids[10:30]
        for at in range(0, len(raw), 4096)
        if raw[at] == 0x0D and id.encode() in raw[at : at + 4096] and b'"text":"' in raw[at : at + 4096]
    ]
    raw[leaves[0] : leaves[0] + 8] = b"\xff" * 8
    file.write_bytes(raw)
    from_disk = {"INTERLOCK_MEMORY_BYTES": "0"}
    async with Server(WALL, data, env=from_disk) as server:
        answers = [(await server.post("query", "wall:read", {"name": f"n{number}"})) for number in range(40)]
        hit = [answer for answer in answers if answer.status_code == 503]
        assert 0 < len(hit) < 20
        assert {answer.json()["code"] for answer in hit} == {"StorageUnavailable"}
        assert all("damaged" in answer.json()["message"] for answer in hit)
        assert all(answer.json()["value"] == 1 for answer in answers if answer.status_code == 200)
        assert await server.call("mutation", "wall:add", name="new") == 1
        number = next(number for number, answer in enumerate(answers) if answer.status_code == 503)
        answer = await server.post("mutation", "wall:add", {"name": f"n{number}"})
        assert (answer.status_code, answer.json()["code"]) == (503, "StorageUnavailable")
        assert await server.end(signal.SIGTERM) == 0
    for beside in data.glob("interlock.sqlite3*"):
        beside.unlink()
    shutil.copy(copy, file)
    async with Server(WALL, data, env=from_disk) as server:
        assert [await server.query("wall:read", name=f"n{number}") for number in range(40)] == [1] * 40


async def test_a_second_server_on_the_same_data_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with Server(WALL, data) as server:
        assert await server.call("mutation", "wall:add", name="a") == 1
        assert f"pid {server.pid}" in await refusal(WALL, data)
        assert await server.call("mutation", "wall:add", name="a") == 2


# A clock that is set back.


async def test_a_clock_that_is_set_back_changes_no_order_and_repeats_no_job(tmp_path: Path) -> None:
    data = tmp_path / "data"
    hour = 3600.0

    async def check(server: Server, order: list[str]) -> list[dict[str, Any]]:
        created = await server.query("marks:by_creation")
        committed = await server.query("marks:by_commit")
        # Ticks run beside the others, so the two orders are one only for what was made one after the other.
        one_by_one = [[mark["_id"] for mark in marks if mark["kind"] not in ("tick", "wakes")] for marks in (created, committed)]
        assert one_by_one[0] == one_by_one[1], "two orders"
        times = [mark["_creationTime"] for mark in created]
        assert times == sorted(set(times)), "creation times go up"
        assert [mark["kind"] for mark in created if mark["kind"] != "tick"] == order
        return list(created)

    async with Server.handled(TIMEPIECE, data, "--kept", "3600") as server:
        await server.call("mutation", "marks:mark", kind="before", count=3)
        await server.call("mutation", "marks:plan", kind="planned before", seconds=1.0)

        async def has_ticked() -> bool:
            return len(await server.query("marks:by_creation")) >= 6 and await server.query("marks:states") == ["success"]

        await until(has_ticked)
        assert await server.told(f"clock {-hour}") == "done"
        for _ in range(3):
            await server.call("mutation", "marks:mark", kind="set back", count=50)
        order = ["before"] * 3 + ["planned before"] + ["set back"] * 150
        marks = await check(server, order)
        ticks = [mark for mark in marks if mark["kind"] == "tick"]
        newest = marks[-1]
        assert newest["now"] < marks[0]["now"] - hour / 2 * 1000, "functions are told the clock's time"
        # What is planned now is due by the clock as it is now.
        await server.call("mutation", "marks:plan", kind="planned after", seconds=0.2)
        order.append("planned after")

        async def has_run() -> bool:
            return await server.query("marks:states") == ["success"] * 2

        await until(has_run)
        marks = await check(server, order)
        assert [mark for mark in marks if mark["kind"] == "tick"] == ticks, "a time that has been is not another time"
        await server.end(signal.SIGKILL)

    async with Server.handled(TIMEPIECE, data, "--clock", str(-hour), "--kept", "3600") as server:
        await server.call("mutation", "marks:mark", kind="after a start", count=5)
        order += ["after a start"] * 5
        marks = await check(server, order)
        assert [mark for mark in marks if mark["kind"] == "tick"] == ticks
        # Set right again: the cron goes on, and what it did is not done again.
        assert await server.told("clock 0") == "done"

        async def ticks_again() -> bool:
            await server.call("mutation", "marks:plan", kind="wakes", seconds=0.0)
            return len([mark for mark in await server.query("marks:by_creation") if mark["kind"] == "tick"]) > len(ticks)

        await until(ticks_again)
        due = await server.query("marks:ticks_due")
        assert len(due) > len(ticks)
        assert len(due) == len(set(due)), "a tick was repeated"
        assert (await server.query("marks:states")).count("failed") == 0
        assert await server.end(signal.SIGTERM) == 0


class Client:
    """One session on the sync socket, over several connections."""

    def __init__(self) -> None:
        self._session = str(uuid.uuid4())
        self.newest: str | None = None

    async def talk(self, url: str, *messages: dict[str, Any], until: str) -> dict[str, Any] | None:
        """Connect, say it, and what comes of a type; None when the server closes first."""
        hello = {"type": "Connect", "sessionId": self._session, "connectionCount": 0, "maxObservedTimestamp": self.newest}
        async with connect(url.replace("http", "ws") + "/api/1.48.0/sync", max_size=None) as socket:
            for message in ({name: value for name, value in hello.items() if value is not None}, *messages):
                await socket.send(json.dumps(message))
            try:
                async with asyncio.timeout(PATIENCE_S):
                    while True:
                        message = json.loads(await socket.recv())
                        if message["type"] == "Transition":
                            self.newest = message["endVersion"]["ts"]
                        if message["type"] == until:
                            return message
            except ConnectionClosed:
                return None


NOTHING: dict[str, Any] = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": []}


@pytest.mark.parametrize("has_commits", [False, True], ids=["empty", "used"])
async def test_a_clock_that_is_set_back_between_two_starts_turns_no_client_away(tmp_path: Path, has_commits: bool) -> None:
    """Clients say the newest time that they have seen: of a database that holds nothing yet, too."""
    data, client = tmp_path / "data", Client()
    add = {"type": "Mutation", "requestId": 0, "udfPath": "wall:add", "args": [{"name": "a"}]}
    for number, shift in enumerate(("0", "-3600", "-7200")):
        async with Server.handled(WALL, data, "--clock", shift) as server:
            assert await client.talk(server.url, NOTHING, until="Transition") is not None
            if has_commits or number == 1:
                answer = await client.talk(server.url, {**add, "requestId": number}, until="MutationResponse")
                assert answer is not None and answer["success"]
                assert await client.talk(server.url, NOTHING, until="Transition") is not None
            assert await server.end(signal.SIGTERM) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
async def test_a_mutation_whose_outcome_nobody_knows_is_answered_by_the_next_start_alone(tmp_path: Path) -> None:
    """The disk fails in the middle of a commit. Over HTTP that is an error; a client on a socket sends again, and it is done once."""
    data, client = tmp_path / "data", Client()
    async with Server.handled(WALL, data) as server:
        assert await server.call("mutation", "wall:write", name="a", size=_TEXT) == 1
        size = (data / "interlock.sqlite3-wal").stat().st_size
        assert await server.told(f"limit {size + 3 * 4096 + 100}") == "done"
        write = {"type": "Mutation", "requestId": 0, "udfPath": "wall:write", "args": [{"name": "a", "size": 9 * _TEXT}]}
        assert await client.talk(server.url, write, until="MutationResponse") is None
        assert await server.ended() == Exit.STORAGE
        assert "not known whether the last writes are on disk" in server.text
    async with Server(WALL, data) as server:
        for _ in range(2):
            answer = await client.talk(server.url, write, until="MutationResponse")
            assert answer is not None
            assert (answer["success"], answer["result"]) == (True, 2)
        assert await server.query("wall:read", name="a") == 2
