"""Writes that are done at once: a call opens the trees that it needs, changes them, and saves what has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

from interlock import UNSET, AppError, MutationCtx
from interlock_aggregate.node import Number
from interlock_aggregate.positions import position
from interlock_aggregate.shortcut import Seen, add
from interlock_aggregate.shortcuts import Item, add_where_missing
from interlock_aggregate.trees import Trees, checked, perform, places


class Operation(TypedDict):
    """One write of a batch."""

    kind: Literal["insert", "insert_if_does_not_exist", "delete", "delete_if_exists", "replace", "replace_or_insert"]
    key: Any
    value: str
    summand: NotRequired[Number]
    namespace: NotRequired[Any]
    new_key: NotRequired[Any]
    new_namespace: NotRequired[Any]


async def _write(ctx: MutationCtx, name: str, shards: int, operations: Sequence[Mapping[str, Any]], seen: Seen | None = None) -> None:
    if shards < 1:
        raise AppError({"code": "INVALID_OPTIONS", "message": f"shards must be 1 or more, got {shards}"})
    opened = Trees(ctx, name, shards=shards, seen=seen)
    if len(operations) > 1:
        await opened.read_ways([place for operation in operations for place in places(operation)])
    for operation in operations:
        await perform(opened, operation)
    await opened.save(ctx)


async def _insert(ctx: MutationCtx, name: str, operations: Sequence[Mapping[str, Any]]) -> None:
    """Add items to trees that have one shard: most in few steps, and then those that take more."""
    wanted: list[tuple[Any, Item]] = []
    for number, operation in enumerate(operations):
        id = operation["value"]
        here = position(operation["key"], id)
        wanted.append((operation.get("namespace"), Item(number, here, checked(here, id, operation.get("summand", 0)))))
    left, seen = await add_where_missing(ctx, wanted, name)
    if left:
        await _write(ctx, name, 1, [operations[number] for number in left], seen)


async def insert(
    ctx: MutationCtx, key: Any, value: str, summand: Number = 0, namespace: Any = None, name: str = "", shards: int = 1
) -> None:
    """Add an item; `KEY_EXISTS` if there is one of this key and id."""
    operation = {"kind": "insert", "key": key, "value": value, "summand": summand, "namespace": namespace}
    seen = Seen()
    if shards == 1:
        here = position(key, value)
        if await add(ctx, here, checked(here, value, summand), name, namespace, seen):
            return
    await _write(ctx, name, shards, [operation], seen)


async def insert_if_does_not_exist(
    ctx: MutationCtx, key: Any, value: str, summand: Number = 0, namespace: Any = None, name: str = "", shards: int = 1
) -> None:
    """Add an item, or give the one that is there this sum value."""
    operation = {"kind": "insert_if_does_not_exist", "key": key, "value": value, "summand": summand, "namespace": namespace}
    await _write(ctx, name, shards, [operation])


async def delete(ctx: MutationCtx, key: Any, value: str, namespace: Any = None, name: str = "") -> None:
    """Remove an item; `DELETE_MISSING_KEY` if there is none."""
    await _write(ctx, name, 1, [{"kind": "delete", "key": key, "value": value, "namespace": namespace}])


async def delete_if_exists(ctx: MutationCtx, key: Any, value: str, namespace: Any = None, name: str = "") -> None:
    """Remove an item, if there is one."""
    await _write(ctx, name, 1, [{"kind": "delete_if_exists", "key": key, "value": value, "namespace": namespace}])


async def replace(
    ctx: MutationCtx,
    current_key: Any,
    new_key: Any,
    value: str,
    summand: Number = 0,
    namespace: Any = None,
    new_namespace: Any = UNSET,
    name: str = "",
    shards: int = 1,
) -> None:
    """Move an item to another key, sum value or namespace; `DELETE_MISSING_KEY`, `KEY_EXISTS`."""
    await _write(ctx, name, shards, [_replacing("replace", current_key, new_key, value, summand, namespace, new_namespace)])


async def replace_or_insert(
    ctx: MutationCtx,
    current_key: Any,
    new_key: Any,
    value: str,
    summand: Number = 0,
    namespace: Any = None,
    new_namespace: Any = UNSET,
    name: str = "",
    shards: int = 1,
) -> None:
    """Move an item, which need not be there, to where one may be already."""
    await _write(ctx, name, shards, [_replacing("replace_or_insert", current_key, new_key, value, summand, namespace, new_namespace)])


def _replacing(
    kind: str, current_key: Any, new_key: Any, value: str, summand: Number, namespace: Any, new_namespace: Any
) -> dict[str, Any]:
    operation = {"kind": kind, "key": current_key, "new_key": new_key, "value": value, "summand": summand, "namespace": namespace}
    return operation if new_namespace is UNSET else {**operation, "new_namespace": new_namespace}


async def write_batch(ctx: MutationCtx, operations: list[Operation], name: str = "", shards: int = 1) -> None:
    """Many writes, in order: all of them or none."""
    if shards == 1 and all([operation["kind"] == "insert" for operation in operations]):
        await _insert(ctx, name, operations)
    else:
        await _write(ctx, name, shards, operations)
