"""What a running function of any kind asks for, answered: who it is, which functions a name means, jobs and handles.

A host is the call itself, so a call costs one object. Queries and mutations have a `TransactionHost`, actions an `ActionHost`.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from interlock.engine import Transaction
from interlock.errors import CallRefused, FunctionHandleNotFound, LimitExceeded, PermissionDenied, ScheduleError
from interlock.functions.call import Call
from interlock.functions.scheduling import AT_ONCE_MOST, AtOnce, Plan, Scheduling
from interlock.functions.scope import Callee, holds_commit_timestamp
from interlock.limits import LIMITS
from interlock.sdk.host import FunctionInfo, Target
from interlock.values import size_of

T = TypeVar("T")
_HORIZON_MS = LIMITS["job_horizon"].value * 1000.0
_JOB_ARGUMENT_BYTES = int(LIMITS["scheduled_args_bytes"].value)


class CallHost(Call):
    """What functions of every kind have."""

    __slots__ = ()

    @property
    def function(self) -> FunctionInfo:
        return self.callee.info

    @property
    def env(self) -> Mapping[str, Any]:
        services = self.execution.services
        return self.callee.scope.instance.env_values(services.env, services.key)

    @property
    def random(self) -> random.Random:
        raise NotImplementedError

    @property
    def transaction(self) -> str:
        return self.execution.name

    def uuid4(self) -> UUID:
        return UUID(int=self.random.getrandbits(128), version=4)

    def log(self, level: str, text: str) -> None:
        self.execution.log.add(level, text, self.callee.scope.path, self.callee.name)

    def _effect(self, name: str, operation: Callable[[], Awaitable[T]]) -> Awaitable[T]:
        """An operation that changes something, to be awaited. What runs often says the same in its own lines."""
        self.note_effect(name)
        return self._begin_effect(operation)

    async def _begin_effect(self, operation: Callable[[], Awaitable[T]]) -> T:
        self.unbegun -= 1
        return await operation()

    def named(self, target: Target) -> Callee:
        """The function that a name means here: an own one, or a child's."""
        scope = self.callee.scope
        return scope.childs(target.mount, target.name) if target.mount else scope.own(target.name)

    async def held(self, tx: Transaction, handle: str) -> Callee:
        """The function that a handle stands for, whosever it is."""
        services = self.execution.services
        component_path, function = await services.handles.open(tx, handle)
        callee = services.directory.get(component_path, function)
        if callee is None:
            raise FunctionHandleNotFound(handle)
        return callee

    async def _resolve(self, tx: Transaction, target: Target) -> Callee:
        return await self.held(tx, target.handle) if target.handle else self.named(target)

    def _scheduling(self) -> Scheduling:
        scheduling = self.execution.services.scheduling
        if scheduling is None:
            raise CallRefused(self.callee.label, "this backend has no scheduler.")
        return scheduling

    async def _schedule(
        self, tx: Transaction, when_ms: float | None, after_s: float | None, target: Target, args: Mapping[str, Any]
    ) -> str:
        callee = await self._resolve(tx, target)
        execution = self.execution
        now_ms = self.now()
        if after_s is not None:
            if not after_s >= 0:
                raise ScheduleError(callee.label, f"a job cannot run {-after_s:g} s ago.")
            when_ms = now_ms + after_s * 1000.0
        assert when_ms is not None, "a job has a time or a delay"
        if not abs(when_ms - now_ms) <= _HORIZON_MS:
            raise ScheduleError(callee.label, "a job may be planned up to five years ahead.")
        if callee.kind == "query":
            raise ScheduleError(callee.label, "it is a query, and a query changes nothing. Schedule a mutation or an action.")
        checked = callee.check_args(args)
        if holds_commit_timestamp(checked):
            raise ScheduleError(callee.label, "a CommitTimestamp() has no value yet, so it cannot be an argument of a job.")
        size = size_of(checked)
        if size > _JOB_ARGUMENT_BYTES:
            raise LimitExceeded("scheduled_args_bytes", size, _JOB_ARGUMENT_BYTES)
        tx.budget.scheduled(size)
        plan = Plan(
            holder=self.callee.scope.path,
            component_path=callee.scope.path,
            function=callee.name,
            kind=callee.kind,
            args=checked,
            when_ms=when_ms,
            handle=target.handle or None,
            label=target.label,
            scheduled_by=execution.caller.job,
        )
        at_once = execution.at_once if target.at_once and when_ms <= now_ms and callee.kind == "mutation" else None
        scheduling = self._scheduling()
        if at_once is None or len(at_once) >= AT_ONCE_MOST or await scheduling.is_canceled(tx, plan.scheduled_by):
            return await scheduling.schedule(tx, plan)
        job = AtOnce.of(scheduling.new_id(tx, plan.holder), plan, callee, target.limits)
        at_once[job.id] = job
        tx.undo(partial(at_once.pop, job.id, None))
        return job.id

    async def _make_handle(self, tx: Transaction, target: Target) -> str:
        callee = await self._resolve(tx, target)
        return target.handle or await self.execution.services.handles.make(tx, callee.scope.path, callee.name)

    async def _revoke_handle(self, tx: Transaction, handle: str) -> None:
        handles = self.execution.services.handles
        component_path, _ = await handles.open(tx, handle)
        own = self.callee.scope.path
        if own and component_path != own and not component_path.startswith(f"{own}/"):
            raise PermissionDenied(
                f"{self.callee.label} revokes a handle of a function that belongs to {component_path or 'the app'}",
                "A handle is revoked by the instance whose function it is, or by one above it.",
            )
        await handles.revoke(tx, handle)

    def now(self) -> float:
        raise NotImplementedError

    async def tell_at_end(self) -> None:
        """Tell triggers what they have not been told yet. The function is over, and so is its own time."""
        raise NotImplementedError
