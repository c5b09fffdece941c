"""`interlock serve` as a process: started, asked, looked at from outside, killed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

PROGRAMS = Path(__file__).parent / "programs"
PATIENCE_S = 120.0
GIVES_MEMORY_BACK = {"MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_TRIM_THRESHOLD_": "262144"}
"""For a process whose memory is looked at: glibc would keep up to 64 MiB of what was let go."""


@dataclass(frozen=True)
class Footprint:
    """What a process holds. Read from /proc, so on Linux alone."""

    memory: int
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Footprint:
        status = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
        # RssAnon: pages of files that are mapped come and go as the system likes.
        return cls(int(status["RssAnon"].split()[0]) * 1024, len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"]))  # noqa: PTH208

    def __str__(self) -> str:
        return f"{self.memory / 2**20:.1f} MiB, {self.descriptors} descriptors, {self.threads} threads"


class Server:
    """A server of one app on a data directory. `command` takes the place of `interlock serve <app>`."""

    def __init__(self, app: Path, data: Path, *, command: tuple[str, ...] | None = None, env: Mapping[str, str] | None = None) -> None:
        served = command or (sys.executable, "-m", "interlock.cli", "serve", str(app), "--port", "0")
        self._command = (*served, "--data", str(data))
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK")} | dict(env or {})
        self.output: list[str] = []
        self._answers: asyncio.Queue[str] = asyncio.Queue()
        self.url = ""

    @classmethod
    def handled(cls, app: Path, data: Path, *options: str, env: Mapping[str, str] | None = None) -> Server:
        """One that does what it is told, by `programs/handled.py`."""
        return cls(app, data, command=(sys.executable, str(PROGRAMS / "handled.py"), str(app), *options), env=env)

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, env=self._env, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        self._serving = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read())

    async def serving(self) -> None:
        """Until it takes requests."""
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.shield(self._serving)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def text(self) -> str:
        """All that it has said."""
        return "".join(self.output)

    @property
    def footprint(self) -> Footprint:
        return Footprint.of(self.pid)

    async def told(self, command: str) -> str:
        """What a handled server answers: "done", or why it could not be."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        async with asyncio.timeout(PATIENCE_S):
            return await self._answers.get()

    async def alive(self) -> tuple[int, int]:
        """In a handled server: functions, classes and modules; and objects that belong to connections."""
        code, connections = (await self.told("alive")).split()
        return int(code), int(connections)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    async def end(self, number: int) -> int:
        """Send it a signal, and wait for its end: the exit code. Raises AssertionError when it has printed a traceback."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """Its exit code, once it has ended by itself."""
        async with asyncio.timeout(PATIENCE_S):
            code = await self._process.wait()
            await self._reading
        if "Traceback" in self.text:
            raise AssertionError(self.text)
        return code

    async def __aenter__(self) -> Server:
        await self.start()
        try:
            await self.serving()
        except BaseException:
            self.kill()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._process.returncode is None:
            self.kill()
            await self._process.wait()
            await self._reading
        if kind is not None:
            print(self.text)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.output.append(line.decode(errors="replace"))
            if self.output[-1].startswith("> "):
                self._answers.put_nowait(self.output[-1][2:].strip())
            if "Serving" in self.output[-1] and not self._serving.done():
                self.url = self.output[-1].split(" at ")[1].split(",")[0].strip()
                self._serving.set_result(None)
        if not self._serving.done():
            self._serving.set_exception(AssertionError(f"it ended before it served:\n{self.text}"))
            self._serving.exception()  # a kill during the start is nobody's surprise

    async def call(self, kind: str, name: str, /, **args: Any) -> Any:
        """The value of a query, mutation or action, over HTTP."""
        answer = (await self.post(kind, name, args)).json()
        assert answer.get("status") == "success", answer
        return answer["value"]

    async def query(self, name: str, /, **args: Any) -> Any:
        return await self.call("query", name, **args)

    async def post(self, kind: str, name: str, args: Mapping[str, Any]) -> httpx.Response:
        """The response itself, whatever it is."""
        # verify=False: to read all certificates takes longer than the call, and there are none here.
        async with httpx.AsyncClient(timeout=PATIENCE_S, verify=False) as client:
            return await client.post(f"{self.url}/api/{kind}", json={"path": name, "args": args, "format": "json"})
