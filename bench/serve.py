"""`interlock serve` with what its command line has no option for: `python -m bench.serve DATA PORT SYNCHRONOUS MEMORY_MIB`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from interlock.backend import Backend
from interlock.cli.logs import configure_logs
from interlock.cli.serving import serve_backend
from interlock.engine import EngineSettings
from interlock.server.serve import run
from interlock.storage.sqlite import SqliteStorage


def main() -> None:
    data, port, synchronous, memory_mib = sys.argv[1:]
    configure_logs()
    levels: dict[str, Any] = {"FULL": "FULL", "NORMAL": "NORMAL"}
    backend = Backend(
        Path(__file__).parent / "app",
        storage=SqliteStorage(data, synchronous=levels[synchronous]),
        settings=EngineSettings(memory_bytes=int(memory_mib) * 1024 * 1024),
    )
    run(serve_backend(backend, host="127.0.0.1", port=int(port), data_directory=None, started=lambda url: None))


if __name__ == "__main__":
    main()
