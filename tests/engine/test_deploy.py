from __future__ import annotations

from typing import Any

import pytest

from interlock.clock import SystemClock
from interlock.engine import Engine, EngineSettings, Interval, TableSpec, Transaction
from interlock.errors import SchemaError
from interlock.storage.memory import MemoryStorage

from .conftest import open_engine

ALL = Interval(b"", None)
NUMBER = {"type": "number"}
INTEGER = {"type": "number", "integer": True}
STRING = {"type": "string"}


def fields(**types: tuple[dict[str, Any], bool] | dict[str, Any]) -> dict[str, Any]:
    value = {
        name: {"fieldType": t[0], "optional": t[1]} if isinstance(t, tuple) else {"fieldType": t, "optional": False}
        for name, t in types.items()
    }
    return {"type": "object", "value": value}


async def put(engine: Engine, *documents: dict[str, Any]) -> list[str]:
    async def run(tx: Transaction) -> list[str]:
        table = tx.table("", "items")
        assert table is not None
        return [tx.insert(table, document)[0] for document in documents]

    return (await engine.mutate(run, label="put")).value


async def read(engine: Engine, index: str = "by_creation_time") -> list[dict[str, Any]]:
    async def run(tx: Transaction) -> list[dict[str, Any]]:
        table = tx.table("", "items")
        assert table is not None
        return await tx.scan(table.indexes[index], ALL, False, None)

    return (await engine.query(run)).value


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name[0] != "_"} for row in rows]


async def test_an_index_added_to_a_filled_table_is_filled_before_anybody_asks(is_cold: bool) -> None:
    storage = MemoryStorage()
    async with open_engine(TableSpec("", "items"), storage=storage, is_cold=is_cold) as engine:
        await put(engine, {"a": 3}, {"a": 1}, {"a": 2})
        await engine.deploy([TableSpec("", "items", indexes={"by_a": ("a",)})])
        assert [row["a"] for row in await read(engine, "by_a")] == [1, 2, 3]
        await put(engine, {"a": 0})
        assert [row["a"] for row in await read(engine, "by_a")] == [0, 1, 2, 3]
        await engine.deploy([TableSpec("", "items", indexes={"by_a": ("b", "a")})])
        assert [row["a"] for row in await read(engine, "by_a")] == [0, 1, 2, 3]
        await engine.deploy([TableSpec("", "items")])
        table = engine.catalog.get("", "items")
        assert table is not None and set(table.indexes) == {"by_id", "by_creation_time"}
    async with open_engine(TableSpec("", "items", indexes={"by_a": ("a",)}), storage=storage, is_cold=is_cold) as again:
        assert [row["a"] for row in await read(again, "by_a")] == [0, 1, 2, 3]


async def test_a_schema_that_stored_documents_do_not_fit_is_refused_and_changes_nothing(is_cold: bool) -> None:
    async with open_engine(TableSpec("", "items", fields(n=STRING)), is_cold=is_cold) as engine:
        [id] = await put(engine, {"n": "x"})
        with pytest.raises(SchemaError) as caught:
            await engine.deploy([TableSpec("", "items", fields(n=NUMBER), indexes={"by_n": ("n",)}), TableSpec("", "more")])
        assert (caught.value.table, caught.value.id, caught.value.field) == ("items", id, "n")
        assert "interlock migrate" in str(caught.value)
        assert engine.catalog.get("", "more") is None
        table = engine.catalog.get("", "items")
        assert table is not None and "by_n" not in table.indexes
        await put(engine, {"n": "y"})
        with pytest.raises(SchemaError):
            await put(engine, {"n": 1})


async def test_adding_an_optional_field_reads_no_document() -> None:
    class NoReads(MemoryStorage):
        reads = 0

        async def scan(self, *args: Any, **kwargs: Any) -> Any:
            NoReads.reads += 1
            return await super().scan(*args, **kwargs)

    async with open_engine(TableSpec("", "items", fields(n=NUMBER)), storage=NoReads(), is_cold=True) as engine:
        await put(engine, {"n": 1})
        NoReads.reads = 0
        await engine.deploy([TableSpec("", "items", fields(n=NUMBER, more=(STRING, True)))])
        assert NoReads.reads == 0
        with pytest.raises(SchemaError):
            await engine.deploy([TableSpec("", "items", fields(n=NUMBER, more=STRING))])


async def test_stored_numbers_take_the_form_of_the_new_annotation(is_cold: bool) -> None:
    storage = MemoryStorage()
    async with open_engine(TableSpec("", "items", fields(n=INTEGER)), storage=storage, is_cold=is_cold) as engine:
        await put(engine, {"n": 5})
        assert type((await read(engine))[0]["n"]) is int
        await engine.deploy([TableSpec("", "items", fields(n=NUMBER))])
        assert type((await read(engine))[0]["n"]) is float
    async with open_engine(TableSpec("", "items", fields(n=NUMBER)), storage=storage, is_cold=is_cold) as again:
        assert type((await read(again))[0]["n"]) is float


async def test_tables_follow_a_mount_that_was_renamed(is_cold: bool) -> None:
    storage = MemoryStorage()
    async with open_engine(TableSpec("old", "items"), TableSpec("old/child", "things"), storage=storage, is_cold=is_cold) as engine:
        number = engine.catalog.by_name["old", "items"].number
        await engine.deploy([TableSpec("new", "items"), TableSpec("new/child", "things")], moves={"old": "new"})
        assert engine.catalog.by_name["new", "items"].number == number
        assert engine.catalog.components() == {"new", "new/child"}
    async with open_engine(TableSpec("new", "items"), storage=storage) as again:
        assert again.catalog.by_name["new", "items"].number == number


async def test_data_on_both_sides_of_a_move_is_refused() -> None:
    storage = MemoryStorage()
    async with open_engine(TableSpec("old", "items"), TableSpec("new", "items"), storage=storage) as engine:
        with pytest.raises(SchemaError, match="stored both"):
            await engine.deploy([TableSpec("new", "items")], moves={"old": "new"})
        assert engine.catalog.components() == {"old", "new"}


async def test_tables_of_components_that_nobody_mounts_stay() -> None:
    storage = MemoryStorage()
    async with open_engine(TableSpec("gone", "items"), TableSpec("", "items"), storage=storage):
        pass
    async with open_engine(TableSpec("", "items"), storage=storage) as again:
        assert ("gone", "items") in again.catalog.by_name


async def test_table_numbers_are_unique_in_the_whole_backend_and_never_used_twice() -> None:
    storage = MemoryStorage()
    async with open_engine(TableSpec("", "items"), TableSpec("a", "items"), storage=storage) as engine:
        numbers = {table.number for table in engine.catalog.by_number.values()}
        assert len(numbers) == 2 and min(numbers) > 10_000
        await engine.drop_tables([engine.catalog.by_name["a", "items"]])
    async with open_engine(TableSpec("", "items"), TableSpec("a", "items"), storage=storage) as again:
        assert again.catalog.by_name["a", "items"].number not in numbers


async def test_a_mutation_that_began_before_a_deploy_runs_again_after_it() -> None:
    async with open_engine(TableSpec("", "items")) as engine:
        runs = 0

        async def run(tx: Transaction) -> None:
            nonlocal runs
            runs += 1
            table = tx.table("", "items")
            assert table is not None
            tx.insert(table, {"a": runs})
            if runs == 1:
                await engine.deploy([TableSpec("", "items", indexes={"by_a": ("a",)})])

        await engine.mutate(run, label="insert")
        assert plain(await read(engine, "by_a")) == [{"a": 2}]


async def test_a_query_that_began_before_a_deploy_runs_again_at_the_same_place(is_cold: bool) -> None:
    """Who asked keeps the place pinned, so there is nothing to refuse: also where a commit came between, and by an index made since."""
    async with open_engine(TableSpec("", "items"), is_cold=is_cold) as engine:
        [kept, gone] = await put(engine, {"a": 1}, {"a": 2})
        place = engine.durable
        engine.log.pin(place)
        runs = 0

        async def change(tx: Transaction) -> None:
            table = tx.table("", "items")
            assert table is not None
            tx.insert(table, {"a": 3})
            await tx.patch(table, kept, {"a": 4})
            await tx.delete(table, gone)

        async def run(tx: Transaction) -> list[dict[str, Any]]:
            nonlocal runs
            runs += 1
            table = tx.table("", "items")
            assert table is not None
            if runs == 1:
                await engine.mutate(change, label="change")
                await engine.deploy([TableSpec("", "items", indexes={"by_a": ("a",)})])
            return await tx.scan(table.indexes["by_creation_time" if runs == 1 else "by_a"], ALL, False, None)

        try:
            assert plain((await engine.query(run, at=place)).value) == [{"a": 1}, {"a": 2}]
        finally:
            engine.log.unpin(place)
        assert plain(await read(engine, "by_a")) == [{"a": 3}, {"a": 4}]


@pytest.mark.parametrize("memory_bytes", [-1, 1 << 30], ids=["cold", "hot"])
async def test_creation_times_go_up_over_a_start_under_a_clock_that_stands(memory_bytes: int) -> None:
    """A float of milliseconds takes larger steps than commit timestamps do."""

    class StandingClock(SystemClock):
        def now_ms(self) -> float:
            return 1_800_000_000_000.0

    storage = MemoryStorage(clock_ns=lambda: 1_800_000_000_000_000_000)
    for _ in range(3):
        engine = Engine(storage, clock=StandingClock(), settings=EngineSettings(memory_bytes=memory_bytes))
        await engine.open()
        await engine.deploy([TableSpec("", "items")])
        await put(engine, *({"n": n} for n in range(20)))
        times = [document["_creationTime"] for document in await read(engine)]
        assert times == sorted(set(times))
        await engine.close()
    assert len(times) == 60
    assert [document["n"] for document in await _reopened(storage)] == [*range(20)] * 3


async def _reopened(storage: MemoryStorage) -> list[dict[str, Any]]:
    async with open_engine(TableSpec("", "items"), storage=storage) as engine:
        return await read(engine)
