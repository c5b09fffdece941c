"""What a running action asks for, answered. It has no transaction: whatever it asks for is one of its own."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from interlock.engine import Transaction
from interlock.errors import CallRefused
from interlock.functions.call import Call, Execution
from interlock.functions.call_host import CallHost
from interlock.functions.calling import DEPTH_MAX, check_kind, too_deep
from interlock.functions.fetch.fetched import HostFetched
from interlock.functions.scope import Callee
from interlock.sandbox.share import Share
from interlock.sdk.host import Cursor, Document, Job, Kind, Metrics, Scan, Target

T = TypeVar("T")


class ActionHost(CallHost):
    """An action. What it starts together runs together."""

    __slots__ = ("_is_over", "_loop", "_random", "fetched")

    def __init__(
        self,
        execution: Execution,
        callee: Callee,
        args: dict[str, Any],
        parent: Call | None,
        depth: int,
        identity: Mapping[str, Any] | None,
    ) -> None:
        super().__init__(execution, callee, args, parent, depth, identity)
        self._random: random.Random | None = None
        self._loop = asyncio.get_running_loop()
        self.fetched: list[HostFetched] = []
        self._is_over = False

    def refuse_misuse(self) -> None:
        """Besides a context that is used too late: one whose operation is run by another thread, in an event loop of its own."""
        if asyncio.get_running_loop() is not self._loop:
            raise CallRefused(
                self.callee.label,
                "its context was used in another thread, and the database lives in the thread of the server. "
                "Make the action an `async def`, and what blocks in it `await asyncio.to_thread(…)`.",
            )
        super().refuse_misuse()

    @property
    def random(self) -> random.Random:
        if self._random is None:
            self._random = random.Random(self.execution.services.entropy.getrandbits(64))
        return self._random

    def uuid4(self) -> UUID:
        return UUID(int=self.execution.services.entropy.getrandbits(128), version=4)

    def now(self) -> float:
        return self.execution.services.clock.now_ms()

    @property
    def share(self) -> Share | None:
        """What pays for what it asks."""
        return self.execution.services.share(self.callee.scope.path)

    def run(self, kind: Kind, target: Target, args: Mapping[str, Any]) -> Awaitable[Any]:
        return self._effect(f"ctx.run_{kind}", lambda: self._begin_run(kind, target, args))

    async def _begin_run(self, kind: Kind, target: Target, args: Mapping[str, Any]) -> Any:
        self.refuse_misuse()
        callee = await self._look_up(target)
        check_kind(self.callee, callee, kind)
        if kind == "action" and self.depth >= DEPTH_MAX:
            raise too_deep(self, callee)
        return await self.execution.services.top_level.call_from_action(callee, args, self, target.limits)

    async def _look_up(self, target: Target) -> Callee:
        handle = target.handle
        return (await self._read(lambda tx: self.held(tx, handle))) if handle else self.named(target)

    def schedule(self, when_ms: float | None, after_s: float | None, target: Target, args: Mapping[str, Any]) -> Awaitable[str]:
        operation = "ctx.scheduler.run_at" if after_s is None else "ctx.scheduler.run_after"
        return self._effect(operation, lambda: self._write(lambda tx: self._schedule(tx, when_ms, after_s, target, args)))

    def cancel(self, job_id: str) -> Awaitable[None]:
        holder = self.callee.scope.path
        return self._effect("ctx.scheduler.cancel", lambda: self._write(lambda tx: self._scheduling().cancel(tx, holder, job_id, None)))

    async def job(self, job_id: str) -> Job | None:
        return await self._read(lambda tx: self._scheduling().get(tx, self.callee.scope.path, job_id))

    async def jobs(self, state: str | None) -> list[Job]:
        return await self._read(lambda tx: self._scheduling().list(tx, self.callee.scope.path, state))

    async def identity(self) -> Mapping[str, Any] | None:
        self.refuse_misuse()
        return None if self.identity_fields is None or self.callee.scope.path else copy.deepcopy(dict(self.identity_fields))

    def function_handle(self, target: Target) -> Awaitable[str]:
        return self._effect("ctx.function_handle", lambda: self._read(lambda tx: self._make_handle(tx, target)))

    def revoke_handle(self, handle: str) -> Awaitable[None]:
        return self._effect("ctx.revoke_handle", lambda: self._write(lambda tx: self._revoke_handle(tx, handle)))

    async def fetch(
        self, url: str, *, method: str, headers: Mapping[str, str] | None, body: bytes | str | None, timeout: float | None, whole: bool
    ) -> HostFetched:
        self.refuse_misuse()
        fetched = await self.execution.services.fetcher.open(
            self.callee.scope.instance, self.callee.label, url, method=method, headers=headers, body=body, timeout=timeout, whole=whole
        )
        if self._is_over:
            await fetched.close()  # nobody reads it any more
            raise CallRefused(self.callee.label, "its fetch went on after the call had ended. Await everything that it starts.")
        self.fetched = [one for one in self.fetched if not one.is_closed]
        self.fetched.append(fetched)
        return fetched

    async def close_fetched(self) -> None:
        """It has ended: responses that it has not read are let go of."""
        self._is_over = True
        for fetched in self.fetched:
            await fetched.close()

    async def _read(self, operation: Callable[[Transaction], Awaitable[T]]) -> T:
        self.refuse_misuse()
        return (await self.execution.services.engine.query(operation)).value

    async def _write(self, operation: Callable[[Transaction], Awaitable[T]]) -> T:
        self.refuse_misuse()
        return (await self.execution.services.engine.mutate(operation, label=self.callee.label)).value

    # An action has no database: its context says so before it comes here, a worker's frame may not have asked one.

    def metrics(self) -> Metrics:
        raise self._no_database()

    async def get(self, id: str) -> Document | None:
        raise self._no_database()

    async def get_many(self, ids: Sequence[str]) -> list[Document | None]:
        raise self._no_database()

    async def normalize_id(self, table: str, text: str) -> str | None:
        raise self._no_database()

    async def insert(self, table: str, document: Mapping[str, Any]) -> str:
        raise self._no_database()

    async def patch(self, id: str, fields: Mapping[str, Any]) -> None:
        raise self._no_database()

    async def replace(self, id: str, document: Mapping[str, Any]) -> None:
        raise self._no_database()

    async def delete(self, id: str) -> None:
        raise self._no_database()

    async def scan(self, scan: Scan, count: int | None) -> list[Document]:
        raise self._no_database()

    async def first(self, scan: Scan) -> Document | None:
        raise self._no_database()

    async def count(self, scan: Scan) -> int:
        raise self._no_database()

    async def open(self, scan: Scan, after: str | None, until: str | None) -> Cursor:
        raise self._no_database()

    def page_end(self, ordinal: int) -> str | None:
        raise self._no_database()

    def set_page_end(self, ordinal: int, mark: str) -> None:
        raise self._no_database()

    def _no_database(self) -> CallRefused:
        return CallRefused(self.callee.label, "an action has no transaction. Read with ctx.run_query and write with ctx.run_mutation.")
