"""A response as its function reads it: unpacked, in pieces, no faster than it asks, and no more than it may."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress

from interlock.errors import FetchFailed, LimitExceeded
from interlock.functions.fetch.decoding import PIECE, Unpacker, told_headers
from interlock.functions.fetch.wire import Hop, WireError
from interlock.limits import LIMITS

_WHOLE_MAX = int(LIMITS["fetch_body"].value)
_STREAM_MAX = int(LIMITS["fetch_stream"].value)


_PARTS_FREE, _PART_BYTES = 20_000, 16
"""Parts that a body may come in whatever their size, and what each has to have on average after these: every one costs work here."""


class HostFetched:
    """As `sdk.fetch.Fetched` says. `deadline` is of the loop, and for all of the body; None gives each piece `timeout` seconds."""

    def __init__(self, request: str, hop: Hop, *, deadline: float | None, timeout: float, on_close: Callable[[], None]) -> None:
        self._request, self._hop, self._on_close = request, hop, on_close
        self._deadline, self._timeout = deadline, timeout
        self._limit = "fetch_stream" if deadline is None else "fetch_body"
        self._maximum = _STREAM_MAX if deadline is None else _WHOLE_MAX
        unpacker = Unpacker(hop.headers.get("content-encoding", ""))
        self.status = hop.status
        self.headers: Mapping[str, str] = told_headers(hop.headers, unpacker)
        length = hop.headers.get("content-length", "")
        if not unpacker.unpacks and length.isdecimal() and len(length) < 20:
            self._refuse_over(int(length))
        self._pieces = self._read(unpacker)
        self._is_closed = False
        self._failed: Exception | None = None

    async def piece(self) -> bytes:
        """The next part of the body, at most 256 KiB; empty at its end. Raises FetchFailed, LimitExceeded, and then again."""
        if self._failed is not None:
            raise self._failed
        if self._is_closed:
            return b""
        deadline = self._deadline
        if deadline is None:
            deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            async with asyncio.timeout_at(deadline):
                return await self._next()
        except BaseException as error:
            # What comes after a hole is not to look like the rest.
            told = f"it took longer than {self._timeout:g} s" if isinstance(error, TimeoutError) else "it was given up"
            self._failed = error if isinstance(error, FetchFailed | LimitExceeded) else FetchFailed(self._request, told)
            await self.close()
            if isinstance(error, TimeoutError):
                raise self._failed from None
            raise

    async def _next(self) -> bytes:
        async for piece in self._pieces:
            # Unpacking what has come already would go on without a break.
            await asyncio.sleep(0)
            return piece
        await self.close()
        return b""

    async def some(self) -> bytes:
        """Pieces together, up to about the size of one: many small ones cross to a worker at once."""
        pieces, size = [], 0
        while size < PIECE and (piece := await self.piece()):
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)

    @property
    def is_closed(self) -> bool:
        """Whether nothing more comes."""
        return self._is_closed

    async def close(self) -> None:
        """Let go of the connection."""
        if self._is_closed:
            return
        self._is_closed = True
        self._on_close()
        with suppress(RuntimeError):  # somebody is reading it right now, and will be told that it is closed
            await self._pieces.aclose()
        await self._hop.close()

    async def _read(self, unpacker: Unpacker) -> AsyncGenerator[bytes]:
        size = parts = 0
        try:
            async for data in self._hop.body:
                parts += 1
                if parts > _PARTS_FREE and size < parts * _PART_BYTES:
                    raise FetchFailed(self._request, f"the response comes in {parts:,} parts of few bytes each")
                for piece in unpacker.feed(data):
                    size += len(piece)
                    self._refuse_over(size)
                    yield piece
            for piece in unpacker.finish():
                size += len(piece)
                self._refuse_over(size)
                yield piece
        except WireError as error:
            raise FetchFailed(self._request, f"the response broke off: {error}") from None
        except zlib.error as error:
            raise FetchFailed(self._request, f"the response cannot be unpacked: {error}") from None

    def _refuse_over(self, size: int) -> None:
        if size > self._maximum:
            raise LimitExceeded(self._limit, size, self._maximum)
