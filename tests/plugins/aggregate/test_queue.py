"""Queued writes: when they are done, in which order, what becomes of those that cannot be."""

from __future__ import annotations

import asyncio
from functools import partial
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock import App, MutationCtx, QueryCtx, components
from interlock.engine.read_set import ReadSet
from interlock.engine.write_log import LogEntry, WriteLog
from interlock.testing import TestBackend
from interlock_aggregate import Delete, DirectAggregate, Insert, Item, PendingOperations, Replace, ReplaceOrInsert

queue = DirectAggregate(components.aggregate)


def app() -> App:
    app = App()
    app.use("aggregate", isolation="inline")
    return app


async def letters(t: TestBackend) -> list[dict[str, Any]]:
    return list((await t.component("aggregate").query("dead_letter_list"))["page"])


async def test_what_cannot_be_done_becomes_a_dead_letter_and_the_rest_is_done() -> None:
    async with TestBackend(app()) as t:

        async def three(ctx: MutationCtx) -> None:
            await queue.insert(ctx, 1, "a", queued=True)
            await queue.delete(ctx, 99, "a", queued=True)
            await queue.insert(ctx, 2, "b", queued=True)

        await t.run(three)
        await t.run(lambda ctx: queue.insert(ctx, 3, "c", queued=True))
        await t.finish_scheduled()
        assert await t.run(queue.count) == 3
        [letter] = await letters(t)
        assert (letter["operation"]["kind"], letter["operation"]["key"]) == ("delete", 99)
        assert letter["error"]["code"] == "DELETE_MISSING_KEY" and letter["commit_ts"] > 0
        assert await t.component("aggregate").query("dead_letter_get", id=letter["id"]) == letter
        assert [await t.run(lambda ctx: queue.delete_dead_letter(ctx, letter["id"])) for _ in range(2)] == [True, False]
        assert await letters(t) == []


async def test_while_writes_are_queued_a_namespace_is_read_stale_or_fresh_and_others_as_always() -> None:
    async with TestBackend(app()) as t:
        await t.run(lambda ctx: queue.insert(ctx, 1, "a", namespace="x"))

        async def look(ctx: MutationCtx) -> list[Any]:
            # Queued here, so that what does the queued writes cannot come in between.
            await queue.insert(ctx, 2, "b", 5, namespace="x", queued=True)
            with pytest.raises(PendingOperations):
                await queue.count(ctx, namespace="x")
            with pytest.raises(PendingOperations):
                await queue.insert(ctx, 3, "c", namespace="x")
            await queue.insert(ctx, 3, "c", namespace="y")
            top = await queue.at(ctx, -1, namespace="x", fresh=True)
            return [
                await queue.count(ctx, namespace="x", stale=True),
                await queue.count(ctx, namespace="x", fresh=True),
                await queue.sum(ctx, namespace="x", fresh=True),
                top.id,
                await queue.count(ctx, namespace="y"),
            ]

        assert await t.run(look) == [1, 2, 5, "b", 1]
        await t.finish_scheduled()
        assert await t.run(lambda ctx: queue.count(ctx, namespace="x")) == 2


async def test_queued_writers_do_not_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    """With each other; the job that applies what they have queued may come before any of them."""
    lost_to: set[str] = set()
    find_conflict = WriteLog.find_conflict

    def find(self: WriteLog, read_set: ReadSet, snapshot: int) -> LogEntry | None:
        conflict = find_conflict(self, read_set, snapshot)
        if conflict is not None:
            lost_to.add(conflict.source)
        return conflict

    async def add(ctx: MutationCtx, key: int, *, queued: bool) -> None:
        await queue.insert(ctx, 1, str(key), queued=queued)
        await asyncio.sleep(0)

    monkeypatch.setattr(WriteLog, "find_conflict", find)
    async with TestBackend(app()) as t:
        await t.mutation(add, key=-1, queued=True)  # the first one says that there is a queue
        await asyncio.gather(*[t.mutation(add, key=key, queued=True) for key in range(30)])
        await t.finish_scheduled()
        assert await t.run(queue.count) == 31
        assert lost_to <= {"aggregate/apply_queued"}
        await asyncio.gather(*[t.mutation(add, key=key, queued=False) for key in range(30, 40)])
        assert not lost_to <= {"aggregate/apply_queued"}  # who does not queue does conflict, and it would be seen


@pytest.mark.parametrize("isolation", ["inline"], indirect=True)
async def test_a_queue_of_long_keys_is_done_in_as_many_transactions_as_it_takes() -> None:
    """256 of them at once would read more than a transaction may; so would deleting all nodes of their tree at once."""
    chance = Random(1)
    keys = sorted("".join(chance.choices("abcdefgh", k=3_900)) for _ in range(2_600))
    late = keys[::9]  # all over the tree
    early = [key for key in keys if key not in late]

    async def fill(ctx: MutationCtx, first: int) -> None:
        await queue.insert_many(ctx, [Item(key, "early") for key in early[first : first + 100]])

    async def add(ctx: MutationCtx) -> None:
        await queue.enqueue_batch(ctx, [Insert(key, "late") for key in late])

    async with TestBackend(app()) as t:
        for first in range(0, len(early), 100):
            await t.mutation(fill, first=first)
        await t.mutation(add)
        ran = await t.finish_scheduled()
        assert len(ran) > 3
        assert await t.run(queue.count) == 2_600
        await t.run(queue.clear)
        await t.finish_scheduled()
        for table in ("leaves", "inners", "totals"):
            assert await t.run(partial(count_rows, table=table), component="aggregate") == 0


async def count_rows(ctx: QueryCtx, table: str) -> int:
    return await ctx.db.query(table).count()


async def test_a_queue_whose_job_has_failed_is_gone_on_with_by_itself() -> None:
    async def add(ctx: MutationCtx, key: int) -> None:
        await queue.insert(ctx, key, str(key), namespace="x", queued=True)

    async def cut_off(ctx: MutationCtx) -> int:
        """Queued, and the job is gone: as if it had failed."""
        await ctx.run_mutation("enqueue", operation=Insert(1, "1", namespace="x").to_argument())
        jobs = [job for job in await ctx.scheduler.list("pending") if job.name.endswith("apply_queued")]
        return sum([await ctx.scheduler.cancel(job.id) is not False for job in jobs])

    async with TestBackend(app()) as t:
        assert await t.run(cut_off, component="aggregate") == 1
        await t.mutation(add, key=2)
        await t.finish_scheduled()
        assert await t.run(lambda ctx: queue.count(ctx, namespace="x", stale=True)) == 0
        await t.advance(2 * 3_600)
        assert await t.run(lambda ctx: queue.count(ctx, namespace="x")) == 2


async def test_clearing_forgets_what_is_queued() -> None:
    async with TestBackend(app()) as t:
        await t.run(lambda ctx: queue.insert(ctx, 1, "a", queued=True))
        await t.run(queue.clear)
        assert await t.run(queue.count) == 0
        await t.finish_scheduled()
        assert await t.run(queue.count) == 0


keys = st.integers(0, 3)
ids = st.sampled_from("ab")
spaces = st.sampled_from([None, "x"])
writes = st.one_of(
    st.builds(Insert, keys, ids, st.integers(-3, 3), spaces),
    st.builds(Delete, keys, ids, spaces),
    st.builds(lambda id, old, new, value, space: Replace(id, old, new, value, space), ids, keys, keys, st.integers(0, 3), spaces),
    st.builds(ReplaceOrInsert, ids, keys, keys, st.integers(0, 3), spaces, spaces),
)


@settings(max_examples=40)
@given(st.lists(st.lists(writes, max_size=6), max_size=6))
async def test_when_the_queue_is_empty_the_tree_is_what_the_writes_in_order_make_it(transactions: list[list[Any]]) -> None:
    """Model: a dict, to which each write is applied or not at all."""
    model: dict[tuple[Any, int, str], float] = {}
    failed = 0
    for write in [one for transaction in transactions for one in transaction]:
        space = write.namespace
        if isinstance(write, Insert):
            place = (space, write.key, write.id)
            failed += place in model
            model.setdefault(place, write.sum_value)
        elif isinstance(write, Delete):
            failed += model.pop((space, write.key, write.id), None) is None
        else:
            old = (space, write.old_key, write.id)
            target = space if not isinstance(write, ReplaceOrInsert) else write.new_namespace
            new = (target, write.new_key, write.id)
            if isinstance(write, ReplaceOrInsert) or (old in model and (new == old or new not in model)):
                model.pop(old, None)
                model[new] = write.sum_value
            else:
                failed += 1
    async with TestBackend(app()) as t:
        for transaction in transactions:
            await t.run(lambda ctx, transaction=transaction: queue.enqueue_batch(ctx, transaction))
        for space in (None, "x"):
            expected = sorted([key, id, value] for (where, key, id), value in model.items() if where == space)

            async def listed(ctx: MutationCtx, fresh: bool, space: Any = space) -> list[Any]:
                return [[item.key, item.id, item.sum_value] async for item in queue.iter(ctx, namespace=space, fresh=fresh)]

            assert await t.mutation(listed, fresh=True) == expected
        await t.finish_scheduled()
        for space in (None, "x"):
            expected = sorted([key, id, value] for (where, key, id), value in model.items() if where == space)

            async def now(ctx: MutationCtx, space: Any = space) -> list[Any]:
                return [[item.key, item.id, item.sum_value] async for item in queue.iter(ctx, namespace=space)]

            assert await t.mutation(now) == expected
        assert len(await letters(t)) == failed
