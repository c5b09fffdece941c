"""Clients of a whole backend: requests that are sent again, functions that call functions, triggers, jobs. See functions_app.py.

Start at `FunctionsRun.history`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from interlock import AppError, Backend, DeadlineExceeded, StorageUnavailable, WriteConflict
from interlock.engine import EngineSettings
from interlock.functions.caller import Caller
from interlock.testing.virtual_clock import VirtualClock

from .elle import Anomaly, Append, Get, Layer, Op, Put, ReadList, Status, Txn
from .faulty_storage import Disk, Faults, memory_disk
from .functions_app import Steps, fire
from .workload import START_MS

LISTS = ("d0", "d1", "r0", "tr0", "b0", "tb0", "c0", "c1")
REGISTERS = ("g0", "g1")
KEYS = (*LISTS, *REGISTERS)
EVERYTHING: Steps = [*(["read", key] for key in LISTS), *(["get", key] for key in REGISTERS)]
_READ_ONLY = ("tr0", "tb0")
_CALLER = Caller(admin=True, source="embedded", request_id="fire")


class FunctionsAuthor:
    """Makes programs. No two write the same value, or plan a job of the same name."""

    def __init__(self, chance: random.Random, *, plans: float = 0.15, refuses: float = 0.05) -> None:
        self._chance, self._plans, self._refuses = chance, plans, refuses
        self._value = self._job = 0

    def program(self, depth: int = 0) -> Steps:
        """What one mutation does."""
        chance = self._chance
        steps: Steps = []
        for _ in range(chance.randint(1, 4)):
            if chance.random() < 0.4:
                steps.append(["pause", chance.choice((1, 1, 2, 5))])
            if depth < 2 and chance.random() < 0.2:
                steps.append([chance.choice(("fold", "drop")), self.program(depth + 1)])
            elif depth < 2 and chance.random() < self._plans:
                self._job += 1
                steps.append(["plan", chance.choice((0, 0, 0.01, 0.5)), f"job {self._job}", self.program(2)])
            elif chance.random() < 0.5:
                steps.append(["gather", chance.sample(LISTS, 2)] if chance.random() < 0.3 else self._read())
            else:
                steps += self._write()
        if chance.random() < self._refuses:
            steps.append(["refuse"])
        return steps

    def look(self) -> Steps:
        """What one query does."""
        return [self._read() for _ in range(2)]

    def _read(self) -> list[Any]:
        key = self._chance.choice(KEYS)
        return ["get" if key in REGISTERS else "read", key]

    def _write(self) -> Steps:
        key = self._chance.choice([key for key in KEYS if key not in _READ_ONLY])
        if key not in REGISTERS:
            # Several one after the other are one list for a trigger that takes lists.
            return [["append", key, self._next()] for _ in range(self._chance.randint(1, 3) if key[0] == "b" else 1)]
        # Mostly after a read, so that the order of the versions is known.
        before = [["get", key]] if self._chance.random() < 0.8 else []
        return [*before, ["put", key, self._next()]]

    def _next(self) -> int:
        self._value += 1
        return self._value


@dataclass
class _Planner:
    """A request, or a job, with the jobs that it plans if it stands."""

    name: str
    status: Status
    begun: int
    jobs: list[tuple[str, Steps]]


_CERTAINTY = {Status.FAILED: 0, Status.UNKNOWN: 1, Status.OK: 2}


class JobBook:
    """Who planned which job. What stands has planned each exactly once; what does not stand has planned none."""

    def __init__(self) -> None:
        self._planners: dict[str, _Planner] = {}
        self.ran = 0
        self.anomalies: list[Anomaly] = []

    def plan(self, name: str, status: Status, begun: int, steps: Steps) -> None:
        """One attempt of a request, and what it did, or would have done."""
        known = self._planners.get(name)
        if known is None or _CERTAINTY[known.status] < _CERTAINTY[status]:
            # It may have stood since its first attempt, whose answer was lost.
            first = begun if known is None else min(known.begun, begun)
            self._planners[name] = _Planner(name, status, first, list(_planned(steps)))

    def transactions(self, results: list[Any], failures: list[Any]) -> list[Txn]:
        """Those of all jobs, given what the queries `results` and `failures` say when none is left."""
        txns: list[Txn] = []
        by_job: dict[str, list[Steps]] = {}
        for job, steps in results:
            by_job.setdefault(job, []).append(steps)
        failed = dict(failures)
        planners = list(self._planners.values())
        while planners:
            planner = planners.pop()
            for job, program in planner.jobs:
                ran = by_job.pop(job, [])
                if len(ran) > 1:
                    self._wrong("job run twice", f"{job}: {ran}\n  {program}\n  {planner}")
                if ran and (planner.status is Status.FAILED or ["refuse"] in program):
                    self._wrong("job of nobody", f"{job}: {ran}\n  {program}\n  {planner}")
                # Its time may be up before it is done: then it says so.
                has_failed = job in failed and (["refuse"] in program or "wall time" in failed[job])
                if not ran and planner.status is Status.OK and not has_failed:
                    self._wrong("job forgotten", f"{job}: {failed.get(job)}\n  {program}\n  {planner}")
                if ran:
                    self.ran += 1
                    txns.append(Txn(job, tuple(ops_of(ran[0])), Status.OK, planner.begun, planned_by=planner.name))
                    planners.append(_Planner(job, Status.OK, planner.begun, list(_planned(ran[0]))))
        if by_job:
            self._wrong("job of nobody", str(by_job))
        return txns

    def _wrong(self, kind: str, text: str) -> None:
        self.anomalies.append(Anomaly(kind, text))


@dataclass
class FunctionsRun:
    """One history; see `workload.Run`."""

    seed: int
    clients: int = 6
    programs: int = 120
    faults: Faults = field(default_factory=lambda: Faults(delay=6))
    crash: float = 0.0
    plans: float = 0.15
    is_cold: bool = False
    make_disk: Callable[[random.Random, Faults, Callable[[], int]], Disk] = memory_disk

    def history(self) -> list[Txn]:
        return asyncio.run(self._within_a_minute())

    async def _within_a_minute(self) -> list[Txn]:
        async with asyncio.timeout(60):
            return await self._history()

    async def _history(self) -> list[Txn]:
        chance = self._chance = random.Random(self.seed)
        self._clock = VirtualClock(START_MS)
        self._disk = self.make_disk(chance, self.faults, lambda: int(self._clock.now_ms() * 1e6))
        self.errors: list[Exception] = []
        self.crashes = self.resent = 0
        self.told: list[int] = []
        self._txns: list[Txn] = []
        self._author = FunctionsAuthor(chance, plans=self.plans)
        self._book = JobBook()
        self._time = 0
        self._left = self.programs
        # Requests whose outcome is still open go on with the next engine, as a client's do.
        self._open_requests: dict[str, Steps] = {}
        await self._open()
        while self._left or self._open_requests:
            await self._until_a_crash()
        self.faults.refused = self.faults.unknown = 0.0
        await self._finish_jobs()
        await self._query(EVERYTHING, "the last query")
        await self._send("the last look", EVERYTHING, None)
        self._txns += self._book.transactions(await self._backend.query("results"), await self._backend.query("failures"))
        self.told = await self._backend.query("told_together")
        await self._backend.close()
        return self._txns

    @property
    def anomalies(self) -> list[Anomaly]:
        """Of jobs."""
        return self._book.anomalies

    @property
    def jobs(self) -> int:
        """How many have run."""
        return self._book.ran

    # the backend

    async def _open(self) -> None:
        settings = EngineSettings(memory_bytes=-1 if self.is_cold else 1 << 30)
        self._backend = Backend(
            fire,
            storage=self._disk.mount(),
            clock=self._clock,
            seed=self._chance.getrandbits(32),
            settings=settings,
            env={},
            isolation="inline",
        )
        self._backend.on_fatal = lambda _: None  # the run ends it, a while later
        await self._backend.open()
        self._engine, self._dispatcher = self._backend.engine, self._backend.dispatcher
        if self.is_cold:
            for table in self._engine.catalog.by_number.values():
                table.memory = None

    async def _crash(self) -> None:
        self.crashes += 1
        await self._disk.crash()
        self._dispatcher.close()
        await self._open()

    async def _until_a_crash(self) -> None:
        loop = asyncio.get_running_loop()
        self._dying = loop.create_future()
        again = list(self._open_requests.items())
        self._chance.shuffle(again)
        clients = [loop.create_task(self._client(f"c{number}", again[number :: self.clients])) for number in range(self.clients)]
        over = asyncio.gather(*clients)
        await asyncio.wait([over, self._dying], return_when=asyncio.FIRST_COMPLETED)
        if self._dying.done() or self._is_dead():
            for _ in range(self._chance.randint(0, 20)):
                await asyncio.sleep(0)
            await self._crash()
            await asyncio.wait([over])
        if not isinstance(over.exception(), asyncio.CancelledError | None):
            over.result()

    async def _finish_jobs(self) -> None:
        """Let time pass until nothing is planned."""
        for _ in range(500):
            if self._is_dead():
                await self._crash()
            self._clock.move_to(self._clock.now_ms() + 1_000)
            for _ in range(50):
                await asyncio.sleep(0)
            if not await self._backend.query("unfinished"):
                return
        raise AssertionError("jobs are left that nobody runs")

    # clients

    async def _client(self, name: str, again: list[tuple[str, Steps]]) -> None:
        for request, program in again:
            self.resent += 1
            await self._send(f"{request} (again)", program, request)
        while self._left:
            if self._chance.random() < self.crash or self._is_dead():
                if not self._dying.done():
                    self._dying.set_result(None)
                await asyncio.get_running_loop().create_future()
            self._left -= 1
            label = f"{name}.{self._left}"
            if self._chance.random() < 0.2:
                await self._query(self._author.look(), label)
                continue
            program = self._author.program()
            sent = [self._send(label, program, label)]
            if self._chance.random() < 0.1:  # twice at the same time
                sent.append(self._send(f"{label} (twice)", program, label))
            await asyncio.gather(*sent)
            if self._chance.random() < 0.1:  # and once more after the answer
                await self._send(f"{label} (repeated)", program, label)
            self._clock.move_to(self._clock.now_ms() + self._chance.choice((0, 1, 5, 40)))

    def _is_dead(self) -> bool:
        return self._engine.committer.fatal is not None

    async def _send(self, name: str, program: Steps, request: str | None) -> None:
        """One attempt of a mutation."""
        begun, ended = self._tick(), None
        status, ops, ts = Status.UNKNOWN, tuple(written_by(program)), None
        jobs = program
        if request is not None:
            self._open_requests[request] = program
        try:
            session = None if request is None else (f"session {self.seed}", request)
            answer = await self._dispatcher.call("mutation", "play", {"program": program}, caller=_CALLER, session=session)
            status, ops, ts, ended = Status.OK, tuple(ops_of(answer.value)), answer.ts, self._tick()
            jobs = answer.value
        except AppError as error:
            status, ops, ended = Status.FAILED, (*ops_of(error.data), *written_by(program)), self._tick()
        except (StorageUnavailable, WriteConflict, DeadlineExceeded):
            if not self._is_dead():
                status, ended = Status.FAILED, self._tick()
                for _ in range(10):
                    self._clock.move_to(self._clock.now_ms() + 120)
                    await asyncio.sleep(0)
        except Exception as error:
            self.errors.append(error)
        finally:
            if ended is not None and request is not None:
                self._open_requests.pop(request, None)
            self._txns.append(Txn(name, ops, status, begun, ended, request, ts))
            self._book.plan(request or name, status, begun, jobs)

    async def _query(self, program: Steps, name: str) -> None:
        begun, ended = self._tick(), None
        ops: tuple[Op, ...] = ()
        status, ts = Status.UNKNOWN, None
        try:
            answer = await self._dispatcher.call("query", "look", {"program": program}, caller=_CALLER)
            status, ops, ts, ended = Status.OK, tuple(ops_of(answer.value)), answer.ts, self._tick()
        except StorageUnavailable:
            pass
        except Exception as error:
            self.errors.append(error)
        finally:
            self._txns.append(Txn(name, ops, status, begun, ended, ts=ts))

    def _tick(self) -> int:
        self._time += 1
        return self._time


def ops_of(steps: Steps) -> Iterator[Op]:
    """What a function says that its steps did and saw."""
    for what, *step in steps:
        match what:
            case "read":
                yield ReadList(step[0], tuple(step[1]))
            case "get":
                yield Get(*step)
            case "put":
                yield Put(*step)
            case "append":
                yield from _appended(*step)
            case "fold" | "drop":
                yield Layer(tuple(ops_of(step[0])), what == "drop")


def written_by(program: Steps) -> Iterator[Op]:
    """What a program writes: all that is known of it when no answer came."""
    if ["refuse"] in program:
        yield Layer(tuple(written_by([step for step in program if step != ["refuse"]])), True)
        return
    for what, *step in program:
        match what:
            case "append":
                yield from _appended(*step)
            case "put":
                yield Put(*step)
            case "fold" | "drop":
                yield Layer(tuple(written_by(step[0])), what == "drop")


def _appended(key: str, value: int) -> Iterator[Op]:
    yield Append(key, value)
    if key[0] in "rb":
        yield Append("t" + key, value)  # the trigger's


def _planned(steps: Steps) -> Iterator[tuple[str, Steps]]:
    """The jobs that steps, done or to be done, plan for good."""
    if ["refuse"] in steps:
        return
    for what, *step in steps:
        if what == "plan":
            yield step[1], step[2]
        elif what == "fold":
            yield from _planned(step[0])
