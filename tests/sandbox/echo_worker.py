"""A worker for tests of the zygote: it says what holds it, then does what it is told by name."""

from __future__ import annotations

import json
import os
import select
import struct
from collections.abc import Mapping
from typing import Any, NoReturn


def send(fd: int, message: Any) -> None:
    frame = json.dumps(message).encode()
    os.write(fd, struct.pack(">I", len(frame)) + frame)


warmed: list[int] = []


def warm() -> None:
    warmed.append(os.getpid())


def main(fd: int, layers: Mapping[str, str]) -> NoReturn:
    send(fd, ["hello", dict(layers)])
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    hoard = []
    while True:
        poll.poll()
        told = os.read(fd, 1 << 16).decode()
        if not told:
            os._exit(0)
        if told == "spin":
            send(fd, "spinning")
            while True:
                pass
        if told == "hoard":
            hoard.append(bytearray(16 << 20))
        if told == "exit":
            os._exit(7)
        send(fd, _evaluated(told) if told.startswith("(") else told)


def _evaluated(expression: str) -> Any:
    try:
        return eval(expression)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
