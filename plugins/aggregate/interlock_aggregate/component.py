"""Ordered items that can be counted, summed, ranked and found by rank, over any range of keys.

Every name and namespace has a tree of its own (`tree`); an item lies in it by the position of its key and id (`positions`).
A call opens the trees that it needs, changes them, and saves what has changed.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Mapping, Sequence
from heapq import merge
from typing import Any, Literal, NotRequired, TypedDict
from zlib import crc32

from interlock import UNSET, AppError, CommitTimestamp, Component, MutationCtx, Page, PaginationOptions, QueryCtx, Schema, Table
from interlock_aggregate.checking import Broken, Check
from interlock_aggregate.exact import EXACT, Sum, rounded, total
from interlock_aggregate.positions import ALL, Stretch, after, before, item_at, key_text, position, stretch
from interlock_aggregate.tree import Place, Tree

MAX_NODE_SIZE = 64
LANES = 3
NODE_SIZES = range(4, 129, 2)
LANES_MOST = 128
POSITION_BYTES = 4 * 1024  # so that the largest node is well below the limit of a document
DROPPED_AT_ONCE = 500
EVERY_LEAF = 1_000_000
APPLIED_AT_ONCE = 256
REFUSED = {"KEY_EXISTS", "DELETE_MISSING_KEY", "INVALID_KEY", "INVALID_SUM_VALUE"}  # what a write is refused with for what it asks
NO_CURSOR = ""

Number = int | float

node: dict[str, Any] = {"keys": str, "children": str, "counts": str, "sums": str}
trees = (
    Table(
        {
            "name": str,
            "namespace": Any,
            "shard": int,
            "queued": bool,  # operations may be waiting
            "max_node_size": int,
            "lanes": int,
            "root_lazy": bool,
            **node,
        }
    )
    .index("by_namespace", "name", "namespace", "shard")
    .index("by_name", "name", "shard")
)
operations = Table({"name": str, "namespace": Any, "commit_ts": CommitTimestamp(), "operation": dict[str, Any]}).index(
    "by_namespace", "name", "namespace", "commit_ts"
)
dead_letters = Table({"name": str, "namespace": Any, "commit_ts": Any, "operation": dict[str, Any], "error": Any}).index(
    "by_commit_ts", "name", "commit_ts"
)
tasks = Table(
    {
        "name": str,
        "task": str,
        "state": str,
        "run": int,
        "job": str,
        "phase": str,
        "namespace_cursor": str | None,
        "cursor": str | None,
        **dict.fromkeys(("rows", "items", "missing", "wrong", "extra", "miscounted", "broken"), int),
        "samples": list[Any],
    }
).index("by_task", "name", "task")

component = Component(
    "aggregate", schema=Schema(trees=trees, nodes=Table(node), operations=operations, dead_letters=dead_letters, tasks=tasks)
)


class End(TypedDict):
    """One end of a range: at a key, or with an id at one item of it."""

    key: Any
    id: NotRequired[str]
    inclusive: NotRequired[bool]


class Bounds(TypedDict):
    """A range: two ends, or all items of one key, or all tuple keys that begin alike."""

    lower: NotRequired[End]
    upper: NotRequired[End]
    eq: NotRequired[Any]
    prefix: NotRequired[list[Any]]


class Item(TypedDict):
    """What is counted."""

    key: Any
    id: str
    sum_value: Number


class Between(TypedDict):
    """One question of a batch."""

    bounds: NotRequired[Bounds]
    namespace: NotRequired[Any]
    offset: NotRequired[int]


class Totals(TypedDict):
    """How many, and how much."""

    count: int
    sum: Number


class Operation(TypedDict):
    """One write of a batch."""

    kind: Literal["insert", "insert_if_does_not_exist", "delete", "delete_if_exists", "replace", "replace_or_insert"]
    key: Any
    value: str
    summand: NotRequired[Number]
    namespace: NotRequired[Any]
    new_key: NotRequired[Any]
    new_namespace: NotRequired[Any]


class Trees:
    """The trees that one call has opened, by namespace."""

    def __init__(self, ctx: QueryCtx, name: str, *, stale: bool = False, fresh: bool = False, shards: int = 1) -> None:
        self._ctx, self._name, self._shards = ctx, name, shards
        # How a queue of writes is met: a stale reader looks past it, a fresh one folds it in, everybody else is refused.
        self._stale, self._fresh = stale, fresh
        self._open: dict[str, dict[int, Tree]] = {}

    async def of(self, namespace: Any) -> list[Tree]:
        """The trees of a namespace: one, or one a shard, or none."""
        key = key_text(namespace)
        opened = self._open.get(key)
        if opened is None:
            ctx = self._ctx
            rows = await ctx.db.query("trees").index("by_namespace", name=self._name, namespace=namespace).collect()
            opened = self._open[key] = {row["shard"]: Tree(ctx, row) for row in rows}
            if not self._stale and any(row["queued"] for row in rows):
                await self._meet_queue(namespace)
        return list(opened.values())

    async def for_writing(self, namespace: Any, id: str) -> Tree:
        """The tree that an item belongs to; a new one if there is none."""
        await self.of(namespace)
        opened = self._open[key_text(namespace)]
        shard = crc32(id.encode()) % self._shards if self._shards > 1 else 0
        if shard and not opened:  # every namespace has a shard 0: it is listed by it
            opened[0] = _new_tree(self._ctx, self._name, namespace)
            opened[0].root.changed = True
        if shard not in opened:
            first = next(iter(opened.values()), None)
            opened[shard] = _new_tree(self._ctx, self._name, namespace, shard, like=first)
        return opened[shard]

    async def find(self, namespace: Any, id: str, position: str) -> Tree | None:
        """The tree that holds an item: in shards any of them may, because their number can have changed since it was added."""
        found = await self.of(namespace)
        if len(found) == 1 and self._shards == 1:
            return found[0]
        for tree in found:
            if await tree.get(position) is not None:
                return tree
        return None

    async def save(self, ctx: MutationCtx) -> None:
        """Write what has changed."""
        for opened in self._open.values():
            for tree in opened.values():
                await tree.save(ctx)

    async def _meet_queue(self, namespace: Any) -> None:
        waiting = self._ctx.db.query("operations").index("by_namespace", name=self._name, namespace=namespace)
        if self._fresh:
            async for row in waiting:
                try:
                    await perform(self, row["operation"])
                except AppError:
                    continue  # it will be a dead letter
        elif await waiting.first() is not None:
            raise AppError(
                {
                    "code": "PENDING_OPERATIONS",
                    "message": "writes are queued for this namespace. Read with stale=True or fresh=True, write with queued=True, or wait.",
                }
            )


def _new_tree(ctx: QueryCtx, name: str, namespace: Any, shard: int = 0, like: Tree | None = None) -> Tree:
    shape = (like.max_node_size, like.lanes, like.is_lazy) if like is not None else (MAX_NODE_SIZE, LANES, True)
    options = dict(zip(("max_node_size", "lanes", "root_lazy"), shape, strict=True))
    empty = dict.fromkeys(node, "")
    return Tree(ctx, {"name": name, "namespace": namespace, "shard": shard, "queued": False, **options, **empty})


def _item(place: Place) -> Item:
    key, id = item_at(place[0])
    return {"key": key, "id": id, "sum_value": rounded(place[1])}


# writing


async def perform(opened: Trees, operation: Mapping[str, Any]) -> None:
    """Do one write. One that raises has changed nothing that is saved: whoever catches it opens the trees anew, or `undoes` it."""
    kind, id = operation["kind"], operation["value"]
    namespace = operation.get("namespace")
    here = position(operation["key"], id)
    if kind in ("insert", "insert_if_does_not_exist"):
        await _put(opened, namespace, here, operation, operation["key"], replace=kind != "insert")
    elif kind in ("delete", "delete_if_exists"):
        if not await _take(opened, namespace, id, here) and kind == "delete":
            raise _missing(operation)
    else:
        target = operation.get("new_namespace", namespace)
        there = position(operation["new_key"], id)
        strict = kind == "replace"
        if there == here and key_text(target) == key_text(namespace):
            tree = await opened.find(namespace, id, here)
            if strict and (tree is None or await tree.get(here) is None):
                raise _missing(operation)
            await _put(opened, namespace, here, operation, operation["key"], replace=True)
            return
        if strict:  # both are looked at before anything is changed
            tree = await opened.find(namespace, id, here)
            if tree is None or await tree.get(here) is None:
                raise _missing(operation)
            other = await opened.find(target, id, there)
            if other is not None and await other.get(there) is not None:
                raise _exists(operation["new_key"], id)
        _checked(there, operation)
        await _take(opened, namespace, id, here)
        await _put(opened, target, there, operation, operation["new_key"], replace=not strict)


async def _put(opened: Trees, namespace: Any, position: str, operation: Mapping[str, Any], key: Any, *, replace: bool) -> None:
    summand = _checked(position, operation)
    id = operation["value"]
    tree = await opened.find(namespace, id, position) or await opened.for_writing(namespace, id)
    if not await tree.put(position, summand, replace=replace):
        raise _exists(key, id)


async def _take(opened: Trees, namespace: Any, id: str, position: str) -> bool:
    tree = await opened.find(namespace, id, position)
    return tree is not None and await tree.take(position)


def _checked(position: str, operation: Mapping[str, Any]) -> Number:
    summand: Number = operation.get("summand", 0)
    if not math.isfinite(summand):
        raise AppError({"code": "INVALID_SUM_VALUE", "message": f"a sum value is a finite number, not {summand}"})
    if len(position) * 4 > POSITION_BYTES and len(position.encode()) > POSITION_BYTES:
        raise AppError({"code": "INVALID_KEY", "message": f"key and id take more than {POSITION_BYTES:,} bytes"})
    return int(summand) if summand == 0 or (abs(summand) <= EXACT and summand == int(summand)) else summand


def _missing(operation: Mapping[str, Any]) -> AppError:
    key, id = operation["key"], operation["value"]
    return AppError({"code": "DELETE_MISSING_KEY", "message": f"there is no item of key {key!r} and id {id!r}", "key": key, "id": id})


def _exists(key: Any, id: str) -> AppError:
    return AppError({"code": "KEY_EXISTS", "message": f"there is an item of key {key!r} and id {id!r} already", "key": key, "id": id})


async def _write(ctx: MutationCtx, name: str, shards: int, operations: Sequence[Mapping[str, Any]]) -> None:
    if shards < 1:
        raise AppError({"code": "INVALID_OPTIONS", "message": f"shards must be 1 or more, got {shards}"})
    opened = Trees(ctx, name, shards=shards)
    for operation in operations:
        await perform(opened, operation)
    await opened.save(ctx)


@component.mutation
async def insert(
    ctx: MutationCtx, key: Any, value: str, summand: Number = 0, namespace: Any = None, name: str = "", shards: int = 1
) -> None:
    """Add an item; `KEY_EXISTS` if there is one of this key and id."""
    await _write(ctx, name, shards, [{"kind": "insert", "key": key, "value": value, "summand": summand, "namespace": namespace}])


@component.mutation
async def insert_if_does_not_exist(
    ctx: MutationCtx, key: Any, value: str, summand: Number = 0, namespace: Any = None, name: str = "", shards: int = 1
) -> None:
    """Add an item, or give the one that is there this sum value."""
    operation = {"kind": "insert_if_does_not_exist", "key": key, "value": value, "summand": summand, "namespace": namespace}
    await _write(ctx, name, shards, [operation])


@component.mutation
async def delete(ctx: MutationCtx, key: Any, value: str, namespace: Any = None, name: str = "") -> None:
    """Remove an item; `DELETE_MISSING_KEY` if there is none."""
    await _write(ctx, name, 1, [{"kind": "delete", "key": key, "value": value, "namespace": namespace}])


@component.mutation
async def delete_if_exists(ctx: MutationCtx, key: Any, value: str, namespace: Any = None, name: str = "") -> None:
    """Remove an item, if there is one."""
    await _write(ctx, name, 1, [{"kind": "delete_if_exists", "key": key, "value": value, "namespace": namespace}])


@component.mutation
async def replace(
    ctx: MutationCtx,
    current_key: Any,
    new_key: Any,
    value: str,
    summand: Number = 0,
    namespace: Any = None,
    new_namespace: Any = UNSET,
    name: str = "",
    shards: int = 1,
) -> None:
    """Move an item to another key, sum value or namespace; `DELETE_MISSING_KEY`, `KEY_EXISTS`."""
    await _write(ctx, name, shards, [_replacing("replace", current_key, new_key, value, summand, namespace, new_namespace)])


@component.mutation
async def replace_or_insert(
    ctx: MutationCtx,
    current_key: Any,
    new_key: Any,
    value: str,
    summand: Number = 0,
    namespace: Any = None,
    new_namespace: Any = UNSET,
    name: str = "",
    shards: int = 1,
) -> None:
    """Move an item, which need not be there, to where one may be already."""
    await _write(ctx, name, shards, [_replacing("replace_or_insert", current_key, new_key, value, summand, namespace, new_namespace)])


def _replacing(
    kind: str, current_key: Any, new_key: Any, value: str, summand: Number, namespace: Any, new_namespace: Any
) -> dict[str, Any]:
    operation = {"kind": kind, "key": current_key, "new_key": new_key, "value": value, "summand": summand, "namespace": namespace}
    return operation if new_namespace is UNSET else {**operation, "new_namespace": new_namespace}


@component.mutation
async def write_batch(ctx: MutationCtx, operations: list[Operation], name: str = "", shards: int = 1) -> None:
    """Many writes, in order: all of them or none."""
    await _write(ctx, name, shards, operations)


# queued writes


@component.mutation
async def enqueue(ctx: MutationCtx, operation: Operation, name: str = "", shards: int = 1) -> None:
    """Queue a write."""
    await enqueue_batch(ctx, [operation], name, shards)


@component.mutation
async def enqueue_batch(ctx: MutationCtx, operations: list[Operation], name: str = "", shards: int = 1) -> None:
    """Queue many writes. Those of one namespace are done in the order of the commits, and within a mutation in this one."""
    flagged: set[str] = set()
    for operation in operations:
        for part in _one_namespace_each(operation):
            namespace = part.get("namespace")
            key = key_text(namespace)
            if key not in flagged:
                flagged.add(key)
                await _expect_queue(ctx, name, namespace, shards)
            row = {"name": name, "namespace": namespace, "commit_ts": CommitTimestamp(), "operation": part}
            await ctx.db.insert("operations", row)


def _one_namespace_each(operation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A move to another namespace is a delete in the queue of the one and an insert in that of the other."""
    part = dict(operation)
    target = part.pop("new_namespace", part.get("namespace"))
    if "new_key" not in part or key_text(target) == key_text(part.get("namespace")):
        return [part]
    strict = part["kind"] == "replace"
    leave = {"kind": "delete" if strict else "delete_if_exists", "key": part["key"], "value": part["value"]}
    arrive = {"kind": "insert" if strict else "insert_if_does_not_exist", "key": part["new_key"], "value": part["value"]}
    return [
        {**leave, "namespace": part.get("namespace")},
        {**arrive, "summand": part.get("summand", 0), "namespace": target},
    ]


async def _expect_queue(ctx: MutationCtx, name: str, namespace: Any, shards: int) -> None:
    """Tell everybody that writes are queued, unless it is known, and see to it that they are done."""
    found = await Trees(ctx, name, stale=True).of(namespace) or [_new_tree(ctx, name, namespace)]
    if not any(tree.is_queued for tree in found):
        found[0].mark_queued(True)
        await found[0].save(ctx)
        await ctx.scheduler.run_after(0, apply_queued, namespace=namespace, name=name, shards=shards)


@component.mutation(internal=True)
async def apply_queued(ctx: MutationCtx, namespace: Any, name: str, shards: int) -> None:
    """Do some of the queued writes of a namespace, oldest first."""
    waiting = ctx.db.query("operations").index("by_namespace", name=name, namespace=namespace)
    rows = await waiting.take(APPLIED_AT_ONCE)
    opened = Trees(ctx, name, stale=True, shards=shards)
    for row in rows:
        await ctx.db.delete(row["_id"])
        try:
            await perform(opened, row["operation"])
        except AppError as error:
            if error.data["code"] not in REFUSED:
                raise
            letter = {field: row[field] for field in ("name", "namespace", "commit_ts", "operation")}
            await ctx.db.insert("dead_letters", {**letter, "error": error.data})
    if len(rows) == APPLIED_AT_ONCE:
        await ctx.scheduler.run_after(0, apply_queued, namespace=namespace, name=name, shards=shards)
    else:
        for tree in await opened.of(namespace):
            tree.mark_queued(False)
    await opened.save(ctx)


class DeadLetter(TypedDict):
    """A queued write that could not be done."""

    id: str
    commit_ts: Any
    namespace: Any
    operation: dict[str, Any]
    error: Any


@component.query
async def dead_letter_list(ctx: QueryCtx, limit: int = 100, cursor: str | None = None, name: str = "") -> Page[DeadLetter]:
    """The queued writes that could not be done, oldest first."""
    options = PaginationOptions(num_items=limit, cursor=cursor)
    page = await ctx.db.query("dead_letters").index("by_commit_ts", name=name).paginate(options)
    return page.map(_dead_letter)


@component.query
async def dead_letter_get(ctx: QueryCtx, id: str) -> DeadLetter | None:
    """One of them, or None."""
    known = await ctx.db.normalize_id("dead_letters", id)
    row = None if known is None else await ctx.db.get(known)
    return None if row is None else _dead_letter(row)


@component.mutation
async def dead_letter_delete(ctx: MutationCtx, id: str) -> bool:
    """Forget one of them. Says whether there was one."""
    existed = await dead_letter_get(ctx, id) is not None
    if existed:
        await ctx.db.delete(id)
    return existed


def _dead_letter(row: Mapping[str, Any]) -> DeadLetter:
    operation, error = row["operation"], row["error"]
    return {"id": row["_id"], "commit_ts": row["commit_ts"], "namespace": row["namespace"], "operation": operation, "error": error}


# reading


def _between(opened: Trees, bounds: Mapping[str, Any] | None, namespace: Any, *, sums: bool = False) -> Awaitable[tuple[int, Sum]]:
    return _within(opened, stretch(bounds) if bounds else ALL, namespace, sums=sums)


async def _within(opened: Trees, reach: Stretch, namespace: Any, *, sums: bool = False) -> tuple[int, Sum]:
    found = await opened.of(namespace)
    if len(found) == 1:
        return await found[0].between(reach, sums)
    parts = [await tree.between(reach, sums) for tree in found]
    return sum(count for count, _ in parts), total([part for _, part in parts])


@component.query
async def count(
    ctx: QueryCtx, bounds: Bounds | None = None, namespace: Any = None, name: str = "", stale: bool = False, fresh: bool = False
) -> int:
    """How many items there are."""
    counted, _ = await _between(Trees(ctx, name, stale=stale, fresh=fresh), bounds, namespace)
    return counted


@component.query(name="sum")
async def sum_of(
    ctx: QueryCtx, bounds: Bounds | None = None, namespace: Any = None, name: str = "", stale: bool = False, fresh: bool = False
) -> Number:
    """The sum of their numbers."""
    _, summed = await _between(Trees(ctx, name, stale=stale, fresh=fresh), bounds, namespace, sums=True)
    return rounded(summed)


@component.query
async def aggregate_between(
    ctx: QueryCtx, bounds: Bounds | None = None, namespace: Any = None, name: str = "", stale: bool = False, fresh: bool = False
) -> Totals:
    """Both."""
    counted, summed = await _between(Trees(ctx, name, stale=stale, fresh=fresh), bounds, namespace, sums=True)
    return {"count": counted, "sum": rounded(summed)}


@component.query
async def aggregate_between_batch(
    ctx: QueryCtx, queries: list[Between], name: str = "", stale: bool = False, fresh: bool = False
) -> list[Totals]:
    """Both, for several ranges, in order."""
    opened = Trees(ctx, name, stale=stale, fresh=fresh)
    answers: list[Totals] = []
    for asked in queries:
        counted, summed = await _between(opened, asked.get("bounds"), asked.get("namespace"), sums=True)
        answers.append({"count": counted, "sum": rounded(summed)})
    return answers


@component.query
async def count_batch(ctx: QueryCtx, queries: list[Between], name: str = "", stale: bool = False, fresh: bool = False) -> list[int]:
    """The counts of several ranges, in order."""
    opened = Trees(ctx, name, stale=stale, fresh=fresh)
    return [(await _between(opened, asked.get("bounds"), asked.get("namespace")))[0] for asked in queries]


@component.query
async def at_offset(
    ctx: QueryCtx,
    offset: int,
    bounds: Bounds | None = None,
    namespace: Any = None,
    name: str = "",
    stale: bool = False,
    fresh: bool = False,
) -> Item:
    """The item that has `offset` items before it in the range; `OFFSET_OUT_OF_RANGE` if there is none."""
    return await _at(Trees(ctx, name, stale=stale, fresh=fresh), _not_negative(offset), bounds, namespace)


@component.query
async def at_negative_offset(
    ctx: QueryCtx,
    offset: int,
    bounds: Bounds | None = None,
    namespace: Any = None,
    name: str = "",
    stale: bool = False,
    fresh: bool = False,
) -> Item:
    """The item that has `offset` items after it in the range."""
    return await _at(Trees(ctx, name, stale=stale, fresh=fresh), -_not_negative(offset) - 1, bounds, namespace)


@component.query
async def at_offset_batch(ctx: QueryCtx, queries: list[Between], name: str = "", stale: bool = False, fresh: bool = False) -> list[Item]:
    """Several of them; here a negative offset counts from the end."""
    opened = Trees(ctx, name, stale=stale, fresh=fresh)
    return [await _at(opened, asked.get("offset", 0), asked.get("bounds"), asked.get("namespace")) for asked in queries]


def _not_negative(offset: int) -> int:
    if offset < 0:
        raise AppError({"code": "INVALID_OFFSET", "message": f"an offset must be 0 or more, got {offset}"})
    return offset


async def _at(opened: Trees, offset: int, bounds: Mapping[str, Any] | None, namespace: Any) -> Item:
    place = await _place_at(await opened.of(namespace), offset, stretch(bounds) if bounds else ALL)
    if place is None:
        raise AppError({"code": "OFFSET_OUT_OF_RANGE", "message": f"there is no item at offset {offset} of this range", "offset": offset})
    return _item(place)


async def _place_at(found: list[Tree], offset: int, reach: Stretch) -> Place | None:
    if not found:
        return None
    if len(found) == 1:
        return await found[0].at(offset, reach)
    # In shards: narrow the range down to one item. Every round halves what one of the trees can still hold.
    counts = [(await tree.between(reach))[0] for tree in found]
    left = offset if offset >= 0 else sum(counts) + offset
    if not 0 <= left < sum(counts):
        return None
    while True:
        widest = max(range(len(found)), key=counts.__getitem__)
        middle = await found[widest].at(counts[widest] // 2, reach)
        assert middle is not None
        lower = Stretch(reach.start, middle[0])
        below = [(await tree.between(lower))[0] for tree in found]
        if left == sum(below):
            return middle
        if left < sum(below):
            reach, counts = lower, below
        else:
            left -= sum(below) + 1
            reach = Stretch(middle[0] + "\0", reach.stop)
            counts = [(await tree.between(reach))[0] for tree in found]


@component.query
async def offset(
    ctx: QueryCtx,
    key: Any,
    id: str | None = None,
    bounds: Bounds | None = None,
    namespace: Any = None,
    name: str = "",
    stale: bool = False,
    fresh: bool = False,
) -> int:
    """How many items of the range come before the key, or before the item."""
    start, stop = stretch(bounds)
    end = before(key, id)
    reach = Stretch(start, end if stop is None else min(stop, end))
    return (await _within(Trees(ctx, name, stale=stale, fresh=fresh), reach, namespace))[0]


@component.query
async def offset_until(
    ctx: QueryCtx,
    key: Any,
    id: str | None = None,
    bounds: Bounds | None = None,
    namespace: Any = None,
    name: str = "",
    stale: bool = False,
    fresh: bool = False,
) -> int:
    """How many items of the range come after the key, or after the item."""
    start, stop = stretch(bounds)
    reach = Stretch(max(start, after(key, id)), stop)
    return (await _within(Trees(ctx, name, stale=stale, fresh=fresh), reach, namespace))[0]


@component.query
async def get(
    ctx: QueryCtx, key: Any, value: str, namespace: Any = None, name: str = "", stale: bool = False, fresh: bool = False
) -> Item | None:
    """The item of this key and id, or None."""
    for tree in await Trees(ctx, name, stale=stale, fresh=fresh).of(namespace):
        found = await tree.get(position(key, value))
        if found is not None:
            return {"key": key, "id": value, "sum_value": rounded(found)}
    return None


@component.query
async def end(
    ctx: QueryCtx,
    order: Literal["asc", "desc"],
    bounds: Bounds | None = None,
    namespace: Any = None,
    name: str = "",
    stale: bool = False,
    fresh: bool = False,
) -> Item | None:
    """The first item of the range, or with `desc` the last one; None if it is empty."""
    found = await _page(Trees(ctx, name, stale=stale, fresh=fresh), namespace, stretch(bounds), 1, order == "desc")
    return _item(found[0]) if found else None


@component.query
async def random(
    ctx: QueryCtx, bounds: Bounds | None = None, namespace: Any = None, name: str = "", stale: bool = False, fresh: bool = False
) -> Item | None:
    """Any item of the range, each with the same probability; None if it is empty."""
    opened, reach = Trees(ctx, name, stale=stale, fresh=fresh), stretch(bounds)
    counted, _ = await _within(opened, reach, namespace)
    place = await _place_at(await opened.of(namespace), ctx.random.randrange(counted), reach) if counted else None
    return _item(place) if place is not None else None


async def _page(opened: Trees, namespace: Any, reach: Stretch, limit: int, descending: bool) -> list[Place]:
    pages = [await tree.page(reach, limit, descending=descending) for tree in await opened.of(namespace)]
    return pages[0] if len(pages) == 1 else list(merge(*pages, reverse=descending))[:limit]


class ItemPage(TypedDict):
    """A page of items."""

    page: list[Item]
    cursor: str
    is_done: bool


@component.query
async def paginate(
    ctx: QueryCtx,
    limit: int = 100,
    order: Literal["asc", "desc"] = "asc",
    cursor: str | None = None,
    bounds: Bounds | None = None,
    namespace: Any = None,
    name: str = "",
    stale: bool = False,
    fresh: bool = False,
) -> ItemPage:
    """The next `limit` items of the range. The last page says that it is, and its cursor is empty."""
    if limit < 1:
        raise AppError({"code": "INVALID_LIMIT", "message": f"a page has at least 1 item, not {limit}"})
    if cursor == NO_CURSOR:
        return {"page": [], "cursor": NO_CURSOR, "is_done": True}
    start, stop = stretch(bounds)
    if cursor is not None:
        start, stop = (start, cursor if stop is None else min(stop, cursor)) if order == "desc" else (max(start, cursor + "\0"), stop)
    found = await _page(Trees(ctx, name, stale=stale, fresh=fresh), namespace, Stretch(start, stop), limit + 1, order == "desc")
    is_done = len(found) <= limit
    return {
        "page": [_item(place) for place in found[:limit]],
        "cursor": NO_CURSOR if is_done else found[limit - 1][0],
        "is_done": is_done,
    }


@component.query
async def paginate_namespaces(ctx: QueryCtx, limit: int = 100, cursor: str | None = None, name: str = "") -> Page[Any]:
    """The namespaces that have a tree, in the order in which they got it."""
    options = PaginationOptions(num_items=limit, cursor=cursor)
    page = await ctx.db.query("trees").index("by_name", name=name, shard=0).paginate(options)
    return page.map(lambda row: row["namespace"])


# the life of a tree


class Shape(TypedDict):
    """How a tree is built. What is left out stays as it is."""

    max_node_size: NotRequired[int]
    root_lazy: NotRequired[bool]
    lanes: NotRequired[int]


@component.mutation
async def init(
    ctx: MutationCtx, max_node_size: int = MAX_NODE_SIZE, root_lazy: bool = True, lanes: int = LANES, namespace: Any = None, name: str = ""
) -> None:
    """Make an empty tree of this shape; `TREE_EXISTS` if there is one."""
    if await Trees(ctx, name, stale=True).of(namespace):
        raise AppError({"code": "TREE_EXISTS", "message": "this namespace has a tree already. Clear it to give it another shape."})
    await clear(ctx, namespace, max_node_size, root_lazy, lanes, name)


@component.mutation
async def clear(
    ctx: MutationCtx,
    namespace: Any = None,
    max_node_size: int | None = None,
    root_lazy: bool | None = None,
    lanes: int | None = None,
    name: str = "",
) -> None:
    """Make the tree empty. What was in it is deleted by and by."""
    await _drop_soon(ctx, await _clear(ctx, name, namespace, max_node_size, root_lazy, lanes))


@component.mutation
async def clear_all(
    ctx: MutationCtx, max_node_size: int | None = None, root_lazy: bool | None = None, lanes: int | None = None, name: str = ""
) -> None:
    """Make the trees of all namespaces empty. Afterwards the default namespace has one."""
    rows = await ctx.db.query("trees").index("by_name", name=name, shard=0).collect()
    nodes: list[str] = []
    for namespace in [None, *[row["namespace"] for row in rows if row["namespace"] is not None]]:
        nodes += await _clear(ctx, name, namespace, max_node_size, root_lazy, lanes)
    await _drop_soon(ctx, nodes)


async def _clear(
    ctx: MutationCtx, name: str, namespace: Any, max_node_size: int | None, root_lazy: bool | None, lanes: int | None
) -> list[str]:
    """Empty one namespace. Gives the nodes that its roots had."""
    if max_node_size is not None and max_node_size not in NODE_SIZES:
        raise AppError({"code": "INVALID_OPTIONS", "message": f"max_node_size must be even and from 4 to 128, got {max_node_size}"})
    if lanes is not None and not 3 <= lanes <= LANES_MOST:
        raise AppError({"code": "INVALID_OPTIONS", "message": f"lanes must be from 3 to 128, got {lanes}"})
    for row in await ctx.db.query("operations").index("by_namespace", name=name, namespace=namespace).collect():
        await ctx.db.delete(row["_id"])
    nodes: list[str] = []
    for tree in await Trees(ctx, name, stale=True).of(namespace) or [_new_tree(ctx, name, namespace)]:
        nodes += tree.empty(
            tree.max_node_size if max_node_size is None else max_node_size,
            tree.lanes if lanes is None else lanes,
            tree.is_lazy if root_lazy is None else root_lazy,
        )
        tree.mark_queued(False)
        await tree.save(ctx)
    return nodes


async def _drop_soon(ctx: MutationCtx, nodes: list[str]) -> None:
    if nodes:
        await ctx.scheduler.run_after(0, drop_nodes, ids=nodes)


@component.mutation(internal=True)
async def drop_nodes(ctx: MutationCtx, ids: list[str]) -> None:
    """Delete nodes and those below them, so many at a time."""
    for _ in range(DROPPED_AT_ONCE):
        if not ids:
            return
        row = await ctx.db.get(ids.pop())
        if row is not None:
            ids += row["children"].split()
            await ctx.db.delete(row["_id"])
    await _drop_soon(ctx, ids)


@component.mutation
async def make_root_lazy(ctx: MutationCtx, namespace: Any = None, name: str = "") -> None:
    """Let writers pass the root by."""
    for tree in await Trees(ctx, name, stale=True).of(namespace):
        await tree.make_lazy()
        await tree.save(ctx)


# is it right?


@component.query
async def validate(ctx: QueryCtx, namespace: Any = None, name: str = "") -> None:
    """`INVALID_TREE` if a tree breaks its rules. Looks at every node: for trees that one call can read."""
    for tree in await Trees(ctx, name, stale=True).of(namespace):
        check = Check(tree, "", EVERY_LEAF, mend=False)
        try:
            await check.run()
        except Broken as error:
            raise AppError({"code": "INVALID_TREE", "message": f"the tree is broken: {error}"}) from error
        if check.miscounted:
            raise AppError({"code": "INVALID_TREE", "message": f"{check.miscounted} counts of the tree are wrong"})


class Checked(TypedDict):
    """What a look at some leaves of a namespace found, and where to go on."""

    miscounted: int
    broken: bool
    cursor: str | None


@component.mutation
async def check(ctx: MutationCtx, namespace: Any, cursor: str | None, leaves: int, mend: bool, name: str = "") -> Checked:
    """Look at some leaves of a namespace. With `mend`, counts are put right, and a tree that is broken is emptied."""
    opened = Trees(ctx, name, stale=True)
    found = await opened.of(namespace)
    at, _, start = (cursor or "0,").partition(",")
    number = int(at)
    if number >= len(found):
        return {"miscounted": 0, "broken": False, "cursor": None}
    tree = found[number]
    look = Check(tree, start, leaves, mend=mend)
    is_broken = False
    try:
        await look.run()
    except Broken:
        is_broken = True
        if mend:
            await _drop_soon(ctx, tree.empty(tree.max_node_size, tree.lanes, tree.is_lazy))
    if mend:
        await tree.save(ctx)
    if look.cursor is not None and not is_broken:
        return {"miscounted": look.miscounted, "broken": False, "cursor": f"{number},{look.cursor}"}
    return {"miscounted": look.miscounted, "broken": is_broken, "cursor": f"{number + 1}," if number + 1 < len(found) else None}


class Row(TypedDict):
    """A document as the aggregate should know it."""

    key: Any
    id: str
    summand: Number
    namespace: Any


class Difference(TypedDict):
    """One item that is not as it should be."""

    kind: Literal["missing", "wrong", "extra"]
    id: str
    key: Any
    namespace: Any


@component.mutation
async def compare(ctx: MutationCtx, rows: list[Row], mend: bool, name: str = "", shards: int = 1) -> list[Difference]:
    """Which documents have no item, or one with another sum value. With `mend` they get what they should have."""
    opened = Trees(ctx, name, stale=True, shards=shards)
    differences: list[Difference] = []
    for row in rows:
        here = position(row["key"], row["id"])
        tree = await opened.find(row["namespace"], row["id"], here)
        held = None if tree is None else await tree.get(here)
        if held is None or held != row["summand"]:
            kind: Literal["missing", "wrong"] = "missing" if held is None else "wrong"
            differences.append({"kind": kind, "id": row["id"], "key": row["key"], "namespace": row["namespace"]})
            if mend:
                operation = {"kind": "insert_if_does_not_exist", "key": row["key"], "value": row["id"], "summand": row["summand"]}
                await perform(opened, {**operation, "namespace": row["namespace"]})
    if mend:
        await opened.save(ctx)
    return differences


class Held(TypedDict):
    """An item, and where its document says that it should be; without that, the document is gone."""

    key: Any
    id: str
    right: NotRequired[list[Any]]


@component.mutation
async def prune(ctx: MutationCtx, items: list[Held], mend: bool, namespace: Any = None, name: str = "") -> list[Difference]:
    """Which items have no document, or one that belongs elsewhere. With `mend` they are removed."""
    opened = Trees(ctx, name, stale=True)
    differences: list[Difference] = []
    for item in items:
        if "right" in item and key_text(item["right"]) == key_text([namespace, item["key"]]):
            continue
        differences.append({"kind": "extra", "id": item["id"], "key": item["key"], "namespace": namespace})
        if mend:
            await perform(opened, {"kind": "delete_if_exists", "key": item["key"], "value": item["id"], "namespace": namespace})
    if mend:
        await opened.save(ctx)
    return differences


# long tasks: their state, kept here, while a function of the app does the work


class Task(TypedDict):
    """How far a task of the app is. A run with another number has been taken over by a later one."""

    task: str
    state: Literal["running", "done"]
    run: int
    job: str
    phase: str
    namespace_cursor: str | None
    cursor: str | None
    rows: int
    items: int
    missing: int
    wrong: int
    extra: int
    miscounted: int
    broken: int
    samples: list[Difference]


@component.query
async def get_task(ctx: QueryCtx, task: str, name: str = "") -> Task | None:
    """How far a task is; None if it was never begun."""
    row = await ctx.db.query("tasks").index("by_task", name=name, task=task).first()
    return None if row is None else _task(row)


@component.mutation
async def put_task(ctx: MutationCtx, task: Task, name: str = "") -> None:
    """Keep how far a task is."""
    row = await ctx.db.query("tasks").index("by_task", name=name, task=task["task"]).first()
    if row is None:
        await ctx.db.insert("tasks", {**task, "name": name})
    else:
        await ctx.db.replace(row["_id"], {**task, "name": name})


def _task(row: Mapping[str, Any]) -> Task:
    fields: Any = {field: row[field] for field in Task.__annotations__}
    task: Task = fields
    return task
