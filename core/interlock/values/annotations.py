"""Annotations as validators: what an author writes is turned into the one validator language where it is declared.

Dicts of annotations, TypedDicts, pydantic models, Literal, unions, `Annotated[str, Id("games")]`, and classes that answer for
themselves. Needs no pydantic unless a pydantic model is given: then it is imported already.

Start at `from_annotation`; `validators.describe` is its inverse.
"""

from __future__ import annotations

import enum
import sys
import types
from collections import abc
from collections.abc import Callable, Iterable, Mapping
from typing import (
    Annotated,
    Any,
    Final,
    ForwardRef,
    Literal,
    NewType,
    NotRequired,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from interlock.values.refusal import show
from interlock.values.types import OBJECT_FIELDS, CommitTimestamp, Id, Int64, is_identifier, is_key
from interlock.values.validators import ANY, INTEGER, Json, copied, id_of, literal_of, record_of, union_of

_SCALARS: Final[dict[Any, Json]] = {
    None: {"type": "null"},
    type(None): {"type": "null"},
    bool: {"type": "boolean"},
    str: {"type": "string"},
    int: INTEGER,
    float: {"type": "number"},
    bytes: {"type": "bytes"},
    Int64: {"type": "bigint"},
    CommitTimestamp: {"type": "commitTs"},
    Any: ANY,
    object: ANY,
    list: {"type": "array", "value": ANY},
    dict: {"type": "record", "keys": {"type": "string"}, "values": {"fieldType": ANY, "optional": False}},
}
_LISTS: Final = (list, abc.Sequence, abc.MutableSequence)
_DICTS: Final = (dict, abc.Mapping, abc.MutableMapping)


def from_annotation(annotation: Any, *, where: str) -> Json:
    """The validator that an annotation stands for, fresh. Raises TypeError with a sentence that starts with `where`.

    A class with an attribute `__interlock_validator__` answers for itself: a validator, or a classmethod that is given the
    type arguments (`Page[Game]` → `Game`) and returns one.
    """
    return _read(annotation, where, ())


def fields_from(fields: Any, *, where: str = "Table") -> Json:
    """The object validator of a table that is declared by a dict, a TypedDict or a model class.

    The system fields may be declared too, so that one TypedDict can type what is read; they are left out.
    """
    if not (isinstance(fields, Mapping) or is_typeddict(fields) or _is_model(fields)):
        raise TypeError(f"{where}: the fields are a dict of annotations, a TypedDict or a pydantic model class, not {_name(fields)}")
    validator = _read(fields, where, ())
    if validator["type"] != "object":
        raise TypeError(f"{where}: {_name(fields)} has no fields of its own, so it cannot declare a table")
    declared = validator["value"]
    for name in ("_id", "_creationTime"):
        declared.pop(name, None)
    for name in declared:
        if not is_identifier(name):
            raise TypeError(
                f"{where}: {name!r} cannot be a field; a field is at most 64 letters, digits and _, and does not begin with a digit"
            )
        if name.startswith("_"):
            raise TypeError(f"{where}: {name!r} cannot be a field; names that begin with _ are the system's")
    return validator


def _read(annotation: Any, where: str, above: tuple[Any, ...]) -> Json:
    """`above` are the TypedDicts and models that this annotation stands in, so that one that holds itself is noticed."""
    if isinstance(annotation, abc.Hashable) and not isinstance(annotation, types.GenericAlias):
        known = _SCALARS.get(annotation)
        if known is not None:
            return copied(known)
    if isinstance(annotation, Mapping):
        return _read_fields(((name, hint, True) for name, hint in annotation.items()), where, above)
    if isinstance(annotation, Id):
        return id_of(annotation.table, where)
    if isinstance(annotation, CommitTimestamp):
        return {"type": "commitTs"}
    origin = get_origin(annotation)
    hook = getattr(annotation if origin is None else origin, "__interlock_validator__", None)
    if hook is not None:
        return copied(hook(*get_args(annotation)) if callable(hook) else hook)
    if origin is not None:
        return _read_generic(annotation, origin, where, above)
    if isinstance(annotation, NewType):
        return _read(annotation.__supertype__, where, above)
    if isinstance(annotation, TypeVar):
        return _read(annotation.__bound__, where, above) if annotation.__bound__ is not None else copied(ANY)
    if type(annotation).__name__ == "TypeAliasType":
        return _enter(annotation, where, above, lambda inside: _read(annotation.__value__, where, inside))
    if is_typeddict(annotation):
        return _enter(annotation, where, above, lambda inside: _read_fields(_typeddict_fields(annotation, where), where, inside))
    if _is_model(annotation):
        return _enter(annotation, where, above, lambda inside: _read_model(annotation, where, inside))
    if isinstance(annotation, list):
        raise TypeError(f"{where}: {annotation!r} is no type; write list[…] with the type of its elements in brackets")
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum) and not issubclass(annotation, enum.Flag):
        return union_of([literal_of(member, where) for member in annotation])
    if annotation in _LISTS:
        return copied(_SCALARS[list])
    if annotation in _DICTS:
        return copied(_SCALARS[dict])
    if isinstance(annotation, str | ForwardRef):
        name = annotation if isinstance(annotation, str) else annotation.__forward_arg__
        raise TypeError(f"{where}: the annotation {name!r} is a string here; write the type itself")
    raise TypeError(f"{where}: {_name(annotation)} is no type of a value; {_HINTS.get(annotation, _ALLOWED)}")


_ALLOWED: Final = (
    "there are bool, int, float, Int64, str, bytes, None, list[…], dict[str, …], Literal[…], unions of them, TypedDicts, pydantic models, "
    'Annotated[str, Id("table")] and Any'
)
_HINTS: Final[dict[Any, str]] = {
    tuple: "write list[…]",
    set: "write list[…], or dict[str, bool]",
    frozenset: "write list[…], or dict[str, bool]",
    complex: "write list[float]",
    bytearray: "write bytes",
}


def _read_generic(annotation: Any, origin: Any, where: str, above: tuple[Any, ...]) -> Json:
    args = get_args(annotation)
    if origin is Annotated:
        return _read_annotated(args[0], args[1:], where, above)
    if origin is Union or origin is types.UnionType:
        return union_of([_read(arg, where, above) for arg in args])
    if origin is Literal:
        return union_of([literal_of(value, where) for value in args])
    if origin in _LISTS:
        if not args:
            return copied(_SCALARS[list])
        _check_count(annotation, args, 1, "list[T]", where)
        return {"type": "array", "value": _read(args[0], f"{where}[…]", above)}
    if origin in _DICTS:
        if not args:
            return copied(_SCALARS[dict])
        _check_count(annotation, args, 2, "dict[str, T]", where)
        return record_of(_read(args[0], where, above), _read(args[1], f"{where}[…]", above), where)
    if origin is NotRequired or origin is Required or _is_read_only(origin):
        raise TypeError(f"{where}: {_name(annotation)} belongs around the type of a field; for a value that may be null write T | None")
    if is_typeddict(origin) or _is_model(origin):
        raise TypeError(f"{where}: {_name(annotation)} would be read without what is in its brackets; write a TypedDict of its own for it")
    raise TypeError(f"{where}: {_name(annotation)} is no type of a value; {_HINTS.get(origin, _ALLOWED)}")


def _check_count(annotation: Any, args: tuple[Any, ...], wanted: int, written: str, where: str) -> None:
    if len(args) != wanted:
        raise TypeError(f"{where}: {_name(annotation)} has {len(args)} types in its brackets; write {written}")


def _read_annotated(base: Any, marks: Iterable[Any], where: str, above: tuple[Any, ...]) -> Json:
    for mark in marks:
        if isinstance(mark, Id):
            if base is not str:
                raise TypeError(f'{where}: Id("{mark.table}") marks a str, not {_name(base)}; write Annotated[str, Id("{mark.table}")]')
            return id_of(mark.table, where)
        if isinstance(mark, CommitTimestamp) or mark is CommitTimestamp:
            return {"type": "commitTs"}
        hook = getattr(mark, "__interlock_validator__", None)
        if hook is not None:
            return copied(hook(base) if callable(hook) else hook)
    return _read(base, where, above)


def _enter(annotation: Any, where: str, above: tuple[Any, ...], read: Callable[[tuple[Any, ...]], Json]) -> Json:
    if any(annotation is outer for outer in above):
        raise TypeError(f"{where}: {_name(annotation)} holds itself, which a validator cannot say; write Any there")
    return read((*above, annotation))


def _read_fields(fields: Iterable[tuple[Any, Any, bool]], where: str, above: tuple[Any, ...]) -> Json:
    """`fields` are (name, annotation, required); NotRequired and Required in the annotation win over the last."""
    out: Json = {}
    for name, hint, required in fields:
        if not is_key(name):
            raise TypeError(f'{where}: {name!r} cannot be a field; a name is printable ASCII, at most 1,024 characters, no "$" first')
        place = f"{where}.{name}"
        annotation, says = _without_qualifiers(hint)
        out[name] = {"fieldType": _read(annotation, place, above), "optional": not (required if says is None else says)}
    if len(out) > OBJECT_FIELDS:
        raise TypeError(f"{where}: {len(out):,} fields; an object has at most {OBJECT_FIELDS:,}")
    return {"type": "object", "value": out}


def _without_qualifiers(annotation: Any) -> tuple[Any, bool | None]:
    """An annotation without NotRequired, Required and ReadOnly around it; whether they said that the field is required."""
    says: bool | None = None
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            base, *marks = get_args(annotation)
            inner, inner_says = _without_qualifiers(base)
            if inner is base:
                return annotation, says
            return Annotated[(inner, *marks)], says if says is not None else inner_says
        if origin is NotRequired or origin is Required:
            says = origin is Required
        elif not _is_read_only(origin):
            return annotation, says
        (annotation,) = get_args(annotation)


def _is_read_only(origin: Any) -> bool:
    return getattr(origin, "_name", None) == "ReadOnly"


def _typeddict_fields(annotation: Any, where: str) -> Iterable[tuple[str, Any, bool]]:
    try:
        hints = get_type_hints(annotation, include_extras=True)
    except NameError as error:
        raise TypeError(f"{where}: {_name(annotation)} names a type that cannot be found: {error}") from None
    return [(name, hint, name not in annotation.__optional_keys__) for name, hint in hints.items()]


def _is_model(annotation: Any) -> bool:
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel)


def _read_model(model: Any, where: str, above: tuple[Any, ...]) -> Json:
    if not model.__pydantic_complete__:
        model.model_rebuild()
    fields = [
        (name, Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation, info.is_required())
        for name, info in model.model_fields.items()
    ]
    if getattr(model, "__pydantic_root_model__", False):
        return _read(fields[0][1], where, above)
    return _read_fields(fields, where, above)


def _name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else show(annotation)
