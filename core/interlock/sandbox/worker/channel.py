"""The one descriptor of a worker: frames out, frames in, and the wait for either.

It is what the worker's event loop has for a selector. Nothing else of the loop touches the system: no sockets, no self-pipe.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

from interlock.sandbox.frames import Frames, encode, read

_PIECE = 1 << 18
_HELD = 1 << 16
_HELD_SECONDS = 0.004
"""For so long what is written waits for more: the host does its part meanwhile, and takes who is silent for long to be spinning."""
_read: Any = os.read
_write: Any = os.write
_monotonic: Any = time.monotonic
_wait: Any = type(select.poll()).poll
"""To be had here alone once `waiting` has refused it to functions: a worker waits for its host while one of them runs."""


class Channel:
    """`fd` is non-blocking. Frames are written when the loop is about to wait, when there is much to write, or after a while: many in one
    crossing."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._frames = Frames(1 << 31)
        self._out: list[Any] = []  # bytes, or what is left of some: compiled code would look for bytes alone
        self._held = 0
        self._until = 0.0
        self._waits_to_write = False
        self.unread: deque[list[Any]] = deque()
        """Frames that came while somebody waited for another one."""

    def send(self, frame: list[Any], given: Any = None) -> None:
        """`given` is what the author has made of it. Raises TooLong or MemoryError, and sends nothing."""
        self._put(encode(frame, given))

    def send_if_short(self, frame: list[Any], most: int) -> int:
        """The same of a frame that takes at most so many bytes. Gives how many it takes, or 0: nothing is sent. Raises MemoryError."""
        written = encode(frame)
        if len(written) > most:
            return 0
        self._put(written)
        return len(written)

    def _put(self, written: bytes) -> None:
        if len(written) > _HELD:
            self.flush()  # by itself: to put it behind another would take as much memory again
        self._out.append(written)
        self._held += len(written)
        if self._held > _HELD or _monotonic() > self._until:
            self.flush()

    def flush(self) -> None:
        out = self._out
        if out:
            rest: Any = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            if len(rest) > _PIECE:
                rest = memoryview(rest)
            while True:
                try:
                    written: int = _write(self._fd, rest if len(rest) <= _PIECE else rest[:_PIECE])
                except BlockingIOError:
                    out.append(rest)
                    break
                except OSError:
                    leave()
                if written == len(rest):
                    break
                rest = rest[written:]
            self._held = len(rest) if out else 0
            self._until = _monotonic() + _HELD_SECONDS
        waits = bool(out)
        if waits != self._waits_to_write:
            self._waits_to_write = waits
            self._poll.modify(self._fd, select.POLLIN | (select.POLLOUT if waits else 0))

    def select(self, timeout: float | None) -> list[tuple[int, int]]:
        """As a selector of asyncio: waits until there is something to read."""
        if self._out:
            self.flush()
        if self.unread:
            return [(self._fd, 0)]
        ready: list[tuple[int, int]] = _wait(self._poll, None if timeout is None else max(0.0, timeout * 1000.0))
        return ready

    def serve(self, take: Callable[[list[Any]], None]) -> None:
        """Wait until there is something to read, and hand on what has come."""
        if self._out:
            self.flush()
        if self.unread or self._waits_to_write:
            for _, events in self.select(None):
                for frame in self.read(events):
                    take(frame)
            return
        _wait(self._poll)
        self._take()
        frames = self._frames
        while (body := frames.next()) is not None:
            take(read(body))

    def read(self, events: int) -> list[list[Any]]:
        """The frames that have come."""
        found = list(self.unread)
        self.unread.clear()
        if events & select.POLLOUT:
            self.flush()
        if events & ~select.POLLOUT:
            self._take()
            while (body := self._frames.next()) is not None:
                found.append(read(body))
        return found

    def wait_for(self, name: str, *key: Any) -> list[Any]:
        """Stand still until one frame comes, the one that begins like this; others wait for the loop."""
        wanted = [name, *key]
        length = len(wanted)
        self.flush()
        while True:
            found = None
            # All that have come, also behind the one that is waited for: the loop would sleep on what lies here, read and not seen.
            while (body := self._frames.next()) is not None:
                frame = read(body)
                if frame[:length] == wanted or (frame[1:length] == wanted[1:] and frame[0] == "err"):
                    found = frame
                else:
                    self.unread.append(frame)
            if found is not None:
                return found
            _wait(self._poll)
            if self._waits_to_write:
                self.flush()
            self._take()

    def _take(self) -> None:
        try:
            data: bytes = _read(self._fd, _PIECE)
        except BlockingIOError:
            return
        except OSError:
            leave()
        if not data:
            leave()
        self._until = _monotonic() + _HELD_SECONDS
        self._frames.feed(data)


def leave() -> NoReturn:
    """The host is gone."""
    os._exit(0)
