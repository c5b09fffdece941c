"""uvicorn's WebSocket protocol with a short way out: a session writes its frames straight to the transport.

An ASGI `send` costs a coroutine, an event dict and a text that is decoded to be encoded again; on a fan-out to a thousand sockets
that is most of the work. Nor can it tell how much is waiting, cut off a client that does not read, or fragment a message.
"""

from __future__ import annotations

from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request

from interlock.server.front_wire import FrontWire
from interlock.server.socket import WIRE_EXTENSION

_FRAGMENTS_MAX = 64 * 1024
"""Frames of one message. Their bytes are limited; that says nothing of how many hold none."""


class SocketFront(WebSocketsSansIOProtocol):
    """Offers a `FrontWire` to the application."""

    _pongs = b""
    """The answer to the last pings of a client that takes nothing now."""
    _is_resting = False
    _wire: FrontWire | None = None

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            self._wire = cast(dict[str, Any], self.scope["extensions"])[WIRE_EXTENSION] = FrontWire(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._tell_wire()

    def _tell_wire(self) -> None:
        if self._wire is not None:
            self._wire.is_full = not self.writable.is_set()

    def handle_cont(self, event: Frame) -> None:
        if self.close_sent:
            return
        if len(self.frames) >= _FRAGMENTS_MAX:
            self.frames = []
            self.conn.send_close(1009, "too many fragments")
            self.handle_parser_exception()
            return
        super().handle_cont(event)
        _empty(event)

    def handle_ping(self) -> None:
        """The last one is the one to answer (RFC 6455, 5.5.3): pongs must not pile up for who sends pings and reads nothing."""
        if not self._is_resting and not self.transport.is_closing():
            # Else a client that sends nothing but pings would be read for as long as it likes, and nobody else.
            self._is_resting = True
            self.transport.pause_reading()
            self.loop.call_soon(self._rested)
        pongs = b"".join(self.conn.data_to_send())  # those of all pings that came with this one
        if self.writable.is_set():
            self.transport.write(pongs)
        elif pongs:
            self._pongs = pongs

    def resume_writing(self) -> None:
        super().resume_writing()
        self._tell_wire()
        pongs, self._pongs = self._pongs, b""
        if pongs and not self.close_sent:
            self.transport.write(pongs)

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # refused, and told so: nothing that uvicorn would have to complain of

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._tell_wire()
        self._wire = None
        # What refers back to here, or may be long, is let go of: the collector is set to come so seldom that connections must not
        # wait for it.
        self.frames.clear()
        self.conn.parser.close()
        self.conn.parser_exc = None
        self.conn.reader.buffer.clear()
        if self.handshake_initiated and self.response.status_code == 101:
            cast(dict[str, Any], self.scope["extensions"]).pop(WIRE_EXTENSION, None)

    def handle_text(self, event: Frame) -> None:
        super().handle_text(event)
        _empty(event)

    def handle_bytes(self, event: Frame) -> None:
        super().handle_bytes(event)
        _empty(event)

    def send_receive_event_to_app(self) -> None:
        # JSON is read from bytes; whether they are UTF-8 is seen there, and told like anything else that is no JSON.
        self.curr_msg_data_type = "bytes"
        super().send_receive_event_to_app()

    def _rested(self) -> None:
        self._is_resting = False
        if not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()


def _empty(frame: Frame) -> None:
    """The parser holds on to its last frame until the next one: up to 64 MiB for each client that says nothing more."""
    frame.data = b""
