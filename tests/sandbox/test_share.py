"""A mount's share of the loop's time: what is spent is waited for nineteen times as long, in order, and only while the app is called."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from types import coroutine

import pytest

from interlock.sandbox.share import Share, timed


class Busy:
    """Whether the app is called."""

    def __init__(self) -> None:
        self.is_busy = True

    def __call__(self, now: float) -> bool:
        return self.is_busy


@pytest.fixture
def busy() -> Busy:
    return Busy()


@coroutine
def step() -> Generator[None, None, None]:
    yield


async def test_what_is_spent_is_rested_for_nineteen_times_as_long_and_adds_up(busy: Busy) -> None:
    share = Share(busy)
    assert share.left == 0.0
    share.spend(1.1 / 19)
    assert 0.9 < share.left <= 1.0
    share.spend(0.5 / 19)
    assert 1.4 < share.left <= 1.5
    share.spend(10.0)
    assert 1.9 < share.left <= 2.0


async def test_while_nobody_calls_the_app_nothing_is_counted_and_nobody_rests(busy: Busy) -> None:
    share = Share(busy)
    share.spend(1.0 / 19)
    busy.is_busy = False
    assert share.left == 0.0
    share.spend(1.0 / 19)
    await share.turn()
    busy.is_busy = True
    assert 0.8 < share.left <= 0.9


async def test_a_little_is_done_at_once_and_what_is_owed_is_rested_for_before_it_is_again(busy: Busy) -> None:
    share = Share(busy)
    for _ in range(4):
        share.spend(0.001)
        assert share.left == 0.0
        await share.turn()
    share.spend(0.002)
    assert 0.0 < share.left <= 0.014


async def test_operations_have_their_turns_in_order_and_one_that_is_cancelled_holds_up_nobody(busy: Busy) -> None:
    share = Share(busy)
    share.spend(1.0)
    had: list[int] = []

    async def one(number: int) -> None:
        await share.turn()
        had.append(number)

    tasks = [asyncio.ensure_future(one(number)) for number in range(4)]
    await asyncio.sleep(0)
    assert had == []
    tasks[0].cancel()
    tasks[2].cancel()
    busy.is_busy = False
    await asyncio.wait(tasks)
    assert had == [1, 3]
    await share.turn()


async def test_every_step_is_told_and_what_comes_out_passes_through() -> None:
    told: list[float] = []
    ended: list[str] = []

    async def work(fails: bool) -> None:
        await step()
        await step()
        if fails:
            raise ValueError("as it is")
        ended.append("well")

    await timed(work(False), told.append)
    assert ended == ["well"]
    assert len(told) == 3
    assert min(told) >= 0.0
    with pytest.raises(ValueError, match="as it is"):
        await timed(work(True), told.append)
    assert len(told) == 6


async def test_who_is_cancelled_hears_of_it_and_may_go_on() -> None:
    heard: list[str] = []

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            heard.append("cancelled")
            await step()
            heard.append("cleaned up")
            raise

    task = asyncio.ensure_future(timed(work(), lambda seconds: None))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert heard == ["cancelled", "cleaned up"]
