"""The life of a tree: made in a shape, emptied, given another one."""

from __future__ import annotations

from typing import Any

from interlock import AppError, MutationCtx
from interlock_aggregate.node import weight_of
from interlock_aggregate.trees import LANES, MAX_NODE_SIZE, WEIGHT_MOST, Trees, new_tree

NODE_SIZES = range(4, 129, 2)
LANES_MOST = 128
DROPPED_AT_ONCE, READ_AT_ONCE = 500, 50


async def init(
    ctx: MutationCtx, max_node_size: int = MAX_NODE_SIZE, root_lazy: bool = True, lanes: int = LANES, namespace: Any = None, name: str = ""
) -> None:
    """Make an empty tree of this shape; `TREE_EXISTS` if there is one."""
    if await Trees(ctx, name, stale=True).of(namespace):
        raise AppError({"code": "TREE_EXISTS", "message": "this namespace has a tree already. Clear it to give it another shape."})
    await clear(ctx, namespace, max_node_size, root_lazy, lanes, name)


async def clear(
    ctx: MutationCtx,
    namespace: Any = None,
    max_node_size: int | None = None,
    root_lazy: bool | None = None,
    lanes: int | None = None,
    name: str = "",
) -> None:
    """Make the tree empty. What was in it is deleted by and by."""
    await drop_soon(ctx, await _clear(ctx, name, namespace, max_node_size, root_lazy, lanes))


async def clear_all(
    ctx: MutationCtx, max_node_size: int | None = None, root_lazy: bool | None = None, lanes: int | None = None, name: str = ""
) -> None:
    """Make the trees of all namespaces empty. Afterwards the default namespace has one."""
    rows = await ctx.db.query("trees").index("by_name", name=name, shard=0).collect()
    nodes: list[str] = []
    for namespace in [None, *[row["namespace"] for row in rows if row["namespace"] is not None]]:
        nodes += await _clear(ctx, name, namespace, max_node_size, root_lazy, lanes)
    await drop_soon(ctx, nodes)


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
    for tree in await Trees(ctx, name, stale=True).of(namespace) or [new_tree(ctx, name, namespace)]:
        nodes += tree.empty(
            tree.max_node_size if max_node_size is None else max_node_size,
            tree.lanes if lanes is None else lanes,
            tree.is_lazy if root_lazy is None else root_lazy,
        )
        tree.mark_queued(False)
        await tree.save(ctx)
    return nodes


async def drop_soon(ctx: MutationCtx, nodes: list[str]) -> None:
    if nodes:
        await ctx.scheduler.run_after(0, "drop_nodes", ids=nodes)


async def drop_nodes(ctx: MutationCtx, ids: list[str]) -> None:
    """Delete nodes and those below them, so many at a time."""
    weight = dropped = 0
    while ids and dropped < DROPPED_AT_ONCE and weight <= WEIGHT_MOST:
        read, ids = ids[-READ_AT_ONCE:], ids[:-READ_AT_ONCE]
        dropped += len(read)
        for row in await ctx.db.get_many(read):
            if row is None:
                continue
            weight += weight_of(row)
            if "children" in row:
                ids += row["children"].split()
                if row["totals"]:
                    await ctx.db.delete(row["totals"])
            await ctx.db.delete(row["_id"])
    await drop_soon(ctx, ids)


async def make_root_lazy(ctx: MutationCtx, namespace: Any = None, name: str = "") -> None:
    """Let writers pass the root by."""
    for tree in await Trees(ctx, name, stale=True).of(namespace):
        await tree.make_lazy()
        await tree.save(ctx)
