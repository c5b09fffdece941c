"""The lock that keeps a second process away from a data directory.

The operating system holds it, so it goes with its process however that ends: nothing is left behind by `kill -9`.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path

from interlock.errors import StorageUnavailable

if sys.platform == "win32":
    import msvcrt

    # Far behind the text: a locked byte cannot be read by others on Windows.
    _LOCKED_BYTE = 1 << 20

    def _lock(file: int) -> None:
        os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(file: int) -> None:
        # Not lockf: that lets go when anybody in this process closes the file, a backup that copies the directory say.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class DataLock:
    """Held from `acquire` to `release`. The file says who holds it, for the message that the second one gets."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise StorageUnavailable naming its holder. OSError: the file cannot be made or locked at all."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(file)
            os.ftruncate(file, 0)
            os.write(file, f"pid {os.getpid()} on {socket.gethostname()}\n".encode())
        except OSError as error:
            holder = os.read(file, 200).decode(errors="replace").strip()
            os.close(file)
            if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                raise self._refusal(holder) from None
            raise
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            # The file stays: whoever removed it could remove one that a third process has just locked.
            os.close(self._file)
            self._file = None

    def _refusal(self, holder: str) -> StorageUnavailable:
        who = holder or "another process"
        if holder.startswith(f"pid {os.getpid()} on {socket.gethostname()}"):
            who = f"this process ({holder}), which has opened it already"
        return StorageUnavailable(
            f"The data in {self._path.parent} is in use by {who}.",
            "One process at a time can serve it: stop that one first, or give this one a data directory of its own.",
        )
