"""The seam between calling and running: inline in this process, or in the sandbox of a component."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from interlock.engine.made import Made
from interlock.limits import Limits

if TYPE_CHECKING:
    from interlock.functions.call_host import CallHost
    from interlock.functions.scope import Callee
    from interlock.functions.transaction_host import TransactionHost


class Begun(Protocol):
    """A call that was sent off before its turn."""

    def give_up(self) -> None:
        """Its turn never came; or it came, and was used, or another way was taken. May be called again."""


class Runner(Protocol):
    """Runs functions of one or more instances. Arguments are validated before, the result after."""

    def begin(self, caller: TransactionHost, callee: Callee, args: Mapping[str, Any], limits: Limits | None) -> Begun | None:
        """Send a call off whose turn among the operations of `caller` has not come yet: what is gathered crosses together.

        Nothing of it counts before its turn, when `run` finds it as `call.begun`. None where there is nothing to be gained.
        """

    def start(self, call: CallHost) -> Made[Any] | Awaitable[Any]:
        """Run `call.callee` with `call.args`; what the function asks for, `call` answers. Gives its result as plain values, or raises.

        What need not be waited for is given at once.
        """
