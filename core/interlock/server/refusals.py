"""Calls that could not be made. A client that sends little else is broken or hostile."""

from __future__ import annotations

_MOST = 500
_WINDOW_MS = 10_000.0


class Refusals:
    """Of one connection, in the window that began with the first of them."""

    __slots__ = ("_count", "_since_ms")

    def __init__(self) -> None:
        self._count = 0
        self._since_ms = 0.0

    def are_too_many(self, now_ms: float, *, one_more: bool) -> bool:
        """Whether there have been too many by now; `one_more` is to be counted first."""
        if not 0 <= now_ms - self._since_ms <= _WINDOW_MS:
            self._count, self._since_ms = 0, now_ms
        self._count += one_more
        return self._count > _MOST
