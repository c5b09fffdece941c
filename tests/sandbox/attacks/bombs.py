"""Attacks that use up: memory, processor, processes, descriptors, disk, the stack."""

from __future__ import annotations

import os
from typing import Any

from tests.sandbox.attacks.attack import LOOT, attack

MIB = 1 << 20
UNCONFINED_MIB = 80


@attack("MemoryError", memory=32 * MIB)
def one_large_object(prey: Any) -> Any:
    return LOOT if len(bytearray(UNCONFINED_MIB * MIB)) else None


@attack("MemoryError", memory=32 * MIB)
def many_small_objects(prey: Any) -> Any:
    hoard = []
    for number in range(400_000):
        hoard.append([number, {}])
    return LOOT if hoard else None


@attack("MemoryError", memory=32 * MIB)
def a_string_that_doubles(prey: Any) -> Any:
    text = "x"
    while len(text) < UNCONFINED_MIB * MIB:
        text += text
    return LOOT


@attack("MemoryError", memory=32 * MIB)
def a_compression_bomb(prey: Any) -> Any:
    import zlib

    squeezer = zlib.compressobj()
    packed = b"".join(squeezer.compress(bytes(MIB)) for _ in range(UNCONFINED_MIB)) + squeezer.flush()
    return LOOT if len(zlib.decompress(packed)) == UNCONFINED_MIB * MIB else None


@attack("MemoryError|Cannot allocate memory", memory=32 * MIB)
def memory_without_the_heap(prey: Any) -> Any:
    import mmap

    return LOOT if mmap.mmap(-1, UNCONFINED_MIB * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) else None


@attack("MemoryError", memory=32 * MIB)
def an_integer_without_end(prey: Any) -> Any:
    return LOOT if (1 << (UNCONFINED_MIB * MIB * 8)).bit_length() else None


@attack("SIGXCPU", wins_by_lasting=True, cpu=1)
def spin(prey: Any) -> Any:
    while True:
        pass


@attack("SIGXCPU|SIGKILL", wins_by_lasting=True, cpu=1)
def spin_and_hear_no_warning(prey: Any) -> Any:
    import signal

    for number in range(1, 32):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_IGN)
    while True:
        pass


@attack("SIGXCPU", wins_by_lasting=True, cpu=1)
def a_catastrophic_regex(prey: Any) -> Any:
    import re

    return re.match(r"(a|aa)+$", "a" * 100 + "!")


@attack("RefusedInSandbox|PermissionError")
def a_fork_bomb(prey: Any) -> Any:
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    return LOOT


@attack("Operation not permitted|Too many open files")
def all_descriptors(prey: Any) -> Any:
    return LOOT if max(os.dup(0) for _ in range(200)) > 100 else None


@attack("RefusedInSandbox|PermissionError")
def fill_the_disk(prey: Any) -> Any:
    with open(prey["scratch"] + "/large", "wb") as file:  # noqa: PTH123
        file.write(bytes(MIB))
    return LOOT


@attack("RefusedInSandbox|PermissionError")
def fill_the_disk_with_names(prey: Any) -> Any:
    for number in range(10):
        os.mkdir(f"{prey['scratch']}/many-{number}")  # noqa: PTH102
    return LOOT
