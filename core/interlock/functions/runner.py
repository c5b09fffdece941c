"""The seam between calling and running: inline in this process, or in the sandbox of a component."""

from __future__ import annotations

from typing import Any, Protocol

from interlock.functions.host import CallHost


class Runner(Protocol):
    """Runs functions of one or more instances. Arguments are validated before, the result after."""

    async def run(self, call: CallHost) -> Any:
        """Run `call.callee` with `call.args`; what the function asks for, `call` answers. Gives its result as plain values, or raises."""
