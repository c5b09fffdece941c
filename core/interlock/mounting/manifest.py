"""Manifests: what an instance is, as data. The host works from it alone, without importing a line of the component.

An inline component's manifest is made from its object by `manifest_of`; what a sealed one answers is read by `manifest_reader`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import croniter

from interlock.errors import FunctionNotFound, MountError
from interlock.mounting.discovery import Plugin
from interlock.mounting.names import canonical, clashing
from interlock.mounting.permissions import is_permission
from interlock.sdk.assembly import Assembly
from interlock.sdk.component import Component
from interlock.sdk.declarations import CronDeclaration, FunctionDeclaration, Mount, RouteDeclaration, TableDeclaration, TriggerDeclaration
from interlock.sdk.triggers import declared_triggers
from interlock.values import to_wire

Json = dict[str, Any]

FORMAT = 3
TEXT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Manifest:
    """One component, or the app. `interlock` is what its package requires of Interlock; `triggers` are in the order registered."""

    name: str
    version: str = ""
    interlock: str = ""
    tables: Mapping[str, TableDeclaration] = field(default_factory=dict)
    strict: bool = True
    functions: Mapping[str, FunctionDeclaration] = field(default_factory=dict)
    triggers: tuple[TriggerDeclaration, ...] = ()
    crons: tuple[CronDeclaration, ...] = ()
    children: tuple[Mount, ...] = ()
    env: Mapping[str, Json] = field(default_factory=dict)
    permissions: tuple[str, ...] = ()
    http_routes: tuple[RouteDeclaration, ...] = ()

    def to_json(self) -> Json:
        return {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "interlock": self.interlock,
            "tables": {name: table.to_json() for name, table in self.tables.items()},
            "strict": self.strict,
            "functions": {name: {**asdict(function), "doc": function.doc[:TEXT_MAX]} for name, function in self.functions.items()},
            "triggers": [trigger.to_json() for trigger in self.triggers],
            "crons": [{**cron.to_json(), "args": to_wire(cron.args)} for cron in self.crons],
            "children": [mount.to_json() for mount in self.children],
            "env": dict(self.env),
            "permissions": list(self.permissions),
            "http_routes": [route.to_json() for route in self.http_routes],
        }


def manifest_of(component: Component, plugin: Plugin | None = None) -> Manifest:
    """The manifest of a component that is imported into this process."""
    schema = component.schema
    manifest = Manifest(
        name=component.name,
        version=plugin.version if plugin is not None else "",
        interlock=needed_interlock(plugin) if plugin is not None else "",
        tables=schema.declarations() if schema is not None else {},
        strict=schema.strict if schema is not None else True,
        functions={name: function.declaration() for name, function in component.functions.items()},
        triggers=declared_triggers(component.triggers),
        crons=declared_crons(component),
        children=tuple(component.mounts),
        env=component.env_declarations(),
        permissions=component.permissions,
        http_routes=tuple(route.declaration() for route in component.http_routes),
    )
    check_manifest(manifest, where=component.where, cron_lines={cron.name: cron.where for cron in component.crons})
    return manifest


def needed_interlock(plugin: Plugin) -> str:
    """What a component's package requires of Interlock."""
    return ", ".join(line for line in plugin.requires if re.match(r"interlock\s*(?![\w.-])", line, re.IGNORECASE))


def declared_crons(assembly: Assembly) -> tuple[CronDeclaration, ...]:
    """The crons of an app or component whose functions have their names by now."""
    declared = []
    for cron in assembly.crons:
        try:
            declared.append(cron.declaration())
        except FunctionNotFound as error:
            raise MountError(cron.where, f'cron "{cron.name}" calls {error.name}, which callers cannot reach.', error.hint) from None
    return tuple(declared)


def check_manifest(manifest: Manifest, *, where: str, cron_lines: Mapping[str, str] | None = None) -> None:
    """What one part of a manifest says about another. `cron_lines` are the lines of its crons, where they are known."""
    names = clashing(manifest.functions)
    if names is not None:
        problem = f"{names[0]} and {names[1]} are one name to callers that write camelCase."
        raise MountError(where, problem, "Rename one of the two functions.")
    for function in manifest.functions.values():
        arguments = clashing(function.args["value"])
        if arguments is not None:
            problem = f"{function.name} takes {arguments[0]} and {arguments[1]}, which are one name to callers that write camelCase."
            raise MountError(where, problem, "Rename one of the two arguments.")
    for cron in manifest.crons:
        _check_cron(cron, manifest, (cron_lines or {}).get(cron.name, where))
    strange = next((permission for permission in manifest.permissions if not is_permission(permission)), None)
    if strange is not None:
        problem = f'the component "{manifest.name}" asks for {strange!r}, which is no permission.'
        raise MountError(where, problem, 'A permission is "net:host", "http", "files" or "native".')
    if manifest.http_routes and manifest.name and "http" not in manifest.permissions:
        problem = f'the component "{manifest.name}" has HTTP routes and does not ask for the permission.'
        raise MountError(where, problem, f'Write Component("{manifest.name}", …, permissions=["http"]).')


def _check_cron(cron: CronDeclaration, manifest: Manifest, where: str) -> None:
    title = f'cron "{cron.name}"'
    if cron.cron is not None and not is_schedule(cron.cron):
        remedy = 'Write five fields, minute hour day month weekday: "0 3 * * *".'
        raise MountError(where, f"{title} has the schedule {cron.cron!r}, which no time fits.", remedy)
    if not is_timezone(cron.timezone):
        problem = f"{title} has the time zone {cron.timezone!r}, which is not known here."
        raise MountError(where, problem, 'Write a name like "Europe/Berlin".')
    if cron.mount:
        if not any(mount.name == cron.mount for mount in manifest.children):
            problem = f'{title} calls components.{cron.mount}.{cron.function}, and nothing is mounted as "{cron.mount}".'
            raise MountError(where, problem, f'Mount it: use("{cron.mount}").')
        return
    function = manifest.functions.get(cron.function) or manifest.functions.get(_canonical(cron.function))
    if function is None:
        problem = f"{title} calls {cron.function}, and there is no such function."
        raise MountError(where, problem, "Give it a function of this app or component.")
    check_cron_target(title, cron, function, where)


def check_cron_target(title: str, cron: CronDeclaration, function: FunctionDeclaration, where: str) -> None:
    """A cron calls mutations and actions, with arguments that they take."""
    if function.kind == "query":
        raise MountError(where, f"{title} calls the query {function.name}, which changes nothing.", "Crons call mutations and actions.")
    declared = function.args["value"]
    missing = sorted(name for name, item in declared.items() if not item["optional"] and name not in cron.args)
    unknown = sorted(name for name in cron.args if name not in declared and not function.rest)
    if missing or unknown:
        said = f"without {', '.join(missing)}" if missing else f"with {', '.join(unknown)}, which it does not take"
        raise MountError(where, f"{title} calls {function.name} {said}.", "Give the arguments in args={…}.")


def _canonical(name: str) -> str:
    try:
        return canonical(name)
    except FunctionNotFound:
        return name


def is_schedule(text: str) -> bool:
    """A cron expression of five fields."""
    return len(text.split()) == 5 and bool(croniter.is_valid(text))


def is_timezone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
