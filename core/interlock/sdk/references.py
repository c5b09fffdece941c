"""References: the names of functions, as an app writes them.

A decorated function is one, and so are `components.<mount>.<function>`, `reference("module:function")` and a handle.
All of them end as a `Target`, which is resolved when called, against the instance whose function is running.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from interlock.errors import FunctionNotFound, WrongFunctionKind
from interlock.limits import Limits
from interlock.sdk.host import Target

HANDLE_PREFIX = "function://"
LABEL_MAX = 1_000
"""Characters of the name that `options` gives a call."""


class Reference:
    """The name of a function. References compare by path and name; their options do not count."""

    __slots__ = ()

    @property
    def target(self) -> Target:
        raise NotImplementedError

    def options(
        self, *, stale: bool | None = None, limits: Limits | None = None, name: str | None = None, at_once: bool | None = None
    ) -> Reference:
        """The same function, called otherwise.

        `stale` reads the snapshot of the caller's begin, `limits` lowers the budget of the call, `name` labels it. `at_once`
        is for `scheduler.run_after(0, …)` of a mutation in a mutation: it is called in the transaction that plans it, when its
        function has returned, within `limits`. If it fails there, it is undone and becomes a job as any other.
        """
        if not (stale is None or isinstance(stale, bool)) or not (limits is None or isinstance(limits, Limits)):
            raise TypeError(f"options(stale=True or False, limits=Limits(documents_read=…)), not stale={stale!r}, limits={limits!r}")
        if not (at_once is None or isinstance(at_once, bool)):
            raise TypeError(f"options(at_once=True or False), not {at_once!r}")
        if not (name is None or isinstance(name, str)):
            raise TypeError(f"options(name=…) takes a string, not {name!r}")
        if len(name or "") > LABEL_MAX:
            raise ValueError(f"options(name=…) is a label of at most {LABEL_MAX:,} characters, not of {len(name or ''):,}")
        return OptionedReference(self, stale, limits, name, at_once)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Reference):
            return NotImplemented
        try:
            return _place(self.target) == _place(other.target)
        except FunctionNotFound:
            return False  # a function that no app has loaded yet equals itself alone

    def __hash__(self) -> int:
        # A function of the own instance learns its name only when its module is loaded, maybe after it became a key of a dict:
        # all of them hash alike, so that equal references always do.
        return hash(Reference)


class NamedReference(Reference):
    """A reference by name, by mount and name, or by handle."""

    __slots__ = ("target",)

    target: Target

    def __init__(self, target: Target) -> None:
        self.target = target

    async def __call__(self, ctx: Any, /, **args: Any) -> Any:
        """Call the function through the caller's context, as the kind that it is: the typed `components` have it so.

        It is what `run_query`, `run_mutation` or `run_action` does, in a sub-transaction where that makes one.
        """
        kind = "mutation" if hasattr(ctx, "run_mutation") else "query"
        try:
            return await getattr(ctx, f"run_{kind}")(self, **args)
        except WrongFunctionKind as error:
            if error.called_as != kind or not hasattr(ctx, f"run_{error.kind}"):
                raise
            kind = error.kind
        return await getattr(ctx, f"run_{kind}")(self, **args)

    def __hash__(self) -> int:
        return hash((self.target.mount, self.target.name)) if self.target.mount else hash(Reference)

    def __eq__(self, other: object) -> bool:
        return Reference.__eq__(self, other)

    def __repr__(self) -> str:
        if self.target.mount:
            return f"components.{self.target.mount}.{self.target.name}"
        return f"reference({self.target.handle or self.target.name!r})"


class OptionedReference(Reference):
    """A reference with options. The function behind it may get its name later."""

    __slots__ = ("_at_once", "_base", "_limits", "_name", "_stale", "_target")

    def __init__(self, base: Reference, stale: bool | None, limits: Limits | None, name: str | None, at_once: bool | None) -> None:
        self._base, self._stale, self._limits, self._name, self._at_once = base, stale, limits, name, at_once
        self._target: Target | None = None

    @property
    def target(self) -> Target:
        if self._target is None:
            base = self._base.target
            self._target = replace(
                base,
                stale=base.stale if self._stale is None else self._stale,
                limits=base.limits if self._limits is None else self._limits,
                label=base.label if self._name is None else self._name,
                at_once=base.at_once if self._at_once is None else self._at_once,
            )
        return self._target

    def __hash__(self) -> int:
        return hash(self._base)

    def __eq__(self, other: object) -> bool:
        return Reference.__eq__(self, other)

    def __repr__(self) -> str:
        given = {"stale": self._stale, "limits": self._limits, "name": self._name, "at_once": self._at_once}
        options = ", ".join(f"{option}={value!r}" for option, value in given.items() if value is not None)
        return f"{self._base!r}.options({options})"


class ComponentReference:
    """One mount: `components.<mount>`. Its attributes are references to the component's functions."""

    def __init__(self, mount: str) -> None:
        self._mount = mount

    def __getattr__(self, name: str) -> Reference:
        if name.startswith("__"):
            raise AttributeError(f"components.{self._mount} has no attribute {name}")
        made = self.__dict__[name] = _exported(self._mount, name)  # kept: that an attribute is not there is dear to find out
        return made

    def __getitem__(self, name: str) -> Reference:
        return _exported(self._mount, name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ComponentReference) and other._mount == self._mount

    def __hash__(self) -> int:
        return hash((ComponentReference, self._mount))

    def __repr__(self) -> str:
        return f"components.{self._mount}"

    def __reduce__(self) -> tuple[Any, ...]:
        return ComponentReference, (self._mount,)


@lru_cache(maxsize=4096)
def _exported(mount: str, name: str) -> Reference:
    return NamedReference(Target(name=name, mount=mount))


class Components:
    """The mounts of whichever instance is running. Nothing is looked up or imported here."""

    __slots__ = ()

    def __getattr__(self, mount: str) -> ComponentReference:
        if mount.startswith("__"):
            raise AttributeError(f"components has no attribute {mount}")
        return ComponentReference(mount)

    def __getitem__(self, mount: str) -> ComponentReference:
        return ComponentReference(mount)

    def __repr__(self) -> str:
        return "components"


components = Components()


def reference(name_or_handle: str, /) -> Reference:
    """A reference out of a string: a function's name (`guesses:submit`) or a handle."""
    if not isinstance(name_or_handle, str) or not name_or_handle:
        raise TypeError(f"reference() takes a function's name or a handle, not {name_or_handle!r}")
    return NamedReference(_named(name_or_handle))


def mount_name(component: ComponentReference) -> str:
    """The name of the mount that a component reference stands for."""
    return component._mount


def as_target(ref: Reference | str) -> Target:
    """What a reference names. Raises FunctionNotFound for what is no reference."""
    if isinstance(ref, Reference):
        return ref.target
    if isinstance(ref, str):
        return _named(ref)
    if isinstance(ref, ComponentReference):
        raise FunctionNotFound(repr(ref), f"It is a mount; name a function of it: {ref!r}.<function>.")
    raise FunctionNotFound(
        getattr(ref, "__name__", repr(ref)),
        "That is no reference: give a function made by @query, @mutation or @action, components.<mount>.<function>, a name, or a handle.",
    )


def _named(text: str) -> Target:
    return Target(name="", handle=text) if text.startswith(HANDLE_PREFIX) else Target(name=text)


def _place(target: Target) -> tuple[str, str, str]:
    return target.mount, target.name, target.handle
