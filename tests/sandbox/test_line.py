"""The host's end of the socket: when what it says crosses."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from interlock.sandbox import line as lines
from interlock.sandbox.frames import Frames, read
from interlock.sandbox.line import Line


class Ends:
    """A line, and the other end of its socket."""

    def __init__(self) -> None:
        self.here, self.there = socket.socketpair()
        self.here.setblocking(False)
        self.there.setblocking(False)
        self.is_lost = False
        self.line = Line(self.here, _nothing, _nothing, _nothing, self._lost, _nothing, _nothing)
        self._frames = Frames()

    def _lost(self) -> None:
        self.is_lost = True

    def come(self) -> list[int]:
        """The numbers that have crossed since this was last asked."""
        try:
            self._frames.feed(self.there.recv(1 << 20))
        except BlockingIOError:
            return []
        numbers = []
        while (body := self._frames.next()) is not None:
            numbers.append(read(body)[1])
        return numbers

    def close(self) -> None:
        self.line.close()
        self.here.close()
        self.there.close()


def _nothing(*_: object) -> None:
    pass


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    made = Ends()
    yield made
    made.close()


async def test_little_crosses_together_when_the_turn_is_over(ends: Ends) -> None:
    for n in range(lines._FRAMES_TOGETHER - 1):
        ends.line.send(["frame", n])
    assert ends.come() == []
    await asyncio.sleep(0)
    assert ends.come() == list(range(lines._FRAMES_TOGETHER - 1))


async def test_of_much_the_other_side_has_some_before_the_turn_is_over(ends: Ends) -> None:
    most = lines._FRAMES_TOGETHER
    for n in range(2 * most + 1):
        ends.line.send(["frame", n])
        assert ends.come() == (list(range(n + 1 - most, n + 1)) if (n + 1) % most == 0 else [])
    await asyncio.sleep(0)
    assert ends.come() == [2 * most]


async def test_more_than_the_socket_takes_comes_in_order_and_once(ends: Ends) -> None:
    text = "x" * 10_000
    for n in range(500):
        ends.line.send(["frame", n, text])
    come: list[int] = []
    for _ in range(5_000):
        await asyncio.sleep(0)
        come += ends.come()
        if len(come) >= 500:
            break
    assert come == list(range(500))
    assert ends.line.is_written


async def test_that_the_other_side_is_gone_is_told_when_nobody_is_sending(ends: Ends) -> None:
    ends.there.close()
    for n in range(2 * lines._FRAMES_TOGETHER):
        ends.line.send(["frame", n])
        assert not ends.is_lost
    await asyncio.sleep(0)
    assert ends.is_lost
