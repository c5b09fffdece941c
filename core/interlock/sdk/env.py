"""Environment: the variables that an app or component declares, references to them, and secrets.

A mount's `env` binds each variable of the component to a literal string, to a variable of its parent by reference
(`app.env.X`), or to `secret(…)` of either. Values are looked up when a function runs, never here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from interlock.errors import MountError
from interlock.values import Json, from_annotation

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}\Z")


@dataclass(frozen=True, slots=True)
class EnvReference:
    """A variable of the parent, by name: `app.env.API_KEY`."""

    name: str

    def __str__(self) -> str:
        return f"env.{self.name}"


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that the component may use and never see. Made by `secret`."""

    value: str | EnvReference

    def __repr__(self) -> str:
        return f"secret({self.value})" if isinstance(self.value, EnvReference) else "secret(…)"


EnvValue = str | EnvReference | Secret


def secret(value: str | EnvReference, /) -> Secret:
    """Give a component the use of a value without the value: it holds a name, which the host replaces in the headers of its `ctx.fetch`."""
    if not isinstance(value, str | EnvReference):
        raise TypeError(f"secret() takes a string or a reference like app.env.API_KEY, not {type(value).__name__}")
    return Secret(value)


class Env:
    """The declared variables of one app or component. `env.NAME` is a reference to one of them.

    The annotations are `str`, a `Literal` of strings, or either `| None` for a variable that may be unset.
    """

    def __init__(self, owner: str, annotations: Mapping[str, Any], where: str) -> None:
        for name in annotations:
            if not isinstance(name, str) or not _NAME.match(name):
                raise MountError(where, f"{owner} declares the variable {name!r}: a name is letters, digits and underscores.")
        self._owner, self._annotations, self._where = owner, dict(annotations), where

    def __getattr__(self, name: str) -> EnvReference:
        if name.startswith("__") or name not in self._annotations:
            raise AttributeError(self._unknown(name))
        return EnvReference(name)

    def __getitem__(self, name: str) -> EnvReference:
        if name not in self._annotations:
            raise KeyError(self._unknown(name))
        return EnvReference(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._annotations)

    def __contains__(self, name: object) -> bool:
        return name in self._annotations

    def __len__(self) -> int:
        return len(self._annotations)

    def _unknown(self, name: str) -> str:
        return f"{self._owner} declares no variable {name}. Add it to env={{…}}: {self._owner} is declared at {self._where}."


def env_declarations(env: Env) -> dict[str, Json]:
    """The validator of each variable. Only strings, literals of strings, and null for one that may be unset."""
    declared: dict[str, Json] = {}
    for name, annotation in env._annotations.items():
        try:
            validator = from_annotation(annotation, where=f"env[{name!r}]")
        except TypeError as error:
            raise MountError(env._where, str(error)) from None
        members = validator["value"] if validator["type"] == "union" else [validator]
        if not all(_is_text(member) or member["type"] == "null" for member in members) or not any(map(_is_text, members)):
            raise MountError(
                env._where, f"{env._owner} declares {name} as {annotation!r}.", "Write str, a Literal of strings, or one of them | None."
            )
        declared[name] = validator
    return declared


def _is_text(validator: Json) -> bool:
    return validator["type"] == "string" or (validator["type"] == "literal" and isinstance(validator["value"], str))


def env_value_to_json(value: EnvValue) -> Json:
    if isinstance(value, Secret):
        return {"secret": env_value_to_json(value.value)}
    return {"reference": value.name} if isinstance(value, EnvReference) else {"literal": value}


def env_value_from_json(data: Mapping[str, Any]) -> EnvValue:
    if "secret" in data:
        inner = env_value_from_json(data["secret"])
        assert not isinstance(inner, Secret)
        return Secret(inner)
    return EnvReference(data["reference"]) if "reference" in data else str(data["literal"])
