"""The boundary: an allowlist of system calls, kept by the kernel for the rest of the worker's life.

Sealed: some thirty harmless calls; read and write on the channel alone. What is left out on purpose:
- every call that takes a path, stat and access too (Landlock does not see those), and `newfstatat`, which can hide a path;
- `fcntl` and `ioctl`: F_SETOWN and O_ASYNC send signals to others by way of the kernel;
- `sendmsg` (passes descriptors), `socket`, `clone` in every form (processes and threads), `prctl`, `prlimit`, `kill`;
- clocks of other processes: they would tell which there are, and when each of them works;
- futexes with priority inheritance, and advice that merges memory with other processes.

With files ("fsread"): reading by path, mapping of native code from files, and threads as pthread_create makes them. Not the calls
that Landlock has no rule for and that importing does without: where a link leads, and where the process stands.

A refused call fails with EPERM rather than killing, so a library that probes goes on; only a foreign ABI kills.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from interlock.sandbox.confinement import bpf
from interlock.sandbox.confinement.bpf import Where
from interlock.sandbox.confinement.libc import MACHINE, library, syscall
from interlock.sandbox.confinement.steps import Step, take
from interlock.sandbox.confinement.syscall_numbers import AUDIT_ARCH, NUMBERS

CHANNEL = 3

_MEMORY = "brk munmap mremap"
_SIGNALS = "rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall"
_CLOCKS = "nanosleep gettimeofday time times getrusage setitimer"
_BY_CLOCK = ("clock_gettime", "clock_getres", "clock_nanosleep")
_OWN = "getpid gettid getrandom sched_yield exit exit_group"
_CHANNEL = "poll ppoll close fstat lseek"
ALWAYS = tuple(f"{_MEMORY} {_SIGNALS} {_CLOCKS} {_OWN} {_CHANNEL}".split())
_BY_PATH = "stat lstat newfstatat statx access faccessat faccessat2 getdents64"
_OF_FILES = "readv writev pread64"
_OF_LIBRARIES = "getuid geteuid getgid getegid uname set_robust_list rseq sched_getaffinity"
WITH_FILES = tuple(f"{_BY_PATH} {_OF_FILES} {_OF_LIBRARIES}".split())

_PROT_WRITE, _PROT_EXEC, _MAP_ANONYMOUS = 2, 4, 0x20
_O_TMPFILE, _O_PATH = 0o20000000, 0o10000000
_WRITES = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | os.O_APPEND | _O_TMPFILE | _O_PATH
_PTHREAD_FLAGS = 0x3D0F00  # what glibc and musl pass for pthread_create
_FIONREAD, _FIONBIO, _O_ASYNC = 0x541B, 0x5421, 0x2000
# NORMAL, RANDOM, SEQUENTIAL, WILLNEED, DONTNEED, FREE, HUGEPAGE, NOHUGEPAGE
_ADVICE = (0, 1, 2, 3, 4, 8, 14, 15)
# WAIT, WAKE, CMP_REQUEUE, WAIT_BITSET, WAKE_BITSET; PRIVATE and CLOCK_REALTIME may be added
_FUTEX, _FUTEX_MASK = (0, 1, 4, 9, 10), 0xFFFFFFFF ^ (128 | 256)
_OF_A_PROCESS = 0x80000000  # the bit of a clock that names a process or thread, or a descriptor: clock_getcpuclockid(3)
_X32 = 0x40000000
_SET_MODE_FILTER = 1
_PID_PLACE = 0x7FFFFFFF  # stands for the worker's own pid until it has one


def program(*, sealed: bool, machine: str = MACHINE) -> bytes:
    """The filter of a profile, packed, with a place for the worker's pid. Raises KeyError for an unknown architecture."""
    numbers = NUMBERS[machine]
    filter = bpf.Program()
    filter.start(AUDIT_ARCH[machine], _X32 if machine == "x86_64" else None)
    if sealed:
        filter.allow_where(numbers["read"], [[Where(0, CHANNEL)], [Where(0, 0)]], errno.EBADF)
        filter.allow_where(numbers["write"], [[Where(0, CHANNEL)], [Where(0, 1)], [Where(0, 2)]], errno.EBADF)
    else:
        filter.allow(numbers["read"])
        filter.allow(numbers["write"])
    for name in (*ALWAYS, *(() if sealed else WITH_FILES)):
        if name in numbers:
            filter.allow(numbers[name])
    for name in _BY_CLOCK:
        filter.allow_where(numbers[name], [[Where(0, 0, _OF_A_PROCESS)]], errno.EINVAL)
    filter.allow_where(numbers["futex"], [[Where(1, operation, _FUTEX_MASK)] for operation in _FUTEX], errno.ENOSYS)
    filter.allow_where(numbers["madvise"], [[Where(2, advice)] for advice in _ADVICE], errno.EINVAL)
    filter.allow_where(numbers["tgkill"], [[Where(0, _PID_PLACE)]], errno.EPERM)
    filter.allow_where(numbers["mprotect"], [[Where(2, 0, _PROT_EXEC)]], errno.EPERM)
    not_executable = [Where(2, 0, _PROT_EXEC)]
    if sealed:
        filter.allow_where(numbers["mmap"], [not_executable], errno.EPERM)
    else:
        _allow_files(filter, numbers, not_executable)
    # libc falls back to older calls, whose arguments a filter can see.
    filter.refuse(numbers["clone3"], errno.ENOSYS)
    filter.refuse(numbers["openat2"], errno.ENOSYS)
    filter.end(errno.EPERM)
    return filter.pack()


def _allow_files(filter: bpf.Program, numbers: dict[str, int], not_executable: list[Where]) -> None:
    if "open" in numbers:
        filter.allow_where(numbers["open"], [[Where(1, 0, _WRITES)]], errno.EACCES)
    filter.allow_where(numbers["openat"], [[Where(2, 0, _WRITES)]], errno.EACCES)
    # Native code comes from files only, and no page is ever both writable and executable.
    from_a_file = [Where(2, _PROT_EXEC, _PROT_EXEC | _PROT_WRITE), Where(3, 0, _MAP_ANONYMOUS)]
    filter.allow_where(numbers["mmap"], [not_executable, from_a_file], errno.EPERM)
    plain = [[Where(1, command)] for command in (0, 1, 2, 3, 1030)]  # DUPFD, GETFD, SETFD, GETFL, DUPFD_CLOEXEC
    filter.allow_where(numbers["fcntl"], [*plain, [Where(1, 4), Where(2, 0, _O_ASYNC)]], errno.EPERM)  # SETFL without O_ASYNC
    filter.allow_where(numbers["ioctl"], [[Where(1, _FIONBIO)], [Where(1, _FIONREAD)]], errno.ENOTTY)
    filter.allow_where(numbers["clone"], [[Where(0, _PTHREAD_FLAGS)]], errno.EPERM)


def why_not() -> str | None:
    """None where a filter can be installed; otherwise what stands in the way. Changes nothing."""
    if MACHINE not in NUMBERS:
        return f"there is no table of system calls for {MACHINE}"
    # Without a program a kernel that knows the call stops at reading it.
    syscall(NUMBERS[MACHINE]["seccomp"], ctypes.c_uint(_SET_MODE_FILTER), ctypes.c_uint(0), None)
    number = ctypes.get_errno()
    return None if number == errno.EFAULT else f"the kernel answers {errno.errorcode.get(number, number)}"


def steps(packed: bytes) -> list[Step]:
    """Put the filter over this thread, which must be the only one, for good. Needs no_new_privs."""
    at = packed.find(struct.pack("=I", _PID_PLACE))
    assert at % 8 == 4, "the place is the constant of an instruction"
    instructions = ctypes.create_string_buffer(packed, len(packed))
    header = struct.pack("=HxxxxxxQ", len(packed) // 8, ctypes.addressof(instructions))
    argument = ctypes.create_string_buffer(header, len(header))
    call = (ctypes.c_long(NUMBERS[MACHINE]["seccomp"]), ctypes.c_uint(_SET_MODE_FILTER), ctypes.c_uint(0), argument)
    return [
        Step("say who may be signalled", _write_pid, (ctypes.c_uint32.from_buffer(instructions, at),)),
        Step("seccomp", library().syscall, call),
    ]


def _write_pid(place: ctypes.c_uint32) -> None:
    place.value = os.getpid()


def install(packed: bytes) -> None:
    """Go through `steps`. Raises OSError."""
    take(steps(packed))
