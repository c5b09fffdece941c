"""How much a connection has sent that is not done yet."""

from __future__ import annotations

import asyncio

from interlock.limits import LIMITS


class Held:
    """Counts bytes of messages, from when they are taken until they are answered or have taken effect."""

    __slots__ = ("_is_open", "_room", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._room: asyncio.Future[None] | None = None
        self._is_open = True

    def add(self, size: int) -> None:
        self._size += size

    def take_off(self, size: int) -> None:
        self._size -= size
        self._make_room()

    async def wait_room(self, size: int) -> None:
        """Until there is room for a message of this size, or the connection has ended. One message at a time waits."""
        while self._size and self._size + size > LIMITS["socket_held"].value and self._is_open:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def close(self) -> None:
        """Nobody waits any more."""
        self._is_open = False
        self._make_room()

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
