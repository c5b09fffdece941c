"""What calls need of the scheduler: jobs are rows that it writes through the transaction of who schedules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from interlock.engine import Transaction
from interlock.functions.scope import Callee
from interlock.limits import Limits
from interlock.sdk.host import Job, Kind


@dataclass(frozen=True, slots=True)
class Plan:
    """One call that is to be made later. Its function was found and its arguments checked; both are looked at again when it runs.

    `holder` is the path of the instance that schedules, and keeps the row; `component_path` and `function` say what is
    called, through `handle` if one was given. `when_ms` is the time asked for. `scheduled_by` is the job that runs the
    caller, if one does: what a cancelled job schedules is cancelled from birth.
    """

    holder: str
    component_path: str
    function: str
    kind: Kind
    args: dict[str, Any]
    when_ms: float
    handle: str | None = None
    label: str | None = None
    scheduled_by: str | None = None


AT_ONCE_MOST = 16  # jobs of one transaction
_CPU, _SECONDS = 0.1, 2.0


@dataclass(frozen=True, slots=True)
class AtOnce:
    """A call that is to be made in the transaction which plans it, when its function has returned; a job only if that fails."""

    id: str  # of the job that it would be
    plan: Plan
    callee: Callee
    limits: Limits

    @staticmethod
    def of(id: str, plan: Plan, callee: Callee, limits: Limits | None) -> AtOnce:
        """Whoever waits for the transaction waits for this too, so it may not take long."""
        asked = limits if limits is not None else Limits()
        cpu = _CPU if asked.cpu is None else min(asked.cpu, _CPU)
        deadline = _SECONDS if asked.deadline is None else min(asked.deadline, _SECONDS)
        if cpu != asked.cpu or deadline != asked.deadline:
            asked = replace(asked, cpu=cpu, deadline=deadline)
        return AtOnce(id, plan, callee, asked)


class Scheduling(Protocol):
    """The scheduler, as running functions reach it. `holder` is always the instance of the running function."""

    async def is_canceled(self, tx: Transaction, job_id: str | None) -> bool:
        """Whether a job was cancelled; no for none."""

    def new_id(self, tx: Transaction, holder: str) -> str:
        """An id for a job that is not put in yet."""

    async def schedule(self, tx: Transaction, plan: Plan, id: str | None = None) -> str:
        """Put in a job, in the transaction; gives its id, which may be one of `new_id`."""

    async def cancel(self, tx: Transaction, holder: str, job_id: str, running_job: str | None) -> None:
        """Cancel a job of the holder. `running_job` is the job that asks, which cannot cancel itself from its own mutation."""

    async def get(self, tx: Transaction, holder: str, job_id: str) -> Job | None: ...

    async def list(self, tx: Transaction, holder: str, state: str | None) -> list[Job]: ...
