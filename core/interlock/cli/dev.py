"""`interlock dev`: serves an app while it is being written.

What it does at each save is in `reloading`.
"""

from __future__ import annotations

from typing import Annotated

import typer

from interlock.cli.address import DEFAULT_HOST, DEFAULT_PORT, Host, Port
from interlock.cli.app_directory import Data, Directory, find_app
from interlock.cli.console import errors_reported
from interlock.cli.exits import Exit


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
    from interlock.cli.reloading import Session, start_once
    from interlock.server.serve import bind, run

    with errors_reported():
        app = find_app(directory)
        configure_logs(readable=True)
        if once:
            if run(start_once(app, data)) > 0:
                raise typer.Exit(Exit.FAILED)
        else:
            # A port that is taken is told at once; what is wrong with the app may be mended while we wait.
            bind(host, port).close()
            run(Session(app, data).serve(host, port))
