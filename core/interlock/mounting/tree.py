"""The instance tree: everything that is mounted, checked as a whole before anything starts.

A tree is built aside and then put in place of the old one: a start that is refused has changed nothing.

Start at `build_tree`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from interlock.engine.catalog import TableSpec, mount_of
from interlock.errors import MountError
from interlock.hooks import Hooks
from interlock.limits import LIMITS
from interlock.mounting.app_loader import LoadedApp, load_app, load_app_of
from interlock.mounting.app_package import absolute, undone_if_refused
from interlock.mounting.code import Code, code_of, import_component
from interlock.mounting.discovery import Plugin, discover, find_plugin
from interlock.mounting.environment import Environment, check_bindings, check_root
from interlock.mounting.instance import ComponentPath, Instance
from interlock.mounting.manifest import Manifest, check_cron_target, manifest_of
from interlock.mounting.permissions import allowed_by, check_allowed_above, check_limits, check_permissions, prefix_below
from interlock.mounting.plugin import InstancePlugin
from interlock.mounting.sealing import (
    ask_manifest,
    check_number_below,
    has_place,
    is_place,
    isolation_below,
    limits_below,
    notices_of,
    source_of,
    workers_below,
)
from interlock.sandbox.sources import Source
from interlock.sdk.app import App
from interlock.sdk.auth import AuthProvider
from interlock.sdk.component import Component
from interlock.sdk.declarations import IN_TESTS, InTests, Isolation, Mount

_TABLES_MAX = int(LIMITS["tables_of_mount"].value)


@dataclass(frozen=True, eq=False)
class Tree:
    """All instances of one backend. `by_path` is in mount order, the root first.

    `moves` maps the old component paths of data to the new ones (`was=`); of several that fit a path the first counts.
    `fingerprint` changes when anything that is declared does.
    """

    root: Instance
    by_path: Mapping[str, Instance]
    hooks: Hooks
    warnings: tuple[str, ...] = ()
    app: App | None = None
    directory: Path | None = None
    static: Path | None = None
    auth: tuple[AuthProvider, ...] = ()
    moves: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str = ""

    def get(self, path: str) -> Instance:
        """The instance at a component path that somebody typed. Raises MountError."""
        instance = self.by_path.get(ComponentPath.parse(path))
        if instance is None:
            known = ", ".join(known for known in self.by_path if known)
            raise MountError(repr(path), "nothing is mounted at this component path.", f"Mounted are: {known}." if known else "")
        return instance

    def table_specs(self) -> list[TableSpec]:
        """The declared tables of all instances, as the engine's deploy wants them."""
        return [
            TableSpec(instance.path, name, table.validator, instance.manifest.strict, dict(table.indexes), table.staged)
            for instance in self.by_path.values()
            for name, table in instance.tables.items()
        ]

    def unmounted(self, stored: Iterable[str]) -> list[str]:
        """Those of the component paths that data is stored under which nothing is mounted at now."""
        return sorted(set(stored) - set(self.by_path))

    def secrets(self, app_env: Mapping[str, str]) -> set[str]:
        """Every value that some component was given as a secret: to be masked wherever text leaves the host."""
        return {held.value for instance in self.by_path.values() for held in instance.environment.secrets(app_env) if held.value}


def build_tree(
    source: str | Path | App | Component | Source,
    *,
    env: Mapping[str, str] | None = None,
    reload: bool = False,
    isolation: Isolation | InTests | None = None,
    plugins: Mapping[str, object] | None = None,
) -> Tree:
    """Load `source` (an app's directory, an App, or a component on its own) and everything that it mounts. Raises MountError.

    A component may be given as the source of one that this process does not import; `isolation` is "sandbox" then unless it says "process".

    `env` holds the root's variables, `os.environ` unless given. `isolation` overrides what the mounts say, for tests: all of
    it, or `InTests` what this process has imported anyway. `plugins`
    are those of the backend (`plugin.load_plugins`), asked through the same hooks.
    """
    builder = _Builder(os.environ if env is None else env, isolation, plugins or {})
    if isinstance(source, App | Component | Source):
        return builder.build(source, reload)
    with undone_if_refused(absolute(source).name):
        return builder.build(source, reload)


class _Builder:
    """One build. Instances are made from the root down, in mount order; then the hooks are asked, then the whole is checked."""

    def __init__(self, env: Mapping[str, str], isolation: Isolation | InTests | None, plugins: Mapping[str, object]) -> None:
        self._env, self._isolation, self._plugins = env, isolation, plugins
        self._installed: Mapping[str, tuple[Plugin, ...]] | None = None
        self._instances: dict[str, Instance] = {}
        self._warnings: list[str] = []

    def build(self, source: str | Path | App | Component | Source, reload: bool) -> Tree:
        loaded: LoadedApp | None = None
        if isinstance(source, Component):
            root = self._component_root(source)
        elif isinstance(source, Source):
            root = self._sealed_root(source, source.module, f"{source.module}:{source.name}", [])
        else:
            loaded = load_app_of(source) if isinstance(source, App) else load_app(source, reload=reload)
            self._warnings.extend(loaded.warnings)
            root = self._root(loaded.manifest(), loaded.code(), loaded.app.where, [])
        hooks = Hooks({path: InstancePlugin(instance.manifest) for path, instance in self._instances.items()}, self._plugins)
        self._ask(hooks)
        self._check_tables()
        self._check_prefixes()
        self._check_crons()
        moves = self._moves()
        return Tree(
            root=root,
            by_path=self._instances,
            hooks=hooks,
            warnings=tuple(self._warnings),
            app=loaded.app if loaded is not None else None,
            directory=loaded.directory if loaded is not None else None,
            static=_static(loaded) if loaded is not None else None,
            auth=loaded.app.auth if loaded is not None else (),
            moves=moves,
            fingerprint=self._fingerprint(),
        )

    def _component_root(self, component: Component) -> Instance:
        """A component on its own. It is isolated only where that is asked for: it was imported by whoever asks."""
        isolation: Isolation = "inline" if self._isolation is None or self._isolation == IN_TESTS else self._isolation
        if isolation != "inline" and not has_place(component):
            self._warnings.append(f"{component.where}: no other process can find this component, so it runs inline.")
            isolation = "inline"
        if isolation == "inline":
            return self._root(manifest_of(component), code_of(component), component.where, [component])
        return self._sealed_root(source_of(component, None, None, where=component.where), component.name, component.where, [component])

    def _sealed_root(self, source: Source, name: str, where: str, above: list[object]) -> Instance:
        isolation: Isolation = "process" if self._isolation == "process" else "sandbox"
        mount = Mount(name, name, isolation=isolation, where=where)
        manifest = ask_manifest(source, None, mount, isolation, None)
        if source.native and "native" not in manifest.permissions:
            problem = f"imports native code ({', '.join(source.native)}), and does not ask for it."
            raise MountError(where, problem, f'Write Component("{manifest.name}", …, permissions=["native"]).')
        return self._root(manifest, None, where, above, source, isolation)

    def _root(
        self,
        manifest: Manifest,
        code: Code | None,
        where: str,
        above: list[object],
        source: Source | None = None,
        isolation: Isolation = "inline",
    ) -> Instance:
        check_root(manifest.env, self._env, where=where)
        root = Instance(
            path=ComponentPath(),
            manifest=manifest,
            environment=Environment(manifest.env),
            code=code,
            source=source,
            isolation=isolation,
            allow=frozenset(manifest.permissions),
            http_prefix="",
        )
        self._instances[root.path] = root
        self._mount_children(root, above)
        return root

    def _mount_children(self, parent: Instance, above: list[object]) -> None:
        for mount in parent.manifest.children:
            other = parent.children.get(mount.name)
            if other is not None and other.mount is not None:
                problem = f'mounts "{mount.name}", and {other.mount.where} mounts another under this name.'
                raise MountError(mount.where, problem, f"Give one of them a name: {_use(mount, name=mount.name + '_2')}.")
            parent.children[mount.name] = self._mount(parent, mount, above)

    def _mount(self, parent: Instance, mount: Mount, above: list[object]) -> Instance:
        if mount.component in above:
            raise MountError(mount.where, f'mounts "{mount.name}" inside itself.', "Remove this line.")
        check_number_below(parent, self._instances)
        limits = limits_below(parent, mount.limits)
        plugin = self._plugin(parent, mount)
        isolation = isolation_below(parent, self._asked(mount))
        if mount.isolation == "inline" and isinstance(mount.component, Component) and not has_place(mount.component):
            isolation = "inline"  # a test that isolates all mounts does not mean those that cannot be
        if isolation == "inline":
            component = mount.component if isinstance(mount.component, Component) else import_component(_given(plugin), where=mount.where)
            manifest, code, source = manifest_of(component, plugin), code_of(component), None
        else:
            native = "native" in mount.allow
            source = source_of(mount.component, plugin, parent.source, where=mount.where, native=native)
            manifest, code = ask_manifest(source, plugin, mount, isolation, limits), None
            if native and "native" not in manifest.permissions:  # allowed in vain: it is sealed like any other
                source = source_of(mount.component, plugin, parent.source, where=mount.where)
                manifest = ask_manifest(source, plugin, mount, isolation, limits)
            self._warnings.extend(notices_of(isolation, mount, self._warnings))
        check_allowed_above(mount, parent)
        check_bindings(mount, manifest.env, parent.manifest.env, env=_env_of(parent))
        self._warnings.extend(check_permissions(mount, manifest.permissions))
        self._warnings.extend(check_limits(mount))
        instance = Instance(
            path=parent.path.child(mount.name),
            manifest=manifest,
            environment=Environment(manifest.env, mount.env, parent.environment),
            parent=parent,
            mount=mount,
            plugin=plugin,
            code=code,
            source=source,
            isolation=isolation,
            allow=allowed_by(mount),
            http_prefix=prefix_below(mount, parent.http_prefix),
            limits=limits,
            workers=workers_below(parent, mount.workers),
        )
        self._instances[instance.path] = instance
        self._mount_children(instance, [*above, mount.component])
        return instance

    def _asked(self, mount: Mount) -> Isolation:
        if self._isolation == IN_TESTS:
            return "inline" if isinstance(mount.component, Component) else mount.isolation
        return self._isolation or mount.isolation

    def _plugin(self, parent: Instance, mount: Mount) -> Plugin | None:
        """What is installed under the name that is mounted; None for a local component."""
        if isinstance(mount.component, Component) or is_place(mount.component, parent.source):
            return None
        if self._installed is None:
            self._installed = discover()
        return find_plugin(mount.component, self._installed, where=mount.where)

    def _ask(self, hooks: Hooks) -> None:
        for path, instance in self._instances.items():
            instance.tables = hooks.tables(path)
            instance.functions = hooks.functions(path)
            instance.triggers = hooks.triggers(path)
            instance.crons = hooks.crons(path)
            instance.http_routes = hooks.http_routes(path)
            if instance.mount is not None and not (instance.functions or instance.http_routes or instance.children):
                self._warnings.append(_empty(instance, instance.mount))
            tables = dict.fromkeys([trigger.table for trigger in instance.triggers])
            undeclared = [table for table in tables if instance.tables and table not in instance.tables]
            self._warnings.extend(f'{instance.title} has a trigger on "{table}", and its schema has no such table.' for table in undeclared)

    def _check_tables(self) -> None:
        """No mount takes what all others have room in."""
        counts: dict[str, int] = {}
        for path, instance in self._instances.items():
            mount = mount_of(path)
            counts[mount] = counts.get(mount, 0) + len(instance.tables)
            if mount and counts[mount] > _TABLES_MAX:
                top = self._instances[ComponentPath(mount)]
                where = top.mount.where if top.mount is not None else top.title
                problem = f'mounts "{mount}", which has more than {_TABLES_MAX:,} tables, those of its children included.'
                raise MountError(where, problem, "Keep what is alike in one table, with a field that tells it apart.")

    def _check_prefixes(self) -> None:
        taken: dict[str, Instance] = {}
        for instance in self._instances.values():
            if instance.mount is None or instance.http_prefix is None:
                continue
            other = taken.setdefault(instance.http_prefix, instance)
            if other is not instance and other.mount is not None:
                problem = f'mounts "{instance.name}" under {instance.http_prefix}, where {other.mount.where} mounts {other.title}.'
                raise MountError(instance.mount.where, problem, "Give one of them another http_prefix.")

    def _check_crons(self) -> None:
        """Crons that call a child: what it has is known only now."""
        for instance in self._instances.values():
            where = instance.mount.where if instance.mount is not None else instance.title
            for cron in instance.crons:
                if not cron.mount:
                    continue
                function = instance.children[cron.mount].functions.get(cron.function)
                title = f'cron "{cron.name}"'
                if function is None or function.internal:
                    problem = f"{title} calls components.{cron.mount}.{cron.function}, and there is no such function."
                    raise MountError(where, problem, "Give it a function of this mount.")
                check_cron_target(title, cron, function, where)

    def _moves(self) -> dict[str, str]:
        former: dict[str, list[str]] = {path: [] for path in self._instances}
        for path, instance in self._instances.items():
            mount, parent = instance.mount, instance.parent
            if mount is None or parent is None or mount.was is None:
                continue
            title = f'mounts "{mount.name}" with was="{mount.was}"'
            still = parent.children.get(mount.was)
            if still is not None:
                where = f"which {still.mount.where} still mounts" if still is not instance and still.mount else "which is its own name"
                raise MountError(mount.where, f"{title}, {where}.", "Remove was=, or the other line.")
            rivals = [one for one in parent.manifest.children if one.was == mount.was and one is not mount]
            if rivals:
                raise MountError(mount.where, f"{title}, and so does {rivals[0].where}.", "Data can move to one place only.")
            former[path] = [ComponentPath(above).child(mount.was) for above in (parent.path, *former[parent.path])]
        moves = {old: path for path, olds in former.items() for old in olds}
        # The deepest first: a child that was renamed along with its parent must not be caught by its parent's move.
        return dict(sorted(moves.items(), key=lambda move: -move[0].count("/")))

    def _fingerprint(self) -> str:
        told = [
            [path, instance.manifest.to_json(), instance.mount.to_json() if instance.mount is not None else None, instance.isolation]
            for path, instance in self._instances.items()
        ]
        return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _given(plugin: Plugin | None) -> Plugin:
    assert plugin is not None, "what is no object was found among the installed ones"
    return plugin


def _use(mount: Mount, *, name: str) -> str:
    component = f'"{mount.component}"' if isinstance(mount.component, str) else mount.component.name
    return f'use({component}, name="{name}")'


def _env_of(parent: Instance) -> str:
    return "component.env" if parent.manifest.name else "app.env"


def _static(loaded: LoadedApp) -> Path | None:
    if loaded.app.static is None:
        return None
    folder = ((loaded.directory or Path.cwd()) / loaded.app.static).resolve()
    if not folder.is_dir():
        problem = f'static="{loaded.app.static}", and there is no such folder: {folder}.'
        raise MountError(loaded.app.where, problem, "Make the folder, or remove static=.")
    if loaded.directory is not None and loaded.directory.resolve().is_relative_to(folder):
        problem = f'static="{loaded.app.static}" would serve the code and the data of the app to everybody.'
        raise MountError(loaded.app.where, problem, 'Put what is to be served into a folder of its own: static="web"')
    return folder


def _empty(instance: Instance, mount: Mount) -> str:
    """What is said of a component that nobody can call: mostly its functions are in a module that nothing has imported."""
    made = f", made at {mount.component.where}" if isinstance(mount.component, Component) else ""
    return (
        f'{mount.where} mounts "{mount.name}", and the component "{instance.manifest.name}"{made} has no functions. '
        "What makes a component is loaded, with all that it imports: let that module import those of its functions, at its end."
    )
