from __future__ import annotations

import asyncio
from typing import Any

from interlock.engine import Engine, Interval, Transaction
from interlock.engine.live import USES_IDENTITY, Watch
from interlock.engine.made import arrived

from .conftest import open_engine
from .test_committer import adds


def reads(name: str, facts: tuple[str, ...] = ()) -> Any:
    async def run(tx: Transaction) -> list[int]:
        table = tx.table("", "items")
        assert table is not None
        for fact in facts:
            tx.facts[fact] = True
        key = b"\x10" + name.encode()
        return [row["n"] for row in await tx.scan(table.indexes["by_name"], Interval(key + b"\x00", key + b"\x01"), False, None)]

    return run


async def now(engine: Engine, watch: Watch) -> Any:
    place = engine.durable
    engine.log.pin(place)
    try:
        entry = await arrived(watch.at(place))
    finally:
        engine.log.unpin(place)
    if entry.error is not None:
        raise entry.error
    return entry.value


async def test_a_write_outside_the_read_range_runs_nothing_again_and_one_inside_runs_it_once_for_all(is_cold: bool) -> None:
    async with open_engine(is_cold=is_cold) as engine:
        await engine.mutate(adds("a"), label="add")
        woken: list[int] = []
        watches = [engine.live.watch("a", reads("a"), lambda at=at: woken.append(at)) for at in range(5)]
        assert [await now(engine, watch) for watch in watches] == [[1]] * 5
        assert engine.live.runs == 1
        await engine.mutate(adds("b"), label="add")
        assert [await now(engine, watch) for watch in watches] == [[1]] * 5
        assert (engine.live.runs, woken) == (1, [])
        await engine.mutate(adds("a"), label="add")
        await asyncio.sleep(0)
        assert sorted(woken) == [0, 1, 2, 3, 4]
        assert await asyncio.gather(*(now(engine, watch) for watch in watches)) == [[2]] * 5
        assert engine.live.runs == 2
        for watch in watches:
            watch.close()


async def test_a_commit_that_becomes_durable_while_a_query_runs_is_not_missed() -> None:
    async with open_engine() as engine:
        await engine.mutate(adds("a"), label="add")
        go_on = asyncio.Event()
        woken: list[bool] = []

        async def slow(tx: Transaction) -> Any:
            value = await reads("a")(tx)
            await go_on.wait()
            return value

        watch = engine.live.watch("slow", slow, lambda: woken.append(True))
        first = asyncio.ensure_future(now(engine, watch))
        await asyncio.sleep(0)
        await engine.mutate(adds("a"), label="add")
        go_on.set()
        assert await first == [1]
        assert woken == [True]
        assert await now(engine, watch) == [2]


async def test_results_that_looked_at_the_identity_are_kept_apart_and_others_shared() -> None:
    async with open_engine() as engine:
        await engine.live.cached("open", reads("a"), identity="ada")
        await engine.live.cached("open", reads("a"), identity="bob")
        assert engine.live.runs == 1
        for identity in ("ada", "bob", "ada", "bob", None):
            await engine.live.cached("own", reads("a", (USES_IDENTITY,)), identity=identity)
        assert engine.live.runs == 1 + 3


async def test_a_query_that_raises_is_watched_too_and_its_error_is_not_cached_for_others() -> None:
    async with open_engine() as engine:
        runs = 0

        async def run(tx: Transaction) -> list[int]:
            nonlocal runs
            runs += 1
            rows: list[int] = await reads("a")(tx)
            if not rows:
                raise KeyError("nothing yet")
            return rows

        woken: list[bool] = []
        watch = engine.live.watch("q", run, lambda: woken.append(True))
        for _ in range(2):
            try:
                await now(engine, watch)
            except KeyError:
                pass
        assert runs == 1
        try:
            await engine.live.cached("q", run)
        except KeyError:
            pass
        assert runs == 2
        await engine.mutate(adds("a"), label="add")
        await asyncio.sleep(0)
        assert woken
        assert await now(engine, watch) == [1]


async def test_a_table_that_is_missing_is_depended_on_by_name() -> None:
    async with open_engine() as engine:

        async def run(tx: Transaction) -> bool:
            return tx.table("", "later") is not None

        assert (await engine.live.cached("later", run)).value is False

        async def make(tx: Transaction) -> None:
            tx.insert(tx.make_table("", "later"), {})

        await engine.mutate(make, label="make")
        assert (await engine.live.cached("later", run)).value is True


async def test_two_mutations_that_make_one_table_make_it_once() -> None:
    async with open_engine() as engine:

        async def make(tx: Transaction) -> None:
            table = tx.table("", "later") or tx.make_table("", "later")
            await asyncio.sleep(0)
            tx.insert(table, {})

        await asyncio.gather(engine.mutate(make, label="make"), engine.mutate(make, label="make"))
        assert [table.name for table in engine.catalog.by_number.values()].count("later") == 1
        assert engine.catalog.by_name["", "later"].count == 2


async def test_who_asks_again_for_a_result_that_has_ended_is_told_again_that_it_has() -> None:
    """Between the two it may have begun to rely on being told: who was not, kept the result for ever."""
    async with open_engine() as engine:
        await engine.mutate(adds("a"), label="add")
        woken: list[int] = []
        watch = engine.live.watch("a", reads("a"), lambda: woken.append(engine.durable))
        place = engine.durable
        engine.log.pin(place)
        await engine.mutate(adds("a"), label="add")
        for times in (1, 2, 3):
            assert (await arrived(watch.at(place))).value == [1]
            assert len(woken) == times
        engine.log.unpin(place)
        assert await now(engine, watch) == [2]
        assert len(woken) == 3
        watch.close()
