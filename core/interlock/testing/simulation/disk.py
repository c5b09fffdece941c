"""A disk that outlives the processes that write to it: slow, full, torn, and without what was never synced.

Start at `SimulatedStorage.append`. What a power loss takes away is at most the batch that was being written: a storage writes one
after the other, and syncs each.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from interlock.storage.memory import MemoryStorage
from interlock.storage.protocol import (
    Boot,
    CatalogChange,
    Commit,
    Entry,
    Interval,
    NothingWritten,
    Order,
    OutcomeUnknown,
    Read,
    Storage,
    Write,
)
from interlock.testing.simulation.faults import Faults

_FULL_SECONDS = 3.0


class Platter(MemoryStorage):
    """What is on the disk, synced or not."""

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        super().__init__(clock_ns=clock_ns)
        self._synced_newest = 0
        self.unsynced = 0  # commits at the end of the log

    @property
    def newest(self) -> int:
        return self._newest

    def timestamps(self) -> set[int]:
        """Of all commits that are there."""
        return {commit.ts for commit in self._log}

    def write(self, commits: Sequence[Commit]) -> None:
        """Append them, and leave them unsynced."""
        with suppress(StopIteration):  # in memory an append never waits: its first step is its last
            self.append(commits).send(None)
        self.unsynced += len(commits)

    def sync(self) -> None:
        """All that was written is there to stay."""
        self.unsynced, self._synced_newest = 0, self._newest

    def lose_unsynced(self, count: int) -> None:
        """Take away the newest `count` of the commits that were never synced; the others stay."""
        for _ in range(min(count, self.unsynced)):
            commit = self._log.pop()
            for write in reversed(commit.writes):
                back = [Entry(index, new_key, old_key) for index, old_key, new_key in write.entries]
                self._apply(Write(write.table, write.id, write.new, write.old, back))
            for index in commit.indexes:
                self._drop_index(index.number)
            for table in commit.tables:
                self._tables.pop(table.number, None)
                self._documents.pop(table.number, None)
        self._newest = max([self._synced_newest, *(commit.ts for commit in self._log[-1:])])
        self.sync()

    async def copy_at(self, ts: int) -> MemoryStorage:
        """The disk as it was when the commit of timestamp `ts` was its newest. The log has to be whole."""
        boot = await self.load()
        times = iter([commit.ts for commit in self._log if commit.ts <= ts])
        copy = MemoryStorage(clock_ns=lambda: next(times))
        await copy.redefine(CatalogChange(tables=boot.tables, indexes=boot.indexes, facts=boot.facts))
        await copy.append([commit for commit in await self.tail(0) if commit.ts <= ts])
        return copy


@dataclass
class Disk:
    """One disk, and what is wrong with it. `note` is told what happens to it, `met` counts the faults.

    `crash` ends the process that has it mounted, in the middle of what it does; False: that has happened often enough.
    """

    clock_ns: Callable[[], int]
    chance: random.Random
    faults: Faults
    note: Callable[[str], None]
    met: Counter[str]
    crash: Callable[[], bool]

    def __post_init__(self) -> None:
        self.platter = Platter(self.clock_ns)
        self.full_until = -1.0
        self.mounted: SimulatedStorage | None = None

    @property
    def is_writing(self) -> bool:
        """Whether a batch is on its way: now a power loss would hurt."""
        return self.platter.unsynced > 0 or (self.mounted is not None and bool(self.mounted.writing))

    def mount(self) -> SimulatedStorage:
        """The disk as the next process has it."""
        self.mounted = SimulatedStorage(self)
        return self.mounted

    def die(self, *, power_loss: bool) -> None:
        """The process ends. Whoever waits for the disk there waits for ever."""
        storage, self.mounted = self.mounted, None
        if storage is None:
            return
        storage.is_dead = True
        batch, storage.writing = storage.writing, ()
        if batch:
            fewest, most = (1, len(batch) - 1) if storage.tears else (0, len(batch))
            survivors = batch[: self.chance.randint(fewest, most)]
            self.met["torn"] += 0 < len(survivors) < len(batch)
            self.platter.write(survivors)
        if power_loss:
            unsynced = self.platter.unsynced
            lost = self.chance.randint(1, unsynced) if unsynced and self.chance.random() < 0.75 else 0
            self.met["power_loss"] += lost > 0
            self.met["torn"] += 0 < lost < unsynced
            self.platter.lose_unsynced(lost)


class SimulatedStorage(Storage):
    """The disk, as one process has it until it dies."""

    def __init__(self, disk: Disk) -> None:
        self._disk, self._platter = disk, disk.platter
        self.is_dead = False
        self.tears = False
        self.writing: Sequence[Commit] = ()

    async def load(self) -> Boot:
        await self._wait()
        boot = await self._platter.load()
        # Contract of a storage: what a start has found is not lost any more.
        self._platter.sync()
        return boot

    async def get(self, table: int, ids: Sequence[str]) -> Read:
        await self._wait()
        read = await self._platter.get(table, ids)
        await self._wait()
        return read

    async def scan(self, index: int, interval: Interval, order: Order, limit: int) -> Read:
        await self._wait()
        read = await self._platter.scan(index, interval, order, limit)
        await self._wait()
        return read

    async def entries(self, index: int, after: bytes, limit: int) -> list[tuple[bytes, str]]:
        await self._wait()
        return await self._platter.entries(index, after, limit)

    async def append(self, commits: Sequence[Commit]) -> None:
        faults, chance = self._disk.faults, self._disk.chance
        await self._wait()
        self._refuse_if_full()
        self.writing = commits
        await self._wait()
        if len(commits) > 1 and chance.random() < faults.torn:
            self.tears = True
            self.tears = self._disk.crash()
            await self._wait()
        self.writing = ()
        if chance.random() < faults.lost_syncs:
            is_written = chance.random() < 0.5
            if is_written:
                self._platter.write(commits)
            self._disk.met["lost_syncs"] += 1
            self._disk.note(f"a sync fails; {len(commits)} commits are {'perhaps' if is_written else 'not'} on the disk")
            raise OutcomeUnknown("The sync failed.")
        self._platter.write(commits)
        self._disk.note(f"{len(commits)} commits are on the disk, up to {self._platter.newest}")
        await self._wait()  # for the sync: until then others can see it, and a power loss can take it away
        self._platter.sync()
        await self._wait()

    async def tail(self, after: int) -> list[Commit]:
        return await self._platter.tail(after)

    async def redefine(self, change: CatalogChange) -> None:
        await self._wait()
        self._refuse_if_full()
        await self._platter.redefine(change)
        self._platter.sync()
        await self._wait()

    async def forget(self, before: int) -> None:
        """The whole log is kept: what was answered is compared with it."""

    async def close(self) -> None:
        pass

    def _refuse_if_full(self) -> None:
        disk = self._disk
        now = asyncio.get_running_loop().time()
        if disk.chance.random() < disk.faults.refused:
            disk.full_until = now + disk.chance.uniform(0.0, _FULL_SECONDS)
        if now < disk.full_until:
            disk.met["refused"] += 1
            disk.note("the disk is full")
            raise NothingWritten("There is no space left.", "Free some.")

    async def _wait(self) -> None:
        """Some steps of the loop, or some time."""
        chance, longest_ms = self._disk.chance, self._disk.faults.disk_ms
        if longest_ms and chance.random() < 0.3:
            await asyncio.sleep(chance.uniform(0.0, longest_ms) / 1000.0)
        else:
            for _ in range(chance.randint(0, 2)):
                await asyncio.sleep(0)
        if self.is_dead:
            await asyncio.get_running_loop().create_future()
