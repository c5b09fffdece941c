"""Tables and indexes: what they are called, how a document's index keys are made, where the newest versions are kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from interlock.engine.memory_table import MemoryTable
from interlock.storage.protocol import IndexRecord, TableRecord, Write
from interlock.values import UNSET, encode_key

Json = dict[str, Any]
BY_ID = "by_id"
BY_CREATION_TIME = "by_creation_time"


@dataclass(frozen=True)
class TableSpec:
    """A table as a deploy wants it. `validator` None takes any document; `strict` False keeps the indexes and checks nothing.

    `staged` are those of its indexes that are filled in the background, and not read yet.
    """

    component: str
    name: str
    validator: Json | None = None
    strict: bool = True
    indexes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    staged: tuple[str, ...] = ()


def id_key(id: str) -> bytes:
    """The key of a document in `by_id`: an id is a string without NUL, so it needs no escaping."""
    return b"\x10" + id.encode() + b"\x00"


def mount_of(component: str) -> str:
    """The mount of the app that a component path is below; empty for the app itself."""
    return component.partition("/")[0]


class Index:
    """Ordered keys over a table: `fields…, _creationTime, _id`. Dotted fields reach into nested objects; absent ones sort first."""

    __slots__ = ("fields", "is_by_id", "name", "number", "paths", "roots", "table")

    def __init__(self, number: int, table: Table, name: str, fields: Sequence[str]) -> None:
        self.number, self.table, self.name, self.fields = number, table, name, tuple(fields)
        self.paths = tuple(tuple(field.split(".")) for field in fields)
        self.roots = frozenset(path[0] for path in self.paths)
        self.is_by_id = name == BY_ID

    def key_of(self, document: dict[str, Any]) -> bytes:
        """The document's place in this index."""
        if self.is_by_id:
            return id_key(document["_id"])
        return self.prefix_of(document) + encode_key(document["_creationTime"]) + id_key(document["_id"])

    def prefix_of(self, document: dict[str, Any]) -> bytes:
        """The part of the key that the declared fields make."""
        parts = []
        for path in self.paths:
            value: Any = document
            for name in path:
                value = value.get(name, UNSET) if type(value) is dict else UNSET
            parts.append(encode_key(value))
        return b"".join(parts)


class Table:
    """One table of one instance, and the versions of its documents that some snapshot may still need."""

    __slots__ = (
        "check",
        "component",
        "count",
        "declares_fields",
        "indexes",
        "last_place",
        "made_at",
        "maintained",
        "memory",
        "name",
        "number",
        "recent",
        "size",
        "staged",
        "unsealed",
        "validator",
    )

    def __init__(self, record: TableRecord, check: Callable[[Any], Any] | None = None) -> None:
        self.number, self.component, self.name = record.number, record.component, record.name
        self.validator = record.validator
        self.count, self.size = record.count, record.size
        self.check = check
        self.declares_fields = False  # what `check` lets through has no top-level fields but declared ones
        self.indexes: dict[str, Index] = {}
        self.staged: dict[str, Index] = {}  # kept by writes as the others are, and not to be read
        self.maintained: tuple[Index, ...] = ()
        self.memory: MemoryTable | None = None
        self.last_place = 0
        self.made_at = 0  # the place of the commit that made it, if that was since the start
        self.recent: deque[tuple[int, Sequence[Write]]] = deque()  # what changed here since the oldest snapshot, oldest first
        self.unsealed: dict[int, Any] = {}  # place → log entry whose commit timestamp is not known yet

    def every_index(self) -> list[Index]:
        """Those that can be read, and those that are staged. No two have the same name."""
        return [*self.indexes.values(), *self.staged.values()]

    def add_index(self, record: IndexRecord, is_staged: bool = False) -> Index:
        index = Index(record.number, self, record.name, record.fields)
        (self.staged if is_staged else self.indexes)[record.name] = index
        self._list_maintained()
        return index

    def drop_index(self, name: str) -> None:
        (self.staged if name in self.staged else self.indexes).pop(name)
        self._list_maintained()

    def switch_index(self, name: str, is_staged: bool) -> None:
        """Take an index into use, or out of it, as it is."""
        if is_staged:
            self.staged[name] = self.indexes.pop(name)
        else:
            self.indexes[name] = self.staged.pop(name)
        self._list_maintained()

    def _list_maintained(self) -> None:
        self.maintained = tuple(index for index in self.every_index() if not index.is_by_id)

    def __repr__(self) -> str:
        return f"Table({self.number}, {self.component!r}, {self.name!r})"


class Catalog:
    """Every table by number and by (component path, name). Tables and indexes share one counter; no number is used twice."""

    def __init__(self) -> None:
        self.by_number: dict[int, Table] = {}
        self.by_name: dict[tuple[str, str], Table] = {}
        self.by_index: dict[int, Index] = {}
        self.next_number = 1
        self.of_mount: dict[str, int] = {}
        """How many tables each mount has, those of its children included."""

    def take_number(self) -> int:
        number = self.next_number
        self.next_number += 1
        return number

    def add(self, table: Table) -> None:
        if table.number not in self.by_number:
            self._count(table, 1)
        self.by_number[table.number] = table
        self.by_name[table.component, table.name] = table
        for index in table.every_index():
            self.by_index[index.number] = index

    def remove(self, table: Table) -> None:
        if self.by_number.pop(table.number, None) is not None:
            self._count(table, -1)
        if self.by_name.get((table.component, table.name)) is table:
            del self.by_name[table.component, table.name]
        for index in table.every_index():
            self.by_index.pop(index.number, None)

    def move(self, components: Mapping[Table, str]) -> None:
        """Tables come to hang elsewhere, all at once."""
        moved = [(table, component) for table, component in components.items() if component != table.component]
        for table, _ in moved:
            self.by_name.pop((table.component, table.name), None)
            self._count(table, -1)
        for table, component in moved:
            table.component = component
            self.by_name[component, table.name] = table
            self._count(table, 1)

    def _count(self, table: Table, more: int) -> None:
        mount = mount_of(table.component)
        self.of_mount[mount] = self.of_mount.get(mount, 0) + more

    def get(self, component: str, name: str) -> Table | None:
        return self.by_name.get((component, name))

    def number_of(self, component: str, name: str) -> int | None:
        table = self.by_name.get((component, name))
        return table.number if table is not None else None

    def of_component(self, component: str) -> Iterator[Table]:
        for table in self.by_number.values():
            if table.component == component:
                yield table

    def components(self) -> set[str]:
        return {table.component for table in self.by_number.values()}
