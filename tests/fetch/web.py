"""A web server of this test on the loopback: it says what it is told to, byte by byte where that matters, and remembers what it heard."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Heard:
    """A request as it came: header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Say = Callable[[Heard, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Web:
    """`at[path]` answers; other paths are answered with what was heard, as JSON."""

    port: int = 0
    heard: list[Heard] = field(default_factory=list)
    at: dict[str, Say] = field(default_factory=dict)
    connections: int = 0
    open: int = 0
    all_closed: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.all_closed.clear()
        try:
            while (heard := await _read(reader)) is not None:
                self.heard.append(heard)
                say = self.at.get(heard.target.partition("?")[0], echo)
                await say(heard, writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            if not self.open:
                self.all_closed.set()
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Heard | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Heard(method, target, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


async def echo(heard: Heard, writer: asyncio.StreamWriter) -> None:
    told = json.dumps({"method": heard.method, "target": heard.target, "headers": heard.headers, "body": heard.body.decode()})
    await answer(told.encode(), "content-type: application/json")(heard, writer)


def answer(body: bytes = b"", *headers: str, status: str = "200 OK") -> Say:
    async def say(heard: Heard, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}"]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (b"" if heard.method == "HEAD" else body))

    return say


def redirect(location: str, status: str = "302 Found") -> Say:
    return answer(b"", f"location: {location}", status=status)


def raw(*parts: bytes, then: asyncio.Event | None = None) -> Say:
    """These very bytes, and then the connection stays open until `then`, or closes."""

    async def say(heard: Heard, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if then is not None:
            await then.wait()
        writer.close()

    return say


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Web]:
    web = Web()
    server = await asyncio.start_server(web.serve, "127.0.0.1", 0, ssl=tls)
    web.port = server.sockets[0].getsockname()[1]
    try:
        yield web
    finally:
        server.close()
