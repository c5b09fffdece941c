"""A loop looks after what its threads do: seldom where nothing ends, and not at all where nothing is left."""

from __future__ import annotations

import asyncio
import time

import pytest

from interlock import giving_way
from interlock.functions.action_threads import ActionThreads
from interlock.giving_way import GivingWay


class Loop(asyncio.SelectorEventLoop):
    """Knows for when timers were set, in seconds from then."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[float] = []

    def call_later(self, delay, callback, *args, context=None):  # type: ignore[no-untyped-def]
        if getattr(callback, "__name__", "") == "_look_after":
            self.timers.append(delay)
        return super().call_later(delay, callback, *args, context=context)


def run(work, seconds: float) -> list[float]:  # type: ignore[no-untyped-def]
    """What was looked after in so many seconds, in which the loop rests."""

    async def main() -> list[float]:
        work(asyncio.get_running_loop())
        await asyncio.sleep(seconds)
        assert isinstance(loop, Loop)
        return list(loop.timers)

    loop = Loop()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


def test_where_nothing_ends_it_looks_more_and_more_seldom() -> None:
    found = run(GivingWay(0.004).begins, 0.05)
    assert found[:5] == [0.001, 0.002, 0.004, 0.004, 0.004]
    assert len(found) < 20


def test_where_nothing_is_left_it_does_not_look() -> None:
    way = GivingWay(0.004)

    def work(loop: asyncio.AbstractEventLoop) -> None:
        way.begins(loop)
        way.ends()

    assert run(work, 0.02) == [0.001]


def test_another_loop_looks_as_well() -> None:
    way = GivingWay(0.004)
    assert len(run(way.begins, 0.0)) == 1
    assert len(run(way.begins, 0.01)) > 1


def test_only_a_loop_that_hardly_rests_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    stood: list[float] = []
    monkeypatch.setattr(giving_way.time, "sleep", stood.append)
    run(GivingWay(0.004).begins, 0.02)
    assert not stood

    def spin(loop: asyncio.AbstractEventLoop) -> None:
        GivingWay(0.004).begins(loop)
        until = time.perf_counter() + 0.02
        while time.perf_counter() < until:
            pass

    run(spin, 0.0)
    run(spin, 0.005)
    assert stood


async def test_work_that_could_not_be_given_is_not_looked_after() -> None:
    threads = ActionThreads()
    threads.shutdown()
    with pytest.raises(RuntimeError):
        threads.submit(time.sleep, 0)
    assert threads._giving_way.open == 0
