"""Starting and ending the servers that are measured, each on the same core."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.load import Job, Report

HERE = Path(__file__).parent
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]


@dataclass(frozen=True)
class Server:
    """A server that runs: where it listens, and its process."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    def load(self, path: str, bodies: list[str], callers: int, seconds: float, *, expected: str = "", method: str = "POST") -> Report:
        """Load it from the other core."""
        before = self.cpu_seconds()
        job = Job(self.port, path, bodies, callers, seconds, expected, LOAD_CORE, method)
        done = subprocess.run(
            [sys.executable, "-m", "bench.load"],
            input=json.dumps(asdict(job)).encode(),
            stdout=subprocess.PIPE,
            check=True,
            cwd=HERE.parent,
        )
        report = Report(**json.loads(done.stdout))
        return replace(report, cpu_us=(self.cpu_seconds() - before) / report.answers * 1e6)

    def cpu_seconds(self) -> float:
        """The CPU time that its process has used, all threads together; 0 where there is no /proc."""
        if not Path("/proc/self/stat").exists():
            return 0.0
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def call(self, path: str, body: object) -> object:
        """One request."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as response:
            return json.load(response)


@contextmanager
def interlock(app: str, **environment: str) -> Iterator[Server]:
    """An app of `bench/apps`, as `interlock serve` serves it, on new data."""
    with _data() as data:
        command = [sys.executable, "-m", "interlock.cli", "serve", str(HERE / "apps" / app), "--data", str(data), "--port", "{port}"]
        with _running("Interlock", command, "/version", environment) as server:
            yield server


@contextmanager
def starlette_sqlite(**environment: str) -> Iterator[Server]:
    """Starlette with hand-written sqlite3, every commit synced, under uvicorn with httptools and uvloop."""
    with _data() as data:
        command = [sys.executable, "-m", "bench.peers.starlette_sqlite", str(data), "{port}"]
        with _running("Starlette + sqlite3", command, "/empty", environment) as server:
            yield server


@contextmanager
def _running(name: str, command: list[str], ready: str, environment: dict[str, str]) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [part.replace("{port}", str(port)) for part in command]
    process = subprocess.Popen(
        command,
        cwd=HERE.parent,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=(lambda: os.sched_setaffinity(0, {SERVER_CORE})) if hasattr(os, "sched_setaffinity") else None,
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{ready}").close()
                break
            except (urllib.error.URLError, ConnectionError):
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    said = process.stderr.read().decode() if process.stderr else ""
                    raise SystemExit(f"{name} did not start: {' '.join(command)}\n{said}") from None
                time.sleep(0.05)
        yield Server(name, port, process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stderr:
            process.stderr.close()


@contextmanager
def _data() -> Iterator[Path]:
    # Beside the project, not in the system's temporary directory: that may be memory, where nothing has to be synced.
    path = Path(tempfile.mkdtemp(prefix=".bench-", dir=HERE.parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
