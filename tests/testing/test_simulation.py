"""`simulate`, as an author of a component meets it. What it finds in the engine is in tests/fire."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from pathlib import Path

import pytest

from interlock import ActionCtx, AppError, Component, MutationCtx, QueryCtx, Schema, Table
from interlock.testing import FAULTS, CallFailed, Faults, History, SimulatedClient, SimulationFailed, Workload, simulate
from interlock.testing.simulation.loop import SimulatedClock, SimulatedLoop, Stuck

pytestmark = pytest.mark.one_isolation("inline", "a simulation is one loop and one time: no process is in it")

CALM = FAULTS[0]
component = Component("notes", schema=Schema(notes=Table({"text": str, "by": str | None})), env={"GREETING": str})


@component.mutation
async def write(ctx: MutationCtx, text: str) -> None:
    await ctx.db.insert("notes", {"text": text, "by": None})


@component.mutation
async def refuse(ctx: MutationCtx) -> None:
    raise AppError({"why": "no"})


@component.mutation(internal=True)
async def wipe(ctx: MutationCtx) -> None:
    async for row in ctx.db.query("notes"):
        await ctx.db.delete(row["_id"])


@component.query
async def everything(ctx: QueryCtx) -> list[str]:
    return [row["text"] async for row in ctx.db.query("notes")]


@component.query
async def greeting(ctx: QueryCtx) -> str:
    return ctx.env["GREETING"]


@component.action
def blocks(ctx: ActionCtx) -> str:
    """In a thread, outside of simulations."""
    return "done"


@component.query
async def breaks(ctx: QueryCtx) -> int:
    return 1 // 0


class OneClient(Workload):
    clients, rounds = 1, 1


def run(workload: type[Workload], faults: Faults = CALM) -> History:
    [history] = simulate(component, workload, faults=faults, seeds=[7], env={"GREETING": "hello"})
    return history


def test_a_client_calls_whatever_there_is_and_time_passes_only_in_the_simulation() -> None:
    seen = []

    class Calls(OneClient):
        async def act(self, client: SimulatedClient) -> None:
            await client.mutation(write, text="a")
            await client.mutation("write", text="b")
            assert await client.query("everything") == ["a", "b"]
            assert await client.query(greeting) == "hello"
            assert await client.action("blocks") == "done"
            began = client.now()
            await client.sleep(100)
            assert client.now() == pytest.approx(began + 100_000, abs=5)
            await client.mutation("wipe")
            with pytest.raises(AppError) as refused:
                await client.mutation("refuse")
            assert refused.value.data == {"why": "no"}
            with pytest.raises(CallFailed) as missing:
                await client.query("nowhere")
            assert missing.value.code == "FunctionNotFound" and not missing.value.is_passing
            seen.append(await client.query("everything"))

    began = time.perf_counter()
    history = run(Calls)
    assert seen == [[]]
    assert time.perf_counter() - began < 20
    assert history.calls == 1 and history.crashes == 0


def test_a_subscription_shows_each_change() -> None:
    seen: list[list[str]] = []

    class Follows(OneClient):
        async def follow(self, client: SimulatedClient) -> None:
            async for texts in client.subscribe("everything"):
                seen.append(texts)

        async def act(self, client: SimulatedClient) -> None:
            for text in "ab":
                await client.mutation("write", text=text)
                await client.sleep(1)

    run(Follows)
    assert seen == [[], ["a"], ["a", "b"]]


def test_a_user_is_who_it_says_it_is() -> None:
    seen: list[str | None] = []

    class LogsIn(OneClient):
        async def act(self, client: SimulatedClient) -> None:
            await client.log_in(subject="ada")
            seen.append(await client.query("who:ami"))
            await client.log_out()
            seen.append(await client.query("who:ami"))

    simulate(Path(__file__).parent / "programs" / "who", LogsIn, faults=CALM, seeds=1)
    assert seen == ["ada", None]


def test_it_fails_with_the_seed_the_reason_and_what_happened_last() -> None:
    class Hopes(OneClient):
        async def act(self, client: SimulatedClient) -> None:
            await client.mutation("write", text="a")

        async def at_end(self, client: SimulatedClient) -> None:
            assert await client.query("everything") == ["b"], "hope is not enough"

    with pytest.raises(SimulationFailed, match="hope is not enough") as failed:
        run(Hopes)
    text = str(failed.value)
    assert "Hopes under the faults “calm”, seed 7" in text and "simulate(…, seeds=[7])" in text
    assert 'client 0 → {"args": [{"text": "a"}]' in text
    assert isinstance(failed.value.__cause__, AssertionError)
    assert len(failed.value.history.lines) <= 60


@pytest.mark.parametrize("function", ["breaks", "nowhere"])
def test_an_error_that_nobody_expected_fails_it(function: str) -> None:
    class Asks(OneClient):
        async def act(self, client: SimulatedClient) -> None:
            await client.query(function)

    with pytest.raises(SimulationFailed):
        run(Asks)


def test_who_waits_for_what_never_comes_is_not_waited_for() -> None:
    class Waits(OneClient):
        async def act(self, client: SimulatedClient) -> None:
            await asyncio.get_running_loop().create_future()

    with pytest.raises(SimulationFailed, match="waits for what never comes"):
        run(Waits)


def test_a_call_that_a_fault_has_hit_ends_its_round_and_no_more() -> None:
    rounds: list[str] = []

    class Writes(Workload):
        clients, rounds = 1, 4

        async def act(self, client: SimulatedClient) -> None:
            rounds.append("begun")
            await client.mutation("write", text="a")
            rounds.append("ended")

        async def at_end(self, client: SimulatedClient) -> None:
            assert len(await client.query("everything")) == rounds.count("ended")

    history = run(Writes, Faults("always full", refused=1.0))
    assert rounds == ["begun"] * 4
    assert history.met["refused"] > 0


def test_a_workload_has_to_say_what_its_clients_do() -> None:
    with pytest.raises(SimulationFailed, match="overwrite `act`"):
        run(OneClient)


def test_a_run_takes_as_many_seeds_as_it_is_told_to() -> None:
    class Nothing(OneClient):
        async def act(self, client: SimulatedClient) -> None:
            pass

    assert [history.seed for history in simulate(component, Nothing, faults=CALM, seeds=3, env={"GREETING": ""})] == [0, 1, 2]
    assert [history.seed for history in simulate(component, Nothing, faults=CALM, seeds=(9, 8), env={"GREETING": ""})] == [9, 8]


# the loop


def looped(reorder: float, seed: int = 0) -> SimulatedLoop:
    return SimulatedLoop(random.Random(seed), reorder=reorder)


def test_the_loop_keeps_order_unless_it_is_to_reorder() -> None:
    def order(reorder: float, seed: int) -> list[int]:
        loop = looped(reorder, seed)
        ran: list[int] = []
        for n in range(8):
            loop.call_soon(ran.append, n)
        loop.run_until_complete(asyncio.sleep(1))
        loop.close()
        return ran

    assert order(0.0, 1) == list(range(8))
    assert order(1.0, 1) == order(1.0, 1) != order(1.0, 2)
    assert sorted(order(1.0, 1)) == list(range(8))


def test_time_jumps_from_timer_to_timer_and_clocks_go_with_it() -> None:
    loop = looped(0.0)
    clock = SimulatedClock(loop, 1_000.0)
    rang: list[float] = []

    async def wait() -> None:
        clock.call_at(3_000.7, lambda: rang.append(clock.now_ms()))
        clock.call_at(2_000.1, lambda: rang.append(clock.now_ms())).cancel()
        await clock.wait_until(86_401_000.0)

    loop.run_until_complete(wait())
    assert rang == [3_000.7]
    assert clock.now_ms() == 86_401_000.0
    assert loop.time() == pytest.approx(86_400.0)
    loop.close()


def test_a_loop_in_which_nobody_will_ever_run_says_so() -> None:
    loop = looped(0.0)
    with pytest.raises(Stuck):
        loop.run_until_complete(loop.create_future())
    loop.close()


def test_what_comes_from_a_thread_is_refused() -> None:
    loop = looped(0.0)
    raised: list[RuntimeError] = []

    def call() -> None:
        try:
            loop.call_soon_threadsafe(print)
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert "has no threads" in str(raised[0])
    loop.close()
