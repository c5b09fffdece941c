"""A storage whose appends a test holds back, refuses or breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from interlock.storage.memory import MemoryStorage
from interlock.storage.protocol import Commit, NothingWritten, OutcomeUnknown


class GatedStorage(MemoryStorage):
    """`gate` closed: appends wait. `refuse` or `break_off`: the next appends fail, surely or with unknown outcome."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.refuse = False
        self.break_off = False
        self.batches: list[int] = []

    async def append(self, commits: Sequence[Commit]) -> None:
        await self.gate.wait()
        if self.refuse:
            raise NothingWritten("no space left", "free some")
        if self.break_off:
            raise OutcomeUnknown("fsync failed")
        self.batches.append(len(commits))
        await super().append(commits)
