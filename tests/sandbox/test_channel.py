"""A worker's end of its channel."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from interlock.sandbox.frames import encode
from interlock.sandbox.worker.channel import Channel


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    own, host = socket.socketpair()
    own.setblocking(False)
    with own, host:
        yield Channel(own.fileno()), host


@pytest.mark.parametrize("name", ["res", "err"])
def test_what_comes_together_with_an_answer_that_was_waited_for_is_not_slept_over(ends: tuple[Channel, socket.socket], name: str) -> None:
    channel, host = ends
    before, answer, after = ["call", 1], [name, 7, "answer"], ["call", 2]
    host.sendall(b"".join([encode(frame) for frame in (before, answer, after)]))
    assert channel.wait_for("res", 7) == answer
    [(_, events)] = channel.select(0.0)
    assert channel.read(events) == [before, after]
    assert channel.select(0.0) == []


def test_half_a_frame_behind_the_answer_is_waited_for(ends: tuple[Channel, socket.socket]) -> None:
    channel, host = ends
    half = encode(["call", 2])
    host.sendall(encode(["res", 7, "answer"]) + half[:5])
    assert channel.wait_for("res", 7) == ["res", 7, "answer"]
    assert channel.select(0.0) == []
    host.sendall(half[5:])
    [(_, events)] = channel.select(0.0)
    assert channel.read(events) == [["call", 2]]
