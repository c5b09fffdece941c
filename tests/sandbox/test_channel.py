"""A worker's end of its channel."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from interlock.sandbox.frames import Frames, decode, encode
from interlock.sandbox.worker import channel as of_channel
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


def test_what_is_written_crosses_after_a_while_though_the_worker_goes_on(
    ends: tuple[Channel, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, host = ends
    host.setblocking(False)
    now = 100.0
    monkeypatch.setattr(of_channel, "_monotonic", lambda: now)
    heard: list[list[list[object]]] = []

    def hear() -> None:
        frames, found = Frames(), []
        try:
            frames.feed(host.recv(1 << 16))
        except BlockingIOError:
            pass
        while (body := frames.next()) is not None:
            found.append(decode(body))
        heard.append(found)

    def work(frame: list[object]) -> None:
        """Four calls in one crossing, three milliseconds each."""
        nonlocal now
        now += 0.003
        channel.send(["ret", frame[1]])
        hear()

    host.sendall(b"".join([encode(["call", number]) for number in range(4)]))
    channel.serve(work)
    channel.flush()
    hear()
    assert heard == [[], [["ret", 0], ["ret", 1]], [], [["ret", 2], ["ret", 3]], []]
