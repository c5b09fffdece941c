"""One request to the API and its answer, on uvicorn's connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from interlock.server.http_api import BODY_MAX, JSON, Format, HttpApi, Reply
from interlock.server.service import Answer, Failure, Standing

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

    from interlock.server.http_front import HttpFront


class Exchange:
    """A request and its answer, where uvicorn expects a `RequestResponseCycle` and uses the parts of one that have no underscore."""

    __slots__ = (
        "_api",
        "_body",
        "_format",
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
        self._format: Format = "json"

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

    def begin_at_once(self) -> bool:
        """Answer, if that can be done without a task: what waits for nothing, or for nothing but the disk. Else nothing was done."""
        api = self._api
        if self.is_too_long or not api.is_plain(self.path, self.query_string, self.headers) or asyncio.current_task() is not None:
            return False
        task = api.spare.run(self._begin)
        if task is not None:
            self.task = task
            self._protocol.tasks.add(task)
        return True

    def _begin(self) -> Coroutine[Any, Any, None] | None:
        api, headers = self._api, self.headers
        body, self._body = bytes(self._body), b""
        begun = api.begin(self.path, headers, body)
        if isinstance(begun, Reply):
            return self._answer(begun)
        request, format, outcome = begun
        if isinstance(outcome, Answer | Failure):
            return self._answer(api.reply(outcome, format, headers))
        self._format = format
        if isinstance(outcome, Standing):
            self._stand(outcome)
            return None
        return self._go_on(request, outcome)

    def _stand(self, standing: Standing) -> None:
        """All that it waits for is the disk."""
        self._protocol.tasks.add(cast("asyncio.Task[None]", self))  # uvicorn waits for it when it ends
        standing.then(self._told)

    def _answer(self, reply: Reply) -> Coroutine[Any, Any, None] | None:
        """Write the reply; where the client does not read, what is left is to wait for it."""
        if self._protocol.flow.write_paused:
            return self._end(reply)
        self._finish(reply)
        return None

    def _told(self, outcome: Answer | Failure) -> None:
        """A mutation has been answered."""
        protocol = self._protocol
        protocol.tasks.discard(cast("asyncio.Task[None]", self))
        rest = self._answer(self._api.reply(outcome, self._format, self.headers))
        if rest is not None:
            self.task = asyncio.Task(rest, loop=protocol.loop, name="call")
            protocol.tasks.add(self.task)

    def cancel(self, msg: str | None = None) -> bool:
        """The server ends, and waits no longer. What stands is not answered."""
        self.disconnected = True
        return True

    async def _go_on(self, request: Any, running: Awaitable[Answer | Failure | Standing]) -> None:
        """Answer when that is known."""
        api = self._api
        try:
            try:
                outcome = await running
                if isinstance(outcome, Standing):
                    self._stand(outcome)
                    return
                reply = api.reply(outcome, self._format, self.headers)
            except Exception as error:
                reply = api.failed(error, request, self.path)
            if self._protocol.flow.write_paused:
                await self._protocol.flow.drain()
            self._finish(reply)
        finally:
            self._forget_task()

    async def _end(self, reply: Reply) -> None:
        protocol = self._protocol
        if protocol.flow.write_paused:
            await protocol.flow.drain()
        self._finish(reply)
        self._forget_task()

    def _finish(self, reply: Reply) -> None:
        protocol = self._protocol
        self.response_complete = True
        if not self.disconnected and not protocol.transport.is_closing():
            self._write(reply)
        protocol.on_response_complete()

    def _forget_task(self) -> None:
        if self.task is not None:
            self._protocol.tasks.discard(self.task)
            self.task = None

    async def run_asgi(self, app: ASGI3Application) -> None:
        """Answer. Called when the request is there, or when it is this one's turn among pipelined ones."""
        try:
            if not self.is_whole:
                self.whole = asyncio.Event()
                if not self.disconnected:
                    await self.whole.wait()
                if not self.is_whole:
                    return  # and never will be
            body, self._body = None if self.is_too_long else bytes(self._body), b""
            await self._end(await self._api.answer("POST", self.path, self.headers, self.query_string, body))
        finally:
            self._forget_task()

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
