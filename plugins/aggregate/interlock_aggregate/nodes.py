"""The nodes of one tree that a call has read, made and dropped, and how they are saved.

The root is the tree's own document, in `trees`. Below it are `leaves` and `inners`. What an inner node counts is held apart from it
in `totals`. A lazy root names those of its children, its *lanes*, too: whoever counts everything reads nothing else.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping
from typing import Any

from interlock import AppError, MutationCtx, QueryCtx
from interlock_aggregate.exact import Sum, total
from interlock_aggregate.node import CHANGED, RECOUNTED, UNCHANGED, Node, lines, running, weight_of

_NOTHING: Mapping[str, Mapping[str, Any]] = {}
IDENTITY = ("name", "namespace", "shard", "queued")  # the fields of a tree's document that are not about its shape


class Nodes:
    """Those of one tree, for the length of a call: each is read once, and `save` writes each that changed once."""

    def __init__(self, ctx: QueryCtx, document: Mapping[str, Any], seen: Mapping[str, Mapping[str, Any]] = _NOTHING) -> None:
        """`seen` are nodes and totals that were read already."""
        self._db, self._seen = ctx.db, seen
        self.is_queued: bool = document["queued"]  # writes may be waiting in the queue of its namespace
        self._document = document
        self.max_node_size: int = document["max_node_size"]
        self.max_leaf_size = leaf_size(self.max_node_size)
        self.max_lane_size = lane_size(self.max_node_size)
        self.lanes: int = document["lanes"]
        self.is_lazy: bool = document["root_lazy"]
        self.root = Node(document.get("_id", ""), document)
        self._lane_totals: list[str] = document["totals"].split()
        self._lanes: dict[int, Node] = {}
        self._read: dict[str, Node] = {}
        self._new: dict[str, Node] = {}
        self._dropped: list[str] = []
        self._made = 0
        self._weight, self._unweighed = 0, [document]

    @property
    def weight(self) -> int:
        """Bytes of nodes that were read: whoever does much in one transaction looks at it."""
        self._weight += sum([weight_of(document) for document in self._unweighed])
        self._unweighed.clear()
        return self._weight

    def mark_queued(self, is_queued: bool) -> None:
        """Say so, or that none are."""
        if self.is_queued != is_queued:
            self.root.changed = CHANGED
        self.is_queued = is_queued

    # reading

    async def child(self, node: Node, i: int) -> Node:
        """A child, of which the counts and sums may not be known yet."""
        id = node.child_id(i)
        return self._read.get(id) or await self._fetch(id)

    async def counted_child(self, node: Node, i: int) -> Node:
        """A child with its counts and sums."""
        id = node.child_id(i)
        found = self._read.get(id) or await self._fetch(id)
        if not found.is_told:
            await self._tell(found)
        return found

    async def counted_lane(self, i: int) -> Node:
        """What a child of the lazy root counts."""
        if not self._lane_totals or self.root.changed or self.root.child_id(i) in self._read:
            return await self.counted_child(self.root, i)
        found = self._lanes.get(i)
        if found is None:
            id = self._lane_totals[i]
            totals = await self._db.get(id)
            if totals is None:
                raise gone(id)
            found = self._lanes[i] = Node.of_totals(id, totals)
        return found

    def names_totals(self, i: int, lane: Node) -> bool:
        """Whether the lazy root knows where it is said what a child of it counts, and that is up to date."""
        named = self._lane_totals[i] if i < len(self._lane_totals) else ""
        return named == lane.totals_id and not lane.is_out_of_date

    async def read_ways(self, positions: Collection[str]) -> None:
        """Read the nodes on the ways to these positions, a level at a time: in a sandbox each level crosses together.

        Not what they count: that is what others change meanwhile.
        """
        level: list[tuple[Node, Collection[str]]] = [(self.root, positions)]
        while level:
            below: dict[str, list[str]] = {}
            for node, wanted in level:
                if not node.is_leaf:
                    keys, children = node.fixed_keys, node.children
                    for position in wanted:
                        below.setdefault(children[bisect_right(keys, position)], []).append(position)
            unread = []
            for id in below:
                if id not in self._read:
                    seen = self._seen.get(id)
                    if seen is None:
                        unread.append(id)
                    else:
                        self._keep(id, seen)
            if unread:
                for id, document in zip(unread, await self._db.get_many(unread), strict=True):
                    self._keep(id, document)
            level = [(self._read[id], wanted) for id, wanted in below.items()]

    async def _fetch(self, id: str) -> Node:
        return self._keep(id, self._seen.get(id) or await self._db.get(id))

    def _keep(self, id: str, document: Mapping[str, Any] | None) -> Node:
        if document is None:
            raise gone(id)
        found = self._read[id] = Node(id, document)
        self._unweighed.append(document)
        return found

    async def _tell(self, node: Node) -> None:
        id = node.totals_id
        totals = self._seen.get(id) or await self._db.get(id)
        if totals is None:
            raise gone(id)
        node.tell(totals)

    # changing

    def make(self, keys: list[str], children: list[str], counts: list[int], sums: list[Sum]) -> Node:
        """A new node, which has a name in place of its id until it is saved."""
        self._made += 1
        node = Node.made(f"new:{self._made}", keys, children, counts, sums)
        self._read[node.id] = self._new[node.id] = node
        return node

    def forget(self, node: Node) -> None:
        """Never mind a new one."""
        del self._new[node.id], self._read[node.id]

    def drop(self, node: Node) -> None:
        """Delete one that has no parent any more."""
        del self._read[node.id]
        if self._new.pop(node.id, None) is None:
            self._dropped.append(node.id)
            if node.totals_id:
                self._dropped.append(node.totals_id)

    def empty(self, max_node_size: int, lanes: int, is_lazy: bool) -> list[str]:
        """Make it an empty tree. Gives the nodes that the root had; they are no longer part of the tree, but still there."""
        root, old = self.root, self.root.children
        self.max_node_size, self.max_leaf_size, self.max_lane_size = max_node_size, leaf_size(max_node_size), lane_size(max_node_size)
        self.lanes, self.is_lazy = lanes, is_lazy
        root.keys, root.children, root.counts, root.sums = [], [], [], []
        root.changed = CHANGED
        self._read.clear()
        self._new.clear()
        self._lane_totals = []
        return old

    async def save(self, ctx: MutationCtx) -> None:
        """Write what has changed, each node once."""
        db, root = ctx.db, self.root
        if self._new:
            ids: dict[str, str] = {}
            while self._new:
                await self._insert(ctx, next(iter(self._new.values())), ids)
            for node in (root, *self._read.values()):
                if node.changed == CHANGED and not node.is_leaf:
                    node.children = [ids.get(child, child) for child in node.children]
        if root.changed:
            await self._name_lanes()
        for node in [node for node in self._read.values() if node.changed]:
            if node.changed == RECOUNTED:
                await self._save_totals(ctx, node)
            elif node.is_leaf:
                await self._patch(node, {"keys": node.told_keys(), "sums": node.told_sums()})
            else:
                await self._save_inner(ctx, node)
            node.changed = UNCHANGED
        if root.changed:
            await self._save_root(ctx)
        for id in self._dropped:
            await db.delete(id)
        self._dropped.clear()

    async def _save_inner(self, ctx: MutationCtx, node: Node) -> None:
        stored, keys, children = node.stored, node.told_keys(), node.told_children()
        if keys == stored["keys"] and children == stored["children"]:
            await self._save_totals(ctx, node)
        elif self.is_lazy and node.id in self.root.told_children():
            await self._patch(node, {"keys": keys, "children": children})
            await self._save_totals(ctx, node)
        else:
            node.shape = (node.shape + 1) % _SHAPES
            fields = {"keys": keys, "children": children, "counts": node.told_counts(), "sums": node.told_sums(), "shape": node.shape}
            await self._patch(node, fields)

    async def _save_totals(self, ctx: MutationCtx, node: Node) -> None:
        totals = node.stored_totals
        assert totals is not None, "what an inner node counts was looked at before it changed"
        fields = {"counts": node.told_counts(), "sums": node.told_sums(), "shape": node.shape}
        changes = {name: value for name, value in fields.items() if value != totals[name]}
        if changes:
            await ctx.db.patch(node.totals_id, changes)
            node.stored_totals = {**totals, **changes}

    async def _patch(self, node: Node, fields: Mapping[str, Any]) -> None:
        stored = node.stored
        changes = {name: value for name, value in fields.items() if value != stored[name]}
        if changes:
            db: Any = self._db
            await db.patch(node.id, changes)
            node.stored = {**stored, **changes}

    async def _name_lanes(self) -> None:
        """See to it that the root names what its lanes count, where they are others now, and that it is up to date there."""
        root, stored = self.root, self._document
        if root.told_children() == stored["children"] and self.is_lazy == stored["root_lazy"]:
            return
        self._lane_totals = []
        for i in range(len(root.children) if self.is_lazy else 0):
            lane = await self.counted_child(root, i)
            if lane.is_leaf:
                break
            if lane.is_out_of_date and not lane.changed:
                lane.changed = RECOUNTED
            self._lane_totals.append(lane.totals_id)

    async def _save_root(self, ctx: MutationCtx) -> None:
        root = self.root
        options = {"max_node_size": self.max_node_size, "lanes": self.lanes, "root_lazy": self.is_lazy}
        identity = {**{field: self._document[field] for field in IDENTITY}, "queued": self.is_queued}
        fields = {**identity, **options, **root.told(), "totals": " ".join(self._lane_totals)}
        if root.id:
            stored = self._document
            await ctx.db.patch(root.id, {name: value for name, value in fields.items() if value != stored[name]})
        else:
            root.id = await ctx.db.insert("trees", fields)
        root.stored = self._document = {**self._document, **fields}
        root.changed = UNCHANGED

    async def _insert(self, ctx: MutationCtx, node: Node, ids: dict[str, str]) -> None:
        """Store a new node, its new children first, and note its id under the name that it had so far."""
        name = node.id
        del self._new[name]
        for child in node.children:
            if child in self._new:
                await self._insert(ctx, self._new[child], ids)
        if node.children:
            node.children = [ids.get(child, child) for child in node.children]
        texts = node.told()
        if node.is_leaf:
            node.stored = fields = {"keys": texts["keys"], "sums": texts["sums"]}
            node.id = await ctx.db.insert("leaves", fields)
        else:
            node.stored_totals = {"counts": texts["counts"], "sums": texts["sums"], "shape": node.shape}
            node.totals_id = await ctx.db.insert("totals", node.stored_totals)
            texts = {**texts, "counts": "", "sums": ""}
            node.stored = fields = {**texts, "totals": node.totals_id, "shape": node.shape}
            node.id = await ctx.db.insert("inners", fields)
        ids[name] = node.id
        node.changed = UNCHANGED
        self._read[node.id] = self._read.pop(name)


_SHAPES = 1_000_000  # numbers that are told apart


async def size_of(ctx: QueryCtx, document: Mapping[str, Any]) -> int:
    """How many items a stored tree has: what `Lookup.between` says of everything, with less ado."""
    if not document["children"]:
        return lines(document["keys"])
    if document["counts"]:
        return running(document["counts"])[-1]
    count = 0
    for id in (document["totals"] or document["children"]).split():
        lane = await ctx.db.get(id)
        if lane is None:
            raise gone(id)
        count += running(lane["counts"])[-1] if "counts" in lane else lines(lane["keys"])
    return count


def leaf_size(max_node_size: int) -> int:
    """How many items a leaf has at most, where an inner node has so many children."""
    return max(4, max_node_size // 4 * 2)


def lane_size(max_node_size: int) -> int:
    """How many children a lane has at most: its totals are written with every item, but there are few of them, and a level less."""
    return 4 * max_node_size


def fewest(most: int) -> int:
    """How many children or items a node has at least that has so many at most, unless it is a root or lane.

    A quarter: one that was split, or joined with its neighbour, can lose some before it has to be joined again.
    """
    return max(2, most // 4)


def gone(id: str) -> AppError:
    """What is said when a node is not there."""
    return AppError({"code": "DAMAGED", "message": f"a node of the tree is gone ({id}). Repair the aggregate, or clear it."})


def divider(left: str, right: str) -> str:
    """The shortest text above `left` and not above `right`: what divides two leaves need not be a whole position."""
    same = 0
    while same < len(left) and left[same] == right[same]:
        same += 1
    return right[: same + 1]


def total_of(node: Node) -> Sum:
    """What all in it come to."""
    return total(node.sums) if node.sums else 0
