"""What a running query or mutation asks for, answered: the engine's side of its context, inline and, through its runner, sandboxed.

Start at `TransactionHost.get`: every operation takes its turn, asks the transaction, and gives the turn on.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from interlock.engine import Index, Interval, Table, Transaction
from interlock.engine.live import USES_IDENTITY, USES_TIME
from interlock.engine.view import NOT_AT_HAND
from interlock.errors import CallRefused, DocumentNotFound, InterlockError, SchemaError, ValueRefused
from interlock.functions.call import BUSY, ENDED, IDLE, Call, Execution
from interlock.functions.call_host import CallHost
from interlock.functions.calling import call_below, check_kind
from interlock.functions.reading import Pages, ScanCursor, find_index, interval_of
from interlock.functions.runner import Begun
from interlock.functions.scope import Callee, Triggers
from interlock.functions.triggers import ChangeKind, Untold, run_triggers
from interlock.sandbox.frames import MADE_MAX
from interlock.sdk.host import Cursor, Document, Job, Kind, Metrics, Scan, Target
from interlock.sdk.randomness import Drawn
from interlock.values import is_identifier, table_of

T = TypeVar("T")
_Written = tuple[str, Document | None, Document | None]
"""A document's id, what it was and what it is now. An update that changes nothing leaves nothing new."""


class TransactionHost(CallHost):
    """A query or a mutation. `tx` is what it reads and writes: its transaction, or the stale view of it that the caller asked for."""

    __slots__ = ("_random", "begun", "is_stale", "made", "meter", "tx")

    def __init__(
        self,
        execution: Execution,
        callee: Callee,
        args: dict[str, Any],
        parent: Call | None,
        depth: int,
        identity: Mapping[str, Any] | None,
        tx: Transaction,
        is_stale: bool = False,
    ) -> None:
        # As Call.__init__ does, without the call: one of these is made for every call.
        self.execution, self.callee, self.args = execution, callee, args
        self.parent, self.depth, self.identity_fields = parent, depth, identity
        self.children = self.ordinal = 0
        self.deadline_ms = self.cpu_max = None
        self.wall_max = self.cpu = 0.0
        self.is_stopped = False
        self.state = IDLE
        self.queue = None
        self.untold = None
        self.unbegun = 0
        self.first_unbegun = ""
        self.tx, self.is_stale = tx, is_stale
        self.made: list[list[Any]] | None = None  # ids that its worker has made up, and when their documents were made
        self.meter = execution.services.meter
        self.begun: Begun | None = None
        self._random: random.Random | None = None

    @property
    def random(self) -> random.Random:
        if self._random is None:
            parent = self.parent
            # When first used: most functions draw nothing.
            self._random = Drawn(parent.random.getrandbits(64)) if isinstance(parent, TransactionHost) else self.execution.random
        return self._random

    def now(self) -> float:
        self.execution.facts[USES_TIME] = True
        return self.execution.now_ms

    def metrics(self) -> Metrics:
        budget = self.tx.budget
        used, maximum = budget.used.as_dict(), budget.maximum.as_dict()
        return Metrics(used=used, remaining={name: max(0, maximum[name] - count) for name, count in used.items()})

    async def _serve(self, operation: Callable[[], Awaitable[T]], *, writes: bool = False) -> T:
        """One operation in its turn. What runs often says the same in its own lines, and saves the closure."""
        if self.state:
            await self.take_turn()
        self.state = BUSY
        self.meter.leave()
        try:
            if self.untold is not None and not writes:
                await self.tell()
            return await operation()
        finally:
            self.meter.come_back()
            if self.queue or self.state != BUSY:
                self.end_turn()
            else:
                self.state = IDLE

    # reading

    async def get(self, id: Any) -> Document | None:
        if self.state:
            await self.take_turn()
        self.state = BUSY
        self.meter.leave()
        try:
            if self.untold is not None:
                await self.tell()
            table = self.table_of(id)
            if table is None:
                return None
            document: Any = self.tx.get_at_hand(table, id)
            return await self.tx.get(table, id) if document is NOT_AT_HAND else document
        finally:
            self.meter.come_back()
            if self.queue or self.state != BUSY:
                self.end_turn()
            else:
                self.state = IDLE

    async def get_many(self, ids: Sequence[Any]) -> list[Document | None]:
        return await self._serve(lambda: self._get_many(ids))

    async def _get_many(self, ids: Sequence[Any]) -> list[Document | None]:
        tx = self.tx
        tx.budget.allow_reads(len(ids))
        found: list[Document | None] = []
        for id in ids:
            table = self.table_of(id)
            document: Any = None if table is None else tx.get_at_hand(table, id)
            found.append(await tx.get(table, id) if table is not None and document is NOT_AT_HAND else document)
        return found

    async def scan(self, scan: Scan, count: int | None) -> list[Document]:
        if self.state:
            await self.take_turn()
        self.state = BUSY
        self.meter.leave()
        try:
            if self.untold is not None:
                await self.tell()
            tx = self.tx
            index = find_index(tx, self.callee.scope.path, scan)
            if index is None:
                return []
            # At most one more than may be read: so the limit is met without holding the whole table.
            room = max(0, tx.budget.maximum.documents_read - tx.budget.used.documents_read) + 1
            if count is None or count > room:
                count = room
            interval = interval_of(index, scan)
            documents = tx.scan_at_hand(index, interval, scan.descending, count)
            return await tx.scan(index, interval, scan.descending, count) if documents is None else documents
        finally:
            self.meter.come_back()
            if self.queue or self.state != BUSY:
                self.end_turn()
            else:
                self.state = IDLE

    async def first(self, scan: Scan) -> Document | None:
        rows = await self.scan(scan, 1)
        return rows[0] if rows else None

    async def count(self, scan: Scan) -> int:
        return await self._serve(lambda: self._count(scan))

    async def _count(self, scan: Scan) -> int:
        index = find_index(self.tx, self.callee.scope.path, scan)
        return 0 if index is None else await self.tx.count(index, interval_of(index, scan))

    async def open(self, scan: Scan, after: str | None, until: str | None) -> Cursor:
        return await self._serve(lambda: self._open(scan, after, until))

    async def _open(self, scan: Scan, after: str | None, until: str | None) -> Cursor:
        path = self.callee.scope.path
        index: Index | None = find_index(self.tx, path, scan)
        whole = interval_of(index, scan)
        pages = Pages(self.execution.services.pages, path, scan, index, whole)
        interval: Interval | None = whole
        if after is not None or until is not None:
            interval = pages.between(after, until, scan.descending)
        cursor = None if index is None or interval is None else self.tx.cursor(index, interval, scan.descending)
        return ScanCursor(self.tx, cursor, pages, after, until, self._serve)

    async def normalize_id(self, table: str, text: Any) -> str | None:
        return await self._serve(lambda: self._normalize_id(table, text))

    async def _normalize_id(self, table: str, text: Any) -> str | None:
        number = table_of(text) if isinstance(text, str) else None
        if number is None or table[:1] == "_":
            return None
        found = self.tx.table(self.callee.scope.path, table)
        return text if found is not None and found.number == number else None

    def page_end(self, ordinal: int) -> str | None:
        journal = self.execution.journal
        return journal.get(f"{self.path}|{ordinal}") if journal else None

    def set_page_end(self, ordinal: int, mark: str) -> None:
        execution = self.execution
        if execution.pages is None:
            execution.pages = {}
        execution.pages[f"{self.path}|{ordinal}"] = mark

    def table_of(self, id: Any) -> Table | None:
        """The table of an id, if it is one of this instance's: the documents of others are not there."""
        number = table_of(id) if type(id) is str else self._number_of(id)
        if number is None:
            return None
        table = self.tx.table_of(number)
        return None if table is None or table.component != self.callee.scope.path or table.name[:1] == "_" else table

    @staticmethod
    def _number_of(id: object) -> int | None:
        if isinstance(id, str):
            return table_of(str(id))
        raise ValueRefused("id", f"must be the id of a document, a string; got {type(id).__name__}")

    # writing

    def insert(self, table: str, document: Mapping[str, Any]) -> Awaitable[str]:
        self.note_effect("ctx.db.insert")
        return self._begin_insert(table, document)

    async def _begin_insert(self, table: str, document: Mapping[str, Any]) -> str:
        self.unbegun -= 1
        if self.state:
            await self.take_turn()
        self.state = BUSY
        self.meter.leave()
        try:
            tx = self._writer(table)
            path = self.callee.scope.path
            triggers = self.callee.scope.triggers.get(table)
            if triggers is None:
                return tx.insert(tx.table(path, table) or self._new_table(table), _object(document))[0]

            async def write() -> _Written:
                id, new = tx.insert(tx.table(path, table) or self._new_table(table), _object(document))
                return id, None, new

            return await self._write(table, triggers, "insert", write)
        finally:
            self.meter.come_back()
            if self.queue or self.state != BUSY:
                self.end_turn()
            else:
                self.state = IDLE

    async def insert_as(self, id: str, document: Mapping[str, Any]) -> None:
        """Insert under an id that a worker has made up. Raises DocumentNotFound for one that is none of its tables', CallRefused."""
        if self.state:
            await self.take_turn()
        self.state = BUSY
        self.meter.leave()
        try:
            table = self._table_to_write("insert", id)
            if table.name in self.callee.scope.triggers or not await self.tx.is_free(table, id):
                raise CallRefused(self.callee.label, f"it may not choose the id {id}.")
            _, stored = self.tx.insert(table, _object(document), id=id)
            made = self.made
            if made is None:
                made = self.made = []
            if len(made) < MADE_MAX:
                made.append([id, stored["_creationTime"]])
        finally:
            self.meter.come_back()
            if self.queue or self.state != BUSY:
                self.end_turn()
            else:
                self.state = IDLE

    def patch(self, id: Any, fields: Mapping[str, Any]) -> Awaitable[None]:
        self.note_effect("ctx.db.patch")
        return self._begin_patch(id, fields)

    async def _begin_patch(self, id: Any, fields: Mapping[str, Any]) -> None:
        self.unbegun -= 1
        if self.state:
            await self.take_turn()
        self.state = BUSY
        self.meter.leave()
        try:
            table = self._table_to_write("patch", id)
            tx = self.tx
            triggers = self.callee.scope.triggers.get(table.name)
            if triggers is None:
                if not tx.patch_at_hand(table, id, _object(fields)):
                    await tx.patch(table, id, _object(fields))
                return

            async def write() -> _Written:
                old, new = await tx.patch(table, id, _object(fields))
                return id, old, new

            await self._write(table.name, triggers, "update", write)
        finally:
            self.meter.come_back()
            if self.queue or self.state != BUSY:
                self.end_turn()
            else:
                self.state = IDLE

    def patch_at_hand(self, id: Any, fields: Mapping[str, Any]) -> bool:
        """`patch` by a call that nothing is open of, where nothing has to be waited for. False otherwise, and nothing is done."""
        table = self._table_to_write("patch", id)
        return table.name not in self.callee.scope.triggers and self.tx.patch_at_hand(table, id, fields)

    def packed_at_hand(self, id: str) -> Any:
        """A document as it is for this call, where nothing has to be waited for. Nothing is recorded."""
        table = self.table_of(id)
        return None if table is None else self.tx.view.packed_at_hand(table, id)

    async def packed(self, id: str) -> bytes | None:
        """The same, also where something has to be waited for."""
        table = self.table_of(id)
        return None if table is None else await self.tx.view.packed(table, id)

    def replace(self, id: Any, document: Mapping[str, Any]) -> Awaitable[None]:
        return self._effect("ctx.db.replace", lambda: self._serve(lambda: self._replace(id, document), writes=True))

    async def _replace(self, id: Any, document: Mapping[str, Any]) -> None:
        table = self._table_to_write("replace", id)
        tx = self.tx
        triggers = self.callee.scope.triggers.get(table.name)
        if triggers is None:
            await tx.replace(table, id, _object(document))
            return

        async def write() -> _Written:
            old, new = await tx.replace(table, id, _object(document))
            return id, old, new

        await self._write(table.name, triggers, "update", write)

    async def _write(self, table: str, triggers: Triggers, kind: ChangeKind, write: Callable[[], Awaitable[_Written]]) -> str:
        """A write to a table that has triggers: `write` does it. Gives the id of the document."""
        if triggers.of_one:
            if self.untold is not None:
                await self.tell()  # the code of others runs now
            tx = self.tx
            mark = tx.begin_layer()
            try:
                id, old, new = await write()
                if new is not None or kind == "delete":
                    await run_triggers(self, triggers.of_one, kind, id, old, new)
            except BaseException:
                tx.drop_layer(mark)
                raise
            tx.fold_layer(mark)
        else:
            id, old, new = await write()
        if triggers.of_lists and (new is not None or kind == "delete"):
            budget = self.tx.budget
            untold = self.untold
            if untold is None:
                untold = self.untold = Untold(budget)
            untold.add(table, triggers.of_lists, kind, id, old, new)
            if untold.is_full(budget):
                await self.tell()
        return id

    async def keep_up(self) -> None:
        """Let triggers that take lists be told of everything so far."""
        await self._serve(_nothing)

    async def tell(self, *, at_end: bool = False) -> None:
        """Tell triggers that take lists what they have not been told yet. The caller has the turn."""
        untold = self.untold
        assert untold is not None, "there is something to tell"
        if untold.failure is None:
            self.untold = None
            try:
                await untold.tell(self, at_end=at_end)
                return
            except BaseException as error:
                untold.failure, self.untold = error, untold
                raise
        raise untold.failure

    async def tell_at_end(self) -> None:
        self.state = BUSY
        try:
            await self.tell(at_end=True)
        except BaseException:
            self.end_turn()
            raise

    def delete(self, id: Any) -> Awaitable[None]:
        return self._effect("ctx.db.delete", lambda: self._serve(lambda: self._delete(id), writes=True))

    async def _delete(self, id: Any) -> None:
        table = self._table_to_write("delete", id)
        tx = self.tx
        triggers = self.callee.scope.triggers.get(table.name)
        if triggers is None:
            await tx.delete(table, id)
            return

        async def write() -> _Written:
            return id, await tx.delete(table, id), None

        await self._write(table.name, triggers, "delete", write)

    def _table_to_write(self, operation: str, id: Any) -> Table:
        tx = self.tx
        self._check_writes()
        number = table_of(id) if type(id) is str else self._number_of(id)
        table = tx.table_of(number) if number is not None else None
        if table is None or table.component != self.callee.scope.path or table.name[:1] == "_":
            raise DocumentNotFound(operation, id)
        return table

    def _writer(self, table: str) -> Transaction:
        tx = self.tx
        self._check_writes()
        if table[:1] == "_":
            raise SchemaError(table, "", "", "tables whose names begin with _ are the system's, and not written through ctx.db")
        return tx

    def _new_table(self, table: str) -> Table:
        if not is_identifier(table):
            raise SchemaError(table, "", "", "a table's name is ASCII letters, digits and underscores, at most 64")
        return self.tx.make_table(self.callee.scope.path, table)

    def below(self, callee: Callee, args: dict[str, Any], *, stale: bool = False) -> TransactionHost:
        """A call made by this one, in the same transaction. The identity stays within the app."""
        self.children += 1
        identity = self.identity_fields if not callee.scope.path and not self.callee.scope.path else None
        tx = self.tx.stale_view() if stale and not self.is_stale else self.tx
        call = TransactionHost(self.execution, callee, args, self, self.depth + 1, identity, tx, stale or self.is_stale)
        call.ordinal = self.children
        return call

    def _check_writes(self) -> None:
        """Refuse a query, also one within a mutation's transaction."""
        if self.tx.writable and self.callee.kind != "query":
            return
        stale = "its caller asked for the stale snapshot, which cannot be written to."
        raise CallRefused(self.callee.label, stale if self.is_stale else "a query writes nothing. Make it a mutation.")

    # calls

    def run(self, kind: Kind, target: Target, args: Mapping[str, Any]) -> Awaitable[Any]:
        self.note_effect("ctx.run_mutation" if kind == "mutation" else "ctx.run_query")
        return self._begin_run(kind, target, args)

    async def _begin_run(self, kind: Kind, target: Target, args: Mapping[str, Any]) -> Any:
        self.unbegun -= 1
        begun: Begun | None = None
        if self.state:
            if self.state == BUSY and not target.handle:
                begun = self._begin(kind, target, args)
            try:
                await self.take_turn()
            except BaseException:
                if begun is not None:
                    begun.give_up()
                raise
        self.state = BUSY
        self.meter.leave()
        try:
            if self.untold is not None:
                await self.tell()
            callee = await self.held(self.tx, target.handle) if target.handle else self.named(target)
            check_kind(self.callee, callee, kind)
            return await call_below(self, callee, args, target, begun)
        finally:
            if begun is not None:
                begun.give_up()
            self.meter.come_back()
            if self.queue or self.state != BUSY:
                self.end_turn()
            else:
                self.state = IDLE

    def _begin(self, kind: Kind, target: Target, args: Mapping[str, Any]) -> Begun | None:
        """Send a call off that has to wait for its turn. What is wrong with it is told when that comes."""
        self.refuse_misuse()
        try:
            callee = self.named(target)
            check_kind(self.callee, callee, kind)
        except InterlockError:
            return None
        return callee.scope.runner.begin(self, callee, args, target.limits)

    def schedule(self, when_ms: float | None, after_s: float | None, target: Target, args: Mapping[str, Any]) -> Awaitable[str]:
        operation = "ctx.scheduler.run_at" if after_s is None else "ctx.scheduler.run_after"
        return self._effect(operation, lambda: self._begin_schedule(when_ms, after_s, target, args))

    async def _begin_schedule(self, when_ms: float | None, after_s: float | None, target: Target, args: Mapping[str, Any]) -> str:
        self._check_writes()
        return await self._serve(lambda: self._schedule(self.tx, when_ms, after_s, target, args), writes=True)

    def cancel(self, job_id: str) -> Awaitable[None]:
        return self._effect("ctx.scheduler.cancel", lambda: self._begin_cancel(job_id))

    async def _begin_cancel(self, job_id: str) -> None:
        self._check_writes()
        at_once = self.execution.at_once
        if at_once and isinstance(job_id, str) and (job := at_once.get(job_id)) is not None and job.plan.holder == self.callee.scope.path:
            del at_once[job_id]
            self.tx.undo(partial(at_once.__setitem__, job_id, job))
            return
        await self._serve(lambda: self._scheduling().cancel(self.tx, self.callee.scope.path, job_id, self.execution.job))

    async def job(self, job_id: str) -> Job | None:
        return await self._serve(lambda: self._scheduling().get(self.tx, self.callee.scope.path, job_id))

    async def jobs(self, state: str | None) -> list[Job]:
        return await self._serve(lambda: self._scheduling().list(self.tx, self.callee.scope.path, state))

    async def identity(self) -> Mapping[str, Any] | None:
        if self.state == ENDED:
            self.refuse_misuse()
        if self.callee.scope.path:
            return None
        self.execution.facts[USES_IDENTITY] = True
        return None if self.identity_fields is None else copy.deepcopy(dict(self.identity_fields))

    def function_handle(self, target: Target) -> Awaitable[str]:
        return self._effect("ctx.function_handle", lambda: self._serve(lambda: self._make_handle(self.tx, target)))

    def revoke_handle(self, handle: str) -> Awaitable[None]:
        return self._effect("ctx.revoke_handle", lambda: self._begin_revoke_handle(handle))

    async def _begin_revoke_handle(self, handle: str) -> None:
        self._check_writes()
        await self._serve(lambda: self._revoke_handle(self.tx, handle))

    async def fetch(
        self, url: str, *, method: str, headers: Mapping[str, str] | None, body: bytes | str | None, timeout: float | None
    ) -> Any:
        raise CallRefused(self.callee.label, "a query or mutation reaches no network. Use an action.")


async def _nothing() -> None:
    pass


def _object(document: Mapping[str, Any]) -> Mapping[str, Any]:
    if type(document) is dict or isinstance(document, Mapping):
        return document
    raise ValueRefused("document", f"must be a dict, got {type(document).__name__}")
