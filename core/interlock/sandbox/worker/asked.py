"""The result of an operation that the host was asked for. Not compiled: it is a future of C's, with two fields more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interlock.sandbox.worker.conversation import Conversation


class Asked(asyncio.Future[Any]):
    """Who gives it up is heard: the host lets go of what waits."""

    __slots__ = ("call", "operation")
    call: Conversation
    operation: int

    def cancel(self, msg: Any = None) -> bool:
        is_canceled = super().cancel(msg)
        if is_canceled:
            self.call.drop(self.operation)
        return is_canceled
