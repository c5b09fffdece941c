"""What running functions do with jobs: plan, cancel, look. All of it through the transaction of who asks.

So a job that is planned in a transaction which is undone was never planned, and who looked at a job is told when it
changes. Nothing here waits for a time or runs a function.
"""

from __future__ import annotations

from collections import Counter

from interlock.clock import Clock
from interlock.engine import Transaction
from interlock.errors import LimitExceeded, ScheduleError
from interlock.functions.requests import free_of_charge
from interlock.functions.scheduling import Plan
from interlock.limits import LIMITS
from interlock.scheduler.crons import put_successor
from interlock.scheduler.rows import (
    BY_STATE,
    EVERYTHING,
    JOBS,
    LIVE,
    PENDING,
    Row,
    args_of,
    as_job,
    encode_args,
    has_ended,
    in_state,
    insert_job,
    is_pending,
    seen_from,
    table_in,
)
from interlock.sdk.host import Job
from interlock.values import table_of

_PENDING_MAX = int(LIMITS["jobs_pending"].value)


class Jobs:
    """The jobs of all instances, each in its holder's own table. Implements `functions.scheduling.Scheduling`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.pending: Counter[str] = Counter()
        """How many jobs of each holder are pending on disk, as far as they were counted."""
        self.ended: Counter[str] = Counter()
        """How many have ended and are kept."""

    def count(self, holder: str, old_key: bytes | None, new_key: bytes | None) -> None:
        """A job's key in `by_state` has changed on disk; None where it was not there, or is no longer."""
        was, is_ = is_pending(old_key), is_pending(new_key)
        if was != is_:
            self.pending[holder] += is_ - was
        was, is_ = has_ended(old_key), has_ended(new_key)
        if was != is_:
            self.ended[holder] += is_ - was

    def new_id(self, tx: Transaction, holder: str) -> str:
        """An id for a job that is not put in yet."""
        return tx.new_id(table_in(tx, holder, JOBS))

    async def schedule(self, tx: Transaction, plan: Plan, id: str | None = None) -> str:
        """Put in a job. What a cancelled job plans is cancelled from birth. Raises LimitExceeded where too many wait already."""
        pending = self.pending[plan.holder]
        if pending >= _PENDING_MAX:
            raise LimitExceeded("jobs_pending", pending + 1, _PENDING_MAX)
        now = self._clock.now_ms()
        is_canceled = await self.is_canceled(tx, plan.scheduled_by)
        row: Row = {
            "component": seen_from(plan.holder, plan.component_path),
            "function": plan.function,
            "args": encode_args(plan.args),
            "asked": plan.when_ms,
            "state": "canceled" if is_canceled else PENDING,
            "at": now if is_canceled else max(plan.when_ms, now),
        }
        if plan.handle is not None:
            row["handle"] = plan.handle
        if plan.label is not None:
            row["label"] = plan.label
        with free_of_charge(tx):
            return insert_job(tx, plan.holder, row, id)

    async def cancel(self, tx: Transaction, holder: str, job_id: str, running_job: str | None) -> None:
        """A pending job will not run; what a running action plans from now on is cancelled from birth; an ended job stays as it is."""
        table = table_in(tx, holder, JOBS)
        if not isinstance(job_id, str) or table_of(job_id) != table.number:
            raise ScheduleError(repr(job_id), "it is no job of this instance; cancel what run_after or run_at gave here")
        row = await tx.get(table, job_id)
        if row is None or row["state"] not in LIVE:
            return
        if job_id == running_job and "began" not in row:
            raise ScheduleError(row["function"], "a job cannot cancel itself from its own mutation; raise an error, and it is undone")
        now = self._clock.now_ms()
        await tx.patch(table, job_id, {"state": "canceled", "at": now})
        if row["state"] == PENDING and "cron" in row:
            await put_successor(tx, holder, row, began_ms=now, now_ms=now)

    async def get(self, tx: Transaction, holder: str, job_id: str) -> Job | None:
        """The job, or None for one that is gone, another's, or none."""
        table = tx.table(holder, JOBS)
        if table is None or not isinstance(job_id, str) or table_of(job_id) != table.number:
            return None
        row = await tx.get(table, job_id)
        return None if row is None else as_job(holder, row, await args_of(tx, holder, row), asker=holder)

    async def list(self, tx: Transaction, holder: str, state: str | None) -> list[Job]:
        """All jobs in the order planned, or those in one state in the order due (ended ones: in which they ended)."""
        table = tx.table(holder, JOBS)
        if table is None:
            return []
        if state is None:
            rows = await tx.scan(table.indexes["by_creation_time"], EVERYTHING, False, None)
        else:
            rows = await tx.scan(table.indexes[BY_STATE], in_state(state), False, None)
        return [as_job(holder, row, await args_of(tx, holder, row), asker=holder) for row in rows]

    async def is_canceled(self, tx: Transaction, job_id: str | None) -> bool:
        """Whether a job was cancelled; no for none."""
        if job_id is None:
            return False
        number = table_of(job_id)
        table = tx.table_of(number) if number is not None else None
        row = await tx.get(table, job_id) if table is not None else None
        return row is not None and row["state"] == "canceled"
