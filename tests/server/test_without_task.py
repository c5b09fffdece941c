"""Requests that wait for nothing but the disk are served without a task of their own, and nobody can tell."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest
from tests.engine.faults import GatedStorage

from interlock import Backend, Component, MutationCtx, QueryCtx, Schema, Table, components
from interlock.engine.waited import Waited
from interlock.server import serve
from interlock.server.spare_task import SpareTask

SEEN: ContextVar[str] = ContextVar("seen", default="nothing")
KEPT: list[asyncio.Task[Any]] = []


def app() -> Component:
    component = Component("rows", schema=Schema(rows=Table({"n": int})))

    @component.mutation
    async def put(ctx: MutationCtx, n: int) -> int:
        await ctx.db.insert("rows", {"n": n})
        return n

    @component.mutation
    async def refuse(ctx: MutationCtx, n: int) -> None:
        raise ValueError(n)

    @component.query
    async def count(ctx: QueryCtx) -> int:
        return await ctx.db.query("rows").count()

    @component.mutation
    async def timed(ctx: MutationCtx, wait: bool) -> str:
        async with asyncio.timeout(0.01 if wait else 60), asyncio.TaskGroup() as group:
            group.create_task(ctx.db.insert("rows", {"n": 1}))  # type: ignore[arg-type]
            if wait:
                await asyncio.sleep(3600)
        return "in time"

    @component.mutation
    async def marks(ctx: MutationCtx, wait: bool) -> str:
        before = SEEN.get()
        token = SEEN.set("a call")
        if wait:
            task = asyncio.current_task()
            await asyncio.sleep(0)
            assert asyncio.current_task() is task
            SEEN.reset(token)
            SEEN.set("another")
        return before

    @component.mutation
    async def task(ctx: MutationCtx, wait: bool) -> int:
        task = asyncio.current_task()
        assert task is not None
        KEPT.append(task)  # so that no two of them have one id
        await ctx.db.insert("rows", {"n": 1})
        if wait:
            await asyncio.sleep(0)
        return id(task)

    component.use("sharded_counter", isolation="process")

    async def add(ctx: MutationCtx, name: str) -> None:
        await ctx.run_mutation(components.sharded_counter.add, name=name, count=1, shard=0)

    @component.mutation
    async def cross(ctx: MutationCtx, name: str) -> int:
        """Two calls into a worker; the task that they are made in."""
        token = SEEN.set(name)
        task = asyncio.current_task()
        assert task is not None
        KEPT.append(task)
        await add(ctx, name)
        assert SEEN.get() == name and asyncio.current_task() is task
        await add(ctx, name)
        assert SEEN.get() == name and asyncio.current_task() is task
        SEEN.reset(token)
        return id(task)

    @component.mutation
    async def cross_and(ctx: MutationCtx, what: str) -> str:
        """A call into a worker, and what needs a task of its own or leaves something behind in it."""
        async with asyncio.timeout(0.01 if what == "timeout" else 60):
            if what == "gather":
                await asyncio.gather(add(ctx, "b"), add(ctx, "b"))
            await add(ctx, "b")
            if what == "timeout":
                await asyncio.sleep(3600)
            if what == "sleep":
                await asyncio.sleep(0)
                await add(ctx, "b")
        if what == "mark":
            SEEN.set("left behind")
        if what == "raise":
            raise ValueError(what)
        return SEEN.get()

    @component.query
    async def crossed(ctx: QueryCtx, name: str) -> float:
        return float(await ctx.run_query(components.sharded_counter.count, name=name))

    return component


class Client:
    """One connection that is kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, path: str, kind: str = "mutation", **args: Any) -> None:
        body = json.dumps({"path": path, "args": args}).encode()
        head = f"POST /api/{kind} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)

    async def answer(self) -> tuple[int, Any]:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 60)
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head.split()[1]), json.loads(await self.reader.readexactly(length))

    async def call(self, path: str, kind: str = "mutation", **args: Any) -> Any:
        self.send(path, kind, **args)
        return (await self.answer())[1].get("value", "failed")


class Served:
    def __init__(self, backend: Backend, storage: GatedStorage, stop: asyncio.Event, address: str, running: asyncio.Future[None]) -> None:
        self.backend, self.storage, self.stop, self.running = backend, storage, stop, running
        self._host, self._port = address.removeprefix("http://").split(":")

    async def client(self) -> Client:
        """A connection whose next calls of `put` come with a head that it knows."""
        client = Client(*await asyncio.open_connection(self._host, int(self._port)))
        assert await client.call("put", n=0) == 0
        return client

    async def send_and_place(self, client: Client, n: int) -> None:
        """Have it send a `put`, and wait until that has its place among the commits."""
        log = self.backend.engine.log
        before = log.validated
        client.send("put", n=n)
        while log.validated == before:  # noqa: ASYNC110  # it is only there to be looked at
            await asyncio.sleep(0.001)


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    storage, stop = GatedStorage(), asyncio.Event()
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    backend = Backend(app(), storage=storage)
    running = asyncio.ensure_future(serve(backend.asgi(), port=0, ready=ready.set_result, stop=stop, grace_s=5))
    try:
        yield Served(backend, storage, stop, await ready, running)
    finally:
        stop.set()
        await running


async def test_a_mutation_that_waits_for_nothing_has_no_task_of_its_own() -> None:
    async with served() as here:
        client, other = await here.client(), await here.client()
        of_its_own = await client.call("task", wait=False)
        spare = [await each.call("task", wait=False) for each in (client, client, other, client, other, other)]
        assert spare[2] != spare[1] and len({spare[0], spare[1], *spare[3:]}) == 1 and of_its_own not in spare[3:]
        # One that waits keeps the task, and the next one gets another.
        waiting = [await client.call("task", wait=True) for _ in range(4)]
        assert waiting[1] == spare[0] and len(set(waiting)) == 4


async def test_a_cached_query_is_true_after_each_mutation() -> None:
    async with served() as here:
        client = await here.client()
        for n in range(1, 5):
            assert [await client.call("count", "query") for _ in range(3)] == [n] * 3
            await client.call("put", n=n)


async def test_what_needs_a_task_finds_one() -> None:
    async with served() as here:
        client = await here.client()
        assert [await client.call("timed", wait=False) for _ in range(3)] == ["in time"] * 3
        assert [await client.call("timed", wait=True) for _ in range(3)] == ["failed"] * 3
        assert await client.call("count", "query") == 4


async def test_context_variables_of_a_call_are_its_own() -> None:
    async with served() as here:
        client = await here.client()
        for wait in (False, False, True, True, False, False):
            assert await client.call("marks", wait=wait) == "nothing"


async def test_what_raises_without_waiting_is_answered_and_logged_as_ever() -> None:
    async with served() as here:
        client = await here.client()
        answers = []
        for _ in range(3):
            client.send("refuse", n=1)
            status, answer = await client.answer()
            answers.append((status, answer["status"], "Request ID" in answer["errorMessage"]))
        assert answers == [(200, "error", True)] * 3


async def test_what_crosses_into_a_worker_goes_on_as_in_one_task() -> None:
    async with served() as here:
        clients = [await here.client() for _ in range(8)]
        await clients[0].call("cross", name="a")
        tasks = [await asyncio.gather(*[client.call("cross", name=f"c{n % 3}") for n, client in enumerate(clients)]) for _ in range(6)]
        assert len(set(tasks[-1])) == len(clients) and set(tasks[-1]) == set(tasks[-2]), "they are used again, each by one at a time"
        assert [await clients[0].call("crossed", "query", name=f"c{n}") for n in range(3)] == [36.0, 36.0, 24.0]


async def test_what_crosses_and_needs_a_task_finds_one() -> None:
    async with served() as here:
        client, other = await here.client(), await here.client()
        added, answers = 0, []
        for what, adds in {"gather": 3, "sleep": 2, "mark": 1, "timeout": 0, "raise": 0, "nothing more": 1}.items():
            answers.append(await asyncio.gather(*[each.call("cross_and", what=what) for each in (client, other)]))
            added += adds * 2
        plain = ["nothing"] * 2
        assert answers == [plain, plain, ["left behind"] * 2, ["failed"] * 2, ["failed"] * 2, plain]
        assert await client.call("crossed", "query", name="b") == added


def in_turns(*turns: Callable[[], object]) -> None:
    """Call each in a turn of a loop of its own, outside of any task."""
    loop = asyncio.new_event_loop()
    for before, turn in enumerate(turns):
        later = turn
        for _ in range(before * 3):
            later = partial(loop.call_soon, later)
        loop.call_soon(later)
    loop.call_later(0.05, loop.stop)
    loop.run_forever()
    loop.close()


def answer(waits: Waited[None]) -> None:
    if not waits.done():
        waits.set_result(None)
    if waits.parked is not None:
        waits.parked()


def test_a_task_that_was_told_to_end_when_its_work_was_done_serves_nobody_else() -> None:
    """As by a timeout that is over in the turn of the loop in which the answer comes."""
    ended: list[str] = []
    waits: list[Waited[None]] = []
    spares: list[SpareTask] = []

    async def work(name: str) -> None:
        waits.append(Waited())
        await waits[-1]
        task = asyncio.current_task()
        assert task is not None
        if task.cancelling():
            task.uncancel()
        ended.append(name)

    def begin() -> None:
        spares.append(SpareTask())
        spares[0].run(lambda: work("warm"))

    def end_and_begin() -> None:
        told = spares[0].run(lambda: work("first"))
        assert told is not None
        told.cancel()
        answer(waits[1])
        spares[0].run(lambda: work("second"))

    in_turns(begin, lambda: answer(waits[0]), end_and_begin, lambda: answer(waits[2]), lambda: spares[0].close())
    assert ended == ["warm", "first", "second"]


def test_a_task_that_is_told_to_end_before_it_has_begun_tells_its_work() -> None:
    """As by a timeout that is over when the first part of its work is."""
    ended: list[str] = []
    waits: list[Waited[None]] = []
    spares: list[SpareTask] = []

    async def work() -> None:
        waits.append(Waited())
        try:
            await waits[0]
        except asyncio.CancelledError:
            ended.append("told")
            raise

    def begin() -> None:
        spares.append(SpareTask())
        task = spares[0].run(work)
        assert task is not None
        task.cancel()
        task.add_done_callback(lambda task: ended.append(f"cancelled: {task.cancelled()}"))

    in_turns(begin, lambda: answer(waits[0]), lambda: spares[0].close())
    assert ended == ["told", "cancelled: True"]


@pytest.mark.parametrize("trouble", ["refuse", "break_off"])
async def test_what_crossed_has_its_place_and_is_not_written_is_refused(trouble: str) -> None:
    async with served() as here:
        first, second = await here.client(), await here.client()
        for name in ("a", "b"):
            await first.call("cross", name=name)
        log = here.backend.engine.log
        here.storage.gate.clear()
        for number, client in enumerate((first, second)):
            before = log.validated
            client.send("cross", name="ab"[number])
            while log.validated == before:  # noqa: ASYNC110  # it is only there to be looked at
                await asyncio.sleep(0.001)
        setattr(here.storage, trouble, True)
        here.storage.gate.set()
        for client in (first, second):
            status, answer = await client.answer()
            assert (status, answer["code"]) == (503, "StorageUnavailable")


@pytest.mark.parametrize("trouble", ["refuse", "break_off"])
async def test_what_has_its_place_and_is_not_written_is_refused(trouble: str) -> None:
    """The second one was only gathered: it is run again, and finds that nothing can be written."""
    async with served() as here:
        first, second = await here.client(), await here.client()
        here.storage.gate.clear()
        await here.send_and_place(first, 1)
        await here.send_and_place(second, 2)
        setattr(here.storage, trouble, True)
        here.storage.gate.set()
        for client in (first, second):
            status, answer = await client.answer()
            assert (status, answer["code"]) == (503, "StorageUnavailable")


async def test_the_server_ends_when_what_stands_is_answered() -> None:
    async with served() as here:
        client, gone = await here.client(), await here.client()
        here.storage.gate.clear()
        await here.send_and_place(client, 1)
        await here.send_and_place(gone, 2)
        gone.writer.close()
        here.stop.set()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not here.running.done()
        here.storage.gate.set()
        assert (await client.answer())[1]["value"] == 1
        await asyncio.wait_for(here.running, 10)
        assert sum(here.storage.batches[-2:]) == 2, "who has gone has written too"
