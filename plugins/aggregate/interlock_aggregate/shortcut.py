"""The most frequent write in few steps: one item more, in a tree of several nodes of which none is split.

It does what `Tree.put` and `Tree.save` do, on the texts of the documents alone. Where there is more to it nothing is written,
and what has been read is handed on.

Start at `add`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any

from interlock import MutationCtx
from interlock_aggregate.node import Number, counted_up, lines_of, nth_id
from interlock_aggregate.nodes import leaf_size
from interlock_aggregate.positions import key_text

Document = dict[str, Any]


class Seen:
    """What has been read on the way: the documents of trees by namespace, as `key_text` writes it, and nodes and their totals by id."""

    __slots__ = ("nodes", "trees")

    def __init__(self) -> None:
        self.trees: dict[str, list[Document]] = {}
        self.nodes: dict[str, Document] = {}


async def add(ctx: MutationCtx, position: str, value: Number, name: str, namespace: Any, seen: Seen) -> bool:
    """Add an item that is not there. False, and nothing else, where a node would be split, or anything is out of the ordinary."""
    db, nodes = ctx.db, seen.nodes
    seen.trees[key_text(namespace)] = trees = await db.query("trees").index("by_namespace", name=name, namespace=namespace).collect()
    if len(trees) != 1:
        return False
    tree = node = trees[0]
    if tree["queued"] or not tree["root_lazy"] or not tree["children"]:
        return False
    value_is_there = value != 0
    counted: list[tuple[str, Document, int, int]] = []
    while True:
        keys = lines_of(node["keys"])
        i = bisect_right(keys, position)
        width = len(keys) + 1
        if node is not tree:
            id = node["totals"]
            totals = await db.get(id)
            if totals is None:
                return False
            nodes[id] = totals
            counted.append((id, totals if totals["shape"] == node["shape"] else node, i, width))
        id = nth_id(node["children"], i, width)
        found = await db.get(id)
        if found is None:
            return False
        nodes[id] = node = found
        if "children" not in node:
            break
    text = node["keys"]
    positions = text.split("\n")
    items = len(positions)
    at = bisect_left(positions, position)
    if items >= leaf_size(tree["max_node_size"]) or (at < items and positions[at] == position):
        return False
    positions.insert(at, position)
    change: Document = {"keys": "\n".join(positions)}
    sums = node["sums"]
    if sums or value_is_there:
        numbers = sums.split(", ", at) if sums else ["0"] * items
        numbers.insert(at, str(value))
        change["sums"] = ", ".join(numbers)
    await db.patch(id, change)
    for id, document, i, width in counted:
        change = {"counts": counted_up(document["counts"], i, width, 1)}
        if value_is_there:
            change["sums"] = counted_up(document["sums"], i, width, value)
        if document["_id"] != id:  # the counts were with the children, which had changed
            change["sums"], change["shape"] = change.get("sums", document["sums"]), document["shape"]
        await db.patch(id, change)
    return True
