"""The order in which a forked child gives up its rights. Each step may need what a later one takes away.

Fail closed: whatever raises here ends the worker before a byte of a component is in it.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

from interlock.sandbox.confinement import credentials, landlock, process, rlimits, seccomp
from interlock.sandbox.confinement.libc import IS_LINUX
from interlock.sandbox.plan import Plan

Layers = dict[str, str]
"""What holds a worker: the name of each layer, and a few words on it, in the order of their weight."""


_DESCRIPTORS = 64  # of a worker that reads files


class Lockdown:
    """What can be made ready once, in the nursery: the filters, and the size that every worker starts with."""

    def __init__(self, namespaces: str = "") -> None:
        """`namespaces` names those that the nursery has entered, for the layers."""
        self._namespaces = namespaces
        self._landlock = landlock.abi()
        self._filters = {sealed: seccomp.program(sealed=sealed) for sealed in (True, False)} if seccomp.why_not() is None else {}
        self._leaves_root = IS_LINUX and credentials.can_leave_root()
        self._size = rlimits.address_space() if IS_LINUX else None

    def apply(self, plan: Plan, *, number: int, parent: int) -> Layers:
        """Confine this process, which must have one thread and no code of a component, for good.

        `number` counts the workers, so that neighbours are different users; `parent` is the process whose end is ours.
        Raises OSError for the first thing that cannot be had.
        """
        process.die_with_parent(parent)
        if plan.isolation == "process":
            rlimits.limit_process(plan, size_now=self._size)
            return {}
        if not self._filters:
            raise OSError(errno.EOPNOTSUPP, f"seccomp is not available: {seccomp.why_not()}")
        layers = {"seccomp": "sealed" if plan.is_sealed else "reads files"}
        rlimits.limit(plan, size_now=self._size)
        credentials.forbid_capabilities()
        # Files that only root may read can be read by root alone, without its capabilities.
        is_readable = plan.is_sealed or credentials.is_readable_by_all(plan.files)
        uid = credentials.leave_root(number) if self._leaves_root and is_readable else None
        process.die_with_parent(parent)  # a change of user has undone it
        process.forbid_dumps()
        process.forbid_new_privileges()
        if self._landlock:
            layers["landlock"] = f"version {landlock.restrict(plan.files)}"
        elif not plan.is_sealed:
            raise OSError(errno.EOPNOTSUPP, "reading files needs Landlock, which this kernel has not")
        credentials.drop_capabilities()
        if uid is not None:
            layers["uid"] = str(uid)
        layers["capabilities"] = "none"
        if process.forbid_new_code():
            layers["mdwe"] = "no new code"
        if self._namespaces:
            layers["namespaces"] = self._namespaces
        layers["rlimits"] = _told(plan)
        rlimits.limit_descriptors(seccomp.CHANNEL + 1 if plan.is_sealed else _DESCRIPTORS)
        seccomp.install(self._filters[plan.is_sealed])
        _verify()
        return layers


def _told(plan: Plan) -> str:
    memory = "memory unlimited" if plan.memory is None else f"memory {plan.memory >> 20} MiB"
    return memory + ("" if plan.cpu is None else f", CPU {plan.cpu:g} s")


def _verify() -> None:
    """Try what must fail now. Raises OSError when anything works."""
    attempts: tuple[tuple[str, Callable[[], object]], ...] = (
        ("fork", os.fork),
        ("kill", lambda: os.kill(os.getpid(), 0)),
        ("socket", lambda: socket.socket(socket.AF_UNIX)),
        ("open", lambda: os.open("/", os.O_RDONLY | os.O_DIRECTORY)),
        ("write a file", lambda: os.open("/dev/null", os.O_WRONLY)),
    )
    for name, attempt in attempts:
        try:
            worked = attempt()
        except OSError:
            continue
        if name == "fork" and worked == 0:
            os._exit(1)  # the child of a fork that should not have been
        raise OSError(f"the lock-down does not hold: {name} works")
