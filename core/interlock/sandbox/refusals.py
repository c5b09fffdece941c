"""Clear errors, early: what a component may not do is told with what to do instead, before the kernel refuses it.

An audit hook, so no boundary: native code never comes by here. The call filter holds whatever happens in this file.
"""

from __future__ import annotations

import _thread
import errno
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from interlock.errors import PermissionDenied

_FILES = "Keep data in tables, and what belongs to the component in its Python modules."
_NETWORK = "Use ctx.fetch in an action, with the host in the component's permissions and in allow= at the mount."
_PROCESSES = "A component runs in one process. Split long work into actions and scheduled functions."
_SURROUNDINGS = "What it has to know of where it runs is bound at the mount: env={…}, and read from ctx.env."
_WAITING = "Wait with await asyncio.sleep(seconds), and for other machines with ctx.fetch, both in an action."
_NATIVE = (
    "A sealed component is pure Python; of native packages it has pydantic and what Python brings. "
    'Others load with permissions=["native"] in the component and allow=["native"] at the mount.'
)
_WHAT = {
    "open": ("opening a file", _FILES),
    "os.listdir": ("listing a directory", _FILES),
    "os.scandir": ("listing a directory", _FILES),
    "os.remove": ("removing a file", _FILES),
    "os.rename": ("renaming a file", _FILES),
    "os.link": ("linking a file", _FILES),
    "os.symlink": ("linking a file", _FILES),
    "os.mkdir": ("making a directory", _FILES),
    "os.rmdir": ("removing a directory", _FILES),
    "os.chmod": ("changing the rights of a file", _FILES),
    "os.chown": ("changing the owner of a file", _FILES),
    "os.truncate": ("cutting a file", _FILES),
    "os.utime": ("changing the times of a file", _FILES),
    "os.chdir": ("changing the directory", _FILES),
    "socket.__new__": ("opening a socket", _NETWORK),
    "socket.connect": ("connecting a socket", _NETWORK),
    "socket.getaddrinfo": ("resolving a name", _NETWORK),
    "socket.gethostbyname": ("resolving a name", _NETWORK),
    "socket.gethostbyaddr": ("resolving an address", _NETWORK),
    "socket.gethostname": ("asking for the name of the machine", _SURROUNDINGS),
    "subprocess.Popen": ("starting a program", _PROCESSES),
    "os.system": ("starting a program", _PROCESSES),
    "os.exec": ("starting a program", _PROCESSES),
    "os.posix_spawn": ("starting a program", _PROCESSES),
    "os.fork": ("starting a process", _PROCESSES),
    "os.forkpty": ("starting a process", _PROCESSES),
    "os.kill": ("sending a signal", _PROCESSES),
    "os.killpg": ("sending a signal", _PROCESSES),
    "_thread.start_new_thread": ("starting a thread", _PROCESSES),
    "_thread.start_joinable_thread": ("starting a thread", _PROCESSES),
    "ctypes.dlopen": ("loading native code", _NATIVE),
}
# What a component with native code does while it reads its own files: the kernel looks at the path.
_READING = frozenset(("open", "os.listdir", "os.scandir", "ctypes.dlopen", "_thread.start_new_thread", "_thread.start_joinable_thread"))


# What Python says nothing of to a hook. `os.access` is left alone: it answers False, which is true here.
_WITHOUT_EVENT = {
    "stat": ("looking at a file", _FILES),
    "lstat": ("looking at a file", _FILES),
    "statvfs": ("looking at a file system", _FILES),
    "readlink": ("following a link", _FILES),
    "getcwd": ("asking for the directory", _FILES),
    "mkfifo": ("making a pipe", _FILES),
    "mknod": ("making a device", _FILES),
    "pipe": ("making a pipe", _PROCESSES),
    "memfd_create": ("making a file in memory", _FILES),
}


class RefusedInSandbox(PermissionDenied, PermissionError):
    """A PermissionDenied that libraries which look whether something is allowed take for the PermissionError that they expect."""

    def __init__(self, tried: str, remedy: str) -> None:
        super().__init__(tried, remedy)
        self.errno, self.strerror = errno.EPERM, tried

    @property
    def code(self) -> str:
        return PermissionDenied.__name__


def _refusing(what: str, remedy: str) -> Callable[..., NoReturn]:
    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        named = f" {args[0]!r}"[:120] if args and isinstance(args[0], str | bytes) else ""
        raise RefusedInSandbox(f"{what}{named} in a sandboxed component", remedy)

    return refuse


def refuse_network(tried: str) -> NoReturn:
    """What the event loop of a worker says to those who want a connection of it. Raises RefusedInSandbox."""
    raise RefusedInSandbox(f"{tried} in a sandboxed component", _NETWORK)


def refuse_program() -> NoReturn:
    """The same for those who want another program. Raises RefusedInSandbox."""
    raise RefusedInSandbox("starting a program in a sandboxed component", _PROCESSES)


def refuse_thread() -> NoReturn:
    """The same for threads. Raises RefusedInSandbox."""
    raise RefusedInSandbox("starting a thread in a sandboxed component", _PROCESSES)


def refuse_selecting(tried: str) -> NoReturn:
    """The same for those who want to wait for descriptors. Raises RefusedInSandbox."""
    raise RefusedInSandbox(f"{tried} in a sandboxed component", _WAITING)


class Refusals:
    """The hook of one process: put in place once, before any code of a component; armed when the process is locked down."""

    def __init__(self) -> None:
        self._armed: dict[str, tuple[str, str]] = {}
        self._if_reading = {event: told for event, told in _WHAT.items() if event not in _READING}
        # Made before the fork, as all that a child would otherwise have to make.
        self._of_os = {name: _refusing(what, remedy) for name, (what, remedy) in _WITHOUT_EVENT.items() if hasattr(os, name)}
        # Python says nothing of it either, and what is patched before the fork costs a child no page.
        self._socketpair = socket.socketpair
        socket.socketpair = self._refuse_socketpair
        tempfile.tempdir = "/tmp"  # else it is looked for, and not found: an error that says nothing of the sandbox
        sys.addaudithook(self._look)

    def arm(self, *, reads_files: bool) -> None:
        """From now on refuse. With `reads_files` what reads is left to the kernel."""
        if not reads_files:
            vars(os).update(self._of_os)
            if sys.version_info < (3, 12):
                threading._start_new_thread = _thread.start_new_thread = self._refuse_thread  # type: ignore[attr-defined, assignment]
        self._armed = self._if_reading if reads_files else _WHAT

    def _refuse_thread(self, *_: Any) -> None:
        self._look("_thread.start_new_thread", ())

    def _refuse_socketpair(self, *args: Any, **kwargs: Any) -> Any:
        self._look("socket.__new__", ())
        return self._socketpair(*args, **kwargs)

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        told = self._armed.get(event)
        if told is None:
            return
        what, remedy = told
        named = f" {arguments[0]!r}"[:120] if arguments and isinstance(arguments[0], str | bytes) else ""
        raise RefusedInSandbox(f"{what}{named} in a sandboxed component", remedy)
