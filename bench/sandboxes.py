"""`python -m bench.sandboxes calls|start|memory|deadline`: what an isolated component costs, in an embedded backend.

Prints figures as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Literal

from interlock import App, Backend, DeadlineExceeded, components
from interlock.functions.caller import Caller
from interlock.sandbox.pool import Pool
from interlock.sandbox.zygote import shared

APP = Path(__file__).parent / "sandbox_app"
CALLS, AT_ONCE, STARTS, DEADLINES, MOUNTS = 4_000, 200, 40, 5, 50
Figures = dict[str, float]
_numbers = count()


def settle() -> None:
    """As `interlock serve` sets the collector."""
    gc.freeze()
    gc.set_threshold(50_000, 50, 1_000)


def at(took: list[float], share: float) -> float:
    return sorted(took)[int(len(took) * share)]


async def calls(backend: Backend) -> Figures:
    """One call after the other of a mutation that does nothing, from one of the app: as it is, and with the processors kept awake."""
    await backend.mutation("calls:no_ops", count=AT_ONCE)
    as_it_is = await no_ops(backend)
    with awake():
        took = await no_ops(backend)
    return {"p50_ms": at(as_it_is, 0.5), "p99_ms": at(took, 0.99), "as it is, p99 ms": at(as_it_is, 0.99)}


async def no_ops(backend: Backend) -> list[float]:
    """How many milliseconds each call took."""
    took: list[float] = []
    for _ in range(CALLS // AT_ONCE):
        took += await backend.mutation("calls:no_ops", count=AT_ONCE)
    return took


@contextmanager
def awake() -> Iterator[None]:
    """No processor halts until the block ends, as if the kernel was started with idle=poll. Two processes that answer each other in 0.1 ms
    halt one each time, and a hypervisor that does other things may take 0.5 ms to wake it.
    """
    if not hasattr(os, "SCHED_IDLE"):
        yield
        return
    burn = "import os; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)); os.sched_setaffinity(0, {%d})\nwhile True: pass"
    burning = [subprocess.Popen([sys.executable, "-c", burn % core]) for core in os.sched_getaffinity(0)]
    try:
        time.sleep(0.2)  # they have begun
        yield
    finally:
        for one in burning:
            one.kill()
            one.wait()


async def start(backend: Backend) -> Figures:
    """From no worker to the first answer of its component: forked, confined, loaded, called."""
    figures = {}
    for mount in ("quiet", "modelled"):
        took = []
        for _ in range(STARTS):
            pool_of(backend, mount).retire()
            await asyncio.sleep(0.02)
            took.append(await timed(call(backend, mount, "nothing")))
        figures[f"{mount}, p50 ms"] = statistics.median(took)
    return figures


def pool_of(backend: Backend, mount: str) -> Pool:
    """The workers of a mount."""
    pool = backend.dispatcher.runners.pool(mount)
    assert pool is not None
    return pool


async def call(backend: Backend, mount: str, name: str, kind: Literal["query", "action"] = "query") -> None:
    """A function of a mount, called by the app."""

    async def below(ctx: Any) -> None:
        args = {"n": next(_numbers)} if name == "nothing" else {}  # what was asked before might be answered without a worker
        await (ctx.run_query if kind == "query" else ctx.run_action)(components[mount][name], **args)

    await backend.dispatcher.run(below, kind=kind, caller=Caller(admin=True, source="test", request_id=""))


async def timed(call: Awaitable[object]) -> float:
    """How many milliseconds it takes."""
    began = time.perf_counter()
    await call
    return (time.perf_counter() - began) * 1e3


async def deadline(backend: Backend) -> Figures:
    """Of a call that spins past its deadline of 200 ms: when it is answered, and how long the next call of the mount then takes."""
    figures = {}
    await call(backend, "hostile", "nothing")  # the zygote is warm from here on
    for how in ("cpu", "regex"):
        answered, after = [], []
        for _ in range(DEADLINES):
            await call(backend, "short", "nothing")
            answered.append(await timed(refused(backend, how)))
            after.append(await timed(call(backend, "short", "nothing")))
            await asyncio.sleep(0.3)
        figures[f"{how}: answered ms"] = statistics.median(answered)
        figures[f"{how}: next ms"] = statistics.median(after)
    return figures


async def refused(backend: Backend, how: str) -> None:
    try:
        await call(backend, "short", how, "action")
    except DeadlineExceeded:
        return
    raise AssertionError("it was to meet its deadline")


async def memory() -> Figures:
    """What a worker has of its own when it has answered and rests, and what a backend with 50 of them takes in all, each page once."""
    sys.path.insert(0, str(APP.parent))
    from bench.sandbox_app.quiet import quiet

    app = App()
    for number in range(MOUNTS):
        app.use(quiet, name=f"quiet_{number}")
    with tempfile.TemporaryDirectory() as data:
        async with Backend(app, data=data) as backend:
            for number in range(MOUNTS):
                await call(backend, f"quiet_{number}", "nothing")
            await asyncio.sleep(0.3)  # they are frozen by then
            pids = [pid for n in range(MOUNTS) for pid in pool_of(backend, f"quiet_{n}").pids]
            own = [sum(rolled_up(pid, "Private_Clean", "Private_Dirty")) for pid in pids]
            zygote = shared().pid
            workers = children(zygote)
            assert len(own) == MOUNTS and set(pids) < set(workers)  # and one that stands ready
            whole = sum(sum(rolled_up(pid, "Pss")) for pid in (os.getpid(), zygote, *workers))
    return {"own MiB": statistics.median(own) / 1024, "in all MiB": whole / 1024}


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def rolled_up(pid: int | None, *names: str) -> list[int]:
    """KiB of memory of a process, as the kernel divides it up."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return [int(line.split()[1]) for line in lines if line.partition(":")[0] in names]


async def main(what: str) -> None:
    if what == "memory":
        figures = await memory()
    else:
        with tempfile.TemporaryDirectory() as data:
            async with Backend(APP, data=data) as backend:
                settle()
                figures = await {"calls": calls, "start": start, "deadline": deadline}[what](backend)
    print(json.dumps(figures))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
