"""The tree against a sorted list: any writes, any shape, any question."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sortedcontainers import SortedList

from interlock import AppError, Int64, QueryCtx
from interlock.testing import TestBackend
from interlock.values.keys import encode_key
from interlock_aggregate.component import component
from interlock_aggregate.exact import add, rounded, total
from interlock_aggregate.positions import item_at, key_text, position

scalars = st.one_of(
    st.none(),
    st.integers(-(2**53), 2**53),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.floats(),
    st.booleans(),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text("\0\1\2\t\n\x0bab"),
    st.binary(max_size=4),
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=2))
ids = st.text("\0\1\t\nab,-", max_size=3)


def order(key: Any, id: str) -> tuple[bytes, bytes]:
    """What the engine orders by."""
    return encode_key(key), encode_key(id)


@pytest.mark.one_isolation("inline", "no component runs: keys and sums alone")
@given(st.lists(st.tuples(values, ids), min_size=2, max_size=8))
def test_positions_are_in_the_order_of_the_engines_keys(items: list[tuple[Any, str]]) -> None:
    by_position = sorted(items, key=lambda item: position(*item))
    assert [order(*item) for item in by_position] == sorted(order(*item) for item in items)


@pytest.mark.one_isolation("inline", "no component runs: keys and sums alone")
@given(values, ids)
def test_a_position_gives_back_its_key_and_id(key: Any, id: str) -> None:
    back, same_id = item_at(position(key, id))
    assert (encode_key(back), same_id) == (encode_key(key), id)
    assert "\n" not in position(key, id)


@pytest.mark.one_isolation("inline", "no component runs: keys and sums alone")
def test_equal_numbers_are_equal_keys_whatever_their_type() -> None:
    assert key_text(65) == key_text(65.0) and key_text([1, 2]) == key_text((1.0, 2.0))
    assert key_text(64.5) < key_text(65) < key_text(65.5)
    assert len({key_text(one) for one in (1, True, "1", Int64(1), b"1", [1], None)}) == 7


numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.one_isolation("inline", "no component runs: keys and sums alone")
@given(st.lists(numbers, max_size=20), st.data())
def test_taking_numbers_away_again_leaves_what_was_there_before(added: list[float], data: st.DataObject) -> None:
    kept = total([data.draw(numbers)])
    summed = kept
    for number in added:
        summed = add(summed, number)
    assert summed == total([kept, *added])
    assert json.loads(json.dumps(summed)) == summed
    for number in data.draw(st.permutations(added)):
        summed = add(summed, number, -1)
    assert summed == kept


@pytest.mark.one_isolation("inline", "no component runs: keys and sums alone")
def test_sums_are_exact_and_rounded_once() -> None:
    assert rounded(total([0.1] * 10)) == 1.0
    assert rounded(total([1e16, 1, -1e16])) == 1
    assert rounded(total([2**53] * 4 + [1])) == float(4 * 2**53 + 1)
    assert add(add(1e308, 1e308), 1e308, -1) == 1e308
    assert rounded(total([1e308, 1e308])) == float("inf")
    assert total([3, 4]) == 7 and type(total([0.5, 0.5])) is int


keys = st.integers(-6, 6) | st.sampled_from([0.5, 2.0, "a", "b", None, True, Int64(1)]) | st.lists(st.integers(0, 2), max_size=2)
ends = st.none() | st.fixed_dictionaries({"key": keys}, optional={"id": st.sampled_from("abc"), "inclusive": st.booleans()})
bounds = st.one_of(
    st.none(),
    st.fixed_dictionaries({"eq": keys}),
    st.fixed_dictionaries({"prefix": st.lists(st.integers(0, 2), max_size=2)}),
    st.tuples(ends, ends).map(lambda two: {name: end for name, end in zip(("lower", "upper"), two, strict=True) if end is not None}),
)
sums = st.integers(-5, 5) | st.sampled_from([0.1, 1e16, -1e16])


def within(item: tuple[Any, str], asked: dict[str, Any] | None) -> bool:
    """Straight from what bounds mean."""
    key, id = item
    if asked is None:
        return True
    if "eq" in asked:
        return encode_key(key) == encode_key(asked["eq"])
    if "prefix" in asked:
        parts = asked["prefix"]
        return isinstance(key, list) and encode_key(key[: len(parts)]) == encode_key(parts)
    for name, sign in (("lower", 1), ("upper", -1)):
        if name in asked:
            end = asked[name]
            mine, its = order(key, id), order(end["key"], end.get("id", ""))
            if "id" not in end:
                mine, its = (mine[0], b""), (its[0], b"")
            inclusive = end.get("inclusive", True)
            if mine == its and not inclusive:
                return False
            if (mine > its) - (mine < its) == -sign:
                return False
    return True


@settings(max_examples=60)
@given(
    st.sampled_from([4, 6, 8, 18]),
    st.booleans(),
    st.sampled_from([3, 5]),
    st.integers(1, 3),
    st.lists(st.tuples(st.sampled_from("iiidur"), keys, st.sampled_from("abc"), sums, keys), max_size=90),
    st.lists(st.tuples(bounds, keys, st.sampled_from(["a", "b", None]), st.integers(1, 9)), min_size=4, max_size=4),
)
async def test_a_tree_answers_like_a_sorted_list(
    size: int, lazy: bool, lanes: int, shards: int, writes: list[Any], questions: list[Any]
) -> None:
    model: dict[tuple[bytes, bytes], tuple[Any, str, float]] = {}
    async with TestBackend(component) as t:
        await t.mutation("init", max_node_size=size, root_lazy=lazy, lanes=lanes)
        for kind, key, id, summand, other in writes:
            await write(t, model, kind, key, id, summand, other, shards)
            if len(model) < 12 or len(model) % 8 == 0:
                await t.query("validate")
        await t.query("validate")
        ordered = [model[place] for place in sorted(model)]
        for asked, key, id, page_size in questions:
            await ask(t, [item for item in ordered if within(item[:2], asked)], asked, key, id, page_size)


async def write(t: TestBackend, model: dict[Any, Any], kind: str, key: Any, id: str, summand: float, other: Any, shards: int) -> None:
    place, there = order(key, id), order(other, id)
    if kind == "i":
        expected, name, args = place not in model, "insert", {"key": key, "value": id, "summand": summand, "shards": shards}
    elif kind == "u":
        expected, name, args = True, "insert_if_does_not_exist", {"key": key, "value": id, "summand": summand, "shards": shards}
    elif kind == "d":
        expected, name, args = place in model, "delete", {"key": key, "value": id}
    else:
        expected = place in model and (there == place or there not in model)
        name, args = "replace", {"current_key": key, "new_key": other, "value": id, "summand": summand, "shards": shards}
    if not expected:
        with pytest.raises(AppError) as refused:
            await t.mutation(name, **args)
        assert refused.value.data["code"] in ("KEY_EXISTS", "DELETE_MISSING_KEY")
        return
    await t.mutation(name, **args)
    if kind in "dr":
        del model[place]
    if kind in "iu":
        model[place] = (key, id, summand)
    if kind == "r":
        model[there] = (other, id, summand)


async def ask(t: TestBackend, expected: list[tuple[Any, str, float]], asked: Any, key: Any, id: str | None, page_size: int) -> None:
    def plain(item: dict[str, Any]) -> tuple[bytes, str, float]:
        return encode_key(item["key"]), item["id"], item["sum_value"]

    wanted = [(encode_key(item[0]), *item[1:]) for item in expected]
    totals = {"count": len(expected), "sum": rounded(total([item[2] for item in expected]))}
    within_ = {} if asked is None else {"bounds": asked}
    assert await t.query("count", **within_) == totals["count"]
    assert await t.query("sum", **within_) == totals["sum"]
    assert await t.query("aggregate_between_batch", queries=[within_, {}, within_]) == [
        totals,
        await t.query("aggregate_between"),
        totals,
    ]
    for offset in range(len(wanted)):
        assert plain(await t.query("at_offset", offset=offset, **within_)) == wanted[offset]
        assert plain(await t.query("at_negative_offset", offset=offset, **within_)) == wanted[-offset - 1]
    for function in ("at_offset", "at_negative_offset"):
        with pytest.raises(AppError):
            await t.query(function, offset=len(wanted), **within_)
    here = order(key, id or "")
    low = [order(*item[:2]) if id is not None else (order(*item[:2])[0], b"") for item in expected]
    mine = here if id is not None else (here[0], b"")
    place = {"key": key} if id is None else {"key": key, "id": id}
    assert await t.query("offset", **place, **within_) == sum(one < mine for one in low)
    assert await t.query("offset_until", **place, **within_) == sum(one > mine for one in low)
    for order_, listed in (("asc", wanted), ("desc", wanted[::-1])):
        last = await t.query("end", order=order_, **within_)
        assert (None if last is None else plain(last)) == (listed[0] if listed else None)
        found: list[Any] = []
        cursor: str | None = None
        while cursor != "":
            page = await t.query("paginate", limit=page_size, order=order_, cursor=cursor, **within_)
            assert len(page["page"]) <= page_size and page["is_done"] == (page["cursor"] == "")
            found += [plain(item) for item in page["page"]]
            cursor = page["cursor"]
        assert found == listed
    any_ = await t.query("random", **within_)
    assert plain(any_) in wanted if wanted else any_ is None


@settings(max_examples=15)
@given(st.sampled_from([4, 6, 64]), st.booleans(), st.integers(0, 2**32))
async def test_a_larger_tree_stays_in_shape_while_it_grows_and_shrinks(size: int, lazy: bool, seed: int) -> None:
    random = Random(seed)
    model: Any = SortedList()
    async with TestBackend(component) as t:
        await t.mutation("init", max_node_size=size, root_lazy=lazy)
        for grow in (250, -150, 60, -160):
            batch = []
            for _ in range(abs(grow)):
                if grow > 0:
                    key = random.random()
                    model.add(key)
                    batch.append({"kind": "insert", "key": key, "value": "x", "summand": 1})
                else:
                    batch.append({"kind": "delete", "key": model.pop(random.randrange(len(model))), "value": "x"})
            while batch:
                some = random.choice([1, 7, 50])
                await t.mutation("write_batch", operations=batch[:some])
                del batch[:some]
                await t.query("validate")
            assert await t.query("aggregate_between") == {"count": len(model), "sum": len(model)}
            if model:
                at = random.randrange(len(model))
                assert (await t.query("at_offset", offset=at))["key"] == model[at]
                assert await t.query("offset", key=model[at]) == at
        if not lazy:
            await t.mutation("make_root_lazy")
            await t.query("validate")
        assert await nodes(t) == 0 or size < 64


@pytest.mark.parametrize("order", [1, -1])
async def test_a_tree_stays_in_shape_while_keys_only_grow_or_only_fall(order: int) -> None:
    """Nodes that were lanes of two children become inner nodes, and nodes are divided at their ends."""
    async with TestBackend(component) as t:
        await t.mutation("init", max_node_size=8)
        for first in range(0, 2_400, 150):
            added = [{"kind": "insert", "key": order * key, "value": "x", "summand": 1} for key in range(first, first + 149)]
            await t.mutation("write_batch", operations=added)
            await t.mutation("insert", key=order * (first + 149), value="x", summand=1)
            await t.query("validate")
            assert await t.query("aggregate_between") == {"count": first + 150, "sum": first + 150}
        for first in range(0, 2_400, 400):
            taken = [{"kind": "delete", "key": order * key, "value": "x"} for key in range(first, first + 400)]
            await t.mutation("write_batch", operations=taken)
            await t.query("validate")
        assert await nodes(t) == 0


async def nodes(t: TestBackend) -> int:
    """The documents below the root, of all three kinds."""

    async def count(ctx: QueryCtx) -> int:
        return sum([await ctx.db.query(table).count() for table in ("leaves", "inners", "totals")])

    return int(await t.run(count))
