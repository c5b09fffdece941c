"""Sockets without a network: messages arrive in order, late, or not at all.

Start at `Connection`.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, MutableMapping
from contextvars import Context
from typing import Any

from interlock.server.wire import Wire
from interlock.testing.simulation.faults import Faults
from interlock.testing.simulation.loop import SimulatedLoop

_FULL_BYTES = 2_000
_NOTICED_SECONDS = 2.0


class Network:
    """What all connections have in common. Whatever arrives is taken in `context`, which is nobody's of the server."""

    def __init__(self, loop: SimulatedLoop, chance: random.Random, faults: Faults, context: Context, met: Counter[str]) -> None:
        self.loop, self.chance, self.faults, self.context, self.met = loop, chance, faults, context, met

    def delay(self) -> float:
        """Seconds that the next message takes."""
        chance, faults = self.chance, self.faults
        if faults.slow_reader and chance.random() < faults.slow_reader:
            self.met["slow_reader"] += 1
            return chance.uniform(0.0, 1.0)
        return chance.uniform(0.0, faults.network_ms) / 1000.0 if chance.random() < 0.5 else 0.0

    def cuts(self) -> bool:
        """Whether a connection breaks now."""
        cuts = self.faults.cut > 0 and self.chance.random() < self.faults.cut
        self.met["cut"] += cuts
        return cuts


class _Pipe:
    """One direction."""

    def __init__(self, network: Network, arrived: Callable[[Any], None]) -> None:
        self._network, self._arrived = network, arrived
        self._on_its_way: deque[Any] = deque()
        self._last = 0.0
        self.is_closed = False

    def send(self, item: Any) -> None:
        if self.is_closed:
            return
        loop = self._network.loop
        self._on_its_way.append(item)
        self._last = max(self._last, loop.time() + self._network.delay())
        loop.call_at(self._last, self._arrive, context=self._network.context)

    def _arrive(self) -> None:
        # Not the item of this timer: of two at one time the loop may call either first, and order is kept.
        if self._on_its_way and not self.is_closed:
            self._arrived(self._on_its_way.popleft())

    def close(self) -> None:
        self.is_closed = True
        self._on_its_way.clear()


class Connection(Wire):
    """One socket. `on_message` gets what the server has sent, `on_lost` the code with which it was closed, or None when it broke.

    For the server it is an ASGI conversation (`scope`, `receive`, `accept`), and the session's `server.wire.Wire`.
    `on_sent` is told of what the server sends, whether it arrives or not.
    """

    def __init__(
        self,
        network: Network,
        on_message: Callable[[bytes], None],
        on_lost: Callable[[int | None], None],
        on_sent: Callable[[bytes], None],
    ) -> None:
        self._network = network
        self._on_message, self._on_lost, self._on_sent = on_message, on_lost, on_sent
        self._to_server = _Pipe(network, self._reach_server)
        self._to_client = _Pipe(network, self._reach_client)
        self._inbox: deque[MutableMapping[str, Any]] = deque([{"type": "websocket.connect"}])
        self._reader: asyncio.Future[None] | None = None
        self._drained: list[asyncio.Future[None]] = []
        self._buffered = 0
        self._is_lost = False

    # the client's end

    def say(self, text: str) -> None:
        """To the server."""
        if self._network.cuts():
            self.cut()
        self._to_server.send({"type": "websocket.receive", "text": text})

    def hang_up(self) -> None:
        """The client goes."""
        self._on_lost = lambda _: None
        self.cut()

    def cut(self) -> None:
        """Nothing more arrives anywhere. The client notices at once, the server perhaps later."""
        if self._is_lost:
            return
        self._is_lost = True
        self._to_server.close()
        self._to_client.close()
        loop, context = self._network.loop, self._network.context
        loop.call_soon(self._on_lost, None, context=context)
        later = self._network.chance.choice((0.0, 0.0, self._network.chance.uniform(0.0, _NOTICED_SECONDS)))
        loop.call_later(later, self._tell_server, context=context)

    def _reach_client(self, item: bytes | int) -> None:
        if isinstance(item, int):
            self._is_lost = True
            self._to_server.close()
            self._tell_server()
            self._on_lost(item)
            return
        self._buffered -= len(item)
        self._drain()
        self._on_message(item)

    # the server's end

    @property
    def scope(self) -> dict[str, Any]:
        return {"type": "websocket", "path": "/api/1.48.0/sync", "headers": [], "extensions": {"interlock.wire": self}}

    async def receive(self) -> MutableMapping[str, Any]:
        while not self._inbox:
            self._reader = self._network.loop.create_future()
            await self._reader
        return self._inbox.popleft()

    async def accept(self, message: MutableMapping[str, Any]) -> None:
        """`websocket.accept` comes this way; all the rest is sent as to a `Wire`."""

    def _reach_server(self, message: MutableMapping[str, Any]) -> None:
        self._inbox.append(message)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _tell_server(self) -> None:
        self._reach_server({"type": "websocket.disconnect", "code": 1006})
        self._drain()

    # the same as a wire

    can_fragment = True

    def send(self, *messages: bytes) -> None:
        for message in messages:
            if self._is_lost:
                break
            self._on_sent(message)
            if self._network.cuts():
                self.cut()
                break
            self._buffered += len(message)
            self._to_client.send(message)

    def buffered(self) -> int:
        return self._buffered

    @property
    def is_full(self) -> bool:
        return self._buffered > _FULL_BYTES and not self._is_lost

    async def wait_drained(self) -> None:
        while self.is_full:
            future = self._network.loop.create_future()
            self._drained.append(future)
            await future

    def close(self, code: int, reason: str) -> None:
        self._to_client.send(code)

    def abort(self) -> None:
        self.cut()

    def _drain(self) -> None:
        waiting, self._drained = self._drained, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
