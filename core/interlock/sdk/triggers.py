"""Triggers: functions that are called on every write to a table, whoever writes, within the write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from interlock.errors import MountError
from interlock.sdk.registry import loading, where_defined
from interlock.sdk.schema import is_table_name

if TYPE_CHECKING:
    from interlock.sdk.contexts import MutationCtx

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One write to a document: `old` is None for an insert, `new` for a delete."""

    kind: Literal["insert", "update", "delete"]
    id: str
    old: Document | None
    new: Document | None


OnChange = TypeVar("OnChange", bound="Callable[[MutationCtx, Change], Any]")


def trigger(table: str, /) -> Callable[[OnChange], OnChange]:
    """Call the decorated `async (ctx, change)` on every write to `table`. It gives the callable back as it is."""

    def register(on_change: OnChange) -> OnChange:
        check_trigger(table, on_change)
        loading(on_change)[1].triggers.append((table, on_change))
        return on_change

    return register


def check_trigger(table: str, on_change: object) -> None:
    """Refuse a trigger on what can be no table, and one that cannot be called."""
    if not isinstance(table, str) or not is_table_name(table):
        raise MountError(where_defined(on_change), f"a trigger on {table!r}, which is no table name.", 'Write @trigger("table").')
    if not callable(on_change):
        raise MountError("", f"a trigger on {table!r} that cannot be called: {on_change!r}.", "It is an async function of (ctx, change).")
