"""A future that knows who is driven by hand and waits for it: so that goes on at once, without a task and a turn of the loop.

Not compiled: it is a future of C's, with one field more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Waited(asyncio.Future[T]):
    """`parked` goes on with who waits, outside of any task. Who sets the result calls it; after an error or a cancellation, the loop."""

    parked: Callable[[], None] | None = None

    def set_exception(self, exception: type | BaseException, /) -> None:
        super().set_exception(exception)
        self._go_on_soon()

    def cancel(self, msg: Any | None = None) -> bool:
        is_canceled = super().cancel(msg)
        if is_canceled:
            self._go_on_soon()
        return is_canceled

    def _go_on_soon(self) -> None:
        if self.parked is not None:
            self.get_loop().call_soon(self.parked)
