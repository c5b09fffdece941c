"""The outgoing half of a socket of this project's own server: frames are made here and written straight to the transport."""

from __future__ import annotations

from struct import Struct, pack
from typing import TYPE_CHECKING

from websockets.exceptions import ProtocolError
from websockets.protocol import State

if TYPE_CHECKING:
    from interlock.server.socket_front import SocketFront

_FRAGMENT = 4 * 1024 * 1024
_JOINED = 16 * 1024
_CLOSE_TIMEOUT_S = 30.0
_TEXT, _CONTINUATION, _FIN = 0x1, 0x0, 0x80
_SHORT_HEAD = Struct("!BBH").pack


class FrontWire:
    """A `Wire` over the transport itself. Frames are made here: no extension is negotiated, and a server does not mask."""

    __slots__ = ("_is_closed", "_is_closing", "_protocol", "_write", "is_full")
    can_fragment = True

    def __init__(self, protocol: SocketFront) -> None:
        self._protocol = protocol
        self._is_closed = False
        self._write, self._is_closing = protocol.transport.write, protocol.transport.is_closing
        self.is_full = not protocol.writable.is_set()  # kept by the protocol: on a fan-out every object that is looked at counts

    def send(self, *messages: bytes) -> None:
        if self._is_closed or self._is_closing():
            return
        if len(messages) > 1 and sum(map(len, messages)) <= _JOINED:
            self._write(b"".join([part for message in messages for part in (_head(_FIN | _TEXT, len(message)), message)]))
            return
        for message in messages:
            self._send(message)

    def _send(self, message: bytes) -> None:
        write = self._write
        length = len(message)
        if 126 <= length <= _JOINED:
            write(_SHORT_HEAD(_FIN | _TEXT, 126, length) + message)
        elif length <= _JOINED:
            write(_head(_FIN | _TEXT, length) + message)
        elif length <= _FRAGMENT:
            write(_head(_FIN | _TEXT, length))
            write(message)
        else:
            for start in range(0, length, _FRAGMENT):
                part = message[start : start + _FRAGMENT]
                is_last = start + _FRAGMENT >= length
                write(_head((_CONTINUATION if start else _TEXT) | (_FIN if is_last else 0), len(part)))
                write(part)

    def buffered(self) -> int:
        return 0 if self._protocol.disconnected else self._protocol.transport.get_write_buffer_size()

    async def wait_drained(self) -> None:
        await self._protocol.writable.wait()

    def close(self, code: int, reason: str) -> None:
        protocol = self._protocol
        if self._is_closed or protocol.close_sent or protocol.disconnected or self._is_closing() or protocol.conn.state is not State.OPEN:
            return None
        self._is_closed = True
        protocol.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        try:
            protocol.conn.send_close(code, reason)
        except ProtocolError:
            return self.abort()
        protocol.transport.write(b"".join(protocol.conn.data_to_send()))
        protocol.close_sent = True
        if protocol.read_paused:
            protocol.read_paused = False
            protocol.transport.resume_reading()
        # Not a plain close: that would wait for a client that does not read to take what is left.
        protocol.close_timer = protocol.loop.call_later(_CLOSE_TIMEOUT_S, protocol.transport.abort)
        return None

    def abort(self) -> None:
        self._protocol.transport.abort()


def _head(first: int, length: int) -> bytes:
    """The header of an unmasked frame."""
    if length < 126:
        return bytes((first, length))
    if length < 65_536:
        return pack("!BBH", first, 126, length)
    return pack("!BBQ", first, 127, length)
