"""The load: so many connections, each sending its next request when the answer to the last one is there.

Runs in a process of its own, on the core that the server does not have: `python -m bench.load` reads a job as JSON from
standard input and writes a report as JSON. A request costs it about a third of what the fastest server here pays for one, so
that it is the server that is measured.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import cast


@dataclass(frozen=True)
class Job:
    """`bodies` are sent in turn to `path` over `callers` connections for `seconds`; an answer has to contain `expected`."""

    port: int
    path: str
    bodies: list[str]
    callers: int
    seconds: float
    expected: str = ""
    method: str = "POST"


@dataclass(frozen=True)
class Report:
    """The answers, and how long they took: milliseconds from sending a request until its answer was there whole.

    `pause_ms` is the longest time without an answer to anybody, `load_cpu` the share of a core that the load itself took,
    `cpu_us` the CPU time of the server for each answer, in microseconds (whoever started the load adds it).
    """

    answers: int
    per_second: float
    p50_ms: float
    p99_ms: float
    pause_ms: float = 0.0
    load_cpu: float = 0.0
    cpu_us: float = 0.0


class Caller(asyncio.Protocol):
    """One connection. `turn` is where in the requests it begins."""

    def __init__(self, load: Load, turn: int) -> None:
        self._load, self._turn = load, turn
        self._received = b""
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def send(self) -> None:
        assert self._transport is not None
        requests = self._load.requests
        self._turn = (self._turn + 1) % len(requests)
        self._sent = perf_counter()
        self._transport.write(requests[self._turn])

    def data_received(self, data: bytes) -> None:
        if self._received:
            data = self._received + data
        head = data.find(b"\r\n\r\n")
        if not _is_whole(data, head):
            self._received = data
            return
        self._received = b""
        load = self._load
        if not data.startswith(b"HTTP/1.1 200") or load.expected not in data:
            load.failed(RuntimeError(f"unexpected answer: {data!r}"))
            return
        now = perf_counter()
        load.took.append(now - self._sent)
        load.answered.append(now)
        if now < load.deadline:
            self.send()
        else:
            load.ended()

    def connection_lost(self, error: Exception | None) -> None:
        self._load.failed(error or ConnectionError("the server closed a connection"))


class Load:
    """What the callers share."""

    def __init__(self, job: Job) -> None:
        self.requests = [_request(job, body) for body in job.bodies]
        self.expected = job.expected.encode()
        self.took: list[float] = []
        self.answered: list[float] = []
        self.deadline = 0.0
        self._job = job
        self._busy = job.callers

    async def run(self) -> Report:
        """Load the server on this machine."""
        loop = asyncio.get_running_loop()
        self._end: asyncio.Future[None] = loop.create_future()
        callers: list[Caller] = []
        for number in range(self._job.callers):
            caller = Caller(self, number * 7919)
            await loop.create_connection(lambda caller=caller: caller, "127.0.0.1", self._job.port)  # type: ignore[misc]
            callers.append(caller)
        began, cpu = perf_counter(), sum(os.times()[:2])
        self.deadline = began + self._job.seconds
        for caller in callers:
            caller.send()
        await self._end
        elapsed, cpu = perf_counter() - began, sum(os.times()[:2]) - cpu
        self.took.sort()
        count = len(self.took)
        pause = max(b - a for a, b in zip([began, *self.answered], self.answered, strict=False))
        return Report(count, count / elapsed, self.took[count // 2] * 1e3, self.took[int(count * 0.99)] * 1e3, pause * 1e3, cpu / elapsed)

    def ended(self) -> None:
        """A caller has its last answer."""
        self._busy -= 1
        if not self._busy and not self._end.done():
            self._end.set_result(None)

    def failed(self, error: Exception) -> None:
        """Nothing that is counted may be wrong: the first wrong answer ends the run."""
        if not self._end.done():
            self._end.set_exception(error)


def _is_whole(data: bytes, head: int) -> bool:
    if head < 0:
        return False
    at = data.find(b"ength:", 0, head)  # content-length in any case: no other header of these servers ends so
    if at < 0:
        return data.endswith(b"0\r\n\r\n")  # in chunks
    return len(data) >= head + 4 + int(data[at + 6 : data.index(b"\r", at)])


def _request(job: Job, body: str) -> bytes:
    head = f"{job.method} {job.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    if job.method == "POST":
        head += f"Content-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n"
    return (head + "\r\n" + body).encode()


def main() -> None:
    job = Job(**json.load(sys.stdin))
    gc.disable()
    try:
        import uvloop

        report = uvloop.run(Load(job).run())
    except ImportError:
        report = asyncio.run(Load(job).run())
    json.dump(asdict(report), sys.stdout)


if __name__ == "__main__":
    main()
