"""Each layer, applied alone in a forked child, stops something that works without it."""

from __future__ import annotations

import ctypes
import encodings.idna  # noqa: F401  # what a socket would import behind the layer
import errno
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.sandbox.forked import Outcome, forked

from interlock.sandbox.confinement import available, credentials, landlock, process, rlimits, seccomp
from interlock.sandbox.confinement.libc import library
from interlock.sandbox.plan import Plan

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has capabilities and users to give up")
needs_landlock = pytest.mark.skipif(not available().landlock, reason="this kernel has no Landlock")
MIB = 1 << 20


def both(layer: Callable[[], Any], attempt: Callable[[], Any]) -> Outcome:
    """What the attempt comes to behind the layer. That it works without it is checked first: the canary."""
    free = forked(attempt)
    assert free.worked, f"the attempt itself is broken: {free}"

    def behind() -> Any:
        layer()
        return attempt()

    return forked(behind)


# The call filter


def sealed() -> None:
    process.forbid_new_privileges()
    seccomp.install(seccomp.program(sealed=True))


def with_files() -> None:
    process.forbid_new_privileges()
    seccomp.install(seccomp.program(sealed=False))


def map_code(protection: int, flags: int = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, fd: int = -1) -> int:
    libc = library()
    libc.mmap.restype = ctypes.c_void_p
    address = libc.mmap(None, ctypes.c_size_t(4096), protection, flags, fd, ctypes.c_long(0))
    if address in (None, ctypes.c_void_p(-1).value):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(address)


def open_datagram() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()


ATTEMPTS: dict[str, Callable[[], object]] = {
    "open a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "look whether a file is there": lambda: Path("/etc/passwd").stat(),
    "list a directory": lambda: list(Path("/").iterdir()),
    "open a socket": open_datagram,
    "open a Unix socket": lambda: socket.socketpair()[0].close(),
    "fork": lambda: os.waitpid(pid, 0) if (pid := os.fork()) else os._exit(0),
    "start a program": lambda: subprocess.run([sys.executable, "-S", "-c", ""], check=True),
    "signal the parent": lambda: os.kill(os.getppid(), 0),
    "make a pipe": lambda: os.close(os.pipe()[0]),
    "map memory that can be run": lambda: map_code(mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
    "share memory by name": lambda: os.close(os.memfd_create("x")),
    "set a flag of a descriptor": lambda: os.set_blocking(0, True),
    "change the limits of another": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CORE),
}


@pytest.mark.parametrize("name", ATTEMPTS)
def test_the_sealed_filter_alone_stops_every_call_but_a_few(name: str) -> None:
    outcome = both(sealed, ATTEMPTS[name])
    assert outcome.errno == errno.EPERM, outcome


def test_the_sealed_filter_leaves_reading_and_writing_on_the_channel_alone() -> None:
    def attempt(descriptor: int, layer: Callable[[], None]) -> int:
        ends = socket.socketpair()
        os.dup2(ends[0].fileno(), descriptor)
        layer()
        return os.write(descriptor, b"hello")

    assert forked(lambda: attempt(seccomp.CHANNEL, sealed)).value == 5
    assert forked(lambda: attempt(4, lambda: None)).value == 5
    assert forked(lambda: attempt(4, sealed)).errno == errno.EBADF


def test_the_sealed_filter_leaves_what_python_needs() -> None:
    def work() -> int:
        sealed()
        import datetime
        import select
        import time

        time.sleep(0.001)
        datetime.datetime.now()
        os.urandom(8)
        select.poll().poll(1)
        return sum(len(str(number) * 3) for number in range(200_000))

    assert forked(work).value == sum(len(str(number) * 3) for number in range(200_000))


def test_a_foreign_abi_kills() -> None:
    def call_x32() -> None:
        sealed()
        library().syscall(ctypes.c_long(0x40000000 | 39))

    if available().machine == "x86_64":
        assert forked(call_x32).signal == signal.SIGSYS


def test_the_filter_with_files_reads_and_does_not_write(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("here")
    assert both(with_files, file.read_text).value == "here"
    assert both(with_files, lambda: file.write_text("over")).errno == errno.EACCES
    assert both(with_files, lambda: os.close(os.open(tmp_path / "new", os.O_CREAT | os.O_RDWR))).errno == errno.EACCES
    assert both(with_files, lambda: os.close(os.open(file, os.O_PATH))).errno == errno.EACCES


def test_the_filter_with_files_maps_native_code_from_files_alone(tmp_path: Path) -> None:
    file = tmp_path / "code"
    file.write_bytes(bytes(4096))
    read_run = mmap.PROT_READ | mmap.PROT_EXEC

    def of_the_file(protection: int) -> int:
        return map_code(protection, mmap.MAP_PRIVATE, os.open(file, os.O_RDONLY))

    assert both(with_files, lambda: of_the_file(read_run)).worked
    assert both(with_files, lambda: of_the_file(read_run | mmap.PROT_WRITE)).errno == errno.EPERM
    assert both(with_files, lambda: map_code(read_run)).errno == errno.EPERM


def test_the_filter_with_files_has_threads_and_no_processes() -> None:
    import threading

    def thread() -> bool:
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join(5)
        return not thread.is_alive()

    assert both(with_files, thread).value is True
    assert both(with_files, ATTEMPTS["fork"]).errno == errno.EPERM


def test_the_filter_with_files_lets_no_signal_be_sent_by_way_of_the_kernel() -> None:
    import fcntl

    def own() -> None:
        ends = socket.socketpair()
        fcntl.fcntl(ends[0], fcntl.F_SETOWN, os.getppid())

    def asynchronous() -> None:
        ends = socket.socketpair()
        fcntl.fcntl(ends[0], fcntl.F_SETFL, os.O_ASYNC)

    assert both(with_files, own).errno == errno.EPERM
    assert both(with_files, asynchronous).errno == errno.EPERM


# Landlock


def no_files() -> None:
    process.forbid_new_privileges()
    landlock.restrict()


@needs_landlock
@pytest.mark.parametrize("name", ["open a file", "list a directory", "start a program"])
def test_landlock_alone_stops_files(name: str) -> None:
    assert both(no_files, ATTEMPTS[name]).errno == errno.EACCES


@needs_landlock
def test_landlock_alone_lets_what_is_named_be_read_and_nothing_beside_it(tmp_path: Path) -> None:
    for name in ("given", "beside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)

    def given() -> None:
        process.forbid_new_privileges()
        landlock.restrict([str(tmp_path / "given")])

    assert both(given, (tmp_path / "given" / "file").read_text).value == "given"
    assert both(given, (tmp_path / "beside" / "file").read_text).errno == errno.EACCES
    assert both(given, lambda: (tmp_path / "given" / "file").write_text("over")).errno == errno.EACCES


@needs_landlock
@pytest.mark.skipif(available().landlock < 4, reason="before version 4 Landlock knew no network")
def test_landlock_alone_stops_tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        assert both(no_files, lambda: socket.create_connection(address, 5).close()).errno == errno.EACCES


@needs_landlock
@pytest.mark.skipif(available().landlock < 6, reason="before version 6 Landlock knew no scopes")
def test_landlock_alone_stops_signals_and_abstract_sockets() -> None:
    assert both(no_files, ATTEMPTS["signal the parent"]).errno == errno.EPERM
    name = f"\0interlock-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()

        def connect() -> None:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(name)

        assert both(no_files, connect).errno == errno.EPERM


# Limits


def limits(size: int | None = None) -> None:
    rlimits.limit(Plan(memory=64 * MIB, cpu=1), size_now=rlimits.address_space() if size is None else size)


def test_the_limit_of_memory_alone_stops_a_hoarder() -> None:
    assert both(limits, lambda: len(bytearray(200 * MIB))).error.startswith("MemoryError")


def test_the_limit_of_cpu_alone_ends_a_spinner() -> None:
    import time

    def spin() -> float:
        until = time.process_time() + 1.5
        while time.process_time() < until:
            pass
        return until

    assert both(limits, spin).signal == signal.SIGXCPU


def test_the_limit_of_file_size_alone_stops_writing(tmp_path: Path) -> None:
    def write() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        return (tmp_path / "file").write_text("x")

    assert both(limits, write).errno == errno.EFBIG


def test_the_limit_of_locked_memory_alone_stops_locking() -> None:
    def lock() -> int:
        if os.geteuid() == 0:
            credentials.drop_capabilities()  # CAP_IPC_LOCK goes past the limit
        page = mmap.mmap(-1, 4096)
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        return ctypes.CDLL(None, use_errno=True).mlock(ctypes.c_void_p(address), 4096)

    assert both(limits, lock).value == -1


def test_the_limit_of_processes_alone_stops_forking() -> None:
    size = rlimits.address_space()

    def layer() -> None:
        credentials.leave_root(1)  # root goes past the limit
        limits(size)

    assert both(layer, ATTEMPTS["fork"]).errno == errno.EAGAIN


def test_the_limit_of_descriptors_alone_keeps_a_worker_at_one() -> None:
    def layer() -> None:
        os.closerange(4, 1024)
        os.dup2(0, 3)
        rlimits.limit_descriptors(4)

    assert both(layer, lambda: os.dup(0)).errno == errno.EMFILE


# Users and rights


@needs_root
def test_leaving_root_alone_closes_what_only_root_may_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("key")
    secret.chmod(0o600)
    assert both(lambda: credentials.leave_root(1), secret.read_text).errno == errno.EACCES


@needs_root
def test_neighbours_are_different_users_and_cannot_signal_each_other() -> None:
    def signal_neighbour(own: int) -> int:
        ready, tell = os.pipe()
        neighbour = os.fork()
        if neighbour == 0:
            credentials.leave_root(1)
            signal.alarm(2)
            os.write(tell, b".")
            os.closerange(0, 1024)
            signal.pause()
        os.read(ready, 1)
        uid = credentials.leave_root(own)
        assert uid == os.getuid() and uid in range(credentials.FIRST_UID, credentials.LAST_UID + 1)
        os.kill(neighbour, signal.SIGKILL)
        return os.waitpid(neighbour, 0)[1]

    assert forked(lambda: signal_neighbour(1)).value == signal.SIGKILL
    assert forked(lambda: signal_neighbour(2)).errno == errno.EPERM


@needs_root
def test_dropping_capabilities_alone_takes_what_root_may(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("theirs")
    os.chown(file, 12345, 12345)
    file.chmod(0o600)
    assert both(credentials.drop_capabilities, file.read_text).errno == errno.EACCES
    assert both(credentials.drop_capabilities, lambda: os.chroot(tmp_path)).errno == errno.EPERM


@needs_root
def test_forbidding_capabilities_makes_a_program_of_roots_one_without_any() -> None:
    def capabilities() -> str:
        program = "print([line for line in open('/proc/self/status') if line.startswith('CapEff')][0].split()[1])"
        return subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True).stdout.strip()

    assert int(forked(capabilities).value, 16) != 0
    assert int(both(credentials.forbid_capabilities, capabilities).value, 16) == 0


@needs_root
def test_no_new_privileges_alone_takes_the_power_of_a_set_user_id_program(tmp_path: Path) -> None:
    program = tmp_path / "id"
    program.write_bytes(Path("/usr/bin/id").read_bytes())
    program.chmod(0o4755)
    for directory in (tmp_path, *tmp_path.parents):
        if directory.owner() == "root" and directory != Path("/") and directory != Path("/tmp"):
            directory.chmod(0o755)

    def effective_user() -> int:
        credentials.leave_root(1)
        return int(subprocess.run([program, "-u"], capture_output=True, text=True, check=True).stdout)

    assert forked(effective_user).value == 0
    assert both(process.forbid_new_privileges, effective_user).value >= credentials.FIRST_UID


def test_forbidding_dumps_alone_hides_memory_from_another_of_the_same_user() -> None:
    def attempt(layer: Callable[[], None]) -> bytes:
        credentials.leave_root(3)
        process.prctl(process.PR_SET_DUMPABLE, 1)  # a change of user has taken it away
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            layer()
            os.write(write, b".")
            signal.pause()
        os.read(read, 1)
        try:
            with Path(f"/proc/{pid}/mem").open("rb"):
                return b"readable"
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    assert forked(lambda: attempt(lambda: None)).value == b"readable"
    assert forked(lambda: attempt(process.forbid_dumps)).errno == errno.EACCES


def test_forbidding_new_code_alone_stops_machine_code() -> None:
    if not forked(process.forbid_new_code).value:
        pytest.skip("the kernel is older than 6.3")
    writable = mmap.PROT_READ | mmap.PROT_WRITE

    def turn() -> None:
        address = map_code(writable)
        if library().mprotect(ctypes.c_void_p(address), ctypes.c_size_t(4096), mmap.PROT_READ | mmap.PROT_EXEC) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    assert both(process.forbid_new_code, turn).errno == errno.EACCES
    assert both(process.forbid_new_code, lambda: map_code(writable | mmap.PROT_EXEC)).errno == errno.EACCES


def test_keeping_one_descriptor_alone_closes_the_others() -> None:
    secret = os.open("/etc/passwd", os.O_RDONLY)

    def layer() -> None:
        channel, other = socket.socketpair()
        kept = os.dup(answer)
        process.keep_only(channel.detach(), os.open(os.devnull, os.O_RDWR))
        assert kept > 3
        other.detach()

    answer = os.dup(1)

    def inherited() -> list[int]:
        found = []
        for descriptor in range(256):
            try:
                os.fstat(descriptor)
            except OSError:
                continue
            found.append(descriptor)
        return found

    def listed() -> None:
        layer()
        os._exit(len(inherited()))

    pid = os.fork()
    if pid == 0:
        listed()
    _, status = os.waitpid(pid, 0)
    os.close(secret)
    os.close(answer)
    assert os.waitstatus_to_exitcode(status) == 4  # 0 to 2 are the null device


def test_forgetting_the_environment_leaves_no_variable() -> None:
    os.environ["INTERLOCK_TEST_SECRET"] = "secret"
    try:
        assert forked(lambda: os.environ.get("INTERLOCK_TEST_SECRET")).value == "secret"
        assert forked(lambda: (process.forget_environment(), dict(os.environ))[1]).value == {}
    finally:
        del os.environ["INTERLOCK_TEST_SECRET"]


def test_dying_with_the_parent_ends_a_worker_that_is_frozen_too() -> None:
    def attempt(layer: Callable[[int], None]) -> bool:
        """Whether the grandchild outlives the child."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            parent = os.getpid()
            pid = os.fork()
            if pid == 0:
                layer(parent)
                os.write(write, str(os.getpid()).encode())
                os.kill(os.getpid(), signal.SIGSTOP)
                os._exit(0)
            os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
            os._exit(0)
        os.waitpid(child, 0)
        os.close(write)
        grandchild = int(os.read(read, 20))
        pidfd = -1
        try:
            pidfd = os.pidfd_open(grandchild)
        except ProcessLookupError:
            return False
        import select

        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        gone = bool(poll.poll(500))
        if not gone:
            os.kill(grandchild, signal.SIGKILL)
        return not gone

    assert forked(lambda: attempt(lambda parent: None)).value is True
    assert forked(lambda: attempt(process.die_with_parent)).value is False
