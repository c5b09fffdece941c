"""Which components are installed: entry points of the group `interlock.components`, read without importing a line of them.

A component's package is a plugin. What is known of it before its code runs is what its installer wrote down: name,
version, what it needs, and the hashes of its files.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from interlock.errors import MountError

COMPONENTS = "interlock.components"
_FACT_MAX = 100


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point of an installed distribution. Nothing of it is imported until `entry_point.load()`."""

    name: str
    distribution: str
    version: str
    requires: tuple[str, ...]
    entry_point: metadata.EntryPoint = field(repr=False)
    cache_key: str | None = None

    @property
    def module(self) -> str:
        return self.entry_point.value.partition(":")[0].strip()


def discover(path: Sequence[str] | None = None, group: str = COMPONENTS) -> dict[str, tuple[Plugin, ...]]:
    """Every entry point of `group` by its name, with all distributions that offer it. `path` is `sys.path` unless given."""
    found: dict[str, list[Plugin]] = defaultdict(list)
    seen: set[str] = set()
    for distribution in metadata.distributions() if path is None else metadata.distributions(path=list(path)):
        try:
            plugins = _plugins_of(distribution, group)
        except Exception:  # its files are not what an installer writes: it offers nothing, and is nobody else's trouble
            continue
        # The first on the path is what an import finds; a second copy further on (a source tree beside its install) is never run.
        if not plugins or canonicalize_name(plugins[0].distribution) in seen:
            continue
        seen.add(canonicalize_name(plugins[0].distribution))
        for plugin in plugins:
            found[plugin.name].append(plugin)
    return {name: tuple(plugins) for name, plugins in sorted(found.items())}


def _plugins_of(distribution: metadata.Distribution, group: str) -> list[Plugin]:
    points = {point.name: point for point in distribution.entry_points if point.group == group}
    if not points:
        return []
    name, version = _fact(distribution, "Name", "a package without a name"), _fact(distribution, "Version", "0")
    requires, key = tuple(distribution.requires or ()), _cache_key(distribution)
    return [Plugin(point.name, name, version, requires, point, key) for point in points.values()]


def find_plugin(name: str, installed: Mapping[str, Sequence[Plugin]], *, where: str, interlock: str | None = None) -> Plugin:
    """The one plugin that a mount names. Refused: none, two, and one that does not want this version of Interlock."""
    offers = installed.get(name, ())
    if not offers:
        raise MountError(where, f'mounts "{name}", which is not installed.', _install_remedy(name, installed))
    if len(offers) > 1:
        rivals = " and ".join(sorted(f"{plugin.distribution} {plugin.version}" for plugin in offers))
        spare = max(offers, key=lambda plugin: plugin.distribution)
        raise MountError(
            where,
            f'mounts "{name}", which two installed distributions offer: {rivals}.',
            f"Keep one of them. Run, for example: pip uninstall {spare.distribution}",
        )
    plugin = offers[0]
    if ":" not in plugin.entry_point.value:
        raise MountError(
            where,
            f'mounts "{name}", but the entry point of {plugin.distribution} names no object: "{plugin.entry_point.value}".',
            f'Its pyproject.toml needs, under [project.entry-points."{COMPONENTS}"]: {name} = "{plugin.module}:component"',
        )
    version = interlock if interlock is not None else interlock_version()
    excluding = next(excluding_requirements(plugin.requires, version), None) if version else None
    if excluding is not None:
        raise MountError(
            where,
            f'mounts "{name}" of {plugin.distribution} {plugin.version}, which requires {excluding}; this is interlock {version}.',
            f"Run: pip install --upgrade {plugin.distribution}, or install the interlock that it asks for: pip install '{excluding}'",
        )
    return plugin


def excluding_requirements(requires: Iterable[str], version: str) -> Iterator[str]:
    """The requirements on `interlock` that `version` does not meet."""
    for text in requires:
        try:
            requirement = Requirement(text)
            running = Version(version)
            if canonicalize_name(requirement.name) != "interlock":
                continue
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
        except ValueError:  # no requirement, or one that compares what cannot be compared
            continue
        if not requirement.specifier.contains(running, prereleases=True):
            yield f"interlock{requirement.specifier}"


def interlock_version() -> str | None:
    """The version of Interlock that runs; None in a source tree that was never installed."""
    try:
        return metadata.version("interlock")
    except metadata.PackageNotFoundError:
        return None


def _fact(distribution: metadata.Distribution, name: str, missing: str) -> str:
    """What its metadata say, as one short line: whoever made the package wrote it, and a header may go on for lines."""
    told = " ".join(next(iter(distribution.metadata.get_all(name) or ()), missing).split())
    return "".join(char for char in told if char.isprintable())[:_FACT_MAX]


def _install_remedy(name: str, installed: Mapping[str, Sequence[Plugin]]) -> str:
    install = f"pip install interlock-{canonicalize_name(name)}"
    close = difflib.get_close_matches(name, installed, n=1)
    return f'Did you mean app.use("{close[0]}")? Otherwise run: {install}' if close else f"Run: {install}"


def _cache_key(distribution: metadata.Distribution) -> str | None:
    """A hash over the hashes of all its files. None where the files may change under it: an editable install, or no RECORD."""
    record = distribution.read_text("RECORD")
    if not record:
        return None
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError:
        return None
    if isinstance(origin, dict) and isinstance(origin.get("dir_info"), dict) and origin["dir_info"].get("editable"):
        return None
    return hashlib.sha256("\n".join(sorted(record.splitlines())).encode()).hexdigest()
