"""Staged indexes: filled behind the writes, over crashes, and the same as a scan of the table once they are read."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.clock import Clock
from interlock.engine import Engine, EngineSettings, Interval, TableSpec, Transaction, staging
from interlock.errors import StorageUnavailable
from interlock.storage.memory import MemoryStorage
from interlock.storage.protocol import CatalogChange, NothingWritten
from interlock.storage.sqlite import SqliteStorage
from interlock.testing.virtual_clock import VirtualClock

ALL = Interval(b"", None)
PLAIN = TableSpec("", "items")
USED = TableSpec("", "items", indexes={"by_a": ("a",)})
STAGED = TableSpec("", "items", indexes={"by_a": ("a",)}, staged=("by_a",))


async def opened(storage: Any, *, is_cold: bool, clock: Clock | None = None, seed: int = 0) -> Engine:
    engine = Engine(storage, seed=seed, clock=clock or VirtualClock(1e12), settings=EngineSettings(memory_bytes=-1 if is_cold else 1 << 30))
    await engine.open()
    return engine


async def put(engine: Engine, *values: Any) -> list[str]:
    async def run(tx: Transaction) -> list[str]:
        table = tx.table("", "items")
        assert table is not None
        return [tx.insert(table, {"a": value})[0] for value in values]

    return (await engine.mutate(run, label="put")).value


async def change(engine: Engine, id: str, value: Any) -> None:
    """None deletes."""

    async def run(tx: Transaction) -> None:
        table = tx.table("", "items")
        assert table is not None
        if value is None:
            await tx.delete(table, id)
        else:
            await tx.patch(table, id, {"a": value})

    await engine.mutate(run, label="change")


async def rows(engine: Engine, index: str) -> list[dict[str, Any]]:
    async def run(tx: Transaction) -> list[dict[str, Any]]:
        table = tx.table("", "items")
        assert table is not None
        return await tx.scan(table.indexes[index], ALL, False, None)

    return (await engine.query(run)).value


def is_staged(engine: Engine) -> bool:
    table = engine.catalog.get("", "items")
    assert table is not None
    assert ("by_a" in table.staged) != ("by_a" in table.indexes)
    return "by_a" in table.staged


async def check_by_scan(engine: Engine) -> None:
    """What the index gives, and what lies in it, is what the table says."""
    expected = sorted(await rows(engine, "by_creation_time"), key=lambda row: (row["a"], row["_creationTime"], row["_id"]))
    assert await rows(engine, "by_a") == expected
    table = engine.catalog.get("", "items")
    assert table is not None
    index = table.indexes["by_a"]
    keys = [(index.key_of(row), row["_id"]) for row in expected]
    assert await engine.storage.entries(index.number, b"", 1_000_000) == keys
    if table.memory is not None:
        assert table.memory.entries[index.number].range(b"", None, False, None) == keys


Step = tuple[str, int, int]
STEPS = st.lists(st.tuples(st.sampled_from(["put", "change", "delete", "fill", "fill", "crash"]), st.integers(0, 99), st.integers(0, 5)))


@pytest.mark.parametrize("is_cold", [False, True], ids=["hot", "cold"])
@given(before=st.integers(0, 12), steps=STEPS)
@settings(max_examples=60, deadline=None)
def test_an_index_that_was_staged_is_what_a_scan_of_the_table_gives(is_cold: bool, before: int, steps: list[Step]) -> None:
    async def run() -> None:
        storage, clock = MemoryStorage(), VirtualClock(1e12)
        engine = await opened(storage, is_cold=is_cold, clock=clock)
        await engine.deploy([PLAIN])
        ids = await put(engine, *(n % 3 for n in range(before))) if before else []
        await engine.deploy([STAGED])
        for number, (kind, at, value) in enumerate(steps, 1):
            if kind == "put":
                ids += await put(engine, value)
            elif kind == "fill":
                clock.move_to(clock.now_ms() + 1_000)
                for _ in range(5):
                    await asyncio.sleep(0)
            elif kind == "crash":
                engine.staging._is_closed = True  # it is left as it is, and another one opens what was on disk
                engine = await opened(storage, is_cold=is_cold, clock=clock, seed=number)
                assert is_staged(engine)
            elif ids:
                id = ids[at % len(ids)]
                await change(engine, id, None if kind == "delete" else value)
                if kind == "delete":
                    ids.remove(id)
        await engine.deploy([USED])
        assert not is_staged(engine)
        await check_by_scan(engine)
        await put(engine, 3)
        await check_by_scan(engine)
        await engine.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staging, "_ROWS_A_STEP", 2)
        asyncio.run(run())


@pytest.mark.parametrize("is_cold", [False, True], ids=["hot", "cold"])
async def test_a_deploy_does_not_wait_for_the_fill_and_callers_do_not_either(
    tmp_path: Path, is_cold: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On disk. The one after it waits for what is left, and others commit meanwhile."""
    monkeypatch.setattr(staging, "_ROWS_A_STEP", 50)
    clock = VirtualClock(1e12)
    engine = await opened(SqliteStorage(tmp_path), is_cold=is_cold, clock=clock)
    await engine.deploy([PLAIN])
    ids = await put(engine, *(n % 7 for n in range(1_000)))
    await engine.deploy([STAGED])
    [number] = engine.staging.filled
    assert engine.staging.filled[number] == ""
    for _ in range(100_000):
        await asyncio.sleep(0)
        if engine.staging.filled[number]:
            break
    await change(engine, ids[0], 100)  # filled already
    await change(engine, ids[1], None)
    await change(engine, ids[-1], 100)  # not yet
    await change(engine, ids[-2], None)
    reached = engine.staging.filled[number]
    assert reached is not None and reached < ids[-2]
    await engine.close()

    engine = await opened(SqliteStorage(tmp_path), is_cold=is_cold, clock=clock, seed=1)
    assert (engine.staging.filled[number] or "~") >= reached
    deploying = asyncio.ensure_future(engine.deploy([USED]))
    answered = 0
    chance = random.Random(0)
    del ids[-2], ids[1]
    while not deploying.done():
        await asyncio.gather(
            put(engine, answered),
            change(engine, ids.pop(chance.randrange(len(ids))), None),
            change(engine, ids.pop(chance.randrange(len(ids))), chance.randrange(7)),
        )
        answered += not deploying.done()
    await deploying
    assert answered > 2
    await check_by_scan(engine)
    await engine.close()


async def test_an_index_in_use_is_switched_off_and_on_without_being_filled_again() -> None:
    storage = MemoryStorage()
    engine = await opened(storage, is_cold=False)
    await engine.deploy([USED])
    await put(engine, 2, 1)
    number = engine.catalog.by_name["", "items"].indexes["by_a"].number
    await engine.deploy([STAGED])
    assert is_staged(engine)
    await put(engine, 0)
    await engine.close()
    engine = await opened(storage, is_cold=False, seed=1)
    assert is_staged(engine)
    assert engine.staging.filled == {number: None}
    await engine.deploy([USED])
    assert engine.catalog.by_name["", "items"].indexes["by_a"].number == number
    assert engine.staging.filled == {}
    await check_by_scan(engine)
    await engine.close()


async def test_a_staged_index_that_goes_or_changes_leaves_nothing_behind() -> None:
    storage = MemoryStorage()
    engine = await opened(storage, is_cold=False)
    await engine.deploy([PLAIN])
    await put(engine, 1)
    await engine.deploy([STAGED])
    [first] = engine.staging.filled
    await engine.deploy([TableSpec("", "items", indexes={"by_a": ("b", "a")}, staged=("by_a",))])
    [second] = engine.staging.filled
    assert first != second
    assert await storage.entries(first, b"", 10) == []
    await engine.deploy([PLAIN])
    assert engine.staging.filled == {}
    assert [index.name for index in (await storage.load()).indexes] == ["by_creation_time", "by_id"]
    await engine.deploy([STAGED])
    await engine.drop_tables(list(engine.catalog.by_number.values()))
    assert engine.staging.filled == {}
    assert (await storage.load()).facts[staging.FACT] == "{}"
    await engine.close()


async def test_a_fill_that_storage_refuses_is_tried_again_and_a_deploy_says_why() -> None:
    class Full(MemoryStorage):
        is_full = False

        async def redefine(self, change: CatalogChange) -> None:
            if self.is_full and change.entries:
                raise NothingWritten("no space is left.", "Free some.")
            await super().redefine(change)

    storage, clock = Full(), VirtualClock(1e12)
    engine = await opened(storage, is_cold=False, clock=clock)
    await engine.deploy([PLAIN])
    await put(engine, 2, 1)
    storage.is_full = True
    await engine.deploy([STAGED])
    with pytest.raises(StorageUnavailable, match="no space"):
        await engine.deploy([USED])
    assert is_staged(engine)
    storage.is_full = False
    for _ in range(5):
        await asyncio.sleep(0)
    clock.move_to(clock.now_ms() + 1_000)
    for _ in range(5):
        await asyncio.sleep(0)
    assert list(engine.staging.filled.values()) == [None]
    await engine.deploy([USED])
    await check_by_scan(engine)
    await engine.close()
