"""Triggers: what is called on the writes to a table, within their transaction.

A trigger of one change is called by the write itself, in a layer together with it. One that takes a list is told later, of all
that its function has written one after the other: before the function reads anything or calls another, and at its end.

Start at `run_triggers` and `Untold`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from interlock.engine.made import Made
from interlock.functions.calling import DEPTH_MAX, begin_below, too_deep
from interlock.sdk.host import Document
from interlock.values import normalize

if TYPE_CHECKING:
    from interlock.engine.budget import Budget
    from interlock.functions.scope import Callee
    from interlock.functions.transaction_host import TransactionHost

ChangeKind = Literal["insert", "update", "delete"]

_CHANGES_MAX: Final = 1_000
_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of what was read and written since the first change: so that a list holds little memory, and crosses to a worker in one frame."""


async def run_triggers(
    writer: TransactionHost, triggers: tuple[Callee, ...], kind: ChangeKind, id: str, old: Document | None, new: Document | None
) -> None:
    """Call the triggers of one change, one after the other. The caller has opened the layer that the write and all of this is in."""
    for trigger in triggers:
        if writer.depth >= DEPTH_MAX:
            raise too_deep(writer, trigger)
        change: dict[str, Any] = {"kind": kind, "id": id, "old": old, "new": new}
        if len(triggers) > 1:
            # Each has documents of its own: what one does to them is not to reach the next.
            change["old"], change["new"] = normalize(old), normalize(new)
        made = begin_below(writer.below(trigger, change))
        if type(made) is not Made:
            await made  # type: ignore[misc]


class Untold:
    """What a function has written since its triggers that take lists were last told, by table.

    `failure` is what one of them raised: the function fails with that, whatever it does with the error.
    """

    __slots__ = ("_bytes", "_tables", "count", "failure")

    def __init__(self, budget: Budget) -> None:
        used = budget.used
        self._bytes = used.bytes_read + used.bytes_written
        self._tables: dict[str, tuple[tuple[Callee, ...], list[dict[str, Any]]]] = {}
        self.count = 0
        self.failure: BaseException | None = None

    @property
    def tables(self) -> frozenset[str]:
        """Those that were written."""
        return frozenset(self._tables)

    def add(self, table: str, triggers: tuple[Callee, ...], kind: ChangeKind, id: str, old: Document | None, new: Document | None) -> None:
        """Note a change of a table that has such triggers."""
        found = self._tables.get(table)
        if found is None:
            found = self._tables[table] = (triggers, [])
        found[1].append({"kind": kind, "id": id, "old": old, "new": new})
        self.count += 1

    def add_all(self, other: Untold) -> None:
        """Note what another function has written. The documents are copied: it may have to tell them itself."""
        for table, (triggers, changes) in other._tables.items():
            found = self._tables.get(table)
            if found is None:
                found = self._tables[table] = (triggers, [])
            found[1].extend(normalize(changes))
        self.count += other.count

    def is_full(self, budget: Budget) -> bool:
        """Whether it is to be told now, whatever the function does next."""
        used = budget.used
        return self.count >= _CHANGES_MAX or used.bytes_read + used.bytes_written - self._bytes > _BYTES_MAX

    async def tell(self, writer: TransactionHost, *, at_end: bool) -> None:
        """Call the triggers: the tables in the order of their first changes, the triggers of each in the order registered."""
        for triggers, changes in self._tables.values():
            for trigger in triggers:
                if writer.depth >= DEPTH_MAX:
                    raise too_deep(writer, trigger)
                own = normalize(changes) if len(triggers) > 1 else changes
                call = writer.below(trigger, {"changes": own})
                if at_end and (nearest := writer.nearest_deadline()) is not None:
                    call.deadline_ms, call.wall_max = nearest  # nobody's code is there any more that its deadline would stop
                made = begin_below(call)
                if type(made) is not Made:
                    await made  # type: ignore[misc]
