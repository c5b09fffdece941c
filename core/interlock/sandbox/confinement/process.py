"""The surroundings of a worker: one descriptor, no environment, no dumps, no gain of rights, an end with its parent. prctl(2)."""

from __future__ import annotations

import fcntl
import os
import signal
import sys

from interlock.sandbox.confinement.libc import (
    IS_LINUX,
    PR_SET_DUMPABLE,
    PR_SET_MDWE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    prctl,
)
from interlock.sandbox.confinement.seccomp import CHANNEL

_HIGH = 64  # out of the way of the numbers that are given out below
_REFUSE_EXEC_GAIN = 1


def keep_only(channel: int, null: int) -> None:
    """Leave `channel` as descriptor 3, non-blocking, the null device as 0 to 2, and close all others."""
    os.set_blocking(channel, False)
    channel = fcntl.fcntl(channel, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    null = fcntl.fcntl(null, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.dup2(channel, CHANNEL, inheritable=False)
    os.closerange(CHANNEL + 1, os.sysconf("SC_OPEN_MAX"))


def forget_environment() -> None:
    """No variables, no arguments."""
    os.environ.clear()
    sys.argv[:] = [""]


def die_with_parent(parent: int) -> None:
    """Be killed when the process that forked us ends. Raises OSError when it has ended already. Where there is no such call, nothing."""
    if not IS_LINUX:
        return
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise OSError("the nursery has ended")


def forbid_dumps() -> None:
    """No core file, no debugger, and nobody reads /proc/PID/mem; the links there belong to root."""
    prctl(PR_SET_DUMPABLE, 0)


def forbid_new_privileges() -> None:
    """No set-user-id program gives rights, ever. Landlock and seccomp ask for it."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def forbid_new_code() -> bool:
    """No memory that was writable can be run (MDWE). False where the kernel is older than 6.3."""
    try:
        prctl(PR_SET_MDWE, _REFUSE_EXEC_GAIN)
    except OSError:
        return False
    return True


def stand_behind(nice: int) -> None:
    """Let the host go first: `nice` for the processor, first in line where memory runs out."""
    if nice:
        os.nice(nice)
    try:
        file = os.open("/proc/self/oom_score_adj", os.O_WRONLY)  # less than a file object of Python's makes of it
        os.write(file, b"1000")
        os.close(file)
    except OSError:
        pass  # no /proc here: what the nursery has taken on itself holds
