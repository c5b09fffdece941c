"""The errors of workflows, as the face raises them. Across the boundary they are `AppError`s with a code."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from interlock import AppError, ValueRefused, to_text

DATA_MOST = 200_000  # bytes


class WorkflowNotFound(AppError):
    """There is no workflow of this id."""


class WorkflowRunning(AppError):
    """This can be done only when the workflow has ended."""


class WorkflowEnded(AppError):
    """The workflow has ended already."""


class UnknownStep(AppError):
    """The workflow has no such step."""


class EventAlreadySent(AppError):
    """An event is sent once."""


class ChangedPast(AppError):
    """What a run has already done is no longer what its code does: another name, kind or argument, or a step that is gone."""

    def __init__(self, message: str) -> None:
        super().__init__({"code": "CHANGED_PAST", "message": message})

    def __str__(self) -> str:
        return str(self.data["message"])


class NotAStep(AppError):
    """The function waited for something that is no step: that could not be continued after a restart."""

    def __init__(self, message: str) -> None:
        super().__init__({"code": "NOT_A_STEP", "message": message})

    def __str__(self) -> str:
        return str(self.data["message"])


class StepFailed(AppError):
    """A step has failed: `step` is its name, `type` the class of what it raised, `message` its text; `data` is that of an `AppError`."""

    def __init__(self, step: str, type: str, message: str, data: Any = None) -> None:
        super().__init__(data)
        self.args = (step, type, message, data)
        self.step, self.type, self.message = step, type, message

    def __str__(self) -> str:
        return f"step {self.step} failed: {self.type}: {self.message}"


class StepTimeout(StepFailed):
    """No event came in time."""


class StepCanceled(StepFailed):
    """The child workflow was canceled."""


_CLASSES: dict[str, type[AppError]] = {
    "NOT_FOUND": WorkflowNotFound,
    "STILL_RUNNING": WorkflowRunning,
    "ENDED": WorkflowEnded,
    "UNKNOWN_STEP": UnknownStep,
    "ALREADY_SENT": EventAlreadySent,
}


def typed(error: AppError) -> AppError:
    """The error of its code's class."""
    code = error.data.get("code") if isinstance(error.data, dict) else None
    kind = _CLASSES.get(code) if isinstance(code, str) else None
    return error if kind is None else kind(error.data)


def facts_of(error: Exception) -> dict[str, Any]:
    """An error as it is recorded."""
    facts: dict[str, Any] = {"type": type(error).__name__, "message": said_by(error)}
    if isinstance(error, StepFailed):
        facts |= {"message": error.message, "type": error.type}
    if isinstance(error, AppError):
        facts["data"] = recorded_data(error.data)
        if type(error) not in (AppError, StepFailed):
            facts["class"] = f"{type(error).__module__}:{type(error).__qualname__}"
        if isinstance(error.data, dict) and isinstance(error.data.get("message"), str):
            facts["message"] = storable(error.data["message"][:10_000])
    return facts


def said_by(error: BaseException) -> str:
    """The text of an error, as it can be recorded."""
    return storable(str(error)[:10_000])


def storable(text: str) -> str:
    """The text without lone surrogates, which file names bring and no document can hold."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def recorded_data(data: Any) -> Any:
    """The data of an error, unless it is no value, or so large that an error would be no place for it."""
    try:
        size = len(to_text(data).encode())
    except ValueRefused as refused:
        return f"data that cannot be recorded: {said_by(refused)}"
    return data if size <= DATA_MOST else f"{size:,} bytes of data, which are too many to be recorded"


def error_from(step: str, facts: Mapping[str, Any]) -> AppError:
    """A recorded error, to be raised where the step was awaited: of the author's own class if that is still there."""
    kind, message, data = facts.get("type", "Error"), facts.get("message", ""), facts.get("data")
    if kind == "StepTimeout":
        return StepTimeout(step, kind, message, data)
    if kind == "StepCanceled":
        return StepCanceled(step, kind, message, data)
    own = _own_class(facts.get("class", ""))
    if own is not None:
        error = own.__new__(own)
        AppError.__init__(error, data)
        return error
    return StepFailed(step, kind, message, data)


def _own_class(place: str) -> type[AppError] | None:
    """A class of an author's errors. Only modules that are loaded are looked into: a journal imports nothing."""
    module, _, name = place.partition(":")
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, AppError) and not issubclass(found, StepFailed) else None
