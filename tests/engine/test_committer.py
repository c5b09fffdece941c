from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from interlock.engine import Engine, Interval, Transaction
from interlock.engine.turns import Turns
from interlock.engine.view import SnapshotGone
from interlock.errors import StorageUnavailable, WriteConflict
from interlock.storage.protocol import NothingWritten, OutcomeUnknown

from .conftest import open_engine
from .faults import GatedStorage

ALL = Interval(b"", None)


def adds(name: str, n: int = 1, seen: list[int] | None = None, pauses: int = 0) -> Callable[[Transaction], Awaitable[int]]:
    """A mutation that reads the row of a name, adds to it or makes it, and may pause in between."""

    async def run(tx: Transaction) -> int:
        table = tx.table("", "items")
        assert table is not None
        prefix = b"\x10" + name.encode() + b"\x00"
        rows = await tx.scan(table.indexes["by_name"], Interval(prefix, prefix[:-1] + b"\x01"), False, 1)
        for _ in range(pauses):
            await asyncio.sleep(0)
        if not rows:
            tx.insert(table, {"name": name, "n": n})
            return n
        await tx.patch(table, rows[0]["_id"], {"n": rows[0]["n"] + n})
        return int(rows[0]["n"]) + n

    return run


async def value_of(engine: Engine, name: str) -> int | None:
    async def run(tx: Transaction) -> int | None:
        table = tx.table("", "items")
        assert table is not None
        rows = [row for row in await tx.scan(table.indexes["by_creation_time"], ALL, False, None) if row["name"] == name]
        return rows[0]["n"] if rows else None

    return (await engine.query(run)).value


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_hot_document_loses_no_update_and_runs_each_mutation_once(is_cold: bool) -> None:
    async with open_engine(is_cold=is_cold) as engine:
        await engine.mutate(adds("a", 0), label="add")
        outcomes = await asyncio.gather(*(engine.mutate(adds("a"), label="add") for _ in range(100)))
        assert await value_of(engine, "a") == 100
        if not is_cold:
            assert [outcome.runs for outcome in outcomes] == [1] * 100


async def test_mutations_that_pause_lose_a_few_times_and_then_take_turns() -> None:
    async with open_engine() as engine:
        await engine.mutate(adds("a", 0), label="add")
        outcomes = await asyncio.gather(*(engine.mutate(adds("a", pauses=3), label="add") for _ in range(64)))
        assert await value_of(engine, "a") == 64
        assert max(outcome.runs for outcome in outcomes) <= 4
        assert not engine.committer.turns.active


async def test_whoever_waits_for_a_turn_waits_for_the_last_one_before_it_and_is_not_woken_by_each() -> None:
    turns = Turns()
    first, second, third = (turns.take(label) for label in ("first", "second", "third"))
    for turn in (first, second, third):
        turn.reserves_all = True
    assert turns.ahead_of(third) is second and turns.ahead_of(second) is first and turns.ahead_of(first) is None
    turns.end(second)
    assert turns.ahead_of(third) is first
    turns.end(first)
    assert turns.ahead_of(third) is None


async def test_a_turn_holds_up_only_who_touches_what_it_reserved() -> None:
    async with open_engine() as engine:
        await engine.mutate(adds("a", 0), label="add")
        turn = engine.committer.turns.take("held")
        turn.reserved.update((await engine.mutate(adds("a", 1), label="add")).read_set)
        blocked = asyncio.ensure_future(engine.mutate(adds("a", 1), label="add"))
        await engine.mutate(adds("b", 1), label="add")
        assert not blocked.done()
        engine.committer.turns.end(turn)
        await blocked
        assert await value_of(engine, "a") == 2


async def test_a_mutation_that_is_given_up_while_it_waits_for_its_turn_holds_up_nobody() -> None:
    async with open_engine() as engine:
        await engine.mutate(adds("a", 0), label="add")
        turn = engine.committer.turns.take("ahead")
        turn.reserves_all = True

        async def loses(tx: Transaction) -> None:
            await adds("a")(tx)
            raise SnapshotGone

        loser = asyncio.ensure_future(engine.mutate(loses, label="loser"))
        await settle()
        assert len(engine.committer.turns.active) == 2
        loser.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loser
        engine.committer.turns.end(turn)
        await engine.mutate(adds("a"), label="add")
        assert not engine.committer.turns.active


async def test_whoever_waits_past_the_deadline_gets_a_write_conflict_that_names_the_winner() -> None:
    async with open_engine() as engine:
        await engine.mutate(adds("a", 0), label="add")
        stop = False

        async def keep_writing() -> None:
            while not stop:
                await engine.mutate(adds("a"), label="winner")

        async def run(tx: Transaction) -> None:
            await adds("a", 1, pauses=5)(tx)

        writer = asyncio.ensure_future(keep_writing())
        with pytest.raises(WriteConflict) as caught:
            await engine.mutate(run, label="loser", deadline_ms=engine.clock.now_ms() - 1)
        stop = True
        await writer
        assert caught.value.winner == "winner" and caught.value.table == "items" and caught.value.ids


async def test_whoever_waits_past_the_deadline_for_an_earlier_turn_is_told_what_is_held_and_by_whom() -> None:
    async with open_engine() as engine:
        await engine.mutate(adds("a", 0), label="add")
        turn = engine.committer.turns.take("holder")
        turn.reserved.update((await engine.mutate(adds("a", 1), label="add")).read_set)
        with pytest.raises(WriteConflict) as caught:
            await engine.mutate(adds("a", 1), label="loser", deadline_ms=engine.clock.now_ms() - 1)
        engine.committer.turns.end(turn)
        assert (caught.value.winner, caught.value.table, len(caught.value.ids)) == ("holder", "items", 1)


async def test_queries_see_only_what_is_on_disk_and_mutations_what_stands() -> None:
    storage = GatedStorage()
    async with open_engine(storage=storage) as engine:
        await engine.mutate(adds("a", 1), label="add")
        storage.gate.clear()
        pending = asyncio.ensure_future(engine.mutate(adds("a", 1), label="add"))
        await settle()
        assert await value_of(engine, "a") == 1
        second = asyncio.ensure_future(engine.mutate(adds("a", 1), label="add"))
        await settle()
        assert not pending.done() and not second.done()
        storage.gate.set()
        assert (await pending).value == 2 and (await second).value == 3
        assert await value_of(engine, "a") == 3


async def test_an_answer_that_wrote_nothing_waits_for_what_it_read() -> None:
    storage = GatedStorage()
    async with open_engine(storage=storage) as engine:
        storage.gate.clear()
        writing = asyncio.ensure_future(engine.mutate(adds("a", 1), label="add"))
        await settle()

        async def reads(tx: Transaction) -> int:
            table = tx.table("", "items")
            assert table is not None
            return len(await tx.scan(table.indexes["by_creation_time"], ALL, False, None))

        async def raises(tx: Transaction) -> None:
            assert await reads(tx) == 1
            raise KeyError("seen")

        reading = asyncio.ensure_future(engine.mutate(reads, label="read"))
        raising = asyncio.ensure_future(engine.mutate(raises, label="raise"))
        await settle()
        assert not reading.done() and not raising.done()
        storage.gate.set()
        assert (await reading).value == 1
        with pytest.raises(KeyError):
            await raising
        await writing


async def test_one_batch_syncs_while_the_next_gathers() -> None:
    storage = GatedStorage()
    async with open_engine(storage=storage) as engine:
        storage.batches.clear()
        storage.gate.clear()
        first = asyncio.ensure_future(engine.mutate(adds("a"), label="add"))
        await settle()
        rest = [asyncio.ensure_future(engine.mutate(adds("a"), label="add")) for _ in range(9)]
        await settle()
        storage.gate.set()
        await asyncio.gather(first, *rest)
        assert storage.batches == [1, 9]


async def test_a_refused_batch_is_taken_back_and_leaves_no_trace(is_cold: bool) -> None:
    storage = GatedStorage()
    async with open_engine(storage=storage, is_cold=is_cold) as engine:
        await engine.mutate(adds("a", 1), label="add")
        storage.gate.clear()
        refused = [asyncio.ensure_future(engine.mutate(adds(name, 10), label="add")) for name in ("a", "b")]
        await settle()

        async def reads_b(tx: Transaction) -> int:
            table = tx.table("", "items")
            assert table is not None
            return len(await tx.scan(table.indexes["by_name"], Interval(b"\x10b", b"\x10c"), False, None))

        rests_on_it = asyncio.ensure_future(engine.mutate(reads_b, label="read"))
        await settle()
        storage.refuse = True
        storage.gate.set()
        results = await asyncio.gather(*refused, rests_on_it, return_exceptions=True)
        assert all(isinstance(result, StorageUnavailable) for result in results), results
        assert await value_of(engine, "a") == 1 and await value_of(engine, "b") is None
        with pytest.raises(StorageUnavailable, match="no space left"):
            await engine.mutate(adds("a"), label="add")
        storage.refuse = False
        await engine.committer._probe_storage()
        assert (await engine.mutate(adds("a", 5), label="add")).value == 6
        assert (await engine.mutate(adds("b", 5), label="add")).value == 5
        assert await value_of(engine, "a") == 6


async def test_a_reader_of_a_commit_that_is_taken_back_while_it_waits_runs_again() -> None:
    storage = GatedStorage()
    async with open_engine(storage=storage) as engine:
        seen: list[int | None] = []
        storage.gate.clear()
        writing = asyncio.ensure_future(engine.mutate(adds("a", 1), label="add"))
        await settle()
        go_on = asyncio.Event()

        async def reads(tx: Transaction) -> int:
            table = tx.table("", "items")
            assert table is not None
            rows = await tx.scan(table.indexes["by_creation_time"], ALL, False, None)
            seen.append(len(rows))
            await go_on.wait()
            return len(rows)

        reading = asyncio.ensure_future(engine.mutate(reads, label="read"))
        await settle()
        storage.refuse = True
        storage.gate.set()
        with pytest.raises(StorageUnavailable):
            await writing
        storage.refuse = False
        await engine.committer._probe_storage()
        go_on.set()
        assert (await reading).value == 0
        assert seen == [1, 0]


async def test_an_unknown_outcome_ends_the_engine() -> None:
    storage = GatedStorage()
    async with open_engine(storage=storage) as engine:
        await engine.mutate(adds("a", 1), label="add")
        told: list[BaseException] = []
        engine.committer.on_fatal = told.append
        storage.break_off = True
        with pytest.raises(StorageUnavailable, match="not known"):
            await engine.mutate(adds("a", 1), label="add")
        with pytest.raises(StorageUnavailable):
            await engine.mutate(adds("b", 1), label="add")
        assert len(told) == 1
        storage.break_off = False
    async with open_engine(storage=storage) as again:
        assert await value_of(again, "a") == 1


async def test_house_keeping_that_a_disk_refuses_is_tried_again_and_one_of_unknown_outcome_ends_the_engine() -> None:
    class Forgetful(GatedStorage):
        async def forget(self, before: int) -> None:
            if self.refuse:
                raise NothingWritten("no space left", "free some")
            if self.break_off:
                raise OutcomeUnknown("fsync failed")
            await super().forget(before)

    storage = Forgetful()
    async with open_engine(storage=storage) as engine:
        await engine.mutate(adds("a"), label="add")
        storage.refuse = True
        with pytest.raises(StorageUnavailable, match="no space left"):
            await engine.forget_history()
        storage.refuse = False
        await engine.mutate(adds("a"), label="add")
        await engine.forget_history()
        storage.break_off = True
        with pytest.raises(StorageUnavailable, match="not known"):
            await engine.forget_history()
        with pytest.raises(StorageUnavailable, match="not known"):
            await engine.mutate(adds("a"), label="add")


async def test_reading_a_range_depends_on_what_was_consumed_and_no_more() -> None:
    async with open_engine() as engine:
        for n, name in enumerate("bdf"):
            await engine.mutate(adds(name, n), label="add")

        async def first(tx: Transaction) -> list[dict[str, Any]]:
            table = tx.table("", "items")
            assert table is not None
            rows = await tx.scan(table.indexes["by_name"], ALL, False, 1)
            tx.insert(table, {"name": "z", "n": 0})
            return rows

        for name, is_lost in (("e", False), ("a", True), ("b", False), ("a", True)):
            runs = 0

            async def run(tx: Transaction, name: str = name) -> None:
                nonlocal runs
                runs += 1
                await first(tx)
                if runs == 1:
                    await engine.mutate(adds(name, 7), label="other")

            await engine.mutate(run, label="first")
            assert runs == (2 if is_lost else 1), name
