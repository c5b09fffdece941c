"""What an action raises so that it is not tried again, and what is kept of any error."""

from __future__ import annotations

from typing import Any

from interlock import AppError


class NonRetryable(AppError):
    """Raised by an action: trying again would not help. `message` is the error of the work."""

    def __init__(self, message: str, data: Any = None) -> None:
        super().__init__({"code": "NonRetryable", "message": message, "data": data})


def said_by(error: Exception) -> str:
    """The text of an error, as it can be stored: file names bring lone surrogates, which no document can hold."""
    text = str(error)[:10_000]
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()
