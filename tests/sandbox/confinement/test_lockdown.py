"""What a whole lock-down leaves to a child: each layer is in it. The filter refuses before the others are asked, so here it is left out."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.sandbox.forked import forked
from tests.sandbox.spawning import wait_pid

from interlock.sandbox.confinement import available, credentials
from interlock.sandbox.confinement.libc import PR_CAPBSET_READ, PR_GET_MDWE, library, prctl
from interlock.sandbox.confinement.lockdown import Lockdown, Prepared
from interlock.sandbox.confinement.seccomp import CHANNEL
from interlock.sandbox.plan import Plan
from interlock.sandbox.zygote import shared

pytestmark = pytest.mark.skipif(bool(available().missing), reason=f"not here: {available().missing}")
PR_GET_PDEATHSIG, PR_GET_DUMPABLE, PR_GET_NO_NEW_PRIVS = 2, 3, 39
NOTHING = "RLIMIT_CORE RLIMIT_FSIZE RLIMIT_MEMLOCK RLIMIT_MSGQUEUE RLIMIT_NPROC RLIMIT_SIGPENDING"
IS_ROOT = os.geteuid() == 0


def facts() -> dict[str, Any]:
    """What the kernel says of this process."""
    death, capabilities = ctypes.c_int(), ctypes.create_string_buffer(24)
    library().prctl(PR_GET_PDEATHSIG, ctypes.byref(death))
    library().capget(ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0), 8), capabilities)
    with suppress(OSError):
        os.close(0)  # makes room for one
    try:
        Path("/etc/passwd").read_bytes()
        reads = True
    except PermissionError:
        reads = False
    return {
        "dies with": death.value,
        "dumps": prctl(PR_GET_DUMPABLE),
        "gains rights": not prctl(PR_GET_NO_NEW_PRIVS),
        "runs new code": available().no_new_code and not prctl(PR_GET_MDWE),
        "capabilities": any(capabilities.raw),
        "may have": IS_ROOT and any(prctl(PR_CAPBSET_READ, number) for number in range(credentials._capabilities())),
        "users": {*os.getresuid(), *os.getresgid(), *os.getgroups()},
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in NOTHING.split()},
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "memory": resource.getrlimit(resource.RLIMIT_AS)[1],
        "seconds": resource.getrlimit(resource.RLIMIT_CPU)[0],
        "reads": reads,
    }


def without_filter(plan: Plan) -> Prepared:
    prepared = Lockdown().prepare(plan, parent=os.getppid())
    for descriptor in prepared.kept:
        os.dup2(descriptor, CHANNEL + 1)
    prepared.after[:] = [step for step in prepared.after if step.what != "seccomp"]
    return prepared


def locked_down() -> dict[str, Any]:
    prepared = without_filter(Plan(memory=64 << 20, cpu=7))
    prepared.refused.clear()
    prepared.apply(1)
    return facts()


def test_every_layer_is_in_a_lock_down() -> None:
    free, outcome = forked(facts).value, forked(locked_down)
    assert outcome.worked, outcome
    held = outcome.value
    assert free["dies with"] == 0 and free["dumps"] and free["gains rights"] and free["reads"]  # the canary
    assert (held["dies with"], held["dumps"], held["gains rights"], held["runs new code"]) == (signal.SIGKILL, 0, False, False)
    assert (held["capabilities"], held["may have"]) == (False, False)
    assert set(held["limits"].values()) == {(0, 0)}
    assert (held["descriptors"], held["seconds"]) == (CHANNEL + 1, 7)
    assert 64 << 20 < held["memory"] < 1 << 40  # RLIM_INFINITY is -1
    assert held["reads"] is not bool(available().landlock)
    if available().leaves_root:
        assert held["users"] == {credentials.FIRST_UID + 1}


def test_a_lock_down_that_does_not_hold_ends_the_child() -> None:
    assert "the lock-down does not hold" in forked(lambda: without_filter(Plan()).apply(1)).error


def test_without_a_change_of_user_nothing_is_dumped_either() -> None:
    def stays() -> int:
        prepared = without_filter(Plan())
        prepared.refused.clear()
        replace(prepared, leaves_root=False).apply(1)
        return prctl(PR_GET_DUMPABLE)

    assert forked(stays).value == 0


def test_the_kernel_says_of_a_worker_what_it_says_of_itself() -> None:
    worker = shared().spawn(Plan())
    said = Path(f"/proc/{wait_pid(worker)}/status")
    while "Seccomp:\t2" not in (status := said.read_text()):  # the last step
        assert worker.exit is None
        worker.read_status()
    told = dict(line.split(":\t", 1) for line in status.splitlines())
    assert told["NoNewPrivs"] == "1" and told["Threads"] == "1"
    assert {told[f"Cap{name}"].strip("0") for name in ("Inh", "Prm", "Eff", "Amb", *(["Bnd"] if IS_ROOT else []))} == {""}
    if available().leaves_root:
        [uid] = set(told["Uid"].split())
        assert credentials.FIRST_UID <= int(uid) <= credentials.LAST_UID
        assert set(told["Gid"].split()) == {uid} and not told["Groups"].split()
    assert Path(f"/proc/{worker.pid}/oom_score_adj").read_text() == "1000\n"
    worker.close()
