"""The normal form of a value: exact types, lists instead of tuples, nothing UNSET, all limits kept.

Whatever an author hands in comes through here or through a checker, as a copy: nobody keeps a hand on what the engine holds.
"""

from __future__ import annotations

from typing import Any, Final

from interlock.values.refusal import Refusal, Said, field, refused, show
from interlock.values.types import (
    ARRAY_ELEMENTS,
    DEPTH,
    LARGEST_INT,
    OBJECT_FIELDS,
    UNSET,
    CommitTimestamp,
    Int64,
    find_bad_key,
    is_text,
    known_keys,
    plain,
)

A_VALUE: Final = "a value (None, bool, int, float, Int64, str, bytes, list, dict)"


def normalize(value: Any, path: str = "") -> Any:
    """A fresh deep copy that is a legal value: tuples become lists, fields that are UNSET go.

    Raises ValueRefused, with `path` in front of the place.
    """
    try:
        return copy_value(value, DEPTH, False)
    except Refusal as refusal:
        raise refused(refusal, path) from None


def copy_value(value: Any, room: int, whole: bool) -> Any:
    """The walk of `normalize`: `room` levels may still follow; with `whole`, whole floats below 2**53 become ints. Raises Refusal."""
    kind = type(value)
    if kind is str:
        if not value.isascii() and not is_text(value):
            raise Refusal("text without lone surrogates", value)
        return value
    if kind is int:
        if -LARGEST_INT <= value <= LARGEST_INT:
            return value
        raise Refusal("a number of at most 2**53, or an Int64", value)
    if kind is float:
        if not whole or not value.is_integer() or not -LARGEST_INT < value < LARGEST_INT:
            return value
        # -0.0 has a key of its own, so it is not the whole number 0.
        return int(value) if value or str(value) == "0.0" else value
    if value is None or kind is bool or kind is Int64 or kind is bytes or kind is CommitTimestamp:
        return value
    if kind is dict:
        return copy_object(value, room, whole)
    if kind is list or kind is tuple:
        return _copy_array(value, room, whole)
    exact = plain(value)
    if exact is UNSET:
        raise Refusal(A_VALUE, value)
    return copy_value(exact, room, whole)


def _copy_array(value: list[Any] | tuple[Any, ...], room: int, whole: bool) -> list[Any]:
    check_array(value, room)
    items: list[Any] = []
    try:
        for item in value:
            items.append(copy_value(item, room - 1, whole))
    except Refusal as refusal:
        refusal.steps.append(f"[{len(items)}]")
        raise
    return items


def copy_object(value: dict[Any, Any], room: int, whole: bool) -> dict[str, Any]:
    """`copy_value` of what is surely a dict."""
    check_object(value, room)
    out = value.copy()
    name = ""
    try:
        for name, item in value.items():
            kind = type(item)
            if type(name) is not str:
                return copy_object({str.__str__(key): inner for key, inner in value.items()}, room, whole)
            if kind is str:
                if item.isascii():
                    continue
            elif kind is float:
                if not whole or not item.is_integer():
                    continue
            elif kind is bool or item is None or (kind is int and -LARGEST_INT <= item <= LARGEST_INT):
                continue
            if item is UNSET:
                del out[name]
            else:
                out[name] = copy_value(item, room - 1, whole)
    except Refusal as refusal:
        refusal.steps.append(field(name))
        raise
    return out


def check_array(value: list[Any] | tuple[Any, ...], room: int) -> None:
    """Refuses a list that is too deep or too long; its elements are not looked at."""
    if not room:
        raise Refusal(f"nested at most {DEPTH} levels deep", Said("more"))
    if len(value) > ARRAY_ELEMENTS:
        raise Refusal(f"a list of at most {ARRAY_ELEMENTS:,} elements", Said(f"{len(value):,}"))


def check_object(value: dict[Any, Any], room: int) -> None:
    """Refuses an object that is too deep, too large, or has a key that may not be one; its values are not looked at."""
    if not room:
        raise Refusal(f"nested at most {DEPTH} levels deep", Said("more"))
    if len(value) > OBJECT_FIELDS:
        raise Refusal(f"an object of at most {OBJECT_FIELDS:,} fields", Said(f"{len(value):,}"))
    known = known_keys
    for key in value:
        if key not in known:
            break
    else:
        return
    bad = find_bad_key(value)
    if bad is not None:
        raise bad_key(*bad)


def bad_key(name: object) -> Refusal:
    """What is said about an object with that key."""
    keys = 'keys of at most 1,024 printable ASCII characters, none with "$" in front'
    return Refusal(f"an object with {keys}", Said(f"the key {show(name)}"))
