"""Second layer: no capabilities, and no user that anything belongs to. capabilities(7), setresuid(2)."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from interlock.sandbox.confinement.libc import (
    PR_CAP_AMBIENT,
    PR_CAPBSET_DROP,
    PR_CAPBSET_READ,
    PR_SET_SECUREBITS,
    library,
    prctl,
    prctl_arguments,
)
from interlock.sandbox.confinement.steps import Step, take

# A range that neither systemd nor Debian gives out, inside what the usual user namespaces map.
FIRST_UID, LAST_UID = 60706, 61183
NOBODY = 65534
_CAPABILITY_VERSION = 0x20080522
_CLEAR_ALL_AMBIENT = 4
_NEEDED = 1 << 5 | 1 << 6 | 1 << 7  # CAP_KILL, CAP_SETGID, CAP_SETUID
# NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE with their locks, KEEP_CAPS locked: uid 0 means nothing any more
_SECUREBITS = 0b11101111


def forbid_steps() -> list[Step]:
    """No program and no change of user gives a capability from now on. Without the right to say so: no_new_privs has to do."""
    options: list[tuple[int, int]] = [(PR_CAPBSET_DROP, capability) for capability in range(_capabilities())]
    options += [(PR_SET_SECUREBITS, _SECUREBITS), (PR_CAP_AMBIENT, _CLEAR_ALL_AMBIENT)]
    return [Step("forbid capabilities", library().prctl, prctl_arguments(*option), must=False) for option in options]


def _capabilities() -> int:
    """How many this kernel knows."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_READ, capability)
        except OSError:
            return capability
    return 64


def forbid_capabilities() -> None:
    """Go through `forbid_steps`."""
    take(forbid_steps())


def drop_steps() -> list[Step]:
    """Give up every capability. Harmless for who has none."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION, 0), 8)
    return [Step("capset", library().capset, (header, ctypes.create_string_buffer(24)))]


def drop_capabilities() -> None:
    """Go through `drop_steps`. Raises OSError."""
    take(drop_steps())


def can_leave_root() -> bool:
    """Whether this process may change its user, and may end a process of another: without the latter no worker could be stopped."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION, 0), 8)
    sets = ctypes.create_string_buffer(24)
    if os.geteuid() != 0 or library().capget(header, sets) != 0:
        return False
    (effective,) = struct.unpack_from("=I", sets.raw)
    return bool(effective & _NEEDED == _NEEDED)


def leave_root(number: int) -> int | None:
    """Become a user that owns nothing: of `number` workers in a row no two the same. Gives the uid; None without the right to it.

    The signal at the end of a parent is refused like any other when the parent may not send it (kernel/exit.c), so the parent
    has to be able to: see `can_leave_root`.
    """
    for uid in (FIRST_UID + number % (LAST_UID - FIRST_UID + 1), NOBODY):
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        except OSError:
            continue  # a container that maps fewer users, or took CAP_SETUID away
        return uid
    return None


def is_readable_by_all(paths: Iterable[str]) -> bool:
    """Whether a user that owns nothing could read these paths: every directory on the way can be entered, and the end be read."""
    for path in paths:
        end = Path(path).resolve()
        try:
            if any(not at.stat().st_mode & stat.S_IXOTH for at in end.parents) or not end.stat().st_mode & stat.S_IROTH:
                return False
        except OSError:
            return False
    return True
