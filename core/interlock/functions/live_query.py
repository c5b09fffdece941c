"""A query that somebody watches: which entry of the query cache holds its result, over re-runs and over reloads of the code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, NamedTuple

from interlock.engine import Engine, Entry, ReadSet, Transaction, Watch
from interlock.engine.made import Made, arrived
from interlock.errors import InterlockError
from interlock.functions.caller import QueryResult


class Prepared(NamedTuple):
    """A query with its arguments, ready to be run and shared: `key` names the result, `run` makes it."""

    key: Hashable
    run: Callable[[Transaction], Made[QueryResult] | Awaitable[QueryResult]]


class LiveQuery:
    """One subscription. `at` gives the result at a place in the order; `wake` is called when the result that was given last has ended."""

    def __init__(
        self,
        engine: Engine,
        prepare: Callable[[str | None], Prepared],
        journal: str | None,
        identity: Hashable,
        wake: Callable[[], None],
    ) -> None:
        self._engine, self._prepare, self._identity = engine, prepare, identity
        self.journal = journal
        self.wake = wake
        self._watch: Watch | None = None
        self._refusal: InterlockError | None = None
        self.renew()

    def renew(self) -> None:
        """The code has changed: the function is looked up again. One that is not there, or not a query, is an error until the next time."""
        self.close()
        self._refusal = None
        try:
            prepared = self._prepare(self.journal)
        except InterlockError as error:
            self._refusal = error
        else:
            self._watch = self._engine.live.watch(prepared.key, prepared.run, self.wake, self._identity)

    def at(self, place: int) -> Made[Entry] | Awaitable[Entry]:
        """The result at a pinned place: a `QueryResult` in `value`, or what was raised in `error`. To be awaited now, if it has to be."""
        watch = self._watch
        if watch is None:
            return Made(Entry(None, self._refusal, ReadSet(), place, self._engine.log.ts_at(place)))
        made = watch.at(place)
        return Made(self._taken(watch, made.value)) if type(made) is Made else self._take_later(watch, made, place)  # type: ignore[arg-type]

    async def _take_later(self, watch: Watch, running: Awaitable[Entry], place: int) -> Entry:
        entry = await running
        if self._watch is not watch:
            watch.close()
            is_renewed = self._watch is not None or self._refusal is not None
            return await arrived(self.at(place)) if is_renewed else entry  # the code has changed meanwhile
        return self._taken(watch, entry)

    def _taken(self, watch: Watch, entry: Entry) -> Entry:
        """Go on with the journal that a result gave out."""
        result: Any = entry.value
        if entry.error is None and result.journal != self.journal:
            # From here on the pages end where this run ended them: that is another key, which this result already answers.
            self.journal = result.journal
            watch.key, watch.run = self._prepare(self.journal)
            self._engine.live.also_under(entry, watch.key, self._identity)
        return entry

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None
