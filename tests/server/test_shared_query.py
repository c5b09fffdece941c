"""Model: the value at a place is that of the last commit up to it. However looks and commits fall together, nobody sees another one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.engine.made import Made, arrived
from interlock.server.service import Answer, QueryResult
from interlock.server.shared_query import Key, SharedQueries, SharedQuery, Subscription

from .sync_client import settle

KEY = Key("t:get", "", b"{}", None, False, None)


class History:
    """A number that changes with some commits. A source is woken when what it gave last has ended, as the engine does it."""

    def __init__(self) -> None:
        self.values = [0]
        self.sources: set[HistorySource] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.runs = 0

    @property
    def newest(self) -> int:
        return len(self.values) - 1

    def commit(self, value: int) -> None:
        self.values.append(value)
        for source in list(self.sources):
            source.look()

    def open(self, wake: Callable[[], None]) -> HistorySource:
        source = HistorySource(self, wake)
        self.sources.add(source)
        return source


class HistorySource:
    def __init__(self, history: History, wake: Callable[[], None]) -> None:
        self.history, self.wake = history, wake
        self.held: int | None = None

    async def at(self, place: int) -> QueryResult:
        self.history.runs += 1
        await self.history.gate.wait()
        await asyncio.sleep(0)
        self.held = place
        self.look()
        return QueryResult(Answer(b"%d" % self.history.values[place], place))

    def look(self) -> None:
        """Wake if what was given has ended."""
        if self.held is not None and len(set(self.history.values[self.held :])) > 1:
            self.held = None
            self.wake()

    def close(self) -> None:
        self.history.sources.discard(self)


class Looker:
    """A subscriber that looks again when it is woken, the way a session does."""

    def __init__(self, history: History, queries: SharedQueries) -> None:
        self.history = history
        self.is_stale = True
        self.seen: bytes | None = None
        self.looking = asyncio.Lock()  # one look at a time, as a session does it: else an older answer could come after a newer one
        self.subscription: Subscription = queries.subscribe(KEY, history.open, self.wake)

    def wake(self) -> None:
        self.is_stale = True

    async def look(self) -> None:
        async with self.looking:
            while self.is_stale:
                self.is_stale = False
                place = self.history.newest
                self.check(await arrived(self.subscription.at(place)), place)

    def peek(self) -> None:
        place = self.history.newest
        result = self.subscription.peek(place)
        if result is not None:
            self.is_stale = False
            self.check(result, place)

    def check(self, result: QueryResult, place: int) -> None:
        assert isinstance(result.outcome, Answer)
        self.seen = result.outcome.json
        assert self.seen == b"%d" % self.history.values[place]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("join")),
        st.tuples(st.just("leave"), st.integers(0, 9)),
        st.tuples(st.just("look"), st.integers(0, 9)),
        st.tuples(st.just("peek"), st.integers(0, 9)),
        st.tuples(st.just("fetch"), st.integers(0, 9)),
        st.tuples(st.just("commit"), st.integers(0, 2)),
        st.tuples(st.just("gate")),
        st.tuples(st.just("rounds"), st.integers(1, 4)),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(steps=steps)
def test_everybody_sees_what_is_true_and_at_rest_the_newest(steps: list[tuple[Any, ...]]) -> None:
    async def play() -> None:
        history = History()

        async def newest(query: SharedQuery) -> QueryResult:
            return await arrived(query.at(history.newest))

        queries = SharedQueries(newest, lambda: 0.0)
        lookers: list[Looker] = []
        tasks: list[asyncio.Future[None]] = []
        for step in steps:
            match step:
                case ("join",):
                    lookers.append(Looker(history, queries))
                case ("leave", n) if lookers:
                    looker = lookers[n % len(lookers)]
                    if len(lookers) > 1 and history.gate.is_set():
                        await asyncio.gather(*tasks)
                        lookers.remove(looker)
                        looker.subscription.close()
                case ("look", n) if lookers:
                    tasks.append(asyncio.ensure_future(lookers[n % len(lookers)].look()))
                case ("peek", n) if lookers:
                    lookers[n % len(lookers)].peek()
                case ("fetch", n) if lookers:
                    lookers[n % len(lookers)].subscription.when_ready(lambda: None)
                case ("commit", value):
                    history.commit(value)
                case ("gate",):
                    if history.gate.is_set():
                        history.gate = asyncio.Event()
                    else:
                        history.gate.set()
                case ("rounds", rounds):
                    await settle(rounds)
        history.gate.set()
        await asyncio.gather(*tasks)
        await asyncio.gather(*(looker.look() for looker in lookers))
        await settle()
        for looker in lookers:
            assert not looker.is_stale and looker.seen == b"%d" % history.values[-1]
        for looker in lookers:
            looker.subscription.close()
        assert not history.sources

    asyncio.run(play())


async def test_many_who_ask_at_once_cost_one_run() -> None:
    history = History()

    async def newest(query: SharedQuery) -> QueryResult:
        return await arrived(query.at(history.newest))

    queries = SharedQueries(newest, lambda: 0.0)
    lookers = [Looker(history, queries) for _ in range(100)]
    await asyncio.gather(*(looker.look() for looker in lookers))
    assert history.runs == 1
    history.commit(1)
    assert all(looker.is_stale for looker in lookers)
    await asyncio.gather(*(looker.look() for looker in lookers))
    assert history.runs == 2 and {looker.seen for looker in lookers} == {b"1"}


async def test_a_result_that_ends_while_it_is_made_is_given_for_its_place_alone() -> None:
    history = History()

    async def newest(query: SharedQuery) -> QueryResult:
        return await arrived(query.at(history.newest))

    queries = SharedQueries(newest, lambda: 0.0)
    early, late = Looker(history, queries), Looker(history, queries)
    history.gate.clear()
    first = asyncio.ensure_future(arrived(early.subscription.at(0)))
    await settle()
    history.commit(1)
    second = asyncio.ensure_future(arrived(late.subscription.at(1)))
    same = asyncio.ensure_future(arrived(late.subscription.at(0)))
    await settle()
    history.gate.set()
    results = [await each for each in (first, second, same)]
    assert [result.outcome for result in results] == [Answer(b"0", 0), Answer(b"1", 1), Answer(b"0", 0)]
    assert early.is_stale and history.runs == 2
    result = early.subscription.peek(1)
    assert result is not None and result.outcome == Answer(b"1", 1)


class CountedSource:
    """Gives its result at once, or after `waits` steps, and notes the tasks that it runs in."""

    def __init__(self, waits: int, tasks: list[asyncio.Task[Any] | None]) -> None:
        self.waits, self.tasks = waits, tasks

    def at(self, place: int) -> Made[QueryResult] | Awaitable[QueryResult]:
        self.tasks.append(asyncio.current_task())
        result = QueryResult(Answer(b"%d" % self.waits, place))
        return self.later(result) if self.waits else Made(result)

    async def later(self, result: QueryResult) -> QueryResult:
        for _ in range(self.waits):
            await asyncio.sleep(0)
        self.tasks.append(asyncio.current_task())
        return result

    def close(self) -> None:
        pass


async def test_many_results_are_found_in_few_tasks_and_a_run_that_waits_stays_in_the_one_it_began_in() -> None:
    queries = SharedQueries(lambda query: query.at(0), lambda: 0.0)
    tasks: list[list[asyncio.Task[Any] | None]] = []
    ready: list[int] = []
    goes = []
    waits = [3 if number % 50 == 7 else 0 for number in range(500)]
    for number, each in enumerate(waits):
        tasks.append([])
        source = CountedSource(each, tasks[-1])
        subscription = queries.subscribe(KEY._replace(path=str(number)), lambda wake, source=source: source, lambda: None)  # type: ignore[misc]
        subscription.when_ready(lambda number=number: ready.append(number))  # type: ignore[misc]
    assert not ready, "never at once"
    while len(ready) < len(waits):
        await asyncio.sleep(0)
        goes.append(len(ready))
    assert sorted(ready) == list(range(500))
    assert len(goes) > 10, "others are served meanwhile"
    for number, each in enumerate(waits):
        assert None not in tasks[number] and len(set(tasks[number])) == 1 and len(tasks[number]) == (2 if each else 1)
    assert len({id(task) for of_one in tasks for task in of_one}) == 1 + sum(map(bool, waits))
