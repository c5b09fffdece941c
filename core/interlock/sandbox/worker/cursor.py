"""An open scan: its rows come from the host, as many at a time as are asked for."""

from __future__ import annotations

from interlock.sandbox.worker.conversation import Conversation
from interlock.sdk.host import Document


class WorkerCursor:
    """An open scan of the host's, as `sdk.host.Cursor` says."""

    __slots__ = ("_call", "_number", "exhausted", "open_ended", "stopped")

    def __init__(self, call: Conversation, number: int, exhausted: bool, open_ended: bool) -> None:
        self._call, self._number = call, number
        self.exhausted, self.open_ended = exhausted, open_ended
        self.stopped = False

    async def fetch(self, count: int) -> list[Document]:
        rows: list[Document]
        rows, self.exhausted, self.stopped = await self._call.ask("fetch_rows", self._number, count)
        return rows

    def consume(self, count: int) -> None:
        self._call.consume(self._number, count)

    def mark(self, back: int = 0) -> str:
        mark: str = self._call.ask_now("mark", self._number, back)
        return mark
