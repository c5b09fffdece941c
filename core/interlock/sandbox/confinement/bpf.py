"""A small assembler for the classic BPF programs that seccomp runs on every system call.

The program sees `struct seccomp_data`: nr at 0, arch at 4, the six arguments as 64-bit words from 16 on (seccomp(2)).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

ALLOW = 0x7FFF0000
KILL_PROCESS = 0x80000000
ERRNO = 0x00050000

LOAD, JUMP_EQUAL, JUMP_AT_LEAST, AND, RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_NR, _ARCH, _ARGUMENTS = 0, 4, 16
_WHOLE = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Where:
    """A condition on one argument: its low 32 bits, masked, equal `value`. The high 32 bits are zero, or it does not hold."""

    argument: int
    value: int
    mask: int = _WHOLE


@dataclass(slots=True)
class Program:
    """The instructions so far: (code, jump if true, jump if false, constant)."""

    instructions: list[tuple[int, int, int, int]] = field(default_factory=list)

    def start(self, arch: int, first_foreign_number: int | None) -> None:
        """Kill whoever speaks another ABI: its numbers would mean other calls. Leaves the number of the call loaded."""
        self._add(LOAD, 0, 0, _ARCH)
        self._add(JUMP_EQUAL, 1, 0, arch)
        self._add(RETURN, 0, 0, KILL_PROCESS)
        self._add(LOAD, 0, 0, _NR)
        if first_foreign_number is not None:
            self._add(JUMP_AT_LEAST, 0, 1, first_foreign_number)
            self._add(RETURN, 0, 0, KILL_PROCESS)

    def allow(self, number: int) -> None:
        """The call passes, whatever its arguments."""
        self._add(JUMP_EQUAL, 0, 1, number)
        self._add(RETURN, 0, 0, ALLOW)

    def allow_where(self, number: int, alternatives: Sequence[Iterable[Where]], errno: int) -> None:
        """The call passes when all conditions of one alternative hold; otherwise it fails with `errno`."""
        body: list[tuple[int, int, int, int]] = []
        for conditions in alternatives:
            block: list[tuple[int, bool, int]] = []  # code, leave for the next alternative unless equal, constant
            for where in conditions:
                at = _ARGUMENTS + 8 * where.argument
                block += [(LOAD, False, at + 4), (JUMP_EQUAL, True, 0), (LOAD, False, at)]
                if where.mask != _WHOLE:
                    block.append((AND, False, where.mask))
                block.append((JUMP_EQUAL, True, where.value))
            block.append((RETURN, False, ALLOW))
            body += [(code, 0, len(block) - at - 1 if leaves else 0, constant) for at, (code, leaves, constant) in enumerate(block)]
        body.append((RETURN, 0, 0, ERRNO | errno))
        assert len(body) <= 255, "a jump is one byte"
        self._add(JUMP_EQUAL, 0, len(body), number)
        self.instructions += body

    def refuse(self, number: int, errno: int) -> None:
        """The call fails with `errno`."""
        self._add(JUMP_EQUAL, 0, 1, number)
        self._add(RETURN, 0, 0, ERRNO | errno)

    def end(self, errno: int) -> None:
        """Every call that was not named fails with `errno`."""
        self._add(RETURN, 0, 0, ERRNO | errno)

    def pack(self) -> bytes:
        """The array of `struct sock_filter` that the kernel reads."""
        return b"".join(struct.pack("=HBBI", *instruction) for instruction in self.instructions)

    def _add(self, code: int, if_true: int, if_false: int, constant: int) -> None:
        self.instructions.append((code, if_true, if_false, constant & _WHOLE))
