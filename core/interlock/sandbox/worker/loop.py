"""The event loop of a worker: asyncio's own, with the channel as all that it waits for."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from interlock.sandbox.refusals import RefusedInSandbox, refuse_network, refuse_program, refuse_thread
from interlock.sandbox.worker.channel import Channel
from interlock.sandbox.worker.determinism import shown
from interlock.sandbox.worker.waiting import refuse_waiting

_monotonic = time.monotonic


class WorkerLoop(asyncio.BaseEventLoop):
    """No sockets, no threads, no signals. It runs by the real clock; functions of queries and mutations are shown one that stands still."""

    def __init__(self, channel: Channel, take: Callable[[list[Any]], None]) -> None:
        super().__init__()
        self._channel, self._take = channel, take
        self._selector: Any = channel
        self._ready: Any
        self._scheduled: Any
        self._stopping: Any

    def _run_once(self) -> None:
        if self._ready or self._scheduled or self._stopping:
            super()._run_once()  # type: ignore[misc]
            return
        # Mostly there is nothing to do but what the host says next.
        self._channel.serve(self._take)

    def _process_events(self, event_list: list[tuple[int, int]]) -> None:
        for _, events in event_list:
            for frame in self._channel.read(events):
                self._take(frame)

    def _write_to_self(self) -> None:
        pass

    get_debug: Any = bool
    """False. Each future asks for it, and this is answered in C."""

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """What a context gives is a future here, and a coroutine inline: a task is made of either."""
        return super().create_task(_awaited(coro) if isinstance(coro, asyncio.Future) else coro, **options)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        try:
            return super().run_in_executor(executor, func, *args)
        except RefusedInSandbox:
            raise
        except PermissionError:  # since Python 3.13 a pool of threads asks first how many processors it may use
            refuse_thread()

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> NoReturn:
        refuse_network(f"resolving the name {host!r}"[:120])

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> NoReturn:
        refuse_network(f"connecting to {host!r}"[:120])

    async def create_datagram_endpoint(self, protocol_factory: Any, *args: Any, **options: Any) -> NoReturn:
        refuse_network("opening a socket")

    async def create_server(self, protocol_factory: Any, *args: Any, **options: Any) -> NoReturn:
        refuse_network("listening")

    async def subprocess_exec(self, protocol_factory: Any, *args: Any, **options: Any) -> NoReturn:
        refuse_program()

    async def subprocess_shell(self, protocol_factory: Any, cmd: Any, **options: Any) -> NoReturn:
        refuse_program()

    def time(self) -> float:
        still = shown()
        return _monotonic() if still is None else still.now

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
        if delay > 0 and not _is_asyncio(sys._getframe(1)):
            refuse_waiting("loop.call_later")
        return super().call_later(delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
        still = shown()
        if still is not None:  # `when` is of the time that it is shown
            delay = when - still.now
            if delay > 0 and not _is_asyncio(sys._getframe(1)):
                refuse_waiting("loop.call_at")
            when = _monotonic() + delay
        return super().call_at(when, callback, *args, context=context)


def _is_asyncio(frame: FrameType) -> bool:
    """Whether code of asyncio runs there, as that of `asyncio.timeout`."""
    name = frame.f_globals.get("__name__")
    return type(name) is str and name.startswith("asyncio.")


async def _awaited(future: asyncio.Future[Any]) -> Any:
    return await future
