"""Component: what a plugin publishes. Its tables, functions, triggers, crons and routes are reached through its parent alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar, overload

from interlock.errors import MountError
from interlock.sdk.assembly import Assembly
from interlock.sdk.functions import Function
from interlock.sdk.host import Kind
from interlock.sdk.registry import here
from interlock.sdk.schema import Schema
from interlock.sdk.triggers import OnChange, check_trigger
from interlock.values.types import is_identifier

P = ParamSpec("P")
R = TypeVar("R")


class Component(Assembly):
    """A component: its name, schema, variables and the permissions that it asks for. `module` is where it was made."""

    def __init__(
        self,
        name: str,
        /,
        *,
        schema: Schema | None = None,
        env: Mapping[str, Any] | None = None,
        permissions: Sequence[str] = (),
    ) -> None:
        where = here()
        if not isinstance(name, str) or not is_identifier(name) or name.startswith("_"):
            raise MountError(where, f"{name!r} is no name for a component.", "Give it an identifier that begins with a letter.")
        super().__init__(f'the component "{name}"', env, where)
        if schema is not None and not isinstance(schema, Schema):
            raise MountError(where, f'the component "{name}" has schema={schema!r}.', "Write schema=Schema(table=Table({…})).")
        if isinstance(permissions, str) or not all(map(_is_permission, permissions)):
            raise MountError(
                where,
                f'the component "{name}" asks for permissions={permissions!r}.',
                'A permission is "net:host", "http", "files" or "native", in a list.',
            )
        self.name = name
        self.module = str(sys._getframe(1).f_globals.get("__name__", ""))
        self.schema = schema
        self.permissions = tuple(permissions)
        self.functions: dict[str, Function[..., Any]] = {}
        self.triggers: list[tuple[str, Callable[..., Any]]] = []

    @overload
    def query(self, handler: Callable[P, R], /) -> Function[P, R]: ...
    @overload
    def query(self, /, *, internal: bool = False, name: str | None = None) -> Callable[[Callable[P, R]], Function[P, R]]: ...
    def query(self, handler: Any = None, /, *, internal: bool = False, name: str | None = None) -> Any:
        """A function of this component that reads."""
        return self._function("query", handler, internal, name)

    @overload
    def mutation(self, handler: Callable[P, R], /) -> Function[P, R]: ...
    @overload
    def mutation(self, /, *, internal: bool = False, name: str | None = None) -> Callable[[Callable[P, R]], Function[P, R]]: ...
    def mutation(self, handler: Any = None, /, *, internal: bool = False, name: str | None = None) -> Any:
        """A function of this component that reads and writes, in a sub-transaction of its caller's."""
        return self._function("mutation", handler, internal, name)

    @overload
    def action(self, handler: Callable[P, R], /) -> Function[P, R]: ...
    @overload
    def action(self, /, *, internal: bool = False, name: str | None = None) -> Callable[[Callable[P, R]], Function[P, R]]: ...
    def action(self, handler: Any = None, /, *, internal: bool = False, name: str | None = None) -> Any:
        """A function of this component that works with the world outside, as far as its permissions go."""
        return self._function("action", handler, internal, name)

    def trigger(self, table: str, /) -> Callable[[OnChange], OnChange]:
        """Call the decorated `async (ctx, change)` on every write to `table` of this component."""

        def register(on_change: OnChange) -> OnChange:
            check_trigger(table, on_change)
            self.triggers.append((table, on_change))
            return on_change

        return register

    def __repr__(self) -> str:
        return f'<Component "{self.name}" of {self.where}>'

    def _function(self, kind: Kind, handler: Any, internal: bool, name: str | None) -> Any:
        def decorate(handler: Callable[..., Any]) -> Function[..., Any]:
            function: Function[..., Any] = Function(handler, kind, internal=internal, name=name)
            called = name or function.__name__
            other = self.functions.get(called)
            if other is not None:
                raise MountError(
                    function.where,
                    f'the component "{self.name}" has two functions named {called}; the other is at {other.where}.',
                    'Rename one, or give it a name: @component.mutation(name="…").',
                )
            function.component = self
            function.public_name = called
            self.functions[called] = function
            return function

        return decorate if handler is None else decorate(handler)


def _is_permission(permission: object) -> bool:
    if not isinstance(permission, str):
        return False
    return permission in ("http", "files", "native") or (permission.startswith("net:") and len(permission) > len("net:"))
