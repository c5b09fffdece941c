"""Which of many intervals contain a key: a treap by interval start, each node knowing the largest end below it.

Source: the augmented search tree of Cormen et al., "Introduction to Algorithms", section on interval trees, on the
randomised tree of Seidel and Aragon. Inserting, removing and each hit cost O(log n) on average.

An interval that has lost its last item keeps its place for a while: a query that ends is mostly run again at once, and looks at the
same interval. Those that stay vacant are taken out together when they are many.
"""

from __future__ import annotations

import random
from typing import Any, Generic, TypeVar

from interlock.storage.protocol import Interval

T = TypeVar("T")

_VACANT_MIN = 16


class _Node(Generic[T]):
    __slots__ = ("end", "items", "left", "max_end", "priority", "right", "start")

    def __init__(self, start: bytes, end: bytes | None, item: T, priority: float) -> None:
        self.start, self.end, self.max_end = start, end, end
        self.items: dict[T, None] = {item: None}
        self.priority = priority
        self.left: _Node[T] | None = None
        self.right: _Node[T] | None = None


class IntervalIndex(Generic[T]):
    """Items by interval; one item may be under several intervals, and several items under one. None as an end is unbounded."""

    def __init__(self, seed: int = 0) -> None:
        self._root: _Node[T] | None = None
        self._nodes: dict[Interval, _Node[T]] = {}
        self._vacant: dict[Interval, _Node[T]] = {}
        self._random = random.Random(seed)

    def __len__(self) -> int:
        """How many intervals have items."""
        return len(self._nodes) - len(self._vacant)

    def add(self, interval: Interval, item: T) -> None:
        node = self._nodes.get(interval)
        if node is not None:
            if not node.items:
                del self._vacant[interval]
            node.items[item] = None
            return
        node = self._nodes[interval] = _Node(interval.start, interval.end, item, self._random.random())
        self._root = _insert(self._root, node)

    def remove(self, interval: Interval, item: T) -> None:
        node = self._nodes.get(interval)
        if node is None or not node.items:
            return
        node.items.pop(item, None)
        if not node.items:
            self._vacant[interval] = node
            if len(self._vacant) > _VACANT_MIN and len(self._vacant) * 2 > len(self._nodes):
                self._take_out_vacant()

    def _take_out_vacant(self) -> None:
        for interval, node in self._vacant.items():
            del self._nodes[interval]
            self._root = _remove(self._root, node)
        self._vacant.clear()

    def find_containing(self, key: bytes, found: dict[T, None]) -> None:
        """Add the items of every interval with start <= key < end."""
        stack = [self._root]
        while stack:
            node = stack.pop()
            if node is None or (node.max_end is not None and node.max_end <= key):
                continue
            stack.append(node.left)
            if node.start <= key:
                if node.end is None or key < node.end:
                    found.update(node.items)
                stack.append(node.right)

    def find_overlapping(self, span: Interval, found: dict[T, None]) -> None:
        """Add the items of every interval that shares a key with the span."""
        stack = [self._root]
        while stack:
            node = stack.pop()
            if node is None or (node.max_end is not None and node.max_end <= span.start):
                continue
            stack.append(node.left)
            if span.end is None or node.start < span.end:
                if node.end is None or span.start < node.end:
                    found.update(node.items)
                stack.append(node.right)


def _is_before(one: _Node[Any], other: _Node[Any]) -> bool:
    if one.start != other.start:
        return one.start < other.start
    if one.end is None or other.end is None:
        return one.end is not None
    return one.end < other.end


def _update(node: _Node[T]) -> _Node[T]:
    ends = [node.end, *(child.max_end for child in (node.left, node.right) if child is not None)]
    node.max_end = None if None in ends else max(end for end in ends if end is not None)
    return node


def _insert(root: _Node[T] | None, node: _Node[T]) -> _Node[T]:
    if root is None:
        return node
    if node.priority < root.priority:
        node.left, node.right = _split(root, node)
        return _update(node)
    if _is_before(node, root):
        root.left = _insert(root.left, node)
    else:
        root.right = _insert(root.right, node)
    return _update(root)


def _split(root: _Node[T] | None, at: _Node[T]) -> tuple[_Node[T] | None, _Node[T] | None]:
    if root is None:
        return None, None
    if _is_before(root, at):
        root.right, above = _split(root.right, at)
        return _update(root), above
    below, root.left = _split(root.left, at)
    return below, _update(root)


def _join(low: _Node[T] | None, high: _Node[T] | None) -> _Node[T] | None:
    if low is None or high is None:
        return low or high
    if low.priority < high.priority:
        low.right = _join(low.right, high)
        return _update(low)
    high.left = _join(low, high.left)
    return _update(high)


def _remove(root: _Node[T] | None, node: _Node[T]) -> _Node[T] | None:
    if root is None:
        return None
    if root is node:
        return _join(root.left, root.right)
    if _is_before(node, root):
        root.left = _remove(root.left, node)
    else:
        root.right = _remove(root.right, node)
    return _update(root)
