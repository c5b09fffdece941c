"""The zygote: what a worker starts with, how it ends, and what it costs."""

from __future__ import annotations

import gc
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.sandbox.spawning import SECONDS_MAX, ask, comes, receive, wait_exit, wait_pid

from interlock.sandbox.confinement import available
from interlock.sandbox.plan import Plan
from interlock.sandbox.zygote import Zygote

pytestmark = pytest.mark.skipif(bool(available().missing), reason=f"not here: {available().missing}")
ROOT = Path(__file__).parents[2]
WORKER = "tests.sandbox.echo_worker"


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote.launch(worker=WORKER, path=[str(ROOT)])
    yield zygote
    zygote.close()


def test_a_worker_tells_what_holds_it_and_the_machine_had_said_so(zygote: Zygote) -> None:
    worker = zygote.spawn(Plan())
    name, layers = receive(worker)
    assert name == "hello"
    assert set(layers) == set(available().layers(Plan())) > {"seccomp", "rlimits"}
    worker.close()


def test_a_process_is_held_by_nothing_and_says_so(zygote: Zygote) -> None:
    worker = zygote.spawn(Plan(isolation="process"))
    assert receive(worker) == ["hello", {}]
    assert ask(worker, "(__import__('os').path.exists('/etc/passwd'))") is True
    worker.close()


def test_a_worker_has_nothing_of_the_host(zygote: Zygote) -> None:
    worker = zygote.spawn(Plan())
    receive(worker)
    assert ask(worker, "(dict(os.environ))") == {}
    assert ask(worker, "(__import__('sys').argv)") == [""]
    assert ask(worker, "(__import__('sys').path)") == []
    assert ask(worker, "(__import__('platform').node())") == ""
    assert [number for number in range(32) if "Bad file" not in str(ask(worker, f"(os.lseek({number}, 0, 1))"))] == [0, 1, 2, 3]
    worker.close()


def test_sets_of_strings_have_one_order_in_every_life_of_the_host(zygote: Zygote, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = "(list({'one', 'two', 'three', 'four', 'five', 'six'}) + [hash('seven')])"
    monkeypatch.setenv("PYTHONHASHSEED", "12345")
    later = Zygote.launch(worker=WORKER, path=[str(ROOT)])
    try:
        answers = []
        for one in (zygote, later):
            worker = one.spawn(Plan())
            receive(worker)
            answers.append(ask(worker, shown))
            worker.close()
    finally:
        later.close()
    assert answers[0] == answers[1]
    program = f"import json; print(json.dumps({shown}))"
    plain = {
        subprocess.run([sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True).stdout
        for seed in "12"
    }
    assert len(plain) == 2  # the canary: elsewhere they have not


def test_two_workers_share_no_globals(zygote: Zygote) -> None:
    one, two = zygote.spawn(Plan()), zygote.spawn(Plan())
    for worker in (one, two):
        receive(worker)
    assert ask(one, "(globals().setdefault('kept', 1))") == 1
    assert ask(one, "('kept' in globals())") is True
    assert ask(two, "('kept' in globals())") is False
    for worker in (one, two):
        worker.close()


def test_a_worker_that_stands_ready_is_warm_and_one_that_is_waited_for_is_not(zygote: Zygote) -> None:
    first = zygote.spawn(Plan())
    receive(first)
    zygote.stand_ready(Plan())
    ready = zygote._spare
    assert ready is not None
    wait_pid(ready)
    zygote.stand_ready(Plan())
    second = zygote.spawn(Plan())
    assert second is ready
    receive(second)
    assert ask(first, "(len(warmed))") == 0
    assert ask(second, "(warmed == [os.getpid()])") is True
    for worker in (first, second):
        worker.close()


def test_an_end_is_told_apart(zygote: Zygote) -> None:
    ended, killed, crashed = (zygote.spawn(Plan()) for _ in range(3))
    for worker in (ended, killed, crashed):
        receive(worker)
        wait_pid(worker)
    ended.sock.sendall(b"exit")
    killed.kill()
    crashed.sock.sendall(b"(__import__('os').abort())")
    assert str(wait_exit(ended)) == "it ended with exit code 7"
    assert str(wait_exit(killed)) == "it was ended by SIGKILL"
    assert wait_exit(crashed).code in (-signal.SIGABRT, -signal.SIGSEGV)
    for worker in (ended, killed, crashed):
        worker.close()


def test_a_kill_before_the_fork_is_remembered(zygote: Zygote) -> None:
    worker = zygote.spawn(Plan())
    worker.kill()
    wait_pid(worker)
    assert wait_exit(worker).code == -signal.SIGKILL
    worker.close()


def test_one_that_is_let_go_ends_whatever_it_does_and_though_nobody_has_read_its_status() -> None:
    zygote = Zygote.launch(worker=WORKER, path=[str(ROOT)])
    try:
        worker = zygote.spawn(Plan(isolation="process"))
        receive(worker)
        assert ask(worker, "spin") == "spinning"
        worker.close()
        wait_children(zygote, 0)
        os.kill(zygote.pid, signal.SIGSTOP)
        worker = zygote.spawn(Plan(isolation="process"))
        worker.sock.sendall(b"spin")
        worker.close()  # before it is forked
        os.kill(zygote.pid, signal.SIGCONT)
        other = zygote.spawn(Plan(isolation="process"))
        receive(other)
        wait_children(zygote, 1)
    finally:
        zygote.close()


def test_a_frozen_worker_uses_no_cpu_and_goes_on_afterwards(zygote: Zygote) -> None:
    worker = zygote.spawn(Plan())
    receive(worker)
    pid = wait_pid(worker)
    assert ask(worker, "spin") == "spinning"
    worker.stop()
    wait_state(pid, "T")
    at = worker.cpu_seconds()
    busy = time.process_time() + 0.05
    while time.process_time() < busy:
        pass
    assert worker.cpu_seconds() == at
    worker.cont()
    wait_cpu(worker, at + 0.01)
    worker.close()


def test_cpu_and_memory_are_read_from_outside(zygote: Zygote) -> None:
    worker = zygote.spawn(Plan())
    receive(worker)
    wait_pid(worker)
    assert 0 < worker.cpu_seconds() < 1
    before = worker.memory()
    ask(worker, "hoard")
    assert 15 << 20 < worker.memory() - before < 24 << 20
    worker.kill()
    exit = wait_exit(worker)
    assert exit.cpu > 0 and exit.memory_max > 16 << 20
    worker.close()


def test_requests_that_come_together_are_all_heard(zygote: Zygote) -> None:
    """Those without a descriptor are glued to one another on the way."""
    worker = zygote.spawn(Plan())
    receive(worker)
    pid = wait_pid(worker)
    os.kill(zygote.pid, signal.SIGSTOP)
    wait_state(zygote.pid, "T")
    for _ in range(50):
        zygote.send_signal(pid, 0)
    zygote.send_signal(pid, signal.SIGSTOP)
    another = zygote.spawn(Plan())
    os.kill(zygote.pid, signal.SIGCONT)
    assert receive(another)[0] == "hello"
    wait_state(pid, "T")
    another.close()
    worker.close()


def test_the_next_worker_stands_ready_confined_and_is_used_once() -> None:
    zygote = Zygote.launch(worker=WORKER, path=[str(ROOT)])
    try:
        first = zygote.spawn(Plan(name="first"))
        zygote.stand_ready(Plan(name="first"))
        receive(first)
        [ready] = wait_children(zygote, 2) - {wait_pid(first)}
        wait_state(zygote.pid, "S")  # it has told of that one
        os.kill(zygote.pid, signal.SIGSTOP)  # whoever is asked now, is not forked
        second, third = zygote.spawn(Plan(name="second")), zygote.spawn(Plan(name="third"))
        assert receive(second)[0] == "hello" and wait_pid(second) == ready
        assert second.plan.name == "second"
        assert ask(second, "(open('/etc/passwd').name)").startswith(("PermissionError", "RefusedInSandbox"))
        assert not comes(third.sock.fileno(), 0)
        os.kill(zygote.pid, signal.SIGCONT)
        assert receive(third)[0] == "hello" and wait_pid(third) not in (ready, wait_pid(first))
    finally:
        zygote.close()


def test_a_worker_that_stands_ready_goes_to_its_own_plan_alone_and_only_while_it_lives() -> None:
    zygote = Zygote.launch(worker=WORKER, path=[str(ROOT)])
    try:
        large = zygote.spawn(Plan(memory=512 << 20))
        zygote.stand_ready(Plan(memory=512 << 20))
        small = zygote.spawn(Plan(memory=64 << 20))  # the one that is ready may have more
        zygote.stand_ready(Plan(memory=64 << 20))
        assert "64 MiB" in receive(small)[1]["rlimits"]
        assert ask(small, "(len(bytearray(200 << 20)))").startswith("MemoryError")
        free = zygote.spawn(Plan(isolation="process"))
        assert receive(free) == ["hello", {}]
        used = {wait_pid(large), wait_pid(small), wait_pid(free)}
        [ready] = wait_children(zygote, 4) - used
        os.kill(ready, signal.SIGKILL)
        wait_gone(ready)
        after = zygote.spawn(Plan(memory=64 << 20))
        assert receive(after)[0] == "hello" and wait_pid(after) != ready
    finally:
        zygote.close()


def wait_children(zygote: Zygote, count: int) -> set[int]:
    """Its children, once there are so many."""
    until = time.monotonic() + SECONDS_MAX
    while True:
        found = set(map(int, Path(f"/proc/{zygote.pid}/task/{zygote.pid}/children").read_text().split()))
        if len(found) == count:
            return found
        assert time.monotonic() < until, found


def wait_state(pid: int, state: str) -> None:
    until = time.monotonic() + SECONDS_MAX
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != state:
        assert time.monotonic() < until, f"never in state {state}"


def wait_cpu(worker: object, seconds: float) -> None:
    until = time.monotonic() + SECONDS_MAX
    while worker.cpu_seconds() < seconds:  # type: ignore[attr-defined]
        assert time.monotonic() < until


def test_the_memory_of_a_plan_holds(zygote: Zygote) -> None:
    worker = zygote.spawn(Plan(memory=64 << 20))
    receive(worker)
    assert ask(worker, "(len(bytearray(32 << 20)))") == 32 << 20
    assert ask(worker, "(len(bytearray(200 << 20)))").startswith("MemoryError")
    worker.close()


def test_the_cpu_of_a_plan_holds(zygote: Zygote) -> None:
    worker = zygote.spawn(Plan(cpu=1))
    receive(worker)
    ask(worker, "spin")
    exit = wait_exit(worker)
    assert str(exit) == "it used up its CPU time" and 0.5 < exit.cpu < 2
    worker.close()


def test_workers_die_with_a_zygote_that_is_killed_also_frozen_ones() -> None:
    zygote = Zygote.launch(worker=WORKER, path=[str(ROOT)])
    workers = [zygote.spawn(Plan()) for _ in range(3)]
    for worker in workers:
        receive(worker)
        wait_pid(worker)
    workers[0].stop()
    os.kill(zygote.pid, signal.SIGKILL)
    for worker in workers:
        assert wait_exit(worker).code is None
        assert worker.sock.recv(1) == b"" if comes(worker.sock.fileno(), SECONDS_MAX) else False
    zygote.close()
    assert not zygote.is_alive
    with pytest.raises(OSError):
        zygote.spawn(Plan())


def test_a_worker_that_is_forgotten_gives_its_descriptors_back(zygote: Zygote) -> None:
    def held() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    before = held()
    worker = zygote.spawn(Plan())
    wait_pid(worker)
    worker.kill()
    assert held() > before
    del worker
    assert held() == before


def test_zygote_and_workers_die_with_a_host_that_is_killed() -> None:
    program = f"""
import sys, os, signal
sys.path.insert(0, {str(ROOT)!r})
from interlock.sandbox.zygote import Zygote
from interlock.sandbox.plan import Plan
from tests.sandbox.spawning import receive, wait_pid
zygote = Zygote.launch(worker={WORKER!r}, path=[{str(ROOT)!r}])
worker = zygote.spawn(Plan())
receive(worker)
if os.fork() == 0:  # a child that keeps the control socket open
    os.close(1)
    signal.alarm(5)
    signal.pause()
print(zygote.pid, wait_pid(worker), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    answer = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert answer.returncode == -signal.SIGKILL
    for pid in map(int, answer.stdout.split()):
        wait_gone(pid)


def wait_gone(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert comes(pidfd, SECONDS_MAX), f"{pid} goes on"
    os.close(pidfd)


def test_a_sealed_worker_imports_from_memory_and_knows_the_time_zones(zygote: Zygote) -> None:
    worker = zygote.spawn(Plan())
    receive(worker)
    assert ask(worker, "(__import__('wave').__name__)") == "wave"
    assert ask(worker, "(__import__('tomllib').loads('a = 1'))") == {"a": 1}
    assert ask(worker, "('é'.encode('cp1252').hex())") == "e9"
    zone = "(str(__import__('datetime').datetime(2024, 7, 1, tzinfo=__import__('zoneinfo').ZoneInfo('Europe/Paris')).utcoffset()))"
    assert ask(worker, zone) == "2:00:00"
    assert ask(worker, "(__import__('interlock').CronExpression('0 9 * * *', 'Europe/Paris').after(0.0))") == 8 * 3_600_000
    assert ask(worker, "(type(__import__('pydantic').create_model('M', a=(int, ...))(a='1')).__name__)") == "M"
    worker.close()


def test_a_worker_is_confined_quickly_and_small(zygote: Zygote) -> None:
    """The goals are 6 ms and 4 MiB with a component; this is the part before there is one. CPU time, not waiting, is compared with that
    of an interpreter which does nothing at all: how fast a machine is, is not the question.
    """
    receive(zygote.spawn(Plan()))
    used, own = [], []
    for _ in range(15):
        worker = zygote.spawn(Plan())
        receive(worker)
        pid = wait_pid(worker)
        used.append(worker.cpu_seconds())
        with suppress(PermissionError):  # of whoever is not root, or has no CAP_SYS_PTRACE, as in a container
            own.append(private_bytes(pid))
        worker.close()
    assert statistics.median(used) < statistics.median(bare_cpu_seconds() for _ in range(5)) / 3
    assert not own or statistics.median(own) < 2 << 20


def bare_cpu_seconds() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def private_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))
