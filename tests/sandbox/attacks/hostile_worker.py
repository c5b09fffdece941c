"""The worker of the attacks: it runs the hostile function that it is sent, and tells what came of it."""

from __future__ import annotations

import json
import os
import select
import struct
from collections.abc import Mapping
from typing import Any, NoReturn

from tests.sandbox.attacks import attack

assert attack.LOOT  # imported here, so that the sources which are sent can import it too


def main(fd: int, layers: Mapping[str, str]) -> NoReturn:
    _send(fd, ["hello", dict(layers)])
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    received = b""
    while True:
        poll.poll()
        data = os.read(fd, 1 << 16)
        if not data:
            os._exit(0)
        received += data
        if received.endswith(b"\n"):
            _send(fd, _run(**json.loads(received)))
            received = b""


def _run(source: str, function: str, prey: Any) -> list[str]:
    try:
        module: dict[str, Any] = {"__name__": "hostile"}
        exec(compile(source, "<hostile>", "exec", dont_inherit=True), module)
        return ["returned", str(module[function](prey))[:200]]
    except BaseException as error:
        _let_go(error)
        return ["raised", f"{type(error).__name__}: {error}"[:400]]


def _let_go(error: BaseException | None) -> None:
    """Of what its frames hold: an attack may have left no memory to tell of it, nor for the traceback of the first of two errors."""
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


def _send(fd: int, message: Any) -> None:
    frame = json.dumps(message).encode()
    os.write(fd, struct.pack(">I", len(frame)) + frame)
