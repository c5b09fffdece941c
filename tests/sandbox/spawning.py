"""Reads from workers without an event loop, for tests of the zygote."""

from __future__ import annotations

import json
import select
import struct
from typing import Any

from interlock.sandbox.zygote import Exit, Spawned

SECONDS_MAX = 100


def receive(worker: Spawned) -> Any:
    """The next frame of the worker."""
    (length,) = struct.unpack(">I", _exactly(worker, 4))
    return json.loads(_exactly(worker, length))


def ask(worker: Spawned, told: str) -> Any:
    worker.sock.sendall(told.encode())
    return receive(worker)


def wait_exit(worker: Spawned) -> Exit:
    """How it ended, once it has."""
    while worker.exit is None:
        readable(worker.status.fileno())
        worker.read_status()
    return worker.exit


def wait_pid(worker: Spawned) -> int:
    while worker.pid is None:
        readable(worker.status.fileno())
        worker.read_status()
        assert worker.exit is None or worker.pid is not None, worker.exit
    return worker.pid


def comes(descriptor: int, seconds: float) -> bool:
    """Whether something can be read within so many seconds. `select` knows no descriptor above 1,023."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def readable(descriptor: int) -> None:
    assert comes(descriptor, SECONDS_MAX), "nothing came"


def _exactly(worker: Spawned, length: int) -> bytes:
    data = b""
    while len(data) < length:
        readable(worker.sock.fileno())
        piece = worker.sock.recv(length - len(data))
        assert piece, "the worker has ended"
        data += piece
    return data
