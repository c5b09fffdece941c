"""Clients that run random transactions on an engine, at the same time, and write down what they were answered.

A program is what one transaction does, made from a seed; run again after a conflict it does the same. Keys say by their first
letter how they are stored:

    d  a list in one document, which every append reads and replaces
    r  a list as rows in the order of their commit timestamps: appended without reading anything
    n  a list as numbered rows: an append reads the last one
    u  a list as numbered rows in a table of its own, which no schema declares: the first append makes it
    g  a register, found by its name; written by patch, or by delete and insert

Start at `Run.history`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from interlock.engine import Engine, EngineSettings, Interval, Table, TableSpec, Transaction, Watch
from interlock.engine.made import arrived
from interlock.errors import StorageUnavailable, WriteConflict
from interlock.testing.virtual_clock import VirtualClock
from interlock.values import CommitTimestamp, after_values, encode_key

from .elle import Anomaly, Append, Count, Get, Layer, Op, Put, ReadLast, ReadList, Status, Txn
from .faulty_storage import Disk, Faults, memory_disk

START_MS = 1_760_000_000_000.0
_LISTS, _ROWS, _NUMBERED, _REGISTERS = "lists", "rows", "numbered", "registers"
_TABLE_OF = {"d": _LISTS, "r": _ROWS, "n": _NUMBERED, "g": _REGISTERS}
TABLES = (
    TableSpec("", _LISTS, indexes={"by_key": ("key",)}),
    TableSpec("", _ROWS, indexes={"by_key_at": ("key", "at")}),
    TableSpec("", _NUMBERED, indexes={"by_key_n": ("key", "n")}),
    TableSpec("", _REGISTERS, indexes={"by_key": ("key",), "by_key_value": ("key", "value")}),
)
_WITH_ANOTHER_INDEX = TableSpec("", _LISTS, indexes={"by_key": ("key",), "by_values": ("values",)})
_INDEX_OF = {_LISTS: "by_key", _ROWS: "by_key_at", _NUMBERED: "by_key_n", _REGISTERS: "by_key"}


class Refused(Exception):
    """Raised by a program on purpose."""


class Step(NamedTuple):
    """One step of a program. `what` is a method of `Player`."""

    what: str
    key: str = ""
    value: int = 0
    inner: tuple[Any, ...] = ()


Program = tuple[Step, ...]


@dataclass(frozen=True)
class Mix:
    """What programs are made of. `keys` are all keys; the fewer, the more conflicts. `prefill` rows lie in each list at the start."""

    keys: tuple[str, ...] = ("d0", "d1", "r0", "r1", "n0", "n1", "u0", "u1", "g0", "g1")
    steps_max: int = 4
    pause: float = 0.5
    layer: float = 0.15
    fails: float = 0.05
    queries: float = 0.15
    reads: float = 0.5
    live: float = 0.1  # of the transactions are looks at a live query
    clash: float = 0.05  # of the steps of mutations read what somebody else then changes, for certain
    prefill: int = 0


class Author:
    """Makes programs. No two write the same value."""

    def __init__(self, chance: random.Random, mix: Mix) -> None:
        self._chance, self._mix = chance, mix
        self._value = 0

    def program(self) -> tuple[bool, Program]:
        """Whether it is a query, and its steps."""
        is_query = self._chance.random() < self._mix.queries
        steps = self._steps(is_query, 0)
        if not is_query and self._chance.random() < self._mix.fails:
            steps = (*steps, Step("refuse"))
        return is_query, steps

    def look(self) -> Program:
        return self._steps(True, 0)

    def fill(self, key: str, count: int) -> Program:
        return tuple(Step("append", key, self._next()) for _ in range(count))

    def _next(self) -> int:
        self._value += 1
        return self._value

    def _steps(self, is_query: bool, depth: int) -> Program:
        chance, mix = self._chance, self._mix
        steps: list[Step] = []
        for _ in range(chance.randint(1, mix.steps_max)):
            if chance.random() < mix.pause:
                steps.append(Step("pause", value=chance.choice((1, 1, 1, 2, 5))))
            if not is_query and depth < 3 and chance.random() < mix.layer:
                steps.append(Step(chance.choice(("fold", "drop", "catch")), inner=self._steps(False, depth + 1)))
                continue
            key = chance.choice(mix.keys)
            is_register = key[0] == "g"
            if not is_query and chance.random() < mix.clash:
                steps.append(Step("clash", key, self._next()))
                continue
            if is_query or chance.random() < mix.reads:
                reads = ("get", "get_by_value") if is_register else ("read", "read", "last", "count", "walk")
                steps.append(Step(chance.choice(reads), key))
            elif is_register:
                # Mostly after a read, so that the order of the versions is known.
                if chance.random() < 0.8:
                    steps.append(Step("get", key))
                steps.append(Step(chance.choice(("put", "put_anew")), key, self._next()))
            else:
                steps.append(Step("append", key, self._next()))
        return tuple(steps)


Clash = Callable[[str, int], Awaitable[None]]


class Player:
    """Runs a program in a transaction. `ops` is what it did and saw so far, also when it raises. `clash` has somebody else write."""

    def __init__(self, tx: Transaction, clash: Clash | None = None) -> None:
        self._tx, self._make_clash = tx, clash
        self.ops: list[Op] = []

    async def play(self, program: Program) -> None:
        for step in program:
            await getattr(self, "_" + step.what)(step)

    async def _pause(self, step: Step) -> None:
        for _ in range(step.value):
            await asyncio.sleep(0)

    async def _refuse(self, step: Step) -> None:
        raise Refused

    async def _clash(self, step: Step) -> None:
        """Read, and have it changed before this transaction ends."""
        await (self._get(step) if step.key[0] == "g" else self._read(step))
        if self._make_clash is not None:
            await self._make_clash(step.key, step.value)

    # sub-transactions

    async def _fold(self, step: Step) -> None:
        await self._layer(step.inner, is_dropped=False)

    async def _drop(self, step: Step) -> None:
        await self._layer(step.inner, is_dropped=True)

    async def _catch(self, step: Step) -> None:
        """A sub-transaction that raises in the middle."""
        await self._layer((*step.inner[: len(step.inner) // 2 + 1], Step("refuse")), is_dropped=True)

    async def _layer(self, program: Program, *, is_dropped: bool) -> None:
        mark = self._tx.begin_layer()
        outside, self.ops = self.ops, []
        try:
            await self.play(program)
        except Refused:
            self._tx.drop_layer(mark)
        else:
            if is_dropped:
                self._tx.drop_layer(mark)
            else:
                self._tx.fold_layer(mark)
        finally:
            inside, self.ops = self.ops, outside
            self.ops.append(Layer(tuple(inside), is_dropped))

    # lists

    async def _append(self, step: Step) -> None:
        tx, key, value = self._tx, step.key, step.value
        table = self._table(key) or tx.make_table("", key)
        if key[0] == "r":
            tx.insert(table, {"key": key, "value": value, "at": CommitTimestamp()})
        elif key[0] == "u":
            tx.insert(table, {"value": value, "n": len(await self._rows(key))})
        elif key[0] == "n":
            last = await self._rows(key, descending=True, limit=1)
            tx.insert(table, {"key": key, "value": value, "n": last[0]["n"] + 1 if last else 0})
        else:
            found = await self._rows(key, limit=1)
            if found:
                await tx.patch(table, found[0]["_id"], {"values": [*found[0]["values"], value]})
            else:
                tx.insert(table, {"key": key, "values": [value]})
        self.ops.append(Append(key, value))

    async def _read(self, step: Step) -> None:
        key = step.key
        rows = await self._rows(key)
        values = (rows[0]["values"] if rows else []) if key[0] == "d" else [row["value"] for row in rows]
        self.ops.append(ReadList(key, tuple(values)))

    async def _walk(self, step: Step) -> None:
        """The same bit by bit, backwards."""
        key = step.key
        if key[0] in "du":
            return await self._read(step)
        cursor = self._tx.cursor(self._index(key), _of(key), True)
        values: list[int] = []
        while not cursor.is_drained:
            rows = await cursor.fetch(3)
            cursor.consume(len(rows))
            values += [row["value"] for _, row in rows]
        self.ops.append(ReadList(key, tuple(reversed(values))))
        return None

    async def _last(self, step: Step) -> None:
        key = step.key
        if key[0] == "u":
            return await self._read(step)
        rows = await self._rows(key, descending=True, limit=1)
        if key[0] == "d":
            self.ops.append(ReadLast(key, rows[0]["values"][-1] if rows else None))
        else:
            self.ops.append(ReadLast(key, rows[0]["value"] if rows else None))
        return None

    async def _count(self, step: Step) -> None:
        if step.key[0] == "d":
            return await self._last(step)
        index = self._index(step.key)
        self.ops.append(Count(step.key, 0 if index is None else await self._tx.count(index, _of(step.key))))
        return None

    # registers

    async def _get(self, step: Step) -> None:
        """By index and by id, which have to agree."""
        rows = await self._rows(step.key)
        if not rows:
            self.ops.append(Get(step.key, None))
        for row in rows:
            document = await self._tx.get(self._table(step.key), row["_id"])
            self.ops.append(Get(step.key, row["value"]))
            self.ops.append(Get(step.key, None if document is None else document["value"]))

    async def _get_by_value(self, step: Step) -> None:
        """Through an index in which each write moves it."""
        rows = await self._tx.scan(self._table(step.key).indexes["by_key_value"], _of(step.key), True, 2)
        self.ops += [Get(step.key, row["value"]) for row in rows] or [Get(step.key, None)]

    async def _put(self, step: Step) -> None:
        tx, table = self._tx, self._table(step.key)
        rows = await self._rows(step.key)
        if rows:
            await tx.patch(table, rows[0]["_id"], {"value": step.value})
        else:
            tx.insert(table, {"key": step.key, "value": step.value})
        self.ops.append(Put(step.key, step.value))

    async def _put_anew(self, step: Step) -> None:
        table = self._table(step.key)
        for row in await self._rows(step.key):
            await self._tx.delete(table, row["_id"])
        self._tx.insert(table, {"key": step.key, "value": step.value})
        self.ops.append(Put(step.key, step.value))

    # tables

    def _table(self, key: str) -> Any:
        return self._tx.table("", _TABLE_OF.get(key[0], key))

    def _index(self, key: str) -> Any:
        table: Table | None = self._table(key)
        return None if table is None else table.indexes[_INDEX_OF.get(table.name, "by_creation_time")]

    async def _rows(self, key: str, *, descending: bool = False, limit: int | None = None) -> list[dict[str, Any]]:
        index = self._index(key)
        if index is None:
            return []
        rows = await self._tx.scan(index, _of(key), descending, limit)
        return sorted(rows, key=lambda row: float(row["n"])) if key[0] == "u" else rows


def _of(key: str) -> Interval:
    if key[0] == "u":
        return Interval(b"", None)
    prefix = encode_key(key)
    return Interval(prefix, after_values(prefix))


@dataclass
class Run:
    """One history. Everything in it comes from `seed`; on memory storage two runs of one seed are the same.

    `errors` are those that a sound engine never raises.
    """

    seed: int
    clients: int = 8
    programs: int = 200
    mix: Mix = field(default_factory=Mix)
    faults: Faults = field(default_factory=lambda: Faults(delay=6))
    crash: float = 0.0  # how likely it is, each time a client begins
    is_cold: bool = False
    cools: float = 0.0  # how likely a table stops to live in memory, each time a client begins
    deploys: float = 0.0
    make_disk: Callable[[random.Random, Faults, Callable[[], int]], Disk] = memory_disk

    def history(self) -> list[Txn]:
        return asyncio.run(self._within_a_minute())

    async def _within_a_minute(self) -> list[Txn]:
        async with asyncio.timeout(60):
            return await self._history()

    async def _history(self) -> list[Txn]:
        chance = self._chance = random.Random(self.seed)
        self.crashes = self.reruns = self.refused = self.clashes = 0
        self._clock = VirtualClock(START_MS)
        self._disk = self.make_disk(chance, self.faults, lambda: int(self._clock.now_ms() * 1e6))
        self.errors: list[Exception] = []
        self.anomalies: list[Anomaly] = []
        self._txns: list[Txn] = []
        self._time = 0
        self._left = self.programs
        self._author = Author(chance, self.mix)
        self._looks = [self._author.look() for _ in range(6)]
        await self._open()
        for key in self.mix.keys if self.mix.prefill else ():
            if key[0] != "g":
                await self._run(False, self._author.fill(key, self.mix.prefill), "fill")
        while self._left:
            await self._until_a_crash()
        self.faults.refused = self.faults.unknown = 0.0
        self._clock.move_to(self._clock.now_ms() + 2_000)
        for _ in range(200):
            await asyncio.sleep(0)
        if self._engine.committer.fatal is not None:
            await self._crash()
        keys = self.mix.keys
        everything = tuple(Step("get" if key[0] == "g" else "read", key) for key in keys)
        await self._run(False, everything, "the last look")
        await self._run(True, everything, "the last query")
        assert self.errors or self._txns[-1].status is Status.OK
        await self._engine.close()
        return self._txns

    async def _open(self) -> None:
        settings = EngineSettings(memory_bytes=-1 if self.is_cold else 1 << 30)
        self._engine = Engine(self._disk.mount(), clock=self._clock, seed=self._chance.getrandbits(32), settings=settings)
        await self._engine.open()
        await self._engine.deploy(TABLES)
        self._watches: dict[int, Watch] = {}
        if self.is_cold:
            for table in self._engine.catalog.by_number.values():
                table.memory = None

    async def _until_a_crash(self) -> None:
        """All clients, until they are done or the engine dies under them."""
        loop = asyncio.get_running_loop()
        self._dying = loop.create_future()
        clients = [loop.create_task(self._client(f"c{number}")) for number in range(self.clients)]
        over = asyncio.gather(*clients)
        await asyncio.wait([over, self._dying], return_when=asyncio.FIRST_COMPLETED)
        if self._dying.done():
            for _ in range(self._chance.randint(0, 10)):
                await asyncio.sleep(0)
            await self._crash()
            await asyncio.wait([over])
        if not isinstance(over.exception(), asyncio.CancelledError | None):
            over.result()

    async def _crash(self) -> None:
        self.crashes += 1
        await self._disk.crash()
        await self._open()

    async def _client(self, name: str) -> None:
        while self._left and not self._dying.done():
            if (self.crash and self._chance.random() < self.crash) or self._engine.committer.fatal is not None:
                self._dying.set_result(None)
                await asyncio.get_running_loop().create_future()
            self._left -= 1
            await self._disturb()
            label = f"{name}.{self._left}"
            if self._chance.random() < self.mix.live:
                await self._look(label)
            else:
                await self._run(*self._author.program(), label)
            for _ in range(self._chance.choice((0, 0, 1, 3))):
                await asyncio.sleep(0)

    async def _disturb(self) -> None:
        """What a busy backend does beside running transactions."""
        chance, engine = self._chance, self._engine
        if chance.random() < self.cools:
            chance.choice(list(engine.catalog.by_number.values())).memory = None
        if chance.random() < self.deploys:
            with suppress(StorageUnavailable):
                await engine.deploy(chance.choice((TABLES, (*TABLES[1:], _WITH_ANOTHER_INDEX))))

    async def _run(self, is_query: bool, program: Program, name: str) -> None:
        """One transaction, written down with how it ended."""
        clock, engine = self._clock, self._engine
        clock.move_to(clock.now_ms() + self._chance.randint(0, 2))
        player: Player | None = None

        async def run(tx: Transaction) -> None:
            nonlocal player
            # Once: a transaction that is run again, perhaps in its turn, must not be waited for by one that it waits for itself.
            player = Player(tx, clash if player is None else None)
            await player.play(program)

        async def clash(key: str, value: int) -> None:
            self.clashes += 1
            what = "put" if key[0] == "g" else "append"
            await self._run(False, (Step(what, key, value),), f"{name} against {value}")

        begun, ended = self._tick(), None
        status, ops, ts = Status.UNKNOWN, tuple(_writes(program)), None
        try:
            outcome = await (engine.query(run) if is_query else engine.mutate(run, label=name))
            assert player is not None
            self.reruns += outcome.runs - 1
            status, ops, ts, ended = Status.OK, tuple(player.ops), outcome.ts, self._tick()
        except Refused:
            assert player is not None
            status, ops, ended = Status.FAILED, tuple(player.ops), self._tick()
        except (StorageUnavailable, WriteConflict):
            if engine.committer.fatal is None:
                status, ended = Status.FAILED, self._tick()
                self.refused += 1
                await self._probe()
        except Exception as error:
            self.errors.append(error)
        finally:
            self._txns.append(Txn(name, ops, status, begun, ended, ts=ts))

    async def _look(self, name: str) -> None:
        """At the result of a query that is kept: in the cache, or by a subscriber."""
        live, log = self._engine.live, self._engine.log
        number = self._chance.randrange(len(self._looks))
        watch = self._watches.get(number)
        begun, ended = self._tick(), None
        status, ops = Status.UNKNOWN, ()

        async def run(tx: Transaction) -> tuple[Op, ...]:
            player = Player(tx)
            await player.play(self._looks[number])
            return tuple(player.ops)

        try:
            if watch is None and self._chance.random() < 0.5:
                entry = await live.cached(number, run)
            else:
                watch = watch or self._watches.setdefault(number, live.watch(number, run, lambda: None))
                place = log.durable
                log.pin(place)
                try:
                    entry = await arrived(watch.at(place))
                finally:
                    log.unpin(place)
            if entry.error is not None:
                raise entry.error
            status, ops, ended = Status.OK, entry.value, self._tick()
        except StorageUnavailable:
            status, ended = Status.FAILED, self._tick()
        except Exception as error:
            self.errors.append(error)
        finally:
            self._txns.append(Txn(f"{name} (live)", ops, status, begun, ended))

    async def _probe(self) -> None:
        """Wait until storage takes writes again. The engine asks it once a second."""
        for _ in range(self._chance.randint(1, 5)):
            self._clock.move_to(self._clock.now_ms() + 1_000)
            for _ in range(10):
                await asyncio.sleep(0)

    def _tick(self) -> int:
        self._time += 1
        return self._time


def _writes(program: Sequence[Step]) -> list[Op]:
    """What a program writes, without what it reads: all that is known of it when no answer came."""
    ops: list[Op] = []
    for step in program:
        match step.what:
            case "append":
                ops.append(Append(step.key, step.value))
            case "put" | "put_anew":
                ops.append(Put(step.key, step.value))
            case "fold":
                ops.append(Layer(tuple(_writes(step.inner)), False))
            case "drop":
                ops.append(Layer(tuple(_writes(step.inner)), True))
            case "catch":
                ops.append(Layer(tuple(_writes(step.inner[: len(step.inner) // 2 + 1])), True))
    return ops
