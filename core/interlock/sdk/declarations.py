"""What an app or a component declares, as data: it travels in manifests, and the host works from it without the code.

Each class has `to_json` and `from_json`; the JSON of a declaration holds everything but Python objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

from interlock.limits import Limits
from interlock.sdk.env import EnvValue, env_value_from_json, env_value_to_json
from interlock.sdk.host import Kind
from interlock.values import Json

if TYPE_CHECKING:
    from interlock.sdk.component import Component

Isolation = Literal["sandbox", "process", "inline"]

InTests = Literal["as imported"]
IN_TESTS: InTests = "as imported"
"""Inline where a component was given as an object, so that this process has imported it anyway; as the mount says where it has a name."""
CatchUp = Literal["skip", "once", "all"]


@dataclass(frozen=True, slots=True)
class FunctionDeclaration:
    """One function. `args` is an object validator; `rest` says that it takes arguments beyond those; `plain` that it is no `async def`."""

    name: str
    kind: Kind
    internal: bool
    args: Json
    returns: Json
    rest: bool = False
    doc: str = ""
    plain: bool = False

    def to_json(self) -> Json:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


@dataclass(frozen=True, slots=True)
class TableDeclaration:
    """One table: the validator of its documents without their system fields, the fields of each index, and which are `staged`."""

    validator: Json
    indexes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    staged: tuple[str, ...] = ()

    def to_json(self) -> Json:
        indexes = {name: list(fields) for name, fields in self.indexes.items()}
        return {"validator": self.validator, "indexes": indexes, "staged": list(self.staged)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["validator"], {name: tuple(fields) for name, fields in data["indexes"].items()}, tuple(data["staged"]))


@dataclass(frozen=True, slots=True)
class TriggerDeclaration:
    """One trigger of a table. `takes_list` says that it is told of many changes at once."""

    table: str
    takes_list: bool = False

    def to_json(self) -> Json:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


@dataclass(frozen=True, slots=True)
class CronDeclaration:
    """A rule that plans calls: every `every` seconds, or by the five fields of `cron` in `timezone`.

    `mount` names the child that has the function; it is "" for an own one.
    """

    name: str
    every: float | None
    cron: str | None
    timezone: str
    catch_up: CatchUp
    args: dict[str, Any]
    function: str
    mount: str = ""

    def to_json(self) -> Json:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


@dataclass(frozen=True, slots=True)
class RouteDeclaration:
    """An HTTP route: exact path and method."""

    method: str
    path: str
    handler: str = ""

    def to_json(self) -> Json:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Mount:
    """One `use` line. `component` is an entry-point name, or the object of a local component; `where` is the line, like `app.py:7`."""

    component: str | Component
    name: str
    isolation: Isolation = "sandbox"
    env: Mapping[str, EnvValue] = field(default_factory=dict)
    allow: tuple[str, ...] = ()
    http_prefix: str | None = None
    workers: int = 1
    limits: Limits | None = None
    was: str | None = None
    where: str = ""

    @property
    def component_name(self) -> str:
        return self.component if isinstance(self.component, str) else self.component.name

    def to_json(self) -> Json:
        """A local component is written as its name with `local`: its object stays where it was made."""
        return {
            "component": self.component_name,
            "local": not isinstance(self.component, str),
            "name": self.name,
            "isolation": self.isolation,
            "env": {name: env_value_to_json(value) for name, value in self.env.items()},
            "allow": list(self.allow),
            "http_prefix": self.http_prefix,
            "workers": self.workers,
            "limits": None if self.limits is None else {name: value for name, value in asdict(self.limits).items() if value is not None},
            "was": self.was,
            "where": self.where,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        limits = data["limits"]
        return cls(
            component=data["component"],
            name=data["name"],
            isolation=data["isolation"],
            env={name: env_value_from_json(value) for name, value in data["env"].items()},
            allow=tuple(data["allow"]),
            http_prefix=data["http_prefix"],
            workers=data["workers"],
            limits=None if limits is None else Limits(**limits),
            was=data["was"],
            where=data["where"],
        )
