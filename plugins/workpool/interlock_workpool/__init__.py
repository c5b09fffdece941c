"""A durable queue with a cap on what runs at once. The component itself is in `component`, behind the boundary."""

from interlock_workpool.client import PoolSettings, WorkId, Workpool, WorkResult, WorkStatus
from interlock_workpool.errors import NonRetryable
from interlock_workpool.retry import DAY, HOUR, MINUTE, SECOND, WEEK, Retry

__all__ = [
    "DAY",
    "HOUR",
    "MINUTE",
    "SECOND",
    "WEEK",
    "NonRetryable",
    "PoolSettings",
    "Retry",
    "WorkId",
    "WorkResult",
    "WorkStatus",
    "Workpool",
]
