"""One WebSocket, as a session sees it: messages go out in the order sent, and sending never waits.

`AsgiWire` is the one for any ASGI server. `socket_front.py` has a faster one, which this project's own server offers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

MIB = 1024 * 1024

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Wire(Protocol):
    """The outgoing half of a socket. After `close` or `abort` nothing is sent any more, and nothing raises."""

    can_fragment: bool
    """Whether a long message goes out as several frames, for clients that refuse a frame over 16 MiB."""

    def send(self, *messages: bytes) -> None:
        """Send text messages, or keep them until the client takes them."""

    def buffered(self) -> int:
        """Bytes that wait for the client to take them."""

    @property
    def is_full(self) -> bool:
        """Whether so much is waiting that the sender should, too."""

    async def wait_drained(self) -> None:
        """Wait until the wire is not full, or closed."""

    def close(self, code: int, reason: str) -> None:
        """Close behind all that was sent."""

    def abort(self) -> None:
        """Cut the connection; what was not taken is dropped."""


class AsgiWire:
    """Over the `send` of an ASGI server. One task writes; the server's own back-pressure is felt in it.

    ASGI has no way to cut a connection. To abort, the task that reads is cancelled, and the server lets go of the rest.
    """

    can_fragment = False
    _FULL = 64 * 1024

    def __init__(self, send: Send, reader: asyncio.Task[Any]) -> None:
        self._send = send
        self._reader = reader
        self.is_aborted = False
        self._queue: deque[bytes] = deque()
        self._buffered = 0
        self._close: tuple[int, str] | None = None
        self._is_over = False
        self._writer: asyncio.Task[None] | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def send(self, *messages: bytes) -> None:
        if self._is_over or self._close is not None:
            return
        self._queue.extend(messages)
        self._buffered += sum(map(len, messages))
        self._write_on()

    def buffered(self) -> int:
        return self._buffered

    @property
    def is_full(self) -> bool:
        return self._buffered > self._FULL and not self._is_over

    async def wait_drained(self) -> None:
        while self.is_full:
            future = asyncio.get_running_loop().create_future()
            self._waiters.append(future)
            await future

    def close(self, code: int, reason: str) -> None:
        if self._close is None:
            self._close = (code, reason)
            self._write_on()

    def abort(self) -> None:
        self.lost()
        self.is_aborted = True
        self._reader.cancel()

    def lost(self) -> None:
        """The connection is gone."""
        self._is_over = True
        self._queue.clear()
        self._buffered = 0
        if self._writer is not None:
            self._writer.cancel()
        self._release()

    def _write_on(self) -> None:
        if self._writer is None and not self._is_over:
            self._writer = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._queue and not self._is_over:
                message = self._queue.popleft()
                await self._send({"type": "websocket.send", "text": message.decode()})
                self._buffered -= len(message)
                if not self.is_full:
                    self._release()
            if self._close is not None and not self._is_over:
                self._is_over = True
                code, reason = self._close
                await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except Exception:  # servers raise what they like when the client has gone: their own error, OSError, RuntimeError
            self.lost()
        finally:
            self._writer = None
            self._release()

    def _release(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
