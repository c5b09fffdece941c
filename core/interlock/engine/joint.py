"""What several mutations have left to do, done once for all of them, in one transaction that commits with their writes.

A mutation whose function has ended may leave a `Rest`: triggers that are still to be told what it wrote. Those that end while the
committer is at work, as they do under load, are joined: their writes are put together, the rest of all is done in what they make
together, and that is one commit. So it stands for all of them or for none.

Whoever is joined has read nothing that another of them, or the rest, has written; and the rest has not looked through what they have
written. So it is as if they had run one after the other, each with its own rest, for a rest to which it is the same whether it hears of
two writes one by one or in a list. Who cannot be joined, or is in a group that fails, does its own in its own transaction.

Start at `Joint.end`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from interlock.engine.committer import Lost
from interlock.engine.read_set import ReadSet
from interlock.engine.transaction import Transaction
from interlock.engine.view import SnapshotGone
from interlock.errors import StorageUnavailable

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
_KINDS_PAUSED_MOST = 1_000
_WALL_MS = 1_000.0
"""So long a rest may take for all of them. Afterwards there is still time for each to do its own."""
_PATIENCE_MS = 20.0
"""So long they wait for one who does its own, whose writes theirs would likely meet."""


class Rest(Protocol):
    """What is left to do in a transaction before it commits, for the function that has run in it."""

    @property
    def key(self) -> Hashable:
        """Those with equal keys can be done together."""

    @property
    def alone(self) -> Callable[[], Awaitable[None]]:
        """Does it, in its own transaction. Raises what the function then fails with."""

    async def together(self, others: Sequence[Any], tx: Transaction, deadline_ms: float) -> bool:
        """Do it with that of others, in a transaction that has the writes of all. False: it has to be done alone."""


class _Member:
    __slots__ = ("ended", "label", "rest", "transaction")

    def __init__(self, transaction: Transaction, rest: Rest, label: str) -> None:
        self.transaction, self.rest, self.label = transaction, rest, label
        self.ended: asyncio.Future[LogEntry | None] = asyncio.get_running_loop().create_future()

    def end(self, entry: LogEntry | None) -> None:
        """Part of that commit, or None: on its own."""
        if not self.ended.done():
            self.ended.set_result(entry)

    def fail(self, error: BaseException) -> None:
        """It is to raise that."""
        if not self.ended.done():
            self.ended.set_exception(error)


class Joint:
    """Those of one engine. One group of a key is at work at a time; who ends meanwhile is in the next."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._gathering: dict[Hashable, list[_Member]] = {}
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}
        self._lone: dict[Hashable, int] = {}  # how many are doing theirs by themselves
        self._paused: dict[Hashable, int] = {}
        self._has_company = False  # whether there were several in the last group: then there are likely to be again
        self._is_closed = False

    async def end(self, transaction: Transaction, label: str, *, has_turn: bool) -> LogEntry | None:
        """Do what the transaction has left to do. Gives the commit that it is part of, or None: it is still to be committed by itself.

        Who has a turn, because it has lost often, does it by itself. Raises what its own rest raises, Lost, and SnapshotGone.
        """
        rest = transaction.rest
        assert rest is not None, "there is something left"
        transaction.rest = None  # which leads back to the transaction: the collector would have to find out
        key = rest.key
        if not has_turn and self._may_join(transaction, key):
            member = _Member(transaction, rest, label)
            self._gather(member, key)
            entry = await member.ended
            if entry is not None:
                return entry
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

    def close(self) -> None:
        """Whoever waits to be joined hears that there is no backend any more."""
        self._is_closed = True
        for task in list(self._tasks.values()):
            task.cancel()
        for key in list(self._gathering):
            self._let_go(self._gathering.pop(key))

    def _may_join(self, transaction: Transaction, key: Hashable) -> bool:
        if self._is_closed:
            return False
        if not (self._has_company or self._engine.committer.is_busy or key in self._tasks or key in self._lone):
            return False  # nobody else is there: it would only wait
        paused = self._paused.get(key)
        if paused is not None:
            if paused > 1:
                self._paused[key] = paused - 1
            else:
                del self._paused[key]
            return False
        if transaction.new_tables or transaction.read_set.names or transaction.budget.used.bytes_written > _BYTES_MOST:
            return False
        # Commit timestamps say in which order transactions have committed: two that are one commit would have the same.
        return not transaction.write_set.tables_with_commit_ts()

    def _pause(self, key: Hashable) -> None:
        if len(self._paused) >= _KINDS_PAUSED_MOST:
            self._paused.clear()  # mostly of code that is no longer there
        self._paused[key] = _PAUSE

    def _gather(self, member: _Member, key: Hashable) -> None:
        gathering = self._gathering.get(key)
        if gathering is not None:
            gathering.append(member)
            return
        self._gathering[key] = [member]
        if key in self._lone:
            clock = self._engine.clock
            clock.call_at(clock.now_ms() + _PATIENCE_MS, lambda: self._start(key))
        elif not (self._has_company and self._engine.committer.when_flushed(lambda: self._start_soon(key))):
            # Who has had no company does not wait for whom the batch wakes: it would miss the next one.
            self._start_soon(key)

    def _start_soon(self, key: Hashable) -> None:
        """Not at once: whoever else is ready in this turn of the loop comes along."""
        asyncio.get_running_loop().call_soon(self._start, key)

    def _start(self, key: Hashable) -> None:
        """See to those who have gathered, if there are any and nobody does."""
        if key not in self._tasks and key in self._gathering:
            self._tasks[key] = asyncio.get_running_loop().create_task(self._work(key))

    async def _work(self, key: Hashable) -> None:
        """Group after group, until nobody has come meanwhile."""
        gathered: list[_Member] = []
        try:
            while (gathered := self._gathering.pop(key, [])) != []:
                await self._work_off(gathered, key)
        finally:
            del self._tasks[key]  # at once: who comes from here on starts another
            self._let_go(gathered)

    async def _work_off(self, gathered: list[_Member], key: Hashable) -> None:
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
            except Exception as error:  # each of them meets it too
                logger.debug("joint_end_failed", members=len(group), error=repr(error))
            self._let_go(group)

    def _let_go(self, group: Sequence[_Member]) -> None:
        """Whoever has not ended is on its own."""
        for member in group:
            if self._is_closed:
                member.fail(StorageUnavailable("This backend is closed.", "Open a new one."))
            else:
                member.end(None)

    async def _end_together(self, group: Sequence[_Member], key: Hashable) -> None:
        """Do the rest of all, and commit it with their writes. Who is not answered does its own."""
        log = self._engine.log
        for _ in range(2):  # once more if somebody else was quicker, or somebody has given up
            snapshot = log.validated
            log.pin(snapshot)
            try:
                is_over = await self._try_together(group, key, snapshot)
            finally:
                log.unpin(snapshot)
            if is_over:
                return

    async def _try_together(self, group: Sequence[_Member], key: Hashable, snapshot: int) -> bool:
        """False: somebody else's commit was in the way, or a member has left, and it may be tried again."""
        engine = self._engine
        transaction = Transaction(engine, snapshot, True)
        joined = [member for member in group if not member.ended.done() and self._add(transaction, member)]
        if len(joined) < 2:
            return True
        if not await self._do_rest(joined, transaction):
            self._pause(key)
            return True
        if any([member.ended.done() for member in joined]):
            return False
        read = ReadSet()
        for member in joined:
            read.update(member.transaction.read_set)
        if engine.log.find_conflict(read, snapshot) is not None:
            return False  # the transaction may have caught up since then, without these
        transaction.read_set.update(read)
        try:
            entry = await engine.committer.commit(transaction, None, joined[0].label, engine.clock.now_ms() + _WALL_MS)
        except (Lost, SnapshotGone):
            return False
        joined[0].transaction.on_commit += transaction.on_commit
        for member in joined:
            member.end(entry)
        return True

    def _add(self, together: Transaction, member: _Member) -> bool:
        """Put a mutation's writes to those of others. False: it has read what they write, or what has changed since."""
        transaction = member.transaction
        if transaction.is_gone or transaction.view.epoch != self._engine.epoch:
            member.fail(SnapshotGone())
            return False
        if not transaction.catch_up():
            lost_to = self._engine.log.find_conflict(transaction.read_set, transaction.snapshot)
            if lost_to is not None:
                member.fail(Lost(lost_to))  # sooner than it would find out by itself
            return False
        if self._has_read(transaction.read_set, together.write_set.documents):
            return False
        together.write_set.adopt(transaction.write_set)
        return True

    async def _do_rest(self, joined: Sequence[_Member], together: Transaction) -> bool:
        """Whether it could be done, and is what each would have done in its turn."""
        written = dict(together.write_set.documents)
        deadline_ms = self._engine.clock.now_ms() + _WALL_MS
        try:
            is_done = await joined[0].rest.together([member.rest for member in joined], together, deadline_ms)
        except Exception as error:
            logger.debug("joint_end_failed", function=joined[0].label, members=len(joined), error=repr(error))
            return False
        if not is_done or together.is_gone or self._has_looked_through(together.read_set, written):
            return False
        by_rest = dict(together.write_set.documents)
        for member in joined:
            transaction = member.transaction
            for id, pending in transaction.write_set.documents.items():
                if by_rest.pop(id).new is not pending.new and pending.old is not None:
                    return False  # the rest of another changed it before, and that was not seen
            if transaction.budget.used.is_over(together.budget.used, transaction.budget.maximum):
                return False  # alone it might have been refused
        return not any([self._has_read(member.transaction.read_set, by_rest) for member in joined])

    def _has_read(self, read: ReadSet, written: Mapping[str, Pending]) -> bool:
        """Whether something was read that is written there. It may say so once too often, never once too seldom."""
        return bool(written) and not read.is_empty and (not read.ids.isdisjoint(written) or self._has_looked_through(read, written))

    def _has_looked_through(self, read: ReadSet, written: Mapping[str, Pending]) -> bool:
        """Whether a range was read in a table that is written there. What lies in the range is not looked up."""
        if not read.intervals:
            return False
        by_index = self._engine.catalog.by_index
        tables = [by_index[index].table if index in by_index else None for index in read.intervals]
        return None in tables or any([pending.table in tables for pending in written.values()])
