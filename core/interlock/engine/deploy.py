"""Deploys: how the tables become what a schema says, while nothing commits.

Everything is worked out and checked first; storage then takes the change in one transaction; memory follows. So a
refused deploy changes nothing, and a crash in the middle leaves the old tables.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from interlock.engine.catalog import BY_CREATION_TIME, BY_ID, Index, Table, TableSpec
from interlock.engine.key_map import KeyMap
from interlock.engine.staging import FACT, to_fact
from interlock.errors import SchemaError, StorageUnavailable
from interlock.storage.protocol import CatalogChange, Entry, IndexRecord, Interval, NothingWritten, TableRecord
from interlock.values import Mismatch, compile_validator, is_subset, pack, unpack

if TYPE_CHECKING:
    from interlock.engine.engine import Engine

_REMEDY = (
    "Let the schema allow the old form beside the new one for now (NotRequired, or |), change the documents by a migration "
    "(interlock migrate), then take the old form out."
)
_CHUNK = 1_000
_OWN_INDEXES = (BY_CREATION_TIME, BY_ID)
_SYSTEM_FIELDS = ("_id", "_creationTime")


class Deploy:
    """One change of the catalog."""

    def __init__(self, engine: Engine, specs: Sequence[TableSpec], facts: dict[str, str], moves: dict[str, str]) -> None:
        self._engine, self._specs, self._facts, self._moves = engine, specs, dict(facts), moves
        self._change = CatalogChange(facts=self._facts)
        self._entries: list[tuple[int, bytes, str]] = []
        self._documents: list[tuple[int, str, bytes]] = []
        self._numbers: dict[tuple[str, str], int] = {}
        self._made: list[Table] = []
        self._components: dict[Table, str] = {}
        self._validators: dict[Table, str] = {}
        self._new_indexes: list[tuple[Table, IndexRecord]] = []
        self._old_indexes: list[tuple[Table, Index]] = []
        self._switched: list[tuple[Index, bool]] = []
        self._filled = dict(engine.staging.filled)

    async def run(self) -> list[Index]:
        """Make the change. If indexes are to be read that are not filled yet, nothing is done, and they are given back."""
        catalog = self._engine.catalog
        for table in list(catalog.by_number.values()):
            moved = self._moved(table.component)
            if moved != table.component and (moved, table.name) in catalog.by_name:
                reason = f'is stored both at "{moved}" and at "{table.component}", whose data it would take over. Purge one of them first'
                raise SchemaError(f"{moved}/{table.name}", "", "", reason)
            self._components[table] = moved
            self._numbers[moved, table.name] = table.number
        declared = {(spec.component, spec.name): spec for spec in self._specs}
        existing = {(self._components[table], table.name): table for table in catalog.by_number.values()}
        if unfilled := self._unfilled(declared, existing):
            return unfilled
        for key, spec in declared.items():
            if key not in existing:
                self._make(spec)
        for key, table in existing.items():
            wanted = declared.get(key)
            if wanted is not None:
                await self._alter(table, wanted)
            elif any(spec.component == key[0] for spec in self._specs):
                # Its component is deployed without it: no longer declared, so nothing is checked; the documents stay.
                await self._alter(table, TableSpec(key[0], table.name))
        await self._store()
        self._apply()
        return []

    def _unfilled(self, declared: dict[tuple[str, str], TableSpec], existing: dict[tuple[str, str], Table]) -> list[Index]:
        """The staged indexes that are to be read from now on, and have still to be filled."""
        return [
            index
            for key, spec in declared.items()
            if key in existing
            for name, index in existing[key].staged.items()
            if spec.indexes.get(name) == index.fields and name not in spec.staged and self._filled[index.number] is not None
        ]

    async def drop(self, numbers: list[int]) -> None:
        """Remove whole tables."""
        catalog = self._engine.catalog
        self._change.dropped_tables = numbers
        self._change.dropped_indexes = [index.number for number in numbers for index in catalog.by_number[number].every_index()]
        await self._store()
        for number in numbers:
            catalog.remove(catalog.by_number[number])
        self._note_staged()
        self._finish()

    def _moved(self, component: str) -> str:
        for old, new in self._moves.items():
            if component == old or component.startswith(old + "/"):
                return new + component[len(old) :]
        return component

    def _make(self, spec: TableSpec) -> None:
        engine = self._engine
        record = TableRecord(engine.catalog.take_number(), spec.component, spec.name, _validator_text(spec))
        self._numbers[spec.component, spec.name] = record.number
        table = engine.make_table(record)
        for name, fields in spec.indexes.items():
            index = table.add_index(IndexRecord(engine.catalog.take_number(), table.number, name, fields), name in spec.staged)
            if name in spec.staged:
                self._filled[index.number] = None
            assert table.memory is not None
            table.memory.entries[index.number] = KeyMap()
        self._made.append(table)
        self._change.tables.append(record)
        self._change.indexes.extend(IndexRecord(index.number, table.number, index.name, index.fields) for index in table.every_index())

    async def _alter(self, table: Table, spec: TableSpec) -> None:
        text = _validator_text(spec)
        made = []
        for index in table.every_index():
            if index.name not in _OWN_INDEXES and spec.indexes.get(index.name) != index.fields:
                self._old_indexes.append((table, index))
        for name, fields in spec.indexes.items():
            is_staged = name in spec.staged
            index_now = table.staged.get(name) or table.indexes.get(name)
            if index_now is None or index_now.fields != tuple(fields):
                record = IndexRecord(self._engine.catalog.take_number(), table.number, name, tuple(fields))
                self._new_indexes.append((table, record))
                if is_staged:
                    self._filled[record.number] = "" if table.count else None
                else:
                    made.append(record)
            elif is_staged != (name in table.staged):
                self._switched.append((index_now, is_staged))
                if is_staged:
                    self._filled[index_now.number] = None
                else:
                    del self._filled[index_now.number]
        if text != table.validator or self._components[table] != table.component:
            self._validators[table] = text
            self._change.tables.append(TableRecord(table.number, self._components[table], table.name, text, table.count, table.size))
        check = self._check_for(table, spec, text)
        if check is None and not made:
            return
        fresh = [Index(record.number, table, record.name, record.fields) for record in made]
        label = f"{self._components[table]}/{table.name}" if self._components[table] else table.name
        async for id, packed in self._stored(table):
            document = unpack(packed)
            if check is not None:
                document = self._checked(label, id, document, check)
                again = pack(document)
                if again != packed:
                    self._documents.append((table.number, id, again))
            for index in fresh:
                self._entries.append((index.number, index.key_of(document), id))

    def _check_for(self, table: Table, spec: TableSpec, text: str) -> Any:
        """The check that stored documents need, or None when they are known to fit."""
        if not spec.strict or spec.validator is None or not table.count or text == table.validator:
            return None
        before = json.loads(table.validator) if table.validator else None
        if before is not None and before["strict"] and before["validator"] is not None:
            old = before["validator"]
            if is_subset(old, spec.validator) and _same_number_form(old, spec.validator):
                return None
        component = self._components[table]
        return compile_validator(spec.validator, lambda name: self._numbers.get((component, name)))

    @staticmethod
    def _checked(label: str, id: str, document: dict[str, Any], check: Any) -> dict[str, Any]:
        system = {name: document.pop(name) for name in _SYSTEM_FIELDS}
        try:
            checked: dict[str, Any] = check(document)
        except Mismatch as mismatch:
            raise SchemaError(
                label,
                id,
                mismatch.path.lstrip("."),
                f"a stored document does not fit the new schema: must be {mismatch.expected}, got {mismatch.got}. {_REMEDY}",
            ) from None
        checked.update(system)
        return checked

    async def _stored(self, table: Table) -> AsyncIterator[tuple[str, bytes]]:
        if table.memory is not None:
            for at, item in enumerate(list(table.memory.documents.items())):
                if at % _CHUNK == _CHUNK - 1:
                    await asyncio.sleep(0)
                yield item
            return
        interval = Interval(b"", None)
        while True:
            read = await self._engine.storage.scan(table.indexes[BY_ID].number, interval, "asc", _CHUNK)
            for row in read.rows:
                yield row.id, row.doc
            if len(read.rows) < _CHUNK:
                return
            interval = Interval(read.rows[-1].key + b"\x00", None)
            await asyncio.sleep(0)

    async def _store(self) -> None:
        change = self._change
        change.indexes.extend(record for _, record in self._new_indexes)
        change.dropped_indexes.extend(index.number for _, index in self._old_indexes)
        change.entries, change.documents = self._entries, self._documents
        self._filled = {number: filled for number, filled in self._filled.items() if number not in change.dropped_indexes}
        if self._filled != self._engine.staging.filled:
            self._facts[FACT] = to_fact(self._filled)
        if not (change.tables or change.indexes or change.dropped_indexes or change.dropped_tables or self._documents or self._facts):
            return
        try:
            await self._engine.storage.redefine(change)
        except NothingWritten as refusal:
            raise StorageUnavailable(refusal.reason, refusal.remedy) from None
        except Exception as error:
            self._engine.committer.fail(error)
            raise

    def _apply(self) -> None:
        engine = self._engine
        catalog = engine.catalog
        catalog.move(self._components)
        for table in self._made:
            catalog.add(table)
        for table, index in self._old_indexes:
            table.drop_index(index.name)
            catalog.by_index.pop(index.number, None)
            if table.memory is not None:
                table.memory.entries.pop(index.number, None)
        filled: dict[int, dict[bytes, str]] = {}
        for number, key, id in self._entries:
            filled.setdefault(number, {})[key] = id
        for table, record in self._new_indexes:
            catalog.by_index[record.number] = table.add_index(record, record.number in self._filled)
            if table.memory is not None:
                table.memory.entries[record.number] = KeyMap(filled.get(record.number, {}))
            _index_history(table, catalog.by_index[record.number])
        for number, id, packed in self._documents:
            memory = catalog.by_number[number].memory
            if memory is not None:
                memory.documents[id] = packed
        for table, text in self._validators.items():
            engine.set_validator(table, text)
        for index, is_staged in self._switched:
            index.table.switch_index(index.name, is_staged)
        self._note_staged()
        self._finish()

    def _note_staged(self) -> None:
        self._engine.facts.update(self._facts)
        self._engine.staging.filled = self._filled

    def _finish(self) -> None:
        change = self._change
        is_changed = change.tables or change.indexes or change.dropped_indexes or change.dropped_tables
        if not (is_changed or self._documents or self._switched):
            return
        self._engine.epoch += 1
        self._engine.live.forget_all()


def _index_history(table: Table, index: Index) -> None:
    """Let snapshots from before be read by a new index: the writes since then say what they did to it."""
    for _, writes in table.recent:
        for write in writes:
            old, new = (None if packed is None else index.key_of(unpack(packed)) for packed in (write.old, write.new))
            if write.table == table.number and old != new:
                write.entries = [*write.entries, Entry(index.number, old, new)]


def _validator_text(spec: TableSpec) -> str:
    if spec.validator is None:
        return ""
    return json.dumps({"validator": spec.validator, "strict": spec.strict}, sort_keys=True)


def _same_number_form(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether documents that fit `old` would be stored the same under `new`: a float field that becomes an int field changes 5.0 to 5."""
    if old == new:
        return True
    if old.get("type") == new.get("type") == "object":
        fields: dict[str, Any] = new["value"]
        return all(
            name in fields and _same_number_form(field["fieldType"], fields[name]["fieldType"]) for name, field in old["value"].items()
        )
    return '"number"' not in json.dumps(old) and '"any"' not in json.dumps(old)
