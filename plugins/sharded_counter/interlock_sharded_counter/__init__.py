"""Counters that many writers can add to at once. The component itself is in `component`, behind the boundary."""

from interlock_sharded_counter.client import NamedCounter, ShardedCounter

__all__ = ["NamedCounter", "ShardedCounter"]
