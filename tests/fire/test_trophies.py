"""Bugs that the fire has found, each reduced to the fewest steps that show it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from interlock.engine import Engine, EngineSettings, Interval, TableSpec, Transaction
from interlock.storage.memory import MemoryStorage
from interlock.storage.protocol import Commit
from interlock.values import CommitTimestamp

EVERYTHING = Interval(b"", None)
STAMPED = TableSpec("", "stamped", indexes={"by_at": ("at",)})


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
    while engine.durable == engine.log.validated or not engine.log.entries[-1].ts:
        await asyncio.sleep(0)
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
        while engine.log.validated == tx.snapshot:
            await asyncio.sleep(0)
        first = len(await tx.scan(table.indexes["by_at"], EVERYTHING, False, None))
        storage.answers.set()
        await inserting[-1]
        return [first, len(await tx.scan(table.indexes["by_at"], EVERYTHING, False, None))]

    await engine.mutate(insert, label="insert")
    storage.answers.clear()
    assert (await engine.query(read_twice)).value == [1, 1]
    await engine.close()
