"""What this machine can enforce. Asking changes nothing and costs some microseconds."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache

from interlock.sandbox.confinement import credentials, landlock, process, seccomp
from interlock.sandbox.confinement.libc import IS_LINUX, MACHINE
from interlock.sandbox.plan import Plan


@dataclass(frozen=True, slots=True)
class Support:
    """`seccomp` is empty where the filter can be had, else why not. `landlock` is its version, 0 for none. `leaves_root`: workers can
    become a user that owns nothing. `no_new_code`: memory that was written can be kept from being run."""

    platform: str
    machine: str
    seccomp: str
    landlock: int
    leaves_root: bool
    no_new_code: bool

    @property
    def missing(self) -> tuple[str, ...]:
        """What keeps `isolation="sandbox"` from starting, as parts of a sentence. Empty: nothing does."""
        return (f"seccomp ({self.seccomp})",) if self.seccomp else ()

    def missing_for(self, plan: Plan) -> tuple[str, ...]:
        """The same for one plan: reading files needs Landlock too."""
        if plan.isolation == "process":
            return ()
        reading = () if plan.is_sealed or self.landlock else ("Landlock (this kernel has it not, or has it switched off)",)
        return self.missing + reading

    @property
    def notices(self) -> tuple[str, ...]:
        """What a sealed worker has to do without here, as sentences for the log of a start."""
        if self.missing or self.landlock:
            return ()
        return ("This kernel has no Landlock: sandboxed components are held by seccomp alone.",)

    def layers(self, plan: Plan) -> tuple[str, ...]:
        """The layers that a worker of this plan will get, by name, without starting one."""
        if plan.isolation == "process" or self.missing_for(plan):
            return ()
        landlock = ("landlock",) if self.landlock else ()
        leaves_root = self.leaves_root and (plan.is_sealed or credentials.is_readable_by_all(plan.files))
        uid, mdwe = ("uid",) if leaves_root else (), ("mdwe",) if self.no_new_code else ()
        return ("seccomp", *landlock, *uid, "capabilities", *mdwe, "rlimits")


@cache
def available() -> Support:
    """What can be enforced here, asked of the kernel once a process."""
    return Support(
        platform=sys.platform,
        machine=MACHINE,
        seccomp=(seccomp.why_not() or "") if IS_LINUX else f"{sys.platform} has it not",
        landlock=landlock.abi(),
        leaves_root=IS_LINUX and credentials.can_leave_root(),
        no_new_code=IS_LINUX and process.can_forbid_new_code(),
    )
