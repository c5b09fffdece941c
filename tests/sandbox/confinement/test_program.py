"""The filter as a program, run here by a small interpreter: for every architecture that it knows, also those that this is not."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from interlock.sandbox.confinement import bpf, seccomp
from interlock.sandbox.confinement.syscall_numbers import AUDIT_ARCH, NUMBERS

MACHINES = sorted(NUMBERS)
ALLOWED = bpf.ALLOW
PTHREAD = 0x3D0F00


def verdict(packed: bytes, arch: int, number: int, *arguments: int) -> int:
    """What the kernel would answer: the model of the few instructions that the assembler writes."""
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("=IIQ6Q", number, arch, 0, *(argument & 0xFFFFFFFFFFFFFFFF for argument in padded))
    program = list(struct.iter_unpack("=HBBI", packed))
    at, loaded = 0, 0
    while True:
        code, if_true, if_false, constant = program[at]
        at += 1
        match code:
            case bpf.LOAD:
                (loaded,) = struct.unpack_from("=I", data, constant)
            case bpf.AND:
                loaded &= constant
            case bpf.JUMP_EQUAL:
                at += if_true if loaded == constant else if_false
            case bpf.JUMP_AT_LEAST:
                at += if_true if loaded >= constant else if_false
            case bpf.RETURN:
                return constant
            case _:
                raise AssertionError(f"no such instruction: {code:#x}")


def refused(number: int) -> int:
    return bpf.ERRNO | number


CONDITIONAL = (
    "clock_gettime clock_getres clock_nanosleep read write futex madvise tgkill mprotect mmap open openat fcntl ioctl clone clone3 openat2"
)
NOT_ON_AARCH64 = {"open", "stat", "lstat", "access", "poll", "time"}
"""Older calls that it never had: the library makes others of the list of them (`openat`, `newfstatat`, `faccessat`, `ppoll`, a clock)."""
HEADERS = {"x86_64": "x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "asm-generic/unistd.h"}


def test_every_architecture_has_a_number_for_all_that_is_allowed() -> None:
    named = {*seccomp.ALWAYS, *seccomp.WITH_FILES, *CONDITIONAL.split()}
    assert {machine: named - NUMBERS[machine].keys() for machine in MACHINES} == {"x86_64": set(), "aarch64": NOT_ON_AARCH64}
    for machine in MACHINES:
        assert len(set(NUMBERS[machine].values())) == len(NUMBERS[machine])


@pytest.mark.parametrize("sealed", [True, False])
def test_the_same_calls_get_through_on_every_architecture(sealed: bool) -> None:
    def through(machine: str) -> set[str]:
        packed, arch = seccomp.program(sealed=sealed, machine=machine), AUDIT_ARCH[machine]
        some = [(0, 0, 0, 0), (seccomp.CHANNEL, 1, 1, 2), (PTHREAD, 1, 0, 2), (0x7FFFFFFF, 0, 0, 0)]
        return {name for name, number in NUMBERS[machine].items() if any(verdict(packed, arch, number, *args) == ALLOWED for args in some)}

    assert through("x86_64") - through("aarch64") <= NOT_ON_AARCH64
    assert through("aarch64") <= through("x86_64")
    assert len(through("aarch64")) > 30


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_those_of_the_kernel(machine: str) -> None:
    header = Path("/usr/include", HEADERS[machine])
    if not header.exists():
        pytest.skip(f"no {header} here")
    defined = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\b", header.read_text())}
    defined = {{"fstatat": "newfstatat"}.get(name, name): number for name, number in defined.items()} | defined
    assert {name: defined.get(name) for name in NUMBERS[machine]} == NUMBERS[machine]


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("machine", MACHINES)
def test_every_number_that_is_not_on_the_list_is_refused(machine: str, sealed: bool) -> None:
    packed, arch, numbers = seccomp.program(sealed=sealed, machine=machine), AUDIT_ARCH[machine], NUMBERS[machine]
    always = {numbers[name] for name in (*seccomp.ALWAYS, *(() if sealed else seccomp.WITH_FILES)) if name in numbers}
    by_argument = {numbers[name] for name in CONDITIONAL.split() if name in numbers}
    for number in range(600):
        if number in always:
            assert verdict(packed, arch, number) == ALLOWED
        elif number not in by_argument:
            assert verdict(packed, arch, number) == refused(errno.EPERM)


@pytest.mark.parametrize("machine", MACHINES)
def test_another_architecture_kills(machine: str) -> None:
    packed = seccomp.program(sealed=True, machine=machine)
    for arch in (*(AUDIT_ARCH[other] for other in MACHINES if other != machine), 0x40000003, 0x40000028):  # and i386, arm
        assert verdict(packed, arch, NUMBERS[machine]["close"]) == bpf.KILL_PROCESS
    if machine == "x86_64":
        assert verdict(packed, AUDIT_ARCH[machine], 0x40000000 | NUMBERS[machine]["close"]) == bpf.KILL_PROCESS


@pytest.mark.parametrize("machine", MACHINES)
def test_arguments_are_looked_at_whole(machine: str) -> None:
    packed, arch, numbers = seccomp.program(sealed=True, machine=machine), AUDIT_ARCH[machine], NUMBERS[machine]

    def asks(name: str, *arguments: int) -> int:
        return verdict(packed, arch, numbers[name], *arguments)

    assert asks("read", 3) == ALLOWED
    assert asks("read", 4) == asks("read", 1 << 32 | 3) == refused(errno.EBADF)  # a high half does not hide another number
    assert asks("write", 3) == asks("write", 2) == ALLOWED
    assert asks("write", 0) == refused(errno.EBADF)
    assert asks("mmap", 0, 4096, 3, 0x22) == ALLOWED
    assert asks("mmap", 0, 4096, 7, 0x22) == asks("mmap", 0, 4096, 5, 2, 5) == refused(errno.EPERM)
    assert asks("mprotect", 0, 4096, 4) == refused(errno.EPERM)
    assert asks("futex", 0, 128) == asks("futex", 0, 129) == asks("futex", 0, 9 | 128 | 256) == ALLOWED
    assert asks("futex", 0, 6) == asks("futex", 0, 11 | 128) == refused(errno.ENOSYS)
    assert asks("madvise", 0, 4096, 4) == ALLOWED
    assert asks("madvise", 0, 4096, 12) == refused(errno.EINVAL)
    for name in ("clock_gettime", "clock_getres", "clock_nanosleep"):
        assert [asks(name, clock) for clock in range(12)] == [ALLOWED] * 12
        assert asks(name, ~1 << 3 | 2) == asks(name, (~1 << 3 | 2) & 0xFFFFFFFF) == refused(errno.EINVAL)  # of process 1
    assert asks("clone", PTHREAD) == asks("openat") == asks("fcntl") == asks("ioctl") == refused(errno.EPERM)
    assert asks("clone3") == asks("openat2") == refused(errno.ENOSYS)


@pytest.mark.parametrize("machine", MACHINES)
def test_with_files_only_reading_and_threads_are_added(machine: str) -> None:
    packed, arch, numbers = seccomp.program(sealed=False, machine=machine), AUDIT_ARCH[machine], NUMBERS[machine]

    def asks(name: str, *arguments: int) -> int:
        return verdict(packed, arch, numbers[name], *arguments)

    assert asks("openat", 0, 0, 0) == ALLOWED
    for flags in (0o1, 0o2, 0o100, 0o1000, 0o2000, 0o20000000, 0o10000000):
        assert asks("openat", 0, 0, flags) == refused(errno.EACCES)
    assert asks("clone", PTHREAD) == ALLOWED
    assert asks("clone", 17) == asks("clone", PTHREAD | 0x10000000) == refused(errno.EPERM)
    assert asks("mmap", 0, 4096, 5, 2, 5) == ALLOWED  # code of a file
    assert asks("mmap", 0, 4096, 7, 2, 5) == asks("mmap", 0, 4096, 5, 0x22) == refused(errno.EPERM)
    assert asks("fcntl", 3, 8) == asks("fcntl", 3, 4, 0x2000) == refused(errno.EPERM)
    assert asks("ioctl", 3, 0x5412) == refused(errno.ENOTTY)
