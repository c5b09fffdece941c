"""Components that this process does not import: where their code lies, and what their workers say that they are.

Start at `source_of` and `ask_manifest`.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from dataclasses import replace

from interlock.errors import MountError
from interlock.limits import LIMITS, Limits
from interlock.mounting.discovery import Plugin, interlock_version
from interlock.mounting.instance import Instance
from interlock.mounting.manifest import FORMAT, Manifest, needed_interlock
from interlock.mounting.manifest_reader import parse_manifest
from interlock.sandbox.confinement import available
from interlock.sandbox.manifests import manifest_bytes
from interlock.sandbox.native import readable_for
from interlock.sandbox.plan import Plan
from interlock.sandbox.sources import Source, installed_files, local_files
from interlock.sdk.component import Component
from interlock.sdk.declarations import Isolation, Mount

_NATIVE = 'permissions=["native"] in the component, and allow=["native"] in this line.'
_MEMORY = Plan().memory
_BELOW_MAX = int(LIMITS["instances_below"].value)
_STRENGTH: dict[Isolation, int] = {"inline": 0, "process": 1, "sandbox": 2}


def isolation_below(parent: Instance, asked: Isolation) -> Isolation:
    """How a mount is isolated: what a sealed component mounts is sealed as well as itself, whatever it writes."""
    if parent.source is not None and _STRENGTH[asked] < _STRENGTH[parent.isolation]:
        return parent.isolation
    return asked


def check_number_below(parent: Instance, known: Iterable[str]) -> None:
    """Refuse one instance more below a sealed component than it may bring with it. `known` are the paths of all so far."""
    top = parent
    while top.parent is not None and top.parent.source is not None:
        top = top.parent
    if parent.source is None or sum(1 for path in known if not top.path or path.startswith(f"{top.path}/")) < _BELOW_MAX:
        return
    where = top.mount.where if top.mount is not None else top.title
    problem = f'mounts "{top.name}", which brings more than {_BELOW_MAX} instances with it: its children, and theirs.'
    raise MountError(where, problem, 'Mount it with isolation="inline" where you trust it.')


def limits_below(parent: Instance, asked: Limits | None) -> Limits | None:
    """The share of a mount: what a sealed component mounts has no larger one than itself, whatever it writes."""
    above = parent.limits
    if parent.source is None or (asked is None and above is None):
        return asked
    found = {}
    for name in Limits.__dataclass_fields__:
        given = [value for limits in (asked, above) if limits is not None and (value := getattr(limits, name)) is not None]
        if name == "memory" and (above is None or above.memory is None):
            given.append(_MEMORY)
        found[name] = min(given, default=None)
    return Limits(**found)


def workers_below(parent: Instance, asked: int) -> int:
    """How many processes it has: no more than what mounts it."""
    return asked if parent.source is None else min(asked, parent.workers)


def is_place(component: str | Component, parent: Source | None) -> bool:
    """Whether a sealed component names one of its own objects, `module:name`."""
    return isinstance(component, str) and ":" in component and parent is not None


def source_of(component: str | Component, plugin: Plugin | None, parent: Source | None, *, where: str, native: bool = False) -> Source:
    """What a worker loads. `parent` is the source of the sealed component that mounts it; `native` code only where it is allowed.

    Raises MountError.
    """
    if plugin is not None:
        return installed_files(plugin.entry_point.value, plugin.requires, where=where, native=native)
    if isinstance(component, str):
        assert parent is not None
        return Source.of(component, parent.files, parent.native if native else None)
    return local_files(_place_of(component, where), where=where)


def has_place(component: Component) -> bool:
    """Whether a worker can find it: it lies in a module under a name."""
    return _name_of(component) is not None


def _name_of(component: Component) -> str | None:
    module = sys.modules.get(component.module)
    # Elsewhere the script that was started here is not `__main__`.
    return (
        None
        if module is None or component.module == "__main__"
        else next((name for name, value in vars(module).items() if value is component), None)
    )


def _place_of(component: Component, where: str) -> str:
    name = _name_of(component)
    if name is not None:
        return f"{component.module}:{name}"
    raise MountError(
        where,
        f'mounts the component "{component.name}", which is in no module under a name, so no other process can find it.',
        f'Assign it at the top of a module ({component.where}), or write isolation="inline".',
    )


def plan_of(isolation: Isolation, name: str, limits: Limits | None, source: Source) -> Plan:
    """How the workers of a mount are to be confined. One that loads native code may read that, and nothing else."""
    assert isolation != "inline"
    plan = Plan(isolation, name, files=readable_for(source.native))
    return plan if limits is None or limits.memory is None else replace(plan, memory=limits.memory)


def notices_of(isolation: Isolation, mount: Mount, told: Collection[str]) -> list[str]:
    """What every start says aloud of how a mount is held, but for what it has `told` already."""
    if isolation == "process":
        return [
            f'{mount.where}: "{mount.name}" has a process of its own and is NOT confined: '
            'it may do whatever the user of this server may. Where Linux can confine it, write isolation="sandbox".'
        ]
    return [notice for notice in available().notices if notice not in told]


def ask_manifest(source: Source, plugin: Plugin | None, mount: Mount, isolation: Isolation, limits: Limits | None) -> Manifest:
    """What a component says that it is, looked at in every part. Raises MountError, also where its workers could not be confined."""
    plan = plan_of(isolation, mount.name, limits, source)
    missing = available().missing_for(plan)
    if missing:
        raise MountError(
            mount.where,
            f'mounts "{mount.name}" isolated, and this machine cannot confine a process: there is no {", ".join(missing)}.',
            'Write isolation="process" (a process of its own, not confined) or isolation="inline" where you trust the component.',
        )
    title = f'mounts "{mount.name}"' + (f" of {plugin.distribution} {plugin.version}" if plugin is not None else "")
    try:
        data = manifest_bytes(source, plan, where=mount.where, title=title, version=f"{interlock_version() or ''}-{FORMAT}")
    except MountError as error:
        if not source.left_out or not any(kind in error.problem for kind in ("ImportError", "ModuleNotFoundError")):
            raise
        named = ", ".join(source.left_out)
        remedy = f"It needs {named}, which is native code, and that loads only where it is allowed. If you want that: {_NATIVE}"
        raise MountError(error.where, error.problem, remedy) from None
    manifest = parse_manifest(data, where=mount.where)
    if plugin is None:
        return manifest
    return replace(manifest, version=plugin.version, interlock=needed_interlock(plugin))
