"""Which files a component is made of, read without importing a line of it.

They are those of its package and of the pure-Python packages that its distribution requires. The package's own `__init__` is
left empty: that is the face, which belongs to the app's process.

Start at `installed_files` and `local_files`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from weakref import WeakValueDictionary

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from interlock.errors import MountError
from interlock.sandbox.native import is_native, places_of

_FILES_MAX = 4_000
_BYTES_MAX = 32 * 1024 * 1024
_FILE_MAX = 4 * 1024 * 1024
_LEFT_OUT = frozenset({"__pycache__", "node_modules", "tests"})
_KINDS = frozenset({".py", ".json", ".txt", ".toml", ".csv", ".html", ".md", ".typed", ".sql", ".yaml", ".yml", ".tmpl"})
_PRELOADED = frozenset({"interlock", "orjson", "pydantic", "pydantic-core", "typing-extensions", "annotated-types", "typing-inspection"})


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Source:
    """A component's object, `module:name`, and the files that importing it may need. `key` names these bytes.

    `native` says where packages lie that are read from disk, by top-level name; `left_out` names distributions whose native code
    would not load. `code` is what files compile to, as far as it is known: bytes that a sealed worker of this source has written, and for
    such workers alone.
    """

    module: str
    name: str
    files: Mapping[str, bytes]
    key: str
    native: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    code: dict[str, bytes] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, place: str, files: Mapping[str, bytes], native: Mapping[str, str] | None = None, left_out: tuple[str, ...] = ()) -> Source:
        module, _, name = place.partition(":")
        digest = hashlib.sha256(place.encode())
        for top, folder in sorted((native or {}).items()):
            digest.update(f"\0native {top} {folder}".encode())
        for path in sorted(files):
            digest.update(f"\0{path}\0{len(files[path])}\0".encode())
            digest.update(files[path])
        made = cls(module.strip(), name.strip(), files, digest.hexdigest(), dict(native or {}), left_out)
        return _alive.setdefault((made.key, left_out), made)


_alive: WeakValueDictionary[tuple[str, tuple[str, ...]], Source] = WeakValueDictionary()
"""Mounts of one component hold its files once."""


def installed_files(place: str, requires: Iterable[str], *, where: str, native: bool = False) -> Source:
    """The source of an installed component: `place` is the value of its entry point, `requires` what its distribution needs.

    With `native`, packages that bring native code are read from where they lie.
    """
    top = place.partition(":")[0].strip().partition(".")[0]
    folder = _folder_of(top)
    if folder is None:
        raise MountError(where, f"there is no package {top}, in which {place} should be.", "Is it installed as a whole?")
    return folder_files(place, folder, requires, where=where, native=native)


def folder_files(place: str, folder: Path, requires: Iterable[str] = (), *, where: str, native: bool = False) -> Source:
    """The same of a package in a folder, installed or not."""
    module = place.partition(":")[0].strip()
    top = module.partition(".")[0]
    files = dict(_files_below(folder, top, where))
    if "." in module:
        files[f"{top}/__init__.py"] = b""
    places: dict[str, str] = {}
    left_out = []
    for name in _required(requires):
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if is_native(distribution):
            if native:
                places.update((found, at) for found, at in places_of(distribution).items() if found != top)
                continue
            left_out.append(name)
        for path, content in _files_of_distribution(distribution, top, where):
            files.setdefault(path, content)
    return Source.of(place, files, places, tuple(left_out))


def local_files(place: str, *, where: str) -> Source:
    """The source of a component that a module of the app made: the files of that module's top-level package, or the one module."""
    module = place.partition(":")[0]
    top, dotted, _ = module.partition(".")
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    if file is None:
        raise MountError(where, f"the module {module} has no file, so a worker cannot import it.", 'Mount it with isolation="inline".')
    if not dotted:
        return Source.of(place, {f"{module}.py": Path(file).read_bytes()})
    folder = Path(file).parents[module.count(".") - (0 if Path(file).name == "__init__.py" else 1)]
    files = dict(_files_below(folder, top, where))
    files[f"{top}/__init__.py"] = b""
    return Source.of(place, files)


def _folder_of(top: str) -> Path | None:
    """The folder or file of a top-level package. Finding one runs nothing of it."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin) if spec.origin else None


def _files_below(folder: Path, top: str, where: str) -> Iterator[tuple[str, bytes]]:
    if folder.is_file():
        yield f"{top}.py", folder.read_bytes()
        return
    count = total = 0
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder)
        if file.suffix not in _KINDS or file.is_symlink() or not file.is_file():
            continue
        if any(part in _LEFT_OUT or part.startswith(".") for part in inside.parts):
            continue
        content = file.read_bytes()
        count, total = count + 1, total + len(content)
        if count > _FILES_MAX or total > _BYTES_MAX or len(content) > _FILE_MAX:
            raise MountError(where, f"the package {top} is too large for a worker: {count:,} files, {total:,} bytes.")
        yield f"{top}/{inside.as_posix()}", content


def _required(requires: Iterable[str]) -> list[str]:
    """The distributions that are needed, and those that these need, without what every worker has."""
    found: dict[str, None] = {}
    waiting = list(requires)
    while waiting:
        try:
            requirement = Requirement(waiting.pop())
            name = canonicalize_name(requirement.name)
            if name in _PRELOADED or name in found:
                continue
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": "component"}):
                continue
        except ValueError:  # no requirement, or one that compares what cannot be compared
            continue
        found[name] = None
        try:
            waiting.extend(metadata.distribution(name).requires or ())
        except metadata.PackageNotFoundError:
            continue
    return list(found)


def _files_of_distribution(distribution: metadata.Distribution, own: str, where: str) -> Iterator[tuple[str, bytes]]:
    tops = {str(file).partition("/")[0].removesuffix(".py") for file in distribution.files or () if str(file).endswith(".py")}
    # Nothing comes into the component's `own` package; and of what the list of files names, only what lies where this distribution does:
    # it may name what is another's, the app itself too.
    for top in sorted(top for top in tops - {"interlock", own} if top.isidentifier()):
        for name in (top, f"{top}.py"):
            place = Path(str(distribution.locate_file(name)))
            if place.exists():
                yield from _files_below(place, top, where)
                break
