"""One top-level mutation, from its call until it stands: each attempt that the engine asks for, and what its caller is answered.

What it has planned to be done at once is called in the same transaction, last.

Start at `RunningMutation.run`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

from interlock.engine import Transaction
from interlock.engine.budget import Budget
from interlock.engine.engine import Outcome as Committed
from interlock.engine.made import Made
from interlock.functions.call import Call, Execution
from interlock.functions.caller import OUTSIDE_PYTHON, Answer, Caller, keep_log_lines
from interlock.functions.calling import WALL, tell_last, transact
from interlock.functions.observed import Observed
from interlock.functions.requests import Bracket
from interlock.functions.scheduling import AtOnce
from interlock.functions.scope import Callee, holds_commit_timestamp
from interlock.functions.services import Services
from interlock.functions.telling import Telling
from interlock.functions.transaction_host import TransactionHost
from interlock.limits import Limits
from interlock.values import CommitTimestamp, Int64, dumps

_ATTEMPTS_AT_ONCE = 2  # a transaction that has lost more often is not made longer by jobs
_PLACEHOLDER = b'{"$commitTs"'


class RunningMutation:
    """One of `caller`'s. `bracket` surrounds it in its transaction; `parent` is the action that has called it, if one has."""

    __slots__ = (
        "_attempts",
        "_bracket",
        "_budget",
        "_execution",
        "_jobs_run",
        "_limits",
        "_parent",
        "_root",
        "_watched",
        "args",
        "callee",
        "caller",
        "deadline_ms",
        "services",
    )

    def __init__(
        self,
        services: Services,
        callee: Callee,
        args: Mapping[str, Any],
        caller: Caller,
        bracket: Bracket | None = None,
        limits: Limits | None = None,
        parent: Call | None = None,
    ) -> None:
        self.services, self.callee, self.args, self.caller = services, callee, args, caller
        self._bracket, self._limits, self._parent = bracket, limits, parent
        self.deadline_ms = services.clock.now_ms() + WALL * 1000.0
        self._execution: Execution | None = None
        self._attempts = 0
        self._budget: Budget | None = None  # of the last attempt
        self._jobs_run: list[Execution] = []
        self._root: TransactionHost | None = None
        self._watched = None if services.observers is None else Observed(services, callee, caller, parent)

    @property
    def documents_written(self) -> int:
        """By the last attempt so far."""
        return 0 if self._budget is None else self._budget.used.documents_written

    def run(self, tx: Transaction) -> Made[Any] | Awaitable[Any]:
        """One attempt."""
        services, caller, parent = self.services, self.caller, self._parent
        attempt = self._execution = Execution(services, caller, services.clock.now_ms(), tx.facts)
        self._attempts += 1
        self._budget = tx.budget
        if self._attempts <= _ATTEMPTS_AT_ONCE:
            attempt.at_once = {}
        attempt.job = caller.job if parent is None else None
        if self._watched is not None:
            self._watched.start()
        if self._bracket is not None:
            return self._bracketed(tx, attempt, self._bracket)
        made = self._call(tx, attempt)
        if self._jobs_run:
            self._jobs_run.clear()
        if type(made) is Made and not attempt.at_once:
            self._leave_rest(tx)
            return made
        return self._go_on(tx, attempt, made)

    def _call(self, tx: Transaction, attempt: Execution) -> Made[Any] | Awaitable[Any]:
        callee, caller = self.callee, self.caller
        call = TransactionHost(attempt, callee, callee.check_args(self.args), self._parent, 0, caller.identity, tx)
        self._root = call
        # What a job's triggers do is the job's: it may be canceled with it, and is at its mount's cost.
        attempt.leaves_untold = self._limits is None and callee.scope.limits is None and caller.job is None and caller.share is None
        return transact(call, self.deadline_ms, self._limits)

    async def _go_on(self, tx: Transaction, attempt: Execution, made: Made[Any] | Awaitable[Any]) -> Any:
        """The attempt from where it first waits, or calls in its own transaction what it has planned."""
        value: Any = made.value if type(made) is Made else await made  # type: ignore[misc]
        self._jobs_run.clear()
        root = self._root
        assert root is not None, "it has been called"
        if attempt.at_once and root.untold is not None:
            await tell_last(root)  # before anybody else's code
        await self._run_planned(tx, attempt)
        self._leave_rest(tx)
        return value

    async def _run_planned(self, tx: Transaction, attempt: Execution) -> None:
        if attempt.at_once:
            planned = list(attempt.at_once.values())
            attempt.at_once.clear()
            self._jobs_run.extend(await self._run_at_once(planned, tx))

    def _leave_rest(self, tx: Transaction) -> None:
        """What is left to do in the transaction, for the engine: it may do it for several at once."""
        root, attempt = self._root, self._execution
        if root is None or root.untold is None or attempt is None:
            return
        call, execution = root, attempt

        async def alone() -> None:
            await tell_last(call)
            await self._run_planned(tx, execution)

        tx.rest = Telling(call, alone)

    async def _bracketed(self, tx: Transaction, attempt: Execution, bracket: Bracket) -> Any:
        known = await bracket.before(tx)
        if known is not None:
            return known
        value = await self._go_on(tx, attempt, self._call(tx, attempt))
        if tx.rest is None:
            await bracket.after(tx, value, attempt.log.lines)
            return value
        # As if it had no rest, for a commit with others; by itself it does this again, when its triggers have been told.
        alone, mark = tx.rest.alone, tx.begin_layer()
        await bracket.after(tx, value, attempt.log.lines)

        async def alone_in_bracket() -> None:
            tx.drop_layer(mark)
            await alone()
            await bracket.after(tx, value, attempt.log.lines)

        assert self._root is not None, "it has been called"
        tx.rest = Telling(self._root, alone_in_bracket)
        return value

    async def _run_at_once(self, jobs: list[AtOnce], tx: Transaction) -> list[Execution]:
        """Make calls in the transaction that has planned them; gives those that were made. One that fails is undone, and becomes a job."""
        services = self.services
        ran: list[Execution] = []
        for job in jobs:
            caller = Caller(admin=True, source="scheduler", request_id=job.id)
            execution = Execution(services, caller, services.clock.now_ms(), tx.facts)
            watched = None if services.observers is None else Observed(services, job.callee, caller, None)
            failed: Exception | None = None
            mark = tx.begin_layer()
            try:
                if watched is not None:
                    watched.start()
                call = TransactionHost(execution, job.callee, job.plan.args, None, 0, None, tx)
                made = transact(call, self.deadline_ms, job.limits)
                if type(made) is not Made:
                    await made  # type: ignore[misc]
            except Exception as error:
                failed = error
            if watched is not None:
                watched.finish(failed)
            if failed is not None:
                failed = None  # its traceback holds this frame
                tx.drop_layer(mark)
                break
            tx.fold_layer(mark)
            ran.append(execution)
        scheduling = services.scheduling
        assert scheduling is not None, "it has planned them"
        for job in jobs[len(ran) :]:
            await scheduling.schedule(tx, job.plan, job.id)
        return ran

    async def end(self, begun: Awaitable[Committed[Any]]) -> Answer:
        """Wait until it stands."""
        try:
            outcome = await begun
        except Exception as error:
            self.failed(error)
            raise
        return self.answer(outcome)

    def failed(self, error: Exception) -> None:
        """It does not stand."""
        if self._watched is not None:
            self._watched.finish(error)
        if self._execution is not None:
            keep_log_lines(error, self._execution.finish_log())

    def answer(self, outcome: Committed[Any]) -> Answer:
        """It stands: what its caller gets."""
        execution = self._execution
        assert execution is not None, "the engine has run it at least once"
        if self._watched is not None:
            self._watched.finish(None, outcome.ts)
        lines = execution.finish_log()
        for job in self._jobs_run:
            job.finish_log()
        value = outcome.value
        kind = type(value)
        if kind is Answer:
            known: Answer = value
            return known
        if kind is not dict and kind is not list and kind is not CommitTimestamp:
            return Answer(value, outcome.ts, lines)
        if self._parent is not None or self.caller.source not in OUTSIDE_PYTHON:
            return Answer(_filled(value, Int64(outcome.ts)) if holds_commit_timestamp(value) else value, outcome.ts, lines)
        # It is going to be encoded: then a placeholder is found much faster. No string holds these bytes, a quote in one is escaped.
        encoded = dumps(value)
        if has_placeholder(encoded):
            value = _filled(value, Int64(outcome.ts))
            encoded = dumps(value)
        return Answer(value, outcome.ts, lines, encoded)


def has_placeholder(encoded: bytes) -> bool:
    """Whether the JSON of a value holds the placeholder of a commit timestamp."""
    return 36 in encoded and encoded.find(_PLACEHOLDER) >= 0  # 36: "$", which is sooner seen


def _filled(value: Any, ts: Int64) -> Any:
    """The value with the commit timestamp in place of its placeholders."""
    kind = type(value)
    if kind is dict:
        return {name: _filled(item, ts) for name, item in value.items()}
    if kind is list:
        return [_filled(item, ts) for item in value]
    return ts if kind is CommitTimestamp else value
