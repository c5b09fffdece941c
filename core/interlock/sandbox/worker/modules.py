"""Importing a component from bytes: its files came over the channel, and a sealed worker has no file system."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import marshal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import CodeType, ModuleType
from typing import Any

from interlock.sandbox.frames import CODE_MAX
from interlock.sandbox.worker.resources import Resources

_FILES = (".py", ".so", ".pyd", ".dylib")


class NativePackages(importlib.abc.MetaPathFinder):
    """Finds packages with native code where they lie. What is inside them, Python finds itself by their folder."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = dict(places)

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        place = self._places.get(fullname)
        if place is None or path is not None:
            return None
        if place.endswith(_FILES):
            return importlib.util.spec_from_file_location(fullname, place)
        return importlib.util.spec_from_file_location(fullname, f"{place}/__init__.py", submodule_search_locations=[place])


class Package:
    """One package of a component, as `pkgutil` goes through it by its `__path__`, and Python where it looks there first."""

    def __init__(self, files: ComponentFiles, name: str) -> None:
        self._files, self._name = files, name

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> Any:
        return self._files.find_spec(fullname, None)

    def iter_modules(self, prefix: str = "") -> Iterator[tuple[str, bool]]:
        return ((prefix + name, is_package) for name, is_package in self._files.iter_modules(self._name))


class ComponentFiles(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds and loads modules among files by their paths, like `interlock_tally/component.py`.

    `code` is what some of them compile to, as marshal writes it: what another worker of the same files found in its `compiled`, which
    holds what this one has compiled where it `keeps` that.
    """

    def __init__(self, files: Mapping[str, bytes], code: Mapping[str, bytes], *, keeps: bool = False) -> None:
        self._files = files
        self._code = dict(code)
        self.compiled: dict[str, bytes] = {}
        self._room = CODE_MAX if keeps else 0
        self._modules: dict[str, tuple[str, bool]] = {}
        for path in files:
            if not path.endswith(".py"):
                continue
            parts = path[:-3].split("/")
            is_package = parts[-1] == "__init__"
            if is_package:
                parts.pop()
            if parts:
                self._modules[".".join(parts)] = (path, is_package)
        # A folder without __init__.py is a package too, whatever lies in it.
        for folder in {path.rpartition("/")[0] for path in files}:
            while folder:
                self._modules.setdefault(folder.replace("/", "."), ("", True))
                folder = folder.rpartition("/")[0]

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        found = self._modules.get(fullname)
        if found is None:
            return None
        spec = importlib.machinery.ModuleSpec(fullname, self, origin=found[0] or fullname, is_package=found[1])
        spec.has_location = bool(found[0])
        if found[1]:
            folder = fullname.replace(".", "/")
            spec.submodule_search_locations = [folder]
            sys.path_importer_cache[folder] = Package(self, fullname)  # its own finder: no hook is asked
        return spec

    def iter_modules(self, package: str) -> Iterator[tuple[str, bool]]:
        """What can be imported from a package, in order: names, and whether they are packages."""
        for name, (path, is_package) in sorted(self._modules.items()):
            above, _, own = name.rpartition(".")
            if path and above == package:
                yield own, is_package

    def is_package(self, fullname: str) -> bool:
        return self._modules[fullname][1]

    def get_source(self, fullname: str) -> str:
        path = self._modules[fullname][0]
        return importlib.util.decode_source(self._files[path]) if path else ""

    def get_code(self, fullname: str) -> CodeType:
        path = self._modules[fullname][0]
        known = self._code.pop(path, None)
        if known is not None:
            with suppress(Exception):  # it is broken, which marshal says in many ways
                read = marshal.loads(known)
                if isinstance(read, CodeType):
                    return read
        written = marshal.dumps(compile(self._files[path] if path else b"", path or fullname, "exec", dont_inherit=True))
        if path and len(written) <= self._room:
            self._room -= len(written)
            self.compiled[path] = written
        # As a worker has it that was given it: marshal puts what lies in a constant set into another order.
        code: CodeType = marshal.loads(written)
        return code

    def forget_code(self) -> None:
        """Give the room back that it takes. What is imported later was not asked for by the other worker either."""
        self._code.clear()

    def get_data(self, path: str) -> bytes:
        """A file beside the modules, as `pkgutil.get_data` asks for it."""
        try:
            return self._files[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    def get_resource_reader(self, fullname: str) -> Resources:
        """The same for `importlib.resources`."""
        package = fullname if self.is_package(fullname) else fullname.rpartition(".")[0]
        return Resources(self._files, package.replace(".", "/"))

    def owns(self, module: ModuleType) -> bool:
        return getattr(getattr(module, "__spec__", None), "loader", None) is self

    def loaded(self) -> list[ModuleType]:
        """The modules of the component that are imported by now."""
        return [module for name, module in sys.modules.items() if name in self._modules and self.owns(module)]
