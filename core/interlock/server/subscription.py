"""One query of a connection: what is looked at, what its client has been told, whether that has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from interlock.engine.made import Made, arrived
from interlock.server.messages import Add
from interlock.server.service import Failure, LiveQuery, QueryResult


class Subscriber:
    """Who has subscriptions."""

    __slots__ = ()

    def touched(self, subscription: Subscription) -> None:
        """The result of this one has ended. It is said once, until `is_stale` is false again."""
        raise NotImplementedError


class Subscription:
    """`last` is what the client has; `is_stale`: its subscriber knows that this is no longer the result."""

    __slots__ = ("add", "is_stale", "journal", "last", "live", "subscriber")

    def __init__(self, subscriber: Subscriber, add: Add) -> None:
        self.subscriber = subscriber
        self.add = add
        self.journal = add.journal
        self.live: LiveQuery | None = None
        self.last: QueryResult | None = None
        self.is_stale = False

    def wake(self) -> None:
        if not self.is_stale:
            self.is_stale = True
            self.subscriber.touched(self)

    def close(self) -> None:
        if self.live is not None:
            self.live.close()
            self.live = None


class RefusedQuery:
    """Stands in for the live query of a call that cannot be made."""

    def __init__(self, failure: Failure) -> None:
        self._result = QueryResult(failure)

    def at(self, place: int) -> Made[QueryResult]:
        return Made(self._result)

    def peek(self, place: int) -> QueryResult | None:
        return self._result

    def when_ready(self, callback: Callable[[], None]) -> None:
        callback()

    def close(self) -> None:
        pass


async def results_at(place: int, subscriptions: list[Subscription]) -> list[QueryResult]:
    """Their results at one place. Runs that are needed run side by side."""
    lives = [subscription.live for subscription in subscriptions]
    if len(lives) == 1:
        (live,) = lives
        assert live is not None
        return [await arrived(live.at(place))]
    return list(await asyncio.gather(*[_result(live, place) for live in lives if live is not None]))


async def _result(live: LiveQuery, place: int) -> QueryResult:
    return await arrived(live.at(place))
