from __future__ import annotations

import asyncio
from typing import Any

from interlock.engine import Engine, Interval, TableSpec, Transaction
from interlock.values import CommitTimestamp, Int64, encode_key

from .conftest import open_engine
from .faults import GatedStorage

ALL = Interval(b"", None)
EVENTS = TableSpec("", "events", indexes={"by_at": ("at",), "by_kind_at": ("kind", "at")})


def event(kind: str, also: list[Any] | None = None) -> Any:
    async def run(tx: Transaction) -> str:
        table = tx.table("", "events")
        assert table is not None
        id, _ = tx.insert(table, {"kind": kind, "at": CommitTimestamp()})
        if also is not None:
            own = await tx.get(table, id)
            rows = await tx.scan(table.indexes["by_at"], ALL, False, None)
            also[:] = [own and own["at"], [row["kind"] for row in rows]]
        return id

    return run


async def rows_of(engine: Engine, index: str = "by_at") -> list[dict[str, Any]]:
    async def run(tx: Transaction) -> list[dict[str, Any]]:
        table = tx.table("", "events")
        assert table is not None
        return await tx.scan(table.indexes[index], ALL, False, None)

    return (await engine.query(run)).value


async def test_a_commit_timestamp_is_filled_in_at_commit_and_orders_by_commit(is_cold: bool) -> None:
    async with open_engine(EVENTS, is_cold=is_cold) as engine:
        seen: list[Any] = []
        first = await engine.mutate(event("a"), label="event")
        second = await engine.mutate(event("b", seen), label="event")
        assert isinstance(seen[0], CommitTimestamp) and seen[1] == ["a", "b"]
        rows = await rows_of(engine)
        assert [(row["kind"], row["at"]) for row in rows] == [("a", first.ts), ("b", second.ts)]
        assert all(type(row["at"]) is Int64 for row in rows)
        assert [row["kind"] for row in await rows_of(engine, "by_kind_at")] == ["a", "b"]


async def test_whoever_meets_a_row_without_its_timestamp_waits_for_it(is_cold: bool) -> None:
    storage = GatedStorage()
    async with open_engine(EVENTS, storage=storage, is_cold=is_cold) as engine:
        storage.gate.clear()
        writing = asyncio.ensure_future(engine.mutate(event("a"), label="event"))
        for _ in range(20):
            await asyncio.sleep(0)

        async def reads(tx: Transaction) -> Any:
            table = tx.table("", "events")
            assert table is not None
            [row] = await tx.scan(table.indexes["by_at"], ALL, False, None)
            tx.insert(table, {"kind": "seen", "at": row["at"]})
            return row["at"]

        reading = asyncio.ensure_future(engine.mutate(reads, label="read"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not reading.done()
        storage.gate.set()
        assert (await reading).value == (await writing).ts


async def test_a_reader_of_a_bounded_range_conflicts_with_a_timestamp_that_falls_into_it() -> None:
    storage = GatedStorage()
    async with open_engine(EVENTS, storage=storage) as engine:
        runs = 0

        async def reads(tx: Transaction) -> int:
            nonlocal runs
            runs += 1
            table = tx.table("", "events")
            assert table is not None
            upper = encode_key(Int64(2**62))
            rows = await tx.scan(table.indexes["by_at"], Interval(b"", upper), False, None)
            tx.insert(table, {"kind": "count", "at": None})
            if runs == 1:
                storage.gate.clear()
                other = asyncio.ensure_future(engine.mutate(event("a"), label="event"))
                for _ in range(20):
                    await asyncio.sleep(0)
                storage.gate.set()
                await other
            return len(rows)

        assert (await engine.mutate(reads, label="reads")).value == 1
        assert runs == 2
