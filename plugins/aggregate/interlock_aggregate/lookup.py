"""Questions to one tree: how much lies in a stretch, which item has a rank, the items in order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from interlock_aggregate.exact import Sum, total
from interlock_aggregate.node import Node
from interlock_aggregate.nodes import Nodes
from interlock_aggregate.positions import Stretch

Place = tuple[str, Sum]


class Lookup(Nodes):
    """A tree to read in. Start at `between`."""

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
            lane = await self.counted_lane(i)
            count += lane.size
            if sums:
                parts += lane.sums
        return count, total(parts) if sums else 0

    async def _between(self, node: Node, start: str, stop: str | None, sums: bool) -> tuple[int, Sum]:
        while True:
            if node.is_leaf:
                first = bisect_left(node.fixed_keys, start) if start else 0
                last = bisect_left(node.fixed_keys, stop) if stop is not None else len(node.fixed_keys)
                return last - first, total(node.sums[first:last]) if sums and node.sums else 0
            first = bisect_right(node.fixed_keys, start) if start else 0
            last = bisect_left(node.fixed_keys, stop) if stop is not None else len(node.fixed_keys)
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
        if first > last:
            return count, total(parts) if sums else 0
        if not node.is_told:
            await self._tell(node)
        if node.is_counted:
            ends = node.ends
            count += ends[last] - (ends[first - 1] if first else 0)
            if sums:
                parts += node.sums[first : last + 1]
        else:
            for i in range(first, last + 1):
                lane = await self.counted_lane(i)
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
            first = bisect_right(node.fixed_keys, start) if start else 0
            last = bisect_left(node.fixed_keys, stop) if stop is not None else len(node.fixed_keys)
            if not node.is_told:
                await self._tell(node)
            if node.is_counted and not start and stop is None:
                ends = node.ends
                i = bisect_right(ends, ends[-1] - 1 - left if backward else left)
                if left >= ends[-1]:
                    return None
                left -= ends[-1] - ends[i] if backward else ends[i - 1] if i else 0
                node = await self.child(node, i)
                continue
            for i in range(last, first - 1, -1) if backward else range(first, last + 1):
                child_start = start if i == first else ""
                child_stop = stop if i == last else None
                if child_start or child_stop is not None:
                    size, _ = await self._between(await self.child(node, i), child_start, child_stop, False)
                else:
                    size = node.counts[i] if node.counts else (await self.counted_lane(i)).size
                if left < size:
                    break
                left -= size
            else:
                return None
            start, stop = child_start, child_stop
            node = await self.child(node, i)
        first = bisect_left(node.fixed_keys, start) if start else 0
        last = bisect_left(node.fixed_keys, stop) if stop is not None else len(node.fixed_keys)
        if left >= last - first:
            return None
        i = last - 1 - left if backward else first + left
        return node.fixed_keys[i], node.sum_at(i)

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
                    first = bisect_right(node.fixed_keys, start) if start else 0
                    last = bisect_left(node.fixed_keys, stop) if stop is not None else len(node.fixed_keys)
                    i, end = (last, first) if descending else (first, last)
                if i != end:
                    ahead.append((node, i - 1 if descending else i + 1, end))
                ahead.append((await self.child(node, i), -1, -1))
                continue
            first = bisect_left(node.fixed_keys, start) if start else 0
            last = bisect_left(node.fixed_keys, stop) if stop is not None else len(node.fixed_keys)
            some = list(zip(node.fixed_keys[first:last], node.sums[first:last] or [0] * (last - first), strict=True))
            found += reversed(some) if descending else some
        return found[:limit]

    async def get(self, position: str) -> Sum | None:
        """The sum of the item at a position, or None if there is none."""
        node = self.root
        while not node.is_leaf:
            node = await self.child(node, bisect_right(node.fixed_keys, position))
        i = bisect_left(node.fixed_keys, position)
        return node.sum_at(i) if i < len(node.fixed_keys) and node.fixed_keys[i] == position else None
