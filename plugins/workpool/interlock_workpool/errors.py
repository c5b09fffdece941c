"""What an action raises so that it is not tried again."""

from __future__ import annotations

from typing import Any

from interlock import AppError


class NonRetryable(AppError):
    """Raised by an action: trying again would not help. `message` is the error of the work."""

    def __init__(self, message: str, data: Any = None) -> None:
        super().__init__({"code": "NonRetryable", "message": message, "data": data})
