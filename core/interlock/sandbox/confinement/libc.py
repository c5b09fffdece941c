"""The kernel's door: prctl and raw system calls, through ctypes.

Everything of ctypes that a lock-down needs is looked up here at import, in the nursery: a forked child only calls.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from typing import Any

MACHINE = platform.machine()
IS_LINUX = sys.platform == "linux"

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_SET_MDWE = 65
PR_GET_MDWE = 66

_NOTHING = ctypes.c_ulong(0)
_libc = ctypes.CDLL(None, use_errno=True) if IS_LINUX else None


def library() -> ctypes.CDLL:
    """The C library of a Linux process. Raises OSError elsewhere."""
    if _libc is None:
        raise OSError(f"{sys.platform} has no Linux system calls")
    return _libc


def last_error(what: str) -> OSError:
    """The errno of the call just made, as an exception that names the call."""
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")


def prctl(option: int, *arguments: int) -> int:
    """prctl(2). Raises OSError."""
    result: int = library().prctl(*prctl_arguments(option, *arguments))
    if result < 0:
        raise last_error(f"prctl({option})")
    return result


def prctl_arguments(option: int, *arguments: int) -> tuple[Any, ...]:
    """The five that prctl(2) takes."""
    return (ctypes.c_int(option), *map(ctypes.c_ulong, arguments), *(_NOTHING,) * (4 - len(arguments)))


def syscall(number: int, *arguments: object) -> int:
    """syscall(2) with ready-made ctypes values; -1 with the errno kept, as in C."""
    ctypes.set_errno(0)
    result: int = library().syscall(ctypes.c_long(number), *arguments)
    return result
