"""Errors as callers outside see them: whole where somebody develops, little where somebody attacks.

AppError                            its data, always
the errors that users are told of   their message, always
everything else                     "Server Error" and the request id; the log has the rest
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from typing import Any, NamedTuple

import structlog

import interlock.errors as errors
from interlock.errors import AppError, InvalidCursor, ValueRefused
from interlock.functions.log_lines import mask, quietly, readable
from interlock.functions.scope import holds_commit_timestamp
from interlock.sandbox import failures
from interlock.sandbox.failures import FRAMES, authors_frames
from interlock.values import normalize

logger = structlog.get_logger("interlock.functions")

_TOLD = (
    errors.AppError,
    errors.ArgumentError,
    errors.ReturnError,
    errors.SchemaError,
    errors.FunctionNotFound,
    errors.WrongFunctionKind,
    errors.WriteConflict,
    errors.LimitExceeded,
    errors.DeadlineExceeded,
    errors.PermissionDenied,
    errors.ComponentCrashed,
    errors.StorageUnavailable,
    errors.Unauthenticated,
    errors.QueryError,
)
_RESTART = {"isConvexSystemError": True, "paginationError": "InvalidCursor"}


class Described(NamedTuple):
    """An error for a client: the message, and data if it carries any; None is data too."""

    message: str
    has_data: bool
    data: Any


def describe(error: BaseException, request_id: str, dev: bool, secrets: Iterable[str] = ()) -> Described:
    """What a client is told. With `dev` everything, with the traceback; never a value that a component was given as a secret."""
    has_data, data = data_of(error)
    head = f"[Request ID: {request_id}] Server Error"
    if not dev and not isinstance(error, _TOLD):
        return Described(head, has_data, data)
    said = _said(error)
    if isinstance(error, errors.ReturnError) and not dev:
        # What it was instead is what the annotation was to hold back.
        said = f"{error.function}: result{error.path} must be {error.expected}."
    text = f"{head}\nUncaught {type(error).__name__}: {said}\n"
    if dev:
        text += "".join(f"    at {line}\n" for line in frames_of(error))
    return Described(mask(text, secrets), has_data, data)


def data_of(error: BaseException) -> tuple[bool, Any]:
    """The data that an error carries to the client. Told of an invalid cursor, official clients begin again at the first page."""
    if isinstance(error, AppError):
        try:
            data = normalize(error.data)
        except ValueRefused:
            return True, _said(error)
        return True, _said(error) if holds_commit_timestamp(data) else data  # which nothing will ever fill in
    if isinstance(error, InvalidCursor):
        return True, dict(_RESTART)
    return False, None


def _said(error: BaseException) -> str:
    try:
        return readable(str(error))
    except Exception as unreadable:
        return f"(its text cannot be had: {type(unreadable).__name__})"


def said_of(error: BaseException, secrets: Iterable[str]) -> str:
    """What an error says, for a log: without the values that components were given as secrets."""
    return mask(_said(error), secrets)


def _shows_any(error: BaseException, secrets: tuple[str, ...]) -> bool:
    """Whether its traceback would print one of these: its message, that of an error that it came of, a note, a line of code."""
    said = _said(error)
    try:
        said += readable("".join(traceback.format_exception(error)))
    except Exception:
        return True  # nobody knows
    return any(secret in said for secret in secrets)


def frames_of(error: BaseException) -> list[str]:
    """Where an error was raised, innermost first: the author's own lines. Where there are none: all of them if it is a fault of ours,
    and none of an error that Interlock raises to say something, like what a caller has sent or that a worker has crashed.

    An author's error is another one on each side of a component's boundary; those of a worker have been told from there.
    """
    passed = [error]
    while isinstance(error, AppError) and isinstance(error.__cause__, AppError):
        error = error.__cause__
        passed.insert(0, error)
    found = [line for part in passed for line in (*getattr(part, FRAMES, ()), *authors_frames(part))]
    return found or ([] if isinstance(error, errors.InterlockError) else failures.frames_of(error))


def is_told(error: BaseException) -> bool:
    """Whether a client is told the message in production too; all else has to be in the log."""
    return isinstance(error, _TOLD)


def log_failure(error: BaseException, request_id: str, component_path: str, function: str, secrets: Iterable[str] = ()) -> None:
    """Write an error whole to the server's log, under the id that the client was given."""
    log = logger.bind(request_id=request_id, function=function)
    if component_path:
        log = log.bind(component=component_path)
    told = f"{type(error).__name__}: {said_of(error, secrets)}"
    shows_secret = secrets and _shows_any(error, tuple(secrets))
    # Python cannot print the traceback of every error: an odd SyntaxError is one that has none.
    if shows_secret or not quietly(lambda: log.error("function failed", error=told, exc_info=(type(error), error, error.__traceback__))):
        quietly(lambda: log.error("function failed", error=told, frames=frames_of(error)))
