"""Live queries: results that are kept, shared, and known to be true from one place in the order to another.

An entry is the result of one run with its read set, registered in an interval index per index. A commit looks up which
entries read what it changed and ends them there; whoever watches one is woken. One run and one result serve everybody
who asks for the same key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Final

from interlock.engine.interval_index import IntervalIndex
from interlock.engine.made import Made, arrived
from interlock.engine.read_set import ReadSet
from interlock.engine.transaction import Transaction
from interlock.engine.write_log import LogEntry
from interlock.errors import StorageUnavailable
from interlock.limits import LIMITS

if TYPE_CHECKING:
    from interlock.engine.engine import Engine

Run = Callable[[Transaction], Awaitable[Any] | Made[Any]]
USES_IDENTITY: Final = "uses_identity"  # facts that a run leaves in its transaction
USES_TIME: Final = "uses_time"
SIZE: Final = "size"
_KNOWN_BOUND_MAX = 10_000
SNAPSHOT_NOT_KEPT = "The snapshot that was asked for is no longer kept.", "Ask for a newer one."
_ENTRY_BYTES, _READ_BYTES = 3_072, 512
"""What a result takes beside its text, and each id or interval that it read: measured, keys and places in the indexes included."""


class Entry:
    """A result: `value`, or the `error` that was raised. True at every place from `since` up to, not including, `until`."""

    __slots__ = ("error", "expires_ms", "keys", "read_set", "since", "size", "ts", "until", "value", "watches")

    def __init__(self, value: Any, error: Exception | None, read_set: ReadSet, since: int, ts: int) -> None:
        self.value, self.error, self.read_set, self.since, self.ts = value, error, read_set, since, ts
        self.until: int | None = None
        self.expires_ms: float | None = None
        self.size = 0
        self.keys: list[Hashable] = []
        self.watches: dict[Watch, None] = {}

    def is_true_at(self, place: int) -> bool:
        return self.since <= place and (self.until is None or place < self.until)


class Watch:
    """One subscriber's hold on one query. After each `at`, `wake` is called once when that result has ended, perhaps at once."""

    __slots__ = ("_live", "entry", "identity", "key", "run", "wake")

    def __init__(self, live: LiveQueries, key: Hashable, identity: Hashable, run: Run, wake: Callable[[], None]) -> None:
        self._live, self.key, self.identity, self.run, self.wake = live, key, identity, run, wake
        self.entry: Entry | None = None

    def at(self, place: int) -> Made[Entry] | Awaitable[Entry]:
        """The result at a place that the caller keeps pinned. What is held and still true is not run again, not even by time.

        What is not there at once has begun, and is to be awaited now.
        """
        self._live.catch_up()
        entry = self.entry
        if entry is None or not entry.is_true_at(place):
            made = self._live.entry_at(self.key, self.identity, self.run, place)
            if type(made) is not Made:
                return self._hold_later(made)  # type: ignore[arg-type]
            entry = made.value
            self._hold(entry)
        elif entry.until is not None:
            self.wake()  # true at that place, and ended since: who asks for it once more is told once more
        return Made(entry)

    async def _hold_later(self, running: Awaitable[Entry]) -> Entry:
        entry = await running
        self._hold(entry)
        return entry

    def _hold(self, entry: Entry | None) -> None:
        if self.entry is entry:
            return
        if self.entry is not None:
            self.entry.watches.pop(self, None)
            self._live.release(self.entry)
        self.entry = entry
        if entry is not None:
            entry.watches[self] = None
            if entry.until is not None:
                self.wake()

    def close(self) -> None:
        self._hold(None)


class LiveQueries:
    """The query cache and who watches it. `runs` counts executions, `hits` results given without one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._entries: dict[Hashable, Entry] = {}
        self._flights: dict[Hashable, list[asyncio.Future[None]]] = {}  # what is just run, and who waits for it
        self._known_bound: set[Hashable] = set()
        self._trees: dict[int, IntervalIndex[Entry]] = {}
        self._by_id: dict[str, dict[Entry, None]] = {}
        self._by_name: dict[tuple[str, str], dict[Entry, None]] = {}
        self._unseen: list[LogEntry] = []
        self._is_scheduled = False
        self._size = 0
        self._size_max = engine.settings.cache_bytes
        self.runs = 0
        self.hits = 0

    def watch(self, key: Hashable, run: Run, wake: Callable[[], None], identity: Hashable = None) -> Watch:
        """Subscribe: nothing is run before the first `Watch.at`."""
        return Watch(self, key, identity, run, wake)

    async def cached(self, key: Hashable, run: Run, identity: Hashable = None) -> Entry:
        """The result at the newest durable place, run only if no entry is true there. Raises what the query raised."""
        place = self._engine.log.durable
        self.catch_up()
        entry = self._find(key, identity)
        if entry is None or not entry.is_true_at(place) or self._is_expired(entry) or entry.error is not None:
            self._engine.log.pin(place)
            try:
                entry = await arrived(self.entry_at(key, identity, run, place, fresh=True))
            finally:
                self._engine.log.unpin(place)
        else:
            self.hits += 1
        if entry.error is not None:
            raise entry.error
        return entry

    def entry_at(self, key: Hashable, identity: Hashable, run: Run, place: int, *, fresh: bool = False) -> Made[Entry] | Awaitable[Entry]:
        """An entry that is true at a pinned place: a kept one, one that somebody is just running, or a new run.

        A run that has to wait has begun, and is to be awaited now. `fresh`: a kept error is not good enough.
        """
        self.catch_up()
        entry = self._find(key, identity)
        if entry is not None and entry.is_true_at(place) and not self._is_expired(entry) and not (fresh and entry.error is not None):
            self.hits += 1
            self._touch(entry)
            return Made(entry)
        flight_key = (key, (identity,)) if key in self._known_bound else key
        flight = self._flights.get(flight_key)
        return self._fly(flight_key, key, identity, run, place) if flight is None else self._wait(flight, key, identity, run, place)

    async def _wait(self, flight: list[asyncio.Future[None]], key: Hashable, identity: Hashable, run: Run, place: int) -> Entry:
        """See what another's run gives; perhaps it is true at this place too."""
        landed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        flight.append(landed)
        await landed
        return await arrived(self.entry_at(key, identity, run, place))

    def _fly(self, flight_key: Hashable, key: Hashable, identity: Hashable, run: Run, place: int) -> Made[Entry] | Awaitable[Entry]:
        self.runs += 1
        transaction = Transaction(self._engine, place, False, None)
        try:
            made = run(transaction)
        except Exception as error:
            return Made(self._landed(transaction, None, error, key, identity))
        if type(made) is Made:
            return Made(self._landed(transaction, made.value, None, key, identity))
        waiting = self._flights[flight_key] = []
        return self._go_on(run, transaction, made, flight_key, waiting, key, identity)  # type: ignore[arg-type]

    async def _go_on(
        self,
        run: Run,
        transaction: Transaction,
        running: Awaitable[Any],
        flight_key: Hashable,
        waiting: list[asyncio.Future[None]],
        key: Hashable,
        identity: Hashable,
    ) -> Entry:
        """A run from where it first waits. A deploy that comes between makes it run again, at the same place."""
        engine = self._engine
        try:
            value, error = None, None
            while True:
                try:
                    value = await running
                except Exception as raised:
                    error = raised
                if not transaction.is_gone or transaction.view.epoch == engine.epoch:
                    return self._landed(transaction, value, error, key, identity)
                error = None
                transaction = Transaction(engine, transaction.snapshot, False, None)
                running = _run(run, transaction)
        finally:
            error = None  # its traceback holds this frame: together they would wait for the collector
            del self._flights[flight_key]
            for landed in waiting:
                if not landed.done():
                    landed.set_result(None)

    def _landed(self, transaction: Transaction, value: Any, error: Exception | None, key: Hashable, identity: Hashable) -> Entry:
        """Keep what a run gave. Raises what says nothing about the data."""
        if transaction.is_gone:
            raise StorageUnavailable(*SNAPSHOT_NOT_KEPT)
        if isinstance(error, StorageUnavailable):
            raise error
        engine = self._engine
        place, read_set, facts = transaction.snapshot, transaction.read_set, transaction.facts
        entry = Entry(value, error, read_set, place, engine.log.ts_at(place))
        entry.size = _ENTRY_BYTES + int(facts.get(SIZE, 0)) + _READ_BYTES * len(read_set)
        if facts.get(USES_TIME):
            entry.expires_ms = engine.clock.now_ms() + LIMITS["time_bound_result"].value * 1000.0
        if facts.get(USES_IDENTITY):
            if len(self._known_bound) > _KNOWN_BOUND_MAX:
                self._known_bound.clear()
            self._known_bound.add(key)
            self._store((key, (identity,)), entry)
        else:
            self._known_bound.discard(key)
            self._store(key, entry)
        return entry

    def also_under(self, entry: Entry, key: Hashable, identity: Hashable) -> None:
        """Make an entry the result of a second key as well: a page under the journal that it gave out."""
        bound = any(isinstance(known, tuple) and len(known) == 2 and known[1] == (identity,) for known in entry.keys)
        stored = (key, (identity,)) if bound else key
        if bound:
            self._known_bound.add(key)
        if entry.until is None and stored not in entry.keys and entry.keys:
            self._replace(stored, entry)

    def release(self, entry: Entry) -> None:
        """Nobody watches it any more: an error is not kept for later askers."""
        if not entry.watches and entry.error is not None:
            self._drop(entry)

    def forget_all(self) -> None:
        """Code or tables have changed: every result ends, every watch is woken."""
        place = self._engine.log.durable
        for entry in list(dict.fromkeys(self._entries.values())):
            self._end(entry, place)

    # keeping

    def _find(self, key: Hashable, identity: Hashable) -> Entry | None:
        entry = self._entries.get(key)
        return entry if entry is not None else self._entries.get((key, (identity,)))

    def _is_expired(self, entry: Entry) -> bool:
        return entry.expires_ms is not None and entry.expires_ms <= self._engine.clock.now_ms()

    def _store(self, key: Hashable, entry: Entry) -> None:
        log = self._engine.log
        # Commits that became durable while it ran: none of them may be missed.
        for later in log.after(entry.since):
            if later.place > log.durable:
                break
            if entry.read_set.is_touched_by(later):
                entry.until = later.place
                return
        known = self._entries.get(key)
        if known is not None and known.since > entry.since and known.until is None:
            entry.until = entry.since + 1  # true where it was asked for; a newer one is kept
            return
        self._register(entry)
        self._replace(key, entry)
        self._size += entry.size
        if self._size > self._size_max:
            self._evict()

    def _replace(self, key: Hashable, entry: Entry) -> None:
        known = self._entries.pop(key, None)
        self._entries[key] = entry
        entry.keys.append(key)
        if known is not None and known is not entry:
            known.keys.remove(key)
            if not known.keys and not known.watches:
                self._drop(known)

    def _touch(self, entry: Entry) -> None:
        for key in entry.keys:
            self._entries[key] = self._entries.pop(key)

    def _evict(self) -> None:
        for entry in list(dict.fromkeys(self._entries.values())):
            if self._size <= self._size_max * 0.9:
                return
            if not entry.watches:
                self._drop(entry)

    def _drop(self, entry: Entry) -> None:
        """Forget an entry that nobody needs."""
        if entry.until is None:
            self._end(entry, self._engine.log.durable)

    def _register(self, entry: Entry) -> None:
        read_set = entry.read_set
        for id in read_set.ids:
            self._by_id.setdefault(id, {})[entry] = None
        for name in read_set.names:
            self._by_name.setdefault(name, {})[entry] = None
        for index, interval in read_set:
            tree = self._trees.get(index)
            if tree is None:
                tree = self._trees[index] = IntervalIndex()
            tree.add(interval, entry)

    def _unregister(self, entry: Entry) -> None:
        read_set = entry.read_set
        for id in read_set.ids:
            _discard(self._by_id, id, entry)
        for name in read_set.names:
            _discard(self._by_name, name, entry)
        for index, interval in read_set:
            tree = self._trees.get(index)
            if tree is not None:
                tree.remove(interval, entry)
                if not len(tree):
                    del self._trees[index]

    # ending

    def notice(self, entries: Sequence[LogEntry]) -> None:
        """Commits have become durable. Who is hit is looked up in the next turn of the loop, behind the answers, or when somebody asks."""
        if not (self._by_id or self._trees or self._by_name):
            return
        self._unseen.extend(entries)
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._catch_up_later)

    def _catch_up_later(self) -> None:
        self._is_scheduled = False
        self.catch_up()

    def catch_up(self) -> None:
        """End every result that a durable commit has touched."""
        if not self._unseen:
            return
        unseen, self._unseen = self._unseen, []
        for log_entry in unseen:
            hit: dict[Entry, None] = {}
            if self._by_id:
                for id in log_entry.ids:
                    found = self._by_id.get(id)
                    if found is not None:
                        hit.update(found)
            if log_entry.names:
                for name in log_entry.names:
                    hit.update(self._by_name.get(name, {}))
            if self._trees:
                self._find_readers(log_entry, hit)
            for entry in hit:
                self._end(entry, log_entry.place)

    def _find_readers(self, log_entry: LogEntry, hit: dict[Entry, None]) -> None:
        """Add the entries that have read a range in which the commit changed something."""
        tables, trees = self._engine.catalog.by_number, self._trees
        writes = log_entry.writes
        for number in [writes[0].table] if len(writes) == 1 else {write.table for write in writes}:
            table = tables.get(number)
            if table is None:
                continue
            for index in table.indexes.values():
                tree = trees.get(index.number)
                if tree is None:
                    continue
                for key in log_entry.keys(index.number):
                    tree.find_containing(key, hit)
                for span in log_entry.spans(index.number):
                    tree.find_overlapping(span, hit)

    def _end(self, entry: Entry, place: int) -> None:
        if entry.until is not None:
            return
        entry.until = place
        self._unregister(entry)
        self._size -= entry.size
        for key in entry.keys:
            if self._entries.get(key) is entry:
                del self._entries[key]
        entry.keys.clear()
        for watch in list(entry.watches):
            watch.wake()


async def _run(run: Run, transaction: Transaction) -> Any:
    return await arrived(run(transaction))


def _discard(index: dict[Any, dict[Entry, None]], key: Any, entry: Entry) -> None:
    held = index.get(key)
    if held is not None:
        held.pop(entry, None)
        if not held:
            del index[key]
