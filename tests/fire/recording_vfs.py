"""Every write, truncation, sync and removal that SQLite asks of the operating system, in order; and the disks that a power loss can leave.

SQLite reaches files through a "VFS", a table of functions. While `recording` is open, its default one is a copy of the usual table
in which a few functions also write down what they do; so this needs the library that Python's sqlite3 is linked to, as a library.

What is on a disk after a power loss: all that was written to a file before its last sync; of what was written after that, any part,
in any order, and sectors half old half new. Start at `Recording.disk_after`.
"""

from __future__ import annotations

import ctypes
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

SECTOR = 512
_DATABASE = ".sqlite3"
_KEPT_FILES = 0x00000100 | 0x00000800 | 0x00080000  # main database, its rollback journal, its write-ahead log
_Pointer = ctypes.c_void_p
_Open = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, _Pointer, _Pointer, ctypes.c_int, _Pointer)
_Delete = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, _Pointer, ctypes.c_int)
_Write = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, _Pointer, ctypes.c_int, ctypes.c_int64)
_Truncate = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.c_int64)
_Sync = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.c_int)


class _Vfs(ctypes.Structure):
    """struct sqlite3_vfs, version 3: what is not looked at is only copied."""

    _fields_ = [
        ("iVersion", ctypes.c_int),
        ("szOsFile", ctypes.c_int),
        ("mxPathname", ctypes.c_int),
        ("pNext", _Pointer),
        ("zName", ctypes.c_char_p),
        ("pAppData", _Pointer),
        ("xOpen", _Open),
        ("xDelete", _Delete),
        ("others", _Pointer * 14),
    ]


class _Methods(ctypes.Structure):
    """struct sqlite3_io_methods, version 3."""

    _fields_ = [
        ("iVersion", ctypes.c_int),
        ("xClose", _Pointer),
        ("xRead", _Pointer),
        ("xWrite", _Write),
        ("xTruncate", _Truncate),
        ("xSync", _Sync),
        ("others", _Pointer * 13),
    ]


class Event(NamedTuple):
    """`what` is write, truncate, sync, delete, or promise: from then on the commit of timestamp `at` must never be lost."""

    what: str
    file: str
    at: int = 0
    data: bytes = b""


class _File:
    """What of a file is sure (None: that there is none), and what was done to it since."""

    def __init__(self, content: bytes | None) -> None:
        self._synced = None if content is None else bytearray(content)
        self._pending: list[Event] = []

    def change(self, event: Event) -> None:
        self._pending.append(event)

    @property
    def is_new(self) -> bool:
        """Its name is not in the directory yet, as far as the disk is concerned, or is another file's."""
        return bool(self._pending) and (self._synced is None or any(event.what == "delete" for event in self._pending))

    def sync(self) -> None:
        self._synced = _applied(self._synced, self._pending)
        self._pending = []

    def sync_removal(self) -> None:
        """The directory was synced: a file that was removed stays so, and what is pending is a new one's."""
        removals = [at for at, event in enumerate(self._pending) if event.what == "delete"]
        if removals:
            self._synced = None
            del self._pending[: removals[-1] + 1]

    def torn(self, chance: random.Random) -> bytes | None:
        """One of the contents that a power loss can leave."""
        content, pending = self._synced, self._pending
        removals = [at for at, event in enumerate(pending) if event.what == "delete"]
        if removals and chance.random() < 0.5:
            pending = pending[: removals[0]]  # it was not removed after all
        elif removals:
            content, pending = None, pending[removals[-1] + 1 :]
        likely = chance.choice((0.0, 0.3, 0.7, 0.95, 1.0))
        survivors = [event for event in pending if chance.random() < likely]
        survivors = [event if chance.random() < 0.8 else self._halved(event, chance) for event in survivors]
        left = _applied(None if content is None else bytearray(content), survivors)
        return None if left is None else bytes(left)

    @property
    def content(self) -> bytes | None:
        """What is sure."""
        return None if self._synced is None else bytes(self._synced)

    def _halved(self, event: Event, chance: random.Random) -> Event:
        """A write of which some sectors arrived; or, where the file became longer, one whose room was made and not filled."""
        if event.what != "write":
            return event
        if event.at >= len(self._synced or b"") and chance.random() < 0.5:
            return event._replace(data=bytes(len(event.data)))
        return event._replace(data=event.data[: chance.randrange(0, len(event.data) + 1, SECTOR)])


def _applied(content: bytearray | None, events: list[Event]) -> bytearray | None:
    for event in events:
        if event.what == "delete":
            content = None
            continue
        content = bytearray() if content is None else content
        content.extend(bytes(max(0, event.at - len(content))))
        if event.what == "truncate":
            del content[event.at :]
        else:
            content[event.at : event.at + len(event.data)] = event.data
    return content


@dataclass
class Recording:
    """What happened to the files of one directory since they had `before` in them."""

    before: dict[str, bytes] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def promise(self, ts: int) -> None:
        """Somebody was told of this commit, or of what it made. 0 is the state before the first one."""
        if ts:
            self.events.append(Event("promise", "", ts))

    def killed_after(self, count: int) -> tuple[dict[str, bytes], Recording]:
        """The files that the end of the process after so many events leaves, and how the recording goes on with the next process.

        The system has what was written and never synced; a power loss that follows may still take it away.
        """
        files = {name: _File(content) for name, content in self.before.items()}
        for event in self.events[:count]:
            if event.what not in ("sync", "promise"):
                files.setdefault(event.file, _File(None)).change(event)
        for file in files.values():
            file.sync()
        left = {name: file.content for name, file in files.items()}
        rest = Recording(self.before, self.events[:count])
        return {name: content for name, content in left.items() if content is not None}, rest

    def disk_after(self, count: int, chance: random.Random) -> tuple[dict[str, bytes], set[int]]:
        """The files that a power loss after so many events leaves, and the commits that must be in them."""
        files = {name: _File(content) for name, content in self.before.items()}
        promised: set[int] = set()
        for event in self.events[:count]:
            if event.what == "promise":
                promised.add(event.at)
                continue
            file = files.setdefault(event.file, _File(None))
            if event.what == "sync":
                if file.is_new and not event.file.endswith(_DATABASE):
                    # SQLite syncs the directory with the first sync of a log or journal that it has made.
                    for other in files.values():
                        other.sync_removal()
                file.sync()
            else:
                file.change(event)
        left = {name: file.torn(chance) for name, file in files.items()}
        return {name: content for name, content in left.items() if content is not None}, promised


def find_library() -> Any:
    """The library that Python's sqlite3 has loaded, or None if it was built in."""
    import sqlite3  # noqa: F401  # loads it

    maps = Path("/proc/self/maps")
    names = {line.split()[-1] for line in maps.read_text().splitlines() if "libsqlite3" in line} if maps.is_file() else set()
    return ctypes.CDLL(min(names)) if names else None


@contextmanager
def recording(library: Any, directory: Path, earlier: Recording | None = None) -> Iterator[Recording]:
    """Record what happens to the database files in a directory, perhaps going on with what a killed process has left."""
    library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
    usual = library.sqlite3_vfs_find(None)
    recorded = earlier or Recording({path.name: path.read_bytes() for path in directory.iterdir() if _is_kept(path.name)})
    vfs = _Vfs()
    ctypes.memmove(ctypes.byref(vfs), usual, ctypes.sizeof(_Vfs))
    hooks = _Hooks(usual.contents, os.fspath(directory), recorded.events.append)
    vfs.zName = b"recording"
    vfs.xOpen, vfs.xDelete = hooks.open, hooks.delete
    library.sqlite3_vfs_register(ctypes.byref(vfs), 1)
    try:
        yield recorded
    finally:
        library.sqlite3_vfs_register(usual, 1)
        library.sqlite3_vfs_unregister(ctypes.byref(vfs))
        # A connection that somebody forgot to close may still call them.
        _kept_alive.append((vfs, hooks))


_kept_alive: list[Any] = []


def _is_kept(name: str) -> bool:
    return name.endswith((_DATABASE, f"{_DATABASE}-wal", f"{_DATABASE}-journal"))


class _Hooks:
    """The functions of the copied tables. SQLite calls them in whatever thread it is in."""

    def __init__(self, usual: _Vfs, directory: str, note: Callable[[Event], None]) -> None:
        self._usual, self._directory, self._note = usual, directory, note
        self._methods: dict[str, _Methods] = {}
        self.open = _Open(self._open)
        self.delete = _Delete(self._delete)

    def _open(self, vfs: int, name: int | None, file: int, flags: int, out_flags: int) -> int:
        result: int = self._usual.xOpen(vfs, name, file, flags, out_flags)
        path = ctypes.string_at(name).decode() if name else ""
        if result == 0 and flags & _KEPT_FILES and self._is_ours(path):
            methods = ctypes.cast(file, ctypes.POINTER(_Pointer))
            methods[0] = ctypes.addressof(self._recording_methods(os.path.basename(path), methods[0]))  # noqa: PTH119
        return result

    def _delete(self, vfs: int, name: int, sync: int) -> int:
        path = ctypes.string_at(name).decode()
        result: int = self._usual.xDelete(vfs, name, sync)
        if result == 0 and self._is_ours(path):
            self._note(Event("delete", os.path.basename(path)))  # noqa: PTH119
            if sync:
                self._note(Event("sync", os.path.basename(path)))  # noqa: PTH119
        return result

    def _is_ours(self, path: str) -> bool:
        return os.path.dirname(path) == self._directory and _is_kept(path)  # noqa: PTH120

    def _recording_methods(self, file: str, address: int | None) -> _Methods:
        known = self._methods.get(file)
        if known is not None:
            return known
        usual = ctypes.cast(address, ctypes.POINTER(_Methods)).contents  # type: ignore[arg-type]
        methods = self._methods[file] = _Methods()
        ctypes.memmove(ctypes.byref(methods), ctypes.byref(usual), ctypes.sizeof(_Methods))

        def write(handle: int, data: int, size: int, at: int) -> int:
            result: int = usual.xWrite(handle, data, size, at)
            self._note(Event("write", file, at, ctypes.string_at(data, size)))
            return result

        def truncate(handle: int, size: int) -> int:
            result: int = usual.xTruncate(handle, size)
            self._note(Event("truncate", file, size))
            return result

        def sync(handle: int, flags: int) -> int:
            result: int = usual.xSync(handle, flags)
            self._note(Event("sync", file))
            return result

        methods.xWrite, methods.xTruncate, methods.xSync = _Write(write), _Truncate(truncate), _Sync(sync)
        return methods
