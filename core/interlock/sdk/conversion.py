"""Instances and values: what an annotation promises to Python code, and what may cross a boundary.

A parameter that is annotated with a class (`PaginationOptions`, a pydantic model, an enum) gets an instance of it; what
holds such instances crosses as plain values.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Callable
from typing import Annotated, Any, Union, get_args, get_origin

from interlock.sdk.pagination import Page, PaginationOptions

_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})
BUILT_IN = _SCALARS | {dict, list}


def maker(annotation: Any) -> Callable[[Any], Any] | None:
    """How to make what `annotation` promises of a validated value; None where the value is that already."""
    if not holds_class(annotation):
        return None
    origin = get_origin(annotation)
    if origin is Annotated:
        return maker(get_args(annotation)[0]) or _adapter(annotation)
    if type(annotation).__name__ == "TypeAliasType":
        return maker(annotation.__value__)
    if origin in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        make = maker(members[0]) if len(members) == 1 else None
        return (lambda value: None if value is None else make(value)) if make is not None else _adapter(annotation)
    made = origin or annotation
    if made in (PaginationOptions, Page):
        return made.from_arguments  # type: ignore[no-any-return]
    return _adapter(annotation)


def holds_class(annotation: Any) -> bool:
    """Whether a value of this annotation is an instance of a class that does not travel, or has one in it."""
    if type(annotation).__name__ == "TypeAliasType":
        return holds_class(annotation.__value__)
    origin = get_origin(annotation) or annotation
    if isinstance(origin, type) and (issubclass(origin, Page | PaginationOptions | enum.Enum) or _is_model(origin)):
        return True
    return any(holds_class(argument) for argument in get_args(annotation) if argument is not ...)


def lower(value: Any) -> Any:
    """A value without instances of classes: pages and models become dicts, members of enums their values, wherever they lie.

    A value without any is given back as it is, not as a copy.
    """
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is dict:
        for item in value.values():
            if type(item) not in _SCALARS and lower(item) is not item:
                return {name: lower(item) for name, item in value.items()}
        return value
    if kind is list:
        for item in value:
            if type(item) not in _SCALARS and lower(item) is not item:
                return [lower(item) for item in value]
        return value
    if kind is tuple:
        return [lower(item) for item in value]
    if isinstance(value, Page | PaginationOptions):
        return lower(value.to_wire_fields())
    if isinstance(value, enum.Enum):
        return lower(value.value)
    return lower(value.model_dump()) if _is_model(kind) else value


def lower_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call, those that are instances lowered. Lists and dicts are passed on as they are, without a look inside."""
    for value in arguments.values():
        kind = type(value)
        if kind is not str and kind is not int and kind not in BUILT_IN:
            return {name: value if type(value) in BUILT_IN else lower(value) for name, value in arguments.items()}
    return arguments


def _is_model(kind: Any) -> bool:
    return hasattr(kind, "model_dump") and hasattr(kind, "__pydantic_validator__")


def _adapter(annotation: Any) -> Callable[[Any], Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(annotation).validate_python
