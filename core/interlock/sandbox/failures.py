"""Errors as they cross between host and worker: told as data on one side, made again on the other.

    ["own", class name, args, said, frames]        one of `interlock.errors`
    ["python", class name, built-in base, args, said, frames]
    ["group", said, errors, frames]                an ExceptionGroup
    ["abort", representation, frames]              SystemExit and the like
    ["known", reference]                           one that the reader told itself, and still has
    ["because", error, cause, whether it was said] one of these that came of another: `raise … from`, or while that was handled

What a component says about its error is text and data. Nothing in it is looked up but names in fixed tables, and errors that
mean something to the engine or the server's operator cannot be made by it.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import interlock.errors as errors
from interlock.errors import AppError, FunctionAborted, InterlockError
from interlock.sandbox.strange import Strange

FRAMES = "__interlock_frames__"
"""The attribute of an error that holds its frames on the other side, innermost first."""
_COUNTED = "__interlock_counted__"
"""The attribute that holds the part of its traceback whose frames are among those already."""
OWN_FILES = (f"{Path(errors.__file__).parent}{os.sep}", f"interlock{os.sep}")
"""How files of Interlock begin. The second is how compiled code names them."""
_NOTE = "In the component, innermost first:"

_TEXT_MAX = 10_000
_FRAMES_MAX = 40
_FRAME_CHARS_MAX = 500
_CAUSES_MAX = 3
_ERRORS_MAX = 64
"""How many are made of one that is told, with all that lie in it."""
_ARGS_MAX = 16
_ITEMS_MAX = 100
_OWN = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, InterlockError) and name[:1] != "_" and kind is not InterlockError
}
_HOSTS = frozenset({"WriteConflict", "StorageUnavailable", "MountError", "Unauthenticated", "ComponentCrashed", "FunctionAborted"})
"""Errors that only the host may raise of itself."""
_BUILT_IN = {
    name: kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, Exception) and kind.__name__ == name and not issubclass(kind, Warning | StopIteration)
}
_CONTROL = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (*range(32), *range(127, 160), 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF)
    if chr(code) not in "\n\t"
}


def cleaned(text: str, chars_max: int = _TEXT_MAX) -> str:
    """Text of a component for a log or a terminal: no escapes, no forged direction of writing."""
    return text[:chars_max].translate(_CONTROL)


def tell(error: BaseException, frames: list[str]) -> list[Any]:
    """An error as data."""
    if isinstance(error, AppError):
        return ["own", "AppError", [error.data], "", frames]  # an author's class stays on its own side
    if isinstance(error, InterlockError):
        name = next((kind.__name__ for kind in type(error).__mro__ if _OWN.get(kind.__name__) is kind), "")
        if name:
            return ["own", name, [_packable(argument) for argument in error.args], "", frames]
    if isinstance(error, ExceptionGroup):
        return ["group", _said(lambda: error.message), [tell(one, frames_of(one)) for one in error.exceptions[:_ARGS_MAX]], frames]
    if not isinstance(error, Exception):
        return ["abort", _said(lambda: repr(error)), frames]
    base = next((kind.__name__ for kind in type(error).__mro__ if _BUILT_IN.get(kind.__name__) is kind), "Exception")
    # As much of a text as is shown of it: a longer one would take the memory of the worker that is told.
    args = [argument[:_TEXT_MAX] if isinstance(argument, str) else argument for argument in error.args[:_ARGS_MAX] if _is_simple(argument)]
    return ["python", _said(lambda: type(error).__name__)[:200], base, args, _said(lambda: str(error)), frames]


def tell_with_causes(error: BaseException, depth: int = _CAUSES_MAX) -> list[Any]:
    """An error as a worker tells of it: with its frames, and with what it came of."""
    told = tell(error, frames_of(error))
    cause = error.__context__ if error.__cause__ is None and not error.__suppress_context__ else error.__cause__
    if cause is None or not depth:
        return told
    return ["because", told, tell_with_causes(cause, depth - 1), error.__cause__ is not None]


def make(told: Any, label: str, *, trusted: bool) -> Exception:
    """The error that was told. `label` names the function; without `trusted`, errors that are the host's alone are not made."""
    return _make(told, label, trusted, _CAUSES_MAX, iter(range(_ERRORS_MAX)))


def _make(told: Any, label: str, trusted: bool, depth: int, room: Iterator[int]) -> Exception:
    """One of those that are in it. `room` is taken from for each: to make one takes longer than to tell it."""
    if next(room, None) is None:
        return Exception("one more")
    match told:
        case ["because", list(effect), list(cause), bool(was_said)] if depth:
            error: Exception = _make(effect, label, trusted, depth - 1, room)
            came_of = _make(cause, label, trusted, depth - 1, room)
            if was_said:
                error.__cause__ = came_of
            else:
                error.__context__ = came_of
            return error
        case ["own", str(name), list(args), _, frames] if name in _OWN and (trusted or name not in _HOSTS):
            try:
                if name != "AppError":  # whose data is the author's, as it is
                    plain = args if trusted else [_clean(argument) for argument in args[:_ARGS_MAX]]
                    args = [_argument(argument) for argument in plain]
                error = _OWN[name](*args)
                if name != "AppError":
                    str(error)
            except Exception:
                error = _python("InterlockError", "Exception", [], _said(lambda: f"{name} of {args!r}"))
        case ["python", str(name), str(base), list(args), str(said), frames]:
            error = _python(name, base, [argument for argument in args[:_ARGS_MAX] if _is_simple(argument)], said)
        case ["group", str(said), [_, *_] as parts, frames] if depth:
            error = ExceptionGroup(cleaned(said), [_make(one, label, trusted, depth - 1, room) for one in parts[:_ARGS_MAX]])
        case ["abort", str(raised), frames]:
            error = FunctionAborted(label, cleaned(raised))
        case _:
            error, frames = _python("Exception", "Exception", [], "an error that was not told properly"), []
    if isinstance(frames, list):
        add_frames(error, frames)
    return error


def add_frames(error: BaseException, frames: list[Any]) -> None:
    """An error has passed `frames` of another process, and before them those of this one that are in its traceback.

    Whoever prints its traceback sees them: they are a note of it.
    """
    own = [cleaned(frame, _FRAME_CHARS_MAX)[:_FRAME_CHARS_MAX] for frame in frames[:_FRAMES_MAX] if isinstance(frame, str)]
    passed = [*getattr(error, FRAMES, ()), *authors_frames(error), *own]
    setattr(error, FRAMES, passed)
    setattr(error, _COUNTED, error.__traceback__)
    notes = [note for note in getattr(error, "__notes__", ()) if not note.startswith(_NOTE)]
    error.__notes__ = [*notes, "\n".join([_NOTE, *(f"  at {frame}" for frame in passed)])] if passed else notes


def let_go_of_frames(error: BaseException) -> None:
    """Keep of its frames what is told of them, and nothing that lies in them: arguments of megabytes, for as long as the error is kept."""
    add_frames(error, [])
    setattr(error, _COUNTED, None)
    at: BaseException | None = error
    for _ in range(_CAUSES_MAX):
        if at is None:
            break
        at.__traceback__ = None
        if at.__suppress_context__:
            at.__context__ = None
        at = at.__cause__ or at.__context__
    else:
        if at is not None:
            at.__traceback__ = at.__cause__ = at.__context__ = None


def _python(name: str, base: str, args: list[Any], said: str) -> Exception:
    """An error of Python's own class, or of one with the author's name below the nearest of Python's own."""
    said = cleaned(said)
    kind = _BUILT_IN.get(base, Exception)
    plain = [cleaned(argument) if isinstance(argument, str) else argument for argument in args]
    try:
        error = kind(*plain)
        if name == base and str(error) == said:
            return error
    except Exception:
        kind, plain = Exception, []
    shown = name if name.isidentifier() else "Exception"
    made: Exception = type(shown, (kind,), {"__str__": lambda self: said, "__module__": "component"})(*plain)
    return made


def frames_of(error: BaseException, counted: TracebackType | None = None) -> list[str]:
    """Where an error was raised on this side, innermost first: the author's own lines, or all of them when it is our fault.

    `counted` is the part of its traceback that has been told of before.
    """
    found = _frames(error, counted)
    return _authors(found) or [line for _, line in found[:_FRAMES_MAX]]


def authors_frames(error: BaseException) -> list[str]:
    """The author's own lines on this side, innermost first, that are not among those which the other side has told."""
    return _authors(_frames(error, getattr(error, _COUNTED, None)))


def _authors(frames: list[tuple[str, str]]) -> list[str]:
    return [line for filename, line in frames if not filename.startswith(OWN_FILES)][:_FRAMES_MAX]


def _frames(error: BaseException, counted: TracebackType | None) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = error.__traceback__
    while at is not None and at is not counted:
        code = at.tb_frame.f_code
        found.append((code.co_filename, f"{code.co_name} ({code.co_filename}:{at.tb_lineno})"))
        at = at.tb_next
    return found[::-1]


def _argument(argument: Any) -> Any:
    return tuple(argument) if type(argument) is list else argument


def _clean(argument: Any) -> Any:
    """What a component says of itself in an error that is no data of its author: it goes to logs and terminals."""
    if isinstance(argument, str):
        return cleaned(argument)
    if type(argument) is list:
        return [_clean(item) for item in argument[:_ITEMS_MAX]]
    return argument if _is_simple(argument) else cleaned(_said(lambda: argument))


def _is_simple(argument: Any) -> bool:
    """Whether it can be shown whatever it is: an int without end cannot. What holds others could hide from `cleaned` in it."""
    if isinstance(argument, int):
        return -(2**63) <= argument < 2**63
    return isinstance(argument, str | float | None)


def _packable(argument: Any) -> Any:
    return argument if isinstance(argument, str | int | float | bool | bytes | dict | list | tuple | None) else _said(lambda: argument)


def _said(show: Any) -> str:
    try:
        return str(show()).encode("utf-8", "backslashreplace").decode()[:_TEXT_MAX]
    except Exception:
        return "(cannot be shown)"


__all__ = ["FRAMES", "OWN_FILES", "Strange", "add_frames", "authors_frames", "cleaned", "frames_of", "make", "tell", "tell_with_causes"]
