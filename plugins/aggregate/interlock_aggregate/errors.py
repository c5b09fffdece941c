"""The errors of an aggregate, as the face raises them. Across the boundary they are `AppError`s with a code."""

from __future__ import annotations

from interlock import AppError


class AggregateError(AppError):
    """What all of them have: data with a `code` and a `message`."""

    def __str__(self) -> str:
        return str(self.data["message"])


class KeyExists(AggregateError):
    """There is an item of this key and id already."""


class KeyMissing(AggregateError):
    """There is no item of this key and id."""


class OffsetOutOfRange(AggregateError, IndexError):
    """The range has no item at this offset."""


class PendingOperations(AggregateError):
    """Writes are queued for this namespace, so what would be read is not the latest."""


_CLASSES: dict[str, type[AppError]] = {
    "KEY_EXISTS": KeyExists,
    "DELETE_MISSING_KEY": KeyMissing,
    "OFFSET_OUT_OF_RANGE": OffsetOutOfRange,
    "PENDING_OPERATIONS": PendingOperations,
}


def typed(error: AppError) -> AppError:
    """The error of its code's class."""
    code = error.data.get("code") if isinstance(error.data, dict) else None
    kind = _CLASSES.get(code) if isinstance(code, str) else None
    return error if kind is None else kind(error.data)
