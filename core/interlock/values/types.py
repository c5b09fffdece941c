"""The types that Python lacks for our values, and the rules on names and numbers that every other file here obeys."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING, Any, Final, Self, Union, final

from interlock.errors import ValueRefused
from interlock.limits import LIMITS

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

LARGEST_INT: Final = 2**53
"""Up to here every whole number is an IEEE double of its own; a bare `int` beyond is refused."""

DEPTH: Final = int(LIMITS["value_depth"].value)
ARRAY_ELEMENTS: Final = int(LIMITS["array_elements"].value)
OBJECT_FIELDS: Final = int(LIMITS["object_fields"].value)
KEY_CHARACTERS: Final = int(LIMITS["nested_key"].value)

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)


class _Marker:
    """Lets an instance that stands for a type be a member of a union: `CommitTimestamp() | None`."""

    __slots__ = ()

    def __or__(self, other: Any) -> Any:
        return Union[self, other]  # noqa: UP007 - the operator is what is being defined here

    def __ror__(self, other: Any) -> Any:
        return Union[other, self]  # noqa: UP007


class Int64(int):
    """A 64-bit integer, the clients' `bigint`: a type of its own that sorts before all numbers. Arithmetic on it gives plain ints."""

    __slots__ = ()

    def __new__(cls, value: int) -> Self:
        self = super().__new__(cls, index(value))
        if not -(2**63) <= self < 2**63:
            raise ValueRefused("", f"{int(self)} does not fit into 64 bits")
        return self

    def __repr__(self) -> str:
        return f"Int64({int(self)})"

    def __str__(self) -> str:
        return int.__repr__(self)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.is_instance_schema(cls)


@final
class Unset:
    """The type of `UNSET`: the field is not there. In `patch` it removes the field, in an index range it means documents that lack it."""

    __slots__ = ()
    _only: Unset | None = None

    def __new__(cls) -> Unset:
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "UNSET"

    def __reduce__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()


@final
class CommitTimestamp(_Marker):
    """`CommitTimestamp()` as a value is filled in at commit with an Int64 of nanoseconds; as an annotation it is their type."""

    __slots__ = ()
    _only: CommitTimestamp | None = None

    def __new__(cls) -> CommitTimestamp:
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __repr__(self) -> str:
        return "CommitTimestamp()"

    def __reduce__(self) -> tuple[type[CommitTimestamp], tuple[()]]:
        return CommitTimestamp, ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        if source is cls:
            return core_schema.union_schema([core_schema.is_instance_schema(cls), core_schema.is_instance_schema(Int64)])
        return handler(source)


@final
@dataclass(frozen=True, slots=True)
class Id(_Marker):
    """Marks a string as the id of a document of `table`: `Annotated[str, Id("games")]`."""

    table: str


def is_identifier(name: str) -> bool:
    """Whether it may name a table, an index, a mount or a top-level field: ASCII letters, digits, `_`, at most 64, not `_` alone."""
    return _IDENTIFIER.fullmatch(name) is not None and name.strip("_") != ""


def is_key(name: object) -> bool:
    """Whether it may be a key of an object: printable ASCII, at most 1,024 characters, no `$` in front."""
    return isinstance(name, str) and len(name) <= KEY_CHARACTERS and name.isascii() and name.isprintable() and name[:1] != "$"


known_keys: set[str] = set()
"""Keys that were found good. Who asks for each key whether it is in here calls `find_bad_key` for those that are not."""


def find_bad_key(keys: Iterable[Any]) -> tuple[object] | None:
    """The first of `keys` that may not be one, or None when all may. Keys seen before cost a set lookup each."""
    if known_keys.issuperset(keys):
        return None
    for key in keys:
        if not is_key(key):
            return (key,)
    if len(known_keys) > 10_000:
        known_keys.clear()
    known_keys.update(key for key in keys if len(key) <= 64)
    return None


def is_text(text: str) -> bool:
    """Whether a string is Unicode: a lone surrogate cannot be written as UTF-8, so it cannot be stored or sent."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def plain(value: object) -> Any:
    """An instance of a subclass (an Enum of str, a defaultdict, a float of numpy) as the type it extends; UNSET for all others."""
    if value is None or isinstance(value, bool | CommitTimestamp):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Int64):
        return Int64(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, list | tuple):
        return list(value)
    return UNSET
