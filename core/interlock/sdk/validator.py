"""Checking a value against an annotation where no function is called: what is stored as text, or sent on later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from interlock.errors import ValueRefused
from interlock.sdk.conversion import lower, maker
from interlock.values import Json, Mismatch, compile_validator, from_annotation


class Validator:
    """`Validator(list[float]).check(value)`: the annotation means what it means in the signature of a function.

    An `Id` is checked to be a string alone: which tables there are is known where a function runs. Raises TypeError for an
    annotation that is no type of a value.
    """

    __slots__ = ("_check", "_make")

    def __init__(self, annotation: Any) -> None:
        self._check = compile_loosely(from_annotation(annotation, where="Validator"))
        self._make = maker(annotation)

    def check(self, value: Any) -> Any:
        """A fresh copy of the value, with instances where the annotation names a class. Raises ValueRefused."""
        try:
            checked = self._check(lower(value))
        except Mismatch as mismatch:
            raise ValueRefused(mismatch.path.lstrip("."), f"must be {mismatch.expected}, got {mismatch.got}") from None
        return checked if self._make is None else self._make(checked)


def compile_loosely(validator: Json) -> Callable[[Any], Any]:
    """A validator that takes any string for an id. What it makes raises Mismatch."""
    return compile_validator(_without_ids(validator), lambda _: None)


def _without_ids(validator: Any) -> Any:
    if isinstance(validator, list):
        return [_without_ids(member) for member in validator]
    if not isinstance(validator, dict):
        return validator
    if validator.get("type") == "id" and "tableName" in validator:
        return {"type": "string"}
    return {name: _without_ids(part) for name, part in validator.items()}
