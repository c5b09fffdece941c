"""Second layer: Landlock takes away every right over files, TCP, abstract sockets and signals that this kernel's version knows.

It does not see everything (stat, chmod, UDP, multipath TCP, Unix sockets by path), which is why the call filter is the boundary.
Source: landlock(7), and the kernel's `Documentation/userspace-api/landlock.rst` for what each ABI version added.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable

from interlock.sandbox.confinement.libc import IS_LINUX, last_error, library, syscall
from interlock.sandbox.confinement.steps import Step, take
from interlock.sandbox.confinement.syscall_numbers import X86_64

# The same on every architecture.
_CREATE, _ADD, _RESTRICT = (X86_64[f"landlock_{name}"] for name in ("create_ruleset", "add_rule", "restrict_self"))
_VERSION = 1
_READ_FILE, _READ_DIRECTORY = 1 << 2, 1 << 3
_FIRST_RIGHTS = (1 << 13) - 1
_RULE_PATH = 1


def abi() -> int:
    """The version of Landlock here; 0 where it is missing, off at boot, or refused."""
    return max(0, syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))) if IS_LINUX else 0


def _handled(version: int) -> bytes:
    """`struct landlock_ruleset_attr`: every right that this version can take away."""
    files = _FIRST_RIGHTS
    for since, bit in ((2, 13), (3, 14), (5, 15)):  # refer, truncate, ioctl on devices
        files |= 1 << bit if version >= since else 0
    network = 0b11 if version >= 4 else 0  # bind and connect of TCP
    scopes = 0b11 if version >= 6 else 0  # abstract sockets and signals of processes outside
    return struct.pack("=QQQ", files, network, scopes)[: 8 if version < 4 else 16 if version < 6 else 24]


def ruleset(readable: Iterable[str] = ()) -> int:
    """A descriptor of what denies all that Landlock can, but reading what lies in `readable`.

    Raises OSError, also where there is no Landlock or a path of `readable` is missing.
    """
    version = abi()
    if version < 1:
        raise OSError(errno.EOPNOTSUPP, "Landlock is not available")
    attributes = _handled(version)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    made = syscall(_CREATE, buffer, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    if made < 0:
        raise last_error("landlock_create_ruleset")
    try:
        for path in readable:
            _allow_reading(made, path)
    except OSError:
        os.close(made)
        raise
    return made


def steps(ruleset: int) -> list[Step]:
    """Put it over this process and its children, for good, and close it. Needs no_new_privs."""
    arguments = (ctypes.c_long(_RESTRICT), ctypes.c_int(ruleset), ctypes.c_uint32(0))
    return [Step("landlock_restrict_self", library().syscall, arguments), Step("close", os.close, (ruleset,))]


def restrict(readable: Iterable[str] = ()) -> None:
    """Both at once."""
    take(steps(ruleset(readable)))


def _allow_reading(ruleset: int, path: str) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rights = _READ_FILE | (_READ_DIRECTORY if stat.S_ISDIR(os.fstat(descriptor).st_mode) else 0)
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, descriptor), 12)
        if syscall(_ADD, ctypes.c_int(ruleset), ctypes.c_int(_RULE_PATH), rule, ctypes.c_uint32(0)) < 0:
            raise last_error(f"landlock_add_rule({path})")
    finally:
        os.close(descriptor)
