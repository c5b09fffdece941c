"""Bugs that the fire has found, each reduced to the fewest steps that show it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from interlock.engine import Engine, EngineSettings, Interval, TableSpec, Transaction
from interlock.errors import StorageUnavailable
from interlock.storage.memory import MemoryStorage
from interlock.storage.protocol import Commit, NothingWritten, OutcomeUnknown
from interlock.testing.virtual_clock import VirtualClock
from interlock.values import CommitTimestamp

EVERYTHING = Interval(b"", None)
STAMPED = TableSpec("", "stamped", indexes={"by_at": ("at",)})


async def until(condition: Callable[[], object]) -> None:
    """Give everybody else a turn until it is so. Nothing here waits for more than a few."""
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


class SlowAnswers(MemoryStorage):
    """A batch can be read as soon as it is written; that it is written is told when `answers` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()
        self.answers.set()

    async def append(self, commits: Sequence[Commit]) -> None:
        await super().append(commits)
        await self.answers.wait()


async def test_rows_that_are_on_disk_but_not_yet_known_to_be_so_have_their_timestamps_there_already() -> None:
    """A read of a table on disk undoes what its snapshot does not see. It looked for index keys with placeholders, and found none."""
    storage = SlowAnswers()
    engine = Engine(storage, settings=EngineSettings(memory_bytes=-1), seed=1)
    await engine.open()
    await engine.deploy([STAMPED])
    engine.catalog.by_name["", "stamped"].memory = None

    async def insert(tx: Transaction) -> None:
        table = tx.table("", "stamped")
        assert table is not None
        tx.insert(table, {"at": CommitTimestamp()})

    async def read(tx: Transaction) -> int:
        table = tx.table("", "stamped")
        assert table is not None
        return len(await tx.scan(table.indexes["by_at"], EVERYTHING, False, None))

    await engine.mutate(insert, label="insert")
    storage.answers.clear()
    inserting = asyncio.ensure_future(engine.mutate(insert, label="insert"))
    await until(lambda: engine.durable < engine.log.validated and engine.log.entries[-1].ts)
    assert (await engine.query(read)).value == 1
    storage.answers.set()
    await inserting
    assert (await engine.query(read)).value == 2
    await engine.close()


async def test_a_row_in_memory_whose_timestamp_becomes_known_between_two_reads_stays_unseen() -> None:
    """The second read took over what the first one had worked out, with the placeholder in the key."""
    storage = SlowAnswers()
    engine = Engine(storage, seed=1)
    await engine.open()
    await engine.deploy([STAMPED])
    inserting: list[asyncio.Future[object]] = []

    async def insert(tx: Transaction) -> None:
        table = tx.table("", "stamped")
        assert table is not None
        tx.insert(table, {"at": CommitTimestamp()})

    async def read_twice(tx: Transaction) -> list[int]:
        table = tx.table("", "stamped")
        assert table is not None
        inserting.append(asyncio.ensure_future(engine.mutate(insert, label="insert")))
        await until(lambda: engine.log.validated > tx.snapshot)
        first = len(await tx.scan(table.indexes["by_at"], EVERYTHING, False, None))
        storage.answers.set()
        await inserting[-1]
        return [first, len(await tx.scan(table.indexes["by_at"], EVERYTHING, False, None))]

    await engine.mutate(insert, label="insert")
    storage.answers.clear()
    assert (await engine.query(read_twice)).value == [1, 1]
    await engine.close()


class BrokenStorage(SlowAnswers):
    """What becomes of a batch is decided when its turn comes: see `verdict`."""

    def __init__(self) -> None:
        super().__init__()
        self.verdict: Exception | None = None

    async def append(self, commits: Sequence[Commit]) -> None:
        await self.answers.wait()
        if self.verdict is not None:
            raise self.verdict
        await super().append(commits)


async def test_a_mutation_that_meets_a_row_without_its_timestamp_after_the_end_of_the_engine_is_told_so() -> None:
    """It waited for ever: those who waited at the end were woken, those who came later were not turned away."""
    storage = BrokenStorage()
    engine = Engine(storage, seed=1)
    await engine.open()
    await engine.deploy([STAMPED])
    storage.answers.clear()

    async def insert(tx: Transaction) -> None:
        table = tx.table("", "stamped")
        assert table is not None
        tx.insert(table, {"at": CommitTimestamp()})

    async def read_late(tx: Transaction) -> None:
        storage.verdict = OutcomeUnknown("The sync failed.")
        storage.answers.set()
        await until(lambda: engine.committer.fatal)
        table = tx.table("", "stamped")
        assert table is not None
        await tx.scan(table.indexes["by_at"], EVERYTHING, False, None)

    inserting = asyncio.ensure_future(engine.mutate(insert, label="insert"))
    await until(lambda: engine.log.validated)
    async with asyncio.timeout(10):
        with pytest.raises(StorageUnavailable):
            await engine.mutate(read_late, label="read")
        with pytest.raises(StorageUnavailable):
            await inserting


async def test_who_makes_a_table_that_another_makes_first_still_finds_its_own_rows_in_it() -> None:
    """It has to run again, but what it does until then, raising an error perhaps, must not come from two tables mixed."""
    engine = Engine(MemoryStorage(), seed=1)
    await engine.open()

    async def append(tx: Transaction) -> None:
        table = tx.table("", "lines") or tx.make_table("", "lines")
        tx.insert(table, {})

    async def make_late(tx: Transaction) -> int:
        await append(tx)
        if engine.log.validated == 0:
            await engine.mutate(append, label="append")
        table = tx.table("", "lines")
        assert table is not None
        seen.append(len(await tx.scan(table.indexes["by_creation_time"], EVERYTHING, False, None)))
        return seen[-1]

    seen: list[int] = []
    assert (await engine.mutate(make_late, label="append")).value == 2
    assert seen == [1, 2]
    await engine.close()


@pytest.mark.parametrize("reads", [False, True], ids=["writes only", "reads"])
async def test_who_has_used_a_table_whose_making_is_taken_back_runs_again(reads: bool) -> None:
    """Its writes went to a table that was no longer there, and the order of commits broke off in the middle of one."""
    clock = VirtualClock(1_760_000_000_000.0)
    storage = BrokenStorage()
    engine = Engine(storage, seed=1, clock=clock)
    await engine.open()
    runs: list[int] = []

    async def append(tx: Transaction) -> None:
        table = tx.table("", "lines") or tx.make_table("", "lines")
        tx.insert(table, {"n": 1})

    async def append_late(tx: Transaction) -> int:
        table = tx.table("", "lines") or tx.make_table("", "lines")
        runs.append(table.number)
        before = len(await tx.scan(table.indexes["by_creation_time"], EVERYTHING, False, None)) if reads else 0
        tx.insert(table, {"n": 2})
        if len(runs) == 1:
            storage.verdict = NothingWritten("There is no space left.", "Free some.")
            storage.answers.set()
            await until(lambda: engine.committer.unavailable)
            storage.verdict = None
            while engine.committer.unavailable:  # the probe looks each second, from whenever it begins to wait
                await asyncio.sleep(0)
                clock.move_to(clock.now_ms() + 1_000)
        return before

    storage.answers.clear()
    making = asyncio.ensure_future(engine.mutate(append, label="append"))
    await until(lambda: engine.log.validated)
    assert (await engine.mutate(append_late, label="append")).value == 0
    with pytest.raises(StorageUnavailable):
        await making
    assert len(runs) == 2
    assert (await engine.query(lambda tx: _lines(tx))).value == [2]
    await engine.close()


async def _lines(tx: Transaction) -> list[int]:
    table = tx.table("", "lines")
    assert table is not None
    return [row["n"] for row in await tx.scan(table.indexes["by_creation_time"], EVERYTHING, False, None)]
