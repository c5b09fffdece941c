"""Random concurrent histories against commits replayed one at a time."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.engine import Engine, Interval, Transaction

from .conftest import open_engine

NAMES = "abcde"


class Dropped(Exception):
    """Raised on purpose inside a layer."""


async def _step(tx: Transaction, engine: Engine, rng: random.Random, seen: list[Any], depth: int = 0) -> None:
    table = tx.table("", "items")
    assert table is not None
    by_name, by_n = table.indexes["by_name"], table.indexes["by_n"]
    for _ in range(rng.randint(1, 3)):
        if rng.random() < 0.5:
            await asyncio.sleep(0)
        choice = rng.randint(1, 6)
        name = rng.choice(NAMES)
        prefix = b"\x10" + name.encode() + b"\x00"
        rows = await tx.scan(by_name, Interval(prefix, prefix[:-1] + b"\x01"), rng.random() < 0.5, rng.choice([1, 2, None]))
        seen.append([(row["name"], row["n"]) for row in rows])
        if not rows:  # one row a name and no two equal numbers: creation times, which depend on the start, decide nothing
            tx.insert(table, {"name": name, "n": rng.randrange(1 << 40)})
        elif choice == 1:
            await tx.patch(table, rows[0]["_id"], {"n": rows[0]["n"] + 1})
        elif choice == 2:
            await tx.replace(table, rows[-1]["_id"], {"name": name, "n": rng.randrange(1 << 40), "tag": [depth]})
        elif choice == 3:
            await tx.delete(table, rows[0]["_id"])
        elif choice == 4:
            top = await tx.scan(by_n, Interval(b"", None), True, 3)
            seen.append([(row["name"], row["n"]) for row in top])
        elif choice == 5:
            seen.append(await tx.count(by_name, Interval(b"", prefix)))
        elif depth < 2:
            mark = tx.begin_layer()
            try:
                await _step(tx, engine, rng, seen, depth + 1)
                if rng.random() < 0.5:
                    raise Dropped
            except Dropped:
                tx.drop_layer(mark)
            else:
                tx.fold_layer(mark)


async def _run_history(seed: int, is_cold: bool) -> None:
    """Run concurrently; then the same transactions alone, in the order of their places, on a fresh engine: each must see the same."""
    rng = random.Random(seed)
    seeds = [rng.randrange(1 << 30) for _ in range(12)]
    results: list[tuple[int, bool, int, list[Any]]] = []
    async with open_engine(is_cold=is_cold, seed=seed) as engine:

        async def worker(own: int) -> None:
            await asyncio.sleep(0)
            seen: list[Any] = []

            async def run(tx: Transaction) -> bool:
                seen.clear()
                await _step(tx, engine, random.Random(own), seen)
                return tx.has_writes

            outcome = await engine.mutate(run, label="step")
            results.append((outcome.place, not outcome.value, own, list(seen)))

        await asyncio.gather(*(worker(own) for own in seeds))
        state = await _state(engine)
    async with open_engine(seed=seed) as alone:
        # Whoever wrote nothing stands right behind the commit that its snapshot names.
        for _, _, own, expected in sorted(results):
            seen: list[Any] = []

            async def run(tx: Transaction, own: int = own, seen: list[Any] = seen) -> None:
                seen.clear()
                await _step(tx, alone, random.Random(own), seen)

            await alone.mutate(run, label="step")
            assert seen == expected, f"seed {seed}"
        assert await _state(alone) == state, f"seed {seed}"


async def _state(engine: Engine) -> list[tuple[str, int]]:
    async def run(tx: Transaction) -> list[tuple[str, int]]:
        table = tx.table("", "items")
        assert table is not None
        return sorted((row["name"], row["n"]) for row in await tx.scan(table.indexes["by_creation_time"], Interval(b"", None), False, None))

    return (await engine.query(run)).value


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30))
@pytest.mark.parametrize("cold", [False, True], ids=["hot", "cold"])
def test_every_history_equals_its_commits_run_one_at_a_time(cold: bool, seed: int) -> None:
    asyncio.run(_run_history(seed, cold))
