"""Imports without files: modules kept as bytes in the nursery's memory, whose pages all workers share.

A sealed worker can open nothing. What of the standard library is not imported yet, and the pure parts of the packages that were,
lie here; native modules cannot, and are imported before the first fork.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import io
import marshal
import os
import sys
import zoneinfo
from collections.abc import Iterable, Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from pathlib import Path
from types import CodeType, ModuleType
from typing import IO

_PYC_HEADER = 16
_NO_LIBRARY = "test tests idlelib lib2to3 turtledemo ensurepip tkinter site-packages dist-packages distutils venv pydoc_data __pycache__"
_NEEDS_MORE_THAN_A_WORKER_HAS = "lib-dynload msilib curses ctypes multiprocessing dbm sqlite3 __phello__"
_LEFT_OUT = {
    "ctypes": "Native code is reached through packages that bring it.",
    "dbm": "Keep data in tables.",
    "multiprocessing": "A component runs in one process. Split long work into actions and scheduled functions.",
    "sqlite3": "Keep data in tables.",
}
_SKIPPED_DIRECTORIES = frozenset(f"{_NO_LIBRARY} {_NEEDS_MORE_THAN_A_WORKER_HAS}".split())
_SKIPPED_FILES = frozenset(("turtle.py", "antigravity.py", "this.py", "sitecustomize.py", "usercustomize.py"))


class MemoryFinder(MetaPathFinder, Loader):
    """Finds and loads the modules that were added to it. `origin` names them in tracebacks: `<origin>/json/tool.py`."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._modules: dict[str, tuple[bytes, bool, bool]] = {}  # content, is a package, is code rather than source

    def add(self, name: str, content: bytes, *, is_package: bool, is_code: bool = False) -> None:
        """A module by its whole name: its source, or its code as marshal writes it."""
        self._modules[name] = (content, is_package, is_code)

    def __len__(self) -> int:
        return len(self._modules)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        found = self._modules.get(fullname)
        if found is None:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=self._file(fullname), is_package=found[1])

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = self._file(module.__name__)
        exec(self.get_code(module.__name__), module.__dict__)

    def get_code(self, name: str) -> CodeType:
        content, _, is_code = self._modules[name]
        code: CodeType = marshal.loads(content) if is_code else compile(content, self._file(name), "exec", dont_inherit=True)
        return code

    def _file(self, name: str) -> str:
        return f"<{self._origin}>/{name.replace('.', '/')}.py"


def standard_library() -> MemoryFinder:
    """What of the pure standard library is not imported yet, as code where the interpreter has compiled it before."""
    finder = MemoryFinder("stdlib")
    _add_tree(finder, Path(os.__file__).parent, "")
    return finder


class LeftOut(MetaPathFinder):
    """Finds nothing. Of what Python brings elsewhere, and no worker has, it says what to use instead."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        remedy = _LEFT_OUT.get(fullname)
        if remedy is not None:
            raise ModuleNotFoundError(f"No module named {fullname!r} in an isolated component. {remedy}", name=fullname)


def packages(names: Iterable[str]) -> MemoryFinder:
    """The modules of these imported packages that are not imported yet."""
    finder = MemoryFinder("packages")
    for name in names:
        for directory in getattr(sys.modules.get(name), "__path__", ()):
            _add_tree(finder, Path(directory), f"{name}.")
    return finder


def unloaded(names: Iterable[str]) -> MemoryFinder:
    """Pure modules and packages that are not imported here, and may be in a worker. Those that are not installed are left out."""
    finder = MemoryFinder("packages")
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        if spec.submodule_search_locations:
            for directory in spec.submodule_search_locations:
                _add_tree(finder, Path(directory), f"{name}.")
        _add_file(finder, name, Path(spec.origin), is_package=bool(spec.submodule_search_locations))
    return finder


def _add_tree(finder: MemoryFinder, root: Path, prefix: str) -> None:
    for file in _sources(root):
        parts = file.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = prefix + ".".join(parts[:-1] if is_package else parts)
        if name.rstrip(".") and name not in sys.modules:
            _add_file(finder, name, file, is_package=is_package)


def _add_file(finder: MemoryFinder, name: str, file: Path, *, is_package: bool) -> None:
    try:
        compiled = Path(importlib.util.cache_from_source(str(file))).read_bytes()
        finder.add(name, compiled[_PYC_HEADER:], is_package=is_package, is_code=True)
    except OSError:
        finder.add(name, file.read_bytes(), is_package=is_package)


def _sources(root: Path) -> Iterator[Path]:
    for directory, subdirectories, files in os.walk(root):
        subdirectories[:] = sorted(name for name in subdirectories if name not in _SKIPPED_DIRECTORIES and not name.startswith("config-"))
        yield from (Path(directory, name) for name in sorted(files) if name.endswith(".py") and name not in _SKIPPED_FILES)


def keep_time_zones() -> int:
    """Read every time zone of this machine into memory, and let `zoneinfo` find them there alone. Gives how many there are."""
    zones: dict[str, bytes] = {}
    for name in sorted(zoneinfo.available_timezones()):
        if (content := _time_zone(name)) is not None:
            zones[name] = content

    def load(key: str) -> IO[bytes]:
        try:
            return io.BytesIO(zones[key])
        except KeyError:
            raise zoneinfo.ZoneInfoNotFoundError(f"No time zone found with key {key}") from None

    zoneinfo.reset_tzpath(to=[])
    common = sys.modules["zoneinfo._common"]
    common.load_tzdata = load  # type: ignore[attr-defined]  # both implementations look it up when they need it
    for implementation in ("zoneinfo._zoneinfo", "zoneinfo"):
        module = sys.modules.get(implementation)
        if module is not None:
            module.available_timezones = lambda: set(zones)  # type: ignore[attr-defined]
    return len(zones)


def _time_zone(name: str) -> bytes | None:
    for directory in zoneinfo.TZPATH:
        try:
            return Path(directory, name).read_bytes()
        except OSError:
            continue
    try:
        with sys.modules["zoneinfo._common"].load_tzdata(name) as file:
            return bytes(file.read())
    except (OSError, zoneinfo.ZoneInfoNotFoundError):
        return None
