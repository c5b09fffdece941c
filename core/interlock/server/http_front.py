"""uvicorn's HTTP protocol with a short way through: requests for the API are answered without an ASGI conversation.

The API needs the whole body before it begins and has the whole answer when it ends. So a request is one call and one write; scope,
events, and the checks of what an unknown application may send are left out. Everything else goes uvicorn's own way, and so does
the order of pipelined requests: a `Exchange` stands in uvicorn's queue like its own cycles do.

Whichever way it goes: a request has a head of limited length, and comes in within a time that goes with its length.

A client that holds its connection sends the same head again and again, but for the length of the body. A head that this connection
has sent before is not parsed again (measured: a tenth of the CPU time of a mutation).
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, NamedTuple, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from interlock.server.asgi import ServerApp
from interlock.server.exchange import Exchange
from interlock.server.http_api import BODY_MAX, HttpApi

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

_HEAD_MAX = 128 * 1024
_WITH_OVERHEAD_MAX = 8 * BODY_MAX
"""A chunk of one byte takes six."""
_WITHOUT_BODY_MAX = 512 * 1024
"""What lies between two pieces of a body, or behind it, is thrown away; but a name or value of a trailer is kept until it is whole."""
_BODY_HEADERS = (b"content-length", b"transfer-encoding")
_OFFERS = (b"upgrade", b"http2-settings")
_PATIENCE_S = 60.0
_BYTES_PER_S_MIN = 1024
"""A request may take `_PATIENCE_S` to come in, and more if it is long: what is slower than this is somebody who holds connections."""


_HEADS_MAX = 8
_KNOWN_HEAD_MAX = 2048


class _Head(NamedTuple):
    """A request's head that may come again: what it says, and how long the body behind it is."""

    path: str
    query_string: bytes
    headers: dict[bytes, bytes]
    length: int


class HttpFront(HttpToolsProtocol):
    """One connection."""

    _api: HttpApi | None = None
    _exchange: Exchange | None = None
    """The request that is just coming in, if it takes the short way."""
    _is_incoming = False
    _has_head = False
    _came_in = -1
    """Bytes of the request that is just coming in, but for those that came with its beginning."""
    _without_body = 0
    _began_s = 0.0
    _slow: asyncio.TimerHandle | None = None
    _declined = False
    """The head that has just come in offers another protocol than a WebSocket."""
    _rest_at = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        app: object = self.app
        if isinstance(app, ServerApp) and not self.root_path:
            self._api = app.api
        self._heads: dict[bytes, _Head] = {}
        # Who connects and says nothing is not waited for any longer than who was answered and says no more.
        self._answered_s = self.loop.time()
        self._idle: asyncio.TimerHandle | None = self.loop.call_later(self.timeout_keep_alive, self._on_idle)

    def data_received(self, data: bytes) -> None:
        begins_here = not self._is_incoming
        if begins_here and self._heads and (self.cycle is None or self.cycle.response_complete):
            end = data.find(b"\r\n\r\n") + 4
            head = self._heads.get(data[:end])
            if head is not None and len(data) - end == head.length:
                api = self._api
                assert api is not None, "heads are kept of requests to the API alone"
                exchange = Exchange(self, api, head.path, head.query_string, head.headers, True)
                exchange.take(data[end:])
                exchange.is_whole = True
                self.cycle = cast(RequestResponseCycle, exchange)
                if not exchange.begin_at_once():
                    self._start_asgi_task(self.cycle, self.app)
                return
        super().data_received(data)
        while self._declined:  # as often as requests in `data` offer it
            data = self._go_on_without_upgrade(data)
            begins_here = False
        if self._is_incoming:
            self._watch(len(data))
            return
        if self._slow is not None:
            self._unwatch()
        if begins_here and self._exchange is not None:
            self._keep_head(data, self._exchange)

    def _keep_head(self, data: bytes, exchange: Exchange) -> None:
        """Of a request that is all there was in `data`: then the head in front is its own, and its body was as long as the head says."""
        end = data.find(b"\r\n\r\n") + 4
        headers = exchange.headers
        length = len(data) - end
        is_alone = headers.get(b"content-length") == b"%d" % length and b"transfer-encoding" not in headers
        if is_alone and exchange.keep_alive and end <= _KNOWN_HEAD_MAX and len(self._heads) < _HEADS_MAX:
            self._heads[data[:end]] = _Head(exchange.path, exchange.query_string, headers, length)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        self._forget_idle()
        super().connection_lost(exc)
        self._part()

    def handle_websocket_upgrade(self) -> None:
        self._forget_idle()  # from here on it is the socket's connection
        super().handle_websocket_upgrade()
        self.parser = None  # type: ignore[assignment]
        self._part()

    def _part(self) -> None:
        """Let go of what refers back to here. The collector is set to come so seldom that connections must not wait for it."""
        if self._exchange is not None and not self._exchange.is_whole:
            self._exchange.abandon()
        self._exchange = None
        self.cycle = None  # type: ignore[assignment]
        self.pipeline.clear()

    def _forget_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _unset_keepalive_if_required(self) -> None:
        """uvicorn arms a timer after each answer and cancels it with the next request. One timer that looks again costs less."""

    def _on_idle(self) -> None:
        is_served = self._is_incoming or (self.cycle is not None and not self.cycle.response_complete)
        rest_s = self.timeout_keep_alive if is_served else self._answered_s + self.timeout_keep_alive - self.loop.time()
        if rest_s > 0:
            self._idle = self.loop.call_later(rest_s, self._on_idle)
        else:
            self.timeout_keep_alive_handler()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._answered_s = self.loop.time()
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if not isinstance(cycle, Exchange):
            return super()._start_asgi_task(cycle, app)
        # It takes itself out of the tasks when it ends: a callback would cost another turn of the loop.
        # Made here and named here: the loop would have it format a name of its own first.
        cycle.task = asyncio.Task(cycle.run_asgi(app), loop=self.loop, name="call")
        self.tasks.add(cycle.task)
        return None

    def _watch(self, more: int) -> None:
        if self.transport.is_closing():
            return self._unwatch()
        if self._came_in < 0:  # it began in what came now, behind the end of another one perhaps
            self._came_in = 0
            self._began_s = self.loop.time()
        else:
            self._came_in += more
        if not self._has_head and self._came_in > _HEAD_MAX:
            return self._refuse(431, "The head of this request is too long.")
        self._without_body += more
        if self._has_head and self._without_body > _WITHOUT_BODY_MAX:
            return self._refuse(431, "The trailer of this request is too long.")
        if self._came_in > _WITH_OVERHEAD_MAX and self._exchange is not None:
            return self._refuse(413, "This request is too long.")
        if self._slow is None:
            self._slow = self.loop.call_later(_PATIENCE_S, self._on_slow)
        return None

    def _unwatch(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _on_slow(self) -> None:
        now_s = self.loop.time()
        due_s = self._began_s + _PATIENCE_S + self._came_in / _BYTES_PER_S_MIN
        if self.flow.read_paused:
            due_s = now_s + _PATIENCE_S  # it is we who do not read
        if now_s >= due_s:
            self._refuse(408, "This request did not come in time.")
        else:
            self._slow = self.loop.call_at(due_s, self._on_slow)

    def _refuse(self, status: int, message: str) -> None:
        """End a connection whose request will never be whole."""
        self._unwatch()
        cycle, exchange = self.cycle, self._exchange
        if not self._has_head:
            is_its_turn = cycle is None or cycle.response_complete
        else:
            is_its_turn = not exchange.is_queued if exchange is not None else not cycle.response_started
        if is_its_turn and not self.pipeline:
            self.transport.write(
                b"%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
                % (STATUS_LINE[status], len(message), message.encode())
            )
        self.transport.close()

    def on_message_begin(self) -> None:
        # uvicorn makes a scope here; a request on the short way needs none.
        self._is_incoming, self._has_head, self._came_in = True, False, -1
        self._exchange = None
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._has_head:
            return  # a trailer: it must not pass for what a proxy has let through in the head
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._has_head = True
        self._without_body = 0
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT" and not self._should_upgrade():
            self._declined = True
            return
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
        query_string = self.url.partition(b"?")[2]
        exchange = self._exchange = Exchange(self, api, path, query_string, dict(self.headers), keep_alive)
        self.cycle = cast(RequestResponseCycle, exchange)
        if before is not None and not before.response_complete:
            exchange.is_queued = True
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _should_upgrade(self) -> bool:
        """Only what can become a WebSocket: uvicorn's protocol for them would never answer anything else."""
        has_body = any(name in _BODY_HEADERS and value != b"0" for name, value in self.headers)
        return self.parser.get_method() == b"GET" and not has_body and super()._should_upgrade()

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing to warn of: whoever offers another protocol goes on in this one."""
        upgrade = sys.exc_info()[1]
        self._rest_at = upgrade.args[0] if upgrade is not None else 0

    def _go_on_without_upgrade(self, data: bytes) -> bytes:
        """Take a request that offers another protocol (HTTP/2, as Java's client does) for one that does not.

        The parser takes what follows such a head for the other protocol, a body too. So another one gets the head without the offer.
        """
        self._declined = False
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            if name == b"connection":
                value = b", ".join(word for word in map(bytes.strip, value.split(b",")) if word.lower() not in _OFFERS)
            if name not in _OFFERS:
                head += (name, b": ", value, b"\r\n")
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        data = b"".join([*head, b"\r\n", data[self._rest_at :]])
        super().data_received(data)
        return data

    def on_body(self, body: bytes) -> None:
        self._without_body = 0
        exchange = self._exchange
        if exchange is None:
            super().on_body(body)
        elif not exchange.is_whole:
            exchange.take(body)
            if exchange.is_too_long:  # it need not be read to its end, which may never come
                self._complete(exchange)

    def on_message_complete(self) -> None:
        if self._declined:
            return
        self._is_incoming = False
        exchange = self._exchange
        if exchange is None:
            super().on_message_complete()
        elif not exchange.is_whole:
            self._complete(exchange)

    def _complete(self, exchange: Exchange) -> None:
        exchange.is_whole = True
        if exchange.whole is not None:
            exchange.whole.set()
        if not exchange.is_queued:
            self._start_asgi_task(self.cycle, self.app)
