"""Starting and ending the servers that are measured, each on the same core, or on all.

Start at `Servers.get`. What each of them takes to be started is in `START`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from bench.load import Job, Report

HERE = Path(__file__).parent
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100

INTERLOCK = "Interlock"
STARLETTE = "Starlette + sqlite3"
FASTAPI = "FastAPI + SQLAlchemy + aiosqlite"
POCKETBASE = "PocketBase"
POSTGRES = "Postgres, no HTTP"
REDIS = "Redis, no HTTP"
BARE = "the bare server"
FREE = "Interlock, on all cores"
"""As it is started without a core named, its workers wherever the system puts them."""


class Missing(Exception):
    """A peer is not here. The text says which, and how to get it."""


@dataclass(frozen=True)
class Server:
    """A server that runs: where it listens, its process, where its data is, and on which core it runs (None: on all)."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    data: Path
    core: int | None = SERVER_CORE

    def load(self, path: str, bodies: Sequence[str], callers: int, seconds: float, *, expected: str = "", method: str = "POST") -> Report:
        """Load it from the other core; where it has all, so has the load, else it would take one away from the server's sandbox."""
        before = self.cpu_seconds()
        job = Job(self.port, path, list(bodies), callers, seconds, expected, method)
        core = None if self.core is None else LOAD_CORE
        report = Report(**json.loads(printed([sys.executable, "-m", "bench.load"], json.dumps(asdict(job)), core=core)))
        return replace(report, cpu_us=(self.cpu_seconds() - before) / report.answers * 1e6)

    def cpu_seconds(self) -> float:
        """The CPU time that its process and all below it have used, a sandbox's workers too; 0 where there is no /proc."""
        used: dict[int, tuple[int, int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                pid, _, rest = stat.read_text().partition(" (")
            except OSError:  # it has ended meanwhile
                continue
            fields = rest.rpartition(")")[2].split()
            # Of the server itself those too that have ended.
            used[int(pid)] = int(fields[1]), sum(map(int, fields[11:15] if int(pid) == self.process.pid else fields[11:13]))
        total, family = 0, {self.process.pid}
        while family:
            total += sum(used[pid][1] for pid in family if pid in used)
            family = {pid for pid, (parent, _) in used.items() if parent in family}
        return total / _TICKS

    def memory_mib(self) -> float:
        """What of its memory is in use, MiB (resident, as Linux counts it)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def post(self, path: str, body: object) -> object:
        """One request."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=600) as response:
            return json.load(response)

    def call(self, kind: str, function: str, **args: object) -> object:
        """The result of one call of a function of Interlock."""
        answer = self.post(f"/api/{kind}", {"path": function, "args": args})
        assert isinstance(answer, dict)
        if answer["status"] != "success":
            raise RuntimeError(f"{function} failed: {answer}")
        return answer["value"]


class Servers:
    """Servers by name, started when first asked for, ended together."""

    def __init__(self) -> None:
        self._running: dict[str, Server] = {}
        self._stacks: dict[str, ExitStack] = {}

    def get(self, name: str) -> Server:
        """Raises Missing."""
        return self.get_or(name, START[name])

    def get_or(self, name: str, start: Callable[[], AbstractContextManager[Server]]) -> Server:
        """One that is started in a way of its own."""
        if name not in self._running:
            stack = self._stacks[name] = ExitStack()
            self._running[name] = stack.enter_context(start())
        return self._running[name]

    def end(self, name: str) -> None:
        """End one, and keep its data until all are ended."""
        server = self._running.pop(name)
        server.process.terminate()
        server.process.wait(30)

    def close(self) -> None:
        for stack in self._stacks.values():
            stack.close()
        self._stacks.clear()
        self._running.clear()


def on_load_core(command: list[str], given: str = "") -> str:
    """What a program prints that runs on the core that no server has. Raises RuntimeError with what it complains about."""
    return printed(command, given, core=LOAD_CORE)


def printed(command: list[str], given: str = "", *, core: int | None = None) -> str:
    """The same on this core, or on all of them."""
    done = subprocess.run(command, input=given.encode(), capture_output=True, cwd=HERE.parent, preexec_fn=pinned(core))
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.decode()[-1500:]}")
    return done.stdout.decode()


@contextmanager
def running(
    name: str,
    command: list[str],
    data: Path,
    is_ready: Callable[[int], bool],
    *,
    user: int | None = None,
    poll_s: float = 0.05,
    core: int | None = SERVER_CORE,
) -> Iterator[Server]:
    """Run a command on the core of the servers, or on all, until the block ends. "{port}" and "{data}" in it are filled in."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [part.replace("{port}", str(port)).replace("{data}", str(data)) for part in command]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, cwd=HERE.parent, stdout=subprocess.DEVNULL, stderr=said, preexec_fn=pinned(core), user=user)
        try:
            deadline = time.monotonic() + 60
            while not is_ready(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    said.seek(0)
                    raise RuntimeError(f"{name} did not start: {' '.join(command)}\n{said.read().decode()[-1500:]}")
                time.sleep(poll_s)
            yield Server(name, port, process, data, core)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def pinned(core: int | None) -> Callable[[], None] | None:
    """What keeps a new process on one core, where there is a way; none for one that may have all."""
    return (lambda: os.sched_setaffinity(0, {core})) if core is not None and hasattr(os, "sched_setaffinity") else None


@contextmanager
def new_data(owner: int | None = None) -> Iterator[Path]:
    """An empty directory, gone with the block. Beside the project, not in the system's temporary directory: that may be memory."""
    path = Path(tempfile.mkdtemp(prefix=".bench-", dir=HERE.parent))
    if owner is not None:
        os.chown(path, owner, -1)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def answers(path: str, port: int) -> bool:
    """Whether a GET is answered."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).close()
    except OSError:
        return False
    return True


@contextmanager
def interlock(data: Path | None = None, poll_s: float = 0.05, app: str = "app", *, core: int | None = SERVER_CORE) -> Iterator[Server]:
    """An app of the benchmarks, as `interlock serve` serves it, by default on new data."""
    with ExitStack() as stack:
        data = data or stack.enter_context(new_data())
        command = [sys.executable, "-m", "interlock.cli", "serve", str(HERE / app), "--data", "{data}", "--port", "{port}"]
        yield stack.enter_context(running(INTERLOCK, command, data, partial(answers, "/version"), poll_s=poll_s, core=core))


@contextmanager
def interlock_with(synchronous: str = "FULL", memory_mib: int = 256, data: Path | None = None) -> Iterator[Server]:
    """The same with settings that its command line has not."""
    with ExitStack() as stack:
        data = data or stack.enter_context(new_data())
        command = [sys.executable, "-m", "bench.serve", "{data}", "{port}", synchronous, str(memory_mib)]
        yield stack.enter_context(running(INTERLOCK, command, data, partial(answers, "/version")))


@contextmanager
def _module(name: str, module: str, ready: str) -> Iterator[Server]:
    with new_data() as data:
        command = [sys.executable, "-m", f"bench.peers.{module}", "{data}", "{port}"]
        with running(name, command, data, partial(answers, ready)) as server:
            yield server


@contextmanager
def _fastapi() -> Iterator[Server]:
    for package in ("fastapi", "sqlalchemy", "aiosqlite"):
        if importlib.util.find_spec(package) is None:
            raise Missing(f"{package} is not installed: make bench installs it")
    with _module(FASTAPI, "fastapi_sqlalchemy", "/empty") as server:
        yield server


@contextmanager
def _pocketbase() -> Iterator[Server]:
    program = shutil.which("pocketbase", path=str(Path(sys.executable).parent)) or shutil.which("pocketbase")
    if program is None:
        raise Missing("pocketbase is not installed: make bench installs it")
    files = HERE / "peers" / "pocketbase"
    folders = {"dir": "{data}/data", "hooksDir": str(files / "hooks"), "migrationsDir": str(files / "migrations"), "publicDir": "{data}"}
    command = [program, "serve", "--http=127.0.0.1:{port}", "--hooksWatch=false", "--automigrate=false"]
    with new_data() as data:
        command += [f"--{option}={folder}" for option, folder in folders.items()]
        with running(POCKETBASE, command, data, partial(answers, "/api/health")) as server:
            yield server


def _postgres() -> AbstractContextManager[Server]:
    from bench.peers import postgres

    return postgres.start()


def _redis() -> AbstractContextManager[Server]:
    from bench.peers import redis

    return redis.start()


START: dict[str, Callable[[], AbstractContextManager[Server]]] = {
    INTERLOCK: interlock,
    FREE: partial(interlock, core=None),
    STARLETTE: partial(_module, STARLETTE, "starlette_sqlite", "/empty"),
    FASTAPI: _fastapi,
    POCKETBASE: _pocketbase,
    POSTGRES: _postgres,
    REDIS: _redis,
    BARE: partial(_module, BARE, "bare", "/"),
}
