"""The workers of one instance: made when they are needed, made anew when one has ended.

All calls of one transaction go to one worker. Start at `Pool.process`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from interlock.sandbox.plan import Plan
from interlock.sandbox.process import Process
from interlock.sandbox.sources import Source
from interlock.sandbox.standing import Conduct
from interlock.sandbox.zygote import shared

logger = structlog.get_logger("interlock.sandbox")
_CALLS_MAX = 1_000_000
_MEMORY_SHARE = 0.7
_LOOK_EVERY = 1_000
_FAILURES_MAX = 3
_PAUSE_SECONDS = 1.0


class Pool:
    """Up to `size` workers that have loaded one source."""

    def __init__(self, source: Source, plan: Plan, path: str, size: int) -> None:
        self.source, self.plan, self.path, self.size = source, plan, path, size
        self._processes: list[Process] = []
        self._conduct = Conduct()
        self._next = 0
        self._failures = 0
        self._closed_until = 0.0
        self.spawned = self.calls_open = 0
        self.is_closed = False
        shared()  # it warms up while the rest of the backend starts

    def process(self, env: Mapping[str, Any], kept: Process | None = None) -> Process:
        """The worker for a call: the one that its transaction has, or the next in turn. Raises OSError where none can be made."""
        if kept is not None and not kept.is_over and not kept.is_retired:
            return kept
        loop = asyncio.get_running_loop()
        if self.size == 1 and self._processes:  # mostly
            only = self._processes[-1]
            if not only.is_over and not only.is_retired and only.loop is loop and not self.is_due(only):
                return only
        live = [one for one in self._processes if not one.is_over and not one.is_retired and one.loop is loop]
        if len(live) < self.size:
            if self._failures >= _FAILURES_MAX and loop.time() < self._closed_until:
                raise Unhealthy(f"its workers have ended {self._failures} times in a row; the next is made in a second")
            made = self._made(env)
            for one in self._processes:
                if one.is_retired:
                    one.retire()
            self._processes = [*live, made]
            return made
        self._next += 1
        chosen = live[self._next % len(live)] if len(live) > 1 else live[0]
        if self.is_due(chosen) and self._is_worn(chosen):
            self.let_go(chosen)
            return self.process(env)
        return chosen

    def is_due(self, process: Process) -> bool:
        """Whether it is to be looked at, before another call, if it has grown too much or served enough."""
        return process.calls_made % _LOOK_EVERY == _LOOK_EVERY - 1

    async def mended(self, process: Process, env: Mapping[str, Any]) -> Process:
        """The worker itself, when it has stopped to run a call that is over; or another one, where that takes too long."""
        await process.wait_mended()
        if not process.is_stuck and not process.is_over:
            return process
        self.let_go(process)
        return self.process(env)

    def let_go(self, process: Process) -> None:
        """New calls go to a fresh one; this one ends with the last that is open on it."""
        if process in self._processes:
            self._processes.remove(process)
        process.retire()

    @property
    def operations(self) -> int:
        """How many operations its live workers have asked for."""
        return sum(process.operations for process in self._processes)

    @property
    def pids(self) -> list[int]:
        """The processes of its live workers, as far as they are known."""
        return [process.pid for process in self._processes if process.pid is not None]

    def cpu_seconds(self) -> list[float]:
        """What each of its live workers has used of a processor."""
        return [process.cpu_seconds() for process in self._processes]

    def alone(self, env: Mapping[str, Any]) -> Process:
        """A worker for one call that was open when another one ended: if this ends too, it is known whose doing it was."""
        return self._made(env)

    def _made(self, env: Mapping[str, Any]) -> Process:
        zygote = shared()
        made = Process(zygote.spawn(self.plan), self.source, self.path, env, self._conduct, self._on_end, self._on_stuck)
        made.loop.call_soon(zygote.stand_ready, self.plan)  # when it has been told what to load
        self.spawned += 1
        return made

    def _is_worn(self, process: Process) -> bool:
        return process.calls_made >= _CALLS_MAX or (self.plan.memory is not None and process.memory() > self.plan.memory * _MEMORY_SHARE)

    def succeeded(self) -> None:
        """A call has come back: whatever ended workers before is over."""
        self._failures = 0

    def _on_stuck(self, process: Process) -> None:
        """It runs on past the deadline of a call: the next call is not to wait for it, nor for the start of another."""
        if process in self._processes:
            self.let_go(process)
            try:
                self.process(process.env)
            except (OSError, Unhealthy):
                pass  # the next call says so

    def _on_end(self, process: Process) -> None:
        if process in self._processes:
            self._processes.remove(process)
        if process.was_closed:
            return
        self._failures += 1
        self._closed_until = asyncio.get_running_loop().time() + _PAUSE_SECONDS
        logger.warning("worker ended", component=self.path, reason=process.reason)

    def retire(self) -> None:
        """No call comes any more; those that are open may end."""
        processes, self._processes = self._processes, []
        for process in processes:
            process.retire()

    def close(self) -> None:
        """End the workers, whatever is open on them."""
        self.is_closed = True
        for process in [*self._processes]:
            process.close()
        self._processes = []


class Unhealthy(Exception):
    """The workers of this instance end as soon as they are made."""
