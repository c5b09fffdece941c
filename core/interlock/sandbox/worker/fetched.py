"""The response of a fetch that the host has made, read piece by piece."""

from __future__ import annotations

from collections.abc import Mapping

from interlock.sandbox.worker.conversation import Conversation


class WorkerFetched:
    """A response of the host's, as `sdk.fetch.Fetched` says."""

    __slots__ = ("_call", "_first", "_is_over", "_number", "headers", "status")

    def __init__(self, call: Conversation, number: int, status: int, headers: Mapping[str, str], first: bytes, is_over: bool) -> None:
        self._call, self._number = call, number
        self.status, self.headers = status, headers
        self._first, self._is_over = first, is_over

    async def piece(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        if self._is_over:
            return b""
        piece: bytes
        piece, self._is_over = await self._call.ask("fetch_piece", self._number)
        return piece

    async def close(self) -> None:
        if not self._is_over and not self._call.is_ended:
            self._is_over = True
            await self._call.ask("fetch_close", self._number)
