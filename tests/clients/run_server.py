"""Serves an app of this folder in a process of its own; told by a JSON line on stdout where, and with which admin key.

`--die-after FUNCTION` kills the process, once, when that mutation has committed and nobody has been told.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from pathlib import Path
from typing import Any

from interlock import Backend
from interlock.server import run, serve
from interlock.server.binding import DispatcherService


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--app", default="app")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--serve", action="store_true", help="as in production: errors are redacted")
    parser.add_argument("--die-after", default="")
    options = parser.parse_args()
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the log goes elsewhere: nobody reads a pipe that is waited on for one line
    backend = Backend(Path(__file__).parent / options.app, data=options.data, dev=not options.serve)
    if options.die_after:
        die_after(options.die_after)

    def ready(url: str) -> None:
        print(json.dumps({"url": url, "adminKey": backend.admin_key}), file=told, flush=True)

    run(serve(backend.asgi(), port=options.port, ready=ready))


def die_after(path: str) -> None:
    call = DispatcherService.call

    async def call_and_die(self: DispatcherService, kind: Any, called: str, *args: Any, **named: Any) -> Any:
        answer = await call(self, kind, called, *args, **named)
        if called == path:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    DispatcherService.call = call_and_die  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    main()
