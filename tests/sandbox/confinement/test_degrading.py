"""Machines that can do less, played by a filter around everything: what still runs there, and what is refused."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.sandbox.forked import forked
from tests.sandbox.spawning import ask, receive

from interlock.sandbox.confinement import available, bpf, landlock, process, seccomp, support
from interlock.sandbox.confinement.libc import MACHINE
from interlock.sandbox.confinement.syscall_numbers import AUDIT_ARCH, NUMBERS
from interlock.sandbox.plan import Plan
from interlock.sandbox.zygote import Zygote

pytestmark = pytest.mark.skipif(bool(available().missing), reason=f"not here: {available().missing}")
ROOT = Path(__file__).parents[3]


def without(*names: str, number: int) -> None:
    """From here on this process, and all that it starts, is on a kernel that answers these calls so."""
    outer = bpf.Program()
    outer.start(AUDIT_ARCH[MACHINE], None)
    for name in names:
        outer.refuse(NUMBERS[MACHINE][name], number)
    # `install` writes the pid where a filter of ours has a place for it.
    outer.allow_where(NUMBERS[MACHINE]["tgkill"], [[bpf.Where(0, 0x7FFFFFFF)]], errno.EPERM)
    outer._add(bpf.RETURN, 0, 0, bpf.ALLOW)
    process.forbid_new_privileges()
    seccomp.install(outer.pack())
    available.cache_clear()


def old_kernel() -> None:
    without("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", number=errno.ENOSYS)


def strict_container() -> None:
    without("seccomp", number=errno.EPERM)


def spawned(machine: Callable[[], None], plan: Plan) -> Any:
    """What a worker of this plan says first there, and whether it is confined."""

    def there() -> Any:
        machine()
        zygote = Zygote.launch(worker="tests.sandbox.echo_worker", path=[str(ROOT)])
        try:
            worker = zygote.spawn(plan)
            said = receive(worker)
            opened = ask(worker, "(open('/etc/passwd').name)") if said[0] == "hello" else None
            return [said, opened, available().missing, available().notices]
        finally:
            zygote.close()

    outcome = forked(there)
    assert outcome.worked, outcome
    return outcome.value


def test_without_landlock_a_sealed_worker_is_held_by_the_filter_and_a_start_says_so() -> None:
    (name, layers), opened, missing, notices = spawned(old_kernel, Plan())
    assert name == "hello" and "landlock" not in layers and "seccomp" in layers
    assert "PermissionError" in opened or "RefusedInSandbox" in opened
    assert missing == ()
    assert notices == ("This kernel has no Landlock: sandboxed components are held by seccomp alone.",)


def test_without_landlock_one_that_reads_files_is_refused() -> None:
    (name, why), *_ = spawned(old_kernel, Plan(files=("/usr",)))
    assert name == "refused" and "reading files needs Landlock" in why


def test_without_seccomp_none_runs() -> None:
    (name, why), _, missing, _ = spawned(strict_container, Plan())
    assert name == "refused" and "seccomp is not available" in why
    assert missing and "seccomp" in missing[0]


def test_without_either_an_unconfined_process_runs_all_the_same() -> None:
    (name, layers), opened, *_ = spawned(strict_container, Plan(isolation="process"))
    assert (name, layers, opened) == ("hello", {}, "/etc/passwd")


def test_the_machine_that_is_played_is_another_one() -> None:
    """The canary."""
    assert forked(lambda: (old_kernel(), landlock.abi())[1]).value == 0
    assert forked(lambda: (strict_container(), seccomp.why_not())[1]).value is not None
    assert available().seccomp == "" and support.available is available
