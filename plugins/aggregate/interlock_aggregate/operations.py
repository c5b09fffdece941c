"""Writes as values, for `enqueue_batch`: each is what the method of its name would do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

Number = int | float


class Same:
    """The type of `SAME`."""

    def __repr__(self) -> str:
        return "SAME"


SAME = Same()  # the namespace that the item has


@dataclass(frozen=True, slots=True)
class Insert:
    """Add an item."""

    key: Any
    id: str
    sum_value: Number = 0
    namespace: Any = None
    kind: ClassVar[str] = "insert"

    def to_argument(self) -> dict[str, Any]:
        """As the component takes it."""
        return {"kind": self.kind, "key": self.key, "value": self.id, "summand": checked(self.sum_value), "namespace": self.namespace}


@dataclass(frozen=True, slots=True)
class InsertIfMissing(Insert):
    """Add an item, or give the one that is there this sum value."""

    kind: ClassVar[str] = "insert_if_does_not_exist"


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove an item."""

    key: Any
    id: str
    namespace: Any = None
    kind: ClassVar[str] = "delete"

    def to_argument(self) -> dict[str, Any]:
        """As the component takes it."""
        return {"kind": self.kind, "key": self.key, "value": self.id, "namespace": self.namespace}


@dataclass(frozen=True, slots=True)
class DeleteIfExists(Delete):
    """Remove an item, if there is one."""

    kind: ClassVar[str] = "delete_if_exists"


@dataclass(frozen=True, slots=True)
class Replace:
    """Give an item another key, sum value or namespace."""

    id: str
    old_key: Any
    new_key: Any
    sum_value: Number = 0
    namespace: Any = None
    new_namespace: Any = SAME
    kind: ClassVar[str] = "replace"

    def to_argument(self) -> dict[str, Any]:
        """As the component takes it."""
        moved = {} if self.new_namespace is SAME else {"new_namespace": self.new_namespace}
        keys = {"key": self.old_key, "new_key": self.new_key}
        return {"kind": self.kind, **keys, "value": self.id, "summand": checked(self.sum_value), "namespace": self.namespace, **moved}


@dataclass(frozen=True, slots=True)
class ReplaceOrInsert(Replace):
    """The same for an item that need not be there."""

    kind: ClassVar[str] = "replace_or_insert"


Operation = Insert | Delete | Replace


def checked(value: Number) -> Number:
    """A sum value, which is a number."""
    if type(value) is not int and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise TypeError(f"a sum value must be a number, got {value!r}")
    return value
