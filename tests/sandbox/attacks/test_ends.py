"""A worker that ends, stops, hoards or takes for ever is its own trouble: the call has an error, and all others go on."""

from __future__ import annotations

import asyncio
import errno
import faulthandler
import os
import re
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.sandbox.attacks.scene import DEADLINE, Scene
from tests.sandbox.attacks.thief import component as thief
from tests.sandbox.attacks.thief.component import ENDS
from tests.sandbox.forked import SECONDS_MAX, forked

from interlock.limits import LIMITS, Limits
from interlock.sandbox.confinement import available
from interlock.sandbox.confinement.seccomp import CHANNEL
from interlock.sandbox.plan import Plan

pytestmark = pytest.mark.skipif(bool(available().missing), reason=f"not here: {available().missing}")


@pytest.mark.canary("test_in_the_process_of_its_host_it_would_end_that_one")
@pytest.mark.parametrize(
    "how",
    [
        "exit",
        "abort",
        "close the channel",
        "read nowhere",
        "overflow the stack",
        "call a system call of another ABI",
    ],
)
async def test_a_worker_that_ends_itself_ends_its_call_alone(scene: Scene, how: str) -> None:
    assert re.match("ComponentCrashed|RecursionError|DeadlineExceeded", await scene.denied("end", how=how, deadline=DEADLINE))
    await scene.unharmed()


@pytest.mark.parametrize(
    ("how", "ends"),
    [
        ("exit", 0),
        ("abort", signal.SIGABRT),
        ("read nowhere", signal.SIGSEGV),
        pytest.param(
            *("overflow the stack", signal.SIGSEGV),
            marks=pytest.mark.skipif(sys.version_info >= (3, 12), reason="the interpreter counts the depth of C code itself by now"),
        ),
    ],
)
def test_in_the_process_of_its_host_it_would_end_that_one(how: str, ends: int) -> None:
    """The canary."""

    def host() -> str:
        faulthandler.disable()
        ENDS[how]()
        return "lives"

    outcome = forked(host)
    assert outcome.value != "lives"
    assert outcome.signal == ends


def test_in_the_process_of_its_host_it_would_stop_that_one() -> None:
    """The canary of "stop itself"."""
    host = os.fork()
    if host == 0:
        ENDS["stop itself"]()
        os._exit(0)
    _, status = os.waitpid(host, os.WUNTRACED)
    os.kill(host, signal.SIGKILL)
    assert os.WIFSTOPPED(status)
    os.waitpid(host, 0)


def test_in_the_process_of_its_host_it_would_take_a_connection_of_that_one() -> None:
    """The canary of "close the channel"."""

    def host(do: Callable[[], object]) -> int:
        ends = socket.socketpair()
        os.dup2(ends[0].fileno(), CHANNEL)
        do()
        return os.write(CHANNEL, b"hello")

    assert forked(lambda: host(lambda: None)).value == 5
    assert forked(lambda: host(ENDS["close the channel"])).errno == errno.EBADF


def test_unconfined_it_would_hoard_more_than_a_worker_has_and_speak_another_abi() -> None:
    """The canaries of these two."""
    limit = 1 << 30

    def hoarded() -> int:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))  # what the machine can spare
        try:
            ENDS["hoard"]()
        except MemoryError:
            pass
        [peak] = re.findall(r"VmPeak:\s+(\d+)", Path("/proc/self/status").read_text())
        return int(peak) << 10

    assert forked(hoarded).value > Plan().memory + (256 << 20)  # type: ignore[operator]
    assert forked(lambda: ENDS["call a system call of another ABI"]()).worked


@pytest.mark.canary("test_unconfined_it_would_hoard_more_than_a_worker_has_and_speak_another_abi")
async def test_memory_without_end_is_the_components_own_trouble(scene: Scene) -> None:
    assert re.match("MemoryError|ComponentCrashed|DeadlineExceeded", await scene.denied("end", how="hoard", deadline=DEADLINE))
    await scene.unharmed()


@pytest.mark.canary("test_a_host_that_calls_it_itself_would_never_have_an_answer")
@pytest.mark.parametrize("how", ["spin", "a regex", "wait", "refuse to stop", "a large number"])
async def test_time_without_end_ends_at_the_deadline_and_others_are_served_meanwhile(scene: Scene, how: str) -> None:
    began = time.monotonic()
    attack = asyncio.ensure_future(scene.denied("take_long", how=how, deadline=DEADLINE))
    while not attack.done():
        assert await scene.vault("texts") == ["the secret"]
        await asyncio.sleep(0.01)
    assert re.match("DeadlineExceeded|ComponentCrashed", await attack)
    assert time.monotonic() - began < LIMITS["transaction_wall"].value, "that is what it would have without a deadline"
    await scene.unharmed()


@pytest.mark.parametrize("politely", [False, True])
@pytest.mark.parametrize("how", ["spin", "a regex", "wait", "refuse to stop", "a large number"])
def test_a_host_that_calls_it_itself_would_never_have_an_answer(how: str, politely: bool) -> None:
    """The canary: run as any coroutine is, and told `politely` to stop. What waits in peace obeys; that nobody told it is its attack."""

    class Ctx:
        """Takes everything."""

        def __getattr__(self, name: str) -> Any:
            return self

        async def insert(self, table: str, fields: Any) -> None:
            return None

    async def called() -> None:
        made = thief.take_long.handler(Ctx(), how)
        await (asyncio.wait_for(made, 0.05) if politely else made)

    def host() -> str:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        obeys = how == "wait" and politely
        signal.setitimer(signal.ITIMER_REAL, SECONDS_MAX if obeys else 0.15)
        try:
            asyncio.run(called())
        except TimeoutError:
            return "stopped"
        return "answered"

    outcome = forked(host)
    if how == "wait" and politely:
        assert outcome.value == "stopped"
    else:
        assert outcome.signal == signal.SIGALRM, outcome


@pytest.mark.canary("test_in_the_process_of_its_host_it_would_stop_that_one")
async def test_a_worker_that_stops_itself_meets_its_deadline(scene: Scene) -> None:
    assert re.match("DeadlineExceeded|ComponentCrashed", await scene.denied("end", how="stop itself", deadline=DEADLINE))
    await scene.unharmed()


@pytest.mark.parametrize("is_alone", [True, False])
async def test_one_that_spins_and_talks_is_ended_by_its_cpu_time_whoever_else_is_open(scene: Scene, is_alone: bool) -> None:
    """It goes on for as long as it may: the canary is the deadline of one that may use more."""
    waiting = None if is_alone else asyncio.ensure_future(scene.call("thief", "wait", limits=Limits(cpu=0.2), seconds=1.0))
    told = await scene.denied("spin_and_talk", limits=Limits(cpu=0.2))
    assert "took more than its 0.2 s of CPU time" in told
    if waiting is not None:
        assert await waiting == "waited"
    await scene.unharmed()
    if is_alone:
        assert "wall time" in await scene.denied("spin_and_talk", limits=Limits(deadline=DEADLINE))
