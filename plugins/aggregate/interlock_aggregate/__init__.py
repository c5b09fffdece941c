"""Counts, sums and ranks over ordered items. The component itself is in `component`, behind the boundary."""

from interlock_aggregate.bounds import Bound, Bounds, Eq, Prefix
from interlock_aggregate.client import DirectAggregate, Item, Query, TableAggregate
from interlock_aggregate.errors import KeyExists, KeyMissing, OffsetOutOfRange, PendingOperations
from interlock_aggregate.operations import SAME, Delete, DeleteIfExists, Insert, InsertIfMissing, Replace, ReplaceOrInsert
from interlock_aggregate.tasks import Progress

__all__ = [
    "SAME",
    "Bound",
    "Bounds",
    "Delete",
    "DeleteIfExists",
    "DirectAggregate",
    "Eq",
    "Insert",
    "InsertIfMissing",
    "Item",
    "KeyExists",
    "KeyMissing",
    "OffsetOutOfRange",
    "PendingOperations",
    "Prefix",
    "Progress",
    "Query",
    "Replace",
    "ReplaceOrInsert",
    "TableAggregate",
]
