"""Counts, sums and ranks over ordered items. The component itself is in `component`, behind the boundary."""

from interlock_aggregate.bounds import Bound, Bounds, Eq, Prefix
from interlock_aggregate.client import SAME, DirectAggregate, Item, Query, TableAggregate
from interlock_aggregate.errors import KeyExists, KeyMissing, OffsetOutOfRange, PendingOperations

__all__ = [
    "SAME",
    "Bound",
    "Bounds",
    "DirectAggregate",
    "Eq",
    "Item",
    "KeyExists",
    "KeyMissing",
    "OffsetOutOfRange",
    "PendingOperations",
    "Prefix",
    "Query",
    "TableAggregate",
]
