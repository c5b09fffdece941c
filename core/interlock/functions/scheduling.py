"""What calls need of the scheduler: jobs are rows that it writes through the transaction of who schedules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from interlock.engine import Transaction
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


class Scheduling(Protocol):
    """The scheduler, as running functions reach it. `holder` is always the instance of the running function."""

    async def schedule(self, tx: Transaction, plan: Plan) -> str:
        """Put in a job, in the transaction; gives its id."""

    async def cancel(self, tx: Transaction, holder: str, job_id: str, running_job: str | None) -> None:
        """Cancel a job of the holder. `running_job` is the job that asks, which cannot cancel itself from its own mutation."""

    async def get(self, tx: Transaction, holder: str, job_id: str) -> Job | None: ...

    async def list(self, tx: Transaction, holder: str, state: str | None) -> list[Job]: ...
