"""`interlock serve`: serves an app."""

from __future__ import annotations

from pathlib import Path

from interlock.cli.address import DEFAULT_HOST, DEFAULT_PORT, Host, Port
from interlock.cli.app_directory import Data, Directory, data_directory, data_place, find_app
from interlock.cli.console import errors_reported, say, warn


def serve(directory: Directory = None, host: Host = DEFAULT_HOST, port: Port = DEFAULT_PORT, data: Data = None) -> None:
    """Serve an app to clients until it is stopped.

    Errors of functions reach clients redacted, with a request id that the log explains; `interlock dev` shows them whole.

    \b
    Examples:
      interlock serve
      interlock serve myapp --host 0.0.0.0 --port 80 --data /var/lib/myapp
    """
    from interlock.cli.logs import configure_logs
    from interlock.server.serve import run

    with errors_reported():
        app = find_app(directory)
        configure_logs()
        run(_serve(app, data, host, port))


async def _serve(app: Path, data: str | None, host: str, port: int) -> None:
    from interlock.backend import Backend
    from interlock.cli.serving import serve_backend

    backend = Backend(app, data=data_place(app, data))

    def started(url: str) -> None:
        for warning in backend.tree.warnings:
            warn(warning)
        say(f"Serving {app.name} at {url}")

    await serve_backend(backend, host=host, port=port, data_directory=data_directory(app, data), started=started)
