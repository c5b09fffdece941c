"""Documents: what a field may be called, what a table's schema asks, and how large and how deep one may be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from interlock.engine.catalog import Table
from interlock.engine.unpacked import is_flat
from interlock.errors import LimitExceeded, SchemaError, ValueRefused
from interlock.limits import LIMITS
from interlock.values import UNSET, Mismatch, normalize, size_of

Document = dict[str, Any]
_DOCUMENT_BYTES: Final = int(LIMITS["document_bytes"].value)
_DOCUMENT_DEPTH: Final = int(LIMITS["document_depth"].value)


def inserted(table: Table, fields: Mapping[str, Any]) -> Document:
    """The checked fields of a new document. Raises SchemaError."""
    given = {name: value for name, value in fields.items() if value is not UNSET}
    for name in given:
        if type(name) is not str or name[:1] == "_":
            _refuse_field(table, "", name, "fields that begin with _ are the engine's; insert sets _id and _creationTime itself")
    return checked(table, "", given)


def patched(table: Table, old: Document, fields: Mapping[str, Any]) -> Document:
    """The checked fields of a document into which others were merged; UNSET takes one away. Raises SchemaError."""
    merged = old.copy()
    del merged["_id"], merged["_creationTime"]
    for name, value in fields.items():
        if (type(name) is not str or name[:1] == "_") and _is_system_field(table, old, name, value):
            continue
        if value is UNSET:
            merged.pop(name, None)
        else:
            merged[name] = value
    return checked(table, old["_id"], merged)


def replaced(table: Table, old: Document, fields: Mapping[str, Any]) -> Document:
    """The checked fields of a document of which all others are gone. Raises SchemaError."""
    given = {}
    for name, value in fields.items():
        if (type(name) is not str or name[:1] == "_") and _is_system_field(table, old, name, value):
            continue
        if value is not UNSET:
            given[name] = value
    return checked(table, old["_id"], given)


def checked(table: Table, id: str, fields: Document) -> Document:
    """The fields as they are stored, if the schema allows them."""
    try:
        allowed: Document = table.check(fields) if table.check is not None else normalize(fields)
    except Mismatch as mismatch:
        field = mismatch.path.lstrip(".")
        raise SchemaError(table.name, id, field, f"must be {mismatch.expected}, got {mismatch.got}") from None
    except ValueRefused as refused:
        raise SchemaError(table.name, id, refused.path.lstrip("."), refused.reason) from None
    if table.declares_fields:
        return allowed  # their names were looked at when they were declared
    for name in allowed:
        if not name.isidentifier() or len(name) > 64 or not name.isascii():
            raise SchemaError(table.name, id, name, "a top-level field name must be an ASCII identifier of at most 64 characters")
    return allowed


def measured(document: Document, packed: bytes) -> int:
    """The size of a document that is stored as `packed`. Raises LimitExceeded."""
    size = len(packed)
    # A packed document is never five times smaller than its size by the limit's measure.
    if size * 5 > _DOCUMENT_BYTES and (size := size_of(document)) > _DOCUMENT_BYTES:
        raise LimitExceeded("document_bytes", size, _DOCUMENT_BYTES)
    if not is_flat(document):
        # Deep ones have many brackets, which are sooner counted.
        is_shallow = packed.count(b"[") + packed.count(b"{") <= _DOCUMENT_DEPTH
        if not is_shallow and (depth := _depth(document)) > _DOCUMENT_DEPTH:
            raise LimitExceeded("document_depth", depth, _DOCUMENT_DEPTH)
    return size


def _is_system_field(table: Table, old: Document, name: Any, value: Any) -> bool:
    """Whether it is one, given as it is stored: documents are mostly read, changed and written back. What may not be written raises."""
    if name not in ("_id", "_creationTime"):
        _refuse_field(table, old["_id"], name, "fields that begin with _ are the engine's")
        return False
    if value != old[name]:
        raise SchemaError(table.name, old["_id"], name, "is set by the engine and never changes; leave it out or pass the stored value")
    return True


def _refuse_field(table: Table, id: str, name: object, reason: str) -> None:
    """Raise for a field that an author may not write. A name of a subclass of str is none, as long as it has no _ in front."""
    if not isinstance(name, str):
        raise SchemaError(table.name, id, repr(name), f"a field's name is a string, not {type(name).__name__}")
    if name.startswith("_"):
        raise SchemaError(table.name, id, name, reason)


def _depth(value: Any) -> int:
    children: Iterable[Any] = value.values() if type(value) is dict else value if type(value) is list else ()
    return (1 + max(map(_depth, children), default=0)) if type(value) in (dict, list) else 0
