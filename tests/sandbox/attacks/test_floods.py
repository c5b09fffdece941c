"""What a component does without end takes a share of the time of the host, and keeps nobody else from it."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import Any

import pytest
from tests.sandbox.attacks.scene import DEADLINE, PATIENCE_S, Scene

from interlock.functions import large_writes, replay, served
from interlock.functions.action_host import ActionHost
from interlock.functions.large_writes import LargeWrites
from interlock.sandbox import line, process, share
from interlock.sandbox.confinement import available
from interlock.sandbox.digests import digest
from interlock.sandbox.share import Share
from interlock.sandbox.standing import Standing
from interlock.sandbox.zygote import Spawned
from interlock.scheduler.lane import Rounds

pytestmark = pytest.mark.skipif(bool(available().missing), reason=f"not here: {available().missing}")


@pytest.mark.parametrize("attack", ["ask_without_end", "ask_dearly_without_end"])
@pytest.mark.parametrize("is_busy", [True, False])
async def test_what_actions_ask_without_end_gives_way_to_the_app(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, is_busy: bool, attack: str
) -> None:
    """And not where nobody calls the app: the canary."""
    spent, begun = 0.0, [(time.monotonic(), 0.0)]
    have_begun = asyncio.Event()
    spend, turn = Share.spend, Share.turn

    def counted(self: Share, seconds: float) -> None:
        nonlocal spent
        spent += seconds
        spend(self, seconds)

    async def noted(self: Share) -> None:
        await turn(self)
        begun.append((time.monotonic(), spent))
        if len(begun) == 6:
            have_begun.set()

    monkeypatch.setattr(share, "_OWED_SECONDS", 0.0)
    monkeypatch.setattr(share, "_REST_SECONDS_MAX", 1_000.0)  # a step may take long here
    monkeypatch.setattr(Share, "spend", counted)
    monkeypatch.setattr(Share, "turn", noted)
    scene.backend.dispatcher.own_calls.open += is_busy  # as while a call of the app's own is open
    attacked = asyncio.ensure_future(scene.denied(attack, path="patient"))
    await asyncio.wait_for(have_begun.wait(), PATIENCE_S)
    scene.backend.dispatcher.own_calls.open -= is_busy
    [(first, spent_before), *_, (last, spent_after)] = begun[1:6]  # the first one had not to wait
    if is_busy:
        assert last - first >= 18 * (spent_after - spent_before)
    else:
        assert any(after - before < 18 * (later - sooner) for (before, sooner), (after, later) in pairwise(begun[1:]))
    attacked.cancel()
    assert await scene.vault("texts") == ["the secret"]


async def test_an_action_pays_for_the_transactions_that_it_begins_and_nobody_for_the_apps_own(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[tuple[bool, bool]] = set()
    real = served.Served.share.fget
    assert real is not None

    def noted(self: served.Served) -> Any:
        found = real(self)
        asked.add((isinstance(self._bound, ActionHost), found is not None))
        return found

    monkeypatch.setattr(served.Served, "share", property(noted))
    assert await scene.vault("texts") == ["the secret"]
    assert asked == {(False, False)}  # the canary: the same at nobody's cost
    asked.clear()
    assert await scene.thief("ask_once")
    assert asked == {(True, True), (False, True)}


@pytest.mark.parametrize("is_limited", [True, False])
async def test_operations_that_are_dropped_without_end_are_heard_a_few_at_a_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, is_limited: bool
) -> None:
    """And where nobody counts them, all of them: the canary."""
    heard, have_been = 0, asyncio.Event()
    began = 0.0
    pauses: list[float] = []
    stopped: list[int | None] = []
    drop, slow_down, stop = process.Process._drop, line.Line.slow_down, Spawned.stop

    def counted(self: process.Process, frame: list[Any]) -> None:
        nonlocal heard, began
        heard += 1
        if heard == 1:
            began = time.monotonic()
        if heard == 2_000:
            have_been.set()
        drop(self, frame)

    def noted(self: line.Line, seconds: float) -> bool:
        is_one = slow_down(self, seconds)
        if is_one:
            pauses.append(seconds)
        return is_one

    def noted_stop(self: Spawned) -> None:
        stopped.append(self.pid)
        stop(self)

    monkeypatch.setattr(process.Process, "_drop", counted)
    monkeypatch.setattr(line.Line, "slow_down", noted)
    monkeypatch.setattr(Spawned, "stop", noted_stop)
    if not is_limited:
        monkeypatch.setattr(process, "_NOTES_FREE", 1 << 40)
    attack = asyncio.ensure_future(scene.denied("drop_without_end", path="patient", deadline=3 * DEADLINE if is_limited else PATIENCE_S))
    await asyncio.wait([attack, waiting := asyncio.ensure_future(have_been.wait())], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    took = time.monotonic() - began
    pool = scene.backend.dispatcher.runners.pool("patient")
    assert pool is not None
    if is_limited:
        assert heard > 520
        assert took >= sum(pauses[:-1]) * 0.99
        assert max(pauses) >= 5 * pauses[0], "each is longer than the last"
        assert max(map(stopped.count, stopped)) > 4
        assert "DeadlineExceeded" in await attack
        await scene.unharmed()
    else:
        assert heard >= 2_000
        assert not pauses
        [pid] = pool.pids
        assert pid not in stopped
        attack.cancel()


@pytest.mark.parametrize("ids", [100_000, 10_000])
async def test_documents_that_are_not_there_are_looked_for_as_often_as_others_may_be_read(scene: Scene, ids: int) -> None:
    assert "Limit documents_read exceeded" in await scene.denied("look_for_nothing", ids=ids, times=100_000 // ids)
    await scene.unharmed()
    assert await scene.thief("look_for_nothing", ids=1_000, times=2) == 2_000  # the canary


@pytest.mark.parametrize("rests", [True, False])
async def test_large_transactions_without_end_are_few_while_the_app_is_called(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, rests: bool
) -> None:
    """And where nobody rests, one follows the other: the canary."""
    spans: list[tuple[float, float]] = []
    have_been = asyncio.Event()
    ended = LargeWrites.ended

    def noted(self: LargeWrites, mount: str, began: float, written: int) -> None:
        if written == 100:  # and not cut short by the deadline
            spans.append((began, asyncio.get_running_loop().time()))
        ended(self, mount, began, written)
        if len(spans) == 4:
            have_been.set()

    monkeypatch.setattr(LargeWrites, "ended", noted)
    if not rests:
        monkeypatch.setattr(large_writes, "_REST", 0)
    scene.backend.dispatcher.own_calls.open += 1  # as while a call of the app's own is open

    async def fill() -> None:
        while True:
            await scene.denied("fill_without_end", path="patient", count=100, deadline=2 * DEADLINE)

    attack = asyncio.ensure_future(fill())
    await have_been.wait()
    scene.backend.dispatcher.own_calls.open -= 1
    attack.cancel()
    have_rested = [later - end >= min(8 * (end - began), 1.9) for (began, end), (later, _) in pairwise(spans[:4])]
    assert all(have_rested) == rests, spans
    assert await scene.vault("texts") == ["the secret"]


async def most_begun(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> int:
    """Beside jobs that breed, while the app is called: how many of them keep the host busy at the same time, at most."""
    scheduler = scene.backend.scheduler
    await scene.thief("breed")
    while not scheduler._lanes["thief"].floods:
        assert await scene.vault("texts") == ["the secret"]
        await asyncio.sleep(0.01)
    rounds, take = scheduler._rounds, scheduler._rounds.take
    most, taken = 0, 0

    def counted(is_busy: bool, now: float) -> Any:
        nonlocal most, taken
        turn = take(is_busy, now)
        if is_busy and turn is not None:
            taken, most = taken + 1, max(most, rounds._shares["thief"].beginning)
        return turn

    with monkeypatch.context() as looked_at:
        looked_at.setattr(rounds, "take", counted)
        while taken < 5:  # they are not starved either
            assert await scene.vault("texts") == ["the secret"]
            await asyncio.sleep(0)
    return most


@pytest.mark.canary("test_without_shares_they_would_take_every_slot")
async def test_jobs_that_breed_keep_the_host_busy_one_at_a_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await most_begun(scene, monkeypatch) == 1
    await scene.unharmed()


async def test_without_shares_they_would_take_every_slot(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The canary."""
    with monkeypatch.context() as unbounded:
        unbounded.setattr(Rounds, "_may_begin", lambda *_: True)
        assert await most_begun(scene, monkeypatch) > 2


@pytest.mark.parametrize("early", [False, True])
async def test_steps_without_end_stop_nobody_else(scene: Scene, monkeypatch: pytest.MonkeyPatch, early: bool) -> None:
    monkeypatch.setattr(Standing, "look", lambda *_: None)  # else it never has its turn where this machine has other work
    nothing = digest([])
    assert await scene.thief("step_without_end", count=10, digest=nothing, early=early) == "got through"
    at_a_stretch = [0]
    find_index = replay.find_index

    def counted(*args: Any) -> Any:
        at_a_stretch[0] += 1
        return find_index(*args)

    async def most_at_a_stretch(count: int) -> tuple[int, str]:
        """How many steps are done, at most, before somebody else has a turn; and what the attack comes to."""
        attack = asyncio.ensure_future(scene.call("patient", "step_without_end", count=count, digest=nothing, early=early))
        most = at_a_stretch[0] = 0
        while not attack.done():
            await asyncio.sleep(0)
            most, at_a_stretch[0] = max(most, at_a_stretch[0]), 0
        return most, str(attack.exception() or attack.result())

    monkeypatch.setattr(replay, "find_index", counted)
    assert 0 < (await most_at_a_stretch(20_000))[0] <= 500
    monkeypatch.setattr(replay, "_STEPS_A_TURN", 1 << 40)
    assert (await most_at_a_stretch(20_000))[0] == 20_000  # the canary
    monkeypatch.setattr(replay, "STEPS_MAX", 1_000)
    assert early or "1,001 steps of one function" in (await most_at_a_stretch(1_001))[1]
    await scene.unharmed()
