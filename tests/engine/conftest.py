"""Engines on memory storage: `hot` keeps every table in memory, `cold` reads every table from storage."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from interlock.engine import Engine, EngineSettings, TableSpec
from interlock.storage.memory import MemoryStorage

ITEMS = TableSpec(
    "",
    "items",
    {
        "type": "object",
        "value": {
            "name": {"fieldType": {"type": "string"}, "optional": False},
            "n": {"fieldType": {"type": "number", "integer": True}, "optional": False},
            "tag": {"fieldType": {"type": "any"}, "optional": True},
        },
    },
    indexes={"by_name": ("name",), "by_n": ("n",)},
)
OpenEngine = Callable[..., AbstractAsyncContextManager[Engine]]


@asynccontextmanager
async def open_engine(
    *specs: TableSpec, storage: MemoryStorage | None = None, is_cold: bool = False, seed: int = 0
) -> AsyncIterator[Engine]:
    """An engine with the tables of `specs`; cold ones have no table in memory."""
    engine = Engine(storage or MemoryStorage(), seed=seed, settings=EngineSettings(memory_bytes=-1 if is_cold else 1 << 30))
    await engine.open()
    await engine.deploy(specs or (ITEMS,))
    if is_cold:
        for table in engine.catalog.by_number.values():
            table.memory = None
    try:
        yield engine
    finally:
        await engine.close()


@pytest.fixture(params=[False, True], ids=["hot", "cold"])
def is_cold(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)
