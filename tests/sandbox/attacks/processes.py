"""Attacks on other processes: the host, the zygote, a neighbour; programs, threads, and what they know."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.sandbox.attacks.attack import LOOT, attack, buffer, call, native


@attack()
def read_the_environment_of_the_host(prey: Any) -> Any:
    return LOOT if Path(f"/proc/{prey['host']}/environ").read_bytes() else None


@attack()
def read_the_environment_of_the_zygote(prey: Any) -> Any:
    return LOOT if Path(f"/proc/{prey['zygote']}/environ").read_bytes() else None


@attack()
def read_the_memory_of_the_host(prey: Any) -> Any:
    return LOOT if os.open(f"/proc/{prey['host']}/mem", os.O_RDONLY) else None


@attack("Operation not permitted")
def read_the_memory_of_the_host_with_a_system_call(prey: Any) -> Any:
    own = buffer(8)
    globals_of_ctypes = type(native()).__init__.__globals__
    address = globals_of_ctypes["addressof"](own)
    to = buffer(address.to_bytes(8, "little") + (8).to_bytes(8, "little"))
    source = buffer(prey["address"].to_bytes(8, "little") + (8).to_bytes(8, "little"))
    return LOOT if call(310, prey["host"], to, 1, source, 1, 0) == 8 else None  # process_vm_readv


@attack("Operation not permitted")
def trace_a_neighbour(prey: Any) -> Any:
    if call(101, 0x4206, prey["neighbour"], 0, 0) == 0:  # PTRACE_SEIZE
        return LOOT
    return None


@attack()
def see_whether_the_host_lives(prey: Any) -> Any:
    os.kill(prey["host"], 0)
    return LOOT


@attack("Invalid argument")
def watch_the_host_work(prey: Any) -> Any:
    """The CPU clock of a process: clock_getcpuclockid(3). Whoever may read it knows when a neighbour is called, too."""
    return LOOT if time.clock_gettime_ns((~prey["host"] << 3) | 2) > 0 else None


@attack("Invalid argument")
def look_for_processes_by_their_clocks(prey: Any) -> Any:
    return LOOT if time.clock_getres((~prey["host"] << 3) | 2) > 0 else None


@attack("Invalid argument")
def wait_until_the_host_has_worked(prey: Any) -> Any:
    return LOOT if call(230, (~prey["host"] << 3) | 2, 0, buffer(16), 0) == 0 else None  # clock_nanosleep


@attack()
def stop_a_neighbour(prey: Any) -> Any:
    os.kill(prey["neighbour"], signal.SIGCONT)
    return LOOT


@attack("Operation not permitted")
def signal_past_python(prey: Any) -> Any:
    return LOOT if call(62, prey["host"], 0) == 0 else None  # kill


@attack("Operation not permitted")
def signal_a_thread_of_the_host(prey: Any) -> Any:
    return LOOT if call(234, prey["host"], prey["host"], 0) == 0 else None  # tgkill


@attack("Operation not permitted")
def signal_with_a_handle(prey: Any) -> Any:
    return LOOT if call(434, prey["host"], 0) >= 0 else None  # pidfd_open


@attack("Operation not permitted")
def signal_with_a_lie_about_the_sender(prey: Any) -> Any:
    told = buffer(signal.SIGCONT.to_bytes(4, "little") + bytes(4) + (-1).to_bytes(4, "little", signed=True) + bytes(116))
    return LOOT if call(129, prey["neighbour"], int(signal.SIGCONT), told) == 0 else None  # rt_sigqueueinfo


@attack()
def fork(prey: Any) -> Any:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return LOOT if os.waitpid(pid, 0)[0] == pid else None


@attack("Operation not permitted")
def fork_past_python(prey: Any) -> Any:
    pid = call(57)
    if pid == 0:
        os._exit(0)
    return LOOT if os.waitpid(pid, 0)[0] == pid else None


@attack("Operation not permitted")
def clone_past_python(prey: Any) -> Any:
    pid = call(56, int(signal.SIGCHLD), 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return LOOT if os.waitpid(pid, 0)[0] == pid else None


@attack("Function not implemented")
def clone_with_the_newest_call(prey: Any) -> Any:
    arguments = bytearray(64)
    arguments[32:40] = int(signal.SIGCHLD).to_bytes(8, "little")
    pid = call(435, buffer(bytes(arguments)), 64)
    if pid == 0:
        os._exit(0)
    return LOOT if os.waitpid(pid, 0)[0] == pid else None


@attack()
def start_a_program(prey: Any) -> Any:
    import subprocess

    return LOOT if subprocess.run(["/bin/true"]).returncode == 0 else None


@attack()
def start_a_shell(prey: Any) -> Any:
    return LOOT if os.system("exit 3") == 3 << 8 else None


@attack()
def spawn_a_program(prey: Any) -> Any:
    return LOOT if os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0) else None


@attack()
def start_by_a_pickle(prey: Any) -> Any:
    import pickle

    return LOOT if pickle.loads(b"cposix\nsystem\n(S'exit 3'\ntR.") == 3 << 8 else None


@attack("RefusedInSandbox|PermissionError|RuntimeError")
def start_a_thread(prey: Any) -> Any:
    import threading

    done = []
    thread = threading.Thread(target=lambda: done.append(1))
    thread.start()
    thread.join(5)
    return LOOT if done else None


@attack()
def push_the_host_back(prey: Any) -> Any:
    os.setpriority(os.PRIO_PROCESS, prey["neighbour"], 19)
    return LOOT


@attack()
def lower_the_limits_of_another(prey: Any) -> Any:
    import resource

    return LOOT if resource.prlimit(prey["neighbour"], resource.RLIMIT_CORE) else None


@attack("PermissionError|ValueError")
def raise_its_own_limits(prey: Any) -> Any:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return LOOT


@attack()
def tie_a_neighbour_to_one_processor(prey: Any) -> Any:
    os.sched_setaffinity(prey["neighbour"], {0})
    return LOOT


@attack("Operation not permitted")
def become_another_user(prey: Any) -> Any:
    return LOOT if call(117, *(os.getresuid() if hasattr(os, "getresuid") else (-1, -1, -1))) == 0 else None


@attack("Operation not permitted")
def outlive_the_zygote(prey: Any) -> Any:
    return LOOT if call(157, 1, 0) == 0 else None  # PR_SET_PDEATHSIG


@attack("Operation not permitted")
def allow_dumps_again(prey: Any) -> Any:
    return LOOT if call(157, 4, 1) == 0 else None  # PR_SET_DUMPABLE


@attack("Operation not permitted")
def leave_the_session(prey: Any) -> Any:
    os.setsid()
    return LOOT


@attack("Operation not permitted", depends_on_machine=True)
def enter_a_world_of_its_own(prey: Any) -> Any:
    return LOOT if call(272, 0x10000000) == 0 else None  # unshare(CLONE_NEWUSER)


@attack("Operation not permitted", depends_on_machine=True)
def mount_a_file_system(prey: Any) -> Any:
    call(272, 0x00020000)  # unshare(CLONE_NEWNS): the mount must not be seen outside
    call(165, buffer(b"none"), buffer(b"/"), 0, (1 << 18) | (1 << 14), 0)  # private from here on
    return LOOT if call(165, buffer(b"tmpfs"), buffer(prey["scratch"].encode()), buffer(b"tmpfs"), 0, 0) == 0 else None


@attack("Operation not permitted", depends_on_machine=True)
def change_the_root(prey: Any) -> Any:
    return LOOT if call(161, buffer(prey["directory"].encode())) == 0 else None
