"""What several mutations have left to do, done once for all of them, in one transaction that commits with their writes.

A mutation whose function has ended may leave a `Rest`: triggers that are still to be told what it wrote. Those that end while the
committer is at work, as they do under load, are joined: their writes are put together, the rest of all is done in what they make
together, and that is one commit. So it stands for all of them or for none.

It is as if they had run one after the other, each with its own rest, because nobody is joined who has read what another of them, or
the rest, has written. Who cannot be joined, or is in one that fails, does its own rest in its own transaction.

Start at `Joint.end`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from interlock.engine.committer import Lost
from interlock.engine.transaction import Transaction
from interlock.engine.view import SnapshotGone
from interlock.errors import InterlockError

if TYPE_CHECKING:
    from interlock.engine.engine import Engine
    from interlock.engine.write_log import LogEntry
    from interlock.engine.write_set import Pending

logger = structlog.get_logger("interlock.engine")
_MEMBERS_MOST = 64
_WRITES_MOST = 512
_BYTES_MOST = 4 * 1024 * 1024
"""Of what they have written: so that what they make together is no transaction of another order than theirs."""
_PAUSE = 256
"""So many ends of a kind that failed together are left alone. It costs what was done together in vain."""


class Rest(Protocol):
    """What is left to do in a transaction before it commits, for the function that has run in it."""

    @property
    def key(self) -> Hashable:
        """Those with equal keys can be done together."""

    async def alone(self) -> None:
        """Do it, in its own transaction. Raises what the function then fails with."""

    async def together(self, others: Sequence[Any], tx: Transaction) -> bool:
        """Do it with that of others, in a transaction that has the writes of all. False: it has to be done alone."""


class _Member:
    __slots__ = ("ended", "label", "transaction")

    def __init__(self, transaction: Transaction, label: str) -> None:
        self.transaction, self.label = transaction, label
        self.ended: asyncio.Future[LogEntry | None] = asyncio.get_running_loop().create_future()


class Joint:
    """Those of one engine. One group of a key is at work at a time, or one by itself; who ends meanwhile is in the next."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._gathering: dict[Hashable, list[_Member]] = {}
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}
        self._lone: dict[Hashable, int] = {}  # how many are doing theirs by themselves
        self._paused: dict[Hashable, int] = {}
        self._has_company = False  # whether there were several in the last group: then there are likely to be again

    async def end(self, transaction: Transaction, label: str, *, has_turn: bool) -> LogEntry | None:
        """Do what the transaction has left to do. Gives the commit that it is part of, or None: it is still to be committed by itself.

        Who has a turn, because it has lost often, does it by itself.
        Raises what its own rest raises, and Lost.
        """
        rest = transaction.rest
        assert rest is not None, "there is something left"
        key = rest.key
        if not has_turn and self._may_join(transaction, key):
            member = _Member(transaction, label)
            gathering = self._gathering.get(key)
            if gathering is None:
                self._gathering[key] = [member]
                if key not in self._lone:
                    # Not at once: whoever else is ready in this turn of the loop comes along.
                    asyncio.get_running_loop().call_soon(self._start, key)
            else:
                gathering.append(member)
            entry = await member.ended
            if entry is not None:
                transaction.rest = None  # which leads back to the transaction: the collector would have to find out
                return entry
        transaction.rest = None
        lone = self._lone
        lone[key] = lone.get(key, 0) + 1
        try:
            await rest.alone()
        finally:
            if lone[key] > 1:
                lone[key] -= 1
            else:
                del lone[key]
                self._start(key)
        return None

    async def close(self) -> None:
        """Wait until nobody is at work."""
        while self._tasks:
            await asyncio.wait(self._tasks.values())

    def _may_join(self, transaction: Transaction, key: Hashable) -> bool:
        committer = self._engine.committer
        if not (self._has_company or committer.is_busy or key in self._tasks or key in self._lone):
            return False  # nobody else is there: it would only wait
        paused = self._paused.get(key)
        if paused is not None:
            if paused > 1:
                self._paused[key] = paused - 1
            else:
                del self._paused[key]
            return False
        return not transaction.new_tables and not transaction.read_set.names and transaction.budget.used.bytes_written <= _BYTES_MOST

    def _start(self, key: Hashable) -> None:
        """See to those who have gathered, if there are any and nobody does."""
        if key in self._tasks or key not in self._gathering:
            return
        self._tasks[key] = asyncio.get_running_loop().create_task(self._work(key))

    async def _work(self, key: Hashable) -> None:
        """Group after group, until nobody has come meanwhile."""
        try:
            await self._work_off(key)
        finally:
            del self._tasks[key]  # at once: who comes from here on starts another

    async def _work_off(self, key: Hashable) -> None:
        while (gathered := self._gathering.pop(key, None)) is not None:
            at = 0
            while at < len(gathered):
                group: list[_Member] = []
                writes = size = 0
                while at < len(gathered) and len(group) < _MEMBERS_MOST and writes < _WRITES_MOST and size < _BYTES_MOST:
                    member = gathered[at]
                    writes += len(member.transaction.write_set.documents)
                    size += member.transaction.budget.used.bytes_written
                    group.append(member)
                    at += 1
                self._has_company = len(group) > 1
                try:
                    await self._end_together(group, key)
                except InterlockError as error:  # each of them meets it too
                    logger.debug("joint_end_failed", members=len(group), error=repr(error))
                finally:
                    for member in group:
                        if not member.ended.done():
                            member.ended.set_result(None)

    async def _end_together(self, group: list[_Member], key: Hashable) -> None:
        """Do the rest of all, and commit it with their writes. Who is not answered does its own."""
        log = self._engine.log
        for _ in range(2):  # once more if somebody else was quicker
            snapshot = log.validated
            log.pin(snapshot)
            try:
                is_over = await self._try_together(group, key, snapshot)
            finally:
                log.unpin(snapshot)
            if is_over:
                return

    async def _try_together(self, group: list[_Member], key: Hashable, snapshot: int) -> bool:
        """False: somebody else's commit was in the way, and it may be tried again."""
        committer = self._engine.committer
        transaction = Transaction(self._engine, snapshot, True)
        joined = [member for member in group if not member.ended.done() and self._add(transaction, member)]
        if len(joined) < 2:
            return True
        if not await self._do_rest(joined, transaction):
            self._paused[key] = _PAUSE
            return True
        try:
            entry = await committer.commit(transaction, None, joined[0].label, self._engine.deadline(None))
        except (Lost, SnapshotGone):
            return False
        joined[0].transaction.on_commit += transaction.on_commit
        for member in joined:
            if not member.ended.done():
                member.ended.set_result(entry)
        return True

    def _add(self, together: Transaction, member: _Member) -> bool:
        """Put a mutation's reads and writes to those of others. False: it has read what they write, or what has changed since."""
        transaction = member.transaction
        if not transaction.catch_up():
            lost_to = self._engine.log.find_conflict(transaction.read_set, transaction.snapshot)
            if lost_to is not None:
                member.ended.set_exception(Lost(lost_to))  # sooner than it would find out by itself
            return False
        if self._has_read(transaction, together.write_set.documents):
            return False
        together.write_set.adopt(transaction.write_set)
        together.read_set.update(transaction.read_set)
        return True

    async def _do_rest(self, joined: Sequence[_Member], together: Transaction) -> bool:
        """Whether it could be done, and nobody has read, or written too, what it has written."""
        rests: list[Any] = [member.transaction.rest for member in joined]
        try:
            if not await rests[0].together(rests, together) or together.is_gone:
                return False
        except Exception as error:
            logger.debug("joint_end_failed", function=joined[0].label, members=len(joined), error=repr(error))
            return False
        written = dict(together.write_set.documents)
        for member in joined:
            for id, pending in member.transaction.write_set.documents.items():
                if written.pop(id).new is not pending.new and pending.old is not None:
                    return False  # what it has changed was changed before by the rest of another, and it has not seen that
        return not any([self._has_read(member.transaction, written) for member in joined])

    def _has_read(self, transaction: Transaction, written: Mapping[str, Pending]) -> bool:
        """Whether it has read something that is written there, and not by itself. It may say so once too often, never once too seldom.

        Of a range it is not looked up what lies in it: who has read one of a table has read what is written to the table.
        """
        read = transaction.read_set
        if not written or read.is_empty:
            return False
        if not read.ids.isdisjoint(written):
            return True
        if not read.intervals:
            return False
        by_index = self._engine.catalog.by_index
        tables = [by_index[index].table if index in by_index else None for index in read.intervals]
        return None in tables or any([pending.table in tables for pending in written.values()])
