"""An aggregate over a table: triggers, attaching to a filled table, verifying, repairing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

import pytest

from interlock import AppError, Component, MutationCtx, components
from interlock.functions.transaction_host import TransactionHost
from interlock.testing import TestBackend
from interlock_aggregate import DirectAggregate, Item, KeyMissing, Progress, TableAggregate

scores = TableAggregate(
    components.aggregate,
    "scores",
    namespace=lambda d: d["game"],
    sort_key=lambda d: d["points"],
    sum_value=lambda d: d["points"],
)
behind = DirectAggregate(components.aggregate)  # the same mount, for those who would ruin it


def board(*, follow: bool = True) -> Component:
    """Something with a table and the aggregate; whether the table's writes are followed can be changed."""
    board = Component("board")
    board.use("aggregate", isolation="inline")
    follows = {"now": follow}
    board.following = follows  # type: ignore[attr-defined]

    async def on_change(ctx: MutationCtx, changes: list[Any]) -> None:
        if follows["now"]:
            await scores.on_change(ctx, changes)

    board.trigger("scores")(on_change)
    scores.runner(board.mutation, name="upkeep", batch_size=20)
    return board


async def write(t: TestBackend, points: float, game: str = "chess") -> str:
    id: str = await t.run(lambda ctx: ctx.db.insert("scores", {"game": game, "points": points}))
    return id


async def progress(t: TestBackend, task: Any) -> Progress:
    found: list[Progress | None] = []

    async def ask(ctx: MutationCtx) -> None:
        found.append(await scores.progress(ctx, task))

    await t.run(ask)
    assert found[0] is not None
    return found[0]


async def assert_same(t: TestBackend) -> None:
    """Model: the table itself."""
    rows = await t.run(lambda ctx: ctx.db.query("scores").collect())
    for game in {row["game"] for row in rows} | {"chess"}:
        expected = sorted([row["points"], row["_id"]] for row in rows if row["game"] == game)

        async def listed(ctx: MutationCtx, game: str) -> Any:
            return [[item.key, item.id] async for item in scores.iter(ctx, namespace=game)]

        assert await t.run(partial(listed, game=game)) == expected
        assert await t.run(partial(scores.sum, namespace=game)) == sum(points for points, _ in expected)
        await t.component("aggregate").query("validate", namespace=game)


async def test_a_trigger_follows_every_write_also_from_one_namespace_to_another() -> None:
    async with TestBackend(board()) as t:
        a, b = await write(t, 5), await write(t, 7)
        await t.run(lambda ctx: ctx.db.patch(a, {"points": 9}))
        await t.run(lambda ctx: ctx.db.patch(b, {"game": "go"}))
        await t.run(lambda ctx: ctx.db.patch(b, {"note": "unrelated"}))
        await assert_same(t)
        row = await t.run(lambda ctx: ctx.db.get(a))
        assert await t.run(lambda ctx: scores.index_of_doc(ctx, row)) == 0
        await t.run(lambda ctx: ctx.db.delete(a))
        await assert_same(t)


async def test_a_function_whose_trigger_raises_leaves_nothing() -> None:
    built = board(follow=False)
    async with TestBackend(built) as t:
        id = await write(t, 5)
        built.following["now"] = True  # type: ignore[attr-defined]

        async def change(ctx: MutationCtx) -> None:
            await ctx.db.insert("scores", {"game": "chess", "points": 1})
            await ctx.db.patch(id, {"points": 6})

        with pytest.raises(KeyMissing, match=r"drifted apart: there is no item .* call attach\(ctx\)"):
            await t.run(change)
        assert (await t.run(lambda ctx: ctx.db.get(id)))["points"] == 5
        assert await t.run(lambda ctx: scores.count(ctx, namespace="chess")) == 0


@pytest.mark.one_isolation("inline", "it is counted what the engine is asked, which is the same in a sandbox")
async def test_many_items_are_come_to_by_reading_a_level_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    singly, together = 0, []
    get, get_many = TransactionHost.get, TransactionHost.get_many

    async def counted(self: TransactionHost, id: str) -> Any:
        nonlocal singly
        singly += 1
        return await get(self, id)

    async def counted_many(self: TransactionHost, ids: Sequence[str]) -> Any:
        together.append(len(ids))
        return await get_many(self, ids)

    chance = Random(1)
    items = [Item(chance.randrange(1_000), f"id{n}", 1) for n in range(2_000)]
    async with TestBackend(board()) as t:
        for first in range(0, 2_000, 200):
            await t.run(partial(behind.insert_many, items=items[first : first + 200]))
        monkeypatch.setattr(TransactionHost, "get", counted)
        monkeypatch.setattr(TransactionHost, "get_many", counted_many)
        await t.run(partial(behind.insert_many, items=[Item(item.key, f"{item.id} too", 1) for item in items[:100]]))
        monkeypatch.undo()
        assert 1 <= len(together) <= 2  # levels below the root
        assert 0 not in together
        assert sum(together) > 40  # leaves
        assert singly < 15  # what inner nodes count
        assert await t.run(partial(behind.count)) == 2_100
        await t.component("aggregate").query("validate")


async def test_one_call_follows_all_that_a_function_writes() -> None:
    async with TestBackend(board()) as t:
        kept = await write(t, 1)

        async def change(ctx: MutationCtx) -> list[int]:
            moved = await ctx.db.insert("scores", {"game": "chess", "points": 2})
            await ctx.db.patch(moved, {"points": 3})
            await ctx.db.patch(moved, {"game": "go"})
            gone = await ctx.db.insert("scores", {"game": "go", "points": 4})
            await ctx.db.delete(gone)
            await ctx.db.patch(kept, {"points": 2})
            await ctx.db.patch(kept, {"points": 1})
            before = ctx.metrics().used["documents_written"]
            found = [await scores.count(ctx, namespace=game) for game in ("chess", "go")]
            assert ctx.metrics().used["documents_written"] == before + 1  # the tree of go, once; the other is as it was
            return [*found, await scores.sum(ctx, namespace="go")]

        assert await t.run(change) == [1, 1, 3]
        await assert_same(t)


async def test_attaching_to_a_filled_table_while_it_is_written_to() -> None:
    built = board(follow=False)
    random = Random(7)
    async with TestBackend(built) as t:
        ids = [await write(t, random.randrange(100), random.choice(["chess", "go"])) for _ in range(150)]
        built.following["now"] = True  # type: ignore[attr-defined]
        assert await t.run(lambda ctx: scores.progress(ctx, "attach")) is None
        await t.run(scores.attach)

        async def writer() -> None:
            for _ in range(60):
                kind, id = random.randrange(3), random.choice(ids)
                if kind == 0:
                    ids.append(await write(t, random.randrange(100)))
                elif kind == 1:
                    ids.remove(id)  # the other writer is to leave it alone as long
                    await t.run(lambda ctx, id=id: ctx.db.patch(id, {"points": random.randrange(100)}))
                    ids.append(id)
                else:
                    ids.remove(id)
                    await t.run(lambda ctx, id=id: ctx.db.delete(id))
                await asyncio.sleep(0)

        await asyncio.gather(writer(), t.finish_scheduled(), writer())
        await t.finish_scheduled()
        done = await progress(t, "attach")
        assert done.state == "done" and done.rows >= len(ids) - 60
        await assert_same(t)
        await t.run(scores.verify)
        await t.finish_scheduled()
        assert (await progress(t, "verify")).differences == 0
        assert (await progress(t, "verify")).rows == (await progress(t, "verify")).items == len(ids)


async def test_an_attachment_that_was_interrupted_goes_on_where_it_stopped() -> None:
    built = board(follow=False)
    async with TestBackend(built) as t:
        for points in range(90):
            await write(t, points)
        bad = await write(t, 90)
        await t.run(lambda ctx: ctx.db.patch(bad, {"points": "many"}))
        for points in range(9):
            await write(t, points)
        await t.run(scores.attach)
        await t.finish_scheduled()
        failed = await progress(t, "attach")
        assert (failed.state, failed.rows, failed.missing) == ("failed", 80, 80)
        assert failed.error is not None and f"document {bad}: TypeError: a sum value must be a number" in failed.error
        assert await t.run(lambda ctx: scores.count(ctx, namespace="chess")) == 80
        await t.run(lambda ctx: ctx.db.patch(bad, {"points": 90}))
        await t.run(scores.attach)
        await t.run(scores.attach)  # whoever starts it again takes over: there is one run
        get_task = partial(t.component("aggregate").query, "get_task", task="attach")
        assert (await get_task())["size"] == 10  # the job may have died of its size: half of it
        await t.finish_scheduled()
        assert (await get_task())["size"] > 10  # it grows again while all goes well
        done = await progress(t, "attach")
        assert (done.state, done.rows, done.missing) == ("done", 100, 100)
        await assert_same(t)


async def test_documents_that_are_too_large_for_a_batch_are_taken_in_smaller_ones() -> None:
    async with TestBackend(board(follow=False)) as t:

        async def fill(ctx: MutationCtx) -> None:
            for number in range(10):
                await ctx.db.insert("scores", {"game": "chess", "points": number, "text": "x" * 900_000})

        for _ in range(3):
            await t.run(fill)
        await t.run(scores.attach)
        await t.finish_scheduled()
        assert (await progress(t, "attach")).state == "done"
        assert await t.run(partial(scores.count, namespace="chess")) == 30
        await t.run(scores.verify)
        await t.finish_scheduled()
        found = await progress(t, "verify")
        assert (found.state, found.rows, found.items, found.differences) == ("done", 30, 30, 0)


async def test_verify_finds_what_repair_puts_right() -> None:
    async with TestBackend(board()) as t:
        ids = [await write(t, points) for points in range(130)]

        async def sabotage(ctx: MutationCtx) -> None:
            await behind.delete(ctx, 3, ids[3], namespace="chess")
            await behind.insert(ctx, 3.5, ids[3], 3, namespace="chess")
            await behind.insert_if_does_not_exist(ctx, 5, ids[5], 500, namespace="chess")
            await behind.insert(ctx, 1, "no id at all", namespace="chess")
            await behind.insert(ctx, 1, ids[1], namespace="elsewhere")

        await t.run(sabotage)
        await t.run(scores.verify)
        await t.finish_scheduled()
        found = await progress(t, "verify")
        assert (found.missing, found.wrong, found.extra, found.miscounted, found.broken) == (1, 1, 3, 0, 0)
        assert {sample["id"] for sample in found.samples} == {ids[1], ids[3], ids[5], "no id at all"}
        await t.run(scores.repair)
        await t.finish_scheduled()
        assert (await progress(t, "repair")).differences == 5
        await assert_same(t)
        await t.run(scores.verify)
        await t.finish_scheduled()
        assert (await progress(t, "verify")).differences == 0


@pytest.mark.parametrize("damage", ["counts", "sums", "order", "gone", "totals"])
async def test_a_damaged_tree_is_found_and_repaired(damage: str) -> None:
    async with TestBackend(board()) as t:
        await t.run(lambda ctx: scores.clear(ctx, namespace="chess", max_node_size=4, root_lazy=False))
        for points in range(100):
            await write(t, points)

        async def spoil(ctx: MutationCtx) -> None:
            tree = await ctx.db.query("trees").first()
            assert tree is not None
            child = tree["children"].split()[0]
            if damage == "gone":
                await ctx.db.delete(child)
            elif damage == "totals":
                node = await ctx.db.get(child)
                assert node is not None
                await ctx.db.delete(node["totals"])
            elif damage == "order":
                node = await ctx.db.get(child)
                assert node is not None
                await ctx.db.patch(child, {"keys": "\n".join(reversed(node["keys"].split("\n") * 2))})
            else:
                width = len(tree[damage].split(","))
                await ctx.db.patch(tree["_id"], {damage: ", ".join(["77"] * width)})

        await t.run(spoil, component="aggregate")
        for task in (scores.verify, scores.repair):
            await t.run(task)
            await t.finish_scheduled()
        assert (await progress(t, "verify")).differences > 0
        assert (await progress(t, "repair")).state == "done"
        await assert_same(t)


@pytest.mark.parametrize("spoilt", ["lane", "inner node", "name"])
async def test_what_the_lanes_of_a_lazy_root_count_is_looked_at_too(spoilt: str) -> None:
    async with TestBackend(board()) as t:
        await t.run(lambda ctx: scores.clear(ctx, namespace="chess", max_node_size=4))
        for points in range(100):
            await write(t, points)

        async def spoil(ctx: MutationCtx) -> None:
            tree = await ctx.db.query("trees").first()
            assert tree is not None
            named = tree["totals"].split()
            if spoilt == "name":
                await ctx.db.patch(tree["_id"], {"totals": " ".join(reversed(named))})
                return
            if spoilt == "lane":
                totals = named[0]
            else:
                totals = next(row["totals"] for row in await ctx.db.query("inners").collect() if row["totals"] not in named)
            inner = next(row for row in await ctx.db.query("inners").collect() if row["totals"] == totals)
            await ctx.db.patch(totals, {"shape": inner["shape"], "counts": ", ".join("7" for _ in inner["children"].split())})

        await t.run(spoil, component="aggregate")
        with pytest.raises(AppError, match="the root does not know" if spoilt == "name" else "counts of the tree are wrong"):
            await t.component("aggregate").query("validate", namespace="chess")
        await t.run(scores.repair)
        await t.finish_scheduled()
        await t.component("aggregate").query("validate", namespace="chess")
        assert (await progress(t, "repair")).differences > 0
        await assert_same(t)


async def test_without_a_runner_a_task_says_what_to_write() -> None:
    lone = TableAggregate(components.aggregate, "scores", sort_key=lambda d: d["points"])
    async with TestBackend(board()) as t:

        async def start(ctx: MutationCtx) -> None:
            with pytest.raises(RuntimeError, match="runner"):
                await lone.attach(ctx)

        await t.run(start)


@pytest.mark.one_isolation("inline", "no component runs: values of the face")
def test_items_compare_by_what_they_are() -> None:
    assert Item(1, "a", 2) == Item(1.0, "a", 2) != Item(1, "b", 2)
