"""Data that outlives its backend: the same directory under code that changes, under processes that end in good order or crash."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from interlock import App, Backend, Component
from interlock.testing import VirtualClock
from interlock.testing.isolation import default

START_MS = 1_767_225_600_000.0


class Deployment:
    """A data directory and a clock. Each `start` is a new process on it."""

    def __init__(self, folder: Path) -> None:
        self.clock = VirtualClock(START_MS)
        self._folder = folder
        self._lives = 0
        self._data = folder / "data"

    @asynccontextmanager
    async def start(self, source: App | Component | Path, *, env: Mapping[str, str] | None = None) -> AsyncIterator[Backend]:
        """Deploy `source` and serve it. A deploy that is refused raises here."""
        self._lives += 1  # one seed twice would make the same ids twice
        backend = Backend(source, data=self._data, clock=self.clock, isolation=default.isolation, env=env or {}, seed=self._lives)
        async with backend:
            yield backend

    def crash(self) -> None:
        """From here on the data is what is on the disk at this moment; the process that is running knows nothing of it."""
        image = self._folder / f"image_{self._lives}"
        shutil.copytree(self._data, image)
        self._data = image

    async def pass_time(self, backend: Backend, seconds: float) -> None:
        """Let time pass, from one timer to the next, and let everything that becomes due run."""
        until_ms = self.clock.now_ms() + seconds * 1000.0
        await backend.scheduler.wait_idle()
        while (next_ms := self.clock.next_timer_ms()) is not None and next_ms <= until_ms:
            self.clock.move_to(next_ms)
            await backend.scheduler.wait_idle()
        self.clock.move_to(until_ms)
        await backend.scheduler.wait_idle()


async def ask(backend: Backend, function: str, component_path: str = "", **args: Any) -> Any:
    """Call any function of any instance, as an admin may."""
    return (await backend.call_any(function, args, component_path, admin=True)).value
