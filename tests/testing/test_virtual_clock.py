from __future__ import annotations

import asyncio

import pytest

from interlock.clock import Clock
from interlock.testing.virtual_clock import VirtualClock

pytestmark = pytest.mark.one_isolation("inline", "no component runs: a clock")


def test_it_is_a_clock() -> None:
    clock: Clock = VirtualClock(1_000)
    assert clock.now_ms() == 1_000


def test_timers_fire_in_the_order_of_time_and_see_their_own_time() -> None:
    clock = VirtualClock(0)
    seen: list[tuple[str, float]] = []
    clock.call_at(20, lambda: seen.append(("second", clock.now_ms())))
    clock.call_at(10, lambda: seen.append(("first", clock.now_ms())))
    clock.call_at(10, lambda: seen.append(("also first", clock.now_ms())))
    clock.move_to(15)
    assert (seen, clock.now_ms()) == ([("first", 10), ("also first", 10)], 15)
    clock.move_to(30)
    assert seen[-1] == ("second", 20)


def test_a_timer_set_by_a_timer_fires_in_the_same_move() -> None:
    clock = VirtualClock(0)
    seen: list[float] = []

    def set_another() -> None:
        clock.call_at(20, lambda: seen.append(clock.now_ms()))

    clock.call_at(10, set_another)
    clock.move_to(30)
    assert seen == [20]


def test_a_cancelled_timer_does_not_fire_and_is_not_waited_for() -> None:
    clock = VirtualClock(0)
    timer = clock.call_at(10, lambda: None)
    timer.cancel()
    assert clock.next_timer_ms() is None
    clock.move_to(20)


def test_time_never_goes_back() -> None:
    clock = VirtualClock(100)
    clock.move_to(50)
    assert clock.now_ms() == 100


async def test_waiting_ends_when_the_time_is_reached() -> None:
    clock = VirtualClock(0)
    waiting = asyncio.ensure_future(clock.wait_until(10))
    await asyncio.sleep(0)
    clock.move_to(9)
    await asyncio.sleep(0)
    assert not waiting.done()
    clock.move_to(10)
    await waiting


async def test_waiting_for_the_past_ends_at_once() -> None:
    await VirtualClock(10).wait_until(10)


async def test_a_wait_that_is_cancelled_leaves_no_timer() -> None:
    clock = VirtualClock(0)
    waiting = asyncio.ensure_future(clock.wait_until(10))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert clock.next_timer_ms() is None
