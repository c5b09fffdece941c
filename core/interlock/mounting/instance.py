"""Instances: what runs and owns data. The app is the root; every mount is one below its parent, by its component path."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from interlock.errors import FunctionNotFound, MountError
from interlock.limits import Limits
from interlock.mounting.code import Code
from interlock.mounting.discovery import Plugin
from interlock.mounting.environment import Environment
from interlock.mounting.manifest import Manifest
from interlock.mounting.names import ArgumentNames, FunctionNames
from interlock.sdk.declarations import CronDeclaration, FunctionDeclaration, Isolation, Mount, RouteDeclaration, TableDeclaration
from interlock.values import is_identifier


class ComponentPath(str):
    """Where an instance hangs: `mailer/workpool`; the app is the empty path. A string, so it keys tables, logs and JSON."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """A path that somebody typed. Raises MountError."""
        if text and not all(is_identifier(part) for part in text.split("/")):
            raise MountError(repr(text), "is no component path.", "Write the mounts from the app down, like mailer/workpool.")
        return cls(text)

    def child(self, name: str) -> ComponentPath:
        return ComponentPath(f"{self}/{name}" if self else name)

    @property
    def parent(self) -> ComponentPath | None:
        """None for the app."""
        return ComponentPath(self.rpartition("/")[0]) if self else None

    @property
    def name(self) -> str:
        return self.rpartition("/")[2]


@dataclass(eq=False)
class Instance:
    """One mounted component, or the app. `http_prefix` is whole, with those of its parents; None where its routes answer nowhere.

    `tables` to `http_routes` are what its plugin answered to the hooks. `code` is None where its code is not in this process.
    """

    path: ComponentPath
    manifest: Manifest
    environment: Environment
    parent: Instance | None = None
    mount: Mount | None = None
    plugin: Plugin | None = None
    code: Code | None = None
    isolation: Isolation = "inline"
    allow: frozenset[str] = frozenset()
    http_prefix: str | None = None
    limits: Limits | None = None
    workers: int = 1
    children: dict[str, Instance] = field(default_factory=dict)
    tables: Mapping[str, TableDeclaration] = field(default_factory=dict)
    functions: Mapping[str, FunctionDeclaration] = field(default_factory=dict)
    triggers: list[str] = field(default_factory=list)
    crons: list[CronDeclaration] = field(default_factory=list)
    http_routes: list[RouteDeclaration] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The mount's name; of the root, its own."""
        return self.path.name or self.manifest.name

    @property
    def title(self) -> str:
        """For people: `the app`, or the path."""
        return f'"{self.path}"' if self.path else "the app"

    def find(self, name: str) -> FunctionDeclaration | None:
        """The function that a caller means by `name`, in any spelling; None if there is none."""
        declared = self.functions.get(name)
        if declared is not None:
            return declared
        found = self._names.find(name)
        return self.functions[found] if found is not None else None

    def child(self, name: str) -> Instance:
        """The instance mounted in this one as `name`. Raises FunctionNotFound, which is what a caller of it asked for in vain."""
        found = self.children.get(name)
        if found is not None:
            return found
        close = difflib.get_close_matches(name, self.children, n=1)
        hint = f"Did you mean components.{close[0]}?" if close else f'Mount it in {self.title}: use("{name}").'
        raise FunctionNotFound(f"components.{name}", f'Nothing is mounted as "{name}" in {self.title}. {hint}')

    def rename_arguments(self, function: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Arguments as callers outside Python write them, in the spelling of the function `function`. Raises ArgumentError."""
        names = self._arguments.get(function)
        if names is None:
            names = self._arguments[function] = ArgumentNames(function, self.functions[function].args["value"])
        return names.rename(arguments)

    def env_values(self, app_env: Mapping[str, str]) -> dict[str, str | None]:
        """What `ctx.env` holds here, when the app's own variables are `app_env`."""
        return self.environment.values(app_env)

    @cached_property
    def _names(self) -> FunctionNames:
        return FunctionNames(self.functions)

    @cached_property
    def _arguments(self) -> dict[str, ArgumentNames]:
        return {}

    def __repr__(self) -> str:
        return f"<Instance {self.title}>"
