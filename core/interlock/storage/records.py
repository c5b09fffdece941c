"""Tables and indexes as a storage remembers them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class TableRecord:
    """A table as the storage remembers it. `component` is the instance's path, `validator` JSON text or empty.

    `count` documents of `size` packed bytes are what the storage has counted itself; what a record brings along is not looked at.
    """

    number: int
    component: str
    name: str
    validator: str = ""
    count: int = 0
    size: int = 0


@dataclass(slots=True)
class IndexRecord:
    """An index. `fields` are dotted paths without the unseen `_creationTime` and `_id`.

    The index of fields ("_id",) has no entries of its own: its rows are the table's documents by id, and its keys are
    `values.keys.encode_key(id)`.
    """

    number: int
    table: int
    name: str
    fields: tuple[str, ...]
