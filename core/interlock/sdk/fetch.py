"""A fetch of `ctx.fetch`: awaited for the whole response, or entered to read its body in pieces.

Start at `Fetch`. Who does it is the host (`sdk.host.Host.fetch`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Mapping
from typing import Any, Protocol

from interlock.sdk.http import Response


class Fetched(Protocol):
    """A response whose body is still to come."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...

    async def piece(self) -> bytes:
        """The next part of the body, at most 256 KiB; empty at its end. Nothing is read from the network before it is asked for."""

    async def close(self) -> None:
        """Let go of the connection."""


class ResponseStream:
    """A response that is read in pieces: `async for piece in response`. `headers` are as in `Response`."""

    def __init__(self, fetched: Fetched) -> None:
        self._fetched = fetched
        self.status = fetched.status
        self.headers = fetched.headers

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self._fetched.piece():
            yield piece

    async def lines(self) -> AsyncIterator[str]:
        """The body as lines of UTF-8 text, without their ends, each as soon as it is there: for what a server sends bit by bit."""
        begun: list[bytes] = []
        async for piece in self:
            first, *more = piece.split(b"\n")
            begun.append(first)
            for following in more:
                yield b"".join(begun).removesuffix(b"\r").decode("utf-8", "replace")
                begun = [following]
        if rest := b"".join(begun):
            yield rest.decode("utf-8", "replace")


class Fetch(Coroutine[Any, Any, Response]):
    """`response = await ctx.fetch(…)`, or `async with ctx.fetch(…) as response:` for a body in pieces. Nothing is sent before either."""

    __slots__ = ("_coroutine", "_fetched", "_open")

    def __init__(self, open: Callable[..., Awaitable[Fetched]]) -> None:
        """`open(whole=…)` sends the request."""
        self._open = open
        self._coroutine: Coroutine[Any, Any, Response] | None = None
        self._fetched: Fetched | None = None

    async def _whole(self) -> Response:
        fetched = await self._open(whole=True)
        try:
            pieces = []
            while piece := await fetched.piece():
                pieces.append(piece)
            return Response(b"".join(pieces), fetched.status, fetched.headers)
        finally:
            await fetched.close()

    def _started(self) -> Coroutine[Any, Any, Response]:
        if self._coroutine is None:
            self._coroutine = self._whole()
        return self._coroutine

    def __await__(self) -> Generator[Any, Any, Response]:
        return self._started().__await__()

    # A coroutine as well, so that it can be made a task.

    def send(self, value: Any) -> Any:
        return self._started().send(value)

    def throw(self, *error: Any) -> Any:
        return self._started().throw(*error)

    def close(self) -> None:
        if self._coroutine is not None:
            self._coroutine.close()

    async def __aenter__(self) -> ResponseStream:
        self._fetched = await self._open(whole=False)
        return ResponseStream(self._fetched)

    async def __aexit__(self, *_: object) -> None:
        if self._fetched is not None:
            await self._fetched.close()
