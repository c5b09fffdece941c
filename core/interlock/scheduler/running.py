"""One job that runs: how it is marked, and what becomes of it when it raises.

Start at `RunningJob.run`. It raises only what kept the job from running at all: then the job is as pending as before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import structlog

from interlock.clock import Clock
from interlock.engine import Engine, Transaction
from interlock.errors import StorageUnavailable, WriteConflict
from interlock.functions.caller import Answer, Caller
from interlock.functions.dispatcher import Dispatcher
from interlock.functions.log_lines import quietly
from interlock.functions.redaction import describe, said_of
from interlock.functions.requests import free_of_charge
from interlock.scheduler.crons import postpone_missed, put_successor
from interlock.scheduler.rows import CALLED, JOBS, PENDING, RUNNING, Row, args_of, path_of, table_in
from interlock.values import loads

logger = structlog.get_logger("interlock.scheduler")
T = TypeVar("T")
Wait = Callable[[], Awaitable[None]]

LABEL = "the scheduler"
_NOT_RUN = Answer(None)
_BEGUN_SECONDS = 0.002
"""After so long what an action still does is to wait, as far as anybody can tell."""


class RunningJob:
    """A job out of the rows of `holder`. `since_ms` is when somebody began to look at these jobs.

    `on_begun` is called when what is left to do is to wait: for the disk, or for what an action waits for.
    """

    def __init__(
        self,
        engine: Engine,
        dispatcher: Dispatcher,
        holder: str,
        row: Row,
        *,
        since_ms: float,
        dev: bool,
        wait_for_storage: Wait,
        on_begun: Callable[[], None],
    ) -> None:
        self._engine, self._dispatcher, self._dev = engine, dispatcher, dev
        self._wait_for_storage, self._on_begun = wait_for_storage, on_begun
        self._clock: Clock = engine.clock
        self._holder, self._row, self._id = holder, row, row["_id"]
        self._since_ms = since_ms
        self._path = path_of(holder, row["component"])
        self._caller = Caller(admin=True, source="cron" if "cron" in row else "scheduler", request_id=self._id, job=self._id)
        self._is_run = False
        self.error: BaseException | None = None
        self.duration_ms = 0.0

    @property
    def is_action(self) -> bool:
        callee = self._dispatcher.directory.get(self._path, self._row["function"])
        return callee is not None and callee.kind == "action"

    async def run(self) -> bool:
        """Run it as often as promised; whether it ran, or had changed meanwhile. Raises StorageUnavailable and WriteConflict."""
        if "parts" not in self._row:
            args = loads(self._row["args"])
        elif (found := (await self._engine.query(unpaid(self._args), at=self._engine.log.validated)).value) is not None:
            args = found
        else:
            return False
        started = time.perf_counter()
        if self.is_action:
            await self._run_action(args)
        else:
            await self._run_mutation(args)
        self.duration_ms = (time.perf_counter() - started) * 1000.0
        return self._is_run

    # a mutation: in one transaction with its mark

    async def _run_mutation(self, args: dict[str, Any]) -> None:
        try:
            await self._call("mutation", args, bracket=self)
        except (StorageUnavailable, WriteConflict):
            raise
        except Exception as error:
            self.error = error
            self._is_run = await self._end(PENDING, "failed")

    async def before(self, tx: Transaction) -> Answer | None:
        """Whether it is still to be run. In this transaction it is running, for itself and what it calls."""
        with free_of_charge(tx):
            self._is_run = await self._claim(tx) and not await self._postpone(tx)
            if not self._is_run:
                return _NOT_RUN
            await tx.patch(table_in(tx, self._holder, JOBS), self._id, {"state": RUNNING})
            return None

    async def after(self, tx: Transaction, value: Any, log_lines: list[str]) -> None:
        """It has succeeded."""
        with free_of_charge(tx):
            await self._mark(tx, RUNNING, "success")
        self._on_begun()

    # an action: marked before and after

    async def _run_action(self, args: dict[str, Any]) -> None:
        if not await self._mutate(self._begin):
            return
        self._is_run = True
        asyncio.get_running_loop().call_later(_BEGUN_SECONDS, self._on_begun)
        try:
            await self._call("action", args)
        except asyncio.CancelledError:
            with suppress(StorageUnavailable):  # then the next start marks it
                await self._end(RUNNING, "failed", "The backend was stopped while it ran.")
            raise
        except Exception as error:
            self.error = error
        while True:
            try:
                await self._end(RUNNING, "success" if self.error is None else "failed")
                return
            except StorageUnavailable:
                # It has run, so nothing is left but to say so. If the process ends before, the next one finds it running.
                await self._wait_for_storage()

    async def _begin(self, tx: Transaction) -> bool:
        if not await self._claim(tx) or await self._postpone(tx):
            return False
        now = self._clock.now_ms()
        await tx.patch(table_in(tx, self._holder, JOBS), self._id, {"state": RUNNING, "at": now, "began": now})
        return True

    # both

    async def _call(self, kind: Any, args: dict[str, Any], bracket: Any = None) -> None:
        await self._dispatcher.call(
            kind,
            self._row["function"],
            args,
            caller=self._caller,
            component_path=self._path,
            handle=self._row.get("handle"),
            bracket=bracket,
        )

    async def _args(self, tx: Transaction) -> dict[str, Any] | None:
        """None where the job is gone: what has planned it was taken back, or it was removed."""
        if await tx.get(table_in(tx, self._holder, JOBS), self._id) is None:
            return None
        return await args_of(tx, self._holder, self._row)

    async def _claim(self, tx: Transaction) -> bool:
        """Whether the job is still what was read: pending, and a call of the same function."""
        row = await tx.get(table_in(tx, self._holder, JOBS), self._id)
        return row is not None and row["state"] == PENDING and all(row[name] == self._row[name] for name in CALLED)

    async def _postpone(self, tx: Transaction) -> bool:
        if "cron" not in self._row:
            return False
        return await postpone_missed(tx, self._holder, self._row, since_ms=self._since_ms, now_ms=self._clock.now_ms())

    async def _end(self, state: str, outcome: str, reason: str | None = None) -> bool:
        """Mark how it ended, in a transaction of its own; whether it was still in `state`."""
        if self.error is not None:
            secrets = self._dispatcher.secrets
            reason = describe(self.error, self._id, self._dev, secrets).message
            told = said_of(self.error, secrets)
            if self._dispatcher.log_volume.admits(self._path, len(told)):
                quietly(
                    lambda: logger.warning("a job failed", job=self._id, function=self._row["function"], component=self._path, error=told)
                )
        return await self._mutate(lambda tx: self._mark(tx, state, outcome, reason))

    async def _mark(self, tx: Transaction, state: str, outcome: str, reason: str | None = None) -> bool:
        jobs = table_in(tx, self._holder, JOBS)
        row = await tx.get(jobs, self._id)
        now = self._clock.now_ms()
        is_ours = row is not None and row["state"] == state
        if is_ours:
            await tx.patch(jobs, self._id, {"state": outcome, "at": now, **({} if reason is None else {"error": reason})})
        # A cron goes on also when this run of it was cancelled while it ran.
        if row is not None and "cron" in row and (is_ours or "began" in row):
            await put_successor(tx, self._holder, row, began_ms=row.get("began", now), now_ms=now)
        return is_ours

    async def _mutate(self, run: Callable[[Transaction], Awaitable[T]]) -> T:
        return (await self._engine.mutate(unpaid(run), label=LABEL)).value


def unpaid(run: Callable[[Transaction], Awaitable[T]]) -> Callable[[Transaction], Awaitable[T]]:
    """A transaction of the scheduler's own: the limits of functions are not for it."""

    async def run_free(tx: Transaction) -> T:
        with free_of_charge(tx):
            return await run(tx)

    return run_free
