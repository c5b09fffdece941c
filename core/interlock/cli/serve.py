"""`interlock serve`: serves an app."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from interlock.cli.address import DEFAULT_HOST, DEFAULT_PORT, Host, Port, SitePort
from interlock.cli.app_directory import Data, Directory, data_directory, data_place, find_app
from interlock.cli.console import errors_reported, say, warn

if TYPE_CHECKING:
    from interlock.cli.serving import Listener


def serve(
    directory: Directory = None,
    host: Host = DEFAULT_HOST,
    port: Port = DEFAULT_PORT,
    site_port: SitePort = None,
    data: Data = None,
) -> None:
    """Serve an app to clients until it is stopped.

    Errors of functions reach clients redacted, with a request id that the log explains; `interlock dev` shows them whole.

    \b
    Examples:
      interlock serve
      interlock serve myapp --host 0.0.0.0 --port 80 --data /var/lib/myapp
    """
    from interlock.cli.logs import configure_logs
    from interlock.cli.serving import Listener, run_loop

    with errors_reported():
        app = find_app(directory)
        configure_logs()
        listener = Listener(host, port, site_port)
        try:
            run_loop(_serve(app, data, listener))
        finally:
            listener.close()


async def _serve(app: Path, data: str | None, listener: Listener) -> None:
    from interlock.backend import Backend

    async with Backend(app, data=data_place(app, data)) as backend:
        for warning in backend.tree.warnings:
            warn(warning)
        say(f"Serving {app.name} at {listener.url}" + (f", its HTTP routes at {listener.site_url}" if listener.site_url else ""))
        await listener.serve(backend, data_directory(app, data))
