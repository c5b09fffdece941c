"""Instances: what runs and owns data. The app is the root; every mount is one below its parent, by its component path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Self

from interlock.errors import MountError
from interlock.limits import Limits
from interlock.mounting.code import Code
from interlock.mounting.discovery import Plugin
from interlock.mounting.environment import Environment, HeldSecret, placeholder
from interlock.mounting.manifest import Manifest
from interlock.mounting.network import Network
from interlock.sandbox.sources import Source
from interlock.sdk.declarations import (
    CronDeclaration,
    FunctionDeclaration,
    Isolation,
    Mount,
    RouteDeclaration,
    TableDeclaration,
    TriggerDeclaration,
)
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

    `tables` to `http_routes` are what its plugin answered to the hooks. `code` is None where its code is not in this process;
    then `source` is what its workers load.
    """

    path: ComponentPath
    manifest: Manifest
    environment: Environment
    parent: Instance | None = None
    mount: Mount | None = None
    plugin: Plugin | None = None
    code: Code | None = None
    source: Source | None = None
    isolation: Isolation = "inline"
    allow: frozenset[str] = frozenset()
    http_prefix: str | None = None
    limits: Limits | None = None
    workers: int = 1
    children: dict[str, Instance] = field(default_factory=dict)
    tables: Mapping[str, TableDeclaration] = field(default_factory=dict)
    functions: Mapping[str, FunctionDeclaration] = field(default_factory=dict)
    triggers: list[TriggerDeclaration] = field(default_factory=list)
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

    def env_values(self, app_env: Mapping[str, str], key: bytes = b"") -> dict[str, str | None]:
        """What `ctx.env` holds here, when the app's own variables are `app_env`. Placeholders are made with `key`, the backend's secret."""
        return self.environment.values(app_env, partial(self._placeholder, key=key))

    def secrets(self, app_env: Mapping[str, str], key: bytes = b"") -> dict[str, HeldSecret]:
        """The secrets that this instance may have put into headers, by their placeholders."""
        return {self._placeholder(held.name, key=key): held for held in self.environment.secrets(app_env)}

    def _placeholder(self, name: str, *, key: bytes) -> str:
        return placeholder(self.path, name, key)

    @cached_property
    def network(self) -> Network | None:
        """What its fetches may reach; None for the app, which may do what its process may."""
        if self.parent is None and not self.manifest.name:
            return None
        return Network.of(self.manifest.permissions, self.allow)

    def __repr__(self) -> str:
        return f"<Instance {self.title}>"
