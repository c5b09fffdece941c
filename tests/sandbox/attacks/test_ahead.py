"""A call that nobody has made yet knows that it runs ahead, and tries what comes of it."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from tests.sandbox.attacks.scene import PATIENCE_S, Scene
from tests.sandbox.attacks.thief.component import AHEAD

from interlock import DeadlineExceeded, Limits
from interlock.functions.foreseen import ForeseenCall
from interlock.functions.sandboxed import SandboxRunner
from interlock.sandbox import line, process
from interlock.sandbox.confinement import available

pytestmark = pytest.mark.skipif(bool(available().missing), reason=f"not here: {available().missing}")

_LOOKS_MAX = 10_000_000


def runner(scene: Scene) -> SandboxRunner:
    found = scene.backend.dispatcher.directory.scopes["thief"].runner
    assert isinstance(found, SandboxRunner)
    return found


async def foreseen(scene: Scene, *, over: bool = True) -> ForeseenCall:
    """The next call: as soon as it is over, or is on its way."""
    for _ in range(_LOOKS_MAX):
        await asyncio.sleep(0)
        found = runner(scene)._foresight._next
        if found is not None and (found.is_over or not over):
            return found
    raise AssertionError("nothing is foreseen")


async def run_ahead(scene: Scene, name: str) -> ForeseenCall:
    """What the third call is going to find."""
    assert [await scene.thief("do_ahead", name=name) for _ in range(2)] == ["made"] * 2
    return await foreseen(scene)


@pytest.mark.canary("test_a_call_that_is_run_ahead_is_taken")
@pytest.mark.parametrize("name", [name for name in AHEAD if name not in ("nothing", "takes time")])
async def test_what_it_does_then_is_nothing_to_who_makes_it(scene: Scene, name: str) -> None:
    unheard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    await run_ahead(scene, name)
    assert await scene.thief("do_ahead", name=name) == "made"
    if runner(scene)._foresight._next is not None:
        await foreseen(scene)
    await scene.unharmed()
    gc.collect()
    await asyncio.sleep(0)
    assert unheard == []


async def test_a_call_that_is_run_ahead_is_taken(scene: Scene) -> None:
    """The canary of all: the third is that which has run, and no other."""
    assert (await run_ahead(scene, "nothing")).is_ready
    [worker] = runner(scene).pool._processes
    before = worker.calls_made
    assert await scene.thief("do_ahead", name="nothing") == "made"
    await foreseen(scene)
    assert worker.calls_made == before + 1  # the one after it


@pytest.mark.parametrize("turn_s", [line._TURN_SECONDS, 0])
async def test_the_time_that_it_says_it_has_not_taken_is_paid_by_who_makes_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, turn_s: float
) -> None:
    monkeypatch.setattr(line, "_TURN_SECONDS", turn_s)  # at 0 the end is read, and the frame behind it is not yet
    monkeypatch.setattr(process, "_AHEAD_SECONDS", PATIENCE_S)  # it stands behind everybody else, and the machine may be busy
    assert (await run_ahead(scene, "takes time")).served.cpu > 0.02
    told = await scene.denied("do_ahead", name="takes time", limits=Limits(cpu=0.02))
    assert "0.02 s of CPU time" in told
    assert await scene.thief("do_ahead", name="takes time") == "made"
    await foreseen(scene)
    assert await scene.thief("do_ahead", name="takes time") == "took"  # the canary: it is taken by who may pay for it


@pytest.mark.canary("test_a_call_that_is_run_ahead_is_taken")
async def test_the_host_holds_no_long_answers_that_nobody_has_asked_for(scene: Scene) -> None:
    found = await run_ahead(scene, "answers much")
    assert not found.is_ready and not found.served.steps


async def test_it_does_not_stand_open_for_ever(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a worker that nobody calls stands still, and one that is retired ends."""
    monkeypatch.setattr(process, "_AHEAD_SECONDS", 0.01)
    assert [await scene.thief("wait_ahead") for _ in range(2)] == ["made"] * 2
    found = await foreseen(scene, over=False)
    assert not found.is_over  # the canary: it waits for what never comes
    assert (await foreseen(scene)).served.end.exception() is not None
    assert await scene.thief("wait_ahead") == "made"


async def test_who_makes_it_and_meets_his_deadline_is_told_so_and_it_does_not_run_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_AHEAD_SECONDS", PATIENCE_S)
    assert [await scene.thief("wait_ahead") for _ in range(2)] == ["made"] * 2
    worker = (await foreseen(scene, over=False)).process
    before = runner(scene).pool.spawned, worker.calls_made
    with pytest.raises(DeadlineExceeded):
        await scene.call("thief", "wait_ahead", limits=Limits(deadline=0.05))
    assert (runner(scene).pool.spawned, worker.calls_made) == before
    assert await scene.thief("wait_ahead") == "made"  # the canary: made by itself it ends
