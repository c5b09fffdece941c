"""The triggers that a mutation is still to have told when its function has ended: by itself, or with those of other mutations.

Start at `Telling.together`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from interlock.engine import Transaction
from interlock.engine.live import USES_IDENTITY
from interlock.functions.call import Execution
from interlock.functions.calling import tell_last
from interlock.functions.transaction_host import TransactionHost
from interlock.functions.triggers import Untold


class Telling:
    """What one mutation has left to do. `execution` is where it was done with others, if it was."""

    __slots__ = ("call", "execution")

    def __init__(self, call: TransactionHost) -> None:
        self.call = call
        self.execution: Execution | None = None

    @property
    def key(self) -> Hashable:
        """Those of one instance that have written to the same tables go together, as long as it has the same code."""
        untold = self.call.untold
        assert untold is not None, "it has something to tell"
        return id(self.call.callee.scope), untold.tables

    async def alone(self) -> None:
        """Tell them in its own transaction. Raises what one of them raises."""
        self.execution = None
        await tell_last(self.call)

    async def together(self, others: Sequence[Telling], tx: Transaction) -> bool:
        """Tell them what all of these mutations have written, each trigger once, as if one function had written it.

        False if one of them has asked who has called, and not all were called by the same.
        """
        call = self.call
        services = call.execution.services
        execution = self.execution = Execution(services, call.execution.caller, services.clock.now_ms(), tx.facts)
        identity = call.identity_fields
        is_mixed = any([other.call.identity_fields != identity for other in others])
        writer = TransactionHost(execution, call.callee, {}, None, 0, None if is_mixed else identity, tx)
        writer.deadline_ms, writer.wall_max, writer.cpu_max = call.deadline_ms, call.wall_max, call.cpu_max
        changes = Untold(tx.budget)
        for other in others:
            untold = other.call.untold
            assert untold is not None, "it has something to tell"
            changes.add_all(untold)
        await changes.tell(writer, at_end=True)
        writer.end()
        return not (is_mixed and tx.facts.get(USES_IDENTITY))
