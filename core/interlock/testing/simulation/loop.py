"""An event loop without a machine: its time is a number, and what runs next is drawn by lot.

Nothing waits. When nobody is ready, time jumps to the next timer. Of those that are ready not always the first one runs, as
threads of a real machine and packets of a real network would not come in order either. Same seed, same order.

Start at `SimulatedLoop._run_once`. There are no threads: what is handed to an executor runs as a step of the loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import random
import threading
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol


class Process(Protocol):
    """A process of the simulation: it knows all of its tasks, so it can end between any two steps."""

    is_dead: bool

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """A task was made in it."""


process: ContextVar[Process | None] = ContextVar("process", default=None)
"""In which process code runs. Tasks inherit it."""


class Stuck(Exception):
    """Nobody is ready, and nobody ever will be."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """`reorder` is how likely another than the first of those that are ready runs next; `steps` counts what has run."""

    # Of BaseEventLoop, where they are private but have been the same since it exists.
    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, chance: random.Random, *, reorder: float = 0.0) -> None:
        super().__init__()
        self._chance = chance
        self.reorder = reorder
        self.steps = 0
        self.on_step: Callable[[int], None] | None = None
        self._now = 0.0
        self._thread = threading.get_ident()
        self._digest = hashlib.blake2b(digest_size=16)

    def time(self) -> float:
        """Seconds since the loop was made, in its own time."""
        return self._now

    @property
    def digest(self) -> str:
        """Stands for every choice so far. Two runs that have the same have done the same."""
        return self._digest.hexdigest()

    def note(self, text: str) -> None:
        """Let the digest stand for this as well."""
        self._digest.update(text.encode())

    def _run_once(self) -> None:
        ready, timers = self._ready, self._scheduled
        while timers and timers[0].cancelled():
            heapq.heappop(timers)
        if not ready:
            if not timers:
                raise Stuck("everybody waits for somebody, and nobody for a time")
            self._now = max(self._now, timers[0].when())
        while timers and timers[0].when() <= self._now:
            timer = heapq.heappop(timers)
            if not timer.cancelled():
                ready.append(timer)
        at = 0
        if len(ready) > 1 and self._chance.random() < self.reorder:
            at = self._chance.randrange(len(ready))
        handle = ready[at]
        del ready[at]
        if handle.cancelled():
            return
        self.steps += 1
        self._digest.update(b"%d/%d " % (at, len(ready)))
        handle._run()
        if self.on_step is not None:
            self.on_step(self.steps)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        context = options.get("context")
        owner = process.get() if context is None else context.get(process)
        if owner is not None and owner.is_dead:
            # Nothing begins in a dead process, and nobody is told of its end.
            coro.close()
            return self.create_future()  # type: ignore[return-value]
        task = super().create_task(coro, **options)
        if owner is not None:
            owner.adopt(task)
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Run a blocking function as one step."""
        future = self.create_future()

        def run() -> None:
            if future.done():
                return
            try:
                result = func(*args)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_soon(run)
        return future

    def _write_to_self(self) -> None:
        if threading.get_ident() != self._thread:
            raise RuntimeError("a simulation has no threads: what comes from one would come at another time in each run")

    def _process_events(self, event_list: Any) -> None:
        pass


class SimulatedClock:
    """The time of day on a simulated loop. Implements `interlock.clock.Clock`."""

    def __init__(self, loop: SimulatedLoop, start_ms: float) -> None:
        self._loop, self._start_ms = loop, start_ms
        self._reached_ms = start_ms

    def now_ms(self) -> float:
        # Never less than what a timer was set to that has gone off: seconds and milliseconds round differently.
        return max(self._reached_ms, self._start_ms + self._loop.time() * 1000.0)

    def now_ns(self) -> int:
        return int(self.now_ms() * 1e6)

    def call_at(self, when_ms: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_at((when_ms - self._start_ms) / 1000.0, self._ring, when_ms, callback)

    def _ring(self, when_ms: float, callback: Callable[[], None]) -> None:
        self._reached_ms = max(self._reached_ms, when_ms)
        callback()

    async def wait_until(self, when_ms: float) -> None:
        reached = self._loop.create_future()
        timer = self.call_at(when_ms, lambda: None if reached.done() else reached.set_result(None))
        try:
            await reached
        finally:
            timer.cancel()
