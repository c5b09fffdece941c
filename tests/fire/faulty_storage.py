"""A storage that is slow, refuses batches, loses its engine's answers, and dies: round any other storage."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from interlock.storage.memory import MemoryStorage
from interlock.storage.protocol import Boot, CatalogChange, Commit, Interval, NothingWritten, Order, OutcomeUnknown, Read, Storage
from interlock.storage.sqlite import SqliteStorage


@dataclass
class Faults:
    """How likely each is for one batch. `delay` is the most turns of the loop that a batch waits, before it is written and after."""

    delay: int = 0
    refused: float = 0.0
    unknown: float = 0.0


class FaultyStorage:
    """Passes everything on to `inner` until it dies. Then whoever waits waits for ever, as for a process that was killed."""

    def __init__(self, inner: Storage, chance: random.Random, faults: Faults) -> None:
        self.inner = inner
        self._chance, self._faults = chance, faults
        self._is_dead = False
        self._batch: Sequence[Commit] = ()  # handed over and not written yet
        self.refusals = 0

    async def load(self) -> Boot:
        return await self.inner.load()

    async def get(self, table: int, ids: Sequence[str]) -> Read:
        await self._pause(self._faults.delay // 4)
        return await self.inner.get(table, ids)

    async def scan(self, index: int, interval: Interval, order: Order, limit: int) -> Read:
        await self._pause(self._faults.delay // 4)
        return await self.inner.scan(index, interval, order, limit)

    async def entries(self, index: int, after: bytes, limit: int) -> list[tuple[bytes, str]]:
        return await self.inner.entries(index, after, limit)

    async def append(self, commits: Sequence[Commit]) -> None:
        self._batch = commits
        await self._pause(self._faults.delay)
        fault = self._chance.random()
        self._batch = ()
        if fault < self._faults.refused:
            self.refusals += 1
            raise NothingWritten("There is no space left.", "Free some.")
        is_broken = fault < self._faults.refused + self._faults.unknown
        if not is_broken or self._chance.random() < 0.5:
            await self.inner.append(commits)
        if is_broken:
            raise OutcomeUnknown("The sync failed.")
        await self._pause(self._faults.delay)

    async def tail(self, after: int) -> list[Commit]:
        return await self.inner.tail(after)

    async def redefine(self, change: CatalogChange) -> None:
        await self.inner.redefine(change)

    async def forget(self, before: int) -> None:
        await self.inner.forget(before)

    async def close(self) -> None:
        await self.inner.close()

    async def die(self) -> None:
        """The process ends. Of the batch that was on its way a beginning is on disk: nothing, some of its commits, or all."""
        self._is_dead = True
        batch, self._batch = self._batch, ()
        survivors = batch[: self._chance.randint(0, len(batch))]
        if survivors:
            await self.inner.append(survivors)

    async def _pause(self, turns: int) -> None:
        for _ in range(self._chance.randint(0, turns)):
            await asyncio.sleep(0)
        if self._is_dead:
            await asyncio.get_running_loop().create_future()


class Disk:
    """What is left when an engine has died. `mount` gives the storage that the next engine is to load."""

    def __init__(self, open_inner: Callable[[], Storage], chance: random.Random, faults: Faults) -> None:
        self._open_inner, self._chance, self._faults = open_inner, chance, faults
        self.storage: FaultyStorage | None = None

    def mount(self) -> FaultyStorage:
        self.storage = FaultyStorage(self._open_inner(), self._chance, self._faults)
        return self.storage

    async def crash(self) -> None:
        """End the engine in the middle of whatever it does. All tasks but the caller's die with it."""
        assert self.storage is not None
        await self.storage.die()
        while dying := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in sorted(dying, key=lambda task: (len(task.get_name()), task.get_name())):  # a set has another order each time
                task.cancel()
            await asyncio.gather(*dying, return_exceptions=True)
            await asyncio.sleep(0)  # one that ends may start another
        await self.storage.inner.close()


def memory_disk(chance: random.Random, faults: Faults, clock_ns: Callable[[], int]) -> Disk:
    """One storage in memory, which each engine finds again."""
    storage = MemoryStorage(clock_ns=clock_ns)
    return Disk(lambda: storage, chance, faults)


def sqlite_disk(directory: Path, chance: random.Random, faults: Faults, clock_ns: Callable[[], int]) -> Disk:
    """A database file. It is the engine that dies here, not the machine, so nothing has to be synced."""
    return Disk(lambda: SqliteStorage(directory, clock_ns=clock_ns, synchronous="OFF"), chance, faults)
