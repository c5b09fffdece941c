"""The lock that keeps a second process away from a data directory.

The operating system holds it, so it goes with its process however that ends: nothing is left behind by `kill -9`.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from interlock.errors import StorageUnavailable

# POSIX locks are per process, so those of this one are remembered here. They also end when *any* descriptor of the file
# is closed, which is why a file in this table is not even opened.
_held_here: set[tuple[int, int]] = set()

if sys.platform == "win32":
    import msvcrt

    # Far behind the text: a locked byte cannot be read by others on Windows.
    _LOCKED_BYTE = 1 << 20

    def _try_lock(file: int) -> None:
        os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)

else:
    import fcntl

    def _try_lock(file: int) -> None:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class DataLock:
    """Held from `acquire` to `release`. The file says who holds it, for the message that the second one gets."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._identity = (0, 0)

    def acquire(self) -> None:
        """Take the lock, or raise StorageUnavailable naming its holder. OSError: the lock file cannot be made."""
        if self._path.exists() and _identity(self._path.stat()) in _held_here:
            raise self._refusal(f"this process (pid {os.getpid()}), which has opened it already")
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _try_lock(file)
        except OSError:
            holder = os.read(file, 200).decode(errors="replace").strip()
            os.close(file)
            raise self._refusal(holder or "another process") from None
        os.ftruncate(file, 0)
        os.write(file, f"pid {os.getpid()} on {socket.gethostname()}\n".encode())
        self._file, self._identity = file, _identity(os.fstat(file))
        _held_here.add(self._identity)

    def release(self) -> None:
        if self._file is not None:
            # The file stays: whoever removed it could remove one that a third process has just locked.
            os.close(self._file)
            self._file = None
            _held_here.discard(self._identity)

    def _refusal(self, holder: str) -> StorageUnavailable:
        return StorageUnavailable(
            f"The data in {self._path.parent} is in use by {holder}.",
            "One process at a time can serve it: stop that one first, or give this one a data directory of its own.",
        )


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
