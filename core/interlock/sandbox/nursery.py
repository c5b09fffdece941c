"""What the zygote process runs: warm up, then fork a worker for each request.

It is started as a clean interpreter, has one thread, no secrets and no code of any component, and talks with the host alone.
Start at `main`.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import logging
import os
import platform
import random
import select
import signal
import socket
import struct
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FunctionType
from typing import NoReturn

from interlock.sandbox import memory_imports
from interlock.sandbox.confinement import process
from interlock.sandbox.confinement.libc import library
from interlock.sandbox.confinement.lockdown import Layers, Lockdown, Prepared
from interlock.sandbox.confinement.seccomp import CHANNEL
from interlock.sandbox.confinement.steps import Step, take
from interlock.sandbox.plan import Plan
from interlock.sandbox.refusals import Refusals

_STANDARD = """abc argparse array ast asyncio base64 binascii bisect bz2 calendar cmath codecs collections colorsys concurrent.futures
configparser contextlib contextvars copy copyreg csv dataclasses datetime decimal difflib dis email email.message email.utils enum
errno fnmatch fractions functools gc getpass gettext glob graphlib gzip hashlib heapq hmac html html.parser http http.client
http.cookies importlib.metadata importlib.resources inspect io ipaddress itertools json keyword linecache locale logging lzma math
mimetypes numbers operator os pathlib pickle pkgutil platform pprint queue random re reprlib secrets select selectors shlex shutil
signal socket ssl stat statistics string stringprep struct subprocess sys sysconfig tempfile textwrap threading time timeit token
tokenize traceback types typing unicodedata unittest urllib.error urllib.parse urllib.request uuid warnings weakref
xml.etree.ElementTree zipfile zlib zoneinfo"""
_NATIVE_SKIPPED = "_test xx _tkinter _curses readline _dbm _gdbm nis ossaudiodev spwd _crypt _posixshmem _multiprocessing _sqlite3 _interp"
_REQUEST_MAX = 1 << 16
_POOL, _POOL_HEADER, _HOLES_MAX = 1 << 14, 48, 4_000  # of CPython's allocator
_LARGER = (*(1 << power for power in range(16, 9, -1)), *range(1000, 8, -16))  # sizes of what the C library gives out
_BYTES_HEADER = sys.getsizeof(b"")
_ROUNDS = 20
_IDLE_MS = 5  # without a request: then what is not needed yet is done
_PREPARED_MAX = 64  # plans whose lock-down is kept ready
_HOST_GONE, _REFUSED, _RETURNED = 0, 93, 97
_COLLECTING = (5_000, 10, 10)
"""When a worker looks for garbage that holds itself. As Python does it, after 700 objects each, it took a twelfth of the worker's time
in calls that read and write hundreds of documents.
"""

Worker = Callable[[int, Layers], object]


def main(control: int, worker_module: str, preload: Iterable[str], kept: Iterable[str]) -> NoReturn:
    """Serve the host at the other end of `control` until it is gone. `worker_module` has `main(fd, layers)`, and may have `prepare()`,
    which is called here, and `warm()`, which is called in each worker that is forked before it is needed.

    `preload` is imported here, `kept` is for workers to import.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _import_standard()
    preload = tuple(preload)
    for name in preload:
        importlib.import_module(name)
    worker = importlib.import_module(worker_module)
    memory_imports.keep_time_zones()
    sys.meta_path.append(memory_imports.standard_library())
    sys.meta_path.append(memory_imports.LeftOut())
    sys.meta_path.append(memory_imports.packages({name.partition(".")[0] for name in preload}))
    sys.meta_path.append(memory_imports.unloaded(kept))
    _be_first_to_go()
    _forget_lookups()
    prepare = getattr(worker, "prepare", None)
    if prepare is not None:
        prepare()
    process.forget_environment()
    _forget_name()
    nursery = Nursery(socket.socket(fileno=control), worker.main, getattr(worker, "warm", _nothing))
    nursery.rehearse()
    # From here on nothing is imported from a file, neither here nor in a worker, and nothing compiled is written.
    sys.dont_write_bytecode = True
    sys.path.clear()
    sys.path_importer_cache.clear()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTING)
    _fork_without_repairs()
    filling = list(_fill_holes())
    _fill_larger_holes()
    nursery.serve()
    del filling


def _nothing() -> None:
    pass


def _forget_name() -> None:
    """`platform` keeps what it was once told of the machine. Its name is nothing that a component is to know."""
    system = os.uname()
    platform._uname_cache = platform.uname_result(system.sysname, "", system.release, system.version, system.machine)  # type: ignore[attr-defined]


def _forget_lookups() -> None:
    """Empty the interpreter's cache of attributes of types: to take the place of a name there writes to that name, wherever it lies."""
    clear = getattr(sys, "_clear_internal_caches", None) or getattr(sys, "_clear_type_cache", None)
    if clear is not None:
        clear()


def _fork_without_repairs() -> None:
    """What `threading` and `logging` do in every child is for locks that another thread may have held. Here there is none.

    It costs a child half a MiB of pages.
    """
    for repair in (getattr(threading, "_after_fork", None), getattr(logging, "_after_at_fork_child_reinit_locks", None)):
        if isinstance(repair, FunctionType):
            repair.__code__ = (lambda: None).__code__


def _fill_holes() -> Iterator[object]:
    """Small objects into every hole that earlier ones have left in Python's heap, so that those of a worker lie together on new pages.

    In a hole they would each cost it a copy of a page that is shared.
    """
    for size in range(16, 513, 16):
        for _ in range(_HOLES_MAX):
            made: object = object() if size == 16 else 0.5 * size if size == 32 else bytes(size - _BYTES_HEADER)
            yield made
            if id(made) % _POOL == _POOL_HEADER:  # the first of a new pool: no older one has room
                break


def _fill_larger_holes() -> None:
    """The same for what the C library allocates: it takes from the end of its heap once nothing before that is free. Never given back."""
    try:
        end, malloc, free = _end_of_heap(), library().malloc, library().free
    except (AttributeError, OSError, ValueError):
        return  # another C library, or system
    malloc.restype, free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    for size in _LARGER:
        for _ in range(_HOLES_MAX):
            made = malloc(size)
            if made > end:
                free(made)  # it came from the end
                break


def _end_of_heap() -> int:
    for line in Path("/proc/self/maps").read_text(encoding="ascii").splitlines():
        if line.endswith("[heap]"):
            return int(line.partition("-")[2].split()[0], 16)
    raise ValueError("no heap")


def _import_standard() -> None:
    for name in _STANDARD.split():
        importlib.import_module(name)
    native = Path(sysconfig.get_path("platstdlib"), "lib-dynload")
    for file in sorted(native.glob("*")):
        name = file.name.partition(".")[0]
        if not name.startswith(tuple(_NATIVE_SKIPPED.split())):
            try:
                importlib.import_module(name)
            except ImportError:
                pass  # a library that it needs is not installed here


def _be_first_to_go() -> None:
    try:
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    except OSError:
        pass  # another system than Linux


class Nursery:
    """The children, and the way to the host."""

    def __init__(self, control: socket.socket, worker: Worker, warm: Callable[[], object]) -> None:
        self._control, self._worker, self._warm = control, worker, warm
        self._lockdown, self._refusals = Lockdown(), Refusals()
        self._prepared: dict[Plan, Prepared] = {}
        self._native = _native()  # found before the fork: to look through all modules costs a worker 0.7 MiB of pages of its own
        self._null = process.out_of_the_way(os.open(os.devnull, os.O_RDWR))
        self._pid = os.getpid()
        self._statuses: dict[int, socket.socket] = {}
        self._spares: list[tuple[Plan, int, socket.socket]] = []
        self._forked = 0
        self._unread = b""
        self._wake_read, self._wake_write = socket.socketpair()
        for end in (self._wake_read, self._wake_write):
            end.setblocking(False)

    def rehearse(self) -> None:
        """Run what every child runs, without the steps: what Python makes when code runs for the first time is then there for all."""
        random.seed()
        nothing = [Step("nothing", os.getpid)] * _ROUNDS
        for number in range(_ROUNDS):
            take(nothing)
            Prepared(nothing, nothing).apply(number)

    def serve(self) -> NoReturn:
        """Fork when asked, tell of those that end, and end with the host."""
        signal.signal(signal.SIGCHLD, _woken)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        host = _watched_parent()
        if host is not None:
            poll.register(host, select.POLLIN)
        while True:
            ready = poll.poll(_IDLE_MS if self._spares else None)
            if not ready:
                self._fork_spares(self._warm)
            for descriptor, _ in ready:
                if descriptor == self._control.fileno():
                    self._take_request()
                elif descriptor == self._wake_read.fileno():
                    self._wake_read.recv(4096)
                    self._bury()
                else:
                    os._exit(_HOST_GONE)

    def _take_request(self) -> None:
        try:
            line, descriptors, _, _ = socket.recv_fds(self._control, _REQUEST_MAX, 2)
        except OSError:
            line, descriptors = b"", []
        if not line:
            os._exit(_HOST_GONE)
        # Requests without descriptors are glued to what comes behind them; those with descriptors end what is read at once.
        *lines, self._unread = (self._unread + line).split(b"\n")
        for request in map(json.loads, lines):
            if "signal" not in request:
                channel, status = descriptors
                self._fork_spares()
                self._spares.append((Plan.from_json(request["plan"]), channel, socket.socket(fileno=status)))
                if request["at_once"]:
                    self._fork_spares()
            elif request["pid"] in self._statuses:  # not reaped yet, so the number is still its own
                os.kill(request["pid"], request["signal"])

    def _fork_spares(self, warm: Callable[[], object] = _nothing) -> None:
        """Those that were to be forked when there is time. When another one is asked for, one of them may be needed."""
        spares, self._spares = self._spares, []
        for spare in spares:
            self._fork(*spare, warm)

    def _fork(self, plan: Plan, channel: int, status: socket.socket, warm: Callable[[], object]) -> None:
        """All that can be made is made before: in the child it would be written to pages of its own."""
        self._forked += 1
        os.set_blocking(channel, False)
        channel = process.out_of_the_way(channel)
        try:
            prepared = self._prepared_for(plan)
            first = [*process.descriptor_steps(channel, self._null, *prepared.kept), *process.priority_steps(plan.nice)]
        except BaseException as error:
            _refuse(channel, f"{type(error).__name__}: {error}")
            os.close(channel)
            _tell(status, {"exit": _REFUSED, "cpu": 0.0, "memory_max": 0}, [])
            status.close()
            return
        pid = os.fork()
        if pid == 0:
            self._become_worker(first, prepared, warm, arms=plan.isolation == "sandbox", reads_files=not plan.is_sealed)
        os.close(channel)
        self._statuses[pid] = status
        handle = [os.pidfd_open(pid)] if hasattr(os, "pidfd_open") else []
        if not _tell(status, {"pid": pid}, handle):
            os.kill(pid, signal.SIGKILL)  # nobody else could
        for descriptor in handle:
            os.close(descriptor)

    def _prepared_for(self, plan: Plan) -> Prepared:
        """The lock-down of such a plan, whatever its worker is called."""
        plan = replace(plan, name="")
        prepared = self._prepared.get(plan)
        if prepared is None:
            if len(self._prepared) >= _PREPARED_MAX:
                for descriptor in self._prepared.pop(next(iter(self._prepared))).kept:
                    os.close(descriptor)
            prepared = self._prepared[plan] = self._lockdown.prepare(plan, parent=self._pid)
        return prepared

    def _become_worker(
        self, first: list[Step], prepared: Prepared, warm: Callable[[], object], *, arms: bool, reads_files: bool
    ) -> NoReturn:
        try:
            try:
                signal.set_wakeup_fd(-1)
                take(first)
                layers = prepared.apply(self._forked)
                if arms:
                    self._refusals.arm(reads_files=reads_files)
                for name in self._native:  # tidiness alone: whoever looks for ctypes finds it, and the filter holds all the same
                    sys.modules.pop(name, None)
            except BaseException as error:
                _refuse(CHANNEL, f"{type(error).__name__}: {error}")
                os._exit(_REFUSED)
            warm()
            self._worker(CHANNEL, layers)
        finally:  # whatever it raises: nobody is here to be told, and no code of the nursery may run on
            os._exit(_RETURNED)

    def _bury(self) -> None:
        while self._statuses:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            told = self._statuses.pop(pid, None)
            if told is not None:
                code = os.waitstatus_to_exitcode(status)
                _tell(told, {"exit": code, "cpu": usage.ru_utime + usage.ru_stime, "memory_max": usage.ru_maxrss << 10}, [])
                told.close()


def _woken(number: int, frame: object) -> None:
    """The wake-up descriptor says it all. Workers keep this handler: they have no children."""


def _watched_parent() -> int | None:
    """A descriptor that becomes readable when the host ends, also where a child of its keeps our control socket open."""
    try:
        return os.pidfd_open(os.getppid())
    except (AttributeError, OSError):
        return None


def _tell(status: socket.socket, what: dict[str, float], descriptors: list[int]) -> bool:
    """False where the host has let go of this worker."""
    try:
        socket.send_fds(status, [json.dumps(what).encode() + b"\n"], descriptors)
    except OSError:
        return False
    return True


def _native() -> tuple[str, ...]:
    """The modules with which Python code calls any other."""
    return tuple(name for name in sys.modules if name.partition(".")[0] in ("ctypes", "_ctypes"))


def _refuse(channel: int, why: str) -> None:
    frame = json.dumps(["refused", why[:2000]]).encode()
    try:
        os.write(channel, struct.pack(">I", len(frame)) + frame)
    except OSError:
        pass  # the host is gone, or the lock-down was half done: it sees the end of the channel
