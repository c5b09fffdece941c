"""The tree of one namespace: items in its leaves, in order; inner nodes with the count and sum of every child.

A B+ tree over documents. The root is the tree's own document, so a small tree is one document. A *lazy* root knows nothing of
its children's counts: a write does not touch it, unless a child splits or merges, and writers below different children do not
meet. It has few children, its *lanes*, because whoever counts reads them all; a lane may have as few as two children.

A `Tree` is what one call has read of it, and changed: `save` writes each node that changed once, however many items did.

Start at `Tree.between` for reading and `Tree.put` for writing.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from itertools import pairwise
from json import JSONDecoder
from typing import Any

from interlock import AppError, MutationCtx, QueryCtx
from interlock_aggregate.exact import EXACT, Sum, add, read_sums, total, write_sums
from interlock_aggregate.positions import Stretch

IDENTITY = ("name", "namespace", "shard", "queued")  # the fields of a tree's document that are not about its shape

Place = tuple[str, Sum]
Number = int | float

UNCHANGED, RECOUNTED, CHANGED = 0, 1, 2
"""What may differ from a node's document: nothing, its counts and sums, anything."""

_WHOLE = re.compile("-?[0-9]+").fullmatch
_EMPTY = dict.fromkeys(("keys", "children", "counts", "sums"), "")
_decode = JSONDecoder().raw_decode


class Node:
    """A node as a call works on it. A leaf has no children, and its keys are the positions of its items.

    An inner node has one key less than children: those of child `i` are below `keys[i]`. `sums` is empty while all are 0,
    `counts` in a leaf and in a lazy root.

    Each of the four is one text in the document, which is quicker checked and measured than a list. It is read when it is
    asked for: a count needs no sums, and who only passes by needs one child of 64. What one item more or less changes in the
    counts and sums is changed in the text, where only one number has to be read and written. Who comes a second time in a call
    finds lists.

    `changed` says what `save` has to look at.
    """

    __slots__ = ("_children", "_counts", "_document", "_keys", "_stored", "_sums", "_was_passed", "changed", "id")

    def __init__(self, id: str, document: Mapping[str, Any]) -> None:
        self.id = id
        self._document = self._stored = document  # with texts that were changed since; as it is stored
        self._keys: list[str] | None = None
        self._children: list[str] | None = None
        self._counts: list[int] | None = None
        self._sums: list[Sum] | None = None
        self._was_passed = False
        self.changed = UNCHANGED

    @classmethod
    def stored(cls, document: Mapping[str, Any]) -> Node:
        """Out of its document."""
        return cls(document.get("_id", ""), document)

    @classmethod
    def made(cls, id: str, keys: list[str], children: list[str], counts: list[int], sums: list[Sum]) -> Node:
        """A new one."""
        node = cls(id, _EMPTY)
        node._keys, node._children, node._counts, node._sums = keys, children, counts, sums
        return node

    def fields(self) -> dict[str, str]:
        """As its document."""
        texts = {name: self._document[name] for name in _EMPTY}
        self._tell_shape(texts)
        self._tell_totals(texts)
        return texts

    def changes(self) -> dict[str, str]:
        """What differs from its document."""
        stored, document = self._stored, self._document
        texts = {} if document is stored else {"counts": document["counts"], "sums": document["sums"]}
        if self.changed == CHANGED:
            self._tell_shape(texts)
        self._tell_totals(texts)
        return {name: text for name, text in texts.items() if text != stored[name]}

    def is_stored(self, fields: Mapping[str, Any]) -> None:
        """Its document has these fields now."""
        self._document = self._stored = {**self._document, **fields}
        self.changed = UNCHANGED

    def _tell_shape(self, texts: dict[str, str]) -> None:
        """The texts of the keys and children, where they were read, and may have been changed."""
        if self._keys is not None:
            texts["keys"] = "\n".join(self._keys)
        if self._children is not None:
            texts["children"] = " ".join(self._children)

    def _tell_totals(self, texts: dict[str, str]) -> None:
        """The same of the counts and sums."""
        if self._counts is not None:
            texts["counts"] = str(self._counts)[1:-1]
        if self._sums is not None:
            texts["sums"] = write_sums(self._sums)

    @property
    def is_leaf(self) -> bool:
        """Whether it holds items, and not children."""
        return not (self._document["children"] if self._children is None else self._children)

    @property
    def keys(self) -> list[str]:
        """Positions of items, or what divides the children."""
        keys = self._keys
        if keys is None:
            text = self._document["keys"]
            keys = self._keys = text.split("\n") if text else []
        return keys

    @keys.setter
    def keys(self, keys: list[str]) -> None:
        self._keys = keys

    @property
    def children(self) -> list[str]:
        """Their ids."""
        if self._children is None:
            self._children = self._document["children"].split()
        return self._children

    @children.setter
    def children(self, children: list[str]) -> None:
        self._children = children

    def child_id(self, i: int) -> str:
        """The id of one child. Most ids are equally long, so that it can be cut out where it has to be."""
        if self._children is None and not self._was_passed:
            self._was_passed = True
            text: str = self._document["children"]
            width = (len(text) + 1) // (len(self.keys) + 1)
            start, end = i * width, i * width + width - 1
            id = text[start:end]
            if text[end : end + 1] in ("", " ") and text.count(" ", 0, end) == i and " " not in id:
                return id
        return self.children[i]

    @property
    def counts(self) -> list[int]:
        """How many items are in each child and below."""
        counts = self._counts
        if counts is None:
            counts = self._counts = _decode(f"[{self._document['counts']}]")[0]
        return counts

    @counts.setter
    def counts(self, counts: list[int]) -> None:
        self._counts = counts

    @property
    def sums(self) -> list[Sum]:
        """The sum of each item or child."""
        sums = self._sums
        if sums is None:
            sums = self._sums = read_sums(self._document["sums"])
        return sums

    @sums.setter
    def sums(self, sums: list[Sum]) -> None:
        self._sums = sums

    @property
    def is_counted(self) -> bool:
        """Whether it knows how many items are in each child: all inner nodes but a lazy root do."""
        return bool(self._document["counts"] if self._counts is None else self._counts)

    @property
    def size(self) -> int:
        """How many items are in it and below; not for a lazy root."""
        if not self.is_leaf:
            return sum(self.counts)
        if self._keys is not None:
            return len(self._keys)
        return _lines(self._document["keys"])

    def sum_at(self, i: int) -> Sum:
        """The sum of an item or child."""
        return self.sums[i] if self.sums else 0

    def set_sum(self, i: int, value: Sum) -> None:
        """Change the sum of an item or child."""
        if self.sums:
            self.sums[i] = value
        elif value != 0:
            self.sums = [0] * _width(self)
            self.sums[i] = value

    def add_item(self, i: int, position: str, value: Number) -> None:
        """Put an item in place `i` of a leaf."""
        is_first = not self.changed
        self.keys.insert(i, position)
        self.changed = CHANGED
        text = self._document["sums"]
        if self._sums is None and text and is_first:
            parts = text.split(", ", i)
            parts.insert(i, str(value))
            self._document = {**self._document, "sums": ", ".join(parts)}
        elif self.sums:
            self.sums.insert(i, value)
        else:
            self.set_sum(i, value)

    def count_child(self, i: int, items: int, more: Sum) -> None:
        """So many items more are in child `i` and below, and they come to so much more."""
        if self._counts is not None and self._sums:
            self.changed = self.changed or RECOUNTED
            self._counts[i] += items
            if more != 0:
                self._sums[i] = add(self._sums[i], more)
            return
        is_first = not self.changed
        if is_first:
            self.changed = RECOUNTED
        document = self._document
        if items:
            if self._counts is None and is_first:
                parts = document["counts"].split(", ", i + 1)
                parts[i] = str(int(parts[i]) + items)
                document = self._document = {**document, "counts": ", ".join(parts)}
            else:
                self.counts[i] += items
        if more == 0:
            return
        if self._sums is None and is_first and type(more) is int and document["sums"]:
            parts = document["sums"].split(", ", i + 1)
            if _WHOLE(parts[i]):
                summed = int(parts[i]) + more
                if -EXACT <= summed <= EXACT:
                    parts[i] = str(summed)
                    self._document = {**document, "sums": ", ".join(parts)}
                    return
        self.set_sum(i, add(self.sum_at(i), more))

    def add_child(self, i: int, key: str, child: Node) -> None:
        """Put a child in place `i` and the key between it and the one before; how many it has is set by whoever knows."""
        self.keys.insert(i - 1, key)
        self.children.insert(i, child.id)
        if self.counts:
            self.counts.insert(i, 0)
            if self.sums:
                self.sums.insert(i, 0)

    def drop_child(self, i: int) -> None:
        """Take a child out, and the key before it."""
        del self.keys[i - 1], self.children[i]
        if self.counts:
            del self.counts[i]
            if self.sums:
                del self.sums[i]


class Tree:
    """One tree, for the length of a call."""

    def __init__(self, ctx: QueryCtx, document: Mapping[str, Any]) -> None:
        self._db = ctx.db
        self.is_queued: bool = document["queued"]  # writes may be waiting in the queue of its namespace
        self._document = document
        self.max_node_size: int = document["max_node_size"]
        self.lanes: int = document["lanes"]
        self.is_lazy: bool = document["root_lazy"]
        self.root = Node.stored(document)
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
        """A child, read once in a call."""
        id = node.child_id(i)
        return self._read.get(id) or await self._fetch(id)

    async def _fetch(self, id: str) -> Node:
        document = await self._db.get(id)
        if document is None:
            raise _gone(id)
        found = self._read[id] = Node(id, document)
        self._unweighed.append(document)
        return found

    async def between(self, stretch: Stretch, sums: bool = False) -> tuple[int, Sum]:
        """How many items lie in the stretch, and, if asked for, their sum. Only the ends of the stretch are descended to."""
        if stretch.stop is not None and stretch.stop <= stretch.start:
            return 0, 0
        if stretch.stop is None and not stretch.start:
            return await self._all(sums)
        return await self._between(self.root, stretch.start, stretch.stop, sums)

    async def _all(self, sums: bool) -> tuple[int, Sum]:
        root = self.root
        if root.is_leaf or root.is_counted:
            return root.size, total(root.sums) if sums else 0
        count, parts = 0, []
        for i in range(len(root.children)):
            lane = await self.child(root, i)
            count += lane.size
            if sums:
                parts += lane.sums
        return count, total(parts) if sums else 0

    async def _between(self, node: Node, start: str, stop: str | None, sums: bool) -> tuple[int, Sum]:
        while True:
            if node.is_leaf:
                first = bisect_left(node.keys, start) if start else 0
                last = bisect_left(node.keys, stop) if stop is not None else len(node.keys)
                return last - first, total(node.sums[first:last]) if sums and node.sums else 0
            first = bisect_right(node.keys, start) if start else 0
            last = bisect_left(node.keys, stop) if stop is not None else len(node.keys)
            if first != last or (not start and stop is None):
                break
            node = await self.child(node, first)
        count, parts = 0, []
        if start:
            count, part = await self._between(await self.child(node, first), start, None, sums)
            parts.append(part)
            first += 1
        if stop is not None:
            found, part = await self._between(await self.child(node, last), "", stop, sums)
            count += found
            parts.append(part)
            last -= 1
        if node.counts:
            count += sum(node.counts[first : last + 1])
            if sums:
                parts += node.sums[first : last + 1]
        else:
            for i in range(first, last + 1):
                lane = await self.child(node, i)
                count += lane.size
                if sums:
                    parts += lane.sums
        return count, total(parts) if sums else 0

    async def at(self, offset: int, stretch: Stretch) -> Place | None:
        """The item that has so many before it in the stretch; with a negative offset counted from the end. None if there is none."""
        backward = offset < 0
        left = -offset - 1 if backward else offset
        start, stop = stretch
        if stop is not None and stop <= start:
            return None
        node = self.root
        while not node.is_leaf:
            first = bisect_right(node.keys, start) if start else 0
            last = bisect_left(node.keys, stop) if stop is not None else len(node.keys)
            for i in range(last, first - 1, -1) if backward else range(first, last + 1):
                child_start = start if i == first else ""
                child_stop = stop if i == last else None
                if child_start or child_stop is not None:
                    size, _ = await self._between(await self.child(node, i), child_start, child_stop, False)
                else:
                    size = node.counts[i] if node.counts else (await self.child(node, i)).size
                if left < size:
                    break
                left -= size
            else:
                return None
            start, stop = child_start, child_stop
            node = await self.child(node, i)
        first = bisect_left(node.keys, start) if start else 0
        last = bisect_left(node.keys, stop) if stop is not None else len(node.keys)
        if left >= last - first:
            return None
        i = last - 1 - left if backward else first + left
        return node.keys[i], node.sum_at(i)

    async def page(self, stretch: Stretch, limit: int, *, descending: bool = False) -> list[Place]:
        """The first items of the stretch, or the last ones from the end."""
        start, stop = stretch
        found: list[Place] = []
        if stop is not None and stop <= start:
            return found
        ahead = [(self.root, -1, -1)]  # nodes with the child to go on with and the last one in the stretch; -1: not looked at yet
        while ahead and len(found) < limit:
            node, i, end = ahead.pop()
            if not node.is_leaf:
                if i < 0:
                    first = bisect_right(node.keys, start) if start else 0
                    last = bisect_left(node.keys, stop) if stop is not None else len(node.keys)
                    i, end = (last, first) if descending else (first, last)
                if i != end:
                    ahead.append((node, i - 1 if descending else i + 1, end))
                ahead.append((await self.child(node, i), -1, -1))
                continue
            first = bisect_left(node.keys, start) if start else 0
            last = bisect_left(node.keys, stop) if stop is not None else len(node.keys)
            some = list(zip(node.keys[first:last], node.sums[first:last] or [0] * (last - first), strict=True))
            found += reversed(some) if descending else some
        return found[:limit]

    async def get(self, position: str) -> Sum | None:
        """The sum of the item at a position, or None if there is none."""
        node = self.root
        while not node.is_leaf:
            node = await self.child(node, bisect_right(node.keys, position))
        i = bisect_left(node.keys, position)
        return node.sum_at(i) if i < len(node.keys) and node.keys[i] == position else None

    # writing

    async def put(self, position: str, value: Number, *, replace: bool) -> bool:
        """Add an item. False, and nothing else, if the position is taken and not to be replaced."""
        path, leaf = await self._descend(position)
        keys = leaf.keys
        i = bisect_left(keys, position)
        if i < len(keys) and keys[i] == position:
            if not replace:
                return False
            more = add(value, leaf.sum_at(i), -1)
            if more != 0:
                leaf.set_sum(i, value)
                leaf.changed = CHANGED
                self._count(path, 0, more)
            return True
        leaf.add_item(i, position, value)
        self._count(path, 1, value)
        if len(keys) > self.max_node_size:
            await self._split(path, leaf)
        return True

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
        if path and len(keys) < self.max_node_size // 2:
            await self._fill_up(path, leaf)
        return value

    async def _descend(self, position: str) -> tuple[list[tuple[Node, int]], Node]:
        """The leaf where a position belongs, and the way there."""
        path = []
        node, read = self.root, self._read
        while not node.is_leaf:
            i = bisect_right(node.keys, position)
            path.append((node, i))
            id = node.child_id(i)
            node = read.get(id) or await self._fetch(id)
        return path, node

    def _count(self, path: list[tuple[Node, int]], items: int, more: Sum) -> None:
        """Tell the nodes above a leaf of a change in it."""
        for node, i in path:
            if node.is_counted:
                node.count_child(i, items, more)

    async def _split(self, path: list[tuple[Node, int]], node: Node) -> None:
        """Halve a node that is too large, and those above it that become so."""
        for parent, i in reversed(path):
            right, key = self._halve(node)
            parent.add_child(i + 1, key, right)
            self._recount(parent, i, node)
            self._recount(parent, i + 1, right)
            parent.changed = CHANGED
            node = parent
            if len(node.children) <= (self.lanes if node is self.root and self.is_lazy else self.max_node_size):
                return
        await self._grow()

    async def _grow(self) -> None:
        """Put a level between the root and what is in it, so that the root is small again."""
        root = self.root
        left = self._make([], [], [], [])
        if root.children and not root.counts:
            lanes = [await self.child(root, i) for i in range(len(root.children))]
            counts = [lane.size for lane in lanes]
            sums = [total(lane.sums) for lane in lanes]
            left.keys, left.children, left.counts, left.sums = root.keys, root.children, counts, sums if any(sums) else []
        else:
            left.keys, left.children, left.counts, left.sums = root.keys, root.children, root.counts, root.sums
        right, key = self._halve(left)
        root.keys, root.children, root.counts, root.sums = [key], [left.id, right.id], [], []
        if not self.is_lazy:
            root.counts = [0, 0]
            self._recount(root, 0, left)
            self._recount(root, 1, right)
        root.changed = CHANGED

    def _halve(self, node: Node) -> tuple[Node, str]:
        """Move the upper half of a node to a new one. Gives that and the key between the two."""
        middle = _width(node) // 2
        if node.children:
            key = node.keys[middle - 1]
            right = self._make(node.keys[middle:], node.children[middle:], node.counts[middle:], node.sums[middle:])
            del node.keys[middle - 1 :]
        else:
            key = _divider(node.keys[middle - 1], node.keys[middle])
            right = self._make(node.keys[middle:], [], [], node.sums[middle:])
            del node.keys[middle:]
        del node.children[middle:], node.counts[middle:], node.sums[middle:]
        node.changed = CHANGED
        return right, key

    async def _fill_up(self, path: list[tuple[Node, int]], node: Node) -> None:
        """Join a node that has become too small with its neighbour, or share with it; likewise those above it."""
        for parent, i in reversed(path):
            is_lane = parent is self.root and self.is_lazy and bool(node.children)
            fewest = 2 if is_lane else self.max_node_size // 2
            if _width(node) >= fewest:
                return
            at = max(i, 1)  # of the right one of the two neighbours
            left, right = await self.child(parent, at - 1), await self.child(parent, at)
            self._join(left, parent.keys[at - 1], right)
            parent.changed = CHANGED
            size = _width(left)
            if size <= (3 if is_lane else self.max_node_size):
                self._drop(right)
                parent.drop_child(at)
                self._recount(parent, at - 1, left)
            else:
                half, parent.keys[at - 1] = self._halve(left)
                right.keys, right.children, right.counts, right.sums = half.keys, half.children, half.counts, half.sums
                right.changed = CHANGED
                del self._new[half.id], self._read[half.id]
                self._recount(parent, at - 1, left)
                self._recount(parent, at, right)
                return
            node = parent
        if len(self.root.children) == 1:
            await self._shrink()

    async def _shrink(self) -> None:
        """Take a level away: what is in the only child of the root goes into the root."""
        root, child = self.root, await self.child(self.root, 0)
        root.keys, root.children, root.counts, root.sums = child.keys, child.children, child.counts, child.sums
        if root.children and self.is_lazy:
            root.counts, root.sums = [], []
        root.changed = CHANGED
        self._drop(child)

    def _join(self, left: Node, key: str, right: Node) -> None:
        """Put all of the right node behind the left one."""
        if left.sums or right.sums:
            left.sums = (left.sums or [0] * _width(left)) + (right.sums or [0] * _width(right))
        left.keys += [key, *right.keys] if left.children else right.keys
        left.children += right.children
        left.counts += right.counts
        left.changed = CHANGED

    def _recount(self, parent: Node, i: int, child: Node) -> None:
        if parent.counts:
            parent.counts[i] = child.size
            parent.set_sum(i, total(child.sums))

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
                lane = self._make(root.keys[first : last - 1], root.children[first:last], root.counts[first:last], root.sums[first:last])
                lanes.append(lane.id)
                keys += root.keys[last - 1 : last]
            root.keys, root.children = keys, lanes
        if root.children:
            root.counts, root.sums = [], []

    def empty(self, max_node_size: int, lanes: int, is_lazy: bool) -> list[str]:
        """Make it an empty tree. Gives the nodes that the root had; they are no longer part of the tree, but still there."""
        root, old = self.root, self.root.children
        self.max_node_size, self.lanes, self.is_lazy = max_node_size, lanes, is_lazy
        root.keys, root.children, root.counts, root.sums = [], [], [], []
        root.changed = CHANGED
        self._read.clear()
        self._new.clear()
        return old

    def _make(self, keys: list[str], children: list[str], counts: list[int], sums: list[Sum]) -> Node:
        self._made += 1
        node = Node.made(f"new:{self._made}", keys, children, counts, sums)
        self._read[node.id] = self._new[node.id] = node
        return node

    def _drop(self, node: Node) -> None:
        del self._read[node.id]
        if self._new.pop(node.id, None) is None:
            self._dropped.append(node.id)

    async def save(self, ctx: MutationCtx) -> None:
        """Write what has changed, each node once."""
        db = ctx.db
        changed = [node for node in (self.root, *self._read.values()) if node.changed and node.id not in self._new]
        if self._new:
            ids: dict[str, str] = {}
            while self._new:
                await self._insert(ctx, next(iter(self._new.values())), ids)
            for node in changed:
                node.children = [ids.get(child, child) for child in node.children]
        for node in changed:
            if node is self.root:
                await self._save_root(ctx)
            elif changes := node.changes():
                await db.patch(node.id, changes)
                node.is_stored(changes)
        for id in self._dropped:
            await db.delete(id)
        self._dropped.clear()

    async def _save_root(self, ctx: MutationCtx) -> None:
        root = self.root
        options = {"max_node_size": self.max_node_size, "lanes": self.lanes, "root_lazy": self.is_lazy}
        identity = {**{field: self._document[field] for field in IDENTITY}, "queued": self.is_queued}
        fields = {**identity, **options, **root.fields()}
        if root.id:
            stored = self._document
            await ctx.db.patch(root.id, {name: value for name, value in fields.items() if value != stored[name]})
        else:
            root.id = await ctx.db.insert("trees", fields)
        self._document = {**self._document, **fields}
        root.is_stored(fields)

    async def _insert(self, ctx: MutationCtx, node: Node, ids: dict[str, str]) -> None:
        """Store a new node, its new children first, and note its id under the name that it had so far."""
        name = node.id
        del self._new[name]
        for child in node.children:
            if child in self._new:
                await self._insert(ctx, self._new[child], ids)
        node.children = [ids.get(child, child) for child in node.children]
        fields = node.fields()
        node.id = ids[name] = await ctx.db.insert("nodes", fields)
        self._read[node.id] = self._read.pop(name)
        node.is_stored(fields)


async def size_of(ctx: QueryCtx, document: Mapping[str, Any]) -> int:
    """How many items a stored tree has: what `Tree.between` says of everything, with less ado."""
    if not document["children"]:
        return _lines(document["keys"])
    if document["counts"]:
        return sum(_decode(f"[{document['counts']}]")[0])
    count = 0
    for id in document["children"].split():
        lane = await ctx.db.get(id)
        if lane is None:
            raise _gone(id)
        count += sum(_decode(f"[{lane['counts']}]")[0]) if lane["children"] else _lines(lane["keys"])
    return count


def _lines(text: str) -> int:
    return text.count("\n") + 1 if text else 0


def _gone(id: str) -> AppError:
    return AppError({"code": "DAMAGED", "message": f"a node of the tree is gone ({id}). Repair the aggregate, or clear it."})


def weight_of(document: Mapping[str, Any]) -> int:
    """About how many bytes a node has."""
    keys: str = document["keys"]
    return 100 + (len(keys) if keys.isascii() else len(keys.encode())) + len(document["children"]) + len(document["sums"])


def _width(node: Node) -> int:
    return len(node.keys) if node.is_leaf else len(node.children)


def _divider(left: str, right: str) -> str:
    """The shortest text above `left` and not above `right`: what divides two leaves need not be a whole position."""
    same = 0
    while same < len(left) and left[same] == right[same]:
        same += 1
    return right[: same + 1]


def _parts(count: int, most: int) -> list[tuple[int, int]]:
    """At most so many even parts of `range(count)`, each of two or more."""
    parts = min(most, count // 2)
    ends = [count * part // parts for part in range(parts + 1)]
    return list(pairwise(ends))
