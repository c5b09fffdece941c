"""The surroundings of a worker: one descriptor, no environment, no dumps, no gain of rights, an end with its parent. prctl(2)."""

from __future__ import annotations

import fcntl
import os
import signal
import sys

from interlock.sandbox.confinement.libc import (
    IS_LINUX,
    PR_GET_MDWE,
    PR_SET_DUMPABLE,
    PR_SET_MDWE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    library,
    prctl,
    prctl_arguments,
)
from interlock.sandbox.confinement.seccomp import CHANNEL
from interlock.sandbox.confinement.steps import Step, take

_HIGH = 64  # out of the way of the numbers that are given out below
_REFUSE_EXEC_GAIN = 1


def out_of_the_way(descriptor: int) -> int:
    """A copy of the descriptor whose number is none that a worker is given. The one that was is closed."""
    copy: int = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    os.close(descriptor)
    return copy


def descriptor_steps(channel: int, null: int, *kept: int) -> list[Step]:
    """Leave `channel` as descriptor 3, the null device as 0 to 2, `kept` from 4 on, and close all others.

    All are `out_of_the_way`.
    """
    copies = [*((null, standard) for standard in (0, 1, 2)), (channel, CHANNEL), *((it, CHANNEL + 1 + at) for at, it in enumerate(kept))]
    return [
        *(Step("dup2", os.dup2, (number, to, to < CHANNEL)) for number, to in copies),
        Step("closerange", os.closerange, (CHANNEL + 1 + len(kept), os.sysconf("SC_OPEN_MAX"))),
    ]


def keep_only(channel: int, null: int) -> None:
    """Leave `channel` as descriptor 3, non-blocking, the null device as 0 to 2, and close all others."""
    os.set_blocking(channel, False)
    take(descriptor_steps(out_of_the_way(channel), out_of_the_way(null)))


def forget_environment() -> None:
    """No variables, no arguments."""
    os.environ.clear()
    sys.argv[:] = [""]


def parent_steps(parent: int) -> list[Step]:
    """Be killed when the process that forked us ends; it is an error when it has ended already. Where there is no such call, nothing."""
    if not IS_LINUX:
        return []
    return [_prctl("die with the parent", PR_SET_PDEATHSIG, signal.SIGKILL), Step("look at the parent", _is_child_of, (parent,))]


def _is_child_of(parent: int) -> None:
    if os.getppid() != parent:
        raise OSError("the nursery has ended")


def die_with_parent(parent: int) -> None:
    """Be killed when the process that forked us ends. Raises OSError when it has ended already."""
    take(parent_steps(parent))


def dump_steps() -> list[Step]:
    """No core file, no debugger, and nobody reads /proc/PID/mem; the links there belong to root."""
    return [_prctl("forbid dumps", PR_SET_DUMPABLE, 0)]


def forbid_dumps() -> None:
    """Go through `dump_steps`."""
    take(dump_steps())


def privilege_steps() -> list[Step]:
    """No set-user-id program gives rights, ever. Landlock and seccomp ask for it."""
    return [_prctl("forbid new privileges", PR_SET_NO_NEW_PRIVS, 1)]


def forbid_new_privileges() -> None:
    """Go through `privilege_steps`."""
    take(privilege_steps())


def new_code_steps() -> list[Step]:
    """No memory that was writable can be run (MDWE): where `can_forbid_new_code`, since Linux 6.3."""
    return [_prctl("forbid new code", PR_SET_MDWE, _REFUSE_EXEC_GAIN)] if can_forbid_new_code() else []


def forbid_new_code() -> bool:
    """Go through `new_code_steps`. False where there are none."""
    steps = new_code_steps()
    take(steps)
    return bool(steps)


def can_forbid_new_code() -> bool:
    """Whether this kernel can, and has not been told something else already."""
    try:
        return prctl(PR_GET_MDWE) in (0, _REFUSE_EXEC_GAIN)
    except OSError:
        return False


def priority_steps(nice: int) -> list[Step]:
    """Let the host go first: `nice` for the processor, first in line where memory runs out."""
    return [*([Step("nice", _behind, (nice,))] if nice else []), Step("oom_score_adj", _first_to_go)]


def _behind(nice: int) -> None:
    os.nice(nice)  # its answer may well be negative


def _first_to_go() -> None:
    try:
        file = os.open("/proc/self/oom_score_adj", os.O_WRONLY)  # less than a file object of Python's makes of it
        os.write(file, b"1000")
        os.close(file)
    except OSError:
        pass  # no /proc here: what the nursery has taken on itself holds


def _prctl(what: str, option: int, *arguments: int) -> Step:
    return Step(what, library().prctl, prctl_arguments(option, *arguments))
