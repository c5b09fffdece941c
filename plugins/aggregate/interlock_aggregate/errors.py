"""The errors of an aggregate, as the face raises them. Across the boundary they are `AppError`s with a code."""

from __future__ import annotations

from interlock import AppError


class KeyExists(AppError):
    """There is an item of this key and id already."""


class KeyMissing(AppError):
    """There is no item of this key and id."""


class OffsetOutOfRange(AppError, IndexError):
    """The range has no item at this offset."""


class PendingOperations(AppError):
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
