"""What an instance keeps: trees and their nodes, queued writes and those that failed, how far long tasks are."""

from __future__ import annotations

from typing import Any

from interlock import CommitTimestamp, Schema, Table

node: dict[str, Any] = {"keys": str, "children": str, "counts": str, "sums": str}
inners = Table({**node, "totals": str, "shape": int})
totals = Table({"counts": str, "sums": str, "shape": int})
trees = (
    Table(
        {
            "name": str,
            "namespace": Any,
            "shard": int,
            "queued": bool,  # operations may be waiting
            "max_node_size": int,
            "lanes": int,
            "root_lazy": bool,
            "totals": str,  # of its lanes, where they are inner nodes
            **node,
        }
    )
    .index("by_namespace", "name", "namespace", "shard")
    .index("by_name", "name", "shard")
)
operations = Table({"name": str, "namespace": Any, "commit_ts": CommitTimestamp(), "operation": dict[str, Any]}).index(
    "by_namespace", "name", "namespace", "commit_ts"
)
dead_letters = Table({"name": str, "namespace": Any, "commit_ts": Any, "operation": dict[str, Any], "error": Any}).index(
    "by_commit_ts", "name", "commit_ts"
)
tasks = Table(
    {
        "name": str,
        "task": str,
        "state": str,
        "run": int,
        "job": str,
        "phase": str,
        "namespace_cursor": str | None,
        "cursor": str | None,
        **dict.fromkeys(("size", "rows", "items", "missing", "wrong", "extra", "miscounted", "broken"), int),
        "samples": list[Any],
    }
).index("by_task", "name", "task")

leaves = Table({"keys": str, "sums": str})

schema = Schema(trees=trees, inners=inners, totals=totals, leaves=leaves, operations=operations, dead_letters=dead_letters, tasks=tasks)
