from __future__ import annotations

from typing import Any

import pytest

from interlock.engine import Engine, EngineSettings, Interval, TableSpec, Transaction
from interlock.engine import engine as engine_module
from interlock.storage.memory import MemoryStorage

ALL = Interval(b"", None)


async def fill(engine: Engine, name: str, rows: int, size: int) -> None:
    async def run(tx: Transaction) -> None:
        table = tx.table("", name)
        assert table is not None
        for n in range(rows):
            tx.insert(table, {"n": n, "text": "x" * size})

    await engine.mutate(run, label="fill")


async def read(engine: Engine, name: str) -> list[Any]:
    async def run(tx: Transaction) -> list[Any]:
        table = tx.table("", name)
        assert table is not None
        return [row["n"] for row in await tx.scan(table.indexes["by_n"], ALL, True, None)]

    return (await engine.query(run)).value


async def test_the_largest_table_is_read_from_storage_when_the_budget_is_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_COMMITS_BETWEEN_LOOKS", 1)
    storage = MemoryStorage()
    specs = [TableSpec("", name, indexes={"by_n": ("n",)}) for name in ("large", "small")]
    engine = Engine(storage, seed=1, settings=EngineSettings(memory_bytes=20_000))
    await engine.open()
    await engine.deploy(specs)
    await fill(engine, "small", 10, 10)
    await fill(engine, "large", 10, 100)
    large, small = engine.catalog.by_name["", "large"], engine.catalog.by_name["", "small"]
    assert large.memory is not None
    await fill(engine, "large", 100, 300)
    assert large.memory is None and small.memory is not None
    assert await read(engine, "large") == sorted([*range(10), *range(100)], reverse=True)
    await fill(engine, "large", 5, 10)
    assert len(await read(engine, "large")) == 115
    await engine.close()
    again = Engine(storage, seed=1, settings=EngineSettings(memory_bytes=20_000))
    await again.open()
    assert again.catalog.by_name["", "large"].memory is None and again.catalog.by_name["", "small"].memory is not None
    assert len(await read(again, "large")) == 115 and len(await read(again, "small")) == 10
    await again.close()
