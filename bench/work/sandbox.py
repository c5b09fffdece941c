"""Components in the sandbox: beside the same ones inline, on their own, and as neighbours of whom the app is to feel nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from bench.programs import program
from bench.rows import Figures, Row, Run, Work
from bench.servers import FREE, INTERLOCK, Server, Servers, interlock
from bench.work.http import calls, figures, interlock_body

INLINE = "Interlock, inline"
ALONE = "nobody beside it"
ATTACKS = {
    "cpu": "burns cpu",
    "talk": "burns cpu and talks meanwhile",
    "memory": "burns memory",
    "frames": "floods the host with frames",
    "logs": "floods the host with logs",
    "jobs": "floods the host with jobs",
}
_COUNTED_AT_ONCE = 250
_SAMPLE_SECONDS = 0.02
_BETWEEN_SECONDS = 0.05
_MIB = "memory growth MiB"


def total(is_sealed: bool, names: int) -> Callable[[Server], float]:
    def of(server: Server) -> float:
        found = 0.0
        for first in range(0, names, _COUNTED_AT_ONCE):
            some = min(_COUNTED_AT_ONCE, names - first)
            value = server.call("query", "counters:total_of_mount", is_sealed=is_sealed, first=first, names=some)
            assert isinstance(value, float)
            found += value
        return found

    return of


def add(is_sealed: bool, names: int, callers: int) -> Run:
    function = "counters:add_sealed" if is_sealed else "counters:add_sharded"
    bodies = [interlock_body(function, name=f"c{n}") for n in range(names)]
    return calls("mutation", bodies, callers, total=total(is_sealed, names), of=FREE)


def sharded_counter(names: int, callers: int) -> Work:
    rows = [Row("no update is lost", "lost", at_most=0, decimals=0)]
    if callers > 1:
        rows.append(Row("sandboxed : inline", "per_second", over=INLINE, at_least=0.7))
    else:
        rows.append(Row("p50, sandboxed - inline, ms", "p50_ms", minus=INLINE, at_most=0.12))
    many = "one name" if names == 1 else f"{names:,} names"
    return Work(
        f"sharded_counter in the sandbox, {many}, {callers} caller{'s' * (callers > 1)}",
        {INTERLOCK: add(True, names, callers), INLINE: add(False, names, callers)},
        rows,
        times=3,
    )


def beside(attack: str | None) -> Run:
    """The app's own mutations, one caller, while a component of its does its worst; and by how much the server's memory grows."""

    def run(servers: Servers, seconds: float) -> Figures:
        server = servers.get_or("Interlock, with a hostile component", partial(interlock, app="sandbox_app", core=None))
        bodies = [interlock_body("calls:add", name="a")]
        server.load("/api/mutation", bodies, 1, 0.2, expected='"success"')
        before = server.memory_mib()
        with attacked(server, attack), sampled(server) as sizes:
            time.sleep(0.1)
            report = server.load("/api/mutation", bodies, 1, seconds, expected='"success"')
        return {**figures(report), _MIB: max(sizes) - before}

    return run


def beside_jobs(servers: Servers, seconds: float) -> Figures:
    """The same on a server of its own, for its jobs never end."""
    with interlock(app="sandbox_app", core=None) as server:
        bodies = [interlock_body("calls:add", name="a")]
        server.load("/api/mutation", bodies, 1, 0.2, expected='"success"')
        before = server.memory_mib()
        server.call("mutation", "calls:plant")
        with sampled(server) as sizes:
            time.sleep(1.0)  # there are many by then
            report = server.load("/api/mutation", bodies, 1, seconds, expected='"success"')
    return {**figures(report), _MIB: max(sizes) - before}


@contextmanager
def attacked(server: Server, attack: str | None) -> Iterator[None]:
    """Somebody calls the hostile function, again and again, until the block ends."""
    over = threading.Event()
    heard: list[object] = []

    def go_on() -> None:
        while not over.wait(_BETWEEN_SECONDS if heard else 0.0):  # the caller is honest, and no load itself
            heard.append(server.call("action", "calls:attack", how=attack, seconds=2.0))

    thread = threading.Thread(target=go_on)
    if attack is not None:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if attack is not None:
            thread.join()
            assert heard, "there was no attack"
            assert not [how for how in heard if "it came back" in str(how) or "broke the protocol" in str(how)], heard


@contextmanager
def sampled(server: Server) -> Iterator[list[float]]:
    """The server's memory, MiB, every so often until the block ends."""
    over = threading.Event()
    sizes = [server.memory_mib()]

    def sample() -> None:
        while not over.wait(_SAMPLE_SECONDS):
            sizes.append(server.memory_mib())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield sizes
    finally:
        over.set()
        thread.join()


def neighbour(attack: str) -> Work:
    """A component that burns, hoards or floods, and the app beside it."""
    return Work(
        f"the app's own mutations beside a component that {ATTACKS[attack]}",
        {INTERLOCK: beside_jobs if attack == "jobs" else beside(attack), ALONE: beside(None)},
        [
            Row("p99 : p99 when quiet", "p99_ms", over=ALONE, at_most=1.2),
            Row("memory growth of the host, MiB", _MIB, at_most=32, decimals=0),
        ],
        times=5,  # one p99 over another varies by a third
    )


WORKS = [
    sharded_counter(1, 1),
    sharded_counter(1, 64),
    sharded_counter(1_000, 64),
    Work(
        "call of a sandboxed component that does nothing",
        {INTERLOCK: program("sandboxes", "calls")},
        [
            Row("p50, ms", "p50_ms", at_most=0.2, decimals=3),
            Row("p99, processors awake, ms", "p99_ms", at_most=0.5, decimals=3),
            Row("p99 as it is, ms", "as it is, p99 ms", at_most=0.5, decimals=3),
        ],
        warm_up=False,
        times=3,
    ),
    Work(
        "a worker, from nothing to the first answer of its component",
        {INTERLOCK: program("sandboxes", "start")},
        [
            Row("p50, ms", "quiet, p50 ms", at_most=6, decimals=1),
            Row("p50 with pydantic models, ms", "modelled, p50 ms", at_most=60, decimals=1),
        ],
        warm_up=False,
    ),
    Work(
        "memory of 50 sandboxed mounts",
        {INTERLOCK: program("sandboxes", "memory")},
        [
            Row("own memory of an idle worker, MiB", "own MiB", at_most=4),
            Row("backend, zygote and 50 workers, MiB", "in all MiB", at_most=300, decimals=0),
        ],
        warm_up=False,
    ),
    Work(
        "a component that spins past its deadline of 200 ms",
        {INTERLOCK: program("sandboxes", "deadline")},
        [
            row
            for how, says in (("cpu", "in Python"), ("regex", "in C"))
            for row in (
                Row(f"{says}: answered after, ms", f"{how}: answered ms", at_most=220, decimals=1),
                Row(f"{says}: the next call, ms", f"{how}: next ms", at_most=20, decimals=1),
            )
        ],
        warm_up=False,
    ),
    *map(neighbour, ATTACKS),
]
