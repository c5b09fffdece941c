"""Does a tree keep its own rules, and do its counts say what is in it? Counts can be put right; a broken shape cannot."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise

from interlock import AppError
from interlock_aggregate.node import CHANGED, Node
from interlock_aggregate.nodes import fewest, total_of
from interlock_aggregate.tree import Tree


class Broken(Exception):
    """The shape of a tree is damaged: what is in it cannot be found for sure."""


class Check:
    """A look at the leaves of a tree from a position on, and at all nodes above them."""

    def __init__(self, tree: Tree, start: str, leaves: int, *, mend: bool) -> None:
        self._tree, self._start, self._left, self._mend = tree, start, leaves, mend
        self._depth: int | None = None
        self.miscounted = 0
        self.cursor: str | None = None  # where the next look begins; None at the end

    async def run(self) -> None:
        """Raises `Broken`. Counts that are wrong are counted, and with `mend` put right."""
        await self._look(self._tree.root, "", None, 0)

    async def _look(self, node: Node, low: str, high: str | None, depth: int) -> None:
        self._check_shape(node, low, high, depth)
        if not node.children:
            if self._depth not in (None, depth):
                raise Broken("its leaves are not all at one depth")
            self._depth = depth
            self._left -= 1
            return
        first = bisect_right(node.keys, self._start) if self._start > low else 0
        for i in range(first, len(node.children)):
            begin = node.keys[i - 1] if i else low
            if self._left <= 0:
                if self.cursor is None:
                    self.cursor = begin
                return
            try:
                child = await self._tree.counted_child(node, i)
            except AppError as error:
                raise Broken("a node is gone") from error
            await self._look(child, begin, node.keys[i] if i < len(node.keys) else high, depth + 1)
            self._check_count(node, i, child)

    def _check_count(self, node: Node, i: int, child: Node) -> None:
        if not node.counts:
            if not self._tree.names_totals(i, child):
                raise Broken("the root does not know what a lane counts")
            return
        size, summed = child.size, total_of(child)
        if node.counts[i] != size or node.sum_at(i) != summed:
            self.miscounted += 1
            if self._mend:
                node.counts[i] = size
                node.set_sum(i, summed)
                node.changed = CHANGED

    def _check_shape(self, node: Node, low: str, high: str | None, depth: int) -> None:
        tree, keys = self._tree, node.keys
        if any(a >= b for a, b in pairwise(keys)):
            raise Broken("keys are out of order")
        if keys and (keys[0] < low or (high is not None and keys[-1] >= high)):
            raise Broken("a key is in the wrong place")
        width = len(node.children) or len(keys)
        if node.children:
            least = 2 if depth else 1  # it may have been a lane
            most = tree.max_lane_size if depth else tree.lanes if tree.is_lazy else tree.max_node_size
            counted = 0 if depth == 0 and tree.is_lazy else width
            if len(keys) != width - 1 or len(node.counts) != counted:
                raise Broken("an inner node has too few or too many keys or counts")
        else:
            least, most = 0 if depth == 0 else fewest(tree.max_leaf_size), tree.max_leaf_size
        if not least <= width <= most:
            raise Broken("a node has too few or too many items")
        if node.sums and len(node.sums) != width:
            raise Broken("a node has too few or too many sums")
