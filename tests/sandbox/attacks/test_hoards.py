"""What the host keeps for a component, and what it builds of what it is sent, is little, however much there is of it."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
from tests.sandbox.attacks.scene import DEADLINE, Scene
from tests.sandbox.attacks.thief.component import MIB, of_many_parts

from interlock import AppError, DocumentNotFound
from interlock.engine.waited import Waited
from interlock.functions import log_lines, served, told
from interlock.functions.caller import Caller
from interlock.sandbox import line, opened, operations
from interlock.sandbox.confinement import available
from interlock.sandbox.failures import FRAMES, authors_frames
from interlock.scheduler import scheduler

pytestmark = pytest.mark.skipif(bool(available().missing), reason=f"not here: {available().missing}")


async def most_held(scene: Scene, enough: int) -> int:
    """How many MiB of waiting operations the host holds at most while it is attacked, until they are enough."""
    attack = asyncio.ensure_future(scene.denied("hold_much", count=40, size=MIB, deadline=3 * DEADLINE))
    most = 0
    while not attack.done() and most >> 20 < enough:
        pool = scene.backend.dispatcher.runners.pool("thief")
        assert pool is not None
        most = max([most, *(worker._operations.held for worker in pool._processes)])
        await asyncio.sleep(0.001)
    assert "DeadlineExceeded" in await attack
    return most >> 20


@pytest.mark.canary("test_where_nothing_bounds_them_operations_that_wait_hold_all_that_they_are_given")
async def test_operations_that_wait_for_their_turn_hold_only_so_much(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert operations._HELD_MAX <= 64 * MIB
    monkeypatch.setattr(operations, "_HELD_MAX", 3 * MIB)
    assert 0 < await most_held(scene, enough=40) <= 3
    await scene.unharmed()


async def test_where_nothing_bounds_them_operations_that_wait_hold_all_that_they_are_given(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "_HELD_MAX", 1 << 40)
    assert await most_held(scene, enough=5) >= 5  # the canary


async def test_errors_that_it_was_told_are_kept_up_to_a_number(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened._FAILURES_MAX <= 1_024

    async def most_kept(count: int, enough: int) -> int:
        pool = scene.backend.dispatcher.runners.pool("patient")
        assert pool is not None
        most = 0
        while most < enough:  # of one that the host has not come to hear, there is another
            attack = asyncio.ensure_future(scene.call("patient", "fail_without_end", count=count))
            while not attack.done():
                most = max([most, *(len(call._failures or ()) for worker in pool._processes for call in worker._calls.values())])
                await asyncio.sleep(0)
            assert await attack == "got through"
        return most

    monkeypatch.setattr(opened, "_FAILURES_MAX", 50)
    assert await most_kept(300, enough=50) == 50
    await scene.unharmed()
    monkeypatch.setattr(opened, "_FAILURES_MAX", 1 << 40)
    assert await most_kept(301, enough=61) > 60  # the canary


class Given(list[int]):
    """What it gave to an operation."""


@pytest.mark.parametrize("size", [1_000, 20_000])
async def test_an_error_that_is_kept_holds_little_of_what_was_given(size: int) -> None:
    """And of what was little, all: the canary."""

    def fail(given: list[int]) -> None:
        try:
            raise ValueError(given)
        except ValueError:
            raise LookupError("not there") from None

    call = opened.Opened("thief/f", None, Waited(loop=asyncio.get_running_loop()))
    given = Given([1])
    held = weakref.ref(given)
    try:
        fail(given)
    except LookupError as error:
        call.keep_failure(7, error, size)
    del given
    gc.collect()
    assert (held() is None) is (size == 20_000)
    kept = call.failure(7)
    assert isinstance(kept, LookupError)
    assert [frame.partition(" ")[0] for frame in authors_frames(kept) or getattr(kept, FRAMES)] == [
        "fail",
        "test_an_error_that_is_kept_holds_little_of_what_was_given",
    ]


async def test_an_error_of_megabytes_is_not_kept() -> None:
    call = opened.Opened("thief/f", None, Waited(loop=asyncio.get_running_loop()))
    call.keep_failure(1, AppError("x" * 20_000), 10)
    call.keep_failure(2, DocumentNotFound("patch", "x" * 20_000), 10)
    call.keep_failure(3, AppError("x"), 10)
    assert [type(call.failure(number)) for number in (1, 2, 3)] == [type(None), type(None), AppError]  # the last is the canary


async def most_finished(scene: Scene, count: int) -> int:
    """How many finished jobs there are at most, until this many of the thief's have run."""
    planner = scene.backend.scheduler
    ran: list[Any] = []
    planner.watchers.append(ran.append)
    await scene.thief("breed")
    most = 0
    while len(ran) < count:
        await asyncio.sleep(0.001)
        most = max(most, planner.jobs.ended["thief"])
    planner.watchers.remove(ran.append)
    return most


async def test_jobs_that_have_ended_fill_no_disk(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "_FINISHED_MAX", 100)
    assert 100 <= await most_finished(scene, 400) < 300
    monkeypatch.setattr(scheduler, "_FINISHED_MAX", 1 << 40)
    assert await most_finished(scene, 400) >= 400  # the canary
    await scene.unharmed()


async def test_ends_of_pages_are_kept_up_to_a_size(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await scene.thief("mark_pages_without_end", count=10) == "got through"
    assert "more ends of pages than a call has" in await scene.denied("mark_pages_without_end", count=100)
    await scene.unharmed()
    monkeypatch.setattr(served, "_MARKS_MAX", 1 << 40)
    assert await scene.thief("mark_pages_without_end", count=100) == "got through"  # the canary


async def test_scans_are_open_up_to_a_number(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert served._CURSORS_MAX <= 10_000
    monkeypatch.setattr(served, "_CURSORS_MAX", 20)
    assert await scene.thief("open_without_end", count=20) == "got through"
    assert "more than 20 open scans" in await scene.denied("open_without_end", count=21)
    await scene.unharmed()
    monkeypatch.setattr(served, "_CURSORS_MAX", 1 << 40)
    assert await scene.thief("open_without_end", count=22) == "got through"  # the canary


async def test_the_name_of_a_job_is_no_place_to_keep_things(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await scene.thief("name_a_job_without_end", size=1_000)
    assert "broke the protocol" in await scene.denied("name_a_job_without_end", size=1_001)
    await scene.unharmed()
    monkeypatch.setattr(told, "LABEL_MAX", 1 << 40)
    assert await scene.thief("name_a_job_without_end", size=100_000)  # the canary


async def test_log_lines_by_hand_are_cut_off_too(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    caller = Caller(admin=True, source="test", request_id="r")
    for lines, kept in ((10, 10), (600, 257)):
        answer = await scene.backend.dispatcher.call("query", "log_without_end", {"lines": lines}, caller=caller, component_path="patient")
        assert len(answer.log_lines) == kept
        assert all(line.startswith("[ERROR] patient: ") for line in answer.log_lines[:256])
    await scene.unharmed()
    monkeypatch.setattr(log_lines, "_LINES", 1 << 40)
    answer = await scene.backend.dispatcher.call("query", "log_without_end", {"lines": 601}, caller=caller, component_path="patient")
    assert len(answer.log_lines) == 601  # the canary


@pytest.mark.parametrize("name", ["a_gigabyte", "just_too_large"])
async def test_a_result_that_is_too_large_is_an_error(scene: Scene, name: str) -> None:
    before = resident()
    assert await scene.denied(name)
    assert resident() - before < 120 << 20
    await scene.unharmed()
    assert len(await scene.thief("a_megabyte")) == MIB  # the canary: one that is not comes whole


GROWN = """
import gc, json, os, sys
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
gc.disable()
text = sys.stdin.buffer.read()
before = resident()
built = json.loads(text)
print(resident() - before)
"""
"""The canary: by how much a host grows that builds it. In an interpreter of its own, which has no room left from before."""


async def test_a_frame_of_too_many_parts_is_not_built(scene: Scene) -> None:
    before = resident()
    assert re.match("DeadlineExceeded|ComponentCrashed", await scene.denied("many_parts", deadline=DEADLINE))
    assert resident() - before < 120 << 20
    await scene.unharmed()

    host = await asyncio.create_subprocess_exec(sys.executable, "-c", GROWN, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    grown, _ = await host.communicate(of_many_parts(7))
    assert int(grown) > 240 << 20  # the canary


@pytest.mark.canary("test_a_host_that_goes_on_answering_would_be_filled_by_them")
async def test_questions_whose_answers_nobody_reads_cost_the_host_little(scene: Scene) -> None:
    before = resident()
    attack = asyncio.ensure_future(scene.denied("ask_and_never_read", path="patient", deadline=2 * DEADLINE))
    highest, slowest = before, 0.0
    while not attack.done():
        began = time.thread_time()
        assert await scene.vault("texts") == ["the secret"]
        slowest = max(slowest, time.thread_time() - began)
        highest = max(highest, resident())
        await asyncio.sleep(0.005)
    told = await attack
    assert re.match("DeadlineExceeded|ComponentCrashed|LimitExceeded", told)
    assert highest - before < 100 << 20, (highest - before) >> 20
    assert slowest < 2
    await scene.unharmed()


async def test_a_host_that_goes_on_answering_would_be_filled_by_them(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The canary: the same questions, and no end of what may lie unread."""
    pool = scene.backend.dispatcher.runners.pool("patient")
    assert pool is not None

    async def most_unread() -> int:
        attack = asyncio.ensure_future(scene.denied("ask_and_never_read", path="patient"))
        most = 0
        while not attack.done() and most < 16 * MIB:
            most = max([most, *(len(worker._line._out) for worker in pool._processes)])
            await asyncio.sleep(0.001)
        attack.cancel()
        return most

    monkeypatch.setattr(line, "_UNREAD_MAX", 1 << 40)
    monkeypatch.setattr(operations, "OPERATIONS_MAX", 1 << 40)
    assert await most_unread() >= 16 * MIB
    monkeypatch.undo()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
