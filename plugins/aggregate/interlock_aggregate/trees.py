"""The trees that one call opens, by namespace, and what a write does to them.

Start at `Trees.of` for reading and at `perform` for writing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any
from zlib import crc32

from interlock import AppError, MutationCtx, QueryCtx
from interlock_aggregate.exact import EXACT
from interlock_aggregate.node import CHANGED, Number
from interlock_aggregate.positions import key_text, position
from interlock_aggregate.shortcut import Seen
from interlock_aggregate.tables import node
from interlock_aggregate.tree import Tree

MAX_NODE_SIZE = 64
LANES = 3
POSITION_BYTES = 4 * 1024  # so that the largest node is well below the limit of a document

WEIGHT_MOST = 5 << 20  # bytes of nodes read in one transaction of a job: what is written of them is read once more


class Trees:
    """The trees that one call has opened, by namespace."""

    def __init__(
        self, ctx: QueryCtx, name: str, *, stale: bool = False, fresh: bool = False, shards: int = 1, seen: Seen | None = None
    ) -> None:
        self._seen = seen or Seen()
        self._ctx, self._name, self._shards = ctx, name, shards
        # How a queue of writes is met: a stale reader looks past it, a fresh one folds it in, everybody else is refused.
        self._stale, self._fresh = stale, fresh
        self._open: dict[str, dict[int, Tree]] = {}

    @property
    def weight(self) -> int:
        """Bytes of nodes that were read."""
        return sum([tree.weight for opened in self._open.values() for tree in opened.values()])

    async def of(self, namespace: Any) -> list[Tree]:
        """The trees of a namespace: one, or one a shard, or none."""
        key = key_text(namespace)
        opened = self._open.get(key)
        if opened is None:
            ctx = self._ctx
            rows = self._seen.trees.pop(key, None)
            if rows is None:
                rows = await ctx.db.query("trees").index("by_namespace", name=self._name, namespace=namespace).collect()
            opened = self._open[key] = {}
            is_queued = False
            for row in rows:
                opened[row["shard"]] = Tree(ctx, row, self._seen.nodes)
                is_queued = is_queued or row["queued"]
            if is_queued and not self._stale:
                await self._meet_queue(namespace)
        return list(opened.values())

    async def read_ways(self, places: Iterable[tuple[Any, str]]) -> None:
        """Read what is needed of the trees to get to many positions, each in its namespace, in few crossings."""
        wanted: dict[str, tuple[Any, list[str]]] = {}
        for namespace, place in places:
            wanted.setdefault(key_text(namespace), (namespace, []))[1].append(place)
        for namespace, positions in wanted.values():
            for tree in await self.of(namespace):
                await tree.read_ways(positions)

    async def for_item(self, namespace: Any, id: str, position: str) -> Tree:
        """The tree that holds an item, or else the one that it belongs to."""
        if self._shards == 1:
            found = await self.of(namespace)
            if len(found) == 1:
                return found[0]
        return await self.find(namespace, id, position) or await self._for_new(namespace, id)

    async def _for_new(self, namespace: Any, id: str) -> Tree:
        """The tree that an item belongs to; a new one if there is none."""
        await self.of(namespace)
        opened = self._open[key_text(namespace)]
        shard = crc32(id.encode()) % self._shards if self._shards > 1 else 0
        if shard and not opened:  # every namespace has a shard 0: it is listed by it
            opened[0] = new_tree(self._ctx, self._name, namespace)
            opened[0].root.changed = CHANGED
        if shard not in opened:
            first = next(iter(opened.values()), None)
            opened[shard] = new_tree(self._ctx, self._name, namespace, shard, like=first)
        return opened[shard]

    async def find(self, namespace: Any, id: str, position: str) -> Tree | None:
        """The tree that holds an item: in shards any of them may, because their number can have changed since it was added."""
        opened = self._open.get(key_text(namespace))
        found = await self.of(namespace) if opened is None else list(opened.values())
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


def new_tree(ctx: QueryCtx, name: str, namespace: Any, shard: int = 0, like: Tree | None = None) -> Tree:
    shape = (like.max_node_size, like.lanes, like.is_lazy) if like is not None else (MAX_NODE_SIZE, LANES, True)
    options = dict(zip(("max_node_size", "lanes", "root_lazy"), shape, strict=True))
    empty = dict.fromkeys((*node, "totals"), "")
    return Tree(ctx, {"name": name, "namespace": namespace, "shard": shard, "queued": False, **options, **empty})


def places(operation: Mapping[str, Any]) -> list[tuple[Any, str]]:
    """Where it looks: namespaces and positions."""
    id, namespace = operation["value"], operation.get("namespace")
    here = (namespace, position(operation["key"], id))
    if "new_key" not in operation:
        return [here]
    return [here, (operation.get("new_namespace", namespace), position(operation["new_key"], id))]


async def perform(opened: Trees, operation: Mapping[str, Any]) -> None:
    """Do one write. One that raises has changed nothing that is saved: whoever catches it opens the trees anew, or `undoes` it."""
    kind, id = operation["kind"], operation["value"]
    namespace = operation.get("namespace")
    here = position(operation["key"], id)
    if kind in ("insert", "insert_if_does_not_exist"):
        await _put(opened, namespace, here, operation, operation["key"], replace=kind != "insert")
    elif kind in ("delete", "delete_if_exists"):
        tree = await opened.find(namespace, id, here)
        if (tree is None or await tree.take(here) is None) and kind == "delete":
            raise _missing(operation)
    else:
        target = operation.get("new_namespace", namespace)
        there = position(operation["new_key"], id)
        strict = kind == "replace"
        if there == here and (target is namespace or key_text(target) == key_text(namespace)):
            if not strict:
                await _put(opened, namespace, here, operation, operation["key"], replace=True)
                return
            tree = await opened.find(namespace, id, here)
            if tree is None or not await tree.change(here, checked(here, id, operation.get("summand", 0))):
                raise _missing(operation)
            return
        summand = checked(there, id, operation.get("summand", 0))
        tree = await opened.find(namespace, id, here)
        held = None if tree is None else await tree.take(here)
        if held is None and strict:
            raise _missing(operation)
        other = await opened.for_item(target, id, there)
        if await other.put(there, summand, replace=not strict) is not None and strict:
            assert tree is not None, "it was strict"
            assert held is not None, "it was strict"
            await tree.put(here, held, replace=False)  # as if nothing had been done
            raise _exists(operation["new_key"], id)


async def _put(opened: Trees, namespace: Any, position: str, operation: Mapping[str, Any], key: Any, *, replace: bool) -> None:
    id = operation["value"]
    summand = checked(position, id, operation.get("summand", 0))
    tree = await opened.for_item(namespace, id, position)
    if await tree.put(position, summand, replace=replace) is not None and not replace:
        raise _exists(key, id)


def checked(position: str, id: str, summand: Number) -> Number:
    """The sum of an item as it is kept. Refuses what no item can have."""
    if not math.isfinite(summand):
        message = f"the sum value of {id!r} must be a finite number, not {summand}"
        raise AppError({"code": "INVALID_SUM_VALUE", "message": message})
    if len(position) * 4 > POSITION_BYTES and len(position.encode()) > POSITION_BYTES:
        message = f"key and id of {id[:100]!r} take more than {POSITION_BYTES:,} bytes"
        raise AppError({"code": "INVALID_KEY", "message": message})
    return int(summand) if summand == 0 or (abs(summand) <= EXACT and summand == int(summand)) else summand


def _missing(operation: Mapping[str, Any]) -> AppError:
    key, id = operation["key"], operation["value"]
    return AppError({"code": "DELETE_MISSING_KEY", "message": f"there is no item of key {key!r} and id {id!r}", "key": key, "id": id})


def _exists(key: Any, id: str) -> AppError:
    return AppError({"code": "KEY_EXISTS", "message": f"there is an item of key {key!r} and id {id!r} already", "key": key, "id": id})
