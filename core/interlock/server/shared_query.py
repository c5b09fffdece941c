"""One live query for all who look at the same: the same function, arguments, page ends and identity.

Its result is kept while it is true. So a commit that a thousand subscribers have to hear of costs one run, one result in the form
of the wire, and a look for each of them.

Start at `SharedQueries.subscribe`. Knows neither functions nor engine: results come from a `Source`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import NamedTuple, Protocol

from interlock.engine.made import Made, arrived
from interlock.server.service import QueryResult

_FETCHES_PER_GO = 40


class Key(NamedTuple):
    """What a result depends on, besides the data. `identity` tells callers apart who may be shown different things."""

    path: str
    component_path: str
    args: bytes
    identity: Hashable
    is_admin: bool
    journal: str | None


class Source(Protocol):
    """Where results come from. After each `at`, whoever opened it is woken once when that result has ended."""

    def at(self, place: int) -> Made[QueryResult] | Awaitable[QueryResult]: ...

    def close(self) -> None: ...


class SharedQuery:
    """A query that is watched, and its subscribers."""

    def __init__(self, queries: SharedQueries, key: Key, open_source: Callable[[Callable[[], None]], Source]) -> None:
        self._queries = queries
        self.key = key
        self.subscribers: dict[Subscription, None] = {}
        self._newest: QueryResult | None = None  # true since `_since`, and not ended
        self._since = 0
        self._endings = 0
        self._is_flying = False
        self._waiting: list[asyncio.Future[tuple[int, QueryResult | None]]] = []  # for the one that flies
        self._ready: list[Callable[[], None]] = []
        self._source = open_source(self._wake)

    @property
    def is_expired(self) -> bool:
        """Whether its result is kept by those who have it, but too old to be given to others."""
        newest = self._newest
        return newest is not None and newest.expires_ms is not None and newest.expires_ms <= self._queries.now_ms()

    def peek(self, place: int) -> QueryResult | None:
        """The result at a place, if it is known."""
        return self._newest if place >= self._since else None

    def at(self, place: int) -> Made[QueryResult] | Awaitable[QueryResult]:
        """The result at a pinned place: one run for all who ask. What is not there at once has begun, and is to be awaited now."""
        known = self.peek(place)
        if known is not None:
            return Made(known)
        if self._is_flying:
            return self._wait(place)
        endings = self._endings
        made = self._source.at(place)
        if type(made) is Made:
            return Made(self._landed(place, endings, made.value))
        self._is_flying = True
        return self._go_on(place, endings, made)  # type: ignore[arg-type]

    async def _wait(self, place: int) -> QueryResult:
        """See what another's run gives."""
        future: asyncio.Future[tuple[int, QueryResult | None]] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        flown_to, result = await future
        return result if flown_to == place and result is not None else await arrived(self.at(place))

    async def _go_on(self, place: int, endings: int, running: Awaitable[QueryResult]) -> QueryResult:
        """A run from where it first waits."""
        result: QueryResult | None = None
        try:
            result = self._landed(place, endings, await running)
            return result
        finally:
            self._is_flying = False
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result((place, result))

    def _landed(self, place: int, endings: int, result: QueryResult) -> QueryResult:
        if self._endings == endings:  # else it was true at that place, and is no longer
            self._newest, self._since = result, place
        if result.journal != self.key.journal:
            self._queries.move(self, result.journal)
        return result

    def when_ready(self, callback: Callable[[], None]) -> None:
        """Find the newest result, and call back when it is there to peek at, or cannot be had."""
        if not self._ready:
            self._queries.fetch_soon(self)
        self._ready.append(callback)

    def begin_fetch(self) -> Awaitable[QueryResult] | None:
        """Find the newest result, and tell those who wait for it. What has to wait has begun, and is for `end_fetch`."""
        try:
            made = self._queries.newest(self)
        except Exception:
            self._tell_ready()  # whoever asks for the result itself meets it again
            return None
        if type(made) is not Made:
            return made  # type: ignore[return-value]
        self._tell_ready()
        return None

    async def end_fetch(self, running: Awaitable[QueryResult]) -> None:
        """The rest of `begin_fetch`, to be awaited by the task that began it: that may be what the function goes by."""
        try:
            await running
        except Exception:
            pass  # as above
        finally:
            self._tell_ready()

    def _tell_ready(self) -> None:
        ready, self._ready = self._ready, []
        for callback in ready:
            callback()

    def _wake(self) -> None:
        self._endings += 1
        self._newest = None
        for subscriber in self.subscribers:
            subscriber.wake()

    def leave(self, subscriber: Subscription) -> None:
        self.subscribers.pop(subscriber, None)
        if not self.subscribers:
            self._queries.forget(self)
            self._source.close()


class Subscription:
    """One subscriber's hold on a shared query."""

    __slots__ = ("_query", "at", "peek", "wake", "when_ready")

    def __init__(self, query: SharedQuery, wake: Callable[[], None]) -> None:
        self._query, self.wake = query, wake
        self.at, self.peek, self.when_ready = query.at, query.peek, query.when_ready
        query.subscribers[self] = None

    def close(self) -> None:
        self._query.leave(self)


class SharedQueries:
    """All queries that are watched. `newest` finds a query's result at the newest place; `now_ms` is the time of day."""

    def __init__(self, newest: Callable[[SharedQuery], Made[QueryResult] | Awaitable[QueryResult]], now_ms: Callable[[], float]) -> None:
        self.newest, self.now_ms = newest, now_ms
        self._by_key: dict[Key, SharedQuery] = {}
        self._due: deque[SharedQuery] = deque()
        self._is_fetching = False
        self._tasks: set[asyncio.Task[None]] = set()

    def fetch_soon(self, query: SharedQuery) -> None:
        """Have its newest result found: never now, but behind what the loop already has to do."""
        self._due.append(query)
        if not self._is_fetching:
            self._start_fetching()

    def _start_fetching(self) -> None:
        self._is_fetching = True
        task = asyncio.get_running_loop().create_task(self._fetch_due())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fetch_due(self) -> None:
        """One task for all who need not wait, some tens in one go of the loop: one commit may have touched thousands."""
        left = _FETCHES_PER_GO
        while self._due:
            if not left:
                await asyncio.sleep(0)
                left = _FETCHES_PER_GO
            left -= 1
            query = self._due.popleft()
            running = query.begin_fetch()
            if running is not None:
                self._start_fetching()  # for the others
                await query.end_fetch(running)
                return
        self._is_fetching = False

    def subscribe(self, key: Key, open_source: Callable[[Callable[[], None]], Source], wake: Callable[[], None]) -> Subscription:
        """Join those who watch the same, or be the first. `wake` is called when the result may have changed."""
        query = self._by_key.get(key)
        if query is None or query.is_expired:
            query = self._by_key[key] = SharedQuery(self, key, open_source)
        return Subscription(query, wake)

    def move(self, query: SharedQuery, journal: str | None) -> None:
        """From now on its pages end elsewhere than those of a query that has just begun."""
        self.forget(query)
        query.key = query.key._replace(journal=journal)
        self._by_key.setdefault(query.key, query)

    def forget(self, query: SharedQuery) -> None:
        if self._by_key.get(query.key) is query:
            del self._by_key[query.key]
