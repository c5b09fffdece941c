from __future__ import annotations

import pytest

from interlock.engine import Interval, Transaction
from interlock.errors import LimitExceeded
from interlock.limits import Limits
from interlock.values import after_values, encode_key

from .conftest import open_engine


async def test_each_id_and_each_range_that_is_read_is_one_interval_however_often() -> None:
    async with open_engine() as engine:

        async def insert(tx: Transaction) -> list[str]:
            table = tx.table("", "items")
            assert table is not None
            return [tx.insert(table, {"name": "a", "n": n})[0] for n in range(4)]

        ids = (await engine.mutate(insert, label="insert")).value

        async def read(tx: Transaction) -> None:
            table = tx.table("", "items")
            assert table is not None
            by_n = table.indexes["by_n"]
            ranges = [Interval(encode_key(n), after_values(encode_key(n))) for n in range(2)]
            for _ in range(2):
                await tx.get(table, ids[0])
                await tx.scan(by_n, ranges[0], False, None)
                await tx.get(table, ids[1])
            assert tx.budget.used.intervals_read == 3
            with pytest.raises(LimitExceeded, match="intervals_read"):
                await tx.get(table, ids[2])
            with pytest.raises(LimitExceeded, match="intervals_read"):
                await tx.scan(by_n, ranges[1], False, None)

        await engine.query(read, limits=Limits(intervals_read=3))
