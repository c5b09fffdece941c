"""A backend for tests: the real one, in memory, on a clock that the test moves.

Nothing here stands in for the engine. Time is virtual and randomness seeded, so a test that is run again does the same.

Start at `TestBackend.advance`; `TestClient` is everything that calls functions.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from interlock.backend import Backend
from interlock.errors import CallRefused
from interlock.functions.caller import Caller
from interlock.limits import Limits
from interlock.scheduler import Ran
from interlock.sdk.app import App
from interlock.sdk.auth import Identity
from interlock.sdk.component import Component
from interlock.sdk.declarations import Isolation
from interlock.sdk.functions import Function
from interlock.sdk.host import Job, Kind, Target
from interlock.sdk.http import Request, Response
from interlock.sdk.references import Reference, as_target
from interlock.storage.memory import MemoryStorage
from interlock.testing.isolation import default
from interlock.testing.seeds import seeds
from interlock.testing.virtual_clock import VirtualClock

START_MS = 1_767_225_600_000.0  # 2026-01-01, midnight in UTC
ISSUER = "https://issuer.test"
_ROUNDS_MAX = 1_000
_PATIENCE_SECONDS = 0.5

OnTheSpot = Callable[..., Any]


class TestClient:
    """Calls functions of one instance as one user, internal functions too. `TestBackend` is the one of the app and of nobody."""

    __test__ = False

    def __init__(self, owner: TestBackend, component_path: str, identity: Identity | None) -> None:
        self._owner, self._path, self._identity = owner, component_path, identity

    async def query(self, function: Reference | str | OnTheSpot, /, **args: Any) -> Any:
        """The result of a query: by name or reference, or an `async def` written on the spot."""
        return await self._call("query", function, args)

    async def mutation(self, function: Reference | str | OnTheSpot, /, **args: Any) -> Any:
        """Run a mutation."""
        return await self._call("mutation", function, args)

    async def action(self, function: Reference | str | OnTheSpot, /, **args: Any) -> Any:
        """Run an action."""
        return await self._call("action", function, args)

    async def run(self, function: Callable[[Any], Any], /, *, component: str | None = None) -> Any:
        """Run `function(ctx)` as a mutation written on the spot; `component` says in which instance, by its path."""
        client = self if component is None else self.component(component)
        return await client._call("mutation", function, {})

    async def subscribe(self, function: Reference | str, /, **args: Any) -> AsyncIterator[Any]:
        """The result of a query now, and again each time it has changed."""
        backend = await self._owner.opened()
        target = self._resolve(function)
        if target.handle:
            raise CallRefused(repr(function), "a handle is to call, not to subscribe to: it may be revoked. Name the query itself.")
        async for result in backend.subscribe_as(self._caller(), target.mount, target.name, args):
            yield result

    def with_identity(self, *, subject: str, issuer: str = ISSUER, **claims: Any) -> TestClient:
        """The same calls, made by a user. Claims in either spelling: `given_name` or `givenName`."""
        return TestClient(self._owner, self._path, Identity.of({"subject": subject, "issuer": issuer, **claims}))

    def component(self, path: str, /) -> TestClient:
        """The functions of a mount, seen from here: `leaderboard`, `mailer/workpool`."""
        return TestClient(self._owner, f"{self._path}/{path}" if self._path else path, None)

    async def _call(self, kind: Kind, function: Reference | str | OnTheSpot, args: Mapping[str, Any]) -> Any:
        backend = await self._owner.opened()
        if self._path:
            backend.tree.get(self._path)  # who names a mount that is not there is told which ones are
        if isinstance(function, Function) and function.public_name is None:
            function = function.handler
        if isinstance(function, Reference | str):
            target = self._resolve(function)
            answer = await backend.dispatcher.call(
                kind,
                target.name,
                args,
                caller=self._caller(),
                component_path=target.mount,
                handle=target.handle or None,
                limits=target.limits or self._owner.limits,
            )
        else:
            written = partial(function, **args)  # nothing of ours in between: the watchdog ends only the author's own frames
            answer = await backend.dispatcher.run(written, kind=kind, component_path=self._path, caller=self._caller())
        return answer.value

    def _resolve(self, function: Reference | str) -> Target:
        """What a reference means here: its mount as a path from the app."""
        target = as_target(function)
        return replace(target, mount="/".join(part for part in (self._path, target.mount) if part))

    def _caller(self) -> Caller:
        return Caller(identity=self._identity, admin=True, source="test", request_id="test")


class TestBackend(TestClient):
    """An app, a component on its own, or an app's directory, running for a test.

    `isolation` is for all mounts, whatever they say. Without it, and without `--interlock-isolation`, what is mounted by name runs as its
    mount says, in the sandbox mostly, and a component that is given as an object, to this or to `app.use`, runs inline.
    `limits` lowers the limits of every function that the test calls. With `seed` 0 it is what `--interlock-seed` says. `start` is
    the time at the beginning: milliseconds since the epoch, or a datetime with a time zone. `fetch` answers every `ctx.fetch` in the
    place of the network: it is given the request as it would be sent, secrets included, once the mount allows its host.
    """

    def __init__(
        self,
        source: Component | App | str | os.PathLike[str],
        /,
        *,
        isolation: Isolation | None = None,
        limits: Limits | None = None,
        seed: int = 0,
        start: float | datetime = START_MS,
        env: Mapping[str, str] | None = None,
        fetch: Callable[[Request], Response | Awaitable[Response]] | None = None,
    ) -> None:
        super().__init__(self, "", None)
        if isinstance(start, datetime):
            if start.tzinfo is None:
                raise ValueError(f"start takes a datetime with a time zone, not {start.isoformat()}")
            start = start.timestamp() * 1000.0
        self.clock = VirtualClock(start)
        self.limits = limits
        self.seed = seeds.take(seed)
        storage = MemoryStorage(clock_ns=lambda: int(self.now() * 1e6))
        self._backend = Backend(
            source,
            storage=storage,
            dev=True,
            env=env,
            clock=self.clock,
            seed=self.seed,
            isolation=isolation or default.isolation,
            fetch=fetch,
        )
        self._is_open = False
        self._ran: list[Ran] = []
        self._resting = 0  # calls in workers that do not come to an end by themselves

    # opening and closing

    async def opened(self) -> Backend:
        """The backend behind this; opened at the first call of a test that does not say `async with`."""
        if not self._is_open:
            await self._backend.open()
            self._backend.scheduler.watchers.append(self._ran.append)
            self._is_open = True
        return self._backend

    async def close(self) -> None:
        """End it. All data is gone."""
        self._is_open = False
        await self._backend.close()

    async def __aenter__(self) -> TestBackend:
        await self.opened()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # time

    def now(self) -> float:
        """The time, in milliseconds since the epoch, as `ctx.now()` has it."""
        return self.clock.now_ms()

    async def advance(self, seconds: float | timedelta) -> list[Job]:
        """Let time pass. Jobs and crons run when they are due, in the order of time.

        Gives what ran since this was last asked: a job that was due at once may have run beside the test's own calls.
        """
        duration = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        if not 0 <= duration < math.inf:
            raise ValueError(f"time passes forward by a number of seconds, not {seconds!r}")
        await self._advance_to(await self.opened(), self.now() + duration * 1000.0)
        return self._ran_so_far()

    async def finish_in_progress(self) -> list[Job]:
        """Run what is due now, and what that plans for now. Time stands still. Gives what ran."""
        return await self.advance(0)

    async def finish_scheduled(self, max_rounds: int = 100) -> list[Job]:
        """Run every job that is planned, and those that they plan, until none is left. Time passes as needed; crons come along.

        Gives what ran since this was last asked. Fails when jobs are still planned after `max_rounds` steps in time or generations of jobs.
        """
        backend = await self.opened()
        for _ in range(max_rounds):
            await self._run_due(backend, max_rounds)
            planned = [live for live in await backend.scheduler.live_jobs() if not live.is_cron]
            if not planned:
                return self._ran_so_far()
            await self._advance_to(backend, max(self.now(), min(live.due_ms for live in planned)), max_rounds)
        names = {live.job.name for live in await backend.scheduler.live_jobs() if not live.is_cron}
        raise AssertionError(
            f"after {max_rounds} rounds jobs are still planned: {', '.join(sorted(names))}. "
            "Where each plans the next one there is no end: let time pass with advance()."
        )

    async def _advance_to(self, backend: Backend, until_ms: float, max_rounds: int = _ROUNDS_MAX) -> None:
        await self._run_due(backend, max_rounds)
        while (next_ms := self.clock.next_timer_ms()) is not None and next_ms <= until_ms:
            await self._let_workers_end(backend)
            self.clock.move_to(next_ms)
            await self._run_due(backend, max_rounds)
        await self._let_workers_end(backend)
        self.clock.move_to(until_ms)

    async def _let_workers_end(self, backend: Backend) -> None:
        """What runs in a worker takes the machine's time. No other passes in the middle of it, as none does inline; unless it waits."""
        runners, loop = backend.dispatcher.runners, asyncio.get_running_loop()
        if not runners.has_workers:
            return
        for _ in range(10):
            await asyncio.sleep(0)  # whoever is woken by what has run asks again
        until = loop.time() + _PATIENCE_SECONDS
        while runners.calls_open > self._resting and loop.time() < until:  # noqa: ASYNC110  # it is a test that waits
            await asyncio.sleep(0.0005)
        self._resting = runners.calls_open

    async def _run_due(self, backend: Backend, max_rounds: int) -> None:
        """Until nothing is due, at most so many generations of jobs."""
        scheduler = backend.scheduler
        for _ in range(3):
            await asyncio.sleep(0)  # whoever waited for this moment wakes, and may plan something
        for _ in range(max_rounds):
            if scheduler.is_idle:
                return
            await self._ended(backend, {live.job.id for live in await scheduler.live_jobs() if live.due_ms <= self.now()})
        names = {live.job.name for live in await scheduler.live_jobs() if live.due_ms <= self.now()}
        raise AssertionError(f"jobs plan each other without an end, and no time passes: {', '.join(sorted(names))}.")

    async def _ended(self, backend: Backend, generation: set[str]) -> None:
        """Until these jobs have ended, or nothing is left to do."""
        scheduler = backend.scheduler
        all_ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def watch(ran: Ran) -> None:
            generation.discard(ran.job.id)
            if not generation and not all_ended.done():
                all_ended.set_result(None)

        scheduler.watchers.append(watch)
        idle = asyncio.ensure_future(scheduler.wait_idle())
        try:
            await asyncio.wait([idle, all_ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            scheduler.watchers.remove(watch)
            idle.cancel()
            all_ended.cancel()

    def _ran_so_far(self) -> list[Job]:
        jobs = [ran.job for ran in self._ran]
        self._ran.clear()
        return jobs

    # for assertions

    @property
    def query_runs(self) -> int:
        """How often the function of a query was run so far; a result that was shared or still true did not run it."""
        return self._backend.engine.live.runs
