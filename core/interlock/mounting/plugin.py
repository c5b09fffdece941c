"""Plugins: what stands for a mounted instance in the hooks, and the installed plugins of the backend itself.

An instance is stood for by its manifest, so one that runs in this process and one that is sealed away declare themselves in
the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from interlock.errors import MountError
from interlock.hooks import hookimpl
from interlock.mounting.discovery import discover
from interlock.mounting.manifest import Manifest
from interlock.sdk.declarations import CronDeclaration, FunctionDeclaration, RouteDeclaration, TableDeclaration, TriggerDeclaration

PLUGINS = "interlock.plugins"


class InstancePlugin:
    """Answers the hooks of mounts from a manifest."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    @hookimpl
    def tables(self) -> Mapping[str, TableDeclaration]:
        return self._manifest.tables

    @hookimpl
    def functions(self) -> Mapping[str, FunctionDeclaration]:
        return self._manifest.functions

    @hookimpl
    def triggers(self) -> Sequence[TriggerDeclaration]:
        return self._manifest.triggers

    @hookimpl
    def crons(self) -> Sequence[CronDeclaration]:
        return self._manifest.crons

    @hookimpl
    def http_routes(self) -> Sequence[RouteDeclaration]:
        return self._manifest.http_routes


def load_plugins() -> dict[str, object]:
    """The installed plugins of the backend itself, imported: entry points of the group `interlock.plugins`. A backend asks for it once."""
    plugins: dict[str, object] = {}
    for name, offers in discover(group=PLUGINS).items():
        plugin = offers[0]
        where = f'the plugin "{name}" of {plugin.distribution} {plugin.version}'
        if len(offers) > 1:
            problem = f"{offers[1].distribution} {offers[1].version} has one of the same name."
            raise MountError(where, problem, f"Keep one of them. Run, for example: pip uninstall {offers[1].distribution}")
        try:
            plugins[name] = plugin.entry_point.load()
        except (Exception, SystemExit) as error:
            problem = f"its import failed: {type(error).__name__}: {error}"
            raise MountError(where, problem, f"Run: pip uninstall {plugin.distribution}") from error
    return plugins
