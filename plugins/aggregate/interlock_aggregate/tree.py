"""The tree of one namespace: items in its leaves, in order; inner nodes with the count and sum of every child.

A B+ tree over documents. The root is the tree's own document, so a small tree is one document. A *lazy* root knows nothing of
its children's counts: a write does not touch it, unless a child splits or merges, and writers below different children do not
meet. It has few children, its *lanes*, because whoever counts reads them all; a lane may have as few as two children.

Start at `Lookup.between` for reading and `Tree.put` for writing; what is kept of a node is told in `node` and `nodes`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import pairwise
from typing import Any

from interlock_aggregate.exact import Sum, add
from interlock_aggregate.lookup import Lookup
from interlock_aggregate.node import CHANGED, Node, Number
from interlock_aggregate.nodes import divider, fewest, total_of


class Tree(Lookup):
    """One tree, for the length of a call."""

    async def put(self, position: str, value: Number, *, replace: bool) -> Sum | None:
        """Add an item. Gives the sum of one that is there already; that gets the new one if it is to be replaced."""
        path, leaf = await self._descend(position)
        keys = leaf.keys
        i = bisect_left(keys, position)
        if i < len(keys) and keys[i] == position:
            held = leaf.sum_at(i)
            if replace:
                self._give(path, leaf, i, value)
            return held
        leaf.add_item(i, position, value)
        self._count(path, 1, value)
        if len(keys) > self.max_leaf_size:
            await self._split(path, leaf, is_appended=i == len(keys) - 1)
        return None

    async def change(self, position: str, value: Number) -> bool:
        """Give an item another sum. False if there is none."""
        path, leaf = await self._descend(position)
        i = bisect_left(leaf.keys, position)
        if i == len(leaf.keys) or leaf.keys[i] != position:
            return False
        self._give(path, leaf, i, value)
        return True

    def _give(self, path: list[tuple[Node, int]], leaf: Node, i: int, value: Number) -> None:
        more = add(value, leaf.sum_at(i), -1)
        if more != 0:
            leaf.set_sum(i, value)
            leaf.changed = CHANGED
            self._count(path, 0, more)

    async def take(self, position: str) -> Number | None:
        """Remove an item. Gives its sum, or None if there is none."""
        path, leaf = await self._descend(position)
        keys = leaf.keys
        i = bisect_left(keys, position)
        if i == len(keys) or keys[i] != position:
            return None
        sums: list[Any] = leaf.sums  # of items they are numbers
        value: Number = sums.pop(i) if sums else 0
        del keys[i]
        leaf.changed = CHANGED
        self._count(path, -1, -value)
        if path and len(keys) < fewest(self.max_leaf_size):
            await self._fill_up(path, leaf)
        return value

    async def _descend(self, position: str) -> tuple[list[tuple[Node, int]], Node]:
        """The leaf where a position belongs, and the way there, with counts."""
        path = []
        node, read = self.root, self._read
        while not node.is_leaf:
            i = bisect_right(node.fixed_keys, position)
            path.append((node, i))
            if not node.is_told:
                await self._tell(node)
            id = node.child_id(i)
            node = read.get(id) or await self._fetch(id)
        return path, node

    def _count(self, path: list[tuple[Node, int]], items: int, more: Sum) -> None:
        """Tell the nodes above a leaf of a change in it."""
        for node, i in path:
            if node.is_counted:
                node.count_child(i, items, more)

    async def _split(self, path: list[tuple[Node, int]], node: Node, *, is_appended: bool) -> None:
        """Divide a node that is too large, and those above it that become so.

        In halves; but where it grew at its end, and so may go on growing there, most of it stays together.
        """
        for depth in range(len(path) - 1, -1, -1):
            parent, i = path[depth]
            width = node.width
            right, key = self._divide(node, max(width // 2, width * 3 // 4 if is_appended else 0))
            is_appended = i == len(parent.children) - 1
            parent.add_child(i + 1, key, right)
            self._recount(parent, i, node)
            self._recount(parent, i + 1, right)
            parent.changed = CHANGED
            node = parent
            if len(node.children) <= self._most_children(depth):
                return
        await self._grow()

    def _most_children(self, depth: int) -> int:
        """How many an inner node is to have. One that was a lane, and has a lane above it now, may have more until it is split."""
        if not self.is_lazy or depth > 1:
            return self.max_node_size
        return self.max_lane_size if depth else self.lanes

    async def _grow(self) -> None:
        """Put a level between the root and what is in it, so that the root is small again."""
        root = self.root
        left = self.make([], [], [], [])
        if root.children and not root.counts:
            lanes = [await self.counted_child(root, i) for i in range(len(root.children))]
            counts = [lane.size for lane in lanes]
            sums = [total_of(lane) for lane in lanes]
            left.keys, left.children, left.counts, left.sums = root.keys, root.children, counts, sums if any(sums) else []
        else:
            left.keys, left.children, left.counts, left.sums = root.keys, root.children, root.counts, root.sums
        right, key = self._divide(left, left.width // 2)
        root.keys, root.children, root.counts, root.sums = [key], [left.id, right.id], [], []
        if not self.is_lazy:
            root.counts = [0, 0]
            self._recount(root, 0, left)
            self._recount(root, 1, right)
        root.changed = CHANGED

    def _divide(self, node: Node, middle: int) -> tuple[Node, str]:
        """Move what comes after the first so many of a node to a new one. Gives that and the key between the two."""
        if node.children:
            key = node.keys[middle - 1]
            right = self.make(node.keys[middle:], node.children[middle:], node.counts[middle:], node.sums[middle:])
            del node.keys[middle - 1 :]
        else:
            key = divider(node.keys[middle - 1], node.keys[middle])
            right = self.make(node.keys[middle:], [], [], node.sums[middle:])
            del node.keys[middle:]
        del node.children[middle:], node.counts[middle:], node.sums[middle:]
        node.changed = CHANGED
        return right, key

    async def _fill_up(self, path: list[tuple[Node, int]], node: Node) -> None:
        """Join a node that has become too small with its neighbour, or share with it; likewise those above it."""
        for parent, i in reversed(path):
            is_lane = parent is self.root and self.is_lazy and bool(node.children)
            most = self.max_node_size if node.children else self.max_leaf_size
            if node.width >= (2 if is_lane else fewest(most)):
                return
            at = max(i, 1)  # of the right one of the two neighbours
            left, right = await self.counted_child(parent, at - 1), await self.counted_child(parent, at)
            self._join(left, parent.keys[at - 1], right)
            parent.changed = CHANGED
            size = left.width
            if size <= (3 if is_lane else most):
                self.drop(right)
                parent.drop_child(at)
                self._recount(parent, at - 1, left)
            else:
                half, parent.keys[at - 1] = self._divide(left, left.width // 2)
                right.keys, right.children, right.counts, right.sums = half.keys, half.children, half.counts, half.sums
                right.changed = CHANGED
                self.forget(half)
                self._recount(parent, at - 1, left)
                self._recount(parent, at, right)
                return
            node = parent
        if len(self.root.children) == 1:
            await self._shrink()

    async def _shrink(self) -> None:
        """Take a level away: what is in the only child of the root goes into the root."""
        root, child = self.root, await self.counted_child(self.root, 0)
        root.keys, root.children, root.counts, root.sums = child.keys, child.children, child.counts, child.sums
        if root.children and self.is_lazy:
            root.counts, root.sums = [], []
        root.changed = CHANGED
        self.drop(child)

    def _join(self, left: Node, key: str, right: Node) -> None:
        """Put all of the right node behind the left one."""
        if left.sums or right.sums:
            left.sums = (left.sums or [0] * left.width) + (right.sums or [0] * right.width)
        left.keys += [key, *right.keys] if left.children else right.keys
        left.children += right.children
        left.counts += right.counts
        left.changed = CHANGED

    def _recount(self, parent: Node, i: int, child: Node) -> None:
        if parent.counts:
            parent.counts[i] = child.size
            parent.set_sum(i, total_of(child))

    async def make_lazy(self) -> None:
        """Let the root forget the counts of its children, and have few of them."""
        if self.is_lazy:
            return
        self.is_lazy = True
        root = self.root
        root.changed = CHANGED
        if len(root.children) > self.lanes:
            lanes, keys = [], []
            for first, last in _parts(len(root.children), self.lanes):
                lane = self.make(root.keys[first : last - 1], root.children[first:last], root.counts[first:last], root.sums[first:last])
                lanes.append(lane.id)
                keys += root.keys[last - 1 : last]
            root.keys, root.children = keys, lanes
        if root.children:
            root.counts, root.sums = [], []


def _parts(count: int, most: int) -> list[tuple[int, int]]:
    """At most so many even parts of `range(count)`, each of two or more."""
    parts = min(most, count // 2)
    ends = [count * part // parts for part in range(parts + 1)]
    return list(pairwise(ends))
