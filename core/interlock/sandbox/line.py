"""The socket of one worker: frames out, many in one crossing, and frames in, as fast as the rest of the host can bear it.

What comes is read as long as there is room for answers, nobody has asked for a pause, and the turn's share is not used up.

Start at `Line.send` and `Line.read`.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from contextlib import suppress
from socket import socket
from time import perf_counter
from typing import Any

from interlock.sandbox.frames import FrameError, Frames, encode

_PIECE = 1 << 18
_FRAMES_TOGETHER = 16
"""So many are a crossing's worth: the worker is at work on them while the host makes more."""
_FRAMES_A_TURN, _TURN_SECONDS = 128, 0.0004
"""For how long frames of one worker are read before the loop does something else."""
_UNREAD_MAX = 4 * 1024 * 1024


class Line:
    """`before` is called when something has come, `take` with the body of each frame, `after` behind some of them, with whether that was
    all that came; `lost` when the other end is gone, `broken` with what is wrong with a frame,
    `resumed` when a pause is over.
    """

    def __init__(
        self,
        sock: socket,
        before: Callable[[], None],
        take: Callable[[bytes], None],
        after: Callable[[bool], None],
        lost: Callable[[], None],
        broken: Callable[[FrameError], None],
        resumed: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock, self._before, self._take, self._after, self._lost, self._broken = sock, before, take, after, lost, broken
        self._resumed = resumed
        self._frames = Frames()
        self._out = bytearray()
        self._gathered = 0  # frames that were not tried to be sent yet
        self._waits_to_write = self._is_reading = self._pumping = self._flushing = False
        self._pause: asyncio.TimerHandle | None = None
        self._context = contextvars.Context()
        self.is_over = False
        self._has_room: asyncio.Event | None = None

    def read(self) -> None:
        """Begin to hear it."""
        self._follow()

    def close(self) -> None:
        """Nothing is read or written any more."""
        self.is_over = True
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        if self._pause is not None:
            self._pause.cancel()

    # writing

    def send(self, frame: list[Any]) -> None:
        """Crosses with what else is sent in this turn of the loop; where that is much, some of it at a time."""
        if self.is_over:
            return
        self._out += encode(frame)
        self._gathered += 1
        if self._gathered >= _FRAMES_TOGETHER and not self._waits_to_write:
            self._gathered = 0
            with suppress(OSError):  # what is wrong is met again, and seen to, when nobody is in the middle of a call
                self._write()
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def send_at_once(self, data: bytes) -> None:
        """Encoded frames, with all that was to be sent before them: the other side is to go on while the host does something else."""
        if not self.is_over:
            self._out += data
            self._flush()

    @property
    def is_written(self) -> bool:
        """Whether all is on its way."""
        return not self._out

    def _flush(self) -> None:
        self._flushing = False
        self._gathered = 0
        if self.is_over:
            return
        try:
            self._write()
        except BlockingIOError:
            pass
        except OSError:
            self._lost()
            return
        waits = bool(self._out)
        if waits != self._waits_to_write:
            self._waits_to_write = waits
            if waits:
                self._loop.add_writer(self._sock.fileno(), self._flush)
            else:
                self._loop.remove_writer(self._sock.fileno())
        self._follow()

    def _write(self) -> None:
        """As much as the socket takes. Raises OSError."""
        out = self._out
        while out:
            del out[: self._sock.send(memoryview(out)[:_PIECE])]

    async def wait_for_room(self) -> None:
        """Answers that are not fetched are all that a worker could fill our memory with."""
        while len(self._out) >= _UNREAD_MAX:
            if self._has_room is None:
                self._has_room = asyncio.Event()
            await self._has_room.wait()

    # reading

    def _follow(self) -> None:
        """Whether to go on reading."""
        has_room = len(self._out) < _UNREAD_MAX
        if has_room and self._has_room is not None:
            self._has_room.set()
            self._has_room = None
        wanted = not self._pumping and has_room and self._pause is None
        if wanted != self._is_reading and not self.is_over:
            self._is_reading = wanted
            if wanted:
                self._loop.add_reader(self._sock.fileno(), self._readable)
            else:
                self._loop.remove_reader(self._sock.fileno())

    def _readable(self) -> None:
        try:
            data = self._sock.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        self._frames.feed(data)
        self._before()
        self._pump()

    def _pump(self) -> None:
        """What is done for the frames is done in a context of this worker's own, whoever began to read."""
        self._context.run(self._pump_here)

    def _pump_here(self) -> None:
        self._pumping = False
        try:
            until = perf_counter() + _TURN_SECONDS
            for _ in range(_FRAMES_A_TURN):
                if self.is_over:
                    break
                body = self._frames.next() if self._pause is None else None
                if body is None:
                    break
                self._take(body)
                if perf_counter() > until:
                    self._pump_later()
                    break
            else:
                self._pump_later()
        except FrameError as error:
            self._broken(error)
        except Exception as error:  # no check foresaw this frame: what it was about would wait for ever
            self._loop.call_exception_handler({"message": "a frame of a worker could not be taken", "exception": error})
            self._broken(FrameError(f"a frame that the host fails at: {type(error).__name__}"))
        self._after(not self._pumping)
        self._follow()

    def _pump_later(self) -> None:
        self._pumping = True
        self._loop.call_soon(self._pump)

    def slow_down(self, seconds: float) -> bool:
        """More is said than the host's time is for: hear nothing of it for so long. False if there is a pause already."""
        if self._pause is not None:
            return False
        self._pause = self._loop.call_later(seconds, self._go_on)
        return True

    def _go_on(self) -> None:
        self._pause = None
        if not self.is_over:
            self._resumed()
            self._pump()
