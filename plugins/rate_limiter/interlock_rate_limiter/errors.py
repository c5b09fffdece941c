"""What a refused call raises when it was asked to."""

from __future__ import annotations

from typing import Any

from interlock import AppError

KIND = "RateLimited"


class RateLimited(AppError):
    """The limit `name` refuses. The same call fits again after `retry_after` seconds.

    A client sees the data `{"kind": "RateLimited", "name": …, "retryAfter": milliseconds}`.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        super().__init__(data)
        self.name: str = data["name"]
        self.retry_after: float = data["retryAfter"] / 1000

    def __str__(self) -> str:
        return f"the rate limit {self.name!r} is used up: try again in {self.retry_after:.3f} s"


def typed(error: AppError) -> AppError:
    """A `RateLimited` if the error of the component says so, else the error as it is."""
    is_ours = isinstance(error.data, dict) and error.data.get("kind") == KIND
    return RateLimited(error.data) if is_ours else error
