"""uvicorn's HTTP protocol with a short way through: requests for the API are answered without an ASGI conversation.

The API needs the whole body before it begins and has the whole answer when it ends. So a request is one call and one write; scope,
events, and the checks of what an unknown application may send are left out. Everything else goes uvicorn's own way, and so does
the order of pipelined requests: a `_Exchange` stands in uvicorn's queue like its own cycles do.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from interlock.server.asgi import ServerApp
from interlock.server.http_api import BODY_MAX, HttpApi, Reply

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application


class HttpFront(HttpToolsProtocol):
    """One connection."""

    _api: HttpApi | None = None
    _exchange: _Exchange | None = None
    """The request that is just coming in, if it takes the short way."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        app: object = self.app
        if isinstance(app, ServerApp) and not self.root_path:
            self._api = app.api
        # Who connects and says nothing is not waited for any longer than who was answered and says no more.
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def on_message_begin(self) -> None:
        # uvicorn makes a scope here; a request on the short way needs none.
        self._exchange = None
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        api = self._api
        if api is not None and not self.expect_100_continue and self.parser.get_method() == b"POST":
            path = self.url.partition(b"?")[0]
            if path.startswith(b"/api/") and b"%" not in path and not self.parser.should_upgrade():
                self._begin(api, path.decode("ascii", "replace"))
                return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers  # the scope holds this very list
        super().on_headers_complete()

    def _begin(self, api: HttpApi, path: str) -> None:
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        before = self.cycle
        exchange = self._exchange = _Exchange(self, api, path, keep_alive)
        self.cycle = cast(RequestResponseCycle, exchange)
        if before is not None and not before.response_complete:
            exchange.is_queued = True
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            super().on_body(body)
        elif not exchange.is_whole:
            exchange.take(body)
            if exchange.is_too_long:  # it need not be read to its end, which may never come
                self._complete(exchange)

    def on_message_complete(self) -> None:
        exchange = self._exchange
        if exchange is None:
            super().on_message_complete()
        elif not exchange.is_whole:
            self._complete(exchange)

    def _complete(self, exchange: _Exchange) -> None:
        exchange.is_whole = True
        if exchange.whole is not None:
            exchange.whole.set()
        if not exchange.is_queued:
            self._start_asgi_task(self.cycle, self.app)


class _Deaf:
    """Stands where uvicorn signals its own cycles."""

    def set(self) -> None:
        pass


_DEAF = _Deaf()


class _Exchange:
    """A request and its answer, where uvicorn expects a `RequestResponseCycle` and uses the parts of one that have no underscore."""

    __slots__ = (
        "_api",
        "_body",
        "_headers",
        "_path",
        "_protocol",
        "_query_string",
        "disconnected",
        "is_queued",
        "is_too_long",
        "is_whole",
        "keep_alive",
        "response_complete",
        "whole",
    )
    message_event = _DEAF

    def __init__(self, protocol: HttpFront, api: HttpApi, path: str, keep_alive: bool) -> None:
        self._protocol, self._api, self._path = protocol, api, path
        self._headers = protocol.headers
        self._query_string = protocol.url.partition(b"?")[2]
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

    async def run_asgi(self, app: ASGI3Application) -> None:
        """Answer. Called when the request is there, or when it is this one's turn among pipelined ones."""
        if not self.is_whole:
            self.whole = asyncio.Event()
            await self.whole.wait()
        body, self._body = None if self.is_too_long else bytes(self._body), b""
        reply = await self._api.answer("POST", self._path, dict(self._headers), self._query_string, body)
        protocol = self._protocol
        if protocol.flow.write_paused:
            await protocol.flow.drain()
        self.response_complete = True
        if not self.disconnected:
            self._write(reply)
        protocol.on_response_complete()

    def _write(self, reply: Reply) -> None:
        protocol, body = self._protocol, reply.body
        head = [STATUS_LINE[reply.status], _lines(protocol.server_state.default_headers)]
        for name, value in reply.headers or ():
            if name == b"connection":
                self.keep_alive = False
            else:
                head += (name, b": ", value, b"\r\n")
        if not self.keep_alive:
            head.append(b"connection: close\r\n")
        head.append(b"content-type: %b\r\ncontent-length: %d\r\n\r\n" % (reply.content_type, len(body)))
        head.append(body)
        protocol.transport.write(b"".join(head))
        if not self.keep_alive:
            protocol.transport.close()


_rendered: tuple[list[tuple[bytes, bytes]], bytes] = ([], b"")


def _lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    """The headers of every response as text. uvicorn makes a new list of them once a second."""
    global _rendered
    if _rendered[0] is not headers:
        _rendered = (headers, b"".join([b"%b: %b\r\n" % header for header in headers]))
    return _rendered[1]
