"""Triggers: what is called on every write to a table, within the write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from interlock.functions.calling import DEPTH_MAX, perform_below, too_deep
from interlock.sdk.host import Document
from interlock.values import normalize

if TYPE_CHECKING:
    from interlock.functions.host import TransactionHost
    from interlock.functions.scope import Callee


async def run_triggers(
    writer: TransactionHost,
    triggers: tuple[Callee, ...],
    kind: Literal["insert", "update", "delete"],
    id: str,
    old: Document | None,
    new: Document | None,
) -> None:
    """Call the triggers of a table, one after the other. The caller has opened the layer that the write and all of this is in."""
    for trigger in triggers:
        if writer.depth >= DEPTH_MAX:
            raise too_deep(writer, trigger)
        change: dict[str, Any] = {"kind": kind, "id": id, "old": old, "new": new}
        if len(triggers) > 1:
            # Each has documents of its own: what one does to them is not to reach the next.
            change["old"], change["new"] = normalize(old), normalize(new)
        await perform_below(writer.below(trigger, change))
