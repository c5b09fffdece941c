"""Serves an app while it is being written.

Every save is taken over while clients stay connected; code that does not start is refused with its reason, and what ran before
goes on. Start at `Session.serve`.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from interlock.cli.app_directory import data_directory, data_place
from interlock.cli.check import nondeterminism_of
from interlock.cli.console import print_error, say, warn
from interlock.cli.generated import write_generated
from interlock.cli.logs import CallLog
from interlock.errors import InterlockError, MountError, SchemaError
from interlock.mounting.app_package import GENERATED

if TYPE_CHECKING:
    from interlock.backend import Backend


async def start_once(app: Path, data: str | None) -> int:
    """Start as `dev` does, without a port. How many things were found that have to be mended."""
    from interlock.backend import Backend
    from interlock.cli.running import RunningServer

    directory = data_directory(app, data)
    place = data_place(app, data)
    if directory is not None and RunningServer.of(directory) is not None:
        say(f"A server has {directory} open, so its documents are not checked.")
        place = ":memory:"
    async with Backend(app, data=place, dev=True) as backend:
        findings = _after_start(app, backend)
    say(f"{app.name} starts.")
    return findings


class Session:
    """One run of `dev`, from the first try to the signal that ends it."""

    def __init__(self, app: Path, data: str | None) -> None:
        self._app, self._data = app, data
        self._backend = self._new_backend()
        self._has_started = False
        self._saved = asyncio.Event()

    async def serve(self, host: str, port: int) -> None:
        """Serve as soon as the app can start: what stands in the way is told, and every save is another try."""
        watching = asyncio.create_task(self._watch())
        # The watch stands before anything is read, so no save falls between the two.
        await asyncio.sleep(0)
        try:
            while not await self._serves(host, port):
                say("Waiting for a change.")
                await self._saved.wait()
                self._saved.clear()
                self._backend = self._new_backend()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _serves(self, host: str, port: int) -> bool:
        """Whether the app could start; then this returns when it has been stopped."""
        from interlock.cli.serving import serve_backend

        data_in = data_directory(self._app, self._data)
        try:
            await serve_backend(
                self._backend, host=host, port=port, data_directory=data_in, started=self._started, beside=self._take_over_changes
            )
        except (MountError, SchemaError) as error:
            if self._has_started:
                raise
            print_error(error)
            return False
        return True

    def _new_backend(self) -> Backend:
        from interlock.backend import Backend

        return Backend(self._app, data=data_place(self._app, self._data), dev=True, plugins={"call log": CallLog()})

    def _started(self, url: str) -> None:
        self._has_started = True
        _after_start(self._app, self._backend)
        say(f"Serving {self._app.name} at {url}")

    async def _take_over_changes(self) -> None:
        while True:
            await self._saved.wait()
            self._saved.clear()
            began = time.perf_counter()
            try:
                await self._backend.reload()
            except InterlockError as error:
                print_error(error)
                say("The code from before goes on.")
            except Exception:
                traceback.print_exc()
                say("The code from before goes on.")
            else:
                say(f"Reloaded in {(time.perf_counter() - began) * 1000:.0f} ms")
                _after_start(self._app, self._backend)

    async def _watch(self) -> None:
        """Tells every save of something that the app is made of."""
        from watchfiles import Change, DefaultFilter, awatch

        in_sources = DefaultFilter()

        def is_source(change: Change, path: str) -> bool:
            return path.endswith(".py") and Path(path).name != GENERATED and in_sources(change, path)

        async for _ in awatch(self._app, watch_filter=is_source, step=20, debounce=400):
            self._saved.set()


def _after_start(app: Path, backend: Backend) -> int:
    """What follows a start: the typed components, the warnings. How many things were found that have to be mended."""
    try:
        if write_generated(app, backend.tree.root):
            say(f"Wrote {GENERATED}")
    except OSError as error:
        warn(f"{GENERATED} cannot be written ({error.strerror or error}): editors see the components of an earlier start, or none.")
    for warning in backend.tree.warnings:
        warn(warning)
    findings = nondeterminism_of(backend.tree)
    for finding in findings:
        warn(str(finding))
    return len(findings)
