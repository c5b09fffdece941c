"""The order in which a forked child gives up its rights. Each step may need what a later one takes away.

Fail closed: whatever raises here ends the worker before a byte of a component is in it.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from interlock.sandbox.confinement import credentials, landlock, process, rlimits, seccomp
from interlock.sandbox.confinement.libc import IS_LINUX, library
from interlock.sandbox.confinement.steps import Step, first_that_works, take
from interlock.sandbox.plan import Plan

Layers = dict[str, str]
"""What holds a worker: the name of each layer, and a few words on it, in the order of their weight."""


_DESCRIPTORS = 64  # of a worker that reads files
_RULESET = seccomp.CHANNEL + 1  # where the child has the rules of Landlock, until they hold


@dataclass(frozen=True, slots=True)
class Prepared:
    """A lock-down with all made that can be before the fork. The child takes the steps `before` it is another user, then those `after`.

    `refused` are calls that have to fail at the end. `kept` are descriptors that it needs beside its channel.
    """

    before: list[Step] = field(default_factory=list)
    after: list[Step] = field(default_factory=list)
    refused: list[Step] = field(default_factory=list)
    layers: Layers = field(default_factory=dict)
    leaves_root: bool = False
    kept: tuple[int, ...] = ()

    def apply(self, number: int) -> Layers:
        """Confine this process, which must have one thread and no code of a component, for good.

        `number` counts the workers, so that neighbours are different users. Raises OSError for the first thing that cannot be had.
        """
        take(self.before)
        if self.leaves_root and (uid := credentials.leave_root(number)) is not None:
            self.layers["uid"] = str(uid)
        take(self.after)
        if (works := first_that_works(self.refused)) is not None:
            raise OSError(f"the lock-down does not hold: {works} works")
        return self.layers


class Lockdown:
    """What can be made ready once, in the nursery: the filters, and the size that every worker starts with."""

    def __init__(self, namespaces: str = "") -> None:
        """`namespaces` names those that the nursery has entered, for the layers."""
        self._namespaces = namespaces
        self._landlock = landlock.abi()
        self._filters = {sealed: seccomp.program(sealed=sealed) for sealed in (True, False)} if seccomp.why_not() is None else {}
        self._leaves_root = IS_LINUX and credentials.can_leave_root()
        self._size = rlimits.address_space() if IS_LINUX else None

    def prepare(self, plan: Plan, *, parent: int) -> Prepared:
        """For workers of this plan; `parent` is the process whose end is theirs. Raises OSError for what cannot be had here."""
        if plan.isolation == "process":
            return Prepared([*process.parent_steps(parent), *rlimits.share_steps(plan, size_now=self._size)])
        if not self._filters:
            raise OSError(errno.EOPNOTSUPP, f"seccomp is not available: {seccomp.why_not()}")
        if not self._landlock and not plan.is_sealed:
            raise OSError(errno.EOPNOTSUPP, "reading files needs Landlock, which this kernel has not")
        new_code, landlocked = process.new_code_steps(), bool(self._landlock)
        before = [*process.parent_steps(parent), *rlimits.steps(plan, size_now=self._size), *credentials.forbid_steps()]
        after = [
            *process.parent_steps(parent),  # a change of user has undone it
            *process.dump_steps(),
            *process.privilege_steps(),
            *(landlock.steps(_RULESET) if landlocked else ()),
            *credentials.drop_steps(),
            *new_code,
            *rlimits.descriptor_steps(_RULESET if plan.is_sealed else _DESCRIPTORS),
            *seccomp.steps(self._filters[plan.is_sealed]),
        ]
        layers = {
            "seccomp": "sealed" if plan.is_sealed else "reads files",
            **({"landlock": f"version {self._landlock}"} if landlocked else {}),
            "capabilities": "none",
            **({"mdwe": "no new code"} if new_code else {}),
            **({"namespaces": self._namespaces} if self._namespaces else {}),
            "rlimits": _told(plan),
        }
        # Files that only root may read can be read by root alone, without its capabilities.
        leaves_root = self._leaves_root and (plan.is_sealed or credentials.is_readable_by_all(plan.files))
        kept = (process.out_of_the_way(landlock.ruleset(plan.files)),) if landlocked else ()
        return Prepared(before, after, _refused(), layers, leaves_root, kept)


def _told(plan: Plan) -> str:
    memory = "memory unlimited" if plan.memory is None else f"memory {plan.memory >> 20} MiB"
    return memory + ("" if plan.cpu is None else f", CPU {plan.cpu:g} s")


def _refused() -> list[Step]:
    """What must fail in a worker. Calls of the C library: Python would look up much on the way."""
    libc = library()
    return [
        Step("fork", _fork, (libc.fork,)),
        Step("kill", libc.kill, (0, 0)),
        Step("socket", libc.socket, (int(socket.AF_UNIX), int(socket.SOCK_STREAM), 0)),
        Step("open", libc.open, (b"/", os.O_RDONLY | os.O_DIRECTORY)),
        Step("write a file", libc.open, (os.devnull.encode(), os.O_WRONLY)),
    ]


def _fork(fork: Callable[[], int]) -> int:
    pid = fork()
    if pid == 0:
        os._exit(1)  # the child of a fork that should not have been
    return pid
