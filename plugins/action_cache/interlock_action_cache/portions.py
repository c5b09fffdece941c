"""Rows that are removed one after another, as many as fit into a transaction: an entry may be small, or almost 1 MiB."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

WEIGHT_MOST = 6_000_000  # bytes: what is deleted is read twice
FIRST = 4


class Portions:
    """The rows of a query whose rows are deleted as they come. `is_done` says afterwards whether none is left."""

    def __init__(self, query: Any, most: int) -> None:
        self._query, self._most = query, most
        self.is_done = False

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        weight = count = largest = 0
        portion = FIRST
        while count < self._most and weight < WEIGHT_MOST:
            portion = min(portion, self._most - count)
            rows = await self._query.take(portion)
            for row in rows:
                size = row.get("size", 0)
                weight, largest = weight + size, max(largest, size)
                yield row
            if len(rows) < portion:
                self.is_done = True
                return
            count += len(rows)
            portion = max(1, min(4 * portion, (WEIGHT_MOST - weight) // max(largest, 1)))
