"""One simulation: one app, one workload, one kind of fault, one seed.

Start at `Run.main`.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import random
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from interlock.backend import keep_secrets_out_of_tracebacks
from interlock.errors import StorageUnavailable
from interlock.testing.simulation.client import Broken, CallFailed, SimulatedClient
from interlock.testing.simulation.disk import Disk
from interlock.testing.simulation.faults import Faults
from interlock.testing.simulation.loop import SimulatedClock, SimulatedLoop
from interlock.testing.simulation.network import Connection, Network
from interlock.testing.simulation.rules import Rules, Seen
from interlock.testing.simulation.server import Server, Source
from interlock.testing.simulation.workload import Workload

START_MS = 1_767_225_600_000.0  # 2026-01-01, midnight in UTC
_CRASHES_MAX = 6
_SECONDS_MAX = 900.0
_STEPS_MAX = 60_000
_LINES_KEPT = 60
_GENERATIONS_MAX = 100


@dataclass
class History:
    """What happened in one simulation. Two runs of one seed have equal ones.

    `digest` stands for everything: each message, each choice of the loop, each write. `lines` are the last things that happened.
    `met` counts the faults that came up, by their names in `Faults`.
    """

    seed: int
    faults: Faults
    digest: str = ""
    steps: int = 0
    crashes: int = 0
    calls: int = 0
    results_compared: int = 0
    met: Counter[str] = field(default_factory=Counter)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES_KEPT))


class Run:
    """Implements `client.Surroundings`."""

    def __init__(
        self, source: Source, workload: Callable[[random.Random], Workload], faults: Faults, seed: int, env: Mapping[str, str]
    ) -> None:
        self._source, self._faults, self._env = source, faults, env
        self._seed = seed
        self.history = History(seed, faults)
        self._loop = SimulatedLoop(self._chances("loop"), reorder=faults.reorder)
        self.clock = SimulatedClock(self._loop, START_MS)
        self._context = contextvars.copy_context()
        calm = Faults("calm")
        self._disk = Disk(self.clock.now_ns, self._chances("disk"), calm, self.note, self.history.met, self._crash_once_more)
        self._network = Network(self._loop, self._chances("network"), calm, self._context, self.history.met)
        self._chance = self._chances("crashes")
        self.rules = Rules(self._chances("rules"))
        self.workload = workload(self._chances("workload"))
        self._server: Server | None = None
        self._up = asyncio.Event()
        self._is_over = False
        self._generation = 0
        self._key = ""
        self._next_crash = 0
        self._aims = False  # at a batch that is on its way
        self._failure: asyncio.Future[None] = self._loop.create_future()

    def run(self) -> History:
        """Raises what went wrong, with the history so far in `history`."""
        # The collector runs finalizers when it likes, which would be at another step each time.
        was_collecting = gc.isenabled()
        gc.disable()
        try:
            with _quiet(self), asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                self._loop.set_exception_handler(self._unhandled)
                try:
                    runner.run(self._until_failure(), context=self._context)
                finally:
                    self._close_history()
                    self._loop.on_step = None
        finally:
            if was_collecting:
                gc.enable()
        return self.history

    def _close_history(self) -> None:
        """What comes now is no part of it: whoever still waits is ended, in whatever order."""
        if not self._is_over:
            self._is_over = True
            self.history.digest, self.history.steps = self._loop.digest, self._loop.steps

    # what clients have round them

    def note(self, text: str) -> None:
        if self._is_over:
            return
        line = f"{self._loop.time():9.4f}  {text}"
        self._loop.note(line)
        self.history.lines.append(line if len(line) < 1_000 else line[:1_000] + "…")

    def fail(self, error: BaseException) -> None:
        if not self._failure.done():
            self._failure.set_exception(error)

    def admin_key(self) -> str:
        return self._key

    def dial(self, client: SimulatedClient) -> Connection | None:
        server = self._server
        if server is None or not server.is_up:
            return None
        connection = Connection(self._network, client.take, client.lost, self.rules.sent)
        server.connect(connection)
        return connection

    def saw(self, ts: int, function: str, component: str, args: bytes, outcome: Any) -> None:
        self.rules.saw(Seen(ts, function, component, args, outcome))

    # the course of it

    async def _until_failure(self) -> None:
        main = asyncio.ensure_future(self._main())
        await asyncio.wait([main, self._failure], return_when=asyncio.FIRST_COMPLETED)
        if self._failure.done():
            main.cancel()
            await asyncio.wait([main])
            self._failure.result()
        self._failure.cancel()
        main.result()

    async def _main(self) -> None:
        workload, faults = self.workload, self._faults
        self._loop.on_step = self._limit
        await self._start_server()
        await asyncio.sleep(0.001)
        clients = [self._client(f"client {number}") for number in range(workload.clients)]
        watcher = self._client("watcher")
        for client in (*clients, watcher):
            client.open()
        await workload.setup(clients[0])
        self._disk.faults = self._network.faults = faults
        if faults.crash_at:
            self._next_crash = self._loop.steps + faults.crash_at
        self._plan_crash()
        watching = asyncio.ensure_future(self._watch(watcher))
        following = [asyncio.ensure_future(self._follow(client)) for client in clients]
        await asyncio.gather(*(self._act(client) for client in clients))
        await _ended([watching])
        await self._come_to_rest()
        await self._server_is_up()
        await self._finish_jobs()
        await workload.always(watcher)
        await workload.at_end(watcher)
        await self.rules.subscribers_converge(clients, watcher)
        await _ended(following)
        for client in (*clients, watcher):
            client.close()
        await self._end([*clients, watcher])

    async def _act(self, client: SimulatedClient) -> None:
        for _ in range(self.workload.rounds):
            self.history.calls += 1
            await self._survive(self.workload.act(client))

    async def _follow(self, client: SimulatedClient) -> None:
        while not await self._survive(self.workload.follow(client)):
            pass

    async def _watch(self, client: SimulatedClient) -> None:
        while True:
            await asyncio.sleep(client.random.uniform(0.0, 0.5))
            await self._survive(self.workload.always(client))

    async def _survive(self, work: Coroutine[Any, Any, None]) -> bool:
        """Whether it came to its end; not if it met an error that comes from the faults."""
        try:
            await work
            return True
        except CallFailed as error:
            if not error.is_passing:
                self.fail(error)
            self.note(f"given up: {error.function}: {error.code}")
            await asyncio.sleep(self._chance.uniform(0.0, 1.5))  # a full disk is asked each second
        except Exception as error:
            self.fail(error)
        return False

    async def _come_to_rest(self) -> None:
        """From here on nothing goes wrong."""
        self._disk.faults = Faults("calm")
        self._disk.full_until = -1.0
        self._network.faults = Faults("calm")
        self._next_crash = 0
        await asyncio.sleep(5.0)

    async def _server_is_up(self) -> Server:
        await self._up.wait()
        assert self._server is not None
        return self._server

    async def _finish_jobs(self) -> None:
        """Let time pass until no job is planned, but for crons, which never end."""
        for _ in range(_GENERATIONS_MAX):
            backend = (await self._server_is_up()).backend
            assert backend is not None
            planned = [live for live in await backend.scheduler.live_jobs() if not live.is_cron]
            if not planned:
                return
            await asyncio.sleep(max(0.0, min(live.due_ms for live in planned) - self.clock.now_ms()) / 1000.0 + 0.05)
        raise Broken(f"jobs are left that nobody runs: {sorted({live.job.name for live in planned})}")

    async def _end(self, clients: list[SimulatedClient]) -> None:
        server = await self._server_is_up()
        assert server.backend is not None
        tree = server.backend.tree
        self._close_history()
        await server.run(server.stop())
        platter = self._disk.platter
        self.rules.nothing_answered_is_lost(platter)
        await self.rules.no_job_runs_twice(platter)
        await self.rules.no_failed_mutation_stands(platter, clients, self.clock)
        self.history.results_compared = await self.rules.results_are_of_true_states(platter, tree, self._env, self.clock, self._loop)

    def _chances(self, what: str) -> random.Random:
        """Chance of its own for each part, so that more of it here changes nothing there."""
        return random.Random(f"{self._seed} {what}")

    def _client(self, name: str) -> SimulatedClient:
        return SimulatedClient(self, name, self._chances(name))

    # the server's lives

    async def _start_server(self) -> None:
        while True:
            self._generation += 1
            chance = self._chances(f"server {self._generation}")
            server = self._server = Server(self._loop, self.clock, self._disk, chance, is_cold=self._faults.cold)
            self.note("the server starts")
            starting = server.run(server.start(self._source, self._env, lambda error, server=server: self._crash_later(server)))  # type: ignore[misc]
            await asyncio.wait([starting])
            if server.is_dead:
                return  # the next one is on its way
            if not starting.cancelled() and starting.exception() is None:
                assert server.backend is not None
                self._key = server.backend.admin_key
                self._up.set()
                return
            if not isinstance(starting.exception(), StorageUnavailable):
                starting.result()
            self.note("the server cannot start")
            self._die(server)
            await asyncio.sleep(self._chance.uniform(0.0, 1.0))

    def _limit(self, steps: int) -> None:
        """After each step: may it go on?"""
        if self._next_crash and steps >= self._next_crash and (self._disk.is_writing or not self._aims):
            self._next_crash = 0
            if self._server is not None and not self._server.is_dead:
                self._crash(self._server)
        if steps > _STEPS_MAX or self._loop.time() > _SECONDS_MAX:
            self.fail(Broken(f"no end after {steps} steps and {self._loop.time():.0f} s of its time: somebody waits for what never comes"))
            self._loop.on_step = None

    def _plan_crash(self) -> None:
        if self._faults.crash_every and self.history.crashes < _CRASHES_MAX:
            self._next_crash = self._loop.steps + self._chance.randint(1, 2 * self._faults.crash_every)
            self._aims = self._faults.power_loss and self._chance.random() < 0.7

    def _crash_later(self, server: Server) -> None:
        """The backend has said that it must end; its process ends with it, but not in the same instant."""
        self._loop.call_later(self._chance.uniform(0.0, 0.05), self._crash, server, context=self._context)

    def _crash_once_more(self) -> bool:
        if self.history.crashes >= _CRASHES_MAX or self._server is None:
            return False
        self._crash(self._server)
        return True

    def _crash(self, server: Server) -> None:
        if server.is_dead or self._failure.done():
            return
        self.history.crashes += 1
        self._die(server)
        self._loop.call_later(self._chance.uniform(0.0, 1.0), self._restart, context=self._context)

    def _restart(self) -> None:
        task = self._loop.create_task(self._start_server())
        task.add_done_callback(self._restarted)

    def _restarted(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return None
        if (error := task.exception()) is not None:
            return self.fail(error)
        if self._disk.faults is self._faults:
            self._plan_crash()
        return None

    def _die(self, server: Server) -> None:
        power_loss = self._disk.faults.power_loss and self._chance.random() < 0.7
        self.note("the power is lost" if power_loss else "the server is killed")
        self._up.clear()
        server.die(self._context)
        self._disk.die(power_loss=power_loss)
        try:
            self.rules.nothing_answered_is_lost(self._disk.platter)
        except Broken as error:
            self.fail(error)

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An error that nobody has caught."""
        error = context.get("exception")
        if isinstance(error, StorageUnavailable) and self.history.crashes:
            return  # of a process that died while somebody waited for the disk
        self.fail(error if error is not None else Broken(str(context["message"])))


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


@contextmanager
def _quiet(run: Run) -> Iterator[None]:
    """Logs go into the history. An error that is logged with its traceback is one that nobody expected."""
    keep_secrets_out_of_tracebacks()

    def keep(_: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        run.note(f"log: {event['event']}")
        error = event.get("exc_info")
        if error:
            run.fail(error if isinstance(error, BaseException) else Broken(f"logged: {event['event']}"))
        raise structlog.DropEvent

    processors = structlog.get_config()["processors"]
    before = list(processors)
    processors[:] = [keep]
    handler = _Handler(run)
    logger = logging.getLogger("interlock.server")
    logger.addHandler(handler)
    propagated, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = propagated
        logger.removeHandler(handler)
        processors[:] = before


class _Handler(logging.Handler):
    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    def emit(self, record: logging.LogRecord) -> None:
        self._run.note(f"log: {record.getMessage()}")
        if record.exc_info and record.exc_info[1] is not None:
            self._run.fail(record.exc_info[1])
