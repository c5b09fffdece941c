"""One request to the API and its answer, on uvicorn's connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from interlock.server.http_api import BODY_MAX, JSON, HttpApi, Reply

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

    from interlock.server.http_front import HttpFront


class Exchange:
    """A request and its answer, where uvicorn expects a `RequestResponseCycle` and uses the parts of one that have no underscore."""

    __slots__ = (
        "_api",
        "_body",
        "_protocol",
        "disconnected",
        "headers",
        "is_queued",
        "is_too_long",
        "is_whole",
        "keep_alive",
        "path",
        "query_string",
        "response_complete",
        "task",
        "whole",
    )

    def __init__(
        self, protocol: HttpFront, api: HttpApi, path: str, query_string: bytes, headers: dict[bytes, bytes], keep_alive: bool
    ) -> None:
        self._protocol, self._api = protocol, api
        self.path, self.query_string, self.headers = path, query_string, headers
        self.task: asyncio.Task[None] | None = None
        self._body: bytes | bytearray = b""
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_complete = False
        self.is_whole = False
        self.is_too_long = False
        self.is_queued = False
        self.whole: asyncio.Event | None = None

    def take(self, body: bytes) -> None:
        if not self._body:
            self._body = body
            self._measure()
            return
        if isinstance(self._body, bytes):
            self._body = bytearray(self._body)
        self._body += body
        self._measure()

    def _measure(self) -> None:
        if len(self._body) > BODY_MAX:
            self.is_too_long = True
            self._body = b""

    @property
    def message_event(self) -> Exchange:
        """What uvicorn sets when the connection is lost."""
        return self

    def set(self) -> None:
        if self.whole is not None:
            self.whole.set()

    def abandon(self) -> None:
        """The rest of it will never come."""
        self._body = b""
        self.set()

    async def run_asgi(self, app: ASGI3Application) -> None:
        """Answer. Called when the request is there, or when it is this one's turn among pipelined ones."""
        protocol = self._protocol
        try:
            if not self.is_whole:
                self.whole = asyncio.Event()
                if not self.disconnected:
                    await self.whole.wait()
                if not self.is_whole:
                    return  # and never will be
            body, self._body = None if self.is_too_long else bytes(self._body), b""
            reply = await self._api.answer("POST", self.path, self.headers, self.query_string, body)
            if protocol.flow.write_paused:
                await protocol.flow.drain()
            self.response_complete = True
            if not self.disconnected and not protocol.transport.is_closing():
                self._write(reply)
            protocol.on_response_complete()
        finally:
            if self.task is not None:
                protocol.tasks.discard(self.task)
                self.task = None

    def _write(self, reply: Reply) -> None:
        protocol, body = self._protocol, reply.body
        if reply.status == 200 and reply.headers is None and self.keep_alive:
            always = protocol.server_state.default_headers
            head = _json_head(always) if reply.content_type is JSON else _head_of(_lines(always), reply.content_type)
            protocol.transport.write(b"".join((head, str(len(body)).encode(), b"\r\n\r\n", body)))
            return
        lines = [STATUS_LINE[reply.status], _lines(protocol.server_state.default_headers)]
        for name, value in reply.headers or ():
            if name == b"connection":
                self.keep_alive = False
            else:
                lines += (name, b": ", value, b"\r\n")
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"content-type: %b\r\ncontent-length: %d\r\n\r\n" % (reply.content_type, len(body)))
        lines.append(body)
        protocol.transport.write(b"".join(lines))
        if not self.keep_alive:
            protocol.transport.close()


_rendered: tuple[list[tuple[bytes, bytes]], bytes, bytes] = ([], b"", b"")


def _lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    """The headers of every response as text. uvicorn makes a new list of them once a second."""
    global _rendered
    if _rendered[0] is not headers:
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        _rendered = (headers, lines, _head_of(lines, JSON))
    return _rendered[1]


def _json_head(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Nearly every head: that of JSON which is as asked for. Its length is to follow."""
    _lines(headers)
    return _rendered[2]


def _head_of(lines: bytes, content_type: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\n%bcontent-type: %b\r\ncontent-length: " % (lines, content_type)
