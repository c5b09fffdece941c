"""The environment of an instance: which variables it declares, what binds them, and what they hold when a function runs.

A component sees what its mount binds and nothing else. Values are looked up when they are asked for, up the chain of mounts
to the app's own variables, so a change of one is seen by all that are bound to it. A secret stays one on its way down: what the
component holds is a placeholder, which the host replaces in the headers of its `ctx.fetch`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import digest
from typing import Any, NamedTuple

from interlock.errors import MountError
from interlock.sdk.declarations import Mount
from interlock.sdk.env import EnvReference, EnvValue, Secret
from interlock.values import describe, is_subset, union_of

Json = dict[str, Any]
_NULL: Json = {"type": "null"}
_STRING: Json = {"type": "string"}
_PROOF_DIGITS = 24


class HeldSecret(NamedTuple):
    """A value that a component holds a placeholder of: the variable's name, and the value. Never for a message or a log."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables of one instance. `parent` is None for the root, whose values are the backend's."""

    declared: Mapping[str, Json]
    bindings: Mapping[str, EnvValue] = field(default_factory=dict)
    parent: Environment | None = None

    def values(self, app_env: Mapping[str, str], held: Callable[[str], str]) -> dict[str, str | None]:
        """What `ctx.env` holds: every declared variable; None for one that is not set, `held(name)` for a secret."""
        return {name: self._shown(name, app_env, held) for name in self.declared}

    def secrets(self, app_env: Mapping[str, str]) -> list[HeldSecret]:
        """The secrets of this instance that are set. For the host alone: to fill in headers, and to mask text."""
        found = []
        for name in self.declared:
            value, is_secret = self._value(name, app_env)
            if is_secret and value is not None:
                found.append(HeldSecret(name, value))
        return found

    def _shown(self, name: str, app_env: Mapping[str, str], held: Callable[[str], str]) -> str | None:
        value, is_secret = self._value(name, app_env)
        return held(name) if is_secret and value is not None else value

    def _value(self, name: str, app_env: Mapping[str, str]) -> tuple[str | None, bool]:
        if self.parent is None:
            return app_env.get(name), False
        bound = self.bindings.get(name)
        if isinstance(bound, Secret):
            return self._follow(bound.value, app_env)[0], True
        return (None, False) if bound is None else self._follow(bound, app_env)

    def _follow(self, bound: str | EnvReference, app_env: Mapping[str, str]) -> tuple[str | None, bool]:
        if isinstance(bound, str):
            return bound, False
        assert self.parent is not None
        return self.parent._value(bound.name, app_env)


def placeholder(component_path: str, name: str, key: bytes) -> str:
    """What an instance holds of a secret: a name, in characters that a header may have.

    Nobody who does not hold it can make it up: who may only choose the text of a header cannot have a secret put into it.
    """
    proof = digest(key, f"placeholder\0{component_path}\0{name}".encode(), sha256).hex()[:_PROOF_DIGITS]
    return f"{{{{secret:{name}:{proof}}}}}"


def check_root(declared: Mapping[str, Json], app_env: Mapping[str, str], *, where: str) -> None:
    """The root's own variables, against what the backend was given."""
    for name, validator in declared.items():
        value = app_env.get(name)
        if value is None and not is_subset(_NULL, validator):
            said = "" if validator == _STRING else f" to {describe(validator)}"
            problem = f"the variable {name} is not set, and it is declared here as {describe(validator)}."
            raise MountError(where, problem, f"Set {name}{said} in the environment, or declare it as {describe(validator)} | None.")
        if value is not None and not is_subset(_literal(value), validator):
            problem = f"the variable {name} is set to {value!r}, and must be {describe(validator)}."
            raise MountError(where, problem, f"Set {name} to {describe(validator)}.")


def check_bindings(mount: Mount, declared: Mapping[str, Json], parent: Mapping[str, Json], *, env: str) -> None:
    """A mount's `env` against what the component declares and what its parent has. `env` is how the parent's are written: `app.env`."""
    title = f'mounts "{mount.name}"'
    for name in mount.env:
        if name not in declared:
            close = difflib.get_close_matches(name, declared, n=1)
            known = ", ".join(declared) if declared else "none"
            remedy = f"Did you mean {close[0]}?" if close else f"Its variables are: {known}."
            raise MountError(mount.where, f"{title} with {name}, which {mount.component_name} does not declare.", remedy)
    for name, validator in declared.items():
        bound = mount.env.get(name)
        if bound is None:
            if not is_subset(_NULL, validator):
                problem = f"{title} without {name}, which {mount.component_name} needs as {describe(validator)}."
                raise MountError(mount.where, problem, f'Write env={{"{name}": {env}.{name}}}, or give a string.')
            continue
        _check_binding(mount, title, name, bound, validator, parent, env)


def _check_binding(mount: Mount, title: str, name: str, bound: EnvValue, validator: Json, parent: Mapping[str, Json], env: str) -> None:
    inner = bound.value if isinstance(bound, Secret) else bound
    if isinstance(inner, EnvReference) and inner.name not in parent:
        problem = f"{title} with {name}={env}.{inner.name}, and {inner.name} is not declared there."
        raise MountError(mount.where, problem, f'Declare it: env={{"{inner.name}": str}}.')
    given = parent[inner.name] if isinstance(inner, EnvReference) else _literal(inner)
    if is_subset(_NULL, given) and not is_subset(_NULL, validator):
        assert isinstance(inner, EnvReference)  # a literal is no null
        problem = f"{title} with {name}={env}.{inner.name}, which may be unset, and {mount.component_name} needs it."
        raise MountError(mount.where, problem, f"Declare the variable without None, or give {name} a string.")
    if isinstance(bound, Secret):
        # The component holds a placeholder, which is any text: no choice between literals can be made by it.
        given = union_of([_STRING, _NULL]) if is_subset(_NULL, given) else _STRING
        if not is_subset(given, validator):
            problem = f"{title} with {name} as a secret, and {mount.component_name} looks at its value: it must be {describe(validator)}."
            raise MountError(mount.where, problem, "Give it without secret(…).")
    if not is_subset(given, validator):
        problem = f"{title} with {name}={describe(given)}, and it must be {describe(validator)}."
        raise MountError(mount.where, problem, f"Give a value that fits, or declare the variable as {describe(validator)}.")


def _literal(text: str) -> Json:
    return {"type": "literal", "value": text}
