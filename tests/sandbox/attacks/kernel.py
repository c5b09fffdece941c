"""Attacks on the kernel: interfaces with a history, memory that can be run, other ways of calling."""

from __future__ import annotations

import mmap
import os
import platform
from typing import Any

from tests.sandbox.attacks.attack import LOOT, attack, buffer, call, native

EPERM = "Operation not permitted"
READ_WRITE, RUN = mmap.PROT_READ | mmap.PROT_WRITE, mmap.PROT_EXEC
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
FORTY_TWO = bytes.fromhex("b82a000000c3")  # mov eax, 42; ret


def run(address: int) -> int:
    globals_of_ctypes = type(native()).__init__.__globals__
    return int(globals_of_ctypes["CFUNCTYPE"](globals_of_ctypes["c_int"])(address)())


@attack(f"{EPERM}|Permission denied|ValueError")
def run_machine_code(prey: Any) -> Any:
    memory = mmap.mmap(-1, 4096, PRIVATE, READ_WRITE | RUN)
    memory.write(FORTY_TWO)
    globals_of_ctypes = type(native()).__init__.__globals__
    place = globals_of_ctypes["c_char"].from_buffer(memory)
    return LOOT if platform.machine() != "x86_64" or run(globals_of_ctypes["addressof"](place)) == 42 else None


@attack(EPERM)
def turn_data_into_code(prey: Any) -> Any:
    address = call(9, 0, 4096, READ_WRITE, PRIVATE, -1, 0)
    return LOOT if call(10, address, 4096, mmap.PROT_READ | RUN) == 0 else None


@attack(EPERM)
def make_all_memory_code(prey: Any) -> Any:
    return LOOT if call(135, 0xFFFFFFFF) >= 0 else None  # personality


@attack(EPERM, depends_on_machine=True)
def submit_to_a_ring(prey: Any) -> Any:
    return LOOT if call(425, 1, buffer(120)) >= 0 else None  # io_uring_setup


@attack(EPERM, depends_on_machine=True)
def load_a_program_into_the_kernel(prey: Any) -> Any:
    attributes = buffer(
        (2).to_bytes(4, "little") + (4).to_bytes(4, "little") + (8).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(112)
    )
    return LOOT if call(321, 0, attributes, 128) >= 0 else None  # bpf(BPF_MAP_CREATE)


@attack(EPERM, depends_on_machine=True)
def measure_other_processes(prey: Any) -> Any:
    attributes = buffer((1).to_bytes(4, "little") + (128).to_bytes(4, "little") + bytes(120))
    return LOOT if call(298, attributes, 0, -1, -1, 0) >= 0 else None  # perf_event_open


@attack(EPERM, depends_on_machine=True)
def handle_its_own_page_faults(prey: Any) -> Any:
    return LOOT if call(323, 1) >= 0 else None  # userfaultfd


@attack(EPERM, depends_on_machine=True)
def read_the_keys_of_the_kernel(prey: Any) -> Any:
    return LOOT if call(250, 0, -3, 1) != 0 else None  # keyctl(KEYCTL_GET_KEYRING_ID)


@attack(EPERM)
def share_memory_of_system_v(prey: Any) -> Any:
    number = call(29, 0, 4096, 0o600 | 0o1000)  # shmget(IPC_PRIVATE)
    call(31, number, 0, 0)  # shmctl(IPC_RMID)
    return LOOT


@attack(EPERM)
def queue_messages_of_system_v(prey: Any) -> Any:
    number = call(68, 0, 0o600 | 0o1000)  # msgget
    call(71, number, 0, 0)
    return LOOT


@attack(EPERM)
def learn_about_the_machine(prey: Any) -> Any:
    return LOOT if call(99, buffer(128)) == 0 else None  # sysinfo


@attack(EPERM)
def learn_the_name_of_the_machine(prey: Any) -> Any:
    return LOOT if os.uname().nodename else None


@attack(EPERM, depends_on_machine=True)
def read_the_log_of_the_kernel(prey: Any) -> Any:
    return LOOT if call(103, 3, buffer(4096), 4096) >= 0 else None  # syslog


@attack(EPERM)
def filter_its_own_calls(prey: Any) -> Any:
    return LOOT if call(317, 2, 0, buffer((0x7FFF0000).to_bytes(4, "little"))) == 0 else None  # seccomp


@attack(EPERM)
def change_the_local_descriptor_table(prey: Any) -> Any:
    return LOOT if call(154, 0, buffer(64), 64) >= 0 else None  # modify_ldt


@attack("Invalid argument")
def merge_memory_with_others(prey: Any) -> Any:
    address = call(9, 0, 4096, READ_WRITE, PRIVATE, -1, 0)
    return LOOT if call(28, address, 4096, 12) == 0 else None  # madvise(MADV_MERGEABLE)


@attack("Function not implemented")
def lock_with_inheritance(prey: Any) -> Any:
    return LOOT if call(202, buffer(8), 6 | 128, 0, 0, 0, 0) == 0 else None  # futex(FUTEX_LOCK_PI)


@attack("SIGSYS", depends_on_machine=True)
def call_by_another_abi(prey: Any) -> Any:
    try:
        call(0x40000000 | 39)  # x32
    except OSError as error:
        return LOOT if error.errno == 38 else None  # unconfined the kernel at least looks at it
    return LOOT
