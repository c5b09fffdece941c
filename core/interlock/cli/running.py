"""Which server serves a data directory: a file in it with the address and the admin key, there as long as the server is."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

_FILE = "server.json"


@dataclass(frozen=True, slots=True)
class RunningServer:
    """The server of a data directory."""

    url: str
    admin_key: str
    pid: int

    @classmethod
    def of(cls, data_directory: Path) -> RunningServer | None:
        """The server that serves this directory now. A file that one left behind when it was killed is nobody."""
        try:
            found = cls(**json.loads((data_directory / _FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return found if found.is_alive() else None

    def is_alive(self) -> bool:
        """Whether its process is there and its port answers."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # it is there, and somebody else's
        address = urlsplit(self.url)
        try:
            with socket.create_connection((address.hostname or "", address.port or 80), timeout=2):
                return True
        except OSError:
            return False

    @contextmanager
    def announced(self, data_directory: Path | None) -> Iterator[None]:
        """The file is there while the block runs. Only its owner can read the key in it."""
        if data_directory is None:
            yield
            return
        file = data_directory / _FILE
        fresh = file.with_suffix(f".{self.pid}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as opened:
            json.dump(asdict(self), opened)
        fresh.replace(file)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                file.unlink()
