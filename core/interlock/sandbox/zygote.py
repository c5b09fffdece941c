"""The zygote as the host sees it: a process that forks confined workers.

It is started once, as a clean interpreter that inherits nothing; `spawn` takes a fork of it, two to six milliseconds, instead of
a new interpreter and all its imports. Nothing here needs an event loop or blocks, so any thread and any loop may use it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from interlock.errors import MountError
from interlock.limits import MIB
from interlock.sandbox.plan import NO_MEMORY, Plan

_STATUS_MAX = 4096
_SEND_SECONDS = 5.0
_KERNEL_FILE_MAX = 4096
_END_SECONDS = 3.0
# Native ones have to be imported before the first fork; of the others the rest is kept in memory. What pydantic needs differs by
# version, so those that are not installed are left out.
_PRELOADED = (
    *("orjson", "pydantic_core", "typing_extensions", "annotated_types", "typing_inspection", "pydantic", "pydantic.main"),
    *("pydantic.fields", "pydantic.types"),
)
# What few components need of `interlock`, with what that needs: each worker imports it when it does.
_KEPT = ("interlock.sdk.schedule", "croniter", "dateutil", "six")
_WORKER = "interlock.sandbox.worker"
IN_TURN, BEHIND, LAST = range(3)
_POLICIES = ("SCHED_OTHER", "SCHED_BATCH", "SCHED_IDLE")
_NICEST = 19
_SHORT_OF_MEMORY = (NO_MEMORY, -signal.SIGSEGV, -signal.SIGABRT)
"""How a worker ends that is given no memory: native code does not always notice."""
_NEARLY_ALL = 0.7
# As `python -I`, but with a hash seed: the order of a set of strings is the same in every worker.
_FLAGS = ("-s", "-P", "-S")


@dataclass(frozen=True, slots=True)
class Exit:
    """How a worker ended: its exit code, or minus the signal; None where nobody saw it, as when the zygote was killed with it.
    `cpu` in seconds, `memory_max` in bytes."""

    code: int | None
    cpu: float = 0.0
    memory_max: int = 0

    def __str__(self) -> str:
        if self.code is None:
            return "it ended together with the zygote"
        if self.code == -signal.SIGXCPU:
            return "it used up its CPU time"
        if self.code < 0:
            return f"it was ended by {signal.Signals(-self.code).name}"
        return f"it ended with exit code {self.code}"


class Spawned:
    """One worker. `sock` is the host's end of its channel, `status` becomes readable when `read_status` has something to learn."""

    def __init__(self, plan: Plan, sock: socket.socket, status: socket.socket, zygote: Zygote) -> None:
        self.plan, self.sock, self.status = plan, sock, status
        self.pid: int | None = None
        self.exit: Exit | None = None
        self._zygote = zygote
        self._pidfd: int | None = None
        self._pid_there: int | None = None  # the number by which the zygote knows it
        self._killed = False
        self._resident_at_start = self._taken_at_start = 0
        self._nice: int | None = None  # in its turn, once it was looked at
        self._unread = b""

    def read_status(self) -> None:
        """Take in what the zygote has told so far: sets `pid` once it is forked, `exit` once it has ended. Does not block."""
        while self.exit is None:
            try:
                data, descriptors, _, _ = socket.recv_fds(self.status, _STATUS_MAX, 1)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            if not data:
                self.exit = Exit(None)
                self._let_go()
                return
            *lines, self._unread = (self._unread + data).split(b"\n")
            for line in lines:
                self._take(json.loads(line), descriptors)

    def _take(self, told: dict[str, float], descriptors: list[int]) -> None:
        if "exit" in told:
            self.exit = Exit(int(told["exit"]), told["cpu"], int(told["memory_max"]))
            self._let_go()
            return
        self._pid_there = int(told["pid"])
        if descriptors:
            self._pidfd = descriptors.pop()
            # Also where nobody hears of its end any more: a loop may be closed before.
            self._close_pidfd = weakref.finalize(self, os.close, self._pidfd)
        self.pid = self._pid_there if self._pidfd is None else _pid_behind(self._pidfd)
        self._resident_at_start, self._taken_at_start = self._resident()
        if self._killed:
            self._signal(signal.SIGKILL)

    def kill(self) -> None:
        """End it at once; before it is forked this is remembered. Never hits another process that was given its number."""
        self._killed = True
        if self._pid_there is None:
            self.read_status()  # it may be forked, and nobody has looked yet
        self._signal(signal.SIGKILL)

    @property
    def has_ended(self) -> bool:
        """Whether it has, also where the zygote has not told how yet."""
        if self.exit is not None or self._pidfd is None:
            return self.exit is not None
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def stop(self) -> None:
        """Freeze it: until `cont` it uses no CPU at all, whatever it has left running."""
        self._signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Let it run on."""
        self._signal(signal.SIGCONT)

    def stand(self, place: int) -> bool:
        """Say where it stands among all processes that want the processor, where the system has a way to say so.

        BEHIND is as nice as can be, and without preempting anybody: beside who wants the whole processor it still has some of it, in slices
        of its own, and who wakes up meanwhile waits milliseconds for their end. LAST is where nobody else runs. False where it stays as it
        was: only a privileged process may bring another one back to its turn.
        """
        policy: int | None = getattr(os, _POLICIES[place], None)
        if policy is None or self.pid is None or self.exit is not None:
            return False
        try:
            if self._nice is None:
                self._nice = os.getpriority(os.PRIO_PROCESS, self.pid)
            os.setpriority(os.PRIO_PROCESS, self.pid, _NICEST if place else self._nice)
            os.sched_setscheduler(self.pid, policy, os.sched_param(0))
        except OSError:
            return False
        return True

    def cpu_seconds(self) -> float:
        """CPU that it has used so far, read from outside; 0.0 where that cannot be read."""
        if self.pid is None or self.exit is not None or sys.platform != "linux":
            return 0.0 if self.exit is None else self.exit.cpu
        try:
            return time.clock_gettime((~self.pid << 3) | 2)  # clock_getcpuclockid(3): the CPU clock of a process
        except OSError:
            return 0.0

    def memory(self) -> int:
        """Bytes of memory that it has taken since it was forked, read from outside; 0 where that cannot be read."""
        return max(0, self._resident()[0] - self._resident_at_start)

    def _resident(self) -> tuple[int, int]:
        """Bytes of memory: its own, and with what it shares."""
        if self.pid is None or self.exit is not None:
            return 0, 0
        try:
            _, resident, shared, *_ = _read(f"/proc/{self.pid}/statm").split()
        except OSError:
            return 0, 0
        page = os.sysconf("SC_PAGE_SIZE")
        return (int(resident) - int(shared)) * page, int(resident) * page

    @property
    def end(self) -> str:
        """Why it has ended, once it has."""
        exit, memory = self.exit or Exit(None), self.plan.memory
        if memory is None or exit.code not in _SHORT_OF_MEMORY:
            return str(exit)
        taken = exit.memory_max - self._taken_at_start
        if exit.code != NO_MEMORY and not taken > memory * _NEARLY_ALL:
            return str(exit)
        return f"its memory, {memory / MIB:g} MiB, was used up. Hold less at once, or mount it with a larger limits=Limits(memory=…)"

    def close(self) -> None:
        """Kill it, and give back its descriptors."""
        self.kill()
        self._let_go()
        self.sock.close()
        self.status.close()

    def _signal(self, number: int) -> None:
        if self.exit is not None:
            return
        if self._pidfd is not None:
            with suppress(OSError):  # it has ended, which the status will tell
                signal.pidfd_send_signal(self._pidfd, number)
        elif self._pid_there is not None:
            self._zygote.send_signal(self._pid_there, number)

    def _let_go(self) -> None:
        if self._pidfd is not None:
            self._close_pidfd()
            self._pidfd = None


class Zygote:
    """The handle of a zygote process. Make one with `launch`, or use the one of this process: `shared`."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._process, self._control = process, control
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._spare: Spawned | None = None
        self._spare_lock = threading.Lock()

    @classmethod
    def launch(cls, *, worker: str = _WORKER, preload: Iterable[str] = (), path: Iterable[str] = (), hash_seed: int = 0) -> Zygote:
        """Start one. It is not waited for: requests wait in its socket.

        `worker` is the module whose `main(fd, layers)` runs in each worker; `preload` are further modules that are imported before
        the first fork, which native ones have to be; `path` are directories where those are found. Raises MountError where
        processes cannot be forked.
        """
        if not hasattr(os, "fork"):
            raise MountError(
                "isolation",
                f"{sys.platform} cannot fork, and components that are not inline run in forked processes.",
                'Write isolation="inline" at the mounts that you trust, or run this on Linux.',
            )
        modules = (*filter(_home, _PRELOADED), *preload)
        directories = dict.fromkeys([*path, *filter(None, map(_home, ("interlock", worker, *modules, *_KEPT)))])
        ours, theirs = socket.socketpair()
        with theirs:
            program = (
                f"import sys; sys.path += {list(directories)!r}\n"
                f"from interlock.sandbox.nursery import main; main({theirs.fileno()}, {worker!r}, {modules!r}, {_KEPT!r})"
            )
            process = subprocess.Popen(
                [sys.executable, *_FLAGS, "-c", program],
                env=_environment(hash_seed),
                cwd="/",
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,  # a Ctrl-C in the terminal is the host's to answer
            )
        ours.settimeout(_SEND_SECONDS)
        return cls(process, ours)

    @property
    def is_alive(self) -> bool:
        """Whether it runs, and belongs to this process rather than to the one that this was forked from."""
        return self._owner == os.getpid() and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The number of the zygote process."""
        return self._process.pid

    def spawn(self, plan: Plan) -> Spawned:
        """Ask for a worker. What is written to its `sock` waits there until it is confined.

        A refusal to confine comes as the first frame on `sock`, and the worker is gone. Raises OSError when the zygote is.
        """
        if plan.isolation != "sandbox":
            return self._ask(plan, at_once=True)
        with self._spare_lock:
            spare, self._spare = self._spare, None
            if spare is not None and not _fits(spare, plan):
                spare.close()
                spare = None
        made = spare or self._ask(plan, at_once=True)
        made.plan = plan
        return made

    def stand_ready(self, plan: Plan) -> None:
        """Have one more of that plan made when the zygote has nothing else to do: confined, and without a component. The next `spawn` is
        given it. Whoever spawns calls this afterwards, when the worker has been told what to load."""
        if plan.isolation != "sandbox":
            return
        with self._spare_lock, suppress(OSError):  # the next `spawn` will say so
            if self._spare is None:
                self._spare = self._ask(plan, at_once=False)

    def _ask(self, plan: Plan, *, at_once: bool) -> Spawned:
        channel, worker_channel = socket.socketpair()
        status, worker_status = socket.socketpair()
        channel.setblocking(False)
        status.setblocking(False)
        with worker_channel, worker_status:
            try:
                self._send({"plan": plan.to_json(), "at_once": at_once}, [worker_channel.fileno(), worker_status.fileno()])
            except OSError:
                channel.close()
                status.close()
                raise
        return Spawned(plan, channel, status, self)

    def send_signal(self, pid: int, number: int) -> None:
        """Have the zygote send a signal to a child of its: for systems without descriptors of processes."""
        with suppress(OSError):
            self._send({"signal": number, "pid": pid}, [])

    def close(self) -> None:
        """End it, and with it every worker."""
        with self._spare_lock:
            if self._spare is not None:
                self._spare.close()
                self._spare = None
        self._control.close()
        if self._owner != os.getpid():
            return
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, request: dict[str, object], descriptors: list[int]) -> None:
        with self._lock:
            socket.send_fds(self._control, [json.dumps(request).encode() + b"\n"], descriptors)


def _fits(spare: Spawned, plan: Plan) -> bool:
    """Whether it is confined as the plan says, and lives: where memory runs out it is the first to go."""
    spare.read_status()
    return not spare.has_ended and replace(spare.plan, name=plan.name) == plan


_shared: Zygote | None = None
_shared_lock = threading.Lock()


def shared() -> Zygote:
    """The zygote of this process, started at first use, and again when it has died or this process was forked."""
    global _shared
    with _shared_lock:
        if _shared is None or not _shared.is_alive:
            _shared = Zygote.launch()
        return _shared


def _environment(hash_seed: int) -> dict[str, str]:
    """All that the zygote is given. Plugins of pydantic would be other people's code in it."""
    environment = {"PYTHONHASHSEED": str(hash_seed), "LC_ALL": "C.UTF-8", "PYDANTIC_DISABLE_PLUGINS": "__all__"}
    if "LD_LIBRARY_PATH" in os.environ:  # where the interpreter itself may come from
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return environment


def _home(module: str) -> str | None:
    """The directory in which a top-level package lies, found without importing it."""
    spec = importlib.util.find_spec(module.partition(".")[0])
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin)
    return str(file.parent.parent if spec.submodule_search_locations else file.parent)


def _pid_behind(pidfd: int) -> int:
    """The number by which we know the process: in a namespace of pids the zygote knows it by another."""
    for line in _read(f"/proc/self/fdinfo/{pidfd}").splitlines():
        if line.startswith(b"Pid:"):
            return int(line.split()[1])
    raise OSError("no pid behind a pidfd")


def _read(path: str) -> bytes:
    """A file of the kernel's, whole. Every start of a worker reads two: through `Path` that would take a tenth of it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, _KERNEL_FILE_MAX)
    finally:
        os.close(descriptor)
