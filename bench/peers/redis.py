"""Redis, where it is installed: `INCR`, every answer after the sync of its log, loaded by its own redis-benchmark, without HTTP."""

from __future__ import annotations

import csv
import shutil
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from bench.load import Report
from bench.servers import REDIS, Missing, Server, new_data, on_load_core, running


def start() -> AbstractContextManager[Server]:
    """A new server whose log is synced before each answer."""
    return _start("--appendonly", "yes", "--appendfsync", "always")


def start_in_memory() -> AbstractContextManager[Server]:
    """A new server that writes nothing."""
    return _start("--appendonly", "no")


@contextmanager
def _start(*options: str) -> Iterator[Server]:
    program = shutil.which("redis-server")
    if program is None or shutil.which("redis-benchmark") is None:
        raise Missing("redis-server is not installed")
    with new_data() as data:
        command = [program, "--port", "{port}", "--dir", "{data}", *options, "--save", ""]
        with running(REDIS, command, data, _listens) as server:
            yield server


def load(server: Server, callers: int, seconds: float, *, is_hot: bool) -> Report:
    """Load it. redis-benchmark takes a number of requests and no time: about as many as it does in that time."""
    count = int(seconds * min(1_000 * callers, 30_000))
    cpu = server.cpu_seconds()
    command = ["redis-benchmark", "-p", str(server.port), "-c", str(callers), "-n", str(count), "--csv"]
    command += ["INCR", "hot"] if is_hot else ["-r", "1000", "INCR", "c:__rand_int__"]
    (row,) = csv.DictReader(on_load_core(command).splitlines())
    return Report(
        count,
        float(row["rps"]),
        float(row["p50_latency_ms"]),
        float(row["p99_latency_ms"]),
        cpu_us=(server.cpu_seconds() - cpu) / count * 1e6,
    )


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
