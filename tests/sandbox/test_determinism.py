"""In a query or mutation of an isolated component the clocks of the standard library stand still, and its randomness is the call's."""

from __future__ import annotations

import random
import time
from typing import Any
from uuid import UUID

import pytest

from interlock import App, PermissionDenied, components
from interlock.functions.caller import Caller
from interlock.sdk.declarations import Isolation
from interlock.testing import TestBackend


async def found(seed: int, isolation: Isolation) -> list[Any]:
    made = App()
    made.use("ledger")
    async with TestBackend(made, isolation=isolation, seed=seed) as backend:
        return [await backend.component("ledger").mutation("clocks_and_draws") for _ in range(2)]


async def test_clocks_show_the_time_of_the_transaction(app: TestBackend) -> None:
    shown = await app.component("ledger").mutation("clocks_and_draws")
    assert shown["now"] == app.now()
    assert shown["clocks"] == pytest.approx([app.now()] * 4, abs=0.001)
    assert shown["today"] is True and shown["told"] is True
    assert not any([number for some in shown["used"] for number in (some if isinstance(some, list) else [some])]), shown["used"]


async def test_one_seed_draws_the_same_in_every_worker_and_another_draws_another(ledger_installed: None, isolation: Isolation) -> None:
    first, again, other = await found(1, isolation), await found(1, isolation), await found(2, isolation)
    assert first == again
    assert first[0]["draws"] != first[1]["draws"]
    assert not {*first[0]["draws"]} & {*other[0]["draws"]}
    assert len({*first[0]["draws"]}) == 7
    # Of the same moment, whoever was called before on this worker.
    assert [[UUID(one).time for one in shown["uuids"][1:]] for shown in first] == [
        [UUID(first[0]["uuids"][1]).time + n for n in (0, 1)]
    ] * 2
    assert first[0]["set"] == other[0]["set"]


async def test_each_attempt_has_its_own_seed_time_ids_and_log(app: TestBackend) -> None:
    """As the original does it: another attempt is another execution, of which nothing is kept but the last."""
    backend = await app.opened()
    caller = Caller(admin=True, source="test", request_id="")
    attempts: list[dict[str, Any]] = []

    async def below(ctx: Any) -> Any:
        attempts.append(await ctx.run_mutation(components.ledger.run_once_more))
        if len(attempts) < 3:  # another writer is faster
            await app.advance(7)
            await app.component("ledger").mutation("write", n=len(attempts))
        return attempts[-1]

    outcome = await backend.dispatcher.run(below, kind="mutation", caller=caller)
    one, _, three = attempts
    assert outcome.value == three
    assert [attempt["entries"] for attempt in attempts] == [0, 1, 2]
    assert [attempt["now"] - one["now"] for attempt in attempts] == [0, 7_000, 14_000]
    assert all(attempt["clock"] == pytest.approx(attempt["now"], abs=0.001) for attempt in attempts)
    assert len({value for attempt in attempts for value in [*attempt["drawn"], attempt["id"]]}) == 12
    assert outcome.log_lines == [f"[INFO] ledger: drew {three['drawn'][0]}"]
    assert [text for _, text in await app.component("ledger").query("all_entries")].count("an attempt") == 1


async def test_who_looks_at_a_clock_has_looked_at_the_time(app: TestBackend) -> None:
    """Else its result would be shared for ever."""
    at = app.component("ledger")
    before = await at.query("told_time")
    assert before * 1000 == app.now()
    await app.advance(20)
    assert await at.query("told_time") == before + 20


@pytest.mark.parametrize(("how", "called"), [("time", "time.sleep"), ("asyncio", "asyncio.sleep")])
async def test_sleeping_is_refused_with_what_to_do_instead(app: TestBackend, how: str, called: str) -> None:
    with pytest.raises(PermissionDenied, match=rf"ledger/sleep calls {called}.*ctx\.scheduler\.run_after"):
        await app.component("ledger").mutation("sleep", how=how)


_WAITS = [
    "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire(timeout=0.001)",
    "import threading; threading.Event().wait()",
    "import queue; queue.SimpleQueue().get(timeout=0.001)",
    "import select; select.select([], [], [], 0.001)",
    "import select; select.poll().poll(1)",
    "import selectors; selectors.PollSelector().select(0.001)",
    "import asyncio; asyncio.get_running_loop().call_later(0.001, print)",
    "import asyncio; loop = asyncio.get_running_loop(); loop.call_at(loop.time() + 0.001, print)",
]


@pytest.mark.parametrize("code", _WAITS)
async def test_what_waits_is_refused_with_what_to_do_instead(app: TestBackend, code: str) -> None:
    with pytest.raises(PermissionDenied, match=r"ledger/attempt calls .*ctx\.scheduler\.run_after"):
        await app.component("ledger").query("attempt", code=code)


_DOES_NOT_WAIT = {
    "import threading; lock = threading.Lock(); lock.acquire(); return lock.acquire(False), lock.acquire(timeout=0), lock.locked()": (
        "(False, False, True)"
    ),
    "import threading\nwith threading.Lock() as one, threading.RLock() as two: return one, two": "(True, True)",
    "import threading; lock = threading.Lock(); return lock.acquire(timeout=1), lock.release(), lock.acquire_lock()": "(True, None, True)",
    "import queue; made = queue.SimpleQueue(); made.put(1); return made.get(timeout=1), queue.Queue().empty()": "(1, True)",
    "import asyncio; loop = asyncio.get_running_loop(); done = loop.create_future(); loop.call_later(0, done.set_result, 1)\n"
    "return await done": "1",
    "import asyncio\nasync with asyncio.timeout(9), asyncio.TaskGroup() as group: made = group.create_task(asyncio.sleep(0, 1))\n"
    "return made.result(), await asyncio.wait_for(asyncio.sleep(0, 2), 9)": "(1, 2)",
    "import asyncio; at = asyncio.timeout_at(asyncio.get_running_loop().time() + 9)\nasync with at: return at.expired()": "False",
}


@pytest.mark.parametrize("code", _DOES_NOT_WAIT)
async def test_what_does_not_wait_goes_on_as_everywhere(app: TestBackend, code: str) -> None:
    assert await app.component("ledger").query("attempt", code=code) == _DOES_NOT_WAIT[code]


async def test_a_timeout_of_asyncio_ends_a_wait_by_either_clock_of_the_loop(app: TestBackend) -> None:
    for timeout in ("timeout(0.001)", "timeout_at(asyncio.get_running_loop().time() + 0.001)", "timeout_at(0)"):
        code = f"import asyncio\ntry:\n  async with asyncio.{timeout}: await asyncio.Event().wait()\nexcept TimeoutError: return 'late'"
        assert await app.component("ledger").query("attempt", code=code) == "late"


async def test_the_clock_of_the_loop_shows_the_time_of_the_transaction(app: TestBackend) -> None:
    code = "import asyncio; return asyncio.get_running_loop().time()"
    assert float(await app.component("ledger").query("attempt", code=code)) == pytest.approx(app.now() / 1000, abs=0.001)
    await app.advance(20)
    assert float(await app.component("ledger").query("attempt", code=code)) == pytest.approx(app.now() / 1000, abs=0.001)


async def test_generators_of_cs_own_draw_from_the_seed_too(ledger_installed: None, isolation: Isolation) -> None:
    code = (
        "import _random; made = _random.Random(); drawn = made.random(); made.seed(); "
        "return drawn, made.random(), _random.Random(5).random()"
    )
    shown = []
    for seed in (1, 1, 2):
        made = App()
        made.use("ledger")
        async with TestBackend(made, isolation=isolation, seed=seed) as backend:
            shown.append(await backend.component("ledger").query("attempt", code=code))
    first, again, other = shown
    assert first == again != other
    assert first.endswith(f"{random.Random(5).random()})") and other.endswith(f"{random.Random(5).random()})")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import threading; lock = threading.Lock(); lock.acquire(); return lock.acquire(timeout=0.001)", "False"),
        ("import queue\ntry: queue.SimpleQueue().get(timeout=0.001)\nexcept queue.Empty: return 'empty'", "empty"),
        ("import select; return select.poll().poll(1)", "[]"),
        (
            "import asyncio; loop = asyncio.get_running_loop(); done = loop.create_future(); began = loop.time(); "
            "loop.call_later(0.001, done.set_result, 1); loop.call_at(began + 9, print); return await done, loop.time() > began",
            "(1, True)",
        ),
        ("import _random; return _random.Random().random() == _random.Random().random()", "False"),
    ],
)
async def test_an_action_may_wait(app: TestBackend, code: str, expected: str) -> None:
    assert await app.component("ledger").action("attempt_in_action", code=code) == expected


async def test_an_action_has_the_time_of_the_machine(app: TestBackend) -> None:
    went_on, went_on_too, shown = await app.component("ledger").action("real_time")
    assert went_on and went_on_too
    assert abs(shown - time.time()) < 60
