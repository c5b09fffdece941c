"""What an older snapshot sees, against a copy of the documents that was made at its place."""

from __future__ import annotations

import random
from typing import Any

import pytest

from interlock.engine import Interval, Transaction
from interlock.values import encode_key

from .conftest import open_engine

NAMES = "abcdef"


@pytest.mark.parametrize("seed", range(8))
async def test_ranges_of_an_older_snapshot_are_as_they_were(seed: int, is_cold: bool) -> None:
    """Newer writes change documents in place, move them within an index, insert and delete; each range is read at each place."""
    random_ = random.Random(seed)
    async with open_engine(is_cold=is_cold, seed=seed) as engine:
        model: dict[str, dict[str, Any]] = {}
        kept: list[tuple[int, dict[str, dict[str, Any]]]] = []

        async def write(tx: Transaction) -> None:
            table = tx.table("", "items")
            assert table is not None
            for _ in range(random_.randint(1, 3)):
                id = random_.choice([*model, ""])
                match random_.choice(["insert", "patch n", "patch tag", "patch tag", "patch tag", "delete"]) if id else "insert":
                    case "insert":
                        id, stored = tx.insert(table, {"name": random_.choice(NAMES), "n": random_.randint(0, 9)})
                        model[id] = stored
                    case "patch n":
                        changes = {"n": random_.randint(0, 9)}
                        await tx.patch(table, id, changes)
                        model[id] = {**model[id], **changes}
                    case "patch tag":
                        changes = {"tag": random_.randint(0, 9)}
                        await tx.patch(table, id, changes)
                        model[id] = {**model[id], **changes}
                    case "delete":
                        await tx.delete(table, id)
                        del model[id]

        def read(index: str, interval: Interval, descending: bool, limit: int | None) -> Any:
            async def run(tx: Transaction) -> list[Any]:
                table = tx.table("", "items")
                assert table is not None
                return await tx.scan(table.indexes[index], interval, descending, limit)

            return run

        try:
            for _ in range(20):
                await engine.mutate(write, label="write")
                engine.log.pin(engine.durable)
                kept.append((engine.durable, dict(model)))
            for place, documents in random_.sample(kept, len(kept)):
                for _ in range(4):
                    field, values = random_.choice([("name", list(NAMES)), ("n", list(range(10)))])
                    low, high = sorted(random_.choices(values, k=2))  # type: ignore[type-var]
                    descending, limit = random_.random() < 0.5, random_.choice([None, 1, 3])
                    within = [document for document in documents.values() if low <= document[field] < high]
                    within.sort(key=lambda document: (document[field], document["_creationTime"]), reverse=descending)
                    run = read(f"by_{field}", Interval(encode_key(low), encode_key(high)), descending, limit)
                    assert (await engine.query(run, at=place)).value == within[:limit]
        finally:
            for place, _ in kept:
                engine.log.unpin(place)


async def test_a_guess_that_was_wrong_leaves_nothing_to_depend_on(is_cold: bool) -> None:
    """Its transaction can be moved past any other write, without a look at what that changed."""
    async with open_engine(is_cold=is_cold) as engine:

        async def add(tx: Transaction) -> str:
            table = tx.table("", "items")
            assert table is not None
            return tx.insert(table, {"name": "a", "n": 1})[0]

        id = (await engine.mutate(add, label="add")).value

        async def guess(tx: Transaction) -> None:
            table = tx.table("", "items")
            assert table is not None
            tx.begin_guess()
            assert len(await tx.scan(table.indexes["by_name"], Interval(b"", None), False, None)) == 1
            tx.get_packed_at_hand(table, id)
            tx.end_guess(is_right=False)
            assert tx.read_set.is_empty

        await engine.mutate(guess, label="guess")
