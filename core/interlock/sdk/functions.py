"""Functions: what `@query`, `@mutation` and `@action` make of a Python function.

The annotations are read when the declaration is first asked for, not when the module is imported. Called directly, a
`Function` is the function itself; as a reference it is called across the boundary, validated, in a layer of its own.

Start at `Function.declaration`. Knows no engine: whoever runs it gives it a context.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from interlock.errors import ArgumentError, FunctionNotFound, MountError, ReturnError
from interlock.sdk.conversion import BUILT_IN, holds_class, lower, maker
from interlock.sdk.declarations import FunctionDeclaration
from interlock.sdk.host import Kind, Target
from interlock.sdk.references import Reference
from interlock.sdk.registry import loading, where_defined
from interlock.sdk.validator import compile_loosely
from interlock.values import Json, Mismatch, from_annotation, normalize
from interlock.values.types import is_identifier

if TYPE_CHECKING:
    from interlock.sdk.component import Component

P = ParamSpec("P")
R = TypeVar("R")

_CONTEXTS: dict[Kind, frozenset[str]] = {
    "query": frozenset({"QueryCtx"}),
    "mutation": frozenset({"QueryCtx", "MutationCtx"}),
    "action": frozenset({"ActionCtx"}),
}
_EVERY_CONTEXT = frozenset().union(*_CONTEXTS.values())
_NO_CONTEXTS = frozenset({"str", "int", "float", "bool", "bytes", "list", "dict"})
"""Annotations of a first parameter that somebody meant to be an argument."""


class Function(Reference, Generic[P, R]):
    """A query, mutation or action. `P` are its parameters, context included, `R` is what it gives when called: an awaitable if it is async.

    `public_name` is how callers name it, set by whoever loads the module that made it; `module` is that module.
    """

    __name__: str

    def __init__(self, handler: Callable[P, R], kind: Kind, *, internal: bool = False, name: str | None = None) -> None:
        functools.update_wrapper(self, handler)
        self.handler = handler
        self.kind: Kind = kind
        self.internal = internal
        self.name = name
        self.where = where_defined(handler)
        self.component: Component | None = None
        self._public_name: str | None = None
        self._target: Target | None = None
        self._declaration: FunctionDeclaration | None = None
        self._signature = _signature(self)
        self._enclosing = _enclosing_names(handler, self._signature)
        self.module = loading(handler)[0] or str(getattr(handler, "__module__", ""))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.handler(*args, **kwargs)

    @property
    def public_name(self) -> str | None:
        """`guesses:submit` for a function of an app, `add` for one of a component."""
        return self._public_name

    @public_name.setter
    def public_name(self, name: str) -> None:
        self._public_name, self._target, self._declaration = name, Target(name=name), None

    @property
    def own_name(self) -> str:
        """The name that it was given, or that of the Python function."""
        return self.name or str(getattr(self.handler, "__name__", type(self.handler).__name__))

    @property
    def target(self) -> Target:
        if self._target is None:
            hint = f"It was made at {self.where or 'run time'} and belongs to no module of the app: bind it to a name in one."
            raise FunctionNotFound(self.own_name, hint)
        return self._target

    @property
    def is_plain(self) -> bool:
        """A plain `def`: its value is there when it returns."""
        return not inspect.iscoroutinefunction(_python_function(self.handler))

    def declaration(self) -> FunctionDeclaration:
        """What the function takes and gives, read from its annotations. Raises MountError for one that is no type of a value."""
        if self._declaration is None:
            self._declaration = self._declare()
        return self._declaration

    @property
    def makes_instances(self) -> bool:
        """Whether some parameter is annotated with a class, of which it is given an instance."""
        return bool(self._makers)

    @property
    def returns_instances(self) -> bool:
        """Whether its result is, or holds, instances of classes, by its annotation."""
        return self._returns_instances

    def arguments(self, validated: dict[str, Any]) -> dict[str, Any]:
        """Validated arguments as the handler takes them: a parameter that is annotated with a class gets an instance of it."""
        if not self._makers:
            return validated
        made = dict(validated)
        for name, make in self._makers.items():
            if name in made:
                try:
                    made[name] = make(made[name])
                except ValueError as error:  # a rule of a model that the validator language cannot say
                    raise _broken_rule(self._public_name or self.own_name, name, made[name], error) from None
        return made

    def result(self, returned: Any) -> Any:
        """What the handler returned as plain values: pages, models and members of enums become what they travel as."""
        if self._returns_instances:
            return lower(returned)
        kind = type(returned)
        if kind is not dict:
            return returned if kind in BUILT_IN else lower(returned)
        for value in returned.values():
            if type(value) not in BUILT_IN:
                return lower(returned)
        return returned

    def check_arguments(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments as the handler takes them, for packages that run a function in their own way. Raises ArgumentError.

        As with `Validator`, an id is checked to be a string alone.
        """
        declared = self.declaration().args["value"]
        taken = dict(args) if not self.declaration().rest else {name: value for name, value in args.items() if name in declared}
        try:
            checked: dict[str, Any] = self._loose_checks[0](lower(taken))
            rest = normalize(lower({name: value for name, value in args.items() if name not in taken}))
        except Mismatch as mismatch:
            raise ArgumentError(self._public_name or self.own_name, mismatch.path, mismatch.expected, mismatch.got) from None
        return self.arguments({**checked, **rest})

    def check_result(self, returned: Any) -> Any:
        """What the handler returned as a plain value that fits the annotation. Raises ReturnError."""
        try:
            return self._loose_checks[1](self.result(returned))
        except Mismatch as mismatch:
            raise ReturnError(self._public_name or self.own_name, mismatch.path, mismatch.expected, mismatch.got) from None

    @functools.cached_property
    def _loose_checks(self) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        declaration = self.declaration()
        return compile_loosely(declaration.args), compile_loosely(declaration.returns)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Function):
            if self is other:
                return True
            return self._public_name is not None and self._public_name == other._public_name and self.component is other.component
        return Reference.__eq__(self, other)

    def __hash__(self) -> int:
        return Reference.__hash__(self)

    def __repr__(self) -> str:
        return f"<{self.kind} {self._public_name or self.own_name}>"

    @functools.cached_property
    def _parameters(self) -> dict[str, tuple[Any, bool]]:
        """Annotation of each argument, and whether it may be left out."""
        taken = [one for one in list(self._signature.parameters.values())[1:] if one.kind is not one.VAR_KEYWORD]
        return {one.name: (self._read(one.annotation, f'argument "{one.name}"'), one.default is not one.empty) for one in taken}

    @functools.cached_property
    def _makers(self) -> dict[str, Callable[[Any], Any]]:
        made = {name: maker(annotation) for name, (annotation, _) in self._parameters.items()}
        return {name: make for name, make in made.items() if make is not None}

    @functools.cached_property
    def _returned(self) -> Any:
        return self._read(self._signature.return_annotation, "result")

    @functools.cached_property
    def _returns_instances(self) -> bool:
        return holds_class(self._returned)

    def _read(self, annotation: Any, what: str) -> Any:
        """An annotation with its strings evaluated, as type checkers read them. The context's is never needed."""
        if annotation is inspect.Signature.empty:
            return Any
        names = getattr(_python_function(inspect.unwrap(self.handler)), "__globals__", {})
        holder = types.SimpleNamespace(__annotations__={"it": annotation})
        try:
            return typing.get_type_hints(holder, globalns=names, localns=self._enclosing, include_extras=True)["it"]
        except NameError as error:
            raise MountError(
                self.where,
                f"{self.own_name}: the annotation of its {what} cannot be read: {error}.",
                "Import the name at the top of the module, not under TYPE_CHECKING: annotations are read at start.",
            ) from None
        except TypeError:
            return annotation  # no type: whoever makes a validator of it says so, naming the place

    def _validator(self, annotation: Any, what: str) -> Json:
        try:
            return from_annotation(annotation, where=f"{self.own_name}: {what}")
        except TypeError as error:
            raise MountError(self.where, str(error)) from None

    def _takes_rest(self) -> bool:
        """Whether it takes arguments beyond those that it declares. These are any values: there is nothing to validate them by."""
        rest = next((one for one in self._signature.parameters.values() if one.kind is one.VAR_KEYWORD), None)
        if rest is None:
            return False
        annotation = self._read(rest.annotation, f'argument "**{rest.name}"')
        if annotation is not Any and annotation is not object:
            raise MountError(
                self.where,
                f"{self.own_name}: **{rest.name} is annotated {rest.annotation!r}, but what a function takes beyond its declared arguments "
                "is not validated.",
                f"Write **{rest.name}: Any, or declare the arguments.",
            )
        return True

    def _declare(self) -> FunctionDeclaration:
        fields = {
            name: {"fieldType": self._validator(annotation, f'argument "{name}"'), "optional": optional}
            for name, (annotation, optional) in self._parameters.items()
        }
        return FunctionDeclaration(
            name=self._public_name or self.own_name,
            kind=self.kind,
            internal=self.internal,
            args={"type": "object", "value": fields},
            returns=self._validator(self._returned, "result"),
            rest=self._takes_rest(),
            doc=inspect.getdoc(self.handler) or "",
            plain=self.is_plain,
        )


@overload
def query(handler: Callable[P, R], /) -> Function[P, R]: ...
@overload
def query(*, internal: bool = False, name: str | None = None) -> Callable[[Callable[P, R]], Function[P, R]]: ...
def query(handler: Any = None, /, *, internal: bool = False, name: str | None = None) -> Any:
    """A function that reads. Clients may subscribe to it; its result is shared until something that it read changes."""
    return _decorate("query", handler, internal, name)


@overload
def mutation(handler: Callable[P, R], /) -> Function[P, R]: ...
@overload
def mutation(*, internal: bool = False, name: str | None = None) -> Callable[[Callable[P, R]], Function[P, R]]: ...
def mutation(handler: Any = None, /, *, internal: bool = False, name: str | None = None) -> Any:
    """A function that reads and writes in one transaction."""
    return _decorate("mutation", handler, internal, name)


@overload
def action(handler: Callable[P, R], /) -> Function[P, R]: ...
@overload
def action(*, internal: bool = False, name: str | None = None) -> Callable[[Callable[P, R]], Function[P, R]]: ...
def action(handler: Any = None, /, *, internal: bool = False, name: str | None = None) -> Any:
    """A function that works with the world outside, and with the database through queries and mutations. Nobody runs it twice."""
    return _decorate("action", handler, internal, name)


def _decorate(kind: Kind, handler: Any, internal: bool, name: str | None) -> Any:
    def decorate(handler: Callable[..., Any]) -> Function[..., Any]:
        function: Function[..., Any] = Function(handler, kind, internal=internal, name=name)
        loading(handler)[1].functions.append(function)
        return function

    return decorate if handler is None else decorate(handler)


def _signature(function: Function[..., Any]) -> inspect.Signature:
    """The signature of a handler. Refused is what callers that give named arguments could not call."""
    handler, kind, where = function.handler, function.kind, function.where
    if isinstance(handler, Function):
        raise MountError(where, f"{handler.own_name} is decorated twice: it is a {handler.kind} already.", "Keep one of the decorators.")
    if not callable(handler):
        raise MountError(where, f"@{kind} over {handler!r}, which is no function.", f"Write @{kind} or @{kind}(internal=True) over a def.")
    name = function.own_name
    if not is_identifier(name):
        raise MountError(where, f"{name!r} is no name for a function.", "Names are ASCII letters, digits and underscores, at most 64.")
    inner = _python_function(handler)
    if inspect.isasyncgenfunction(inner) or inspect.isgeneratorfunction(inner):
        raise MountError(where, f"{name} is a generator; a {kind} gives one result.", "Return a list, or a page of it.")
    signature = inspect.signature(handler)
    parameters = list(signature.parameters.values())
    written = parameters[0].annotation if parameters else ""
    context = written if isinstance(written, str) else getattr(written, "__name__", "")
    context = context.partition("[")[0].rpartition(".")[2]
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if not parameters or parameters[0].kind not in by_position or context in _NO_CONTEXTS:
        raise MountError(where, f"{name} takes no context.", f"It comes first: def {name}(ctx: {kind.capitalize()}Ctx, …).")
    if context in _EVERY_CONTEXT - _CONTEXTS[kind]:
        remedy = f"Write {parameters[0].name}: {kind.capitalize()}Ctx, or make it another kind of function."
        raise MountError(where, f"{name} is a {kind}, but its context is annotated {context}.", remedy)
    for parameter in parameters[1:]:
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise MountError(where, f'{name}: "{parameter.name}" is positional-only, but callers give arguments by name.', "Remove the /.")
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise MountError(where, f"{name} takes *{parameter.name}, but callers give arguments by name.", "Take a list instead.")
        if parameter.kind is not parameter.VAR_KEYWORD and not parameter.name.isascii():
            raise MountError(
                where, f'{name}: the argument "{parameter.name}" is not ASCII.', "It could not be sent; give it an ASCII name."
            )
    return signature


def _broken_rule(function: str, name: str, value: Any, error: ValueError) -> ArgumentError:
    """What a model says of an argument: of pydantic's findings the first, at its place."""
    path, expected = f".{name}", str(error)
    findings = getattr(error, "errors", None)
    if findings is not None and (found := findings(include_url=False)):
        path += "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in found[0]["loc"])
        expected = found[0]["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        value = found[0]["input"]
    shown = repr(value)
    return ArgumentError(function, path, expected, shown if len(shown) <= 80 else f"{shown[:80]}…")


def _enclosing_names(handler: object, signature: inspect.Signature) -> Mapping[str, Any] | None:
    """The names of the function that a nested handler is defined in, if its annotations are strings that may need them."""
    qualified = str(getattr(handler, "__qualname__", ""))
    annotations = (signature.return_annotation, *(parameter.annotation for parameter in signature.parameters.values()))
    if "<locals>" not in qualified or not any(isinstance(annotation, str) for annotation in annotations):
        return None
    enclosing = qualified.split(".<locals>")[-2].rpartition(".")[2]
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != enclosing:
        frame = frame.f_back
    return None if frame is None else dict(frame.f_locals)


def _python_function(handler: Any) -> Any:
    """The Python function behind a partial, a method or an object with `__call__`."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if inspect.isroutine(handler):
        return getattr(handler, "__func__", handler)
    return getattr(type(handler), "__call__", handler)  # noqa: B004 - the function itself is wanted
