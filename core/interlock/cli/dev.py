"""`interlock dev`: serves an app while it is being written.

Every save is taken over while clients stay connected; code that does not start is refused with its reason, and what ran before
goes on.
"""

from __future__ import annotations

import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.address import DEFAULT_HOST, DEFAULT_PORT, Host, Port
from interlock.cli.app_directory import Data, Directory, data_directory, data_place, find_app
from interlock.cli.console import errors_reported, print_error, say, warn
from interlock.cli.exits import Exit
from interlock.cli.generated import GENERATED, write_generated
from interlock.errors import InterlockError, MountError, SchemaError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from interlock.backend import Backend


def dev(
    directory: Directory = None,
    host: Host = DEFAULT_HOST,
    port: Port = DEFAULT_PORT,
    data: Data = None,
    once: Annotated[bool, typer.Option("--once", help="Start, write _generated.py, say what is to be said, and end.")] = False,
) -> None:
    """Serve an app and take over every change of its code.

    Writes _generated.py, where the mounted components are typed: from ._generated import components.

    \b
    Examples:
      interlock dev
      interlock dev myapp --port 3300
      interlock dev --once
    """
    from interlock.cli.logs import configure_logs
    from interlock.server.serve import bind, run

    with errors_reported():
        app = find_app(directory)
        configure_logs(readable=True)
        if once:
            run(_once(app, data))
        else:
            # A port that is taken is told at once; what is wrong with the app may be mended while we wait.
            bind(host, port).close()
            run(_Session(app, data).serve(host, port))


async def _once(app: Path, data: str | None) -> None:
    """Start as `dev` does, without a port."""
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
    if findings:
        raise typer.Exit(Exit.FAILED)


class _Session:
    """One run of `dev`, from the first try to the signal that ends it."""

    def __init__(self, app: Path, data: str | None) -> None:
        self._app, self._data = app, data
        self._backend = self._new_backend()
        self._has_started = False

    async def serve(self, host: str, port: int) -> None:
        """Serve as soon as the app can start: what stands in the way is told, and every save is another try."""
        from interlock.cli.serving import serve_backend

        while True:
            try:
                return await serve_backend(
                    self._backend,
                    host=host,
                    port=port,
                    data_directory=data_directory(self._app, self._data),
                    started=self._started,
                    beside=self._take_over_changes,
                )
            except (MountError, SchemaError) as error:
                if self._has_started:
                    raise
                print_error(error)
                say("Waiting for a change.")
                await anext(self._saves())
                self._backend = self._new_backend()

    def _new_backend(self) -> Backend:
        from interlock.backend import Backend

        return Backend(self._app, data=data_place(self._app, self._data), dev=True)

    def _started(self, url: str) -> None:
        self._has_started = True
        _after_start(self._app, self._backend)
        say(f"Serving {self._app.name} at {url}")

    async def _take_over_changes(self) -> None:
        async for _ in self._saves():
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

    async def _saves(self) -> AsyncIterator[None]:
        """One item for each save of something that the app is made of."""
        from watchfiles import Change, DefaultFilter, awatch

        in_sources = DefaultFilter()

        def is_source(change: Change, path: str) -> bool:
            return path.endswith(".py") and Path(path).name != GENERATED and in_sources(change, path)

        async for _ in awatch(self._app, watch_filter=is_source, step=20, debounce=400):
            yield


def _after_start(app: Path, backend: Backend) -> int:
    """What follows a start: the typed components, the warnings. How many things were found that have to be mended."""
    from interlock.cli.check import nondeterminism_of

    if write_generated(app, backend.tree.root):
        say(f"Wrote {GENERATED}")
    for warning in backend.tree.warnings:
        warn(warning)
    findings = nondeterminism_of(backend.tree)
    for finding in findings:
        warn(str(finding))
    return len(findings)
