"""Triggers: functions that are called on every write to a table, whoever writes, within the transaction of the write."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from interlock.errors import MountError
from interlock.sdk.declarations import TriggerDeclaration
from interlock.sdk.registry import loading, where_defined
from interlock.sdk.schema import is_table_name

if TYPE_CHECKING:
    from interlock.sdk.contexts import MutationCtx

Document = dict[str, Any]


@dataclass(slots=True)  # not frozen, which would double what one costs: one is made for each document of a migration
class Change:
    """One write to a document: `old` is None for an insert, `new` for a delete."""

    kind: Literal["insert", "update", "delete"]
    id: str
    old: Document | None
    new: Document | None


OnChange = TypeVar("OnChange", bound="Callable[[MutationCtx, Change], Any] | Callable[[MutationCtx, list[Change]], Any]")

_A_LIST = re.compile(r"\b(list|List|Sequence)\[").search


def trigger(table: str, /) -> Callable[[OnChange], OnChange]:
    """Call the decorated `async (ctx, change)` on every write to `table`. It gives the callable back as it is.

    One that is annotated to take a list, `async (ctx, changes: list[Change])`, is told of the writes that a function made one after the
    other together: before that function reads, calls another or ends.
    """

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


def declared_triggers(triggers: Iterable[tuple[str, Callable[..., Any]]]) -> tuple[TriggerDeclaration, ...]:
    """The declarations of triggers that were registered as (table, callable)."""
    return tuple(TriggerDeclaration(table, takes_list(on_change)) for table, on_change in triggers)


def takes_list(on_change: object) -> bool:
    """Whether a trigger is annotated to take a list of changes: then it is told of many at once."""
    try:
        parameters = list(inspect.signature(on_change).parameters.values())  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    if len(parameters) < 2:
        return False
    annotation = parameters[1].annotation
    # As it is written: a module that says `from __future__ import annotations` has nothing else.
    return _A_LIST(annotation if isinstance(annotation, str) else str(annotation)) is not None


def told(args: Mapping[str, Any]) -> Change | list[Change]:
    """What a trigger is called with, out of the arguments of its call."""
    changes = args.get("changes")
    return Change(**args) if changes is None else [Change(**change) for change in changes]
