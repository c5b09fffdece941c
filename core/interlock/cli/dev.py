"""`interlock dev`: serves an app while it is being written.

Every save is taken over while clients stay connected; code that does not start is refused with its reason, and what ran before
goes on.
"""

from __future__ import annotations

import time
import traceback
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.address import DEFAULT_HOST, DEFAULT_PORT, Host, Port, SitePort
from interlock.cli.app_directory import Data, Directory, data_directory, data_place, find_app
from interlock.cli.console import errors_reported, print_error, say, warn
from interlock.cli.exits import Exit
from interlock.errors import InterlockError, MountError, SchemaError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from interlock.backend import Backend
    from interlock.cli.serving import Listener


def dev(
    directory: Directory = None,
    host: Host = DEFAULT_HOST,
    port: Port = DEFAULT_PORT,
    site_port: SitePort = None,
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
    from interlock.cli.serving import Listener, run_loop

    with errors_reported():
        app = find_app(directory)
        configure_logs(readable=True)
        if once:
            run_loop(_once(app, data))
            return
        listener = Listener(host, port, site_port)
        try:
            run_loop(_Session(app, data, listener).run())
        finally:
            listener.close()


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
    """One run of `dev`, from the first start that works to the signal that ends it."""

    def __init__(self, app: Path, data: str | None, listener: Listener) -> None:
        self._app, self._data, self._listener = app, data, listener

    async def run(self) -> None:
        async with AsyncExitStack() as stack:
            backend = await self._start(stack)
            _after_start(self._app, backend)
            say(
                f"Serving {self._app.name} at {self._listener.url}"
                + (f", its HTTP routes at {self._listener.site_url}" if self._listener.site_url else "")
            )
            await self._listener.serve(backend, data_directory(self._app, self._data), beside=self._take_over_changes(backend))

    async def _start(self, stack: AsyncExitStack) -> Backend:
        """The app as soon as it can start: what stands in the way is told, and every save is another try."""
        from interlock.backend import Backend

        saves = self._saves()
        while True:
            try:
                return await stack.enter_async_context(Backend(self._app, data=data_place(self._app, self._data), dev=True))
            except (MountError, SchemaError) as error:
                print_error(error)
                say("Waiting for a change.")
                await anext(saves)

    async def _take_over_changes(self, backend: Backend) -> None:
        async for _ in self._saves():
            began = time.perf_counter()
            try:
                await backend.reload()
            except InterlockError as error:
                print_error(error)
                say("The code from before goes on.")
            except Exception:
                traceback.print_exc()
                say("The code from before goes on.")
            else:
                say(f"Reloaded in {(time.perf_counter() - began) * 1000:.0f} ms")
                _after_start(self._app, backend)

    async def _saves(self) -> AsyncIterator[None]:
        """One item for each save of something that the app is made of."""
        from watchfiles import DefaultFilter, awatch

        def is_source(_: object, path: str) -> bool:
            return path.endswith(".py") and not Path(path).name.startswith("_generated.") and in_sources(_, path)  # type: ignore[arg-type]

        in_sources = DefaultFilter()
        async for _ in awatch(self._app, watch_filter=is_source, step=20, debounce=400):
            yield


def _after_start(app: Path, backend: Backend) -> int:
    """What follows a start: the typed components, the warnings. How many things were found that have to be mended."""
    from interlock.cli.check import nondeterminism_of
    from interlock.cli.generated import write_generated

    if write_generated(app, backend.tree.root):
        say("Wrote _generated.py")
    for warning in backend.tree.warnings:
        warn(warning)
    findings = nondeterminism_of(backend.tree)
    for finding in findings:
        warn(str(finding))
    return len(findings)
