"""Validators as functions: what every argument, result and document passes.

`compile_validator` makes a tree of closures, one a node. Each takes a value and gives back a fresh one in its normal form,
or raises. The way to the place that did not fit is put together while a `Refusal` climbs, so what fits pays nothing for it.

A union asks only the members that could take a value of that type, and among objects with a common literal field (`kind`)
only the one that it names: so a refusal is about the member that was meant.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from operator import length_hint
from typing import Any, Final

from interlock.errors import LimitExceeded
from interlock.limits import LIMITS
from interlock.values.ids import table_of
from interlock.values.normal import check_array, check_object, copy_object, copy_value
from interlock.values.refusal import Mismatch, Refusal, Said, field, show
from interlock.values.types import DEPTH, LARGEST_INT, UNSET, CommitTimestamp, Int64, is_text, plain
from interlock.values.validators import ANY, INTEGER, NUMBER, Json, describe, literal_value, members_of, union_of

Check = Callable[[Any], Any]
TableNumber = Callable[[str], int | None]

_LONGEST_TEXT: Final = 300
_TRIES_MAX: Final = int(LIMITS["union_tries"].value)


def compile_validator(validator: Json, table_number: TableNumber) -> Check:
    """A function that gives back a fresh normal copy of a value that fits, and raises Mismatch for others.

    `table_number` is asked at each check of an id: a table may come to be later. Raises TypeError for a validator that is too deep.
    A check raises LimitExceeded where members of unions are tried without end: a value of a few kilobytes could take minutes.
    """
    tries = _Tries()
    check = _Compiler(table_number, tries).compile(validator, DEPTH)
    if tries.are_counted:
        return _counted(check, tries)

    def checked(value: Any) -> Any:
        try:
            return check(value)
        except Refusal as refusal:
            raise _mismatch(refusal) from None

    return checked


class _Tries:
    """How many members of unions may still be tried in vain in the check that runs."""

    def __init__(self) -> None:
        self.left = 0
        self.are_counted = False


def _counted(check: Check, tries: _Tries) -> Check:
    def checked(value: Any) -> Any:
        tries.left = _TRIES_MAX
        try:
            return check(value)
        except Refusal as refusal:
            raise _mismatch(refusal) from None

    return checked


def _mismatch(refusal: Refusal) -> Mismatch:
    expected = refusal.expected
    text = describe(expected) if isinstance(expected, dict) else expected if isinstance(expected, str) else expected()
    return Mismatch(refusal.path, text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…", show(refusal.got))


# Scalars


def _string(value: Any) -> str:
    if type(value) is str:
        if value.isascii() or is_text(value):
            return value
        raise Refusal("text without lone surrogates", value)
    if isinstance(value, str):
        return _string(plain(value))
    raise Refusal({"type": "string"}, value)


def _boolean(value: Any) -> bool:
    if type(value) is bool:
        return value
    raise Refusal({"type": "boolean"}, value)


def _null(value: Any) -> None:
    if value is not None:
        raise Refusal({"type": "null"}, value)


def _bytes(value: Any) -> bytes:
    if type(value) is bytes:
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise Refusal({"type": "bytes"}, value)


def _bigint(value: Any) -> Int64:
    if type(value) is Int64:
        return value
    raise Refusal({"type": "bigint"}, value)


def _commit_ts(value: Any) -> Int64 | CommitTimestamp:
    if type(value) is Int64 or type(value) is CommitTimestamp:
        return value
    raise Refusal({"type": "commitTs"}, value)


def _number(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        if -LARGEST_INT <= value <= LARGEST_INT:
            return float(value)
        raise Refusal("float (an int of at most 2**53, or an Int64 where the type is Int64)", value)
    return _number(_plain_number(value, NUMBER))


def _integer(value: Any) -> int:
    if type(value) is int:
        if -LARGEST_INT <= value <= LARGEST_INT:
            return value
        raise Refusal("int (at most 2**53, or an Int64 where the type is Int64)", value)
    if type(value) is float:
        if value.is_integer() and -LARGEST_INT <= value <= LARGEST_INT:
            return int(value)
        raise Refusal(INTEGER, value)
    return _integer(_plain_number(value, INTEGER))


def _either_number(value: Any) -> Any:
    """`int | float`: a whole number is an int, as under Any."""
    if type(value) is int or type(value) is float:
        return copy_value(value, 0, True)
    return _either_number(_plain_number(value, union_of((INTEGER, NUMBER))))


def _plain_number(value: Any, validator: Json) -> Any:
    if isinstance(value, int | float) and type(value) is not bool and not isinstance(value, Int64):
        return plain(value)
    raise Refusal(validator, value)


_EITHER: Final[Json] = {"type": "number", "integer": "preferred"}
"""Stands for `int | float` inside a union that is being compiled."""

_SCALARS: Final[dict[str, Check]] = {
    "string": _string,
    "boolean": _boolean,
    "null": _null,
    "bytes": _bytes,
    "bigint": _bigint,
    "commitTs": _commit_ts,
    "number": _number,
}


class _Never:
    """The type of no value."""


# A value of exactly this type fits as it is (a str: if it is ASCII), so its check need not be called.
_EXACT: Final[dict[Check, Any]] = {_string: str, _boolean: bool, _null: type(None), _bytes: bytes, _bigint: Int64, _number: float}

# Which exact types a member of a union may take; `any` takes them all.
_TAKES: Final[dict[str, tuple[type, ...]]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "string": (str,),
    "id": (str,),
    "bytes": (bytes,),
    "number": (int, float),
    "bigint": (Int64,),
    "commitTs": (Int64, CommitTimestamp),
    "array": (list,),
    "object": (dict,),
    "record": (dict,),
}
_TYPES: Final = (type(None), bool, str, bytes, int, float, Int64, CommitTimestamp, list, dict)


def _takes(member: Json) -> tuple[type, ...]:
    if member["type"] == "any":
        return _TYPES
    if member["type"] != "literal":
        return _TAKES[member["type"]]
    kind = type(literal_value(member))
    return (int, float) if kind is int or kind is float else (kind,)


class _Compiler:
    """Makes the check of a node. `room` is how many levels a value at that place may still have."""

    def __init__(self, table_number: TableNumber, tries: _Tries) -> None:
        self._table_number = table_number
        self._tries = tries

    def compile(self, validator: Json, room: int) -> Check:
        kind = validator["type"]
        if kind == "number" and "integer" in validator:
            return _integer if validator["integer"] is True else _either_number
        if kind in _SCALARS:
            return _SCALARS[kind]
        if kind == "any":
            return lambda value: copy_value(value, room, True)
        if kind == "id":
            return self._id(validator)
        if kind == "literal":
            return _literal(validator)
        if kind == "union":
            return self._union(validator, room)
        if not room:
            raise TypeError(f"a validator is nested deeper than {DEPTH} levels")
        if kind == "array":
            return self._array(validator, room)
        return self._record(validator, room) if kind == "record" else self._object(validator, room)

    def _id(self, validator: Json) -> Check:
        table, table_number = validator["tableName"], self._table_number

        def check(value: Any) -> str:
            if type(value) is str:
                number = table_of(value)
                if number is not None and number == table_number(table):
                    return value
                raise Refusal(validator, Said(f"{show(value)}, {'no id' if number is None else 'an id of another table'}"))
            if isinstance(value, str):
                return check(plain(value))
            raise Refusal(validator, value)

        return check

    def _array(self, validator: Json, room: int) -> Check:
        check_item = self.compile(validator["value"], room - 1)
        exact = _EXACT.get(check_item, _Never)

        def check(value: Any) -> list[Any]:
            if type(value) is not list:
                if not isinstance(value, list | tuple):
                    raise Refusal(validator, value)
                value = list(value)
            check_array(value, room)
            rest = iter(value)
            try:
                if exact is _Never:
                    return list(map(check_item, rest))
                return [item if type(item) is exact and (exact is not str or item.isascii()) else check_item(item) for item in rest]
            except Refusal as refusal:
                refusal.steps.append(f"[{len(value) - length_hint(rest) - 1}]")
                raise

        return check

    def _record(self, validator: Json, room: int) -> Check:
        keys = validator["keys"]
        check_key = self.compile(keys, 0)
        any_key = {"type": "string"} in members_of(keys)
        if any_key and members_of(validator["values"]["fieldType"]) == [ANY]:
            return lambda value: copy_object(_as_dict(value, validator), room, True)
        check_item = self.compile(validator["values"]["fieldType"], room - 1)

        def check(value: Any) -> dict[str, Any]:
            value = _as_dict(value, validator)
            check_object(value, room)
            out = {}
            name = ""
            try:
                for name, item in value.items():
                    if item is not UNSET:
                        out[name if any_key and type(name) is str else check_key(name)] = check_item(item)
            except Refusal as refusal:
                refusal.steps.append(field(name))
                raise
            return out

        return check

    def _object(self, validator: Json, room: int) -> Check:
        fields = validator["value"]
        required: list[tuple[str, Any, Check]] = []
        optional: list[tuple[str, Any, Check]] = []
        for name, declared in fields.items():
            check_field = self.compile(declared["fieldType"], room - 1)
            (optional if declared["optional"] else required).append((name, _EXACT.get(check_field, _Never), check_field))

        def check(value: Any) -> dict[str, Any]:
            if type(value) is not dict:
                value = _as_dict(value, validator)
            out = {}
            name = ""
            try:
                for name, exact, check_field in required:
                    item = value[name]
                    out[name] = item if type(item) is exact and (exact is not str or item.isascii()) else check_field(item)
                for name, exact, check_field in optional:
                    if name in value:
                        item = value[name]
                        if type(item) is exact and (exact is not str or item.isascii()):
                            out[name] = item
                        elif item is not UNSET:
                            out[name] = check_field(item)
            except Refusal as refusal:
                refusal.steps.append(field(name))
                raise
            except KeyError:
                if name in value:
                    raise
                raise _missing(name, validator, value) from None
            if len(out) != len(value):
                for other, item in value.items():
                    if other not in fields and item is not UNSET:
                        raise _unknown(other, validator, item)
            return out

        return check

    def _union(self, validator: Json, room: int) -> Check:
        members = members_of(validator)
        by_type = {kind: self._alternatives([member for member in members if kind in _takes(member)], room) for kind in _TYPES}

        def check(value: Any) -> Any:
            check_member = by_type.get(type(value))
            if check_member is None:
                value = plain(value)
                check_member = by_type.get(type(value), _refuse)
            try:
                return check_member(value)
            except Refusal as refusal:
                if not refusal.steps and isinstance(refusal.expected, dict):
                    refusal.expected = validator
                raise

        return check

    def _alternatives(self, members: list[Json], room: int) -> Check:
        """The check of those members of a union that may take values of one type."""
        if not members:
            return _refuse
        if INTEGER in members and NUMBER in members:
            members = [_EITHER if member == INTEGER else member for member in members if member != NUMBER]
        if all(member["type"] == "literal" and type(member["value"]) is str for member in members):
            return _one_of({member["value"] for member in members})
        checks = [self.compile(member, room) for member in members]
        if len(checks) == 1:
            return checks[0]
        tag = _find_tag(members)
        if tag is not None:
            return _tagged(tag, members, checks)

        tries = self._tries
        tries.are_counted = True

        def check(value: Any) -> Any:
            refusals = []
            for check_member in checks:
                try:
                    return check_member(value)
                except Refusal as refusal:
                    refusals.append(refusal.with_traceback(None))  # which would hold this frame, and that this list
                tries.left -= 1
                if tries.left < 0:
                    raise LimitExceeded("union_tries", _TRIES_MAX + 1, _TRIES_MAX)
            raise _closest(refusals)

        return check


def _refuse(value: Any) -> Any:
    raise Refusal({"type": "union", "value": []}, value)


def _one_of(texts: set[str]) -> Check:
    def check(value: Any) -> Any:
        if value in texts:
            return value
        raise Refusal({"type": "union", "value": []}, value)

    return check


def _literal(validator: Json) -> Check:
    literal = literal_value(validator)
    kind = type(literal)
    is_number = kind is int or kind is float
    zero = str(float(literal)) if is_number and not literal else ""

    def check(value: Any) -> Any:
        if value == literal:
            if type(value) is kind and not zero:
                return literal
            if is_number and (type(value) is int or type(value) is float) and (not zero or str(float(value)) == zero):
                return literal
            exact = plain(value)
            if exact is not UNSET and type(exact) is not type(value):
                return check(exact)
        raise Refusal(validator, value)

    return check


def _as_dict(value: Any, validator: Json) -> dict[Any, Any]:
    if isinstance(value, dict):
        return value if type(value) is dict else dict(value)
    raise Refusal(validator, value)


def _missing(name: str, validator: Json, value: dict[Any, Any]) -> Refusal:
    expected = validator["value"][name]["fieldType"]

    def text() -> str:
        extra = [other for other in value if isinstance(other, str) and other not in validator["value"]]
        close = get_close_matches(name, extra, 1)
        return describe(expected) + (f" (there is {show(close[0])})" if close else "")

    return Refusal(text, Said("nothing"), field(name))


def _unknown(name: object, validator: Json, item: Any) -> Refusal:
    def text() -> str:
        close = get_close_matches(name, validator["value"], 1) if isinstance(name, str) and len(name) < 100 else ()
        known = ", ".join(validator["value"]) or "none"
        return "left out: no such field" + (f", did you mean {close[0]}?" if close else f" (there are {known})")

    return Refusal(text, item, field(name))


# Unions


def _find_tag(members: list[Json]) -> str | None:
    """A field that every one of these objects requires, as a string literal of its own."""
    if not all(member["type"] == "object" for member in members):
        return None
    for name in members[0]["value"]:
        tags = {tag for tag in (_tag_of(member, name) for member in members) if tag is not None}
        if len(tags) == len(members):
            return str(name)
    return None


def _tag_of(member: Json, name: str) -> str | None:
    declared = member["value"].get(name)
    if declared is None or declared["optional"] or declared["fieldType"]["type"] != "literal":
        return None
    value = declared["fieldType"]["value"]
    return value if isinstance(value, str) else None


def _tagged(tag: str, members: list[Json], checks: list[Check]) -> Check:
    by_tag = {_tag_of(member, tag): check for member, check in zip(members, checks, strict=True)}
    tags = union_of(member["value"][tag]["fieldType"] for member in members)

    def check(value: Any) -> Any:
        said = value.get(tag, UNSET)
        chosen = by_tag.get(said) if isinstance(said, str) else None
        if chosen is None:
            raise Refusal(tags, Said("nothing") if said is UNSET else said, field(tag))
        return chosen(value)

    return check


def _closest(refusals: list[Refusal]) -> Refusal:
    """The refusal of the member that went furthest, preferably to a field that was there. Where several stopped, any of them would do."""

    def rank(refusal: Refusal) -> tuple[int, bool]:
        return len(refusal.steps), not callable(refusal.expected)

    best = max(map(rank, refusals))
    furthest = [refusal for refusal in refusals if rank(refusal) == best]
    same_place = [refusal for refusal in furthest if refusal.steps == furthest[0].steps]
    expected = [refusal.expected for refusal in same_place if isinstance(refusal.expected, dict)]
    if len(same_place) > 1 and len(expected) == len(same_place):
        furthest[0].expected = union_of(expected)
    return furthest[0]
