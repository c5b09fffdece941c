"""Fair shares: a component that goes beyond what its mount has is stopped with the error that says so, and its neighbours go on."""

from __future__ import annotations

import asyncio
import math
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.mounting.distributions import install

from interlock import App, ComponentCrashed, DeadlineExceeded, DocumentNotFound, LimitExceeded, Limits, MutationCtx, QueryCtx, components
from interlock.backend import Backend
from interlock.functions.caller import Caller
from interlock.sandbox import pool as pools
from interlock.sandbox import process as processes
from interlock.sandbox import standing
from interlock.sandbox.failures import FRAMES
from interlock.sandbox.line import Line
from interlock.sandbox.pool import Pool
from interlock.testing import TestBackend

SPENDER = Path(__file__).with_name("spender") / "component.py"
spender, other = components.spender, components.other
Running = Callable[[Limits], Any]


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = {"interlock_spender/__init__.py": "", "interlock_spender/component.py": SPENDER.read_text()}
    install(tmp_path / "site", "interlock-spender", components={"spender": "interlock_spender.component:component"}, files=files)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


def mounted(limits: Limits | None) -> App:
    """The spender with limits, and another one without."""
    app = App()
    app.use("spender", limits=limits)
    app.use("spender", name="other")
    return app


@asynccontextmanager
async def running(limits: Limits | None) -> AsyncIterator[TestBackend]:
    async with TestBackend(mounted(limits), isolation="sandbox") as backend:
        yield backend


async def test_cpu_time_adds_up_over_all_calls_of_an_execution() -> None:
    async with running(Limits(cpu=0.2)) as app:

        async def many(ctx: QueryCtx) -> int:
            for count in range(10_000):
                try:
                    await ctx.run_query(spender.burn, rounds=50_000 + count)  # what has been answered costs nothing
                except DeadlineExceeded as error:
                    assert error.what == "CPU time"
                    assert await ctx.run_query(other.echo, value=count) == count
                    return count
            raise AssertionError("it never ended")

        assert await app.query(many) >= 2
        assert await app.component("spender").query("burn", rounds=10) is None  # another execution has a share of its own


async def test_calls_side_by_side_do_not_pay_for_each_other() -> None:
    """Each runs for itself, and waits for the others: that is not its own time."""
    async with running(Limits(cpu=0.4)) as app:
        at = app.component("spender")
        await asyncio.gather(*[at.query("burn", rounds=300_000 + n) for n in range(60)])


def stands(pid: int) -> tuple[int, int]:
    """Where a process stands among others: its policy and how nice it is."""
    return os.sched_getscheduler(pid), os.getpriority(os.PRIO_PROCESS, pid)


BEHIND, LAST = (os.SCHED_BATCH, 19), (os.SCHED_IDLE, 19)


async def with_one_worker(app: TestBackend) -> tuple[Pool, int]:
    """The workers of the spender, and the process of the one that there is."""
    pool = (await app.opened()).dispatcher.runners.pool("spender")
    assert pool is not None
    await app.component("spender").query("echo")
    [pid] = pool.pids
    return pool, pid


async def seen_while(running: Awaitable[object], pid: int) -> set[tuple[int, int]]:
    """Where a process stands until something ends."""
    seen = set()
    future = asyncio.ensure_future(running)
    while not future.done():
        seen.add(stands(pid))
        await asyncio.sleep(0.005)
    await future
    return seen


@pytest.mark.parametrize("remembered", [0.0, 1_000.0])
async def test_a_worker_that_runs_for_long_lets_others_go_first_also_for_a_while_after(
    remembered: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "_REMEMBERED_SECONDS", remembered)
    async with running(None) as app:
        at = app.component("spender")
        pool, pid = await with_one_worker(app)
        usual, seen = stands(pid), set()
        for n in range(20):  # it may have burned before its host has had a turn
            seen |= await seen_while(at.query("burn", rounds=10_000_000 + n), pid)
            if {BEHIND, LAST} <= seen or pool.pids != [pid]:
                break
        assert seen == {usual, BEHIND, LAST}
        await at.query("echo", value=1)
        assert [stands(pid) for pid in pool.pids] == [BEHIND if remembered else usual]  # itself, or one in its place


async def test_a_worker_that_runs_for_long_and_talks_meanwhile_lets_others_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(standing._LONG, standing.LAST, math.inf)
    async with running(None) as app:
        at = app.component("spender")
        pool, pid = await with_one_worker(app)
        usual = stands(pid)
        seen = set()
        for n in range(20):
            seen |= await seen_while(at.action("burn_and_talk", rounds=50_000, times=200, n=n), pid)
            if BEHIND in seen or pool.pids != [pid]:
                break
        assert {usual, BEHIND} <= seen
        await at.query("echo", value=1)
        assert [stands(pid) for pid in pool.pids] == [usual]


@pytest.mark.parametrize("how", ["plain", "gathered", "regex"])
async def test_a_function_that_spins_is_interrupted_and_says_where_it_was(how: str) -> None:
    async with running(Limits(cpu=0.1)) as app:
        at = app.component("spender")
        before = await at.mutation("pid")
        spinning = asyncio.ensure_future(at.query("spin", how=how))
        beside = [asyncio.ensure_future(at.query("echo", value=n)) for n in range(5)]
        with pytest.raises(DeadlineExceeded, match=r"spender/spin took more than its 0\.1 s of CPU time") as raised:
            await spinning
        frames = getattr(raised.value, FRAMES)
        place = {"regex": "spin"}.get(how, "deeper")
        assert any(frame.startswith(f"{place} (interlock_spender/component.py:") for frame in frames), frames
        assert await asyncio.gather(*beside) == [0, 1, 2, 3, 4]
        assert await at.mutation("pid") != before, "what was interrupted anywhere is not used again"
        assert await app.component("other").query("echo", value=1) == 1


async def test_one_that_does_not_let_itself_be_interrupted_is_ended() -> None:
    async with running(Limits(cpu=0.1)) as app:
        with pytest.raises(DeadlineExceeded, match=r"0\.1 s of CPU time"):
            await app.component("spender").query("spin", how="caught")
        assert await app.component("spender").query("echo", value=1) == 1


@pytest.mark.parametrize("how", ["python", "regex"])
async def test_the_call_after_one_that_met_its_deadline_does_not_wait_for_it(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_GRACE_SECONDS", 30.0)  # nobody kills it in time
    async with Backend(mounted(None), data=":memory:", env={}) as backend:
        await call(backend, "echo")
        with pytest.raises(DeadlineExceeded, match="wall time"):
            await call(backend, "spin_in_an_action", limits=Limits(deadline=0.3), how=how)
        assert await call(backend, "echo", value=how) == how  # else it would meet its own deadline


async def call(backend: Backend, name: str, /, limits: Limits | None = None, **args: Any) -> Any:
    caller = Caller(admin=True, source="test", request_id="r")
    return (await backend.dispatcher.call(None, name, args, caller=caller, component_path="spender", limits=limits)).value


async def test_memory_beyond_its_share_is_an_error_of_the_call_and_the_next_has_a_fresh_worker() -> None:
    async with running(Limits(memory=64 << 20)) as app:
        at = app.component("spender")
        assert await at.mutation("keep", mib=30) == 1
        with pytest.raises(MemoryError):
            await at.mutation("keep", mib=80)
        assert await at.mutation("keep", mib=30) == 1
        assert await app.component("other").mutation("keep", mib=50) == 1


async def test_what_is_long_crosses_also_where_there_is_little_memory() -> None:
    """orjson would take sixteen times as much."""
    async with running(Limits(memory=64 << 20)) as app:
        at = app.component("spender")
        for mib in (4, 12):
            assert len(await at.query("repeat", text="x" * 1_024, count=mib << 10)) == mib << 20
            assert len(await at.query("repeat", text="x" * (mib << 20), count=1)) == mib << 20


@pytest.mark.parametrize(("length", "count"), [(1 << 20, 8), (12 << 20, 0)])
async def test_whose_worker_finds_no_memory_for_a_result_or_an_argument_is_told_so(length: int, count: int) -> None:
    async with running(Limits(memory=16 << 20)) as app:
        at = app.component("spender")
        for _ in range(2):
            with pytest.raises((ComponentCrashed, MemoryError), match=r"memory.* used up\. Hold less at once, or mount it with .*memory=…"):
                await at.query("repeat", text="x" * length, count=count)
        assert await at.query("echo", value=1) == 1


async def test_a_worker_that_ends_otherwise_is_not_said_to_lack_memory() -> None:
    async with running(Limits(memory=64 << 20)) as app:
        with pytest.raises(ComponentCrashed, match="it was ended by SIGSEGV"):
            await app.component("spender").mutation("fall", number=int(signal.SIGSEGV))


async def test_documents_that_are_too_long_are_refused_as_inline_wherever_they_come_from() -> None:
    async with running(None) as app:
        at = app.component("spender")
        await at.mutation("put_texts", lengths=[1])  # from here on its worker makes ids by itself
        for lengths, limit in (([1, 49 << 20], "document_bytes"), ([60_000] * 900, "bytes_written")):
            with pytest.raises(LimitExceeded, match=limit):
                await at.mutation("put_texts", lengths=lengths)


async def test_a_worker_that_grows_is_replaced_before_it_meets_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_LOOK_EVERY", 2)
    async with running(Limits(memory=64 << 20)) as app:
        at = app.component("spender")
        kept = [await at.mutation("keep", mib=8) for _ in range(20)]
        assert max(kept) < 8
        assert kept.count(1) >= 2


async def test_a_worker_is_replaced_after_so_many_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_LOOK_EVERY", 2)
    monkeypatch.setattr(pools, "_CALLS_MAX", 5)
    async with running(None) as app:
        pids = [await app.component("spender").mutation("pid") for _ in range(14)]
        assert len(set(pids)) >= 2
        assert pids[0] == pids[3]


async def test_what_a_transaction_may_do_is_shared_by_all_calls_of_a_mount() -> None:
    async with running(Limits(documents_written=3)) as app:

        async def many(ctx: MutationCtx) -> str:
            for n in range(3):
                await ctx.run_mutation(spender.put, n=n)
            with pytest.raises(LimitExceeded) as raised:
                await ctx.run_mutation(spender.put, n=3)
            await ctx.run_mutation(other.put, n=4)
            return raised.value.limit

        assert await app.mutation(many) == "documents_written"
        assert await app.component("spender").query("rows") == [0, 1, 2]
        assert await app.component("other").query("rows") == [4]


async def test_lines_beyond_its_share_are_dropped_and_those_of_others_are_not() -> None:
    async with running(Limits(logs=3)) as app:

        async def loud(ctx: QueryCtx) -> None:
            await ctx.run_query(spender.talk, lines=2)
            await ctx.run_query(spender.talk, lines=1_000)
            await ctx.run_query(other.talk, lines=2)

        backend = await app.opened()
        answer = await backend.dispatcher.run(loud, kind="query", caller=Caller(admin=True, source="test", request_id="r"))
        kept = [line for line in answer.log_lines if "spender: " in line]
        note = "[WARN] spender: its share of log lines is used up: the rest is dropped"
        assert kept == [*(f"[INFO] spender: line {n}" for n in (0, 1, 0)), note]
        assert [line for line in answer.log_lines if "other: " in line] == ["[INFO] other: line 0", "[INFO] other: line 1"]


async def test_calls_that_do_not_come_back_are_not_piled_up_without_end() -> None:
    async with running(Limits(calls_open=2)) as app:
        at = app.component("spender")
        waiting = [asyncio.ensure_future(at.action("wait")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(LimitExceeded, match="calls_open exceeded: 3 of at most 2"):
            await at.query("echo")
        assert await app.component("other").query("echo", value=1) == 1
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert await at.query("echo", value=2) == 2


async def test_more_operations_than_may_wait_at_the_host_are_kept_back_and_done() -> None:
    async with running(None) as app:
        assert await app.component("spender").mutation("put_many", count=1_500) == 1_500


# What is gathered crosses together


@pytest.fixture
def crossings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes the host has sent in each crossing; empty it to begin."""
    sent: list[int] = []
    flush = Line._flush

    def counted(self: Line) -> None:
        if self._out and not self.is_over:
            sent.append(len(self._out))
        flush(self)

    monkeypatch.setattr(Line, "_flush", counted)
    return sent


@pytest.mark.parametrize("limits", [None, Limits(documents_read=3, cpu=0.5)])
@pytest.mark.parametrize("kind", ["query", "mutation", "action"])
async def test_calls_into_one_mount_that_are_gathered_cross_together(crossings: list[int], kind: str, limits: Limits | None) -> None:
    echo = spender.echo if limits is None else spender.echo.options(limits=limits)

    async def gather(ctx: Any) -> list[Any]:
        return await asyncio.gather(*[ctx.run_query(echo, value=n) for n in range(20)])

    async def in_turn(ctx: Any) -> list[Any]:
        return [await ctx.run_query(spender.echo, value=n) for n in range(20, 40)]

    async def something(ctx: Any) -> Any:
        return await ctx.run_query(spender.echo, value="a")

    async with running(None) as app:
        run: dict[str, Callable[[Any], Awaitable[Any]]] = {"query": app.query, "mutation": app.mutation, "action": app.action}
        await run[kind](something)
        crossings.clear()
        assert await run[kind](gather) == list(range(20))
        together = len(crossings)
        crossings.clear()
        assert await run[kind](in_turn) == list(range(20, 40))
        assert (together, len(crossings)) == (1, 20)


@pytest.mark.parametrize("at_once", [True, False])
async def test_limits_of_a_gathered_call_hold_for_it_alone_as_they_do_in_turn(at_once: bool) -> None:
    async def calls(ctx: Any) -> list[str]:
        less = Limits(documents_read=2, logs=1)
        made = [
            lambda: ctx.run_query(spender.read_and_say, count=3),
            lambda: ctx.run_query(spender.read_and_say.options(limits=less), count=2),
            lambda: ctx.run_query(spender.read_and_say.options(limits=less), count=3),
            lambda: ctx.run_query(spender.burn.options(limits=Limits(cpu=0.05)), rounds=10**9),
            lambda: ctx.run_query(spender.read_and_say, count=3),
        ]
        if at_once:
            found = await asyncio.gather(*[call() for call in made], return_exceptions=True)
        else:
            found = [await asyncio.gather(call(), return_exceptions=True) for call in made]
            found = [one for [one] in found]
        return [type(one).__name__ if isinstance(one, BaseException) else str(one) for one in found]

    async with running(None) as app:
        await app.component("spender").mutation("put_many", count=5)
        assert await app.query(calls) == ["3", "2", "LimitExceeded", "DeadlineExceeded", "3"]


async def test_operations_of_a_component_that_are_gathered_cross_together(crossings: list[int]) -> None:
    async with running(None) as app:
        at = app.component("spender")
        await at.query("echo")
        crossings.clear()
        assert await at.query("get_many", count=50) == [None] * 50
        assert len(crossings) < 10, "the call, and the answers in a few pieces"


@pytest.mark.parametrize("count", [40, 200])  # of which a worker remembers what it has read, and not
async def test_rows_that_are_known_to_be_there_are_deleted_without_waiting_for_each(crossings: list[int], count: int) -> None:
    async with running(None) as app:
        at = app.component("spender")
        assert await at.mutation("put_many", count=300) == 300
        crossings.clear()
        assert await at.mutation("delete_one_by_one", count=count) == 300 - count
        assert len(crossings) < 12
        with pytest.raises(DocumentNotFound):
            await at.mutation("delete_one_by_one", count=2, twice=True)
        assert await app.run(lambda ctx: ctx.db.query("rows").count(), component="spender") == 300 - count


async def test_what_a_worker_remembers_may_have_been_deleted_by_another() -> None:
    async with running(None) as app:
        at = app.component("spender")
        await at.mutation("put_many", count=2)
        ids = [row["_id"] for row in await app.run(lambda ctx: ctx.db.query("rows").collect(), component="spender")]
        for id in ids:
            assert (await at.query("look", id=id))["_id"] == id
        await app.run(lambda ctx: ctx.db.delete(ids[0]), component="spender")
        with pytest.raises(DocumentNotFound):
            await at.mutation("delete_by_id", id=ids[0])
        assert await at.mutation("delete_by_id", id=ids[1]) is None
        assert await at.query("look", id=ids[1]) is None


async def test_what_a_trigger_raises_at_a_delete_is_met_there() -> None:
    async with running(None) as app:
        at = app.component("spender")
        id = await at.mutation("delete_watched")
        assert [await at.mutation("delete_watched", id=id) for _ in range(2)] == ["it is to stay, 1"] * 2


async def test_a_document_that_is_not_remembered_is_read_before_a_write_that_begins_later() -> None:
    async with running(None) as app:
        at = app.component("spender")
        id = await app.run(lambda ctx: ctx.db.insert("rows", {"n": 5}), component="spender")
        assert (await at.mutation("read_beside_a_write", id=id))["n"] == 5
        assert (await at.query("look", id=id))["n"] == -1
