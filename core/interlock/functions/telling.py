"""The triggers that a mutation is still to have told when its function has ended: by itself, or with those of other mutations.

Start at `Telling.together`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence

from interlock.engine import Transaction
from interlock.engine.live import USES_IDENTITY, USES_TIME
from interlock.functions.call import Execution
from interlock.functions.transaction_host import TransactionHost
from interlock.functions.triggers import Untold


class Telling:
    """What the mutation has left to do whose top-level call has ended; `alone` does it in its own transaction."""

    __slots__ = ("alone", "call")

    def __init__(self, call: TransactionHost, alone: Callable[[], Awaitable[None]]) -> None:
        self.call, self.alone = call, alone

    @property
    def key(self) -> Hashable:
        """Those of one instance that have written to the same tables go together, as long as it has the same code."""
        untold = self.call.untold
        assert untold is not None, "it has something to tell"
        return id(self.call.callee.scope), untold.tables

    async def together(self, others: Sequence[Telling], tx: Transaction, deadline_ms: float) -> bool:
        """Tell them what all of these mutations have written, each trigger once, as if one function had written it.

        False where that is not the same: a trigger has logged something, which belongs to one of them; or has asked who has called or what
        time it is, and that is not the same for all; or has used a mount that one of them has used, too, of what its limits allow for both.
        """
        call = self.call
        services = call.execution.services
        now_ms = call.execution.now_ms
        execution = Execution(services, call.execution.caller, now_ms, tx.facts)
        identity = call.identity_fields
        is_mixed = any([other.call.identity_fields != identity for other in others])
        writer = TransactionHost(execution, call.callee, {}, None, 0, None if is_mixed else identity, tx)
        writer.deadline_ms, writer.wall_max, writer.cpu_max = deadline_ms, call.wall_max, call.cpu_max
        changes = Untold(tx.budget)
        for other in others:
            untold = other.call.untold
            assert untold is not None, "it has something to tell"
            changes.add_all(untold)
        await changes.tell(writer, at_end=True)
        writer.end()
        if execution.lines or (is_mixed and tx.facts.get(USES_IDENTITY)):
            return False
        if tx.facts.get(USES_TIME) and any([other.call.execution.now_ms != now_ms for other in others]):
            return False
        return not execution.shares or all([execution.shares.keys().isdisjoint(other.call.execution.shares or ()) for other in others])
