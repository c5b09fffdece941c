"""How workers end, and what becomes of the calls that were open on them."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from interlock import App, ComponentCrashed, DeadlineExceeded, Limits, MutationCtx, components
from interlock.backend import Backend
from interlock.functions.caller import Caller
from interlock.sandbox import manifests
from interlock.sandbox import pool as pools
from interlock.sandbox import process as processes
from interlock.sandbox.zygote import Zygote
from interlock.sdk.declarations import Isolation
from interlock.testing import TestBackend

ledger = components.ledger
PATIENCE_S = 60.0


@pytest.fixture
async def real(ledger_installed: None, isolation: Isolation) -> AsyncIterator[Backend]:
    """On the clock of the machine: deadlines are about time that passes."""
    made = App()
    made.use("ledger", isolation=isolation)
    async with Backend(made, data=":memory:", env={}) as backend:
        await call(backend, "facts")
        yield backend


async def call(backend: Backend, name: str, deadline: float | None = None) -> Any:
    """A call of the ledger; with the deadline of a transaction unless it is to meet another one."""
    caller = Caller(admin=True, source="test", request_id="r")
    limits = None if deadline is None else Limits(deadline=deadline)
    return (await backend.dispatcher.call(None, name, {}, caller=caller, component_path="ledger", limits=limits)).value


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a worker does as it is told, however late its turn comes on a machine that has other work."""
    for name in ("_GRACE_SECONDS", "_PATIENCE_SECONDS"):
        monkeypatch.setattr(processes, name, PATIENCE_S)
    monkeypatch.setattr(processes, "_MEND_LOOKS", round(PATIENCE_S / processes._MEND_SECONDS))
    monkeypatch.setattr(processes, "_SPINS_SECONDS", 0.2)  # to begin to wait may cost a slow one more than the 5 ms


async def test_a_crash_ends_the_call_undoes_it_and_the_next_has_a_new_worker(app: TestBackend) -> None:
    at = app.component("ledger")
    first = await at.mutation("pid")
    with pytest.raises(ComponentCrashed, match="ledger/write_and_die crashed: it ended with exit code 1"):
        await at.mutation("write_and_die", n=1)
    assert await at.query("all_entries") == []
    assert await at.mutation("pid") != first


async def test_an_app_may_catch_a_crash_and_go_on(app: TestBackend) -> None:
    async def go_on(ctx: MutationCtx) -> Any:
        await ctx.run_mutation(ledger.write, n=1, text="before")
        with pytest.raises(ComponentCrashed):
            await ctx.run_mutation(ledger.write_and_die, n=2)
        await ctx.run_mutation(ledger.write, n=3, text="after")
        return await ctx.run_query(ledger.all_entries)

    assert await app.mutation(go_on) == [[1, "before"], [3, "after"]]


async def test_other_calls_that_were_open_on_a_worker_run_again_and_leave_nothing_twice(app: TestBackend) -> None:
    """One call of the component waits in the app while another kills the worker that both run in."""
    backend = await app.opened()
    reached, go = asyncio.Event(), asyncio.Event()
    waited = 0

    async def wait_in_app(ctx: MutationCtx) -> None:
        nonlocal waited
        waited += 1
        reached.set()
        await go.wait()

    from interlock.mounting import Instance
    from interlock.sdk.functions import Function

    scope = backend.dispatcher.directory.root
    function: Any = Function(wait_in_app, "mutation", name="wait_in_app")
    function.public_name = "wait_in_app"
    from interlock.functions.scope import Callee

    scope.functions["wait_in_app"] = Callee(scope, function.declaration(), function)
    assert isinstance(scope.instance, Instance)
    handle = await app.run(lambda ctx: ctx.function_handle("wait_in_app"))

    waiting = asyncio.ensure_future(app.component("ledger").mutation("write_through", n=1, handle=handle))
    await reached.wait()
    reached.clear()
    crashing = asyncio.ensure_future(app.component("ledger").query("die", code=3))
    await reached.wait()  # the first one has begun anew
    go.set()
    assert await waiting == "done"
    with pytest.raises(ComponentCrashed):
        await crashing
    assert waited >= 2
    assert await app.component("ledger").query("all_entries") == [[1, "through"]]


async def test_a_function_that_spins_is_answered_at_its_deadline_and_the_next_call_is_served(real: Backend, patience: None) -> None:
    began = time.perf_counter()
    with pytest.raises(DeadlineExceeded, match=r"0\.4 s of wall time"):
        await call(real, "spin", deadline=0.4)
    assert 0.39 < time.perf_counter() - began < PATIENCE_S, "it waits until the worker is ended"
    assert await call(real, "pid")


async def test_a_function_that_spins_is_ended_by_its_cpu_time_and_those_beside_it_are_not(
    ledger_installed: None, isolation: Isolation
) -> None:
    """On the virtual clock no deadline ever passes: what ends it is the CPU time of the process, read from outside."""
    made = App()
    made.use("ledger", limits=Limits(cpu=0.1))
    async with TestBackend(made, isolation=isolation) as backend:
        at = backend.component("ledger")
        spinning = asyncio.ensure_future(at.query("spin"))
        beside = [asyncio.ensure_future(at.mutation("write", n=n, text="beside")) for n in range(3)]
        with pytest.raises(DeadlineExceeded, match=r"0\.1 s of CPU time"):
            await spinning
        await asyncio.gather(*beside)
        assert len(await at.query("all_entries")) == 3


async def test_a_function_that_waits_past_its_deadline_is_told_to_stop_and_the_worker_stays(real: Backend, patience: None) -> None:
    before = await call(real, "pid")
    with pytest.raises(DeadlineExceeded):
        await call(real, "wait", deadline=0.4)
    assert await call(real, "pid") == before


async def test_a_worker_that_has_had_no_turn_since_it_was_told_to_stop_stays(real: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that has no time for it: it does not spin, and is not ended as one that does."""
    monkeypatch.setattr(processes, "_PATIENCE_SECONDS", PATIENCE_S)
    monkeypatch.setattr(processes, "_MEND_LOOKS", round(PATIENCE_S / processes._MEND_SECONDS))
    before = await call(real, "pid")
    waiting = asyncio.ensure_future(call(real, "wait", deadline=0.2))
    await asyncio.sleep(0.1)
    os.kill(before, signal.SIGSTOP)
    with pytest.raises(DeadlineExceeded):
        await waiting
    await asyncio.sleep(3 * processes._GRACE_SECONDS)
    os.kill(before, signal.SIGCONT)
    assert await call(real, "pid") == before


async def test_what_a_worker_takes_until_it_stands_is_no_part_of_its_import(real: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = real.dispatcher.runners.pool("ledger")
    assert pool is not None
    zygote = Zygote.launch()
    os.kill(zygote.pid, signal.SIGSTOP)  # as on a machine that has no time for it
    monkeypatch.setattr(pools, "shared", lambda: zygote)
    monkeypatch.setattr(processes, "_LOAD_SECONDS", 0.05)
    before = await call(real, "pid")
    pool.let_go(pool._processes[0])
    calling = asyncio.ensure_future(call(real, "pid"))
    await asyncio.sleep(0.2)
    monkeypatch.setattr(processes, "_LOAD_SECONDS", PATIENCE_S)
    os.kill(zygote.pid, signal.SIGCONT)
    assert await calling != before
    zygote.close()


async def test_what_a_worker_takes_until_it_stands_is_no_part_of_the_import_that_it_tells_of(
    ledger_installed: None, isolation: Isolation, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = App()
    made.use("ledger", isolation=isolation)
    zygote = Zygote.launch()
    os.kill(zygote.pid, signal.SIGSTOP)
    monkeypatch.setattr(manifests, "shared", lambda: zygote)
    monkeypatch.setattr(manifests, "_known", {})
    monkeypatch.setattr(manifests, "_SECONDS", 0.05)

    def go_on() -> None:
        manifests._SECONDS = PATIENCE_S
        os.kill(zygote.pid, signal.SIGCONT)

    later = threading.Timer(0.2, go_on)
    later.start()
    try:
        async with TestBackend(made, isolation=isolation) as backend:
            assert await backend.component("ledger").mutation("pid")
    finally:
        later.join()
        zygote.close()


async def test_what_an_action_logs_when_it_is_told_to_stop_is_in_the_servers_log(real: Backend, patience: None) -> None:
    for deadline in (0.4, None):
        with capture_logs() as published:
            waiting = asyncio.ensure_future(call(real, "wait", deadline))
            if deadline is None:
                await asyncio.sleep(0.05)
                waiting.cancel()
            with pytest.raises((DeadlineExceeded, asyncio.CancelledError)):
                await waiting
            async with asyncio.timeout(PATIENCE_S):
                while not published:  # noqa: ASYNC110 - its caller has been answered before
                    await asyncio.sleep(0.01)
        assert [(line["event"], line["component"], line["function"]) for line in published] == [("cancelled", "ledger", "wait")]


async def test_one_that_does_not_stop_when_told_costs_its_worker(real: Backend) -> None:
    before = await call(real, "pid")
    with pytest.raises(DeadlineExceeded, match="split the work into functions that are scheduled"):  # it is an action already
        await call(real, "do_not_stop", deadline=0.4)
    async with asyncio.timeout(PATIENCE_S):
        while await call(real, "pid") == before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_call_whose_caller_goes_away_is_cancelled(real: Backend, patience: None) -> None:
    before = await call(real, "pid")
    waiting = asyncio.ensure_future(call(real, "wait"))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await call(real, "pid") == before


async def test_a_call_that_is_canceled_before_the_worker_has_gone_on_with_it_ends_and_says_so(real: Backend, patience: None) -> None:
    """Both frames lie there together: for some of these moments the worker reads them in one go."""
    before = await call(real, "pid")
    pool = real.dispatcher.runners.pool("ledger")
    assert pool is not None
    for turns in range(1, 12):
        waiting = asyncio.ensure_future(call(real, "wait"))
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with asyncio.timeout(PATIENCE_S / 2):  # long before a call that says nothing costs the worker
        while any(process.is_stuck for process in pool._processes):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await call(real, "pid") == before


async def test_a_flood_of_log_lines_is_cut_off(app: TestBackend) -> None:
    backend = await app.opened()
    caller = Caller(admin=True, source="test", request_id="r")
    answer = await backend.dispatcher.call("query", "flood", {"lines": 50_000}, caller=caller, component_path="ledger")
    assert len(answer.log_lines) == 257
    assert "the rest is dropped" in answer.log_lines[-1]


async def test_every_instance_has_a_worker_of_its_own(ledger_installed: None, isolation: Isolation) -> None:
    made = App()
    made.use("ledger")
    made.use("ledger", name="other")
    async with TestBackend(made, isolation=isolation) as backend:
        pids = [await backend.component(name).mutation("pid") for name in ("ledger", "other")]
        assert pids[0] != pids[1]
        assert await backend.component("ledger").mutation("remember", value=1) == [1]
        assert await backend.component("other").mutation("remember", value=2) == [2]


async def test_nothing_of_a_component_runs_while_nobody_has_called_it(app: TestBackend) -> None:
    """A task that a function leaves behind burns no processor between the calls."""
    at = app.component("ledger")
    await at.mutation("leave_a_task_behind")
    pool = (await app.opened()).dispatcher.runners.pool("ledger")
    assert pool is not None
    [pid] = pool.pids
    async with asyncio.timeout(PATIENCE_S):  # it is frozen some milliseconds after its last call, on a machine that is not busy
        while not is_stopped(pid):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    used = pool.cpu_seconds()
    await asyncio.sleep(0.1)
    assert len(used) == 1 and pool.cpu_seconds() == used
    assert await at.query("all_entries") == []


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def test_a_worker_that_has_served_enough_or_grown_too_much_makes_room_for_another(
    app: TestBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = app.component("ledger")
    first = await at.mutation("pid")
    monkeypatch.setattr(pools, "_LOOK_EVERY", 2)
    monkeypatch.setattr(pools, "_CALLS_MAX", 3)
    found = [await at.mutation("pid") for _ in range(8)]
    assert len({first, *found}) > 2
    assert await at.mutation("remember", value=1) == [1]


async def test_a_backend_that_closes_ends_its_workers(app: TestBackend) -> None:
    pid = await app.component("ledger").mutation("pid")
    os.kill(pid, 0)
    await app.close()
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(ProcessLookupError):
            while True:
                os.kill(pid, 0)
                await asyncio.sleep(0.01)
