"""Is it right? Trees are checked against their own rules, and items against the documents of a table.

A function of the app goes through its table and asks here, batch by batch; how far it is is kept here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict

from interlock import AppError, MutationCtx, QueryCtx
from interlock_aggregate.checking import Broken, Check
from interlock_aggregate.lifetime import drop_soon
from interlock_aggregate.node import Node, Number
from interlock_aggregate.positions import item_at, key_text, position
from interlock_aggregate.shortcuts import Item, add_where_missing
from interlock_aggregate.tasks import note
from interlock_aggregate.tree import Tree
from interlock_aggregate.trees import Trees, checked, perform

EVERY_LEAF = 1_000_000


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


async def inspect(ctx: QueryCtx, namespace: Any = None, name: str = "") -> list[list[Any]]:
    """The shape of the trees of a namespace, one for each shard: a leaf is the list of its keys, a node that of its children."""

    async def shape(tree: Tree, node: Node) -> list[Any]:
        if not node.children:
            return [item_at(position)[0] for position in node.keys]
        return [await shape(tree, await tree.child(node, i)) for i in range(len(node.children))]

    return [await shape(tree, tree.root) for tree in await Trees(ctx, name, stale=True).of(namespace)]


class Checked(TypedDict):
    """What a look at some leaves of a namespace found, and where to go on."""

    miscounted: int
    broken: bool
    cursor: str | None


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
            await drop_soon(ctx, tree.empty(tree.max_node_size, tree.lanes, tree.is_lazy))
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


async def compare(ctx: MutationCtx, rows: list[Row], mend: bool, task: Task, name: str = "", shards: int = 1) -> Task:
    """Which documents have no item, or one with another sum value. With `mend` they get what they should have.

    Gives how far the task is with what was found, and keeps it.
    """
    kept = await _row_of(ctx, task["task"], name)
    places = [position(row["key"], row["id"]) for row in rows]
    left, seen = list(range(len(rows))), None
    if mend and shards == 1:  # most are missing while a filled table is attached
        wanted = [
            (row["namespace"], Item(number, here, checked(here, row["id"], row["summand"])))
            for number, (row, here) in enumerate(zip(rows, places, strict=True))
        ]
        left, seen = await add_where_missing(ctx, wanted, name)
    kinds: list[Literal["missing", "wrong"] | None] = ["missing"] * len(rows)
    opened = Trees(ctx, name, stale=True, shards=shards, seen=seen)
    await opened.read_ways([(rows[number]["namespace"], places[number]) for number in left])
    for number in left:
        row, here = rows[number], places[number]
        namespace, id, summand = row["namespace"], row["id"], row["summand"]
        if mend:
            tree = await opened.for_item(namespace, id, here)
            held = await tree.put(here, checked(here, id, summand), replace=True)
        else:
            found = await opened.find(namespace, id, here)
            held = None if found is None else await found.get(here)
        if held is not None:
            kinds[number] = None if held == summand else "wrong"
    if mend:
        await opened.save(ctx)
    differences: list[Difference] = [
        {"kind": kind, "id": row["id"], "key": row["key"], "namespace": row["namespace"]}
        for row, kind in zip(rows, kinds, strict=True)
        if kind is not None
    ]
    state: Any = task
    note(state, differences)
    await _put(ctx, kept, task, name)
    return task


class Held(TypedDict):
    """An item, and where its document says that it should be; without that, the document is gone."""

    key: Any
    id: str
    right: NotRequired[list[Any]]


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


# long tasks: their state


class Task(TypedDict):
    """How far a task of the app is. A run with another number has been taken over by a later one."""

    task: str
    state: Literal["running", "done"]
    run: int
    job: str
    phase: str
    namespace_cursor: str | None
    cursor: str | None
    size: int
    rows: int
    items: int
    missing: int
    wrong: int
    extra: int
    miscounted: int
    broken: int
    samples: list[Difference]


async def get_task(ctx: QueryCtx, task: str, name: str = "") -> Task | None:
    """How far a task is; None if it was never begun."""
    row = await _row_of(ctx, task, name)
    return None if row is None else _task(row)


async def put_task(ctx: MutationCtx, task: Task, name: str = "") -> None:
    """Keep how far a task is."""
    await _put(ctx, await _row_of(ctx, task["task"], name), task, name)


async def _row_of(ctx: QueryCtx, task: str, name: str) -> dict[str, Any] | None:
    return await ctx.db.query("tasks").index("by_task", name=name, task=task).first()


async def _put(ctx: MutationCtx, row: dict[str, Any] | None, task: Task, name: str) -> None:
    if row is None:
        await ctx.db.insert("tasks", {**task, "name": name})
    else:
        await ctx.db.patch(row["_id"], {field: value for field, value in task.items() if value != row[field]})


def _task(row: Mapping[str, Any]) -> Task:
    fields: Any = {field: row[field] for field in Task.__annotations__}
    task: Task = fields
    return task
