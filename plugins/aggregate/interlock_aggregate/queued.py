"""Writes that are done later: a queue for each namespace, in the order of the commits, and what could not be done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from interlock import AppError, CommitTimestamp, MutationCtx, Page, PaginationOptions, QueryCtx, Range, reference
from interlock_aggregate.positions import key_text
from interlock_aggregate.trees import WEIGHT_MOST, Trees, new_tree, perform
from interlock_aggregate.writing import Operation

APPLIED_AT_ONCE = 256
FORGOTTEN_AFTER_MS = 600_000.0
REFUSED = {"KEY_EXISTS", "DELETE_MISSING_KEY", "INVALID_KEY", "INVALID_SUM_VALUE"}  # what a write is refused with for what it asks


async def enqueue(ctx: MutationCtx, operation: Operation, name: str = "", shards: int = 1) -> None:
    """Queue a write."""
    await enqueue_batch(ctx, [operation], name, shards)


async def enqueue_batch(ctx: MutationCtx, operations: list[Operation], name: str = "", shards: int = 1) -> None:
    """Queue many writes. Those of one namespace are done in the order of the commits, and within a mutation in this one."""
    flagged: set[str] = set()
    for operation in operations:
        for part in _one_namespace_each(operation):
            namespace = part.get("namespace")
            key = key_text(namespace)
            if key not in flagged:
                flagged.add(key)
                await _expect_queue(ctx, name, namespace, shards)
            row = {"name": name, "namespace": namespace, "commit_ts": CommitTimestamp(), "operation": part}
            await ctx.db.insert("operations", row)


def _one_namespace_each(operation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A move to another namespace is a delete in the queue of the one and an insert in that of the other."""
    part = dict(operation)
    target = part.pop("new_namespace", part.get("namespace"))
    if "new_key" not in part or key_text(target) == key_text(part.get("namespace")):
        return [part]
    strict = part["kind"] == "replace"
    leave = {"kind": "delete" if strict else "delete_if_exists", "key": part["key"], "value": part["value"]}
    arrive = {"kind": "insert" if strict else "insert_if_does_not_exist", "key": part["new_key"], "value": part["value"]}
    return [
        {**leave, "namespace": part.get("namespace")},
        {**arrive, "summand": part.get("summand", 0), "namespace": target},
    ]


async def _expect_queue(ctx: MutationCtx, name: str, namespace: Any, shards: int) -> None:
    """Tell everybody that writes are queued, unless it is known, and see to it that they are done."""
    found = await Trees(ctx, name, stale=True).of(namespace) or [new_tree(ctx, name, namespace)]
    if not any(tree.is_queued for tree in found):
        found[0].mark_queued(True)
        await found[0].save(ctx)
        await ctx.scheduler.run_after(0, "apply_queued", namespace=namespace, name=name, shards=shards)


async def waiting(ctx: QueryCtx, namespace: Any, name: str) -> list[dict[str, Any]]:
    """The oldest queued writes of a namespace."""
    return await ctx.db.query("operations").index("by_namespace", name=name, namespace=namespace).take(APPLIED_AT_ONCE)


async def apply_queued(ctx: MutationCtx, namespace: Any, name: str, shards: int) -> None:
    """Do some of the queued writes of a namespace, oldest first.

    It looks at the queue without depending on it, so that nobody who adds to it is in its way; only to end it must know.
    """
    rows = await ctx.run_query(reference("waiting").options(stale=True), namespace=namespace, name=name)
    opened = Trees(ctx, name, stale=True, shards=shards)
    for row in rows:
        await ctx.db.delete(row["_id"])
        try:
            await perform(opened, row["operation"])
        except AppError as error:
            if error.data["code"] not in REFUSED:
                raise
            letter = {field: row[field] for field in ("name", "namespace", "commit_ts", "operation")}
            await ctx.db.insert("dead_letters", {**letter, "error": error.data})
        if opened.weight > WEIGHT_MOST:
            break
    if not rows and await ctx.db.query("operations").index("by_namespace", name=name, namespace=namespace).first() is None:
        for tree in await opened.of(namespace):
            tree.mark_queued(False)
    else:
        await ctx.scheduler.run_after(0, "apply_queued", namespace=namespace, name=name, shards=shards)
    await opened.save(ctx)


async def apply_forgotten(ctx: MutationCtx) -> None:
    """Go on with queues that have waited for long: their job has failed."""
    until = ctx.now() - FORGOTTEN_AFTER_MS
    rows = await ctx.db.query("operations").index("by_creation_time", _creationTime=Range(lte=until)).take(APPLIED_AT_ONCE)
    for name, namespace in {(row["name"], key_text(row["namespace"])): (row["name"], row["namespace"]) for row in rows}.values():
        shards = len(await Trees(ctx, name, stale=True).of(namespace))
        await ctx.scheduler.run_after(0, "apply_queued", namespace=namespace, name=name, shards=max(1, shards))


class DeadLetter(TypedDict):
    """A queued write that could not be done."""

    id: str
    commit_ts: Any
    namespace: Any
    operation: dict[str, Any]
    error: Any


async def dead_letter_list(ctx: QueryCtx, limit: int = 100, cursor: str | None = None, name: str = "") -> Page[DeadLetter]:
    """The queued writes that could not be done, oldest first."""
    options = PaginationOptions(num_items=limit, cursor=cursor)
    page = await ctx.db.query("dead_letters").index("by_commit_ts", name=name).paginate(options)
    return page.map(_dead_letter)


async def dead_letter_get(ctx: QueryCtx, id: str) -> DeadLetter | None:
    """One of them, or None."""
    known = await ctx.db.normalize_id("dead_letters", id)
    row = None if known is None else await ctx.db.get(known)
    return None if row is None else _dead_letter(row)


async def dead_letter_delete(ctx: MutationCtx, id: str) -> bool:
    """Forget one of them. Says whether there was one."""
    existed = await dead_letter_get(ctx, id) is not None
    if existed:
        await ctx.db.delete(id)
    return existed


def _dead_letter(row: Mapping[str, Any]) -> DeadLetter:
    operation, error = row["operation"], row["error"]
    return {"id": row["_id"], "commit_ts": row["commit_ts"], "namespace": row["namespace"], "operation": operation, "error": error}
