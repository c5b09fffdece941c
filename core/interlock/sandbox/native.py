"""Native packages of a component: where they lie, and what a worker has to be able to read so that they load.

Only a mount that allows "native" has any. Their code comes from files that the worker may read and map, and from no others.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

_SUFFIXES = (".so", ".pyd", ".dylib")
_LIBRARIES = ("/lib", "/usr/lib", "/lib64", "/usr/lib64")


def is_native(distribution: metadata.Distribution) -> bool:
    """Whether it brings code that is no Python."""
    return any(file.suffix in _SUFFIXES for file in distribution.files or ())


def places_of(distribution: metadata.Distribution) -> dict[str, str]:
    """What of it can be imported, by top-level name: the folder, or the one file. The libraries that its wheel brings along too."""
    found: dict[str, str] = {}
    for file in distribution.files or ():
        top = file.parts[0]
        name = top if top.endswith(".libs") else top.partition(".")[0]
        if not name.removesuffix(".libs").isidentifier() or top.endswith(".dist-info") or name == "interlock":
            continue
        place = Path(str(distribution.locate_file(top))).resolve()
        if place.is_dir() or (len(file.parts) == 1 and file.suffix in (".py", *_SUFFIXES) and place.is_file()):
            found.setdefault(name, str(place))
    return found


def readable_for(places: Mapping[str, str]) -> tuple[str, ...]:
    """The paths that loading these takes: themselves, and the system's libraries."""
    return (*sorted(set(places.values())), *_system_libraries()) if places else ()


def _system_libraries() -> tuple[str, ...]:
    """Where the dynamic loader looks. Of a system that sorts them by machine, that folder alone."""
    machine = sysconfig.get_config_var("MULTIARCH") or ""
    folders = [Path(root, machine) for root in _LIBRARIES[:2] if machine and Path(root, machine).is_dir()]
    found = {folder.resolve() for folder in folders or [Path(root) for root in _LIBRARIES if Path(root).is_dir()]}
    cache = Path("/etc/ld.so.cache")
    return (*sorted(map(str, found)), *((str(cache),) if cache.is_file() else ()))
