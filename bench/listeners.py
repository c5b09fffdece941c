"""Sockets that listen, and a caller who makes something happen: how long until the last one is told.

Runs in a process of its own, on the core of the load: `python -m bench.listeners` reads a job as a line of JSON and writes
`Heard` as JSON. Frames are read by hand, so that a thousand sockets cost the listener less than the server.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import cast

_UPGRADE = (
    "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_TEXT = 1


@dataclass(frozen=True)
class Job:
    """`openings` are the messages that each socket begins with. Then `calls` are posted to `call_path`, one after the other.

    Each call is told to every socket (`told` is "all"), or to some, and then it is counted how often ("some"). With "held" the
    sockets are kept until standard input ends, while others make the calls.
    """

    port: int
    path: str
    openings: list[list[str]]
    answers_before: int
    told: str
    call_path: str = ""
    calls: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Heard:
    """Milliseconds from sending a call: until its answer (ack), until the last socket was told. And what was told meanwhile."""

    ack_ms: float = 0.0
    ack_p99_ms: float = 0.0
    last_ms: float = 0.0
    last_p99_ms: float = 0.0
    message_bytes: int = 0
    updates: int = 0


class Hub:
    """What the sockets share: how many messages came, and who waits for how many."""

    def __init__(self) -> None:
        self.messages = self.updates = self.size = 0
        self._wanted = 0
        self._reached: asyncio.Future[float] | None = None

    def heard(self, payload: bytes) -> None:
        self.messages += 1
        self.size = len(payload)
        self.updates += payload.count(b'"QueryUpdated"')
        if self._reached is not None and self.messages >= self._wanted and not self._reached.done():
            self._reached.set_result(perf_counter())

    def until(self, messages: int) -> asyncio.Future[float]:
        """When so many have come."""
        self._wanted = messages
        self._reached = asyncio.get_running_loop().create_future()
        if self.messages >= messages:
            self._reached.set_result(perf_counter())
        return self._reached


class Listener(asyncio.Protocol):
    """One socket."""

    def __init__(self, path: str, opening: list[str], hub: Hub) -> None:
        self._path, self._opening, self._hub = path, opening, hub
        self._received = b""
        self._is_open = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write((_UPGRADE % self._path).encode())

    def data_received(self, data: bytes) -> None:
        data = self._received + data if self._received else data
        if not self._is_open:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._received = head
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            assert self._transport is not None
            self._is_open = True
            self._transport.write(b"".join(_frame(text.encode()) for text in self._opening))
        at = 0
        while len(data) - at >= 2:
            start, length = at + 2, data[at + 1]
            if length == 126:
                start, length = at + 4, int.from_bytes(data[at + 2 : at + 4], "big")
            elif length == 127:
                start, length = at + 10, int.from_bytes(data[at + 2 : at + 10], "big")
            if len(data) < start + length:
                break
            if data[at] & 0x0F == _TEXT:
                self._hub.heard(data[start : start + length])
            at = start + length
        self._received = data[at:]


class Poster(asyncio.Protocol):
    """A connection for calls over HTTP, one at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answered: Callable[[bytes], None] = lambda data: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._answered(data)  # these answers are short: one read has them whole

    def post(self, path: str, body: str) -> asyncio.Future[float]:
        """When its answer came."""
        assert self._transport is not None
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        def answered(data: bytes) -> None:
            if not future.done():
                if not data.startswith(b"HTTP/1.1 200") or b'"status":"error"' in data:
                    future.set_exception(RuntimeError(f"unexpected answer: {data!r}"))
                else:
                    future.set_result(perf_counter())

        self._answered = answered
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write((head + body).encode())
        return future


async def run(job: Job) -> Heard:
    """Do a job."""
    loop, hub = asyncio.get_running_loop(), Hub()
    for opening in job.openings:
        await loop.create_connection(lambda opening=opening: Listener(job.path, opening, hub), "127.0.0.1", job.port)  # type: ignore[misc]
    await asyncio.wait_for(hub.until(job.answers_before), 120)
    if job.told == "held":
        print("ready", flush=True)
        ended = asyncio.Event()
        threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set)), daemon=True).start()
        await ended.wait()
        return Heard(updates=hub.updates)
    await asyncio.sleep(0.2)
    _, poster = await loop.create_connection(Poster, "127.0.0.1", job.port)
    acks, lasts = [], []
    before = hub.updates
    for call in job.calls:
        began = perf_counter()
        told = hub.until(hub.messages + len(job.openings)) if job.told == "all" else None
        acks.append(await poster.post(job.call_path, call) - began)
        if told is not None:
            lasts.append(await asyncio.wait_for(told, 30) - began)
            await asyncio.sleep(0.01)
    if job.told == "some":
        messages = -1
        while messages != hub.messages:
            messages = hub.messages
            await asyncio.sleep(0.3)
    return Heard(*_percentiles(acks), *(_percentiles(lasts) if lasts else (0.0, 0.0)), hub.size, hub.updates - before)


def _percentiles(seconds: list[float]) -> tuple[float, float]:
    seconds.sort()
    return statistics.median(seconds) * 1e3, seconds[int(len(seconds) * 0.99)] * 1e3


def _frame(payload: bytes) -> bytes:
    """A text frame of a client. Its mask is zero, so the payload stays what it is."""
    length = len(payload)
    if length < 126:
        return bytes([0x81, 0x80 | length]) + bytes(4) + payload
    if length < 65_536:
        return bytes([0x81, 0x80 | 126]) + length.to_bytes(2, "big") + bytes(4) + payload
    return bytes([0x81, 0x80 | 127]) + length.to_bytes(8, "big") + bytes(4) + payload


def main() -> None:
    job = Job(**json.loads(sys.stdin.readline()))
    gc.disable()
    try:
        import uvloop

        heard = uvloop.run(run(job))
    except ImportError:
        heard = asyncio.run(run(job))
    print(json.dumps(asdict(heard)))


if __name__ == "__main__":
    main()
