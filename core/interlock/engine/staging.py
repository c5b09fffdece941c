"""Staged indexes: filled in the background, a little at a time, while the table is used.

Writes keep a staged index from the moment it is declared. So it is right for every document that was written since, and the
fill brings the others: it goes through the table in the order of ids, and remembers in storage, with the entries of each step,
how far it has come. A step is made while nothing commits: what it reads is the newest there is, and cannot change before the
entries are written. A deploy that wants to read by the index first has the steps that are left made one after another.

`Deploy` decides which indexes are staged; this only fills them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import structlog

from interlock.engine.catalog import BY_ID, Index, id_key
from interlock.errors import StorageUnavailable
from interlock.storage.protocol import CatalogChange, Interval, NothingWritten
from interlock.values import unpack

if TYPE_CHECKING:
    from interlock.engine.engine import Engine

logger = structlog.get_logger("interlock.engine")
FACT = "staged_indexes"
"""The fact that remembers them: JSON, for each index number the last id that is filled, "" before the first, null when all are."""
_ROWS_A_STEP = 250
_BYTES_A_STEP = 4 * 1024 * 1024
_REST_MS = 20.0
_RETRY_MS = 1_000.0
_TURNS_BETWEEN = 3
"""Of the loop: who was held up by a step is woken in the second one, and has committed in it."""

Filled = dict[int, str | None]


def read_fact(facts: dict[str, str]) -> Filled:
    """The staged indexes by number, and how far each is filled."""
    return {int(number): filled for number, filled in json.loads(facts.get(FACT, "{}")).items()}


def to_fact(filled: Filled) -> str:
    return json.dumps({str(number): filled[number] for number in sorted(filled)})


class Staging:
    """The staged indexes of one engine. `filled` says by number how far each is: the last id, "" before the first, None for all."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.filled: Filled = {}
        self._task: asyncio.Task[None] | None = None
        self._is_resting = False
        self._is_closed = False

    def load(self, facts: dict[str, str]) -> None:
        self.filled = read_fact(facts)

    def start(self) -> None:
        """Go on filling, if there is something to fill."""
        if self._next() is not None and not self._is_closed and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """End after the step that is being made."""
        self._is_closed = True
        if self._task is not None:
            if self._is_resting:
                self._task.cancel()
            await asyncio.wait([self._task])

    async def finish(self, indexes: Iterable[Index]) -> None:
        """Fill these without rests; others commit between two steps. Raises StorageUnavailable."""
        for index in indexes:
            while await self._engine.committer.hold(partial(self._step, index)):
                for _ in range(_TURNS_BETWEEN):
                    await asyncio.sleep(0)

    def _next(self) -> Index | None:
        for number, filled in self.filled.items():
            if filled is not None and (index := self._engine.catalog.by_index.get(number)) is not None:
                return index
        return None

    async def _run(self) -> None:
        committer = self._engine.committer
        while not self._is_closed and (index := self._next()) is not None:
            rest = _REST_MS
            try:
                await committer.hold(partial(self._step, index))
            except StorageUnavailable:
                if committer.fatal is not None:
                    return
                rest = _RETRY_MS
            await self._rest(rest)

    async def _rest(self, milliseconds: float) -> None:
        if self._is_closed:
            return
        clock = self._engine.clock
        self._is_resting = True
        try:
            await clock.wait_until(clock.now_ms() + milliseconds)
        finally:
            self._is_resting = False

    async def _step(self, index: Index) -> bool:
        """Fill the next few, while nothing commits. False: there are none left."""
        engine, table = self._engine, index.table
        after = self.filled.get(index.number)
        if after is None:
            return False
        rows_max = max(1, min(_ROWS_A_STEP, _BYTES_A_STEP * max(1, table.count) // max(1, table.size)))
        interval = Interval(id_key(after) + b"\x00" if after else b"", None)
        # From storage, also where the table is in memory: there nothing is newer now, and ids are in order.
        read = await engine.storage.scan(table.indexes[BY_ID].number, interval, "asc", rows_max)
        entries = [(index.number, index.key_of(unpack(row.doc)), row.id) for row in read.rows]
        filled: Filled = {**self.filled, index.number: read.rows[-1].id if len(read.rows) == rows_max else None}
        fact = to_fact(filled)
        try:
            await engine.storage.redefine(CatalogChange(entries=entries, facts={FACT: fact}))
        except NothingWritten as refusal:
            raise StorageUnavailable(refusal.reason, refusal.remedy) from None
        except Exception as error:
            engine.committer.fail(error)
            raise engine.committer.fatal or error from error
        self.filled = filled
        engine.facts[FACT] = fact
        if table.memory is not None:
            table.memory.entries[index.number].update({key: id for _, key, id in entries})
        if filled[index.number] is None:
            logger.info("staged_index_is_filled", index=index.name, table=table.name, component=table.component)
        return filled[index.number] is not None
