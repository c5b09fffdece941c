from __future__ import annotations

from dataclasses import replace

import pytest

from interlock.engine import Engine, Interval, TableSpec, Transaction
from interlock.engine.budget import COUNTED, Counts
from interlock.errors import LimitExceeded
from interlock.limits import LIMITS, Limits
from interlock.values import after_values, encode_key

from .conftest import open_engine


@pytest.mark.parametrize("name", COUNTED)
def test_with_more_of_any_of_them_a_count_is_over(name: str) -> None:
    used, more, maximum = Counts(), Counts(), Counts()
    for counts, value in ((used, 2), (more, 3), (maximum, 5)):
        for each in COUNTED:
            setattr(counts, each, value)
    assert not used.is_over(more, maximum)
    setattr(more, name, 4)
    assert used.is_over(more, maximum)


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


async def _make(engine: Engine, component: str, first: int, count: int) -> None:
    async def make(tx: Transaction) -> None:
        for number in range(first, first + count):
            tx.insert(tx.make_table(component, f"t{number}"), {})

    await engine.mutate(make, label="make")


async def test_a_mount_and_its_children_make_so_many_tables_that_others_can_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, "tables_of_mount", replace(LIMITS["tables_of_mount"], value=10))
    async with open_engine(TableSpec("mine", "own"), TableSpec("mine/child", "own"), TableSpec("other", "own")) as engine:
        await _make(engine, "mine", 0, 3)
        await _make(engine, "mine/child", 0, 3)
        for component in ("mine", "mine/child"):
            with pytest.raises(LimitExceeded, match="tables_of_mount exceeded: 11 of at most 10"):
                await _make(engine, component, 3, 3)  # none of them stays
        await _make(engine, "mine", 3, 2)
        with pytest.raises(LimitExceeded, match="tables_of_mount"):
            await _make(engine, "mine/child", 3, 1)
        await _make(engine, "other", 0, 9)
        await _make(engine, "", 0, 20)
        await engine.deploy([TableSpec("new", "own"), TableSpec("other", "own")], moves={"mine": "new"})
        with pytest.raises(LimitExceeded, match="tables_of_mount"):
            await _make(engine, "new", 5, 1)
        await _make(engine, "mine", 0, 10)


async def test_tables_of_one_transaction_count_as_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, "tables", replace(LIMITS["tables"], value=10))
    async with open_engine(TableSpec("", "own")) as engine:
        with pytest.raises(LimitExceeded, match="tables exceeded: 11 of at most 10"):
            await _make(engine, "", 0, 11)
        await _make(engine, "", 0, 9)


async def test_long_ends_of_ranges_count_as_what_is_read() -> None:
    async with open_engine() as engine:

        async def read(tx: Transaction) -> None:
            table = tx.table("", "items")
            assert table is not None
            by_name = table.indexes["by_name"]
            for name in ("a" * 500, "b" * 500):
                await tx.scan(by_name, Interval(encode_key(name), after_values(encode_key(name))), False, None)
            assert tx.budget.used.bytes_read == 0
            for name in ("c" * 4_000, "c" * 4_000, "d" * 4_000):
                await tx.scan(by_name, Interval(encode_key(name), after_values(encode_key(name))), False, None)
            assert 16_000 <= tx.budget.used.bytes_read < 16_100
            with pytest.raises(LimitExceeded, match="bytes_read"):
                await tx.count(by_name, Interval(encode_key("e" * 4_000), None))

        await engine.query(read, limits=Limits(bytes_read=20_000))
