"""Whether every value that fits one validator fits another, as a deploy and the binding of an environment ask.

Start at `is_subset`.
"""

from __future__ import annotations

from typing import Any, Final

from interlock.values.types import LARGEST_INT
from interlock.values.validators import (
    ANY,
    INTEGER,
    NUMBER,
    Json,
    class_of_literal,
    is_same_literal,
    is_text_literal,
    literal_value,
    members_of,
)

_STEPS_MAX: Final = 300_000
"""Members that are looked at for one answer. Unions may be somebody else's, and lie in one another: each pair of members is tried."""


def is_subset(a: Json, b: Json) -> bool:
    """Whether every value that fits `a` fits `b`. Sometimes False where it is true (unions of objects, very large ones), never the
    other way.
    """
    return _Comparison(False).is_subset(a, b)


def fits_unchanged(a: Json, b: Json) -> bool:
    """Whether what a checker of `a` gave back is what a checker of `b` gives back for it: a subset, and no number changes its form.

    Where it is False although `is_subset` is True, stored documents are legal but hold ints where `b` says float, or the like.
    """
    return _Comparison(True).is_subset(a, b)


class _Comparison:
    """One of them. `same` asks for the number form, too: 5 stays 5 and 5.0 stays 5.0."""

    __slots__ = ("_same", "_steps_left")

    def __init__(self, same: bool) -> None:
        self._same = same
        self._steps_left = _STEPS_MAX

    def is_subset(self, a: Json, b: Json) -> bool:
        narrow, wide = members_of(a), members_of(b)
        self._steps_left -= len(narrow) + len(wide)
        if wide == [ANY]:
            return not self._same or _is_canonical(a)
        if self._same and not _keeps_form(narrow, wide):
            return False
        texts = {member["value"] for member in wide if is_text_literal(member)}
        wide = [member for member in wide if not is_text_literal(member)]
        booleans = {member["value"] for member in wide if member["type"] == "literal" and type(member["value"]) is bool}
        return all(
            (member["type"] == "boolean" and len(booleans) == 2)
            or (is_text_literal(member) and member["value"] in texts)
            or any(self._is_member_subset(member, other) for other in wide)
            for member in narrow
        )

    def _is_member_subset(self, a: Json, b: Json) -> bool:
        self._steps_left -= 1
        if self._steps_left < 0:
            return False
        kind, wide = a["type"], b["type"]
        if kind == "literal":
            return self._is_literal_in(literal_value(a), b)
        if kind != wide:
            return (
                (kind == "id" and wide == "string")
                or (kind == "bigint" and wide == "commitTs")
                or (kind == "object" and wide == "record" and self._is_object_in_record(a["value"], b))
            )
        if kind == "number":
            # That the form stays has been looked at for the whole union.
            return bool(a.get("integer")) or not b.get("integer")
        if kind == "array":
            return self.is_subset(a["value"], b["value"])
        if kind == "record":
            return self.is_subset(a["keys"], b["keys"]) and self.is_subset(a["values"]["fieldType"], b["values"]["fieldType"])
        if kind == "object":
            return self._is_object_subset(a["value"], b["value"])
        return a == b

    def _is_object_subset(self, a: Json, b: Json) -> bool:
        for name, field in a.items():
            other = b.get(name)
            if other is None or (field["optional"] and not other["optional"]) or not self.is_subset(field["fieldType"], other["fieldType"]):
                return False
        return all(other["optional"] or name in a for name, other in b.items())

    def _is_object_in_record(self, fields: Json, b: Json) -> bool:
        if fields and {"type": "string"} not in members_of(b["keys"]):
            return False
        return all(self.is_subset(field["fieldType"], b["values"]["fieldType"]) for field in fields.values())

    def _is_literal_in(self, value: Any, b: Json) -> bool:
        kind, wide = class_of_literal(value), b["type"]
        if wide == "literal":
            other = literal_value(b)
            return is_same_literal(value, other) and (not self._same or type(value) is type(other))
        if wide == "number" and kind == "number":
            if b.get("integer"):
                return float(value).is_integer() and -LARGEST_INT <= value <= LARGEST_INT and (not self._same or type(value) is int)
            return not self._same or type(value) is float
        return bool(kind == wide) or (kind == "bigint" and wide == "commitTs")


def _keeps_form(narrow: list[Json], wide: list[Json]) -> bool:
    """Whether numbers that fit one union look the same in another: `int` gives ints, `float` floats, both ints where they can."""
    forms = {bool(member.get("integer")) for member in narrow if member["type"] == "number"}
    if not forms:
        return True
    if any(member["type"] == "literal" and class_of_literal(literal_value(member)) == "number" for member in wide):
        return narrow == wide
    others = {bool(member.get("integer")) for member in wide if member["type"] == "number"}
    return forms == others or (forms == {True} and True in others)


def _is_canonical(a: Json) -> bool:
    """Whether what `a` gives back is what Any would give: no float that may be whole."""
    kind = a["type"]
    if kind == "union":
        members = members_of(a)
        return all(_is_canonical(member) for member in members if member != NUMBER or INTEGER not in members)
    if kind == "number":
        return bool(a.get("integer"))
    if kind == "literal":
        value = literal_value(a)
        return not (type(value) is float and value.is_integer() and str(value) != "-0.0" and abs(value) < LARGEST_INT)
    if kind == "array":
        return _is_canonical(a["value"])
    if kind == "record":
        return _is_canonical(a["values"]["fieldType"])
    return kind != "object" or all(_is_canonical(field["fieldType"]) for field in a["value"].values())
