"""The Python objects behind an instance whose code runs in this process: what a runner calls."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interlock.errors import MountError
from interlock.mounting.discovery import COMPONENTS, Plugin
from interlock.sdk.assembly import Handler, Route
from interlock.sdk.component import Component
from interlock.sdk.functions import Function

OnChange = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Code:
    """Functions by the name that callers use, triggers by table in the order registered, handlers by (method, path)."""

    functions: Mapping[str, Function[..., Any]] = field(default_factory=dict)
    triggers: Mapping[str, tuple[OnChange, ...]] = field(default_factory=dict)
    http_handlers: Mapping[tuple[str, str], Handler] = field(default_factory=dict)


def code_of(component: Component) -> Code:
    return Code(dict(component.functions), triggers_by_table(component.triggers), handlers_by_route(component.http_routes))


def triggers_by_table(triggers: Iterable[tuple[str, OnChange]]) -> dict[str, tuple[OnChange, ...]]:
    by_table: dict[str, tuple[OnChange, ...]] = {}
    for table, on_change in triggers:
        by_table[table] = (*by_table.get(table, ()), on_change)
    return by_table


def handlers_by_route(routes: Iterable[Route]) -> dict[tuple[str, str], Handler]:
    return {(route.method, route.path): route.handler for route in routes}


def import_component(plugin: Plugin, *, where: str) -> Component:
    """Import a component into this process, which is what `isolation="inline"` asks for."""
    value = plugin.entry_point.value
    title = f'mounts "{plugin.name}" of {plugin.distribution} {plugin.version}'
    try:
        found = plugin.entry_point.load()
    except MountError:
        raise
    except (Exception, SystemExit) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        problem = f"{title}, whose import failed at {place}: {type(error).__name__}: {error}"
        raise MountError(where, problem, f"Try it alone: python -c 'import {plugin.module}'") from error
    if not isinstance(found, Component):
        problem = f"{title}, whose entry point {value} is a {type(found).__name__} and no Component."
        raise MountError(where, problem, f'Its pyproject.toml names the object, under [project.entry-points."{COMPONENTS}"].')
    return found
