"""What is left of Interlock's server when nothing is behind it: the same uvicorn, the same sockets, the same writes to them.

`POST /fan` answers, and then writes as many bytes as its body says to every socket. A message that comes in on a socket goes out
on it again, after one sync of a file.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import uvicorn

from interlock.server.front_wire import FrontWire
from interlock.server.socket import WIRE_EXTENSION
from interlock.server.socket_front import SocketFront

_PAGE = b"\x01" * 4096
_PAGES = 1024


class Bare:
    """The ASGI application. `file` is what an echo is synced to."""

    def __init__(self, file: Path) -> None:
        self._wires: dict[FrontWire, None] = {}
        # Written over and over like a write-ahead log: a file that grows would have to sync its own size as well.
        file.write_bytes(_PAGE * _PAGES)
        self._file = os.open(file, os.O_WRONLY)
        os.fsync(self._file)
        self._page = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
            return
        body = (await receive())["body"]
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})
        if scope["path"] == "/fan":
            asyncio.get_running_loop().call_soon(self._fan, b"x" * int(body))

    def _fan(self, message: bytes) -> None:
        for wire in self._wires:
            wire.send(message)

    async def _socket(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        wire: FrontWire = scope["extensions"][WIRE_EXTENSION]
        self._wires[wire] = None
        while (event := await receive())["type"] == "websocket.receive":
            self._page = (self._page + 1) % _PAGES
            os.pwrite(self._file, _PAGE, self._page * len(_PAGE))
            os.fdatasync(self._file)
            wire.send(event["bytes"])
        del self._wires[wire]


if __name__ == "__main__":
    uvicorn.run(
        Bare(Path(sys.argv[1]) / "synced"),
        port=int(sys.argv[2]),
        log_level="warning",
        access_log=False,
        http="httptools",
        loop="uvloop",
        lifespan="off",
        ws=SocketFront,
        ws_per_message_deflate=False,
    )
