"""The load: so many connections, each sending its next request when the answer to the last one is there.

Runs in a process of its own, on the core that the server does not have: `python -m bench.load` reads a job as JSON from
standard input and writes a report as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Job:
    """`bodies` are sent in turn to `path` over `callers` connections for `seconds`; an answer has to contain `expected`."""

    port: int
    path: str
    bodies: list[str]
    callers: int
    seconds: float
    expected: str = ""
    core: int | None = None
    method: str = "POST"


@dataclass(frozen=True)
class Report:
    """Answers, and how long they took: seconds from the first byte sent to the last one received."""

    answers: int
    per_second: float
    p50_ms: float
    p99_ms: float


async def run(job: Job) -> Report:
    """Load a server on this machine."""
    requests = [_request(job, body) for body in job.bodies]
    expected = job.expected.encode()
    took: list[float] = []
    began = time.perf_counter()
    deadline = began + job.seconds

    async def caller(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", job.port)
        turn = number * 7919
        while (sent := time.perf_counter()) < deadline:
            writer.write(requests[turn % len(requests)])
            turn += 1
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            at = head.index(b"content-length:") + 15
            body = await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
            if b" 200 " not in head[:16] or expected not in body:
                raise RuntimeError(f"unexpected answer: {head!r} {body!r}")
            took.append(time.perf_counter() - sent)
        writer.close()

    async with asyncio.TaskGroup() as group:
        for number in range(job.callers):
            group.create_task(caller(number))
    elapsed = time.perf_counter() - began
    took.sort()
    return Report(len(took), len(took) / elapsed, took[len(took) // 2] * 1e3, took[int(len(took) * 0.99)] * 1e3)


def _request(job: Job, body: str) -> bytes:
    head = f"{job.method} {job.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    if job.method == "POST":
        head += f"Content-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n"
    return (head + "\r\n" + body).encode()


def main() -> None:
    job = Job(**json.load(sys.stdin))
    if job.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {job.core})
    try:
        import uvloop

        report = uvloop.run(run(job))
    except ImportError:
        report = asyncio.run(run(job))
    json.dump(asdict(report), sys.stdout)


if __name__ == "__main__":
    main()
