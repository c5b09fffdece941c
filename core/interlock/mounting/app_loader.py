"""An app's directory, loaded: its config, its schema, and what its modules declare, each under the name that callers use.

Start at `load_app`. `app_package` does the importing; here is what the imported modules mean.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import CodeType, ModuleType
from typing import Any

from interlock.errors import MountError
from interlock.mounting.app_package import AppPackage
from interlock.mounting.code import Code, OnChange, handlers_by_route, triggers_by_table
from interlock.mounting.manifest import Manifest, check_manifest, declared_crons
from interlock.sdk.app import App
from interlock.sdk.functions import Function
from interlock.sdk.registry import made_by
from interlock.sdk.schema import Schema
from interlock.sdk.triggers import declared_triggers
from interlock.values import is_identifier

AnyFunction = Function[..., Any]


@dataclass(frozen=True, slots=True)
class LoadedApp:
    """One app. `directory` is None for an `App` that was made in no app's directory; `warnings` are lines for people."""

    app: App
    schema: Schema | None
    functions: dict[str, AnyFunction]
    triggers: list[tuple[str, OnChange]]
    modules: tuple[str, ...]
    directory: Path | None = None
    warnings: tuple[str, ...] = ()

    def manifest(self) -> Manifest:
        manifest = Manifest(
            name="",
            tables=self.schema.declarations() if self.schema is not None else {},
            strict=self.schema.strict if self.schema is not None else True,
            functions={name: function.declaration() for name, function in self.functions.items()},
            triggers=declared_triggers(self.triggers),
            crons=declared_crons(self.app),
            children=tuple(self.app.mounts),
            env=self.app.env_declarations(),
            http_routes=tuple(route.declaration() for route in self.app.http_routes),
        )
        check_manifest(manifest, where=self.app.where, cron_lines={cron.name: cron.where for cron in self.app.crons})
        return manifest

    def code(self) -> Code:
        return Code(dict(self.functions), triggers_by_table(self.triggers), handlers_by_route(self.app.http_routes))


def load_app(directory: str | Path, *, reload: bool = False) -> LoadedApp:
    """Import the app in `directory`, or use what is imported of it already. `reload` starts from the files as they are now."""
    return _load(AppPackage(Path(directory)), reload=reload)


def load_app_of(app: App) -> LoadedApp:
    """The app that an `App` object belongs to: the directory whose app.py made it, or else the one module that it stands in."""
    module = _module_of(app)
    if module is None:
        return LoadedApp(app, None, {}, [], ())
    path = Path(module.__file__ or "")
    if path.name == "app.py" and module.__package__:
        loaded = _load(AppPackage(path.parent, package=module.__package__))
        if loaded.app is app:
            return loaded
    name = path.stem
    schema = getattr(module, "schema", None)
    return LoadedApp(app, schema if isinstance(schema, Schema) else None, *_declarations([(name, name, module)]), modules=(name,))


def _load(package: AppPackage, *, reload: bool = False) -> LoadedApp:
    loaded = [(file.name, package.relative(file.path) or file.name, module) for file, module in package.import_all(reload=reload)]
    modules = {name: module for name, _, module in loaded}
    app = getattr(modules["app"], "app", None)
    if not isinstance(app, App):
        other = next((name for name, value in vars(modules["app"]).items() if isinstance(value, App)), None)
        problem = "defines no `app`." if app is None else f"defines `app`, which is a {type(app).__name__} and no App."
        raise MountError("app.py", problem, f"Rename {other} to app." if other else "Write: from interlock import App; app = App()")
    schema = None
    if "schema" in modules:
        schema = getattr(modules["schema"], "schema", None)
        if not isinstance(schema, Schema):
            problem = "defines no `schema`." if schema is None else f"defines `schema`, which is a {type(schema).__name__} and no Schema."
            raise MountError("schema.py", problem, "Write: schema = Schema(name=Table({…})), or remove the file.")
    private = package.private_modules()
    unreachable = [
        f"{file} makes the {function.kind} {function.__name__}, which nobody can call: callers cannot name this module. Move it to another."
        for file, module in private
        for function in made_by(module).functions
    ]
    functions, triggers = _declarations(loaded)
    triggers = [*(trigger for _, module in private for trigger in made_by(module).triggers), *triggers]
    return LoadedApp(app, schema, functions, triggers, tuple(modules), package.directory, (*package.warnings, *unreachable))


def _declarations(loaded: Iterable[tuple[str, str, ModuleType]]) -> tuple[dict[str, AnyFunction], list[tuple[str, OnChange]]]:
    """Functions by public name and triggers, of modules given as (name, file, module), in the order in which they were made."""
    functions: dict[str, AnyFunction] = {}
    triggers: list[tuple[str, OnChange]] = []
    for name, file, module in loaded:
        made = made_by(module)
        for own_name, function in _named(made.functions, module, file):
            public_name = f"{name}:{own_name}"
            other = functions.setdefault(public_name, function)
            if other is not function:
                problem = f"two functions are named {public_name}; the other is at {other.where}."
                raise MountError(function.where or file, problem, "Rename one of them.")
            function.public_name = public_name
        triggers.extend(made.triggers)
    return functions, triggers


def _named(made: Sequence[AnyFunction], module: ModuleType, file: str) -> Iterable[tuple[str, AnyFunction]]:
    """The functions that have a name: the one they were given, or the attribute that they were first bound to."""
    # By identity: functions without a public name yet compare by what they do not have.
    bound: dict[int, str] = {}
    for attribute, value in vars(module).items():
        if isinstance(value, Function):
            bound.setdefault(id(value), attribute)
    by_name = {bound[id(function)]: function for function in made if id(function) in bound}
    for function in made:
        name = function.name or bound.get(id(function))
        if name is None:
            _refuse_if_overwritten(function, by_name, file)
            continue
        if not is_identifier(name):
            problem = f"{name!r} is no name for a function."
            raise MountError(function.where or file, problem, "Names are ASCII letters, digits and underscores, at most 64.")
        yield name, function


def _refuse_if_overwritten(function: AnyFunction, by_name: dict[str, AnyFunction], file: str) -> None:
    """A second `def` of one name hides the first. (A decorator that wraps a function in another one is no second `def`.)"""
    first = _code(function)
    other = by_name.get(first.co_qualname) if first is not None else None
    second = _code(other) if other is not None else None
    if first is None or second is None or (first.co_filename, first.co_qualname) != (second.co_filename, second.co_qualname):
        return
    problem = f"defines {first.co_qualname} twice, in line {first.co_firstlineno} and in line {second.co_firstlineno}."
    raise MountError(f"{file}:{second.co_firstlineno}", problem, "Rename one of the two functions.")


def _code(function: AnyFunction) -> CodeType | None:
    code = getattr(function.handler, "__code__", None)
    return code if isinstance(code, CodeType) else None


def _module_of(app: App) -> ModuleType | None:
    """The module that made the app: of those that have it as an attribute, the one in the file that its `where` names."""
    file = app.where.partition(":")[0]
    for module in list(sys.modules.values()):
        path = vars(module).get("__file__") if isinstance(module, ModuleType) else None
        if isinstance(path, str) and PurePath(path).name == file and any(value is app for value in vars(module).values()):
            return module
    return None
