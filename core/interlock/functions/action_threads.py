"""The threads in which plain `def` actions run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from interlock.giving_way import GivingWay
from interlock.limits import LIMITS

_LOOKS_S = 0.016
"""So often, at the least, the loop looks after actions of which none ends: most wait for something else than the interpreter."""


class ActionThreads(ThreadPoolExecutor):
    """As many as jobs may run. Given work by one loop, which makes way for them."""

    def __init__(self) -> None:
        super().__init__(int(LIMITS["jobs_running"].value), "interlock-action")
        self._giving_way = GivingWay(_LOOKS_S)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As any executor. Called in the loop's thread."""
        loop = asyncio.get_running_loop()
        submitted: Future[Any] = super().submit(fn, *args, **kwargs)
        self._giving_way.begins(loop)
        submitted.add_done_callback(lambda _: self._ended(loop))
        return submitted

    def _ended(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # the loop was closed under it
            loop.call_soon_threadsafe(self._giving_way.ends)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As any executor. Nobody makes way any more."""
        self._giving_way.stop()
        super().shutdown(wait, cancel_futures=cancel_futures)
